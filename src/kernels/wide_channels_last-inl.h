// SPDX-License-Identifier: Apache-2.0
// Windows wider than 3 over channels-last tensors: along the width from x into rows in the L1 cache, along the height
// from there into y, both by wide_columns-inl.h.
//
// Accepts every channels-last geometry without empty windows and dilation whose depth kernel is 1. Those with less than
// a vector of channels or with indices go to Separable.
#if defined(PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_LAST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_LAST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_LAST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_LAST_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/wide_columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace wide {

constexpr int64_t kRingBytes = 44 * 1024;  // leaves the L1 cache some room for x and y
constexpr int64_t kBlockVectors = 4;       // of channels
// Rows looked at for NaN and reduced at a time. More fall out of the L1 cache in between where pixels are a multiple of
// 2 KiB apart (5x5 over 512x13x13: 4.7 -> 5.9 times the copy).
constexpr int64_t kRowsPerPass = 2;
constexpr int64_t kMostOffsets = 1024;  // per axis
static_assert(kRingBytes + 2 * kMostOffsets * 8 <= kScratchBytes, "");

// Planes that are one window each and have no gaps between rows are one row with one window.
inline Geometry OneRowIfGlobal(Geometry g) {
  Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const auto whole = [](const Axis& a) { return a.output == 1 && a.pad_before == 0 && a.kernel == a.input; };
  if (whole(h) && whole(w) && h.dilation == 1 && w.dilation == 1 && w.kernel * h.kernel <= kMostOffsets &&
      g.input.axis[kHeight] == w.input * g.input.axis[kWidth]) {
    w.input = w.kernel = w.kernel * h.kernel;
    h = {1, 1, 1, 1, 1, 0};
  }
  return g;
}

// How one call is cut into blocks.
struct LastBlocks {
  int64_t channels, columns;  // of a block
  int64_t ring;               // rows kept
  int64_t lines;              // output lines per pass along the height
  int64_t row;                // elements from row to row of the ring

  static int64_t Share(int64_t total, int64_t most, int64_t unit) {
    const int64_t parts = (total + most - 1) / most;
    const int64_t part = (total + parts - 1) / parts;
    return HWY_MIN(total, (part + unit - 1) / unit * unit);
  }

  LastBlocks(const Geometry& g, int64_t most_lines, int64_t n, int64_t size) {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    const int64_t room = kRingBytes / size;
    const bool shared = h.stride == 1 && h.dilation == 1;
    lines = HWY_MIN(most_lines, shared ? TileOf(h.kernel, 64) : 4);
    while (lines > 1 && OffsetCount(h, lines) > kMostOffsets) --lines;
    ring = HWY_MIN(h.input, (lines - 1) * h.stride + (h.kernel - 1) * h.dilation + 1);
    channels = Share(g.channels, kBlockVectors * n, n);
    // All of a plane's columns, or as many as fit.
    columns = w.output;
    while (columns > 1 && (OffsetCount(w, columns) > kMostOffsets || ring * (columns * channels + n) > room)) {
      if (columns <= 16 && channels > n && OffsetCount(w, columns) <= kMostOffsets) {
        channels = Share(channels, channels - n, n);
      } else {
        columns = (columns + 1) / 2;
      }
    }
    columns = Share(w.output, columns, TileOf(w.kernel, 64));
    row = columns * channels;
    if (row / n % 2 == 0) row += n;
    // More lines than needed, if their rows fit: fewer passes.
    const int64_t all = HWY_MIN(h.input, (most_lines - 1) * h.stride + (h.kernel - 1) * h.dilation + 1);
    if (all * row <= room && OffsetCount(h, most_lines) <= kMostOffsets) {
      ring = all;
      lines = most_lines;
    }
  }
  bool Fits(const Geometry& g, int64_t size) const {
    return ring * row <= kRingBytes / size && OffsetCount(g.axis[kWidth], columns) <= kMostOffsets &&
           OffsetCount(g.axis[kHeight], lines) <= kMostOffsets;
  }
};

