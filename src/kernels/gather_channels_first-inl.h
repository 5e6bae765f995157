// SPDX-License-Identifier: Apache-2.0
// Backward of small windows over channels-first tensors as a gather: each pixel of dx sums the dy of the windows that
// name it. No zeroing pass and no scatter, and the order of summation is the serial one: ascending output position.
//
// Accepts channels-first geometries with u8 taps, depth kernel 1, dilation 1, no empty window, and (kernel, stride)
// equal on height and width out of (2,2), (3,2), (3,1), (2,1); padding is free.
//
// A strip of one vector of columns walks down the rows of dy. Each row of dy and of widened taps is loaded once per
// column of the window and meets the `kernel` rows of dx that it covers: `stride` of them are then complete, the others
// are carried in registers. With stride 2, even and odd columns of dx are gathered apart and stored interleaved.
//
// Strips begin at column 0 of dx and go from right to left, so that a store may run beyond the end of its row, into the
// beginning of rows that are stored later: no tail anywhere but at the end of the caller's lines.
#if defined(PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace gather_first {

// What a call's blocks share. A slice is one (n, c, d); offsets are in elements.
template <class T>
struct Task {
  const Geometry& g;
  const T* dy;
  const uint8_t* taps;
  const Strides& tap_strides;
  T* dx;
  bool accumulate;
};

// Rows [h_begin, h_end) of the slices [slice_begin, slice_end) of dx, from column on.
struct Block {
  int64_t slice_begin, slice_end, h_begin, h_end, column;
};

// Where a slice's tensors begin; no row of dy exists where the depth's stride or padding leaves the slice uncovered.
template <class T>
struct Slice {
  const T* dy;
  const uint8_t* taps;
  T* dx;
  int64_t output_rows;

  Slice(const Task<T>& task, int64_t slice) {
    const Geometry& g = task.g;
    const Axis& depth = g.axis[kDepth];
    const int64_t plane = slice / depth.input, d = slice - plane * depth.input;
    const int64_t n = plane / g.channels, c = plane - n * g.channels;
    const int64_t from = d + depth.pad_before, od = from / depth.stride;
    output_rows = od * depth.stride == from && od < depth.output ? g.axis[kHeight].output : 0;
    dy = task.dy + (n * g.output.batch + c * g.output.channel + od * g.output.axis[kDepth]);
    taps = task.taps + (n * task.tap_strides.batch + c * task.tap_strides.channel + od * task.tap_strides.axis[kDepth]);
    dx = task.dx + (n * g.input.batch + c * g.input.channel + d * g.input.axis[kDepth]);
  }
};

// One sum at a time: what a strip would have to load or store outside the tensors for.
template <class T>
HWY_NOINLINE void SumPixels(const Task<T>& task, const Block& block, int64_t columns) {
  using L = SumLanes<T>;
  using Sum = typename L::Lane;
  const hn::CappedTag<Sum, 1> d1;
  const Axis &height = task.g.axis[kHeight], &width = task.g.axis[kWidth];
  const int kernel = static_cast<int>(width.kernel), shift = static_cast<int>(width.stride) - 1;
  // Outputs [begin, end) that cover a position `at` beyond the padded edge.
  const auto begin = [&](int64_t at) { return HWY_MAX(at - kernel + 1 + shift, int64_t{0}) >> shift; };
  const auto end = [&](int64_t at, int64_t output) { return HWY_MIN((at >> shift) + 1, output); };
  for (int64_t s = block.slice_begin; s < block.slice_end; ++s) {
    const Slice<T> slice(task, s);
    for (int64_t h = block.h_begin; h < block.h_end; ++h) {
      T* row = slice.dx + h * task.g.input.axis[kHeight];
      const int64_t at_h = h + height.pad_before, oh_end = end(at_h, slice.output_rows);
      for (int64_t w = block.column; w < block.column + columns; ++w) {
        const int64_t at_w = w + width.pad_before, ow_end = end(at_w, width.output);
        Sum sum = task.accumulate ? hn::GetLane(L::Load(d1, row + w)) : Sum{0};
        for (int64_t oh = begin(at_h); oh < oh_end; ++oh) {
          const T* dy = slice.dy + oh * task.g.output.axis[kHeight];
          const uint8_t* taps = slice.taps + oh * task.tap_strides.axis[kHeight];
          const int64_t row_tap = (at_h - (oh << shift)) * kernel + at_w;
          for (int64_t ow = begin(at_w); ow < ow_end; ++ow) {
            if (taps[ow] == row_tap - (ow << shift)) sum += hn::GetLane(L::Load(d1, dy + ow));
          }
        }
        L::Store(d1, hn::Set(d1, sum), row + w);
      }
    }
  }
}

