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
constexpr int64_t kOffsets = kPlanes * IndexMap::kLongestRun;
// Sums in scratch have so many after them that take what lies outside the tile: a branch that follows no pattern would
// cost 20 cycles an output, one sum that takes all 10.
constexpr int64_t kSpare = 16;
// Positions of a plane that are zeroed or finished at once.
constexpr int64_t kStep = 1024;

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
    MakePlace();
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
      tile.channels = call_.channels;
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
  // Sums that fit the scratch.
  static constexpr int64_t kSums = kScratchBytes / sizeof(Sum) - kSpare;

  // Planes of a tile.
  int64_t MostPlanes(int64_t plane) {
    SetMap({0, width_.output}, call_.channels);
    int64_t most = kPlanes;
    if (map_->through_planes()) {
      // More than that where runs of all fit the offsets: 5 % less time for 13x13 outputs.
      const int64_t outputs = depth_.output * height_.output * width_.output;
      most = std::max(map_->table_planes(), std::min(2 * kPlanes, kOffsets / outputs));
    }
    return in_place_ ? most : std::max<int64_t>(std::min(most, kSums / plane), 1);
  }

  // Cuts a tile into what fits the scratch, and into offsets of 32 bits.
  bool SumInParts(const Tile& tile) {
    const int64_t all_channels = g_.channels_last ? tile.channels.size() : 1;
    int64_t channels = all_channels, step = (int64_t{1} << 31) / (g_.channels_last ? g_.channels : 1);
    if (!in_place_) {
      step = kSums / (channels * tile.planes);
      const int64_t line = width_.input, slice = height_.input * line;
      if (step < tile.positions.size()) {
        // Windows that straddle two parts are looked at twice: rather give up channels, down to a few vectors, than
        // have parts of fewer than twice a window's lines.
        channels = std::min(all_channels, kSums / (tile.planes * tile.positions.size()));
        if (channels < std::min<int64_t>(all_channels, 32)) {
          const int64_t lines = std::min(height_.input, 2 * (height_.kernel - 1) * height_.dilation + 2);
          channels = std::min(all_channels, std::max<int64_t>(kSums / (tile.planes * lines * line), 32));
        }
        step = kSums / (channels * tile.planes);
        if (step > slice) {
          step -= step % slice;
        } else if (step > height_.stride * line) {
          step -= step % (height_.stride * line);
        } else if (step > line) {
          step -= step % line;
        }
      }
    }
    bool valid = true;
    Tile part = tile;
    for (int64_t begin = tile.positions.begin, end; begin < tile.positions.end; begin = end) {
      end = std::min(begin + step, tile.positions.end);
      const int64_t slice = height_.input * width_.input, next_slice = (begin / slice + 1) * slice;
      // All rows of two slices would be looked at for the sake of some.
      if (end > next_slice && step < tile.positions.size() && step < slice) end = next_slice;
      part.positions = {begin, end};
      for (int64_t c = 0; c < all_channels; c += channels) {
        if (g_.channels_last) {
          part.channels.begin = tile.channels.begin + c;
          part.channels.end = tile.channels.begin + std::min(c + channels, all_channels);
        }
        valid &= SumTile(part);
      }
    }
    return valid;
  }

  // From one position's sums to the next one's.
  int64_t SumPitch(Range channels) const {
    if (!g_.channels_last) return 1;
    return in_place_ ? g_.channels : channels.size();
  }

  void SetMap(Range columns, Range channels) {
    if (map_ && columns.begin == columns_.begin && columns.end == columns_.end && channels.begin == channels_.begin &&
        channels.end == channels_.end) {
      return;
    }
    columns_ = columns;
    channels_ = channels;
    table_count_ = 0;
    // Offsets from the first position and channel of a plane's sums.
    const int64_t pixel = SumPitch(channels);
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

    const int64_t pixel = SumPitch(tile.channels), plane = depth_.input * height_.input * width_.input;
    sums_ = static_cast<Sum*>(call_.scratch);
    pitch_ = tile.positions.size() * pixel;
    if (in_place_) {
      sums_ = static_cast<Sum*>(call_.dx) + tile.n * g_.input.batch + tile.c * g_.input.channel +
              tile.positions.begin * pixel;
      if (g_.channels_last) sums_ += tile.channels.begin;
      pitch_ = g_.input.channel;
    }
    limit_ = tile.positions.size() * pixel;
    origin_ = tile.positions.begin * pixel + (g_.channels_last ? tile.channels.begin : 0);
    is_finite_ = in_place_ && !call_.accumulate;
    opened_ = closed_ = tile.positions.begin;
    bool valid = true;
    if (map_->through_planes() && tile.positions.size() == plane) {
      Open(tile, tile.positions.end);
      inside_ = !call_.indices.has_empty_window;
      valid = AddWholePlanes(tile);
    } else {
      // As many lines at a time as runs go through.
      const int64_t step =
          std::max<int64_t>(IndexMap::kLongestRun / (width_.output * (g_.channels_last ? tile.channels.size() : 1)), 1);
      const int64_t channel = g_.channels_last ? tile.n : tile.n * g_.channels + tile.c;
      for (int64_t od = d.begin; od < d.end; ++od) {
        for (int64_t oh = h.begin, end; oh < h.end; oh = end) {
          end = std::min(oh + step, h.end);
          // Windows begin and end in ascending order, so the lines between go through the caches once.
          const int a = depth_.input == 1 && depth_.output == 1 ? kHeight : kDepth;
          const int64_t positions = a == kHeight ? width_.input : height_.input * width_.input;
          const Axis& axis = g_.axis[a];
          const int64_t last = a == kHeight ? end - 1 : od;
          int64_t first = a == kHeight ? oh : od;
          const int64_t touched = std::max<int64_t>(axis.Begin(first), 0) * positions;
          Close(tile, touched, kStep);
          // Not always as far as the last one: it may be empty.
          int64_t touched_end = 0;
          for (; first <= last; ++first) {
            const int64_t size = (axis.TapEnd(first) - 1) * axis.dilation + 1;
            touched_end = std::max(touched_end, (axis.Begin(first) + size) * positions);
          }
          Open(tile, touched_end);
          inside_ =
              !call_.indices.has_empty_window && touched >= tile.positions.begin && touched_end <= tile.positions.end;
          const int64_t line = (channel * depth_.output + od) * height_.output;
          valid &= AddLines(tile, {line + oh, line + end});
        }
      }
      Open(tile, tile.positions.end);
    }
    Close(tile, tile.positions.end, 1);
    return valid;
  }

  // Has sums ready up to a position.
  [[gnu::noinline]] void Open(const Tile& tile, int64_t end) {
    if (end <= opened_) return;
    const Range positions = {opened_, std::min(std::max(end, opened_ + kStep), tile.positions.end)};
    opened_ = positions.end;
    if (in_place_ && call_.accumulate) return;
    ForEachPiece(tile, positions, [&](int64_t at, int64_t n, Sum* sums) {
      if (call_.accumulate) {
        call_.kernels->load_sums[call_.type](Element(call_.dx, at), n, sums);
      } else {
        std::memset(sums, 0, static_cast<size_t>(n) * sizeof(Sum));
      }
    });
  }
  // Puts those before a position into dx, if they are so many.
  [[gnu::noinline]] void Close(const Tile& tile, int64_t end, int64_t least) {
    end = std::min(end, opened_);
    if (end - closed_ < least) return;
    const Range positions = {closed_, end};
    closed_ = end;
    if (is_finite_) return;  // no NaN to be made canonical
    ForEachPiece(tile, positions, [&](int64_t at, int64_t n, Sum* sums) {
      call_.kernels->store_sums[call_.type](sums, n, Element(call_.dx, at));
    });
  }

  static const void* Element(const void* base, int64_t bytes) { return static_cast<const char*>(base) + bytes; }
  static void* Element(void* base, int64_t bytes) { return static_cast<char*>(base) + bytes; }

  // Calls visit(bytes into dx, elements, sums) for each contiguous piece of dx at the positions.
  template <class Visit>
  void ForEachPiece(const Tile& tile, Range positions, Visit visit) const {
    const int64_t pixel = g_.channels_last ? tile.channels.size() : 1, sum_pitch = SumPitch(tile.channels);
    const bool dense = is_dense_ && pixel == (g_.channels_last ? g_.channels : 1);
    // Planes that follow each other are one.
    const bool merged = dense && tile.planes > 1 && positions.size() == pitch_ && g_.input.channel == pitch_;
    for (int64_t plane = 0; plane < (merged ? 1 : tile.planes); ++plane) {
      const int64_t base =
          tile.n * g_.input.batch + (g_.channels_last ? tile.channels.begin : tile.c + plane) * g_.input.channel;
      Sum* sums = sums_ + plane * pitch_;
      if (dense) {
        visit((base + positions.begin * pixel) * element_bytes_, positions.size() * pixel * (merged ? tile.planes : 1),
              sums + (positions.begin - tile.positions.begin) * pixel);
        continue;
      }
      for (int64_t p = positions.begin; p < positions.end;) {
        const int64_t line = p / width_.input, first = p - line * width_.input;
        const int64_t end = std::min(width_.input, first + positions.end - p);
        const int64_t slice = line / height_.input;
        const int64_t row =
            base + slice * g_.input.axis[kDepth] + (line - slice * height_.input) * g_.input.axis[kHeight];
        const int64_t step = g_.input.axis[kWidth] == pixel ? end - first : 1;
        for (int64_t w = first; w < end; w += step, p += step) {
          visit((row + w * g_.input.axis[kWidth]) * element_bytes_, step * pixel,
                sums + (p - tile.positions.begin) * sum_pitch);
        }
      }
    }
  }

  // The gradients of a run.
  const Sum* Gradients(const OutputPosition& first, int64_t count, Sum* buffer) {
    const void* dy = Element(call_.dy, OffsetOf(first, g_.output) * element_bytes_);
    if (element_bytes_ == sizeof(Sum)) {
      is_finite_ = is_finite_ && call_.kernels->all_finite[call_.type](dy, count);
      return static_cast<const Sum*>(dy);
    }
    call_.kernels->load_sums[call_.type](dy, count, buffer);
    return buffer;
  }

  // Adds the gradients of `count` outputs in ascending order, the planes in turn. `inside`: all offsets are those of
  // sums.
  [[gnu::noinline]] void AddInTurn(bool inside, int64_t offsets_pitch, const Sum* dy, int64_t dy_pitch, int64_t count,
                                   int64_t planes) {
    const int64_t pitch = pitch_;
    int64_t i = 0;
    // Four neighbours at a time: one by one took a third longer. (By tap numbers and a table of their offsets instead:
    // one load more for each took longer than to translate them in vectors. What remains is a store an output, each to
    // another cache line: 1.1 cycles. Vectors that gather and scatter 16 channels take twice as long.)
    const auto four = [](const uint32_t* offset, const Sum* from, Sum* sums) {
      sums[offset[0]] += from[0];
      sums[offset[1]] += from[1];
      sums[offset[2]] += from[2];
      sums[offset[3]] += from[3];
    };
    if (inside && planes == 1) {
      for (; i + 4 <= count; i += 4) four(offsets_ + i, dy + i, sums_);
    }
    for (; inside && i + 4 <= count; i += 4) {
      const uint32_t* offset = offsets_ + i;
      const Sum* from = dy + i;
      Sum* sums = sums_;
      for (int64_t plane = 0; plane < planes; ++plane) {
        four(offset, from, sums);
        offset += offsets_pitch;
        from += dy_pitch;
        sums += pitch;
      }
    }
    const uint32_t limit = static_cast<uint32_t>(limit_);
    const bool in_place = in_place_;
    for (; i < count; ++i) {
      const uint32_t* offset = offsets_ + i;
      const Sum* from = dy + i;
      Sum* sums = sums_;
      // Behind the last plane; offsets outside a tile of several, which are whole, are kNone.
      int64_t spare = planes * pitch + i % kSpare;
      for (int64_t plane = 0; plane < planes; ++plane) {
        // No branch, for it would follow no pattern.
        Sum* const aside = in_place ? static_cast<Sum*>(call_.scratch) + i % kSpare : sums + spare;
        *(*offset < limit ? sums + *offset : aside) += *from;
        offset += offsets_pitch;
        from += dy_pitch;
        sums += pitch;
        spare -= pitch;
      }
    }
  }

  // Whether taps of bytes or words become offsets in 16 bits: in half the time that IndexMap takes, a quarter on AVX2.
  [[gnu::noinline]] void MakePlace() {
    const Indices& indices = call_.indices;
    const int64_t row_taps = width_.kernel, slice_taps = height_.kernel * row_taps, taps = depth_.kernel * slice_taps;
    places_ = call_.kernels != nullptr && !indices.has_empty_window && row_taps > 1 && taps < 65536 &&
              (indices.format == PEAKPOOL_INDEX_WINDOW_U8 || indices.format == PEAKPOOL_INDEX_WINDOW_U16);
    for (const Axis& axis : g_.axis) {
      if (axis.adaptive || (axis.dilation != 1 && axis.kernel != 1) || axis.input > 32767) places_ = false;
    }
    if (!places_) return;
    place_.deep = depth_.kernel != 1;
    const int64_t row_reciprocal = 65535 / row_taps + 1, slice_reciprocal = 65535 / slice_taps + 1;
    // Quotients are exact, and positions that the windows of a run cover fewer than 2^16.
    const int64_t run_lines = IndexMap::kLongestRun / width_.output + 1;
    const int64_t rows = std::min(run_lines * height_.stride + height_.kernel, height_.input);
    places_ = taps * (row_reciprocal * row_taps - 65536) < 65536 &&
              (!place_.deep || taps * (slice_reciprocal * slice_taps - 65536) < 65536) &&
              ((depth_.kernel - 1) * height_.input + rows) * width_.input < 65536;
    place_.tap_bytes = indices.format == PEAKPOOL_INDEX_WINDOW_U8 ? 1 : 2;
    place_.taps = static_cast<uint16_t>(taps);
    place_.slice_taps = static_cast<uint16_t>(slice_taps);
    place_.row_taps = static_cast<uint16_t>(row_taps);
    place_.slice_reciprocal = static_cast<uint16_t>(slice_reciprocal);
    place_.row_reciprocal = static_cast<uint16_t>(row_reciprocal);
    place_.depth = static_cast<uint16_t>(depth_.input);
    place_.height = static_cast<uint16_t>(height_.input);
    place_.width = static_cast<uint16_t>(width_.input);
    place_.rows = row_of_;
    place_.columns = column_of_;
    place_.channels = channel_of_;
  }

  // Offsets of a run's taps, less `origin`; false if any is invalid.
  [[gnu::noinline]] bool Offsets(const OutputPosition& first, int64_t count, int64_t origin, uint32_t* to) {
    if (places_ && (!map_->through_planes() || depth_.output == 1)) {
      place_.alike = g_.channels_last && first.c + count <= channels_.end;
      if (count > table_count_) FillTable(count);
      const int64_t slice = depth_.Begin(first.o[kDepth]), row = height_.Begin(first.o[kHeight]);
      const int64_t slices = std::max<int64_t>(slice, 0) * height_.input * width_.input;
      const int64_t position = (place_.deep ? slices : 0) + std::max<int64_t>(row, 0) * width_.input;
      place_.slice = static_cast<uint16_t>(slice);
      place_.row = static_cast<uint16_t>(row);
      place_.column = static_cast<uint16_t>(width_.Begin(first.o[kWidth]));
      place_.origin = static_cast<uint16_t>(position);
      const int64_t pixel = SumPitch(channels_);
      place_.pitch = static_cast<uint32_t>(pixel);
      const int64_t beyond = (place_.deep ? 0 : slices) * pixel + (g_.channels_last ? first.c : 0) - origin;
      place_.add = static_cast<uint32_t>(position * pixel + beyond);
      const void* const taps = Element(call_.indices.base, OffsetOf(first, g_.output) * place_.tap_bytes);
      if (call_.kernels->place(place_, taps, count, to)) return true;
    }
    return map_->Translate(first, count, origin, to);
  }

  // Serves runs of one line from any column on, of several lines from any line on, of several planes from their first.
  [[gnu::cold, gnu::noinline]] void FillTable(int64_t count) {
    table_count_ = count;
    const int64_t channels = g_.channels_last ? channels_.size() : 1;
    int64_t channel = 0, column = 0, line = 0;
    for (int64_t i = 0; i < count; ++i) {
      row_of_[i] = static_cast<uint16_t>(line * height_.stride);
      column_of_[i] = static_cast<uint16_t>(column * width_.stride);
      channel_of_[i] = static_cast<uint32_t>(channel);
      if (++channel < channels) continue;
      channel = 0;
      if (++column < width_.output) continue;
      column = 0;
      if (++line == height_.output) line = 0;
    }
  }

  bool AddWholePlanes(const Tile& tile) {
    const int64_t outputs = depth_.output * height_.output * width_.output;
    OutputPosition first = {tile.n, tile.c, {0, 0, 0}};
    bool valid = true;
    for (int64_t plane = 0, planes; plane < tile.planes; plane += planes) {
      planes = std::min(map_->table_planes(), tile.planes - plane);
      first.c = tile.c + plane;
      valid &= Offsets(first, planes * outputs, 0, offsets_ + plane * outputs);
    }
    first.c = tile.c;
    const Sum* dy = Gradients(first, tile.planes * outputs, gradients_);
    AddInTurn(valid && inside_, outputs, dy, outputs, outputs, tile.planes);
    return valid;
  }

  // Lines of one slice, those of all planes.
  bool AddLines(const Tile& tile, Range lines) {
    constexpr int64_t kRun = IndexMap::kLongestRun;
    const int64_t dy_pitch = element_bytes_ == sizeof(Sum) ? g_.output.channel : kRun;
    bool valid = true;
    map_->ForEachRun(lines, [&](OutputPosition first, int64_t count) {
      bool run_valid = true;
      const Sum* dy = nullptr;
      for (int64_t plane = 0; plane < tile.planes; ++plane) {
        run_valid &= Offsets(first, count, origin_, offsets_ + plane * kRun);
        const Sum* gradients = Gradients(first, count, gradients_ + plane * kRun);
        if (plane == 0) dy = gradients;
        ++first.c;
      }
      AddInTurn(run_valid && inside_, kRun, dy, dy_pitch, count, tile.planes);
      valid &= run_valid;
    });
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
  // Of the tile: the first plane's sums and the distance to the next one's, how many there are, and the positions up to
  // which they are ready and in dx.
  Sum* sums_;
  int64_t pitch_, limit_, origin_, opened_, closed_;
  bool inside_;     // all valid offsets of these lines are those of its sums
  bool is_finite_;  // no sum in dx can be NaN
  bool places_;
  PlaceCall place_;
  int64_t table_count_ = 0;  // outputs in the tables
  uint16_t row_of_[IndexMap::kLongestRun], column_of_[IndexMap::kLongestRun];
  uint32_t channel_of_[IndexMap::kLongestRun];
  alignas(64) uint32_t offsets_[kOffsets];
  alignas(64) Sum gradients_[sizeof(Sum) == sizeof(float) ? kOffsets : 1];  // of the 16-bit floats
};

}  // namespace

bool ScatterBackward(const ScatterCall& call) {
  if (ElementBytes(call.type) == sizeof(double)) return Scatter<double>(call).Run();
  return Scatter<float>(call).Run();
}

}  // namespace peakpool
