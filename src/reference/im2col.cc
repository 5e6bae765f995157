// SPDX-License-Identifier: Apache-2.0
#include "src/reference/im2col.h"

#include <cstring>
#include <limits>
#include <type_traits>

#include "src/element.h"

namespace peakpool {
namespace {

// The arithmetic of each element type: f16 and bf16 through float, which holds them exactly; all others in their own.
template <class T>
T Widen(T value) {
  return value;
}
float Widen(BF16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
float Widen(F16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t exponent = (value.bits >> 10) & 31, mantissa = value.bits & 1023;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7F800000 | mantissa << 13;
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | mantissa << 13;
  } else {
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    std::memcpy(&bits, &magnitude, sizeof(bits));
    bits |= sign;
  }
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Rounds to nearest, ties to even.
void Narrow(float value, BF16* result) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (value != value) {
    result->bits = 0x7FC0;
    return;
  }
  result->bits = static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
void Narrow(float value, F16* result) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (value != value) {
    result->bits = 0x7E00;
  } else if (magnitude >= 0x477FF000) {  // 65520 and above round to infinity
    result->bits = sign | 0x7C00;
  } else if (magnitude >= 0x38800000) {  // normal in f16
    const uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
    result->bits = static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
  } else {
    // Adding 0.5 puts the subnormal's last place at the end of the mantissa, so the addition itself rounds.
    float absolute;
    std::memcpy(&absolute, &magnitude, sizeof(absolute));
    absolute += 0.5f;
    std::memcpy(&bits, &absolute, sizeof(bits));
    result->bits = static_cast<uint16_t>(sign | (bits - 0x3F000000));
  }
}
template <class T>
void Narrow(T value, T* result) {
  *result = value != value ? std::numeric_limits<T>::quiet_NaN() : value;
}

template <class V>
bool IsNan(V value) {
  return value != value;
}
// The contract's order: NaN above everything, all NaNs equal, zeros equal.
template <class V>
bool Greater(V a, V b) {
  if (IsNan(b)) return false;
  return IsNan(a) || a > b;
}

// Zero results are +0 and NaN results the canonical quiet NaN.
template <class T>
T Canonical(T value) {
  if constexpr (std::is_same<T, F16>::value) {
    if (IsNan(Widen(value))) return {0x7E00};
    return (value.bits & 0x7FFF) == 0 ? F16{0} : value;
  } else if constexpr (std::is_same<T, BF16>::value) {
    if (IsNan(Widen(value))) return {0x7FC0};
    return (value.bits & 0x7FFF) == 0 ? BF16{0} : value;
  } else if constexpr (std::is_floating_point<T>::value) {
    if (IsNan(value)) return std::numeric_limits<T>::quiet_NaN();
    return value == 0 ? T(0) : value;
  } else {
    return value;
  }
}

template <class T>
T Lowest() {
  if constexpr (std::is_same<T, F16>::value) {
    return {0xFC00};
  } else if constexpr (std::is_same<T, BF16>::value) {
    return {0xFF80};
  } else if constexpr (std::is_floating_point<T>::value) {
    return -std::numeric_limits<T>::infinity();
  } else {
    return std::numeric_limits<T>::min();
  }
}

struct Position {
  int64_t d, h, w;
};

// One (n, c) plane: where its elements are, and one window of it as a column of the im2col matrix.
struct Plane {
  const Geometry& g;
  int64_t n, c;

