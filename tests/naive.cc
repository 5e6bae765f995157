// SPDX-License-Identifier: Apache-2.0
#include "tests/naive.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace peakpool::tests {
namespace {

struct HalfFormat {
  int mantissa_bits, min_exponent, max_exponent;
};
HalfFormat FormatOf(int32_t type) { return type == PEAKPOOL_F16 ? HalfFormat{10, -14, 15} : HalfFormat{7, -126, 127}; }

// How each type is read for comparing and adding, and how a selected element is written.
template <class T>
struct Plain {
  using Sum = T;
  using Storage = T;
  static T Value(T stored) { return stored; }
  static T Rounded(T value) {
    if constexpr (std::is_floating_point<T>::value) {
      if (value != value) return std::numeric_limits<T>::quiet_NaN();
    }
    return value;
  }
  static T Bound(peakpool_scalar bound) {
    if constexpr (std::is_floating_point<T>::value) {
      return static_cast<T>(bound.real);
    } else {
      return static_cast<T>(std::is_signed<T>::value ? static_cast<uint64_t>(bound.integer) : bound.natural);
    }
  }
  static T Lowest() {
    return std::is_floating_point<T>::value ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  }
};
template <int32_t kType>
struct Half {
  using Sum = float;
  using Storage = uint16_t;
  static float Value(uint16_t stored) { return static_cast<float>(FromHalf(kType, stored)); }
  static uint16_t Rounded(float value) { return ToHalf(kType, value); }
  static float Bound(peakpool_scalar bound) { return static_cast<float>(FromHalf(kType, ToHalf(kType, bound.real))); }
  static uint16_t Lowest() { return ToHalf(kType, -std::numeric_limits<double>::infinity()); }
};

template <class Visit>
void VisitType(int32_t type, Visit visit) {
  switch (type) {
    case PEAKPOOL_F32: return visit(Plain<float>());
    case PEAKPOOL_F64: return visit(Plain<double>());
    case PEAKPOOL_F16: return visit(Half<PEAKPOOL_F16>());
    case PEAKPOOL_BF16: return visit(Half<PEAKPOOL_BF16>());
    case PEAKPOOL_I8: return visit(Plain<int8_t>());
    case PEAKPOOL_U8: return visit(Plain<uint8_t>());
    case PEAKPOOL_I16: return visit(Plain<int16_t>());
    case PEAKPOOL_U16: return visit(Plain<uint16_t>());
    case PEAKPOOL_I32: return visit(Plain<int32_t>());
    case PEAKPOOL_U32: return visit(Plain<uint32_t>());
    case PEAKPOOL_I64: return visit(Plain<int64_t>());
    default: return visit(Plain<uint64_t>());
  }
}

// a stands before b in a ranking by the contract: greater, NaN above everything.
template <class V>
bool Beats(V a, V b) {
  if (b != b) return false;
  return a != a || a > b;
}

struct Position {
  int64_t at[PEAKPOOL_MAX_RANK];
};

// Calls visit(position) for every position of [begin, end), in row-major order.
template <class Visit>
void ForEach(int rank, const int64_t* begin, const int64_t* end, Visit visit) {
  Position p;
  for (int a = 0; a < rank; ++a) {
    if (begin[a] >= end[a]) return;
    p.at[a] = begin[a];
  }
  for (;;) {
    visit(p);
    int a = rank - 1;
    while (a >= 0 && ++p.at[a] == end[a]) {
      p.at[a] = begin[a];
      --a;
    }
    if (a < 0) return;
  }
}

int64_t Offset(const peakpool_strides& strides, int rank, int64_t n, int64_t c, const Position& p) {
  int64_t offset = n * strides.batch + c * strides.channel;
  for (int a = 0; a < rank; ++a) offset += p.at[a] * strides.spatial[a];
  return offset;
}

int64_t PlaneSize(const peakpool_problem& problem) {
  int64_t size = 1;
  for (int a = 0; a < problem.rank; ++a) size *= problem.input[a];
  return size;
}

int64_t RowMajor(const peakpool_problem& problem, const Position& p) {
  int64_t flat = 0;
  for (int a = 0; a < problem.rank; ++a) flat = flat * problem.input[a] + p.at[a];
  return flat;
}

// What output o of an axis covers: where its first tap lies, and the inputs [begin, end) between its ends.
struct Span {
  int64_t first_tap, begin, end;
};
Span SpanOf(const peakpool_problem& problem, int a, int64_t o) {
  const int64_t input = problem.input[a], output = problem.output[a];
  if (problem.rounding == PEAKPOOL_ADAPTIVE) {
    // Stretch input and output to one length: the inputs that o overlaps.
    Span span = {-1, 0, 0};
    for (int64_t i = 0; i < input; ++i) {
      if (i * output >= (o + 1) * input || (i + 1) * output <= o * input) continue;
      if (span.first_tap < 0) span.first_tap = span.begin = i;
      span.end = i + 1;
    }
    return span;
  }
  const int64_t first = o * problem.stride[a] - problem.padding[a].before;
  const int64_t last = first + (problem.kernel[a] - 1) * problem.dilation[a];
  return {first, first < 0 ? 0 : first, last + 1 < input ? last + 1 : input};
}

// The index, in a format, of input position p for the window at output o; taps are counted over the whole window.
int64_t IndexOf(const peakpool_problem& problem, int32_t format, int64_t n, int64_t c, const Position& o,
                const Position& p) {
  const int64_t plane = (n * problem.channels + c) * PlaneSize(problem);
  int64_t flat = 0;
  switch (format) {
    case PEAKPOOL_INDEX_PLANE_I32:
    case PEAKPOOL_INDEX_PLANE_I64: return RowMajor(problem, p);
    case PEAKPOOL_INDEX_TENSOR_I64: return plane + RowMajor(problem, p);
    case PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64:
      for (int a = problem.rank - 1; a >= 0; --a) flat = flat * problem.input[a] + p.at[a];
      return plane + flat;
    default:
      for (int a = 0; a < problem.rank; ++a) {
        flat = flat * problem.kernel[a] + (p.at[a] - SpanOf(problem, a, o.at[a]).first_tap) / problem.dilation[a];
      }
      return flat;
  }
}

void StoreIndex(int32_t format, void* index, int64_t at, int64_t value) {
  // Truncation to the width is the same for every format, and turns -1 into all ones.
  const size_t bytes = std::min(IndexBytes(format), sizeof(value));
  std::memcpy(static_cast<uint8_t*>(index) + static_cast<size_t>(at) * bytes, &value, bytes);  // little-endian
}

bool SameIndex(int32_t format, const void* index, int64_t at, int64_t value) {
  uint8_t expected[8];
  StoreIndex(format, expected, 0, value);
  const size_t bytes = IndexBytes(format);
  return std::memcmp(expected, static_cast<const uint8_t*>(index) + static_cast<size_t>(at) * bytes, bytes) == 0;
}

// Calls visit(position) for the input positions of the window at o, in row-major order.
template <class Visit>
void ForEachTap(const peakpool_problem& problem, const Position& o, Visit visit) {
  int64_t begin[PEAKPOOL_MAX_RANK], end[PEAKPOOL_MAX_RANK];
  Position window;
  for (int a = 0; a < problem.rank; ++a) {
    const Span span = SpanOf(problem, a, o.at[a]);
    window.at[a] = span.first_tap;
    begin[a] = span.begin;
    end[a] = span.end;
  }
  ForEach(problem.rank, begin, end, [&](const Position& p) {
    for (int a = 0; a < problem.rank; ++a) {
      if ((p.at[a] - window.at[a]) % problem.dilation[a] != 0) return;
    }
    visit(p);
  });
}

// What a stored index of the window at o means: its position, the mark of an empty window, or nothing.
enum class Meaning { kPosition, kEmpty, kInvalid };
Meaning Find(const peakpool_problem& problem, int32_t format, const void* index, int64_t at, int64_t n, int64_t c,
             const Position& o, bool own_window, Position* position) {
  Meaning meaning = Meaning::kInvalid;
  bool empty = true;
  const auto try_position = [&](const Position& p) {
    if (!SameIndex(format, index, at, IndexOf(problem, format, n, c, o, p))) return;
    meaning = Meaning::kPosition;
    *position = p;
  };
  ForEachTap(problem, o, [&](const Position& p) {
    empty = false;
    try_position(p);
  });
  if (empty && SameIndex(format, index, at, -1)) return Meaning::kEmpty;
  if (meaning == Meaning::kInvalid && !own_window && format > PEAKPOOL_INDEX_WINDOW_U32) {
    const int64_t zero[PEAKPOOL_MAX_RANK] = {0, 0, 0};
    ForEach(problem.rank, zero, problem.input, try_position);
  }
  return meaning;
}

template <class Visit>
void ForEachOutput(const peakpool_problem& problem, Visit visit) {
  const int64_t zero[PEAKPOOL_MAX_RANK] = {0, 0, 0};
  for (int64_t n = 0; n < problem.batch; ++n) {
    for (int64_t c = 0; c < problem.channels; ++c) {
      ForEach(problem.rank, zero, problem.output, [&](const Position& o) { visit(n, c, o); });
    }
  }
}

}  // namespace

