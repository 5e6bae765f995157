// SPDX-License-Identifier: Apache-2.0
#include "src/indices.h"

#include <algorithm>
#include <limits>

#include "peakpool/peakpool.h"

namespace peakpool {
namespace {

// Distances between neighbouring positions in an index, by axis.
struct PositionStrides {
  int64_t axis[3];
  int64_t plane;  // between (n, c) planes; 0 where the format restarts in each
};

PositionStrides StridesOf(const Geometry& g, int32_t index_format) {
  const int64_t depth = g.axis[0].input, height = g.axis[1].input, width = g.axis[2].input;
  const bool tensor = index_format >= PEAKPOOL_INDEX_TENSOR_I64;
  const int64_t plane = tensor ? depth * height * width : 0;
  if (index_format == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64) return {{1, depth, depth * height}, plane};
  return {{height * width, width, 1}, plane};
}

// Where each tap lies from the window's first, in index positions: looked up while taps are bytes.
template <class Tap>
class TapOffsets {
 public:
  TapOffsets(const Geometry& g, const PositionStrides& strides)
      : kernel_height_(static_cast<uint32_t>(std::min<int64_t>(g.axis[1].kernel, UINT32_MAX))),
        kernel_width_(static_cast<uint32_t>(std::min<int64_t>(g.axis[2].kernel, UINT32_MAX))) {
    for (int a = 0; a < 3; ++a) step_[a] = strides.axis[a] * g.axis[a].dilation;
    if constexpr (sizeof(Tap) == 1) {
      const int64_t taps = g.Taps();
      for (int64_t tap = 0; tap < taps; ++tap) table_[tap] = Compute(static_cast<uint32_t>(tap));
    }
  }
  int64_t operator()(Tap tap) const {
    if constexpr (sizeof(Tap) == 1) {
      return table_[tap];
    } else {
      return Compute(tap);
    }
  }

 private:
  int64_t Compute(uint32_t tap) const {
    const uint32_t row = tap / kernel_width_, w = tap - row * kernel_width_;
    const uint32_t d = row / kernel_height_, h = row - d * kernel_height_;
    return d * step_[0] + h * step_[1] + w * step_[2];
  }
  uint32_t kernel_height_, kernel_width_;
  int64_t step_[3];
  int64_t table_[sizeof(Tap) == 1 ? 256 : 1];
};

template <class Tap, class Index>
void Expand(const Geometry& g, int32_t index_format, const Tap* taps, Range lines, Range columns, Range channels,
            Index* index) {
  constexpr Tap kEmpty = std::numeric_limits<Tap>::max();
  const PositionStrides strides = StridesOf(g, index_format);
  const TapOffsets<Tap> offset_of(g, strides);
  // A full byte can be a tap (256 of them), which then is no mark of an empty window.
  const bool mark_is_tap = g.Taps() > int64_t{kEmpty};
  const int64_t inner = g.channels_last ? channels.size() : 1;
  const int64_t inner_step = g.channels_last ? strides.plane : 0;
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    int64_t rest = line;
    const int64_t oh = rest % g.axis[kHeight].output;
    rest /= g.axis[kHeight].output;
    const int64_t od = rest % g.axis[kDepth].output;
    rest /= g.axis[kDepth].output;
    const int64_t n = g.channels_last ? rest : rest / g.channels;
    const int64_t c = g.channels_last ? channels.begin : rest % g.channels;
    Index* out = index + n * g.output.batch + c * g.output.channel + od * g.output.axis[kDepth] +
                 oh * g.output.axis[kHeight] + columns.begin * g.output.axis[kWidth];
    int64_t first = (n * g.channels + c) * strides.plane + g.axis[kDepth].Begin(od) * strides.axis[kDepth] +
                    g.axis[kHeight].Begin(oh) * strides.axis[kHeight] +
                    g.axis[kWidth].Begin(columns.begin) * strides.axis[kWidth];
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      for (int64_t i = 0; i < inner; ++i) {
        const Tap tap = taps[i];
        out[i] =
            tap == kEmpty && !mark_is_tap ? Index{-1} : static_cast<Index>(first + offset_of(tap) + i * inner_step);
      }
      taps += inner;
      out += g.output.axis[kWidth];
      first += g.axis[kWidth].stride * strides.axis[kWidth];
    }
  }
}

template <class Tap>
void ExpandAny(const Geometry& g, int32_t index_format, const void* taps, Range lines, Range columns, Range channels,
               void* index) {
  if (index_format == PEAKPOOL_INDEX_PLANE_I32) {
    Expand(g, index_format, static_cast<const Tap*>(taps), lines, columns, channels, static_cast<int32_t*>(index));
  } else {
    Expand(g, index_format, static_cast<const Tap*>(taps), lines, columns, channels, static_cast<int64_t*>(index));
  }
}

}  // namespace

int NarrowestTapBytes(const Geometry& geometry, bool has_empty_window) {
  const int64_t values = geometry.Taps() + (has_empty_window ? 1 : 0);
  return values <= 1 << 8 ? 1 : values <= 1 << 16 ? 2 : 4;
}

void ExpandTaps(const Geometry& geometry, int32_t index_format, const void* taps, int tap_bytes, Range lines,
                Range columns, Range channels, void* index) {
  if (tap_bytes == 1) {
    ExpandAny<uint8_t>(geometry, index_format, taps, lines, columns, channels, index);
  } else if (tap_bytes == 2) {
    ExpandAny<uint16_t>(geometry, index_format, taps, lines, columns, channels, index);
  } else {
    ExpandAny<uint32_t>(geometry, index_format, taps, lines, columns, channels, index);
  }
}

}  // namespace peakpool
