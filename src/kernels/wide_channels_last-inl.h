// SPDX-License-Identifier: Apache-2.0
// Windows wider than 3 over channels-last tensors: along the width from x into rows in the L1 cache, along the height
// from there into y, both by wide_columns-inl.h.
//
// Accepts every channels-last geometry without empty windows and dilation whose depth kernel is 1. Those with less than
// a vector of channels, or more taps than lanes can number, go to Separable. What runs once per block is marked cold:
// that halves its code.
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
#include "src/kernels/wide-inl.h"
#include "src/kernels/wide_columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace wide {

constexpr int64_t kRingBytes = 44 * 1024;  // leaves the L1 cache some room for x and y
// Of channels: four cache lines of each pixel, lest 2 KiB from pixel to pixel leave the L1 cache room for few of them
// (two lines: 1.2 to 2.4 times as long, 5x5 over 512x13x13).
constexpr int64_t kBlockBytes = 256;
// Rows reduced at a time: four (f32: 4 to 8 % faster than two), but two where pixels are that far apart, or of 8 bits
// (more take 4 to 10 % longer).
inline int64_t RowsPerPass(int64_t pixel, int64_t element) {
  return element < 4 || pixel * element % 2048 == 0 ? 2 : 4;
}
constexpr int64_t kMostOffsets = 640;  // per axis
static_assert(kRingBytes + 4 * kMostOffsets * 8 <= kScratchBytes, "");

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

  // `size` bytes for each element of the ring.
  [[gnu::cold]] HWY_NOINLINE LastBlocks(const Geometry& g, int64_t most_lines, int64_t n, int64_t size,
                                        int64_t element) {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    const int64_t room = kRingBytes / size;
    const bool shared = h.stride == 1 && h.dilation == 1;
    lines = HWY_MIN(most_lines, shared ? TileOf(h.kernel, 64) : 4);
    while (lines > 1 && OffsetCount(h, lines) > kMostOffsets) --lines;
    ring = HWY_MIN(h.input, (lines - 1) * h.stride + (h.kernel - 1) * h.dilation + 1);
    channels = Share(g.channels, HWY_MAX(kBlockBytes / element, 4 * n), n);
    // All of a plane's columns, or as many as fit.
    columns = w.output;
    while (columns > 1 && (OffsetCount(w, columns) > kMostOffsets || ring * (columns * channels + n) > room)) {
      if (columns <= 16 && channels > n && OffsetCount(w, columns) <= kMostOffsets) {
        channels = Share(channels, channels - n, n);
      } else {
        const int64_t fit = (room / ring - n) / channels;
        columns = channels <= n && fit > 0 && fit < columns ? fit : (columns + 1) / 2;
      }
    }
    // Whole tiles.
    const int64_t tile = TileOf(w.kernel, 64);
    if (columns < w.output && columns > tile) columns -= columns % tile;
    columns = HWY_MIN(columns, Share(w.output, columns, tile));
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

// One plane: x, y and the taps (null: values only) are the plane's.
template <class T>
struct LastPlane {
  const T* x;
  T* y;
  uint8_t* taps;
  int tap_bytes;
  const Strides& tap_strides;
};

// Output lines [begin, end) of a plane. True if a NaN was seen.
template <class L, class T = typename L::Element>
[[gnu::cold]] HWY_NOINLINE bool PoolLast(L lanes, const Geometry& g, const LastBlocks& blocks,
                                         const LastPlane<T>& plane, int64_t begin, int64_t end, void* scratch) {
  using TI = hwy::MakeSigned<typename L::Lane>;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool indices = plane.taps != nullptr;
  T* const rows = static_cast<T*>(scratch);
  TI* const row_taps = reinterpret_cast<TI*>(static_cast<char*>(scratch) + kRingBytes / 2);  // as rows
  int64_t* const column_offsets = reinterpret_cast<int64_t*>(static_cast<char*>(scratch) + kRingBytes);
  int64_t* const row_offsets = column_offsets + kMostOffsets;
  TI* const column_names = reinterpret_cast<TI*>(row_offsets + kMostOffsets);
  TI* const row_names = column_names + kMostOffsets;
  const int64_t row = g.input.axis[kHeight], pixel = g.input.axis[kWidth];
  const int64_t y_row = g.output.axis[kHeight], y_pixel = g.output.axis[kWidth];
  const int64_t t_row = plane.tap_strides.axis[kHeight], t_pixel = plane.tap_strides.axis[kWidth];
  const int64_t height_kernel = h.kernel;
  Steps row_steps = {1, 1};
  const L raw = RawLanes(lanes);
  const int64_t lines = HWY_MIN(blocks.lines, end - begin), rows_per_pass = RowsPerPass(pixel, sizeof(T));
  bool nan = false;
  for (int64_t ow = 0; ow < w.output; ow += blocks.columns) {
    ow = HWY_MIN(ow, w.output - blocks.columns);
    const Steps column_steps = FillOffsets(w, ow, blocks.columns, Ring::None(), pixel, column_offsets);
    if (indices) FillNames(w, ow, blocks.columns, column_names);
    const TI column_base = static_cast<TI>(w.Begin(ow)), column_shift = static_cast<TI>(w.stride);
    // The columns that are not searched for NaN on the way: all, or those after the last window's first.
    const bool shared = column_steps.tile > 1;
    const int64_t first = shared ? HWY_MAX(w.Begin(w.output), 0) : First(w, ow);
    const int64_t unsearched = !shared && !indices ? 0 : HWY_MAX(Last(w, ow + blocks.columns - 1) + 1 - first, 0);
    for (int64_t c = 0; c < g.channels; c += blocks.channels) {
      c = HWY_MIN(c, g.channels - blocks.channels);
      T* const y = plane.y + ow * y_pixel + c;
      uint8_t* const taps = indices ? plane.taps + (ow * t_pixel + c) * plane.tap_bytes : nullptr;
      const auto note = [&](const T* from, int64_t count, int64_t step) {
        nan |= AnyNan(lanes, from + first * pixel, count, step, unsearched, pixel, blocks.channels);
      };
      if (height_kernel == 1) {
        for (int64_t oh = begin; oh < end; oh += rows_per_pass) {
          const T* from = plane.x + h.Begin(oh) * row + c;
          const int64_t count = HWY_MIN(end - oh, rows_per_pass), step = h.stride * row;
          note(from, count, step);
          if (indices) {
            nan |= ReduceTaps<false>(TapColumns<T, TI>{column_offsets,
                                                       column_names,
                                                       column_steps,
                                                       w.kernel,
                                                       blocks.columns,
                                                       count,
                                                       blocks.channels,
                                                       from,
                                                       nullptr,
                                                       step,
                                                       y + oh * y_row,
                                                       y_row,
                                                       y_pixel,
                                                       taps + oh * t_row * plane.tap_bytes,
                                                       t_row,
                                                       t_pixel,
                                                       plane.tap_bytes,
                                                       column_base,
                                                       0,
                                                       column_shift},
                                     lanes, lanes);
          } else {
            nan |= Reduce(Columns<T>{column_offsets, column_steps, w.kernel, blocks.columns, count, blocks.channels,
                                     from, step, y + oh * y_row, y_row, y_pixel},
                          lanes, lanes);
          }
        }
        continue;
      }
      int64_t next = First(h, begin);  // row that is not yet in the ring
      for (int64_t oh = begin; oh < end; oh += lines) {
        oh = HWY_MIN(oh, end - lines);
        const int64_t top = First(h, oh), stop = Last(h, oh + lines - 1) + 1;
        next = HWY_MAX(next, top);
        while (next < stop) {
          const int64_t slot = next % blocks.ring;
          const int64_t count = HWY_MIN(HWY_MIN(stop - next, blocks.ring - slot), rows_per_pass);
          const T* from = plane.x + next * row + c;
          T* const to = rows + slot * blocks.row;
          note(from, count, row);
          if (indices) {
            nan |= ReduceTaps<false>(TapColumns<T, TI>{column_offsets,
                                                       column_names,
                                                       column_steps,
                                                       w.kernel,
                                                       blocks.columns,
                                                       count,
                                                       blocks.channels,
                                                       from,
                                                       nullptr,
                                                       row,
                                                       to,
                                                       blocks.row,
                                                       blocks.channels,
                                                       reinterpret_cast<uint8_t*>(row_taps + slot * blocks.row),
                                                       blocks.row,
                                                       blocks.channels,
                                                       0,
                                                       static_cast<TI>(-next * w.kernel),
                                                       static_cast<TI>(-w.kernel),
                                                       0},
                                     lanes, raw);
          } else {
            nan |= Reduce(Columns<T>{column_offsets, column_steps, w.kernel, blocks.columns, count, blocks.channels,
                                     from, row, to, blocks.row, blocks.channels},
                          lanes, raw);
          }
          next += count;
        }
        if (c == 0 || lines < end - begin) {
          row_steps = FillOffsets(h, oh, lines, Ring::From(blocks.ring, top), blocks.row, row_offsets);
          if (indices) std::fill_n(row_names, OffsetCount(h, lines), TI{0});
        }
        if (indices) {
          ReduceTaps<true>(TapColumns<T, TI>{row_offsets,     row_names,
                                             row_steps,       height_kernel,
                                             lines,           blocks.columns,
                                             blocks.channels, rows,
                                             row_taps,        blocks.channels,
                                             y + oh * y_row,  y_pixel,
                                             y_row,           taps + oh * t_row * plane.tap_bytes,
                                             t_pixel,         t_row,
                                             plane.tap_bytes, static_cast<TI>(h.Begin(oh) * w.kernel + column_base),
                                             column_shift,    static_cast<TI>(h.stride * w.kernel)},
                           raw, lanes);
        } else {
          Reduce(Columns<T>{row_offsets, row_steps, height_kernel, lines, blocks.columns, blocks.channels, rows,
                            blocks.channels, y + oh * y_row, y_pixel, y_row},
                 raw, lanes);
        }
      }
    }
  }
  return nan;
}

template <class L>
[[gnu::cold]] void PoolCallLast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  const Geometry g = OneRowIfGlobal(*call.geometry);
  const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
  const int64_t height = g.axis[kHeight].output, depth = g.axis[kDepth].output;
  // Tap numbers double the ring.
  const bool indices = call.taps.base != nullptr;
  const int64_t size = static_cast<int64_t>(sizeof(T)) * (indices ? 2 : 1);
  const LastBlocks blocks(g, HWY_MIN(height, call.end - call.begin), n, size, sizeof(T));
  if (g.channels < n || !blocks.Fits(g, size) || !CanNumber<hwy::MakeSigned<typename L::Lane>>(call)) {
    separable(call);
    return;
  }
  const Strides& t = call.taps.strides;
  for (int64_t begin = call.begin; begin < call.end;) {
    const int64_t oh = begin % height, od = begin / height % depth, b = begin / height / depth;
    const int64_t lines = HWY_MIN(call.end - begin, height - oh);
    const LastPlane<T> plane = {
        static_cast<const T*>(call.x) + b * g.input.batch + g.axis[kDepth].Begin(od) * g.input.axis[kDepth],
        static_cast<T*>(call.y) + b * g.output.batch + od * g.output.axis[kDepth],
        indices ? static_cast<uint8_t*>(call.taps.base) +
                      (b * t.batch + od * t.axis[kDepth] - call.taps.origin) * call.taps.bytes
                : nullptr,
        call.taps.bytes, t};
    if (PoolLast(lanes, g, blocks, plane, oh, oh + lines, call.scratch)) {
      ForwardCall redo = call;
      redo.begin = begin;
      redo.end = begin + lines;
      separable(redo);
    }
    begin += lines;
  }
}

}  // namespace wide

template <class L>
void WideChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  if constexpr (kHasWide<L>) {
    wide::PoolCallLast(call, lanes, separable);
  } else {
    static_cast<void>(lanes);
    separable(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_LAST_INL_H_
