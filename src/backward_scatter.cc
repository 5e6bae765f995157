// SPDX-License-Identifier: Apache-2.0
#include "src/backward_scatter.h"

#include <cstring>
#include <optional>

#include "src/kernels/kernels.h"
#include "src/shape.h"

namespace peakpool {
namespace {

// Planes that are summed side by side. Neighbouring outputs often name the same input, and a sum in memory waits 10
// cycles for the one before it: other planes fill the time.
constexpr int64_t kPlanes = 8;
// Outputs of one line and plane at a time.
constexpr int64_t kColumns = 128;
static_assert(kPlanes * kColumns >= IndexMap::kLongestRun, "offsets hold either");

// Positions [begin, end) of one or, if they are whole, several planes; row-major over depth, height and width.
// Channels-last, all of some channels instead of planes.
struct Tile {
  int64_t n, c;
  int64_t planes;  // 1 channels-last
  Range channels;  // channels-last
  Range positions;
};

template <class Sum>
class Scatter {
 public:
  explicit Scatter(const ScatterCall& call)
      : call_(call),
        g_(*call.indices.geometry),
        element_bytes_(ElementBytes(call.type)),
        depth_(g_.axis[kDepth]),
        height_(g_.axis[kHeight]),
        width_(g_.axis[kWidth]) {
    const int64_t pixel = g_.channels_last ? g_.channels : 1;
    is_dense_ = (width_.input == 1 || g_.input.axis[kWidth] == pixel) &&
                (height_.input == 1 || g_.input.axis[kHeight] == pixel * width_.input) &&
                (depth_.input == 1 || g_.input.axis[kDepth] == pixel * width_.input * height_.input);
    in_place_ = is_dense_ && element_bytes_ == sizeof(Sum);
  }

  bool Run() {
    const int64_t plane_lines = depth_.input * height_.input, plane = plane_lines * width_.input;
    bool valid = true;
    for (int64_t line = call_.lines.begin; line < call_.lines.end;) {
      const int64_t i = line / plane_lines;
      Tile tile;
      tile.n = g_.channels_last ? i : i / g_.channels;
      tile.c = g_.channels_last ? 0 : i - tile.n * g_.channels;
      tile.planes = 1;
      tile.channels = {0, g_.channels};
      const int64_t first = line - i * plane_lines, end = std::min(call_.lines.end - i * plane_lines, plane_lines);
      tile.positions = {first * width_.input, end * width_.input};
      if (!g_.channels_last && end - first == plane_lines) {
        tile.planes = std::min(g_.channels - tile.c, (call_.lines.end - line) / plane_lines);
        tile.planes = std::min(tile.planes, MostPlanes(plane));
      }
      line += (end - first) + (tile.planes - 1) * plane_lines;
      valid &= SumInParts(tile);
    }
    return valid;
  }

 private:
  static constexpr int64_t kSums = kScratchBytes / sizeof(Sum);
  // In place, dx of so many planes should stay in the L2 cache.
  static constexpr int64_t kPlaneBytes = 512 * 1024;

  // Planes of a tile.
  int64_t MostPlanes(int64_t plane) {
    SetMap({0, width_.output}, {0, g_.channels});
    int64_t most = map_->through_planes() ? map_->table_planes() : kPlanes;
    const int64_t room = in_place_ ? kPlaneBytes / static_cast<int64_t>(sizeof(Sum)) : kSums;
    return std::max<int64_t>(std::min(most, room / plane), 1);
  }

  // Cuts a tile into what fits the scratch, and into offsets of 32 bits.
  bool SumInParts(const Tile& tile) {
    const int64_t count = tile.positions.size();
    int64_t channels = g_.channels_last ? g_.channels : 1, step = (int64_t{1} << 31) / channels;
    if (!in_place_) {
      // Fewer channels rather than fewer positions: windows that straddle two parts are looked at twice.
      channels = std::min(channels, std::max<int64_t>(kSums / count, 32));
      step = kSums / (channels * tile.planes);
    }
    bool valid = true;
    Tile part = tile;
    for (int64_t begin = tile.positions.begin; begin < tile.positions.end; begin += step) {
      part.positions = {begin, std::min(begin + step, tile.positions.end)};
      for (int64_t c = 0; c < (g_.channels_last ? g_.channels : 1); c += channels) {
        if (g_.channels_last) part.channels = {c, std::min(c + channels, g_.channels)};
        valid &= SumTile(part);
      }
    }
    return valid;
  }