// sum + g where the tap is `tap`: one masked add on AVX-512, where adding a masked g costs up to 23 % more.
template <class D, class Taps, class V = hn::Vec<D>>
HWY_INLINE V AddTap(D d, V sum, V g, Taps taps, int tap) {
  return hn::IfThenElse(TapIs(d, taps, tap), hn::Add(sum, g), sum);
}

// 255, which names no tap, in the lanes whose column first + lane * step is not in [0, columns), 0 in the others.
template <class D>
HWY_INLINE auto Outside(D d, int64_t first, int64_t step, int64_t columns) {
  HWY_ALIGN uint8_t outside[hn::MaxLanes(D())];
  for (int64_t i = 0; i < static_cast<int64_t>(hn::Lanes(d)); ++i) {
    outside[i] = static_cast<uint64_t>(first + i * step) < static_cast<uint64_t>(columns) ? 0 : 255;
  }
  return LoadTaps(d, outside);
}

// What a strip loads: kSources vectors of dy and taps at neighbouring output columns, from First on. With stride 1
// source i meets tap column kKernel - 1 - i. With stride 2 the columns of dx at an even distance from the padded edge,
// `even`, meet tap column 2 of source 0, if there is one, and 0 of the last source; the others meet tap column 1 of one
// source. kOddPad: the parity of the width's leading padding; false for stride 1.
template <int kKernel, int kStride, bool kOddPad>
struct Sources {
  static constexpr int kSources = kStride == 1 ? kKernel : kKernel == 3 || kOddPad ? 2 : 1;
  static int64_t First(const Axis& width, int64_t column) {
    return kStride == 1 ? column + width.pad_before - (kKernel - 1)
                        : (column + width.pad_before) / 2 - (kKernel == 3 && !kOddPad ? 1 : 0);
  }
};

// The sums of one row of dx before any dy: 0, or what is there.
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
HWY_INLINE void StoreSums(D d, V even, V odd, T* HWY_RESTRICT row) {
  using L = SumLanes<T>;
  const V first = kOddPad ? odd : even, second = kOddPad ? even : odd;
  if constexpr (kStride == 1) {
    L::Store(d, even, row);
  } else if constexpr (std::is_same<typename L::Lane, T>::value) {
    StorePairs(d, first, second, row);
  } else {
    HWY_ALIGN float pairs[2 * hn::MaxLanes(D())];
    StorePairs(d, first, second, pairs);
    L::Store(d, hn::Load(d, pairs), row);
    L::Store(d, hn::Load(d, pairs + hn::Lanes(d)), row + hn::Lanes(d));
  }
}

