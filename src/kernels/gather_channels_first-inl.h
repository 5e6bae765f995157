// SPDX-License-Identifier: Apache-2.0
// Backward of small windows over channels-first tensors as a gather: each pixel of dx sums the dy of the windows that
// name it. No zeroing pass and no scatter, and the order of summation is the serial one: ascending output position.
//
// Accepts channels-first geometries with u8 taps, depth kernel 1, no empty window, and (kernel, stride) equal on height
// and width out of (3,2), (3,1), (2,1); padding is free, and so is dilation up to 8 with stride 1. Windows apart are
// gather_apart-inl.h's.
//
// A strip of one vector of columns walks down the rows of dy. Each row of dy and of widened taps is loaded once per
// column of the window and meets the `kernel` rows of dx that it covers: `stride` of them are then complete, the others
// are carried in registers. With stride 2, even and odd columns of dx are gathered apart and stored interleaved.
//
// Strips begin at column 0 of dx and go from right to left, so that a store may run beyond the end of its row, into the
// beginning of rows that are stored later: no tail anywhere. The first and last lines of a call, whose strips would
// leave the tensors, are gathered in scratch with room on all sides.
#if defined(PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
#endif

#include <cstring>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/gather_apart-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slice_walk.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace gather_first {

using apart::Part;

// What blocks share. A slice is one (n, c, d); if there are several, they have no gaps.
template <class T>
struct Task {
  Axis height, width;
  const T* dy;
  const uint8_t* taps;
  T* dx;
  int64_t dy_pitch, taps_pitch, dx_pitch;  // from row to row
  bool accumulate;
  bool far;  // stride 2: dx is written around the caches, see FarRows
};

// Rows [h_begin, h_end) of the slices [slice_begin, slice_end) of dx, from column on.
struct Block {
  int64_t slice_begin, slice_end, h_begin, h_end, column;
};

// sum + g where the tap is `tap`: one masked add on AVX-512, where adding a masked g costs up to 23 % more.
template <class D, class Taps, class V = hn::Vec<D>>
HWY_INLINE V AddTap(D d, V sum, V g, Taps taps, Taps tap) {
  return hn::IfThenElse(TapsEqual(d, taps, tap), hn::Add(sum, g), sum);
}

// 255, which names no tap, in the first `before` lanes and from lane `end` on; 0 in the others.
template <class D>
HWY_INLINE auto Outside(D d, int64_t before, int64_t end) {
  constexpr int64_t kMost = hn::MaxLanes(hn::ScalableTag<float>());
  struct Table {
    uint8_t bytes[3 * kMost] = {};
    constexpr Table() {
      for (int64_t i = 0; i < kMost; ++i) bytes[i] = bytes[2 * kMost + i] = 255;
    }
  };
  static constexpr Table kTable;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto clamp = [lanes](int64_t i) { return HWY_MIN(HWY_MAX(i, int64_t{0}), lanes); };
  return InRegister(
      hn::Or(LoadTaps(d, kTable.bytes + kMost - clamp(before)), LoadTaps(d, kTable.bytes + 2 * kMost - clamp(end))));
}

// What a strip loads: vectors of dy and taps at neighbouring output columns, its sources, from FirstSource on. With
// stride 1 source i meets tap column kernel - 1 - i. With stride 2 the columns of dx at an even distance from the
// padded edge, `even`, meet tap column 2 of source 0 and 0 of the last source; the others, `odd`, meet tap column 1 of
// one source. odd_pad: the parity of the width's leading padding; false for stride 1.
constexpr int64_t SourceCount(int kernel, int stride) { return stride == 1 ? kernel : 2; }
inline int64_t FirstSource(const Axis& width, int64_t column) {
  const int64_t at = column + width.pad_before;
  return width.stride == 1 ? at - (width.kernel - 1) * width.dilation : at / 2 - ((at & 1) == 0 ? 1 : 0);
}

// The sums of one row of dx before any dy: what is there.
template <class T, int kStride, bool kOddPad, class D, class V = hn::Vec<D>>
HWY_INLINE void LoadSums(D d, const T* HWY_RESTRICT row, V& even, V& odd) {
  using L = SumLanes<T>;
  if constexpr (kStride == 1) {
    even = L::Load(d, row);
  } else {
    const V lo = L::Load(d, row), hi = L::Load(d, row + hn::Lanes(d));
    (kOddPad ? odd : even) = EvenLanes(d, lo, hi);
    (kOddPad ? even : odd) = OddLanes(d, lo, hi);
  }
}

