// SPDX-License-Identifier: Apache-2.0
#include "src/backward_scatter.h"

#include <algorithm>
#include <cstring>

#include "src/element.h"
#include "src/half.h"
#include "src/kernels/kernels.h"
#include "src/shape.h"

namespace peakpool {
namespace {

int64_t FloorDivide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
int64_t CeilDivide(int64_t a, int64_t b) { return -FloorDivide(-a, b); }

struct Range {
  int64_t begin, end;  // empty when begin >= end
};

// Outputs whose windows may touch inputs [begin, end).
Range Touching(const Axis& axis, int64_t begin, int64_t end) {
  const int64_t reach = (axis.kernel - 1) * axis.dilation;
  return {std::max<int64_t>(0, CeilDivide(begin + axis.pad_before - reach, axis.stride)),
          std::min(axis.output, FloorDivide(end - 1 + axis.pad_before, axis.stride) + 1)};
}

// Outputs whose windows are clear of the padding.
Range Interior(const Axis& axis) {
  const int64_t reach = (axis.kernel - 1) * axis.dilation;
  const int64_t begin = std::min(axis.output, CeilDivide(axis.pad_before, axis.stride));
  return {begin, std::max(begin, std::min(axis.output,
                                          FloorDivide(axis.input - 1 - reach + axis.pad_before, axis.stride) + 1))};
}

// One axis of a window: where it begins and which of its taps are not padding.
struct Taps {
  int64_t begin, first, count;