  int64_t InputOffset(Position p) const {
    return n * g.input.batch + c * g.input.channel + p.d * g.input.axis[0] + p.h * g.input.axis[1] +
           p.w * g.input.axis[2];
  }
  int64_t OutputOffset(Position o) const {
    return n * g.output.batch + c * g.output.channel + o.d * g.output.axis[0] + o.h * g.output.axis[1] +
           o.w * g.output.axis[2];
  }
  // Out of range for padding, and for the taps that a smaller adaptive window does not have.
  static int64_t TapCoordinate(const Axis& axis, int64_t o, int64_t tap) {
    if (!axis.adaptive) return o * axis.stride - axis.pad_before + tap * axis.dilation;
    const int64_t begin = o * axis.input / axis.output;
    const int64_t end = ((o + 1) * axis.input + axis.output - 1) / axis.output;
    return begin + tap < end ? begin + tap : -1;
  }
  // Inline, this would save a fifth of the time for 12 KB more of code.
  [[gnu::noinline]] Position TapPosition(Position o, int64_t tap) const {
    const int64_t kh = g.axis[1].kernel, kw = g.axis[2].kernel;
    return {TapCoordinate(g.axis[0], o.d, tap / (kh * kw)), TapCoordinate(g.axis[1], o.h, tap / kw % kh),
            TapCoordinate(g.axis[2], o.w, tap % kw)};
  }
  bool InRange(Position p) const {
    return p.d >= 0 && p.d < g.axis[0].input && p.h >= 0 && p.h < g.axis[1].input && p.w >= 0 && p.w < g.axis[2].input;
  }
  template <class Visit>
  void ForEachOutput(Visit visit) const {
    for (int64_t d = 0; d < g.axis[0].output; ++d) {
      for (int64_t h = 0; h < g.axis[1].output; ++h) {
        for (int64_t w = 0; w < g.axis[2].output; ++w) visit(Position{d, h, w});
      }
    }
  }
};

// The index of position p (tap number `tap`) in the problem's format; -1 stands for an empty window.
int64_t EncodeIndex(const Shape& shape, const Plane& plane, int64_t tap, Position p) {
  if (tap < 0) return -1;
  const Axis* axis = plane.g.axis;
  const int64_t row_major = (p.d * axis[1].input + p.h) * axis[2].input + p.w;
  const int64_t base = (plane.n * plane.g.channels + plane.c) * axis[0].input * axis[1].input * axis[2].input;
  switch (shape.problem.index_format) {
    case PEAKPOOL_INDEX_PLANE_I32:
    case PEAKPOOL_INDEX_PLANE_I64: return row_major;
    case PEAKPOOL_INDEX_TENSOR_I64: return base + row_major;
    case PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64: return base + p.d + axis[0].input * (p.h + axis[1].input * p.w);
    default: return tap;
  }
}

void WriteIndex(int32_t format, void* index, int64_t offset, int64_t value) {
  switch (format) {
    case PEAKPOOL_INDEX_WINDOW_U8: static_cast<uint8_t*>(index)[offset] = static_cast<uint8_t>(value); break;
    case PEAKPOOL_INDEX_WINDOW_U16: static_cast<uint16_t*>(index)[offset] = static_cast<uint16_t>(value); break;
    case PEAKPOOL_INDEX_WINDOW_U32: static_cast<uint32_t*>(index)[offset] = static_cast<uint32_t>(value); break;
    case PEAKPOOL_INDEX_PLANE_I32: static_cast<int32_t*>(index)[offset] = static_cast<int32_t>(value); break;
    default: static_cast<int64_t*>(index)[offset] = value; break;
  }
}

// True if the stored index is that of an empty window.
bool ReadIndex(int32_t format, const void* index, int64_t offset, int64_t* value) {
  switch (format) {
    case PEAKPOOL_INDEX_WINDOW_U8: *value = static_cast<const uint8_t*>(index)[offset]; return *value == 0xFF;
    case PEAKPOOL_INDEX_WINDOW_U16: *value = static_cast<const uint16_t*>(index)[offset]; return *value == 0xFFFF;
    case PEAKPOOL_INDEX_WINDOW_U32: *value = static_cast<const uint32_t*>(index)[offset]; return *value == 0xFFFFFFFF;
    case PEAKPOOL_INDEX_PLANE_I32: *value = static_cast<const int32_t*>(index)[offset]; return *value == -1;
    default: *value = static_cast<const int64_t*>(index)[offset]; return *value == -1;
  }
}

// The tap that an untrusted index names, or -1.
int64_t DecodeIndex(const Shape& shape, const Plane& plane, Position o, int64_t index) {
  const int64_t taps = plane.g.Taps();
  if (IsWindowFormat(shape.problem.index_format)) {
    return index < taps && plane.InRange(plane.TapPosition(o, index)) ? index : -1;
  }
  for (int64_t tap = 0; tap < taps; ++tap) {
    const Position p = plane.TapPosition(o, tap);
    if (plane.InRange(p) && EncodeIndex(shape, plane, tap, p) == index) return tap;
  }
  return -1;
}

bool IsEmptyWindow(const Plane& plane, Position o) {
  for (int64_t tap = 0; tap < plane.g.Taps(); ++tap) {
    if (plane.InRange(plane.TapPosition(o, tap))) return false;
  }
  return true;
}

template <class T>
void ForwardPlane(const Shape& shape, const Plane& plane, const T* x, T* y, void* index) {
  const int64_t taps = plane.g.Taps();
  plane.ForEachOutput([&](Position o) {
    T best = Lowest<T>();
    int64_t best_tap = -1;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const Position p = plane.TapPosition(o, tap);
      if (!plane.InRange(p)) continue;
      const T value = x[plane.InputOffset(p)];
      if (best_tap < 0 || Greater(Widen(value), Widen(best))) {
        best = value;
        best_tap = tap;
      }
    }
    const int64_t offset = plane.OutputOffset(o);
    if (shape.problem.flags & PEAKPOOL_CLAMP && !IsNan(Widen(best))) {
      T lower, upper;
      std::memcpy(&lower, shape.clamp_lower, sizeof(T));
      std::memcpy(&upper, shape.clamp_upper, sizeof(T));
      if (Greater(Widen(lower), Widen(best))) best = lower;
      if (Greater(Widen(best), Widen(upper))) best = upper;
    }
    y[offset] = Canonical(best);
    if (index != nullptr) {
      const Position p = plane.TapPosition(o, best_tap);
      WriteIndex(shape.problem.index_format, index, offset, EncodeIndex(shape, plane, best_tap, p));
    }
  });
}

// col2im. The sums of one tile of dx are kept in the arithmetic type, so that 16-bit floats round only once.
template <class T>
bool BackwardPlane(const Shape& shape, const Plane& plane, const T* dy, const void* index, T* dx) {
  using Sum = decltype(Widen(T{}));
  constexpr int64_t kTile = 2048;
  Sum sums[kTile];
  const Axis* axis = plane.g.axis;
  const int64_t positions = axis[0].input * axis[1].input * axis[2].input;
  auto at = [&](int64_t i) {
    return dx + plane.InputOffset(
                    {i / (axis[1].input * axis[2].input), i / axis[2].input % axis[1].input, i % axis[2].input});
  };
  bool valid = true;
  for (int64_t tile = 0; tile < positions; tile += kTile) {
    const int64_t count = positions - tile < kTile ? positions - tile : kTile;
    for (int64_t i = 0; i < count; ++i) {
      sums[i] = shape.problem.flags & PEAKPOOL_ACCUMULATE ? Widen(*at(tile + i)) : Sum(0);
    }
    plane.ForEachOutput([&](Position o) {
      const int64_t offset = plane.OutputOffset(o);
      int64_t value;
      const bool marks_empty = ReadIndex(shape.problem.index_format, index, offset, &value);
      if (marks_empty && shape.has_empty_window && IsEmptyWindow(plane, o)) return;
      const int64_t tap = DecodeIndex(shape, plane, o, value);
      if (tap < 0) {
        valid = false;
        return;
      }
      const Position p = plane.TapPosition(o, tap);
      const int64_t position = (p.d * axis[1].input + p.h) * axis[2].input + p.w;
      if (position >= tile && position < tile + count) sums[position - tile] += Widen(dy[offset]);
    });
    for (int64_t i = 0; i < count; ++i) Narrow(sums[i], at(tile + i));
  }
  return valid;
}

}  // namespace

void Im2colForward(const Shape& shape, const void* x, void* y, void* index, int64_t begin, int64_t end) {
  const Geometry& g = shape.geometry;
  for (int64_t i = begin; i < end; ++i) {
    const Plane plane = {g, i / g.channels, i % g.channels};
    VisitType(shape.problem.type, [&](auto element) {
      using T = decltype(element);
      ForwardPlane(shape, plane, static_cast<const T*>(x), static_cast<T*>(y), index);
    });
  }
}

bool Im2colBackward(const Shape& shape, const void* dy, const void* index, void* dx, int64_t begin, int64_t end) {
  const Geometry& g = shape.geometry;
  bool valid = true;
  for (int64_t i = begin; i < end; ++i) {
    const Plane plane = {g, i / g.channels, i % g.channels};
    valid &= VisitType(shape.problem.type, [&](auto element) {
      using T = decltype(element);
      if constexpr (std::is_integral<T>::value) {
        return true;  // refused before it comes here
      } else {
        return BackwardPlane(shape, plane, static_cast<const T*>(dy), index, static_cast<T*>(dx));
      }
    });
  }
  return valid;
}

}  // namespace peakpool