// One vector of columns down the rows of a block, all of whose loads and stores stay within the tensors.
template <class T, int kKernel, int kStride, bool kOddPad, bool kAccumulate, class D>
HWY_NOINLINE void Strip(D d, const Task<T>& task, const Block& block) {
  using V = hn::Vec<D>;
  using L = SumLanes<T>;
  using S = Sources<kKernel, kStride, kOddPad>;
  const Axis &height = task.g.axis[kHeight], &width = task.g.axis[kWidth];
  const int64_t first = S::First(width, block.column);
  const auto outside0 = Outside(d, first, 1, width.output), outside1 = Outside(d, first + 1, 1, width.output),
             outside2 = Outside(d, first + 2, 1, width.output);
  // Accumulation keeps what lies beyond the row as it is. Otherwise that is overwritten later, whatever it is.
  const auto outside_even = Outside(d, block.column + kOddPad, kStride, width.input),
             outside_odd = Outside(d, block.column + !kOddPad, kStride, width.input);

  // The steps before the one that completes h_begin only fill the carried sums.
  const int64_t oh_begin = (block.h_begin + height.pad_before) / kStride - (kKernel - 1) / kStride;
  const int64_t oh_end = (block.h_end - 1 + height.pad_before) / kStride + 1;
  // Rows before this one exist, but reach no row of the block.
  const int64_t oh_first =
      HWY_MAX(block.h_begin + height.pad_before - (kKernel - 1) + kStride - 1, int64_t{0}) / kStride;
  const int64_t dx_pitch = task.g.input.axis[kHeight], dy_pitch = task.g.output.axis[kHeight],
                taps_pitch = task.tap_strides.axis[kHeight];
  const int64_t h_begin = block.h_begin, h_end = block.h_end;

  for (int64_t s = block.slice_begin; s < block.slice_end; ++s) {
    const Slice<T> slice(task, s);
    const int64_t oh_last = HWY_MIN(oh_end, slice.output_rows);
    const T* HWY_RESTRICT dy = slice.dy + (oh_begin * dy_pitch + first);
    const uint8_t* HWY_RESTRICT taps = slice.taps + (oh_begin * taps_pitch + first);
    int64_t h = oh_begin * kStride - height.pad_before;
    T* HWY_RESTRICT row = slice.dx + (h * dx_pitch + block.column);
    V even0 = hn::Zero(d), odd0 = even0, even1 = even0, odd1 = even0, even2 = even0, odd2 = even0;
    for (int64_t oh = oh_begin; oh < oh_end; ++oh) {
      // Carried are the rows from kStride on of the step before.
      constexpr int kCarried = kKernel - kStride;
      if constexpr (kCarried < 1) even0 = odd0 = hn::Zero(d);
      if constexpr (kCarried < 2) even1 = odd1 = hn::Zero(d);
      if constexpr (kKernel == 3) even2 = odd2 = hn::Zero(d);
      if constexpr (kAccumulate) {
        const auto owned = [&](int64_t r) { return r >= h_begin && r < h_end; };
        if (kCarried < 1 && owned(h)) LoadSums<T, kStride, kOddPad>(d, row, even0, odd0);
        if (kCarried < 2 && owned(h + 1)) LoadSums<T, kStride, kOddPad>(d, row + dx_pitch, even1, odd1);
        if (kKernel == 3 && owned(h + 2)) LoadSums<T, kStride, kOddPad>(d, row + 2 * dx_pitch, even2, odd2);
      }
      if (HWY_LIKELY(oh >= oh_first && oh < oh_last)) {
        const V dy0 = L::Load(d, dy);
        auto taps0 = hn::Or(LoadTaps(d, taps), outside0);
        V dy1 = dy0, dy2 = dy0;
        auto taps1 = taps0, taps2 = taps0;
        if constexpr (S::kSources >= 2) {
          dy1 = L::Load(d, dy + 1);
          taps1 = hn::Or(LoadTaps(d, taps + 1), outside1);
        }
        if constexpr (S::kSources >= 3) {
          dy2 = L::Load(d, dy + 2);
          taps2 = hn::Or(LoadTaps(d, taps + 2), outside2);
        }
        auto taps_odd = kOddPad ? taps0 : taps1;
        if constexpr (kAccumulate) {
          taps0 = hn::Or(taps0, outside_even);
          taps1 = hn::Or(taps1, outside_even);
          taps2 = hn::Or(taps2, outside_even);
          taps_odd = hn::Or(taps_odd, outside_odd);
        }
        // The dy of one row of the window, whose first tap is `tap`, in ascending order.
        const auto add_row = [&](V& even, V& odd, int tap) HWY_ATTR {
          if constexpr (kStride == 1) {
            even = AddTap(d, even, dy0, taps0, tap + kKernel - 1);
            even = AddTap(d, even, dy1, taps1, tap + kKernel - 2);
            if constexpr (kKernel == 3) even = AddTap(d, even, dy2, taps2, tap);
            static_cast<void>(odd);
          } else {
            if constexpr (kKernel == 3) even = AddTap(d, even, dy0, taps0, tap + 2);
            even = AddTap(d, even, dy1, taps1, tap);
            odd = AddTap(d, odd, kOddPad ? dy0 : dy1, taps_odd, tap + 1);
          }
        };
        add_row(even0, odd0, 0);
        add_row(even1, odd1, kKernel);
        if constexpr (kKernel == 3) add_row(even2, odd2, 2 * kKernel);
      }
      if (HWY_LIKELY(h >= h_begin)) StoreSums<T, kStride, kOddPad>(d, even0, odd0, row);
      if constexpr (kStride == 2) {
        if (HWY_LIKELY(h + 1 >= h_begin && h + 1 < h_end)) {
          StoreSums<T, kStride, kOddPad>(d, even1, odd1, row + dx_pitch);
        }
        even0 = even2;
        odd0 = odd2;
      } else {
        even0 = even1;
        even1 = even2;
      }
      h += kStride;
      row += kStride * dx_pitch;
      dy += dy_pitch;
      taps += taps_pitch;
    }
  }
}