size_t ElementBytes(int32_t type) {
  static const size_t kBytes[] = {4, 8, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8};
  return kBytes[type];
}

size_t IndexBytes(int32_t index_format) {
  static const size_t kBytes[] = {0, 1, 2, 4, 4, 8, 8, 8};
  return kBytes[index_format];
}

double FromHalf(int32_t type, uint16_t bits) {
  const HalfFormat format = FormatOf(type);
  const int mantissa = bits & ((1 << format.mantissa_bits) - 1);
  const int exponent = ((bits & 0x7FFF) >> format.mantissa_bits) - format.max_exponent;
  double magnitude;
  if (exponent > format.max_exponent) {
    magnitude = mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  } else if (exponent < format.min_exponent) {
    magnitude = std::ldexp(mantissa, format.min_exponent - format.mantissa_bits);
  } else {
    magnitude = std::ldexp(mantissa + (1 << format.mantissa_bits), exponent - format.mantissa_bits);
  }
  return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t ToHalf(int32_t type, double value) {
  const HalfFormat format = FormatOf(type);
  const int infinity = (2 * format.max_exponent + 1) << format.mantissa_bits;
  if (value != value) return static_cast<uint16_t>(infinity | (1 << (format.mantissa_bits - 1)));
  const int sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return static_cast<uint16_t>(sign);
  int exponent = std::isinf(magnitude) ? format.max_exponent + 1 : std::ilogb(magnitude);
  if (exponent > format.max_exponent) return static_cast<uint16_t>(sign | infinity);
  if (exponent < format.min_exponent) exponent = format.min_exponent;
  // In units of the last place: below 2^mantissa_bits is subnormal, and a carry runs into the exponent by itself.
  const int units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent)));
  return static_cast<uint16_t>(sign | (units + ((exponent - format.min_exponent) << format.mantissa_bits)));
}

