// SPDX-License-Identifier: Apache-2.0
#include "src/indices.h"

#include <algorithm>
#include <limits>

#include "peakpool/peakpool.h"
#include "src/index_reader.h"

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
  const Axis& width = g.axis[kWidth];
  ForEachLine(g, lines, [&](OutputPosition output, int64_t offset) {
    output.c += g.channels_last ? channels.begin : 0;
    Index* out = index + offset + (g.channels_last ? channels.begin : 0) + columns.begin * g.output.axis[kWidth];
    int64_t first = (output.n * g.channels + output.c) * strides.plane +
                    g.axis[kDepth].Begin(output.o[0]) * strides.axis[kDepth] +
                    g.axis[kHeight].Begin(output.o[1]) * strides.axis[kHeight] +
                    g.axis[kWidth].Begin(columns.begin) * strides.axis[kWidth];
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      for (int64_t i = 0; i < inner; ++i) {
        const Tap tap = taps[i];
        out[i] =
            tap == kEmpty && !mark_is_tap ? Index{-1} : static_cast<Index>(first + offset_of(tap) + i * inner_step);
      }
      taps += inner;
      out += g.output.axis[kWidth];
      first += (width.adaptive ? width.Begin(column + 1) - width.Begin(column) : width.stride) * strides.axis[kWidth];
    }
  });
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

// The index of position `at` in a format, or -1 if it is no tap of the output's window.
int64_t Encode(const Geometry& g, int32_t index_format, const PositionStrides& strides, const OutputPosition& output,
               const int64_t (&at)[3]) {
  if (index_format >= PEAKPOOL_INDEX_PLANE_I32) {
    return (output.n * g.channels + output.c) * strides.plane + at[0] * strides.axis[0] + at[1] * strides.axis[1] +
           at[2] * strides.axis[2];
  }
  int64_t tap = 0;
  for (int a = 0; a < 3; ++a) {
    const Axis& axis = g.axis[a];
    const int64_t distance = at[a] - axis.Begin(output.o[a]);
    if (distance < 0 || distance % axis.dilation != 0 || distance / axis.dilation >= axis.TapEnd(output.o[a]))
      return -1;
    tap = tap * axis.kernel + distance / axis.dilation;
  }
  return tap;
}

void StoreIndex(int32_t index_format, int64_t value, void* index, int64_t offset) {
  switch (index_format) {
    case PEAKPOOL_INDEX_WINDOW_U8: static_cast<uint8_t*>(index)[offset] = static_cast<uint8_t>(value); break;
    case PEAKPOOL_INDEX_WINDOW_U16: static_cast<uint16_t*>(index)[offset] = static_cast<uint16_t>(value); break;
    case PEAKPOOL_INDEX_WINDOW_U32: static_cast<uint32_t*>(index)[offset] = static_cast<uint32_t>(value); break;
    case PEAKPOOL_INDEX_PLANE_I32: static_cast<int32_t*>(index)[offset] = static_cast<int32_t>(value); break;
    default: static_cast<int64_t*>(index)[offset] = value; break;
  }
}

// Calls visit(output, offset in y) for each output of the lines.
template <class Visit>
void ForEachOutput(const Geometry& g, Range lines, Visit visit) {
  const int64_t inner = g.channels_last ? g.channels : 1;
  ForEachLine(g, lines, [&](OutputPosition output, int64_t offset) {
    const int64_t first = output.c;
    for (output.o[2] = 0; output.o[2] < g.axis[2].output; ++output.o[2], offset += g.output.axis[2]) {
      for (int64_t i = 0; i < inner; ++i) {
        output.c = first + i;
        visit(output, offset + i);
      }
    }
  });
}

}  // namespace

int NarrowestTapBytes(const Geometry& geometry, bool has_empty_window) {
  const int64_t values = geometry.Taps() + (has_empty_window ? 1 : 0);
  return values <= 1 << 8 ? 1 : values <= 1 << 16 ? 2 : 4;
}

bool ConvertIndices(const ConvertCall& call) {
  const Geometry& g = *call.geometry;
  const IndexReader reader(g, call.from_format, call.has_empty_window);
  const PositionStrides strides = StridesOf(g, call.to_format);
  bool valid = true;
  ForEachOutput(g, call.lines, [&](const OutputPosition& output, int64_t offset) {
    int64_t at[3];
    const auto result = reader.Read(call.from, offset, output, at);
    const int64_t index = result == IndexReader::kPosition ? Encode(g, call.to_format, strides, output, at) : -1;
    valid &= index >= 0 || result == IndexReader::kEmpty;
    StoreIndex(call.to_format, index, call.to, offset);
  });
  return valid;
}

bool FindInvalidIndex(const Geometry& g, bool has_empty_window, int32_t index_format, const void* index, bool in_window,
                      InvalidIndex* found) {
  const IndexReader reader(g, index_format, has_empty_window);
  const PositionStrides unused = {};
  bool any = false;
  ForEachOutput(g, {0, g.OutputLines()}, [&](const OutputPosition& output, int64_t offset) {
    if (any) return;
    int64_t at[3];
    const auto result = reader.Read(index, offset, output, at);
    const bool tap = result == IndexReader::kPosition && Encode(g, PEAKPOOL_INDEX_WINDOW_U32, unused, output, at) >= 0;
    any = result == IndexReader::kInvalid || (result == IndexReader::kPosition && in_window && !tap);
    if (any) {
      *found = {output.n, output.c, {output.o[0], output.o[1], output.o[2]}, reader.Value(index, offset)};
    }
  });
  return any;
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