template <class T, int kStride, bool kOddPad, class D, class V = hn::Vec<D>>
HWY_INLINE void StoreSums(D d, bool far, V even, V odd, T* HWY_RESTRICT row) {
  if constexpr (kStride == 1) {
    if (kHasStreamPairs<D> && HWY_UNLIKELY(far)) {
      hn::Stream(even, d, row);
    } else {
      SumLanes<T>::Store(d, even, row);
    }
  } else {
    const V first = kOddPad ? odd : even, second = kOddPad ? even : odd;
    if (kHasStreamPairs<D> && HWY_UNLIKELY(far)) {
      StreamPairs(d, first, second, row);
    } else {
      StorePairs(d, first, second, row);
    }
  }
}

// One vector of columns down the rows of a block, all of whose loads and stores stay within the tensors. Without
// kMayAccumulate task.accumulate is not looked at: AVX-512 then begins sums by masked moves. False if it may have
// stored a NaN that is not canonical. (Beyond the caches, the address of this code alone makes up to 1.25 times:
// 112x112 of batch 32 took 5.4 ms or 6.8 ms, the same instructions moved by 400 bytes. Aligning it to 64 did not help.
// AVX2 is bound by operations, 36 for 3x3 s1: three to compare, select and add for each of nine taps. Subtracting -g
// under a mask, three numbers to compare with instead of nine, and a look ahead at dy for NaNs instead of notes took as
// long or longer, there and on AVX-512, which needs 0.84 cycles for a compare and an add, so 7.6 of its 9.6. Prefetches
// of dx for writing: 1.02 to 1.3 times as long.)
template <class T, int kKernel, int kStride, bool kOddPad, bool kMayAccumulate, class D>
HWY_NOINLINE bool Strip(D d, const Task<T>& task, const Block& block) {
  using L = SumLanes<T>;
  // Sums of whole rows of dx where vectors are halves: each row of dy is loaded for even and odd columns alike, so that
  // six compares and adds do for nine: 13x13 takes 0.9 of the time.
  constexpr bool kRows = kKernel == 3 && kStride == 2 && !kMayAccumulate && kHasPairedHalves<D>;
  const std::conditional_t<kRows, hn::ScalableTag<typename L::Lane>, D> sums;
  using V = hn::Vec<decltype(sums)>;
  constexpr int64_t kSources = SourceCount(kKernel, kStride);
  const Axis &height = task.height, &width = task.width;
  const int64_t first = FirstSource(width, block.column);
  const int64_t distance = kStride == 1 ? width.dilation : 1;  // between sources
  const bool accumulate = kMayAccumulate && task.accumulate, far = kStride == 2 && task.far;
  // Accumulation keeps what lies beyond the row of dx as it is; otherwise that is overwritten later, whatever it is. So
  // only then even and odd columns end apart, and `outside` counts for the even ones.
  const int64_t left = accumulate ? width.input - block.column : kStride * static_cast<int64_t>(hn::Lanes(d));
  const int64_t even_end = (left - kOddPad + kStride - 1) / kStride,
                odd_end = (left - !kOddPad + kStride - 1) / kStride;
  const auto outside = [&](int64_t source, int64_t end) HWY_ATTR {
    const int64_t begin = first + source * distance;
    return Outside(d, -begin, HWY_MIN(width.output - begin, end));
  };
  const auto outside0 = outside(0, even_end);
  auto outside1 = outside0, outside2 = outside0, outside_odd = outside0;
  if constexpr (kSources >= 2) outside1 = outside(1, even_end);
  if constexpr (kSources >= 3) outside2 = outside(2, even_end);
  if constexpr (kMayAccumulate && kStride == 2) outside_odd = outside(kOddPad ? 0 : kSources - 1, odd_end);
  const auto tap0 = InRegister(SetTap(sums, 0)), tap1 = InRegister(SetTap(sums, 1)), tap2 = InRegister(SetTap(sums, 2)),
             tap3 = InRegister(SetTap(sums, 3));
  auto tap4 = tap3, tap5 = tap3, tap6 = tap3, tap7 = tap3, tap8 = tap3;
  if constexpr (kKernel == 3) {
    tap4 = InRegister(SetTap(sums, 4));
    tap5 = InRegister(SetTap(sums, 5));
    tap6 = InRegister(SetTap(sums, 6));
    tap7 = InRegister(SetTap(sums, 7));
    tap8 = InRegister(SetTap(sums, 8));
  }
  // Of whole rows, what makes the taps of a pixel's two windows the last of their rows, or none's.
  auto added0 = tap0, added1 = tap0;
  if constexpr (kRows) {
    constexpr int64_t kColumns = hn::MaxLanes(sums);
    uint8_t by0[kColumns], by1[kColumns];
    for (int64_t i = 0; i < kColumns; ++i) {
      const bool even = (i & 1) == kOddPad;
      const int64_t window = first + i / 2, one = window + (!kOddPad && !even);
      by0[i] = one >= 0 && one < width.output ? !even : 255;
      by1[i] = even && window + 1 >= 0 && window + 1 < width.output ? 2 : 255;
    }
    added0 = InRegister(LoadTaps(sums, by0));
    added1 = InRegister(LoadTaps(sums, by1));
  }

  // The steps before the one that completes h_begin only fill the carried sums.
  const int64_t oh_whole = (block.h_begin + height.pad_before) / kStride;
  int64_t oh_begin = oh_whole - (kKernel - 1) / kStride;
  const int64_t oh_end = (block.h_end - 1 + height.pad_before) / kStride + 1;
  // Rows before this one exist, but reach no row of the block.
  const int64_t oh_first =
      HWY_MAX(block.h_begin + height.pad_before - (kKernel - 1) + kStride - 1, int64_t{0}) / kStride;
  if (!accumulate) oh_begin = HWY_MAX(oh_begin, HWY_MIN(oh_first, oh_whole));
  const int64_t dy_pitch = task.dy_pitch, taps_pitch = task.taps_pitch, dx_pitch = task.dx_pitch;
  // Rows of dx count from h_begin. A step of rows from r on has dy where r - with_dy is within dy_rows.
  const int64_t to_row = height.pad_before + block.h_begin, rows = block.h_end - block.h_begin;
  const int64_t r_begin = oh_begin * kStride - to_row, with_dy = oh_first * kStride - to_row;
  const int64_t dy_rows = HWY_MAX(HWY_MIN(oh_end, height.output) - oh_first, int64_t{0}) * kStride;
  const auto within = [](int64_t r, int64_t end) { return static_cast<uint64_t>(r) < static_cast<uint64_t>(end); };
  const int64_t output_size = height.output * width.output, input_size = height.input * width.input;
  const T* dy_slice = task.dy + (block.slice_begin * output_size + oh_begin * dy_pitch + first);
  const uint8_t* taps_slice = task.taps + (block.slice_begin * output_size + oh_begin * taps_pitch + first);
  T* dx_slice =
      task.dx + (block.slice_begin * input_size + (oh_begin * kStride - height.pad_before) * dx_pitch + block.column);
  V nan0 = hn::Zero(sums), nan1 = nan0;
  const auto load_sums = [&](const T* HWY_RESTRICT row, V& even, V& odd) HWY_ATTR {
    LoadSums<T, kStride, kOddPad>(sums, row, even, odd);
    nan0 = L::NoteNan(sums, nan0, even);
    if constexpr (kStride == 2) nan1 = L::NoteNan(sums, nan1, odd);
  };
  for (int64_t slices = block.slice_end - block.slice_begin; slices > 0; --slices) {
    const T* HWY_RESTRICT dy = dy_slice;
    const uint8_t* HWY_RESTRICT taps = taps_slice;
    T* HWY_RESTRICT row = dx_slice;
    dy_slice += output_size;
    taps_slice += output_size;
    dx_slice += input_size;
    V even0 = hn::Zero(sums), odd0 = even0, even1 = even0, odd1 = even0, even2 = even0, odd2 = even0;
    for (int64_t r = r_begin; r < rows; r += kStride) {
      // Carried are the rows from kStride on of the step before.
      constexpr int kCarried = kKernel - kStride;
      if constexpr (kCarried < 2) even1 = odd1 = hn::Zero(sums);
      if constexpr (kKernel == 3) even2 = odd2 = hn::Zero(sums);
      if (accumulate) {
        if (kCarried < 2 && within(r + 1, rows)) load_sums(row + dx_pitch, even1, odd1);
        if (kKernel == 3 && within(r + 2, rows)) load_sums(row + 2 * dx_pitch, even2, odd2);
      }
      if constexpr (kRows) {
        if (HWY_LIKELY(within(r - with_dy, dy_rows))) {
          const auto dy0 = L::Load(d, dy), dy1 = L::Load(d, dy + 1);
          const auto taps0 = LoadTaps(d, taps), taps1 = LoadTaps(d, taps + 1);
          const V one = PairHalves(d, dy0, kOddPad ? dy0 : dy1), other = PairHalves(d, dy1, dy1);
          const auto one_taps = AddTaps(sums, PairTaps(d, taps0, kOddPad ? taps0 : taps1), added0);
          const auto other_taps = AddTaps(sums, PairTaps(d, taps1, taps1), added1);
          nan0 = L::NoteNan(sums, nan0, one);
          if constexpr (kOddPad) nan1 = L::NoteNan(sums, nan1, other);
          even0 = AddTap(sums, AddTap(sums, even0, one, one_taps, tap2), other, other_taps, tap2);
          even1 = AddTap(sums, AddTap(sums, even1, one, one_taps, tap5), other, other_taps, tap5);
          even2 = AddTap(sums, AddTap(sums, even2, one, one_taps, tap8), other, other_taps, tap8);
        }
      } else if (HWY_LIKELY(within(r - with_dy, dy_rows))) {
        const V dy0 = InRegister(L::Load(d, dy));
        const auto taps0 = hn::Or(LoadTaps(d, taps), outside0);
        V dy1 = dy0, dy2 = dy0;
        auto taps1 = taps0, taps2 = taps0;
        if constexpr (kSources >= 2) {
          dy1 = InRegister(L::Load(d, dy + distance));
          taps1 = hn::Or(LoadTaps(d, taps + distance), outside1);
        }
        if constexpr (kSources >= 3) {
          dy2 = InRegister(L::Load(d, dy + 2 * distance));
          taps2 = hn::Or(LoadTaps(d, taps + 2 * distance), outside2);
        }
        nan0 = L::NoteNan(d, nan0, dy0);
        if constexpr (kSources >= 2) nan1 = L::NoteNan(d, nan1, kSources == 2 ? dy1 : dy2);
        auto taps_odd = kOddPad ? taps0 : taps1;
        if constexpr (kMayAccumulate && kStride == 2) {
          taps_odd = hn::Or(LoadTaps(d, taps + (kOddPad ? 0 : kSources - 1)), outside_odd);
        }
        // The dy of one row of the window, in ascending order, by the tap numbers of the row's columns.
        const auto add_row = [&](V& even, V& odd, auto column0, auto column1, auto column2) HWY_ATTR {
          if constexpr (kStride == 1 && kKernel == 3) {
            even = AddTap(d, even, dy0, taps0, column2);
            even = AddTap(d, even, dy1, taps1, column1);
            even = AddTap(d, even, dy2, taps2, column0);
          } else if constexpr (kStride == 1) {
            even = AddTap(d, even, dy0, taps0, column1);
            even = AddTap(d, even, dy1, taps1, column0);
          } else {
            even = AddTap(d, even, dy0, taps0, column2);
            even = AddTap(d, even, dy1, taps1, column0);
            odd = AddTap(d, odd, kOddPad ? dy0 : dy1, taps_odd, column1);
          }
          static_cast<void>(odd), static_cast<void>(column2);
        };
        add_row(even0, odd0, tap0, tap1, tap2);
        if constexpr (kKernel == 2) {
          add_row(even1, odd1, tap2, tap3, tap3);
        } else {
          add_row(even1, odd1, tap3, tap4, tap5);
          add_row(even2, odd2, tap6, tap7, tap8);
        }
      }
      if (HWY_LIKELY(r >= 0)) StoreSums<T, kRows ? 1 : kStride, kOddPad>(sums, far, even0, odd0, row);
      if constexpr (kStride == 2) {
        if (HWY_LIKELY(within(r + 1, rows))) {
          StoreSums<T, kRows ? 1 : kStride, kOddPad>(sums, far, even1, odd1, row + dx_pitch);
        }
        even0 = even2;
        odd0 = odd2;
      } else {
        even0 = even1;
        even1 = even2;
      }
      row += kStride * dx_pitch;
      dy += dy_pitch;
      taps += taps_pitch;
    }
  }
  return L::NoNan(sums, hn::Add(nan0, nan1));
}