void NaiveForward(const peakpool_problem& problem, const void* x, void* y, void* index) {
  VisitType(problem.type, [&](auto traits) {
    using Traits = decltype(traits);
    using Storage = typename Traits::Storage;
    const Storage* input = static_cast<const Storage*>(x);
    Storage* output = static_cast<Storage*>(y);
    ForEachOutput(problem, [&](int64_t n, int64_t c, const Position& o) {
      bool found = false;
      typename Traits::Sum best{};
      Position where{};
      ForEachTap(problem, o, [&](const Position& p) {
        const auto value = Traits::Value(input[Offset(problem.input_strides, problem.rank, n, c, p)]);
        if (!found || Beats(value, best)) {
          found = true;
          best = value;
          where = p;
        }
      });
      const int64_t at = Offset(problem.output_strides, problem.rank, n, c, o);
      if (!found) best = Traits::Value(Traits::Lowest());
      if (problem.flags & PEAKPOOL_CLAMP) {
        if (best < Traits::Bound(problem.clamp_lower)) best = Traits::Bound(problem.clamp_lower);
        if (best > Traits::Bound(problem.clamp_upper)) best = Traits::Bound(problem.clamp_upper);
      }
      output[at] = Traits::Rounded(best == 0 ? 0 : best);
      if (index != nullptr) {
        StoreIndex(problem.index_format, index, at,
                   found ? IndexOf(problem, problem.index_format, n, c, o, where) : -1);
      }
    });
  });
}

bool NaiveBackward(const peakpool_problem& problem, const void* dy, const void* index, void* dx) {
  bool valid = true;
  VisitType(problem.type, [&](auto traits) {
    using Traits = decltype(traits);
    using Storage = typename Traits::Storage;
    using Sum = typename Traits::Sum;
    const Storage* gradient = static_cast<const Storage*>(dy);
    Storage* result = static_cast<Storage*>(dx);
    const int64_t plane = PlaneSize(problem);
    const int64_t zero[PEAKPOOL_MAX_RANK] = {0, 0, 0};
    std::vector<Sum> sums(static_cast<size_t>(problem.batch * problem.channels * plane));
    const auto sum_at = [&](int64_t n, int64_t c, const Position& p) -> Sum& {
      return sums[static_cast<size_t>((n * problem.channels + c) * plane + RowMajor(problem, p))];
    };
    const auto for_each_input = [&](auto visit) {
      for (int64_t n = 0; n < problem.batch; ++n) {
        for (int64_t c = 0; c < problem.channels; ++c) {
          ForEach(problem.rank, zero, problem.input, [&](const Position& p) {
            visit(sum_at(n, c, p), result[Offset(problem.input_strides, problem.rank, n, c, p)]);
          });
        }
      }
    };
    if (problem.flags & PEAKPOOL_ACCUMULATE) {
      for_each_input([](Sum& sum, const Storage& stored) { sum = Traits::Value(stored); });
    }
    ForEachOutput(problem, [&](int64_t n, int64_t c, const Position& o) {
      const int64_t at = Offset(problem.output_strides, problem.rank, n, c, o);
      Position p;
      const Meaning meaning = Find(problem, problem.index_format, index, at, n, c, o, true, &p);
      if (meaning == Meaning::kInvalid) valid = false;
      if (meaning != Meaning::kPosition) return;
      Sum& sum = sum_at(n, c, p);
      sum = static_cast<Sum>(sum + Traits::Value(gradient[at]));
    });
    for_each_input([](const Sum& sum, Storage& stored) { stored = Traits::Rounded(sum); });
  });
  return valid;
}

