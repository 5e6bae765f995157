// SPDX-License-Identifier: Apache-2.0
// Windows of 2x2 at stride 2 over short rows of 8 or 16 bits, channels-first, where planes follow each other so that
// all rows are one run. Of bytes, a vector loads some pairs of rows, outputs are maxima of 16-bit lanes, and one lookup
// brings those of two vectors together. Of 16-bit lanes, vectors are loaded without regard to rows, and lookups bring
// together first even and odd columns, then even and odd rows. (14x14, AVX-512: 0.4 and 0.3 of the time of lines that
// are loaded one by one.)
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_PAIRS_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_PAIRS_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_PAIRS_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class L>
constexpr bool kHasPairs =
    sizeof(typename L::Lane) <= 2 && kHasLookup<int16_t>&& hn::MaxLanes(hn::ScalableTag<int8_t>()) == 64;

template <class T>
struct PairsCall {
  int64_t width;
  int64_t lines;         // of outputs at a time
  const int16_t* order;  // 16-bit lanes of two vectors that have outputs, or their even and their odd rows
};

// Pools so many times lines of bytes, half of them in each of two vectors.
template <class L, bool kTaps, class T = typename L::Element>
HWY_NOINLINE void PoolBytePairs(L lanes, const PairsCall<T>& in, int64_t times, const T* x, T* y, uint8_t* taps) {
  const hn::ScalableTag<T> d;
  const hn::Repartition<int16_t, decltype(d)> d16;
  const hn::RebindToUnsigned<decltype(d16)> du16;
  using V16 = hn::Vec<decltype(d16)>;
  const int64_t width = in.width, x_step = width * in.lines, outputs = x_step / 2;
  const V16 order = hn::LoadU(d16, in.order), high = hn::Set(d16, static_cast<int16_t>(0xFF00));
  const auto upper = [=](V16 v) HWY_ATTR { return hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(du16, v))); };
  // In 16-bit lanes, the maximum in the low byte; with tap numbers in the high byte, above 3 minus the tap, which
  // settles ties.
  const auto last = hn::BitCast(d, hn::Set(d16, 0x0203)), last_below = hn::BitCast(d, hn::Set(d16, 0x0001));
  const auto maxima = [=](const T* row) HWY_ATTR -> V16 {
    const auto a = LoadLanes(lanes, d, row), b = LoadLanes(lanes, d, row + width);
    const V16 v = hn::BitCast(d16, hn::Max(a, b));
    if constexpr (kTaps) {
      const V16 number = hn::BitCast(d16, hn::IfThenElse(hn::Gt(b, a), last_below, last));
      return hn::Max(hn::Or(hn::ShiftLeft<8>(v), hn::AndNot(high, number)), hn::Or(hn::And(high, v), upper(number)));
    } else {
      return hn::BitCast(d16, hn::Max(hn::BitCast(d, v), hn::BitCast(d, upper(v))));
    }
  };
  for (; times > 0; --times, x += 2 * x_step, y += outputs, taps += kTaps ? outputs : 0) {
    const V16 best = LookupTwo(d16, maxima(x), maxima(x + x_step), order);
    const V16 bits = hn::BitCast(d16, lanes.FromKey(d, hn::BitCast(d, best)));
    StoreBytes(d16, kTaps ? upper(bits) : bits, reinterpret_cast<uint8_t*>(y));
    if constexpr (kTaps) StoreBytes(d16, hn::Xor(best, hn::Set(d16, 3)), taps);
  }
}

// The same of 16-bit lanes, from four vectors. (Rows as of bytes above would leave half of the lanes idle, and tap
// numbers below keys would take vectors of 32-bit lanes.)
template <class L, bool kTaps, class T = typename L::Element>
HWY_NOINLINE void PoolWordPairs(L lanes, const PairsCall<T>& in, int64_t times, const T* x, T* y, uint8_t* taps) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), x_step = 2 * in.width * in.lines, outputs = x_step / 4;
  const V even_rows = hn::LoadU(d, in.order), odd_rows = hn::LoadU(d, in.order + n);
  const auto one = SetTap(d, 1), two = SetTap(d, 2);
  for (; times > 0; --times, x += x_step, y += outputs, taps += kTaps ? outputs : 0) {
    const auto load = [=](int64_t i) HWY_ATTR { return ToTapKey<kTaps>(lanes, d, hn::LoadU(d, x + i * n)); };
    const V x0 = load(0), x1 = load(1), x2 = load(2), x3 = load(3);
    const V even0 = EvenLanes(d, x0, x1), even1 = EvenLanes(d, x2, x3);
    const V row0 = hn::Max(even0, OddLanes(d, x0, x1)), row1 = hn::Max(even1, OddLanes(d, x2, x3));
    const V upper = LookupTwo(d, row0, row1, even_rows), lower = LookupTwo(d, row0, row1, odd_rows);
    const V best = hn::Max(upper, lower);
    if constexpr (kTaps) {
      const auto is_lower = hn::Gt(lower, upper);
      const V even =
          hn::IfThenElse(is_lower, LookupTwo(d, even0, even1, odd_rows), LookupTwo(d, even0, even1, even_rows));
      const auto column = hn::IfThenElseZero(TapsWhere(d, hn::Ne(even, best)), one);
      StoreTaps(d, hn::Or(column, hn::IfThenElseZero(TapsWhere(d, is_lower), two)), taps);
    }
    lanes.Store(d, best, y);
  }
}