// Bytes of dx that strips walk down before the next band of rows: few enough for cache lines that two strips share to
// stay in L2, many enough for the 30 ns that a strip takes to set up (8 rows of 224 floats instead of 256: 3.3 times).
constexpr int64_t kBandBytes = 256 * 1024;

// Whether rows of dx are written around the caches: whole lines of them, of which no strip writes beyond its row.
// 3x3 s2 over 32x64x112x112 takes 0.69 of the time.
inline bool FarRows(const BackwardCall& call, size_t element) {
  const Geometry& g = *call.geometry;
  const Strides& s = g.input;
  constexpr int64_t kLine = 64;
  const int64_t line = kLine / static_cast<int64_t>(element);
  return g.axis[kWidth].stride == 2 && apart::WritesAroundCaches(call, element) &&
         ((s.batch | s.channel | s.axis[kDepth] | s.axis[kHeight] | g.axis[kWidth].input) & (line - 1)) == 0 &&
         reinterpret_cast<uintptr_t>(call.dx) % kLine == 0;
}

// The strips of one kind of window, by what they do and how many lanes they have.
template <class T>
struct Strips {
  using Function = bool (*)(const Task<T>&, const Block&);
  Function whole, half, accumulate;  // half may be null
  int64_t lanes, sources;

  // Whether half a vector does for the last columns of a row, so many of them.
  bool TakesHalf(const Task<T>& task, int64_t columns) const {
    return half != nullptr && !task.accumulate && columns <= task.width.stride * lanes / 2;
  }
};