// How far lines follow each other without a gap.
enum Dense { kLine, kSlice, kTensor };

inline Dense DenseLines(const Geometry& g, const Strides& strides, bool output) {
  const auto size = [&](int a) { return output ? g.axis[a].output : g.axis[a].input; };
  int64_t pitch = size(kWidth);
  if (size(kHeight) != 1 && strides.axis[kHeight] != pitch) return kLine;
  pitch *= size(kHeight);
  if (size(kDepth) != 1 && strides.axis[kDepth] != pitch) return kSlice;
  pitch *= size(kDepth);
  if (g.channels != 1 && strides.channel != pitch) return kSlice;
  pitch *= g.channels;
  return g.batch == 1 || strides.batch == pitch ? kTensor : kSlice;
}

// Rows walked down before the next strip: enough to make rows read twice cheap, few enough to stay in L1.
constexpr int64_t kBandRows = 32;

template <class T, int kKernel, int kStride, bool kOddPad>
HWY_INLINE void Lines(const Task<T>& task, int64_t begin, int64_t end) {
  using S = Sources<kKernel, kStride, kOddPad>;
  using Lane = typename SumLanes<T>::Lane;
  const hn::ScalableTag<Lane> d;
  const Geometry& g = task.g;
  const Axis &height = g.axis[kHeight], &width = g.axis[kWidth];
  const bool same_depth =
      g.axis[kDepth].input == g.axis[kDepth].output && g.axis[kDepth].stride == 1 && g.axis[kDepth].pad_before == 0;
  Dense dense_output = HWY_MIN(DenseLines(g, g.output, true), DenseLines(g, task.tap_strides, true));
  if (dense_output == kTensor && !same_depth) dense_output = kSlice;
  const Dense dense_dx = DenseLines(g, g.input, false);

  // Rows of dy that rows [h_begin, h_end) of dx need; the taps of no others may be there, see TapView.
  const auto oh_begin = [&](int64_t h_begin) {
    return HWY_MIN(HWY_MAX(h_begin + height.pad_before - (kKernel - 1) + kStride - 1, int64_t{0}) / kStride,
                   height.output);
  };
  const auto oh_end = [&](int64_t h_end) {
    return HWY_MIN((h_end - 1 + height.pad_before) / kStride + 1, height.output);
  };
  const int64_t first_slice = begin / height.input, last_slice = (end - 1) / height.input;
  const int64_t line_begin = first_slice * height.output + oh_begin(begin - first_slice * height.input);
  const int64_t line_end = last_slice * height.output + oh_end(end - last_slice * height.input);

  // The rows of a block whose vectors stay within what may be read and overwritten by strip, the others by pixel.
  const auto sum = [&](Block block, int64_t lanes, auto&& strip) HWY_ATTR {
    const int64_t columns = HWY_MIN(kStride * lanes, width.input - block.column);
    const int64_t first = S::First(width, block.column), last = first + lanes + S::kSources - 1;
    int64_t rows_begin = block.h_begin, rows_end = block.h_end;
    // Rows of dy that would be read before the first or beyond the last readable element.
    const int64_t before = HWY_MAX(-first, int64_t{0}), beyond = HWY_MAX(last - width.output, int64_t{0});
    int64_t oh_least = oh_begin(block.h_begin), oh_most = oh_end(block.h_end);
    const int64_t line = block.slice_begin * height.output;
    const int64_t rows_before = dense_output == kTensor ? line + oh_least - line_begin : 0;
    const int64_t rows_beyond =
        dense_output == kTensor ? line_end - ((block.slice_end - 1) * height.output + oh_most) : 0;
    const int64_t lacking_before = dense_output == kLine ? (before > 0 ? height.output : 0)
                                                         : (before + width.output - 1) / width.output - rows_before;
    const int64_t lacking_beyond = dense_output == kLine ? (beyond > 0 ? height.output : 0)
                                                         : (beyond + width.output - 1) / width.output - rows_beyond;
    if (lacking_before > 0) {
      rows_begin = HWY_MAX(rows_begin, (oh_least + lacking_before - 1) * kStride - height.pad_before + kKernel);
    }
    if (lacking_beyond > 0) rows_end = HWY_MIN(rows_end, (oh_most - lacking_beyond) * kStride - height.pad_before);
    // Rows whose stores would run beyond the caller's lines.
    const int64_t over = kStride * lanes - columns;
    if (over > 0) {
      const int64_t lines_beyond = dense_dx == kTensor ? end - ((block.slice_end - 1) * height.input + block.h_end)
                                   : dense_dx == kSlice
                                       ? HWY_MIN(height.input, end - (block.slice_end - 1) * height.input) - block.h_end
                                       : 0;
      const int64_t lacking = dense_dx == kLine ? height.input : (over + width.input - 1) / width.input - lines_beyond;
      if (lacking > 0) rows_end = HWY_MIN(rows_end, block.h_end - lacking);
    }
    rows_begin = HWY_MIN(rows_begin, block.h_end);
    rows_end = HWY_MAX(rows_begin, rows_end);
    Block part = block;
    part.h_end = rows_begin;
    if (part.h_begin < part.h_end) SumPixels(task, part, columns);
    part.h_begin = rows_begin;
    part.h_end = rows_end;
    if (part.h_begin < part.h_end) strip(part);
    part.h_begin = rows_end;
    part.h_end = block.h_end;
    if (part.h_begin < part.h_end) SumPixels(task, part, columns);
  };
  const auto sum_block = [&](const Block& block) HWY_ATTR {
    // Half a vector stores less that is overwritten later, and fewer of its loads and stores cross a cache line.
    if constexpr (hn::MaxLanes(d) * sizeof(Lane) >= 64) {
      const hn::Half<decltype(d)> dh;
      const int64_t lanes = static_cast<int64_t>(hn::Lanes(dh));
      if (!task.accumulate && width.input - block.column <= kStride * lanes) {
        sum(block, lanes,
            [&](const Block& part) HWY_ATTR { Strip<T, kKernel, kStride, kOddPad, false>(dh, task, part); });
        return;
      }
    }
    sum(block, static_cast<int64_t>(hn::Lanes(d)), [&](const Block& part) HWY_ATTR {
      if (task.accumulate) {
        Strip<T, kKernel, kStride, kOddPad, true>(d, task, part);
      } else {
        Strip<T, kKernel, kStride, kOddPad, false>(d, task, part);
      }
    });
  };

  const int64_t columns = kStride * static_cast<int64_t>(hn::Lanes(d));
  for (int64_t line = begin; line < end;) {
    Block block;
    block.slice_begin = line / height.input;
    block.slice_end = block.slice_begin + 1;
    const int64_t h = line - block.slice_begin * height.input;
    const int64_t h_end = HWY_MIN(height.input, h + end - line);
    line += h_end - h;
    if (width.input <= columns) {
      // One strip: all slices but the first and last ones at once, as those may have to stop short.
      if (block.slice_begin > first_slice && block.slice_begin + 1 < last_slice) {
        block.slice_end = last_slice;
        line = last_slice * height.input;
      }
      block.h_begin = h;
      block.h_end = h_end;
      block.column = 0;
      sum_block(block);
      continue;
    }
    for (block.h_begin = h; block.h_begin < h_end; block.h_begin = block.h_end) {
      block.h_end = HWY_MIN(block.h_begin + kBandRows, h_end);
      for (block.column = (width.input - 1) / columns * columns; block.column >= 0; block.column -= columns) {
        sum_block(block);
      }
    }
  }
}

}  // namespace gather_first