  void SetMap(Range columns, Range channels) {
    if (map_ && columns.begin == columns_.begin && columns.end == columns_.end && channels.begin == channels_.begin &&
        channels.end == channels_.end) {
      return;
    }
    columns_ = columns;
    channels_ = channels;
    // Offsets from the first position and channel of a plane's sums.
    const int64_t pixel = g_.channels_last ? channels.size() : 1;
    const Numbering numbering = {
        {0, g_.channels_last ? 1 : 0, {height_.input * width_.input * pixel, width_.input * pixel, pixel}}, false};
    map_.emplace(call_.indices, call_.kernels, numbering, g_.output, g_.output, columns, channels);
  }

  bool SumTile(const Tile& tile) {
    // The windows that may touch it.
    const int64_t first_line = tile.positions.begin / width_.input, last_line = (tile.positions.end - 1) / width_.input;
    const int64_t first_slice = first_line / height_.input, last_slice = last_line / height_.input;
    const Range d = {depth_.FirstTouching(first_slice), depth_.TouchingEnd(last_slice + 1)};
    Range h = {0, height_.output}, w = {0, width_.output};
    if (first_slice == last_slice) {
      h = {height_.FirstTouching(first_line - first_slice * height_.input),
           height_.TouchingEnd(last_line - first_slice * height_.input + 1)};
    }
    if (first_line == last_line && tile.positions.size() < width_.input) {
      const int64_t start = first_line * width_.input;
      w = {width_.FirstTouching(tile.positions.begin - start), width_.TouchingEnd(tile.positions.end - start)};
    }
    SetMap(w, tile.channels);

    const int64_t pixel = g_.channels_last ? tile.channels.size() : 1, count = tile.positions.size() * pixel;
    Sum* sums = static_cast<Sum*>(call_.scratch);
    int64_t pitch = count;  // between planes
    if (in_place_) {
      sums = static_cast<Sum*>(call_.dx) + tile.n * g_.input.batch + tile.c * g_.input.channel +
             tile.positions.begin * pixel;
      pitch = g_.input.channel;
    }
    if (!call_.accumulate) {
      for (int64_t i = 0; i < tile.planes; ++i)
        std::memset(sums + i * pitch, 0, static_cast<size_t>(count) * sizeof(Sum));
    } else if (!in_place_) {
      ForEachPiece(tile, [&](int64_t at, int64_t n, int64_t i) {
        call_.kernels->load_sums[call_.type](Element(call_.dx, at), n, sums + i);
      });
    }
    const bool valid = g_.channels_last ? AddChannels(tile, d, h, sums, count) : AddPlanes(tile, d, h, w, sums, pitch);
    if (in_place_) {
      for (int64_t i = 0; i < tile.planes; ++i) {
        call_.kernels->store_sums[call_.type](sums + i * pitch, count, sums + i * pitch);
      }
    } else {
      ForEachPiece(tile, [&](int64_t at, int64_t n, int64_t i) {
        call_.kernels->store_sums[call_.type](sums + i, n, Element(call_.dx, at));
      });
    }
    return valid;
  }

  static const void* Element(const void* base, int64_t bytes) { return static_cast<const char*>(base) + bytes; }
  static void* Element(void* base, int64_t bytes) { return static_cast<char*>(base) + bytes; }

  // Calls visit(bytes into dx, elements, sums before them) for each contiguous piece of dx in the tile.
  template <class Visit>
  void ForEachPiece(const Tile& tile, Visit visit) const {
    const int64_t pixel = g_.channels_last ? tile.channels.size() : 1;
    const int64_t count = tile.positions.size() * pixel;
    for (int64_t plane = 0; plane < tile.planes; ++plane) {
      const int64_t base =
          tile.n * g_.input.batch + (g_.channels_last ? tile.channels.begin : tile.c + plane) * g_.input.channel;
      if (is_dense_ && pixel == (g_.channels_last ? g_.channels : 1)) {
        visit((base + tile.positions.begin * pixel) * element_bytes_, count, plane * count);
        continue;
      }
      for (int64_t p = tile.positions.begin; p < tile.positions.end;) {
        const int64_t line = p / width_.input, first = p - line * width_.input;
        const int64_t end = std::min(width_.input, first + tile.positions.end - p);
        const int64_t slice = line / height_.input;
        const int64_t row =
            base + slice * g_.input.axis[kDepth] + (line - slice * height_.input) * g_.input.axis[kHeight];
        const int64_t step = g_.input.axis[kWidth] == pixel ? end - first : 1;
        for (int64_t w = first; w < end; w += step, p += step) {
          visit((row + w * g_.input.axis[kWidth]) * element_bytes_, step * pixel,
                plane * count + (p - tile.positions.begin) * pixel);
        }
      }
    }
  }