template <class T, int kKernel, int kStride, bool kOddPad, bool kMayAccumulate, bool kHalf>
bool StripOfLanes(const Task<T>& task, const Block& block) {
  const hn::ScalableTag<typename SumLanes<T>::Lane> d;
  if constexpr (kHalf) {
    return Strip<T, kKernel, kStride, kOddPad, kMayAccumulate>(hn::Half<decltype(d)>(), task, block);
  } else {
    return Strip<T, kKernel, kStride, kOddPad, kMayAccumulate>(d, task, block);
  }
}

template <class T, int kKernel, int kStride, bool kOddPad>
Strips<T> MakeStrips() {
  const hn::ScalableTag<typename SumLanes<T>::Lane> d;
  constexpr auto kWhole = &StripOfLanes<T, kKernel, kStride, kOddPad, true, false>;
  Strips<T> strips = {kWhole, nullptr, kWhole, static_cast<int64_t>(hn::Lanes(d)), SourceCount(kKernel, kStride)};
  // Where a vector is long for the planes of usual networks, half a vector stores less that is overwritten later, and
  // fewer of its loads and stores cross a cache line. Only these targets gain from kernels that cannot accumulate; the
  // size of either is spent on f32 alone. (Two planes in the halves of a vector instead took 0.88 of the time for 13x13
  // at 3x3 s2, as long as before for larger ones, and 8 KB more.)
  if constexpr (std::is_same<T, float>::value && hn::MaxLanes(d) * sizeof(float) >= 64) {
    strips.whole = &StripOfLanes<T, kKernel, kStride, kOddPad, false, false>;
    strips.half = &StripOfLanes<T, kKernel, kStride, kOddPad, false, true>;
  }
  return strips;
}