template <class T>
void GatherChannelsFirst(const BackwardCall& call) {
  if (call.begin >= call.end) return;
  const Geometry& g = *call.geometry;
  const gather_first::Task<T> task = {g,
                                      static_cast<const T*>(call.dy),
                                      static_cast<const uint8_t*>(call.taps.base) - call.taps.origin,
                                      call.taps.strides,
                                      static_cast<T*>(call.dx),
                                      call.accumulate};
  const bool odd = (g.axis[kWidth].pad_before & 1) != 0;
  if (g.axis[kWidth].stride == 1) {
    if (g.axis[kWidth].kernel == 2) {
      gather_first::Lines<T, 2, 1, false>(task, call.begin, call.end);
    } else {
      gather_first::Lines<T, 3, 1, false>(task, call.begin, call.end);
    }
  } else if (g.axis[kWidth].kernel == 2) {
    if (odd) {
      gather_first::Lines<T, 2, 2, true>(task, call.begin, call.end);
    } else {
      gather_first::Lines<T, 2, 2, false>(task, call.begin, call.end);
    }
  } else {
    if (odd) {
      gather_first::Lines<T, 3, 2, true>(task, call.begin, call.end);
    } else {
      gather_first::Lines<T, 3, 2, false>(task, call.begin, call.end);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_FIRST_INL_H_
