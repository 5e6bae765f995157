// SPDX-License-Identifier: Apache-2.0
#include "src/few.h"

#include <cstring>
#include <limits>
#include <type_traits>

#include "src/element.h"
#include "src/indices.h"

namespace peakpool {
namespace {

// Floats as integers that have the contract's order: zeros and NaNs are equal among themselves, NaN is the greatest.
// `inf` and `nan` are bit patterns.
template <class Bits, Bits inf, Bits nan>
struct FloatKeys {
  using Key = Bits;
  static Key Load(const void* x, int64_t i) {
    Bits bits;
    std::memcpy(&bits, static_cast<const char*>(x) + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    const Bits magnitude = bits & std::numeric_limits<Bits>::max();
    const Key key = static_cast<Key>(bits < 0 ? -magnitude : magnitude);
    return magnitude > inf ? nan : key;
  }
  static void Store(Key key, void* y, int64_t i) {
    const Bits bits = key < 0 ? static_cast<Bits>(-key | std::numeric_limits<Bits>::min()) : key;
    std::memcpy(static_cast<char*>(y) + i * static_cast<int64_t>(sizeof(Bits)), &bits, sizeof(Bits));
  }
};
template <class T>
struct Keys {
  using Key = T;
  static Key Load(const void* x, int64_t i) { return static_cast<const T*>(x)[i]; }
  static void Store(Key key, void* y, int64_t i) { static_cast<T*>(y)[i] = key; }
};
template <>
struct Keys<float> : FloatKeys<int32_t, 0x7F800000, 0x7FC00000> {};
template <>
struct Keys<double> : FloatKeys<int64_t, 0x7FF0000000000000, 0x7FF8000000000000> {};
template <>
struct Keys<F16> : FloatKeys<int16_t, 0x7C00, 0x7E00> {};
template <>
struct Keys<BF16> : FloatKeys<int16_t, 0x7F80, 0x7FC0> {};

// Without a branch, which nobody could predict.
int32_t Either(bool first, int32_t a, int32_t b) { return b ^ ((a ^ b) & -int32_t{first}); }

template <class T>
void Pool(const FewTaps& few, const void* x, void* y, void* index) {
  using Key = typename Keys<T>::Key;
  const FewTaps::Tap* tap = few.tap;
  for (int32_t o = 0; o < few.outputs; ++o) {
    const FewTaps::Output output = few.output[o];
    const FewTaps::Tap *const first = tap, *const end = tap + output.taps;
    int32_t best_index = first->index;
    bool is_stored = false;
    if constexpr (std::is_floating_point<T>::value) {
      // In half the instructions, unless there is a NaN.
      T best = static_cast<const T*>(x)[first->offset];
      bool has_nan = best != best;
      while (++tap != end) {
        const T value = static_cast<const T*>(x)[tap->offset];
        has_nan |= value != value;
        best_index = Either(value > best, tap->index, best_index);
        best = value > best ? value : best;
      }
      static_cast<T*>(y)[output.offset] = best + T{0};  // never -0
      is_stored = !has_nan;
    }
    if (!is_stored) {
      tap = first;
      best_index = first->index;
      Key best = Keys<T>::Load(x, first->offset);
      while (++tap != end) {
        const Key key = Keys<T>::Load(x, tap->offset);
        best_index = Either(key > best, tap->index, best_index);
        best = key > best ? key : best;
      }
      Keys<T>::Store(best, y, output.offset);
    }
    if (index != nullptr) StoreIndex(few.index_bytes, best_index, index, output.offset);
  }
}

}  // namespace

void ListFewTaps(const Shape& shape, FewTaps* few) {
  const Geometry& g = shape.geometry;
  const Axis *d = &g.axis[kDepth], *h = d + 1, *w = h + 1;
  few->outputs = 0;
  int64_t taps = 1;
  for (const int64_t factor : {g.batch, g.channels, d->output, h->output, w->output, d->kernel, h->kernel, w->kernel}) {
    if (__builtin_mul_overflow(taps, factor, &taps)) return;
  }
  if (taps == 0 || taps > FewTaps::kMost || shape.has_empty_window || (shape.problem.flags & PEAKPOOL_CLAMP)) return;
  if (shape.input_extent > INT32_MAX || shape.output_extent > INT32_MAX) return;
  few->type = shape.problem.type;
  few->index_bytes = static_cast<int32_t>(shape.index_bytes);
  const Numbering numbering = NumberingOf(g, shape.problem.index_format);
  FewTaps::Tap* tap = few->tap;
  const auto list = [&](const OutputPosition& output) {
    FewTaps::Tap* const listed = tap;
    int64_t first[3], end[3], t[3];
    // Of the window's first tap: where it is, and its number.
    int64_t offset = output.n * g.input.batch + output.c * g.input.channel;
    int64_t index = output.n * numbering.strides.batch + output.c * numbering.strides.channel;
    for (int a = 0; a < 3; ++a) {
      const Axis& axis = g.axis[a];
      first[a] = axis.FirstTap(output.o[a]);
      end[a] = axis.TapEnd(output.o[a]);
      offset += axis.Begin(output.o[a]) * g.input.axis[a];
      index += numbering.of_taps ? 0 : axis.Begin(output.o[a]) * numbering.strides.axis[a];
    }
    for (t[0] = first[0]; t[0] < end[0]; ++t[0]) {
      for (t[1] = first[1]; t[1] < end[1]; ++t[1]) {
        for (t[2] = first[2]; t[2] < end[2]; ++t[2]) {
          int64_t tap_offset = offset, tap_index = index;
          for (int a = 0; a < 3; ++a) {
            const int64_t step = t[a] * g.axis[a].dilation;
            tap_offset += step * g.input.axis[a];
            tap_index += (numbering.of_taps ? t[a] : step) * numbering.strides.axis[a];
          }
          *tap++ = {static_cast<int32_t>(tap_offset), static_cast<int32_t>(tap_index)};
        }
      }
    }
    few->output[few->outputs++] = {static_cast<int32_t>(OffsetOf(output, g.output)),
                                   static_cast<int32_t>(tap - listed)};
  };
  OutputPosition output;
  for (output.n = 0; output.n < g.batch; ++output.n) {
    for (output.c = 0; output.c < g.channels; ++output.c) {
      for (output.o[0] = 0; output.o[0] < d->output; ++output.o[0]) {
        for (output.o[1] = 0; output.o[1] < h->output; ++output.o[1]) {
          for (output.o[2] = 0; output.o[2] < w->output; ++output.o[2]) list(output);
        }
      }
    }
  }
}

void PoolFewTaps(const FewTaps& few, const void* x, void* y, void* index) {
  VisitType(few.type, [&](auto element) { Pool<decltype(element)>(few, x, y, index); });
}

}  // namespace peakpool