// Lines [begin, end) of dx, whose strips stay within what may be read and overwritten.
template <class T>
class Gatherer {
 public:
  Gatherer(const Task<T>& task, const Strips<T>& strips, int64_t begin, int64_t end)
      : task_(task), strips_(strips), begin_(begin), end_(end) {}

  [[gnu::cold]] void Run() {
    const int64_t height = task_.height.input, width = task_.width.input;
    const int64_t columns = task_.width.stride * strips_.lanes, last_column = (width - 1) / columns * columns;
    const int64_t band_rows = HWY_MAX(kBandBytes / (width * static_cast<int64_t>(sizeof(T))), int64_t{16});
    const int64_t most_slices = last_column == 0 ? INT64_MAX : band_rows / height;
    Block block;
    for (int64_t line = begin_; line < end_; line = (block.slice_end - 1) * height + block.h_end) {
      block.slice_begin = line / height;
      block.h_begin = line - block.slice_begin * height;
      const int64_t slices = block.h_begin == 0 ? HWY_MIN(most_slices, (end_ - line) / height) : 0;
      block.slice_end = block.slice_begin + HWY_MAX(slices, int64_t{1});
      block.h_end = HWY_MIN(height, block.h_begin + HWY_MIN(slices > 1 ? height : band_rows, end_ - line));
      for (block.column = last_column; block.column >= 0; block.column -= columns) Sum(block);
    }
  }

 private:
  void Sum(const Block& block) const {
    const int64_t left = task_.width.input - block.column;
    const bool half = strips_.TakesHalf(task_, left);
    const auto strip = half ? strips_.half : task_.accumulate ? strips_.accumulate : strips_.whole;
    if (HWY_LIKELY(strip(task_, block))) return;
    const int64_t columns = HWY_MIN(left, task_.width.stride * (half ? strips_.lanes / 2 : strips_.lanes));
    for (int64_t s = block.slice_begin; s < block.slice_end; ++s) {
      for (int64_t h = block.h_begin; h < block.h_end; ++h) {
        SumLanes<T>::CanonicalRun(columns, task_.dx + (s * task_.height.input + h) * task_.dx_pitch + block.column);
      }
    }
  }

  const Task<T>& task_;
  const Strips<T> strips_;
  const int64_t begin_, end_;
};

template <class T>
Strips<T> StripsFor(const Axis& width) {
  const bool odd_pad = (width.pad_before & 1) != 0;
  if (width.stride == 1) return width.kernel == 2 ? MakeStrips<T, 2, 1, false>() : MakeStrips<T, 3, 1, false>();
  return odd_pad ? MakeStrips<T, 3, 2, true>() : MakeStrips<T, 3, 2, false>();
}