// True if done.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardPairs(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  constexpr bool kBytes = sizeof(T) == 1;
  constexpr int64_t n = 64 / sizeof(T), kOutputs = 32;  // at a time at most
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  const int64_t width = w.input, out_width = w.output, size = h.input * width, out_size = h.output * out_width;
  if (call.scratch_bytes < (48 << 10) || h.pad_before != 0 || w.pad_before != 0 || width != 2 * out_width ||
      h.input != 2 * h.output || width > (kBytes ? n / 2 : 2 * n) || g.axis[kDepth].output != 1 ||
      g.input.axis[kHeight] != width || g.input.channel != size || g.output.axis[kHeight] != out_width ||
      g.output.channel != out_size ||
      (with_taps && (call.taps.strides.axis[kHeight] != out_width || call.taps.strides.channel != out_size))) {
    return false;
  }
  const int64_t group = kBytes ? 2 * HWY_MIN((n / width + 1) / 2, kOutputs / width) : 2 * n / width;
  int16_t order[2 * kOutputs] = {};
  for (int64_t line = 0; line < group; ++line) {
    int64_t from = 2 * line * out_width;  // in horizontal maxima
    if (kBytes) from = 2 * line < group ? line * width : kOutputs + (line - group / 2) * width;
    for (int64_t o = 0; o < out_width; ++o) {
      order[line * out_width + o] = static_cast<int16_t>(from + o);
      order[kOutputs + line * out_width + o] = static_cast<int16_t>(from + out_width + o);
    }
  }
  const PairsCall<T> in = {width, group, order};
  const auto pool = [=] {
    if constexpr (kBytes) {
      return with_taps ? &PoolBytePairs<L, true> : &PoolBytePairs<L, false>;
    } else {
      return with_taps ? &PoolWordPairs<L, true> : &PoolWordPairs<L, false>;
    }
  }();
  const int64_t x_step = group * 2 * width, y_step = group * out_width;
  const int64_t x_reach = kBytes ? x_step / 2 + width + n : 4 * n;
  for (SliceWalk walk(call, separable); walk.Next();) {
    int64_t rest = walk.planes > 1 ? walk.planes * h.output : walk.stop - walk.oh;
    const T* x = static_cast<const T*>(call.x) + walk.x + walk.oh * 2 * width;
    T* y = static_cast<T*>(call.y) + walk.y + walk.oh * out_width;
    uint8_t* taps = with_taps ? static_cast<uint8_t*>(call.taps.base) + walk.taps + walk.oh * out_width : nullptr;
    // Loads and stores of whole vectors beyond the lines must lie in the run.
    const int64_t x_room = walk.x_end - walk.x - walk.oh * 2 * width - x_reach;
    int64_t y_room = walk.y_end - walk.y;
    if (with_taps) y_room = HWY_MIN(y_room, walk.taps_end - walk.taps);
    y_room -= walk.oh * out_width + kOutputs;
    int64_t times = rest / group;
    while (times > 0 && ((times - 1) * x_step > x_room || (times - 1) * y_step > y_room)) --times;
    pool(lanes, in, times, x, y, taps);
    x += times * x_step;
    y += times * y_step;
    if (with_taps) taps += times * y_step;
    rest -= times * group;
    if (rest == 0) continue;
    T* const x_copy = static_cast<T*>(call.scratch);
    T* const y_copy = x_copy + (16 << 10) / sizeof(T);
    uint8_t* const taps_copy = static_cast<uint8_t*>(call.scratch) + (32 << 10);
    times = (rest + group - 1) / group;
    memcpy(x_copy, x, sizeof(T) * static_cast<size_t>(rest * 2 * width));
    memset(x_copy + rest * 2 * width, 0, sizeof(T) * static_cast<size_t>(times * x_step - rest * 2 * width + 2 * n));
    pool(lanes, in, times, x_copy, y_copy, taps_copy);
    memcpy(y, y_copy, sizeof(T) * static_cast<size_t>(rest * out_width));
    if (with_taps) memcpy(taps, taps_copy, static_cast<size_t>(rest * out_width));
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_PAIRS_INL_H_