bool NaiveUnpool(const peakpool_problem& problem, const void* y, const void* index, void* x) {
  const size_t bytes = ElementBytes(problem.type);
  const int64_t zero[PEAKPOOL_MAX_RANK] = {0, 0, 0};
  const auto input = [&](int64_t n, int64_t c, const Position& p) {
    return static_cast<uint8_t*>(x) + static_cast<size_t>(Offset(problem.input_strides, problem.rank, n, c, p)) * bytes;
  };
  for (int64_t n = 0; n < problem.batch; ++n) {
    for (int64_t c = 0; c < problem.channels; ++c) {
      ForEach(problem.rank, zero, problem.input, [&](const Position& p) { std::memset(input(n, c, p), 0, bytes); });
    }
  }
  bool valid = true;
  ForEachOutput(problem, [&](int64_t n, int64_t c, const Position& o) {
    const int64_t at = Offset(problem.output_strides, problem.rank, n, c, o);
    Position p;
    const Meaning meaning = Find(problem, problem.index_format, index, at, n, c, o, false, &p);
    if (meaning == Meaning::kInvalid) valid = false;
    if (meaning != Meaning::kPosition) return;
    std::memcpy(input(n, c, p), static_cast<const uint8_t*>(y) + static_cast<size_t>(at) * bytes, bytes);
  });
  return valid;
}

bool NaiveConvert(const peakpool_problem& problem, int32_t from_format, const void* from, int32_t to_format, void* to) {
  bool valid = true;
  ForEachOutput(problem, [&](int64_t n, int64_t c, const Position& o) {
    const int64_t at = Offset(problem.output_strides, problem.rank, n, c, o);
    const bool own_window = to_format <= PEAKPOOL_INDEX_WINDOW_U32;
    Position p;
    const Meaning meaning = Find(problem, from_format, from, at, n, c, o, own_window, &p);
    if (meaning == Meaning::kInvalid) valid = false;
    StoreIndex(to_format, to, at, meaning == Meaning::kPosition ? IndexOf(problem, to_format, n, c, o, p) : -1);
  });
  return valid;
}

bool HasEmptyWindow(const peakpool_problem& problem) {
  bool found = false;
  ForEachOutput(problem, [&](int64_t n, int64_t c, const Position& o) {
    if (n != 0 || c != 0) return;
    bool empty = true;
    ForEachTap(problem, o, [&](const Position&) { empty = false; });
    found |= empty;
  });
  return found;
}

void Resolve(peakpool_problem* problem) {
  const auto dense = [&](const int64_t* size, peakpool_strides* strides) {
    int64_t step = 1;
    if (problem->layout == PEAKPOOL_CHANNELS_LAST) {
      strides->channel = 1;
      step = problem->channels;
    }
    for (int a = problem->rank - 1; a >= 0; --a) {
      strides->spatial[a] = step;
      step *= size[a];
    }
    if (problem->layout == PEAKPOOL_CHANNELS_FIRST) {
      strides->channel = step;
      step *= problem->channels;
    }
    strides->batch = step;
  };
  for (int a = 0; a < problem->rank; ++a) {
    if (problem->rounding == PEAKPOOL_ADAPTIVE) {
      problem->kernel[a] = 0;
      problem->dilation[a] = 1;
      problem->padding[a] = {0, 0};
      for (int64_t o = 0; o < problem->output[a]; ++o) {
        const Span span = SpanOf(*problem, a, o);
        problem->kernel[a] = std::max(problem->kernel[a], span.end - span.begin);
      }
      continue;
    }
    const int64_t reach = (problem->kernel[a] - 1) * problem->dilation[a] + 1;
    const int64_t padded = problem->padding[a].before + problem->input[a] + problem->padding[a].after;
    // Count the windows one by one: those that fit, and with ceil those whose predecessor ends before the padded input
    // does. Of these the last is dropped if it would start beyond input and leading padding.
    int64_t count = 0;
    for (int64_t start = 0;; start += problem->stride[a]) {
      const int64_t end = (problem->rounding == PEAKPOOL_CEIL ? start - problem->stride[a] + 1 : start) + reach;
      if (end > padded) break;
      ++count;
    }
    if (problem->rounding == PEAKPOOL_CEIL && count > 0 &&
        (count - 1) * problem->stride[a] >= problem->padding[a].before + problem->input[a]) {
      --count;
    }
    problem->output[a] = count;
  }
  dense(problem->input, &problem->input_strides);
  dense(problem->output, &problem->output_strides);
}

}  // namespace peakpool::tests