// What strips do not take in place: the 16-bit floats, dilated windows, tensors with gaps, and a call's first and last
// lines. Blocks of lines are widened into scratch, gathered there with room on all sides, and rounded. The rows of a
// block that dilated windows have in common become neighbours.
// (Strips that convert in every load and store took 40 KB more; f16 0.9 and bf16 1.1 times as long. Rounding
// without a look for NaNs, which dy was scanned for, took as long.)
template <class T>
class InScratch {
 public:
  [[gnu::cold]] explicit InScratch(const BackwardCall& call)
      : call_(call),
        g_(*call.geometry),
        dy_(static_cast<const T*>(call.dy)),
        taps_(static_cast<const uint8_t*>(call.taps.base) - call.taps.origin),
        dx_(static_cast<T*>(call.dx)),
        plain_(g_.axis[kDepth].input == g_.axis[kDepth].output),
        dense_dx_(Dense(g_.input, false)),
        dense_dy_(plain_ ? Dense(g_.output, true) : 0),
        dense_taps_(plain_ ? Dense(call.taps.strides, true) : 0) {}

  [[gnu::cold]] void Run() {
    const Axis &height = g_.axis[kHeight], &width = g_.axis[kWidth];
    const int64_t columns = HWY_MIN(width.input, kMostColumns);
    // What a row of dx takes, with its share of dy and taps; a block needs some rows of those beyond its share.
    const int64_t window_row = (columns / width.stride + 2 * width.dilation + 1) * (kSum + 1);
    const int64_t row = columns * kSum + (window_row + height.stride - 1) / height.stride;
    const int64_t beyond = (2 * height.dilation + 1) * window_row;
    const int64_t room = BlockBytes() - 6 * Margin() * kSum - beyond;
    const int64_t most_rows = room / row;
    for (int64_t line = call_.begin, end; line < call_.end; line = end) {
      const int64_t slice = line / height.input, h = line - slice * height.input;
      const int64_t own = HWY_MIN(height.input - h, call_.end - line);
      int64_t slices = 1, rows = own;
      if (plain_ && own == height.input && most_rows >= height.input) {
        // Each slice needs some rows beyond its share, too.
        const int64_t whole = height.input * row + beyond;
        slices = HWY_MAX(HWY_MIN(room / whole, (call_.end - line) / height.input), int64_t{1});
      } else if (own > most_rows) {
        const int64_t parts = (own + most_rows - 1) / most_rows;
        rows = HWY_MIN(((own + parts - 1) / parts + height.stride - 1) / height.stride * height.stride, most_rows);
      }
      end = line + (slices - 1) * height.input + rows;
      for (int64_t w = 0; w < width.input; w += columns) {
        for (int64_t i = 0; i < HWY_MIN(height.dilation, rows); ++i) {
          Gather(slice, slices, h + i, (rows - i + height.dilation - 1) / height.dilation, w,
                 HWY_MIN(columns, width.input - w));
        }
      }
    }
  }

 private:
  using L = SumLanes<T>;
  using Sum = typename L::Lane;
  static constexpr int64_t kSum = sizeof(Sum);
  static constexpr int64_t kMostColumns = 1024;
  // Of a block, which stays in L1 with what is read and written; with 64 KB 3x3 s2 over 56x56 took 1.1 times as long.
  // Lines of dilated windows, one by one, rather have more of them.
  int64_t BlockBytes() const { return g_.axis[kHeight].dilation == 1 ? 48 << 10 : 64 << 10; }
  int64_t Dense(const Strides& strides, bool output) const {
    const Axis &height = g_.axis[kHeight], &width = g_.axis[kWidth];
    if (DenseExtent(g_, strides, output) != kTensor) return 0;
    return output ? height.output * width.output : height.input * width.input;
  }
  // Sums that strips reach beyond tensors.
  static int64_t Margin() { return 2 * static_cast<int64_t>(hn::Lanes(hn::ScalableTag<Sum>())) + 32; }