  // The gradients of a run.
  const Sum* Gradients(const OutputPosition& first, int64_t count, Sum* buffer) const {
    const void* dy = Element(call_.dy, OffsetOf(first, g_.output) * element_bytes_);
    if (element_bytes_ == sizeof(Sum)) return static_cast<const Sum*>(dy);
    call_.kernels->load_sums[call_.type](dy, count, buffer);
    return buffer;
  }

  bool AddChannels(const Tile& tile, Range d, Range h, Sum* sums, int64_t limit) {
    alignas(64) uint32_t offsets[IndexMap::kLongestRun];
    alignas(64) Sum buffer[IndexMap::kLongestRun];
    const int64_t origin = tile.positions.begin * tile.channels.size() + tile.channels.begin;
    bool valid = true;
    OutputPosition line = {tile.n, 0, {0, 0, 0}};
    for (line.o[kDepth] = d.begin; line.o[kDepth] < d.end; ++line.o[kDepth]) {
      for (line.o[kHeight] = h.begin; line.o[kHeight] < h.end; ++line.o[kHeight]) {
        map_->ForEachRunOfLine(line, [&](const OutputPosition& first, int64_t count) {
          valid &= map_->Translate(first, count, origin, offsets);
          const Sum* dy = Gradients(first, count, buffer);
          for (int64_t i = 0; i < count; ++i) {
            if (offsets[i] < limit) sums[offsets[i]] += dy[i];
          }
        });
      }
    }
    return valid;
  }

  // Adds dy[plane * dy_pitch + i] for i ascending, the planes in turn.
  static void AddInTurn(const uint32_t* offsets, int64_t offsets_pitch, const Sum* dy, int64_t dy_pitch, int64_t count,
                        int64_t planes, Sum* sums, int64_t pitch, int64_t limit) {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t plane = 0; plane < planes; ++plane) {
        const uint32_t offset = offsets[plane * offsets_pitch + i];
        if (offset < limit) sums[plane * pitch + offset] += dy[plane * dy_pitch + i];
      }
    }
  }

  bool AddPlanes(const Tile& tile, Range d, Range h, Range w, Sum* sums, int64_t pitch) {
    alignas(64) uint32_t offsets[kPlanes * kColumns];
    alignas(64) Sum buffer[kPlanes * kColumns];
    const int64_t limit = tile.positions.size(), origin = tile.positions.begin;
    OutputPosition first = {tile.n, tile.c, {0, 0, 0}};
    if (map_->through_planes() && tile.planes > 1) {
      const int64_t count = depth_.output * height_.output * width_.output;
      const bool valid = map_->Translate(first, count * tile.planes, origin, offsets);
      const Sum* dy = Gradients(first, count * tile.planes, buffer);
      AddInTurn(offsets, count, dy, count, count, tile.planes, sums, pitch, limit);
      return valid;
    }
    bool valid = true;
    for (int64_t od = d.begin; od < d.end; ++od) {
      for (int64_t oh = h.begin; oh < h.end; ++oh) {
        for (int64_t ow = w.begin; ow < w.end; ow += kColumns) {
          const int64_t count = std::min(kColumns, w.end - ow);
          const Sum* dy = nullptr;
          for (int64_t plane = 0; plane < tile.planes; ++plane) {
            first = {tile.n, tile.c + plane, {od, oh, ow}};
            valid &= map_->Translate(first, count, origin, offsets + plane * kColumns);
            const Sum* gradients = Gradients(first, count, buffer + plane * kColumns);
            if (plane == 0) dy = gradients;
          }
          const int64_t dy_pitch = element_bytes_ == sizeof(Sum) ? g_.output.channel : kColumns;
          AddInTurn(offsets, kColumns, dy, dy_pitch, count, tile.planes, sums, pitch, limit);
        }
      }
    }
    return valid;
  }

  const ScatterCall& call_;
  const Geometry& g_;
  const int64_t element_bytes_;
  const Axis &depth_, &height_, &width_;
  bool is_dense_;  // the positions of a plane follow each other
  bool in_place_;  // then sums of the element type need no scratch
  std::optional<IndexMap> map_;
  Range columns_, channels_;
};

}  // namespace

bool ScatterBackward(const ScatterCall& call) {
  if (ElementBytes(call.type) == sizeof(double)) return Scatter<double>(call).Run();
  return Scatter<float>(call).Run();
}

}  // namespace peakpool