  Taps() = default;
  Taps(const Axis& axis, int64_t output) : begin(axis.Begin(output)) {
    const int64_t left = axis.input - 1 - begin;  // inputs from begin to the last one
    first = begin >= 0 ? 0 : (axis.dilation == 1 ? -begin : CeilDivide(-begin, axis.dilation));
    const int64_t end = left < 0 ? 0 : std::min(axis.kernel, (axis.dilation == 1 ? left : left / axis.dilation) + 1);
    count = std::max<int64_t>(0, end - first);
  }
};

// 0 or 1, for sums without branches.
unsigned InRange(uint64_t value, int64_t first, int64_t count) {
  return value - static_cast<uint64_t>(first) < static_cast<uint64_t>(count);
}

// Offsets of one run, on the stack: long enough to make the cost of a run small.
constexpr int64_t kRun = 256;

// A piece of one dx plane that is summed at once.
struct Tile {
  int64_t n, c, channels;  // channels is 1 for channels-first
  PositionBox box;
};

template <class T, class Sum>
bool ScatterTile(const Geometry& g, const PositionDecoder& decoder, const Tile& tile, const T* dy, Sum* sums) {
  const int64_t height = g.axis[kHeight].input;
  const int64_t d_begin = tile.box.line_begin / height, d_end = (tile.box.line_end - 1) / height + 1;
  const bool one_slice = d_end - d_begin == 1;
  const Range d = Touching(g.axis[kDepth], d_begin, d_end);
  const Range h = Touching(g.axis[kHeight], one_slice ? tile.box.line_begin - d_begin * height : 0,
                           one_slice ? tile.box.line_end - d_begin * height : height);
  const Range w = Touching(g.axis[kWidth], tile.box.width_begin, tile.box.width_end);
  int64_t offsets[kRun];
  bool valid = true;
  auto add = [&](const OutputRun& run) {
    valid &= decoder.Decode(run, tile.box, offsets);
    const T* from = dy + run.n * g.output.batch + run.c * g.output.channel + run.d * g.output.axis[kDepth] +
                    run.h * g.output.axis[kHeight] + run.w * g.output.axis[kWidth];
    for (int64_t i = 0; i < run.count; ++i) {
      if (offsets[i] != PositionDecoder::kNone) sums[offsets[i]] += ToFloat(from[i]);
    }
  };
  for (int64_t od = d.begin; od < d.end; ++od) {
    for (int64_t oh = h.begin; oh < h.end; ++oh) {
      if (g.channels_last) {
        for (int64_t ow = w.begin; ow < w.end; ++ow) {
          for (int64_t i = 0; i < tile.channels; i += kRun) {
            add({tile.n, tile.c + i, od, oh, ow, std::min(kRun, tile.channels - i)});
          }
        }
      } else {
        for (int64_t ow = w.begin; ow < w.end; ow += kRun) {
          add({tile.n, tile.c, od, oh, ow, std::min(kRun, w.end - ow)});
        }
      }
    }
  }
  return valid;
}

// Calls visit(dx row, count, offset of the row in the tile's sums) for each contiguous piece of dx in the tile. The
// tile's own strides give the offset, so sums and dx may be laid out differently.
template <class T, class Visit>
void ForEachRow(const Geometry& g, const Tile& tile, T* dx, Visit visit) {
  const int64_t height = g.axis[kHeight].input;
  const PositionBox& box = tile.box;
  for (int64_t line = box.line_begin; line < box.line_end; ++line) {
    const int64_t d = line / height, h = line - d * height;
    auto offset = [&](const Strides& s, int64_t w) {
      return tile.n * s.batch + tile.c * s.channel + d * s.axis[kDepth] + h * s.axis[kHeight] + w * s.axis[kWidth];
    };
    if (g.channels_last) {
      for (int64_t w = box.width_begin; w < box.width_end; ++w) {
        visit(dx + offset(g.input, w), tile.channels, offset(box.strides, w) - box.origin);
      }
    } else {
      visit(dx + offset(g.input, box.width_begin), box.width_end - box.width_begin,
            offset(box.strides, box.width_begin) - box.origin);
    }
  }
}

// float and double sum where they are.
template <class T>
bool ScatterLines(const Geometry& g, const PositionDecoder& decoder, const ScatterCall& call, int64_t plane,
                  int64_t line_begin, int64_t line_end, T*) {
  T* dx = static_cast<T*>(call.dx);
  Tile tile;
  tile.n = g.channels_last ? plane : plane / g.channels;
  tile.c = g.channels_last ? 0 : plane % g.channels;
  tile.channels = g.channels_last ? g.channels : 1;
  tile.box = {g.input, 0, line_begin, line_end, 0, g.axis[kWidth].input};
  if (!call.accumulate) {
    ForEachRow(g, tile, dx, [](T* row, int64_t count, int64_t) { std::fill_n(row, count, T{0}); });
  }
  return ScatterTile(g, decoder, tile, static_cast<const T*>(call.dy), dx);
}

// The 16-bit floats sum in scratch, as many lines at a time as fit, or a part of one line.
template <class T>
bool ScatterLinesInScratch(const Geometry& g, const PositionDecoder& decoder, const ScatterCall& call, int64_t plane,
                           int64_t line_begin, int64_t line_end) {
  constexpr int64_t kSums = kScratchBytes / sizeof(float);
  T* dx = static_cast<T*>(call.dx);
  float* sums = static_cast<float*>(call.scratch);
  const int64_t width = g.axis[kWidth].input, height = g.axis[kHeight].input;
  const int64_t all_channels = g.channels_last ? g.channels : 1;
  const int64_t channels_step = std::min(all_channels, kSums);
  const int64_t width_step = std::min(width, kSums / channels_step);
  const int64_t lines_step = kSums / (channels_step * width_step);  // 1 where a line does not fit
  bool valid = true;
  for (int64_t line = line_begin; line < line_end; line += lines_step) {
    for (int64_t w = 0; w < width; w += width_step) {
      for (int64_t c = 0; c < all_channels; c += channels_step) {
        Tile tile;
        tile.n = g.channels_last ? plane : plane / g.channels;
        tile.c = g.channels_last ? c : plane % g.channels;
        tile.channels = std::min(channels_step, all_channels - c);
        const int64_t pitch = width_step * channels_step;
        Strides& s = tile.box.strides;
        s = {0, 1, {height * pitch, pitch, channels_step}};
        tile.box.origin = tile.c * s.channel + line * pitch + w * channels_step;
        tile.box.line_begin = line;
        tile.box.line_end = std::min(line + lines_step, line_end);
        tile.box.width_begin = w;
        tile.box.width_end = std::min(w + width_step, width);
        ForEachRow(g, tile, dx, [&](T* row, int64_t count, int64_t offset) {
          for (int64_t i = 0; i < count; ++i) sums[offset + i] = call.accumulate ? ToFloat(row[i]) : 0.0f;
        });
        valid &= ScatterTile(g, decoder, tile, static_cast<const T*>(call.dy), sums);
        ForEachRow(g, tile, dx, [&](T* row, int64_t count, int64_t offset) {
          for (int64_t i = 0; i < count; ++i) Round(sums[offset + i], row + i);
        });
      }
    }
  }
  return valid;
}
bool ScatterLines(const Geometry& g, const PositionDecoder& decoder, const ScatterCall& call, int64_t plane,
                  int64_t line_begin, int64_t line_end, F16*) {
  return ScatterLinesInScratch<F16>(g, decoder, call, plane, line_begin, line_end);
}
bool ScatterLines(const Geometry& g, const PositionDecoder& decoder, const ScatterCall& call, int64_t plane,
                  int64_t line_begin, int64_t line_end, BF16*) {
  return ScatterLinesInScratch<BF16>(g, decoder, call, plane, line_begin, line_end);
}

template <class T>
bool Scatter(const ScatterCall& call) {
  const Geometry& g = *call.geometry;
  const PositionDecoder decoder(g, call.index_format, call.index, call.allow_empty);
  const int64_t plane_lines = g.axis[kDepth].input * g.axis[kHeight].input;
  bool valid = true;
  for (int64_t begin = call.begin; begin < call.end;) {
    const int64_t plane = begin / plane_lines, first = plane * plane_lines;
    const int64_t end = std::min(call.end, first + plane_lines);
    valid &= ScatterLines(g, decoder, call, plane, begin - first, end - first, static_cast<T*>(nullptr));
    begin = end;
  }
  return valid;
}

}  // namespace

// Outputs of one run whose windows hold the same taps.
struct PositionDecoder::Segment {
  const PositionBox* box;
  const void* index;
  int64_t count;
  Taps taps[3];
  int64_t offset, offset_step;  // of the window's first tap, be it padding
  int64_t flat, flat_step;      // flat index of the first tap that is not padding
  int64_t width_step;           // of the window's begin along w
  bool all_wanted;              // the box holds every position of these windows
};

PositionDecoder::PositionDecoder(const Geometry& geometry, int32_t index_format, const void* index, bool allow_empty)
    : geometry_(geometry), index_(index), format_(index_format), allow_empty_(allow_empty) {
  const Axis* axis = geometry.axis;
  const bool column_major = format_ == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64;
  tensor_ = column_major || format_ == PEAKPOOL_INDEX_TENSOR_I64;
  dilated_ = false;
  plane_ = 1;
  for (int i = 2; i >= 0; --i) {
    const int a = column_major ? 2 - i : i;
    order_[i] = a;
    pitch_[a] = plane_;
    plane_ *= axis[a].input;
    dilated_ |= axis[a].dilation != 1;
    by_dilation_[a] = Divider(axis[a].dilation);
  }
  const Range interior = Interior(axis[kWidth]);
  interior_begin_ = interior.begin;
  interior_end_ = interior.end;
  by_kernel_width_ = Divider(axis[kWidth].kernel);
  by_kernel_height_ = Divider(axis[kHeight].kernel);
  by_slow_ = Divider(pitch_[order_[0]]);
  by_middle_ = Divider(pitch_[order_[1]]);
}

bool PositionDecoder::Decode(const OutputRun& run, const PositionBox& box, int64_t* offsets) const {
  const Geometry& g = geometry_;
  const Axis* axis = g.axis;
  const int64_t bytes = IndexBytes(format_);
  const char* index = static_cast<const char*>(index_) +
                      bytes * (run.n * g.output.batch + run.c * g.output.channel + run.d * g.output.axis[kDepth] +
                               run.h * g.output.axis[kHeight] + run.w * g.output.axis[kWidth]);
  Segment s;
  s.box = &box;
  s.taps[kDepth] = Taps(axis[kDepth], run.d);
  s.taps[kHeight] = Taps(axis[kHeight], run.h);
  // Positions of the first tap that is not padding, and of the last one.
  int64_t first[2], last[2];
  for (int a = 0; a < 2; ++a) {
    first[a] = s.taps[a].begin + s.taps[a].first * axis[a].dilation;
    last[a] = first[a] + (s.taps[a].count - 1) * axis[a].dilation;
  }
  s.all_wanted = box.width_begin == 0 && box.width_end == axis[kWidth].input &&
                 first[kDepth] * axis[kHeight].input + first[kHeight] >= box.line_begin &&
                 last[kDepth] * axis[kHeight].input + last[kHeight] < box.line_end;
  s.width_step = g.channels_last ? 0 : axis[kWidth].stride;
  s.offset_step = g.channels_last ? box.strides.channel : axis[kWidth].stride * box.strides.axis[kWidth];
  s.flat_step = g.channels_last ? (tensor_ ? plane_ : 0) : axis[kWidth].stride * pitch_[kWidth];
  const int64_t line_offset = run.n * box.strides.batch + run.c * box.strides.channel +
                              s.taps[kDepth].begin * box.strides.axis[kDepth] +
                              s.taps[kHeight].begin * box.strides.axis[kHeight] - box.origin;
  const int64_t line_flat = (tensor_ ? (run.n * g.channels + run.c) * plane_ : 0) + first[kDepth] * pitch_[kDepth] +
                            first[kHeight] * pitch_[kHeight];
  bool valid = true;
  for (int64_t done = 0; done < run.count; done += s.count) {
    const int64_t ow = g.channels_last ? run.w : run.w + done;
    const Taps& w = s.taps[kWidth] = Taps(axis[kWidth], ow);
    s.count = 1;
    if (g.channels_last) {
      s.count = run.count;
    } else if (ow >= interior_begin_ && ow < interior_end_) {
      s.count = std::min(run.count - done, interior_end_ - ow);
    }
    s.index = index + done * bytes;
    s.offset = line_offset + w.begin * box.strides.axis[kWidth];
    s.flat = line_flat + (w.begin + w.first * axis[kWidth].dilation) * pitch_[kWidth];
    valid &= DecodeSegment(s, offsets + done);
  }
  return valid;
}

bool PositionDecoder::DecodeSegment(const Segment& segment, int64_t* offsets) const {
  switch (format_) {
    case PEAKPOOL_INDEX_WINDOW_U8: return DecodeTaps(static_cast<const uint8_t*>(segment.index), segment, offsets);
    case PEAKPOOL_INDEX_WINDOW_U16: return DecodeTaps(static_cast<const uint16_t*>(segment.index), segment, offsets);
    case PEAKPOOL_INDEX_WINDOW_U32: return DecodeTaps(static_cast<const uint32_t*>(segment.index), segment, offsets);
    case PEAKPOOL_INDEX_PLANE_I32: return DecodeFlat(static_cast<const int32_t*>(segment.index), segment, offsets);
    default: return DecodeFlat(static_cast<const int64_t*>(segment.index), segment, offsets);
  }
}

template <class Index>
bool PositionDecoder::DecodeEmpty(const Index* index, const Segment& segment, int64_t* offsets) const {
  bool valid = allow_empty_;
  for (int64_t i = 0; i < segment.count; ++i) {
    valid &= index[i] == static_cast<Index>(-1);
    offsets[i] = kNone;
  }
  return valid;
}

template <class Index>
bool PositionDecoder::DecodeTaps(const Index* index, const Segment& segment, int64_t* offsets) const {
  const Axis *d = &geometry_.axis[kDepth], *h = d + 1, *w = h + 1;
  const Taps td = segment.taps[kDepth], th = segment.taps[kHeight], tw = segment.taps[kWidth];
  if (td.count == 0 || th.count == 0 || tw.count == 0) return DecodeEmpty(index, segment, offsets);
  const PositionBox& box = *segment.box;
  const int64_t d_step = d->dilation * box.strides.axis[kDepth], h_step = h->dilation * box.strides.axis[kHeight],
                w_step = w->dilation * box.strides.axis[kWidth];
  const uint64_t kernel_width = static_cast<uint64_t>(w->kernel), kernel_height = static_cast<uint64_t>(h->kernel);
  const bool flat = d->kernel == 1, all_wanted = segment.all_wanted;
  int64_t offset = segment.offset;
  bool valid = true;
  for (int64_t i = 0; i < segment.count; ++i, offset += segment.offset_step) {
    // Tap numbers beyond the window come out beyond its slowest axis.
    const uint64_t row = by_kernel_width_.Divide(index[i]), a = flat ? 0 : by_kernel_height_.Divide(row);
    const uint64_t b = row - a * kernel_height, c = index[i] - row * kernel_width;
    const bool tap =
        InRange(a, td.first, td.count) & InRange(flat ? row : b, th.first, th.count) & InRange(c, tw.first, tw.count);
    valid &= tap;
    bool wanted = tap;
    if (!all_wanted && tap) {
      const int64_t line = (td.begin + static_cast<int64_t>(a) * d->dilation) * h->input + th.begin +
                           static_cast<int64_t>(b) * h->dilation;
      const int64_t column = tw.begin + i * segment.width_step + static_cast<int64_t>(c) * w->dilation;
      wanted = line >= box.line_begin && line < box.line_end && column >= box.width_begin && column < box.width_end;
    }
    offsets[i] = wanted ? offset + static_cast<int64_t>(a) * d_step + static_cast<int64_t>(b) * h_step +
                              static_cast<int64_t>(c) * w_step
                        : kNone;
  }
  return valid;
}

// A flat index less that of the window's first tap is a small number, so that 32-bit divisions, by multiplication, take
// it apart; anything outside the window's span is invalid at once.
template <class Index>
bool PositionDecoder::DecodeFlat(const Index* index, const Segment& segment, int64_t* offsets) const {
  int64_t extent[3];  // distance from the first to the last tap that is not padding
  int64_t first[3];
  uint64_t span = 0;
  int64_t offset = segment.offset;
  for (int a = 0; a < 3; ++a) {
    const Taps& taps = segment.taps[a];
    if (taps.count == 0) return DecodeEmpty(index, segment, offsets);
    const int64_t dilation = geometry_.axis[a].dilation;
    extent[a] = (taps.count - 1) * dilation;
    first[a] = taps.begin + taps.first * dilation;
    span += static_cast<uint64_t>(extent[a] * pitch_[a]);
    offset += taps.first * dilation * segment.box->strides.axis[a];
  }
  const PositionBox& box = *segment.box;
  const int slow = order_[0], middle = order_[1], fast = order_[2];
  const bool one_slice = extent[slow] == 0, all_wanted = segment.all_wanted;
  const uint64_t middle_pitch = static_cast<uint64_t>(pitch_[middle]), slow_pitch = static_cast<uint64_t>(pitch_[slow]);
  const int64_t* strides = box.strides.axis;
  const int64_t slow_stride = strides[slow], middle_stride = strides[middle], fast_stride = strides[fast];
  const uint64_t middle_extent = static_cast<uint64_t>(extent[middle]),
                 fast_extent = static_cast<uint64_t>(extent[fast]);
  int64_t flat = segment.flat;
  bool valid = true;
  for (int64_t i = 0; i < segment.count; ++i, offset += segment.offset_step, flat += segment.flat_step) {
    const uint64_t delta = static_cast<uint64_t>(static_cast<int64_t>(index[i])) - static_cast<uint64_t>(flat);
    offsets[i] = kNone;
    if (delta > span) {
      valid = false;
      continue;
    }
    const uint64_t a = one_slice ? 0 : by_slow_.Divide(delta);
    const uint64_t rest = delta - a * slow_pitch;
    const uint64_t b = by_middle_.Divide(rest), c = rest - b * middle_pitch;
    bool tap = b <= middle_extent && c <= fast_extent;
    if (dilated_) {
      const uint64_t at[3] = {a, b, c};
      for (int k = 0; k < 3; ++k) {
        const Divider& by = by_dilation_[order_[k]];
        tap = tap && by.Divide(at[k]) * by.divisor == at[k];
      }
    }
    valid &= tap;
    if (!tap) continue;
    if (!all_wanted) {
      int64_t at[3];
      at[slow] = first[slow] + static_cast<int64_t>(a);
      at[middle] = first[middle] + static_cast<int64_t>(b);
      at[fast] = first[fast] + static_cast<int64_t>(c);
      const int64_t line = at[kDepth] * geometry_.axis[kHeight].input + at[kHeight];
      const int64_t column = at[kWidth] + i * segment.width_step;
      if (line < box.line_begin || line >= box.line_end || column < box.width_begin || column >= box.width_end)
        continue;
    }
    offsets[i] = offset + static_cast<int64_t>(a) * slow_stride + static_cast<int64_t>(b) * middle_stride +
                 static_cast<int64_t>(c) * fast_stride;
  }
  return valid;
}

bool ScatterBackward(const ScatterCall& call) {
  switch (call.type) {
    case PEAKPOOL_F64: return Scatter<double>(call);
    case PEAKPOOL_F16: return Scatter<F16>(call);
    case PEAKPOOL_BF16: return Scatter<BF16>(call);
    default: return Scatter<float>(call);
  }
}

namespace {

// Greatest of `count` bytes, by quarters: one running maximum would wait for itself.
uint8_t Greatest(const uint8_t* p, int64_t count) {
  const int64_t quarter = count / 4;
  uint8_t a = 0, b = 0, c = 0, d = 0;
  for (int64_t i = 0; i < quarter; ++i) {
    a = std::max(a, p[i]);
    b = std::max(b, p[quarter + i]);
    c = std::max(c, p[2 * quarter + i]);
    d = std::max(d, p[3 * quarter + i]);
  }
  for (int64_t i = 4 * quarter; i < count; ++i) a = std::max(a, p[i]);
  return std::max(std::max(a, b), std::max(c, d));
}

// Whether `count` bytes below 128 are in [least, end), 0 <= least < end <= 128: eight at a time, as edge rows are
// short.
bool AllInRange(const uint8_t* p, int64_t count, int64_t least, int64_t end) {
  constexpr uint64_t kOnes = 0x0101010101010101, kTops = 0x80 * kOnes;
  const uint64_t to_least = static_cast<uint64_t>(0x80 - least), to_end = static_cast<uint64_t>(0x80 - end);
  uint64_t in = kTops;  // the top bit of (byte + 0x80 - x) tells whether the byte is at least x
  auto meet = [&](uint64_t bytes) { in &= (bytes + to_least * kOnes) & ~(bytes + to_end * kOnes); };
  if (count < 8) {
    for (int64_t i = 0; i < count; ++i) meet(p[i] * kOnes);
    return in == kTops;
  }
  for (int64_t i = 0;;) {
    uint64_t bytes;
    std::memcpy(&bytes, p + i, 8);
    meet(bytes);
    if (i == count - 8) return in == kTops;
    i = std::min(i + 8, count - 8);
  }
}

// One line by decoding it.
bool ValidateLine(const Geometry& g, const PositionDecoder& decoder, OutputRun run) {
  const PositionBox box = {g.input, 0, 0, g.axis[kDepth].input * g.axis[kHeight].input, 0, g.axis[kWidth].input};
  const int64_t columns = g.axis[kWidth].output;
  int64_t offsets[kRun];
  bool valid = true;
  if (g.channels_last) {
    for (run.w = 0; run.w < columns; ++run.w) {
      for (run.c = 0; run.c < g.channels; run.c += kRun) {
        run.count = std::min(kRun, g.channels - run.c);
        valid &= decoder.Decode(run, box, offsets);
      }
    }
  } else {
    for (run.w = 0; run.w < columns; run.w += kRun) {
      run.count = std::min(kRun, columns - run.w);
      valid &= decoder.Decode(run, box, offsets);
    }
  }
  return valid;
}

// Whether the tap columns whose bits are in `seen` all are among `in`.
bool ColumnsAreIn(uint64_t seen, const Taps& in) {
  return in.count > 0 && (seen >> in.first) >> (in.count - 1) <= 1 && (seen & ((uint64_t{1} << in.first) - 1)) == 0;
}

// The part of ValidateTapBytes for windows that reach into the padding, where lines follow each other without gaps: one
// edge column, then one edge row, of all lines at a time. Per plane, that took three times as long on 14 x 14 outputs.
bool ValidateDenseEdges(const Geometry& g, const uint8_t* taps, int64_t begin, int64_t end) {
  const Axis *h = &g.axis[kHeight], *w = h + 1;
  const int64_t pixel = g.channels_last ? g.channels : 1, line_bytes = w->output * pixel;
  const Range inner_h = Interior(*h), inner_w = Interior(*w);
  uint64_t column_bit[128];
  for (int64_t tap = 0; tap < g.Taps(); ++tap) column_bit[tap] = uint64_t{1} << (tap % w->kernel);
  bool valid = true;
  for (int64_t column = 0; column < w->output; ++column) {
    if (column == inner_w.begin) column = inner_w.end;
    if (column == w->output) break;
    // Four sets, which do not wait for each other.
    uint64_t seen0 = 0, seen1 = 0, seen2 = 0, seen3 = 0;
    const auto see = [&](const uint8_t* p, int64_t count, int64_t step) {
      for (; count >= 4; count -= 4, p += 4 * step) {
        seen0 |= column_bit[p[0]];
        seen1 |= column_bit[p[step]];
        seen2 |= column_bit[p[2 * step]];
        seen3 |= column_bit[p[3 * step]];
      }
      for (; count > 0; --count, p += step) seen0 |= column_bit[*p];
    };
    const uint8_t* p = taps + begin * line_bytes + column * pixel;
    if (pixel == 1) {
      see(p, end - begin, line_bytes);
    } else {
      for (int64_t line = begin; line < end; ++line, p += line_bytes) see(p, pixel, 1);
    }
    valid &= ColumnsAreIn(seen0 | seen1 | seen2 | seen3, Taps(*w, column));
  }
  for (int64_t row = 0; row < h->output; ++row) {
    if (row == inner_h.begin) row = inner_h.end;
    if (row == h->output) break;
    const Taps in(*h, row);
    const int64_t first = row + CeilDivide(begin - row, h->output) * h->output;
    if (in.count == 0 && first < end) return false;
    for (int64_t line = first; line < end; line += h->output) {
      valid &=
          AllInRange(taps + line * line_bytes, line_bytes, in.first * w->kernel, (in.first + in.count) * w->kernel);
    }
  }
  return valid;
}

// As ValidateIndices, for compact indices of windows that are never empty. Taps are valid when they are below the
// number of taps and, in windows that reach into the padding, when row and column each lie within what is not padding:
// the rows of a window are a range of tap numbers, and its columns are collected as bits over all edge outputs of a
// column.
bool ValidateTapBytes(const Geometry& g, const PositionDecoder& decoder, const uint8_t* taps, int64_t begin,
                      int64_t end) {
  const Axis *d = &g.axis[kDepth], *h = d + 1, *w = h + 1;
  const int64_t pixel = g.channels_last ? g.channels : 1;  // contiguous bytes of one output column
  const int64_t line_bytes = w->output * pixel, lines = d->output * h->output;
  const int64_t line_pitch = g.output.axis[kHeight], slice_pitch = g.output.axis[kDepth];
  const bool dense_line = !g.channels_last || w->output == 1 || g.output.axis[kWidth] == pixel;
  const bool dense_plane = dense_line && (h->output == 1 || line_pitch == line_bytes) &&
                           (d->output == 1 || slice_pitch == h->output * line_bytes);
  const int64_t plane_bytes = lines * line_bytes;
  const bool dense = dense_plane && (g.channels_last || g.channels == 1 || g.output.channel == plane_bytes) &&
                     (g.batch == 1 || g.output.batch == plane_bytes * (g.channels_last ? 1 : g.channels));
  if (dense && Greatest(taps + begin * line_bytes, (end - begin) * line_bytes) >= g.Taps()) return false;

  const Range inner_d = Interior(*d), inner_h = Interior(*h), inner_w = Interior(*w);
  const bool edge_slices = inner_d.begin > 0 || inner_d.end < d->output;
  const bool edge_lines = edge_slices || inner_h.begin > 0 || inner_h.end < h->output;
  const bool edge_columns = inner_w.begin > 0 || inner_w.end < w->output;
  if (dense && !edge_lines && !edge_columns) return true;
  if (dense && d->kernel == 1 && !edge_slices) return ValidateDenseEdges(g, taps, begin, end);
  uint64_t column_bit[128];  // by tap number: 1 << its column
  for (int64_t tap = 0; tap < g.Taps(); ++tap) column_bit[tap] = uint64_t{1} << (tap % w->kernel);

  bool valid = true;
  for (int64_t line = begin; line < end;) {
    // The lines of one slice.
    const int64_t plane = line / lines, in_plane = line - plane * lines;
    OutputRun run;
    run.d = in_plane / h->output;
    run.h = in_plane - run.d * h->output;
    run.n = g.channels_last ? plane : plane / g.channels;
    run.c = g.channels_last ? 0 : plane - run.n * g.channels;
    const int64_t h_end = std::min(h->output, run.h + end - line);
    line += h_end - run.h;
    const uint8_t* slice = taps + run.n * g.output.batch + run.c * g.output.channel + run.d * slice_pitch;
    if (!dense) {
      for (int64_t i = run.h; i < h_end; ++i) {
        for (int64_t column = 0; column < (dense_line ? 1 : w->output); ++column) {
          const uint8_t* p = slice + i * line_pitch + column * g.output.axis[kWidth];
          if (Greatest(p, dense_line ? line_bytes : pixel) >= g.Taps()) return false;
        }
      }
    }
    const bool edge_slice = run.d < inner_d.begin || run.d >= inner_d.end;
    if (edge_columns && !edge_slice) {
      for (int64_t column = 0; column < w->output; ++column) {
        if (column == inner_w.begin) column = inner_w.end;
        if (column == w->output) break;
        const Taps in(*w, column);
        uint64_t seen = 0;
        for (int64_t i = run.h; i < h_end; ++i) {
          const uint8_t* p = slice + i * line_pitch + column * g.output.axis[kWidth];
          for (int64_t c = 0; c < pixel; ++c) seen |= column_bit[p[c]];
        }
        valid &= ColumnsAreIn(seen, in);
      }
    }
    if (!edge_lines) continue;
    for (; run.h < h_end; ++run.h) {
      if (run.h == inner_h.begin && !edge_slice) run.h = std::min(h_end, inner_h.end);
      if (run.h >= h_end) break;
      if (d->kernel != 1 || !dense_line) {
        valid &= ValidateLine(g, decoder, run);
        continue;
      }
      const Taps in_d(*d, run.d), in(*h, run.h);
      if (in_d.count == 0 || in.count == 0) return false;
      valid &=
          AllInRange(slice + run.h * line_pitch, line_bytes, in.first * w->kernel, (in.first + in.count) * w->kernel);
    }
  }
  return valid;
}

}  // namespace

bool ValidateIndices(const Geometry& g, int32_t index_format, const void* index, bool allow_empty, int64_t begin,
                     int64_t end) {
  if (begin >= end) return true;
  const PositionDecoder decoder(g, index_format, index, allow_empty);
  if (index_format == PEAKPOOL_INDEX_WINDOW_U8 && !allow_empty && g.Taps() <= 128 && g.axis[kWidth].kernel <= 64) {
    return ValidateTapBytes(g, decoder, static_cast<const uint8_t*>(index), begin, end);
  }
  const int64_t lines = g.axis[kDepth].output * g.axis[kHeight].output;
  bool valid = true;
  for (int64_t line = begin; line < end; ++line) {
    OutputRun run;
    const int64_t plane = line / lines, in_plane = line - plane * lines;
    run.d = in_plane / g.axis[kHeight].output;
    run.h = in_plane - run.d * g.axis[kHeight].output;
    run.n = g.channels_last ? plane : plane / g.channels;
    run.c = g.channels_last ? 0 : plane - run.n * g.channels;
    run.w = 0;
    run.count = 0;
    valid &= ValidateLine(g, decoder, run);
  }
  return valid;
}

}  // namespace peakpool