  static HWY_NOINLINE void Widen(const T* HWY_RESTRICT from, int64_t count, Sum* HWY_RESTRICT to) {
    const hn::ScalableTag<Sum> d;
    const hn::CappedTag<Sum, 1> d1;
    int64_t i = 0;
    for (const int64_t n = static_cast<int64_t>(hn::Lanes(d)); i + n <= count; i += n) {
      hn::StoreU(L::Load(d, from + i), d, to + i);
    }
    for (; i < count; ++i) hn::StoreU(L::Load(d1, from + i), d1, to + i);
  }
  static HWY_NOINLINE void Round(const Sum* HWY_RESTRICT from, int64_t count, T* HWY_RESTRICT to) {
    const hn::ScalableTag<Sum> d;
    const hn::CappedTag<Sum, 1> d1;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    int64_t i = 0;
    // Two at a time: the address of a shorter loop made up to 1.5 times (bf16 on AVX2).
    for (; i + 2 * n <= count; i += 2 * n) {
      L::Store(d, L::Canonical(d, hn::LoadU(d, from + i)), to + i);
      L::Store(d, L::Canonical(d, hn::LoadU(d, from + i + n)), to + i + n);
    }
    for (; i + n <= count; i += n) L::Store(d, L::Canonical(d, hn::LoadU(d, from + i)), to + i);
    for (; i < count; ++i) L::Store(d1, L::Canonical(d1, hn::LoadU(d1, from + i)), to + i);
  }

  [[gnu::cold]] HWY_NOINLINE void Gather(int64_t slice, int64_t slices, int64_t h, int64_t rows, int64_t w,
                                         int64_t columns) {
    const Axis &height = g_.axis[kHeight], &width = g_.axis[kWidth];
    // Most blocks are like the one before.
    if (h != h_ || rows != rows_ || w != w_ || columns != columns_) {
      h_ = h, rows_ = rows, w_ = w, columns_ = columns;
      height_ = Part(height, h, rows, height.dilation, &oh_);
      width_ = Part(width, w, columns, 1, &ow_);
    }
    const int64_t oh = oh_, ow = ow_;
    Axis block_height = height_;
    // A slice beyond the last window.
    if (!plain_ && slice % g_.axis[kDepth].input >= g_.axis[kDepth].output) block_height.output = 0;
    const int64_t output_rows = block_height.output, windows = width_.output;
    const int64_t outputs = slices * output_rows * windows;
    Sum* const dx = static_cast<Sum*>(call_.scratch) + Margin();
    Sum* const dy = dx + slices * rows * columns + 2 * Margin();
    uint8_t* const taps = reinterpret_cast<uint8_t*>(dy + outputs + 2 * Margin());
    const LineBox to = {slice, slices, h, height.dilation, rows, height.input, w, columns, width.input};
    const LineBox from = {slice, slices, oh, height.dilation, output_rows, height.output, ow, windows, width.output};
    if (outputs > 0) {
      ForEachPiece(g_, g_.output, dense_dy_, from,
                   [&](int64_t whole, int64_t part, int64_t count) { Widen(dy_ + whole, count, dy + part); });
      ForEachPiece(g_, call_.taps.strides, dense_taps_, from, [&](int64_t whole, int64_t part, int64_t count) {
        std::memcpy(taps + part, taps_ + whole, static_cast<size_t>(count));
      });
    }
    if (call_.accumulate) {
      ForEachPiece(g_, g_.input, dense_dx_, to,
                   [&](int64_t whole, int64_t part, int64_t count) { Widen(dx_ + whole, count, dx + part); });
    }
    const Task<Sum> task = {block_height, width_, dy, taps, dx, windows, windows, columns, call_.accumulate, false};
    Gatherer<Sum>(task, StripsFor<Sum>(width_), 0, slices * rows).Run();
    ForEachPiece(g_, g_.input, dense_dx_, to,
                 [&](int64_t whole, int64_t part, int64_t count) { Round(dx + part, count, dx_ + whole); });
  }

  const BackwardCall& call_;
  const Geometry& g_;
  const T* const dy_;
  const uint8_t* const taps_;
  T* const dx_;
  const bool plain_;
  const int64_t dense_dx_, dense_dy_, dense_taps_;  // elements of a slice, see ForEachPiece
  // The axes of a block, and what of the tensors it is.
  Axis height_, width_;
  int64_t h_ = -1, rows_ = 0, w_ = 0, columns_ = 0, oh_ = 0, ow_ = 0;
};

// Undilated windows of f32 and f64: strips in place as far as there is room around them, the lines between in scratch.
template <class T>
class InPlace {
 public:
  explicit InPlace(const BackwardCall& call)
      : call_(call),
        g_(*call.geometry),
        strips_(StripsFor<T>(g_.axis[kWidth])),
        task_{g_.axis[kHeight],
              g_.axis[kWidth],
              nullptr,
              nullptr,
              nullptr,
              g_.output.axis[kHeight],
              call.taps.strides.axis[kHeight],
              g_.input.axis[kHeight],
              call.accumulate,
              FarRows(call, sizeof(T))} {}