// Output lines [begin, end) of one plane; x and y are the plane's. True if a NaN was seen.
template <class L, class T = typename L::Element>
HWY_NOINLINE bool PoolLast(L lanes, const Geometry& g, const LastBlocks& blocks, const T* x, T* y, int64_t begin,
                           int64_t end, void* scratch) {
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  T* const rows = static_cast<T*>(scratch);
  int64_t* const column_offsets = reinterpret_cast<int64_t*>(static_cast<char*>(scratch) + kRingBytes);
  int64_t* const row_offsets = column_offsets + kMostOffsets;
  const int64_t row = g.input.axis[kHeight], pixel = g.input.axis[kWidth];
  const int64_t y_row = g.output.axis[kHeight], y_pixel = g.output.axis[kWidth];
  int64_t row_step = 0;
  const L raw = RawLanes(lanes);
  const int64_t lines = HWY_MIN(blocks.lines, end - begin);
  bool nan = false;
  int64_t noted = 0;  // input columns that have been searched for NaN
  for (int64_t ow = 0; ow < w.output; ow += blocks.columns) {
    ow = HWY_MIN(ow, w.output - blocks.columns);
    const int64_t column_step = FillOffsets(w, ow, blocks.columns, Ring::None(), pixel, column_offsets);
    const int64_t first_new = HWY_MAX(noted, First(w, ow));
    noted = HWY_MAX(noted, Last(w, ow + blocks.columns - 1) + 1);
    for (int64_t c = 0; c < g.channels; c += blocks.channels) {
      c = HWY_MIN(c, g.channels - blocks.channels);
      const auto reduce_rows = [&](int64_t first, int64_t count, int64_t step, T* to, int64_t to_row,
                                   int64_t to_pixel) {
        const T* from = x + first * row + c;
        if (column_step == 1) {
          nan |= AnyNan(lanes, from + first_new * pixel, count, step, noted - first_new, pixel, blocks.channels);
        }
        nan |= Reduce<L>({column_offsets, column_step, w.kernel, blocks.columns, count, blocks.channels, from, step, to,
                          to_row, to_pixel},
                         lanes, h.kernel == 1 ? lanes : raw);
      };
      T* const y_block = y + ow * y_pixel + c;
      if (h.kernel == 1) {
        for (int64_t oh = begin; oh < end; oh += kRowsPerPass) {
          reduce_rows(h.Begin(oh), HWY_MIN(end - oh, kRowsPerPass), h.stride * row, y_block + oh * y_row, y_row,
                      y_pixel);
        }
        continue;
      }
      int64_t next = First(h, begin);  // row that is not yet in the ring
      for (int64_t oh = begin; oh < end; oh += lines) {
        oh = HWY_MIN(oh, end - lines);
        const int64_t top = First(h, oh), stop = Last(h, oh + lines - 1) + 1;
        next = HWY_MAX(next, top);
        while (next < stop) {
          const int64_t slot = next % blocks.ring,
                        count = HWY_MIN(HWY_MIN(stop - next, blocks.ring - slot), kRowsPerPass);
          reduce_rows(next, count, row, rows + slot * blocks.row, blocks.row, blocks.channels);
          next += count;
        }
        if (c == 0 || lines < end - begin) {
          row_step = FillOffsets(h, oh, lines, Ring::From(blocks.ring, top), blocks.row, row_offsets);
        }
        Reduce<L>({row_offsets, row_step, h.kernel, lines, blocks.columns, blocks.channels, rows, blocks.channels,
                   y_block + oh * y_row, y_pixel, y_row},
                  raw, lanes);
      }
    }
  }
  return nan;
}

}  // namespace wide

template <class L>
void WideChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  const Geometry g = wide::OneRowIfGlobal(*call.geometry);
  const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
  const int64_t height = g.axis[kHeight].output, depth = g.axis[kDepth].output;
  const wide::LastBlocks blocks(g, HWY_MIN(height, call.end - call.begin), n, sizeof(T));
  if (call.taps.base != nullptr || g.channels < n || !blocks.Fits(g, sizeof(T))) {
    separable(call);
    return;
  }
  for (int64_t begin = call.begin; begin < call.end;) {
    const int64_t oh = begin % height, od = begin / height % depth, b = begin / height / depth;
    const int64_t lines = HWY_MIN(call.end - begin, height - oh);
    const T* x = static_cast<const T*>(call.x) + b * g.input.batch + g.axis[kDepth].Begin(od) * g.input.axis[kDepth];
    T* y = static_cast<T*>(call.y) + b * g.output.batch + od * g.output.axis[kDepth];
    if (wide::PoolLast(lanes, g, blocks, x, y, oh, oh + lines, call.scratch)) {
      ForwardCall redo = call;
      redo.begin = begin;
      redo.end = begin + lines;
      separable(redo);
    }
    begin += lines;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_LAST_INL_H_