  [[gnu::cold]] void Run() {
    const Strides& tap_strides = call_.taps.strides;
    const Axis& depth = g_.axis[kDepth];
    const int64_t height = task_.height.input;
    Dense dense_dy = HWY_MIN(DenseExtent(g_, g_.output, true), DenseExtent(g_, tap_strides, true));
    if (depth.input != depth.output) dense_dy = HWY_MIN(dense_dy, kSlice);
    const Dense dense = HWY_MIN(dense_dy, DenseExtent(g_, g_.input, false));
    // Neighbouring slices without gaps.
    const int64_t slices = dense == kTensor ? INT64_MAX / height : 1;
    const auto in_scratch = [&](int64_t begin, int64_t end) {
      BackwardCall part = call_;
      part.begin = begin, part.end = end;
      if (begin < end) InScratch<T>(part).Run();
    };
    int64_t done = call_.begin;
    for (int64_t line = call_.begin, run_end; line < call_.end; line = run_end) {
      const int64_t slice = line / height / slices * slices, origin = slice * height;
      run_end = slices > (call_.end - origin) / height ? call_.end : origin + slices * height;
      task_.dy = static_cast<const T*>(call_.dy) + SliceOffset(g_, g_.output, slice);
      task_.taps =
          static_cast<const uint8_t*>(call_.taps.base) - call_.taps.origin + SliceOffset(g_, tap_strides, slice);
      task_.dx = static_cast<T*>(call_.dx) + SliceOffset(g_, g_.input, slice);
      // No windows lie in slices beyond the last window.
      task_.height.output = slice % depth.input < depth.output ? g_.axis[kHeight].output : 0;
      int64_t begin = line, end = run_end;
      if (dense_dy == kTensor) {
        Narrow(FirstDy(call_.begin), EndDy(call_.end), &begin, &end);
      } else {
        Narrow(FirstDy(line), EndDy(run_end), &begin, &end);
      }
      // Few lines are not worth a strip of their own.
      if (2 * (end - begin) < run_end - line) continue;
      in_scratch(done, begin);
      Gatherer<T>(task_, strips_, begin - origin, end - origin).Run();
      done = end;  // the lines behind, which strips run over, come later
    }
    in_scratch(done, call_.end);
    if (task_.far) hwy::FlushStream();
  }

 private:
  // Lines of dy before those that a line of dx has windows from, and up to the last of these.
  int64_t FirstDy(int64_t line) const {
    const Axis& height = task_.height;
    const int64_t slice = line / height.input;
    return slice * height.output + HWY_MIN(height.FirstTouching(line - slice * height.input), height.output);
  }
  int64_t EndDy(int64_t line) const {
    const Axis& height = task_.height;
    const int64_t slice = (line - 1) / height.input;
    return slice * height.output + height.TouchingEnd(line - slice * height.input);
  }
  // Narrows lines [*begin, *end) of dx to those whose strips touch no others, and of dy none but [dy_begin, dy_end).
  void Narrow(int64_t dy_begin, int64_t dy_end, int64_t* begin, int64_t* end) const {
    const Axis& width = task_.width;
    const int64_t first_line = *begin, end_line = *end;
    // Elements that strips reach beyond a line of dy on either side, and of dx.
    const int64_t columns = width.stride * strips_.lanes, last_column = (width.input - 1) / columns * columns;
    const int64_t left = width.input - last_column,
                  lanes = strips_.TakesHalf(task_, left) ? strips_.lanes / 2 : strips_.lanes;
    const int64_t before = -FirstSource(width, 0), over = width.stride * lanes - left;
    const int64_t beyond = FirstSource(width, last_column) + lanes + strips_.sources - 1 - width.output;
    const bool gaps = task_.dy_pitch != width.output || task_.taps_pitch != width.output;
    if ((gaps && HWY_MAX(before, beyond) > 0) || (task_.dx_pitch != width.input && over > 0)) *end = first_line;
    while (*begin < *end && (FirstDy(*begin) - dy_begin) * width.output < before) ++*begin;
    while (*begin < *end &&
           ((dy_end - EndDy(*end)) * width.output < beyond || (end_line - *end) * width.input < over)) {
      --*end;
    }
  }

  const BackwardCall& call_;
  const Geometry& g_;
  const Strips<T> strips_;
  Task<T> task_;
};

}  // namespace gather_first

template <class T>
[[gnu::cold]] void GatherChannelsFirst(const BackwardCall& call) {
  const Geometry& g = *call.geometry;
  if (call.begin >= call.end) return;
  if (g.IsApart()) {
    apart::ChannelsFirst(call, apart::ElementOf<T>());
  } else if (sizeof(T) == 2 || g.axis[kHeight].dilation != 1 || g.axis[kWidth].dilation != 1) {
    gather_first::InScratch<T>(call).Run();
  } else if constexpr (sizeof(T) != 2) {
    gather_first::InPlace<T>(call).Run();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
