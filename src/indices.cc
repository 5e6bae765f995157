// SPDX-License-Identifier: Apache-2.0
#include "src/indices.h"

#include <cstring>
#include <functional>

#include "peakpool/peakpool.h"
#include "src/copy_rows.h"
#include "src/shape.h"

namespace peakpool {
namespace {

// Windows that each hold their whole plane.
Geometry AsPlaneWindows(Geometry g) {
  for (Axis& axis : g.axis) {
    axis.kernel = axis.input;
    axis.stride = 0;
    axis.dilation = 1;
    axis.pad_before = 0;
    axis.adaptive = false;
  }
  return g;
}

// In-range taps of an axis at most.
int64_t MostTaps(const Axis& axis) { return std::min(axis.kernel, (axis.input - 1) / axis.dilation + 1); }

// How far apart two neighbouring taps of an axis are in a numbering.
int64_t StepOf(const Numbering& numbering, const Axis& axis, int a) {
  return numbering.strides.axis[a] * (numbering.of_taps || axis.kernel == 1 ? 1 : axis.dilation);
}

// Outputs of an axis whose windows are clear of the padding, and alike.
Range Interior(const Axis& axis) {
  if (axis.stride == 0) return {0, axis.output};
  const int64_t room = axis.input - 1 - (axis.kernel - 1) * axis.dilation + axis.pad_before;
  const int64_t end = axis.adaptive || room < 0 ? 0 : std::min(room / axis.stride + 1, axis.output);
  return {std::min((axis.pad_before + axis.stride - 1) / axis.stride, end), end};
}

bool IsDensePlane(const Geometry& g, const Strides& s) {
  const Axis *d = &g.axis[kDepth], *h = d + 1, *w = h + 1;
  return (h->output == 1 || s.axis[kHeight] == w->output) &&
         (d->output == 1 || s.axis[kDepth] == w->output * h->output) &&
         (g.channels == 1 || s.channel == w->output * h->output * d->output);
}

// Whether each image follows the one before as its planes do each other.
bool AreDenseImages(const Geometry& g, const Strides& s, int64_t plane) {
  return g.batch == 1 || s.batch == g.channels * plane;
}

}  // namespace

int NarrowestTapBytes(const Geometry& geometry, bool has_empty_window) {
  const int64_t values = geometry.Taps() + (has_empty_window ? 1 : 0);
  return values <= 1 << 8 ? 1 : values <= 1 << 16 ? 2 : 4;
}

int32_t WindowFormatOf(int tap_bytes) {
  return tap_bytes == 1   ? PEAKPOOL_INDEX_WINDOW_U8
         : tap_bytes == 2 ? PEAKPOOL_INDEX_WINDOW_U16
                          : PEAKPOOL_INDEX_WINDOW_U32;
}

Numbering NumberingOf(const Geometry& g, int32_t index_format) {
  const Axis *d = &g.axis[kDepth], *h = d + 1, *w = h + 1;
  if (index_format < PEAKPOOL_INDEX_PLANE_I32) return {{0, 0, {h->kernel * w->kernel, w->kernel, 1}}, true};
  Numbering numbering = {{0, 0, {h->input * w->input, w->input, 1}}, false};
  if (index_format >= PEAKPOOL_INDEX_TENSOR_I64) {
    numbering.strides.channel = d->input * h->input * w->input;
    numbering.strides.batch = g.channels * numbering.strides.channel;
  }
  if (index_format == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64) {
    numbering.strides.axis[kDepth] = 1;
    numbering.strides.axis[kHeight] = d->input;
    numbering.strides.axis[kWidth] = d->input * h->input;
  }
  return numbering;
}

IndexReader::IndexReader(const Indices& indices)
    : indices_(indices),
      windows_(indices.any_position && !IsWindowFormat(indices.format) ? AsPlaneWindows(*indices.geometry)
                                                                       : *indices.geometry),
      mark_(indices.format == PEAKPOOL_INDEX_WINDOW_U8    ? UINT8_MAX
            : indices.format == PEAKPOOL_INDEX_WINDOW_U16 ? UINT16_MAX
            : indices.format == PEAKPOOL_INDEX_WINDOW_U32 ? int64_t{UINT32_MAX}
                                                          : -1) {}

int64_t IndexReader::Value(int64_t offset) const {
  switch (indices_.format) {
    case PEAKPOOL_INDEX_WINDOW_U8: return static_cast<const uint8_t*>(indices_.base)[offset];
    case PEAKPOOL_INDEX_WINDOW_U16: return static_cast<const uint16_t*>(indices_.base)[offset];
    case PEAKPOOL_INDEX_WINDOW_U32: return static_cast<const uint32_t*>(indices_.base)[offset];
    case PEAKPOOL_INDEX_PLANE_I32: return static_cast<const int32_t*>(indices_.base)[offset];
    default: return static_cast<const int64_t*>(indices_.base)[offset];
  }
}

IndexReader::Result IndexReader::Read(const OutputPosition& output, int64_t offset, int64_t (&tap)[3]) const {
  const int64_t value = Value(offset);
  if (indices_.has_empty_window && value == mark_ && indices_.geometry->IsEmptyWindow(output)) return kEmpty;
  const Numbering numbering = NumberingOf(windows_, indices_.format);
  const bool column_major = indices_.format == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64;
  int64_t rest = value;
  if (!numbering.of_taps) {
    const int64_t base = output.n * numbering.strides.batch + output.c * numbering.strides.channel;
    if (rest < base) return kInvalid;
    rest -= base;
  }
  for (int i = 0; i < 3; ++i) {  // the axis that varies fastest first
    const int a = column_major ? i : 2 - i;
    const Axis& axis = windows_.axis[a];
    const int64_t size = numbering.of_taps ? axis.kernel : axis.input;
    tap[a] = rest % size;
    rest /= size;
    if (!numbering.of_taps) {
      tap[a] -= axis.Begin(output.o[a]);
      if (tap[a] < 0 || tap[a] % axis.dilation != 0) return kInvalid;
      tap[a] /= axis.dilation;
    }
    if (tap[a] < axis.FirstTap(output.o[a]) || tap[a] >= axis.TapEnd(output.o[a])) return kInvalid;
  }
  return rest == 0 ? kTap : kInvalid;
}

int64_t IndexReader::Number(const Numbering& numbering, const OutputPosition& output, const int64_t (&tap)[3]) const {
  const Strides& s = numbering.strides;
  int64_t number = output.n * s.batch + output.c * s.channel;
  for (int a = 0; a < 3; ++a) {
    const Axis& axis = windows_.axis[a];
    number += (numbering.of_taps ? tap[a] : axis.Begin(output.o[a]) + tap[a] * axis.dilation) * s.axis[a];
  }
  return number;
}

IndexMap::IndexMap(const Indices& indices, const IndexKernels* kernels, const Numbering& numbering, const Strides& from,
                   const Strides& to, Range columns, Range channels)
    : reader_(indices),
      kernels_(kernels),
      from_(NumberingOf(reader_.windows(), indices.format)),
      to_(numbering),
      from_strides_(from),
      columns_(columns),
      channels_(channels),
      index_bytes_(IndexBytes(indices.format)) {
  const Geometry& g = reader_.windows();
  const Axis& width = g.axis[kWidth];
  const int64_t outputs = g.axis[kDepth].output * g.axis[kHeight].output * width.output;
  if (g.channels_last) {
    inner_ = channels.size();
    // Fewer alternate with the columns, where both follow each other. (48 and 96 channels: 0.8 to 0.9 of the time; four
    // pixels of 128 in a run, 1.24.)
    along_channels_ = inner_ > kLongestRun / 5 || from.axis[kWidth] != inner_ || to.axis[kWidth] != inner_;
    if (along_channels_) inner_ = 1;
  } else if (columns.size() == width.output && outputs <= kLongestRun && IsDensePlane(g, from) && IsDensePlane(g, to)) {
    through_planes_ = true;
    through_images_ = AreDenseImages(g, from, outputs) && AreDenseImages(g, to, outputs) &&
                      AreDenseImages(g, from_.strides, from_.strides.channel) &&
                      AreDenseImages(g, to_.strides, to_.strides.channel);
    table_planes_ = std::min(kLongestRun / outputs, through_images_ ? g.Planes() : g.channels);
  }
  constexpr int64_t kExact = 1 << 21;
  as_numbers_ = kernels != nullptr && indices.is_valid && !indices.has_empty_window && g.Taps() < kExact;
  const Axis& height = g.axis[kHeight];
  // Numbers count positions in the padding, too.
  interior_columns_ = as_numbers_ && !width.adaptive ? Range{0, width.output} : Interior(width);
  interior_lines_ = as_numbers_ && !height.adaptive ? Range{0, height.output} : Interior(height);
  line_ = width.output * inner_;
  if (!through_planes_ && !along_channels_ && columns.size() == width.output && from.axis[kHeight] == line_ &&
      to.axis[kHeight] == line_) {
    const int64_t room = kLongestRun / line_ - (height.output - interior_lines_.size());
    run_lines_ = std::max<int64_t>(std::min(room, interior_lines_.size()), 1);
  }

  // The digits, slowest first.
  call_ = {};
  call_.from_base = from_base_;
  call_.to_base = to_base_;
  call_.from_bytes = static_cast<int>(index_bytes_);
  call_.has_empty = indices.has_empty_window;
  const bool column_major = indices.format == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64;
  int64_t step[3], to_step[3], size[3];
  int digits = 0;
  for (int i = 0; i < 3; ++i) {
    const int a = column_major ? 2 - i : i;
    const Axis& axis = g.axis[a];
    if (axis.kernel == 1 && !indices.has_empty_window) continue;
    step[digits] = StepOf(from_, axis, a);
    to_step[digits] = StepOf(to_, axis, a);
    size[digits] = MostTaps(axis);
    axis_of_digit_[digits] = a;
    ++digits;
  }
  in_lanes_ = kernels != nullptr;
  if (indices.any_position && !IsWindowFormat(indices.format)) {
    // The mark of an empty window is valid beside any position, which lanes do not know.
    in_lanes_ = in_lanes_ && !indices.has_empty_window;
    // Digits that need not be told apart become one.
    for (int k = digits - 2; k >= 0; --k) {
      if (step[k] != size[k + 1] * step[k + 1] || to_step[k] != size[k + 1] * to_step[k + 1]) continue;
      step[k] = step[k + 1];
      to_step[k] = to_step[k + 1];
      size[k] *= size[k + 1];
      for (int i = k + 1; i < digits - 1; ++i) {
        step[i] = step[i + 1];
        to_step[i] = to_step[i + 1];
        size[i] = size[i + 1];
        axis_of_digit_[i] = axis_of_digit_[i + 1];
      }
      --digits;
    }
    for (int k = 0; k < digits; ++k) merged_most_[k] = size[k] - 1 <= INT32_MAX ? static_cast<int32_t>(size[k] - 1) : 0;
    is_merged_ = true;
  }
  call_.digits = digits;
  int64_t limit = 1;
  if (digits > 0 && (step[0] > INT32_MAX || __builtin_mul_overflow(step[0], size[0], &limit) || limit > INT32_MAX)) {
    in_lanes_ = false;
  }
  call_.limit = static_cast<uint32_t>(limit);
  call_.beyond = limit >= kExact;
  for (int k = 0; k < digits && in_lanes_; ++k) {
    // What a digit's division may meet.
    const int64_t most = k == 0 ? limit : step[k - 1];
    if (step[k] > INT32_MAX || (call_.beyond && step[k] > 1 && most / step[k] >= kExact)) in_lanes_ = false;
    call_.digit[k] = {static_cast<uint32_t>(step[k]), static_cast<uint32_t>(to_step[k]),
                      1.0f / static_cast<float>(step[k]), false, nullptr};
    const bool by_column = axis_of_digit_[k] == kWidth && !along_channels_;
    const bool by_line = axis_of_digit_[k] == kHeight && run_lines_ > 1;
    call_.digit[k].varies = !is_merged_ && (through_planes_ || by_column || by_line);
  }
  if (!as_numbers_) return;
  // Each whole step, not only those that slower digits leave, counts.
  for (int k = 0; k + 1 < digits; ++k) {
    call_.digit[k].to_step = static_cast<uint32_t>(to_step[k] - step[k] / step[k + 1] * to_step[k + 1]);
  }
}

IndexMap::Term IndexMap::TermOf(int a, int64_t o) const {
  const Axis& axis = reader_.windows().axis[a];
  if (as_numbers_) return {0, to_.of_taps ? 0 : axis.Begin(o) * to_.strides.axis[a], 0};
  const int64_t first = axis.FirstTap(o), count = axis.TapEnd(o) - first;
  const int64_t position = axis.Begin(o) + first * axis.dilation;
  return {(from_.of_taps ? first : position) * from_.strides.axis[a],
          (to_.of_taps ? first : position) * to_.strides.axis[a],
          static_cast<int32_t>(std::max<int64_t>(count, 0) - 1)};
}

void IndexMap::FillColumns(int64_t begin) {
  table_begin_ = begin;
  table_end_ = std::min(begin + kLongestRun / inner_, columns_.end);
  int64_t i = 0;
  for (int64_t w = table_begin_; w < table_end_; ++w) {
    const Term term = TermOf(kWidth, w);
    for (int64_t c = 0; c < inner_; ++c, ++i) {
      from_base_[i] = static_cast<uint32_t>(term.from + c * from_.strides.channel);
      to_base_[i] = static_cast<uint32_t>(term.to + c * to_.strides.channel);
      digit_most_[kWidth][i] = term.most;
    }
  }
}

void IndexMap::FillLines() {
  FillColumns(0);
  const int64_t lines = reader_.windows().axis[kHeight].output - interior_lines_.size() + run_lines_;
  // The first one, of which the others are made, last.
  for (int64_t place = lines - 1; place >= 0; --place) {
    const int64_t edge = place - run_lines_, first = interior_lines_.begin;
    const Term term = TermOf(kHeight, edge < 0 ? first + place : edge < first ? edge : edge + interior_lines_.size());
    uint32_t *from = from_base_ + place * line_, *to = to_base_ + place * line_;
    int32_t *most = digit_most_[kHeight] + place * line_, *of_column = digit_most_[kWidth] + place * line_;
    for (int64_t i = 0; i < line_; ++i) {
      from[i] = from_base_[i] + static_cast<uint32_t>(term.from);
      to[i] = to_base_[i] + static_cast<uint32_t>(term.to);
      most[i] = term.most;
      of_column[i] = digit_most_[kWidth][i];
    }
  }
}

void IndexMap::FillChannels() {
  table_begin_ = 0;
  table_end_ = std::min(kLongestRun, channels_.size());
  for (int64_t c = 0; c < table_end_; ++c) {
    from_base_[c] = static_cast<uint32_t>(c * from_.strides.channel);
    to_base_[c] = static_cast<uint32_t>(c * to_.strides.channel);
  }
}

void IndexMap::FillPlanes() {
  table_begin_ = 0;
  const Axis* axis = reader_.windows().axis;
  const int64_t width = axis[kWidth].output;
  FillColumns(0);
  uint32_t from_column[kLongestRun], to_column[kLongestRun];
  int32_t most[kLongestRun];
  std::copy_n(from_base_, width, from_column);
  std::copy_n(to_base_, width, to_column);
  std::copy_n(digit_most_[kWidth], width, most);
  int64_t i = 0;
  for (int64_t d = 0; d < axis[kDepth].output; ++d) {
    const Term depth = TermOf(kDepth, d);
    for (int64_t h = 0; h < axis[kHeight].output; ++h) {
      const Term row = TermOf(kHeight, h);
      const uint32_t from = static_cast<uint32_t>(depth.from + row.from), to = static_cast<uint32_t>(depth.to + row.to);
      for (int64_t w = 0; w < width; ++w, ++i) {
        from_base_[i] = from + from_column[w];
        to_base_[i] = to + to_column[w];
        digit_most_[kDepth][i] = depth.most;
        digit_most_[kHeight][i] = row.most;
        digit_most_[kWidth][i] = most[w];
      }
    }
  }
  const int64_t outputs = i, all = outputs * table_planes_;
  for (; i < all; ++i) {
    from_base_[i] = from_base_[i - outputs] + static_cast<uint32_t>(from_.strides.channel);
    to_base_[i] = to_base_[i - outputs] + static_cast<uint32_t>(to_.strides.channel);
    for (int32_t(&most_of_axis)[kTable] : digit_most_) most_of_axis[i] = most_of_axis[i - outputs];
  }
}

int64_t IndexMap::PlanesOf(const OutputPosition& first, int64_t count) const {
  const Geometry& g = reader_.windows();
  if (along_channels_) return count;
  if (!through_planes_) return inner_;
  const int64_t width = g.axis[kWidth].output, height = g.axis[kHeight].output;
  const int64_t in_plane = (first.o[kDepth] * height + first.o[kHeight]) * width + first.o[kWidth],
                plane = g.axis[kDepth].output * height * width;
  return (in_plane + count + plane - 1) / plane;
}

// Whether the numbers of so many planes differ in their lower halves alone, none of which is all ones.
bool IndexMap::IsWithin32Bits(const Numbering& numbering, const OutputPosition& first, int64_t planes) const {
  if (numbering.of_taps) return true;
  const Strides& s = numbering.strides;
  const int64_t least = first.n * s.batch + first.c * s.channel;
  int64_t end = least + (planes - 1) * s.channel + 1;
  for (int a = 0; a < 3; ++a) end += (reader_.windows().axis[a].input - 1) * s.axis[a];
  return least >> 32 == end >> 32;
}

bool IndexMap::TranslateInLanes(const OutputPosition& first, int64_t count, int64_t origin, uint32_t* to) {
  const Strides &f = from_.strides, &t = to_.strides;
  int64_t from_base = first.n * f.batch + first.c * f.channel,
          to_base = first.n * t.batch + first.c * t.channel - origin;
  call_.from_high = static_cast<uint32_t>(from_base >> 32);
  int64_t at = 0;
  if (through_planes_) {
    if (table_begin_ != 0) FillPlanes();
    const Axis* axis = reader_.windows().axis;
    at = (first.o[kDepth] * axis[kHeight].output + first.o[kHeight]) * axis[kWidth].output + first.o[kWidth];
  } else {
    for (int a = 0; a < (run_lines_ > 1 ? 1 : 2); ++a) {
      if (row_[a] != first.o[a]) {
        row_[a] = first.o[a];
        row_terms_[a] = TermOf(a, first.o[a]);
        most_[a] = row_terms_[a].most;
      }
      from_base += row_terms_[a].from;
      to_base += row_terms_[a].to;
    }
    const int64_t w = first.o[kWidth];
    if (along_channels_) {
      if (table_begin_ != 0) FillChannels();
      const Term term = TermOf(kWidth, w);
      from_base += term.from;
      to_base += term.to;
      most_[kWidth] = term.most;
    } else if (run_lines_ > 1) {
      if (table_begin_ != 0) FillLines();
      const int64_t h = first.o[kHeight], beyond = h - interior_lines_.end;
      at = w * inner_;
      if (h < interior_lines_.begin) {
        at += (run_lines_ + h) * line_;
      } else if (beyond >= 0) {
        at += (run_lines_ + interior_lines_.begin + beyond) * line_;
      } else {
        const int64_t moved = (h - interior_lines_.begin) * reader_.windows().axis[kHeight].stride;
        if (!from_.of_taps) from_base += moved * f.axis[kHeight];
        if (!to_.of_taps) to_base += moved * t.axis[kHeight];
      }
    } else {
      const int64_t end = w + count / inner_;
      if (w >= table_begin_ && end <= table_end_) {
        at = (w - table_begin_) * inner_;
      } else if (end - w <= table_end_ - table_begin_ && std::min(w, table_begin_) >= interior_columns_.begin &&
                 std::max(end, table_end_) <= interior_columns_.end) {
        // All windows are alike: the table serves any of these columns.
        const int64_t moved = (w - table_begin_) * reader_.windows().axis[kWidth].stride;
        if (!from_.of_taps) from_base += moved * f.axis[kWidth];
        if (!to_.of_taps) to_base += moved * t.axis[kWidth];
      } else {
        FillColumns(w);
      }
    }
  }
  call_.from_base = from_base_ + at;
  call_.to_base = to_base_ + at;
  call_.from_add = static_cast<uint32_t>(from_base);
  call_.to_add = static_cast<uint32_t>(to_base);
  for (int k = 0; k < call_.digits; ++k) {
    const int a = axis_of_digit_[k];
    const int32_t* const most = is_merged_ ? &merged_most_[k] : call_.digit[k].varies ? digit_most_[a] + at : &most_[a];
    if (call_.digit[k].most != most) call_.digit[k].most = most;  // vectors of digits would wait for the store
  }
  const char* index = static_cast<const char*>(reader_.indices().base) + OffsetOf(first, from_strides_) * index_bytes_;
  if (as_numbers_) return kernels_->number(call_, index, count, to), true;
  return kernels_->translate(call_, index, count, to);
}

// Calls store(i, number or -1) for each output of a run.
template <class Store>
bool IndexMap::TranslateSlowly(const OutputPosition& first, int64_t count, int64_t origin, Store store) const {
  const Geometry& g = *reader_.indices().geometry;
  const int64_t offset = OffsetOf(first, from_strides_);
  OutputPosition output = first;
  bool valid = true;
  for (int64_t i = 0; i < count; ++i) {
    int64_t tap[3];
    const IndexReader::Result result = reader_.Read(output, offset + i, tap);
    valid &= result != IndexReader::kInvalid;
    store(i, result == IndexReader::kTap ? reader_.Number(to_, output, tap) - origin : -1);
    if (g.channels_last) {
      if (++output.c < channels_.end) continue;
      output.c = channels_.begin;
    }
    for (int a = 2; a >= 0; --a) {
      if (++output.o[a] < g.axis[a].output) break;
      output.o[a] = 0;
      if (a > 0 || g.channels_last || ++output.c < g.channels) continue;
      output.c = 0;
      ++output.n;
    }
  }
  return valid;
}

bool IndexMap::Translate(const OutputPosition& first, int64_t count, int64_t origin, uint32_t* to) {
  if (in_lanes_ && (index_bytes_ < 8 || IsWithin32Bits(from_, first, PlanesOf(first, count)))) {
    return TranslateInLanes(first, count, origin, to);
  }
  return TranslateSlowly(first, count, origin, [to](int64_t i, int64_t number) {
    to[i] = number >= 0 && number < int64_t{kNone} ? static_cast<uint32_t>(number) : kNone;
  });
}

bool IndexMap::TranslateTo(const OutputPosition& first, int64_t count, int bytes, void* to) {
  const int64_t planes = PlanesOf(first, count);
  const bool from_fits = index_bytes_ < 8 || IsWithin32Bits(from_, first, planes);
  if (in_lanes_ && from_fits && (bytes < 8 || IsWithin32Bits(to_, first, planes))) {
    if (as_numbers_ && bytes == sizeof(uint32_t)) return TranslateInLanes(first, count, 0, static_cast<uint32_t*>(to));
    alignas(64) uint32_t numbers[kLongestRun];
    const bool valid = TranslateInLanes(first, count, 0, numbers);
    const Strides& s = to_.strides;
    const int64_t base = first.n * s.batch + first.c * s.channel;
    kernels_->narrow(numbers, count, bytes, static_cast<uint32_t>(base >> 32), to);
    return valid;
  }
  return TranslateSlowly(first, count, 0, [=](int64_t i, int64_t number) { StoreIndex(bytes, number, to, i); });
}

Strides DenseLines(const Geometry& g, int64_t columns, int64_t channels) {
  const int64_t pixel = g.channels_last ? channels : 1, line = columns * pixel;
  const int64_t slice = g.axis[kHeight].output * line, plane = g.axis[kDepth].output * slice;
  return {plane * (g.channels_last ? 1 : g.channels), g.channels_last ? 1 : plane, {slice, line, pixel}};
}

TapExpander::TapExpander(const Geometry& g, const IndexKernels* kernels, bool has_empty_window, int32_t index_format,
                         int tap_bytes, Range columns, Range channels, void* index)
    : geometry_(g),
      index_bytes_(static_cast<int>(IndexBytes(index_format))),
      tap_bytes_(tap_bytes),
      dense_(DenseLines(g, columns.size(), channels.size())),
      corner_(columns.begin * dense_.axis[kWidth] + (g.channels_last ? channels.begin : 0)),
      index_(index),
      map_({&g, WindowFormatOf(tap_bytes), has_empty_window, nullptr, false, true}, kernels,
           NumberingOf(g, index_format), dense_, g.output, columns, channels) {}

void TapExpander::Expand(const void* taps, Range lines) {
  const char* const origin =
      static_cast<const char*>(taps) - (lines.begin * dense_.axis[kHeight] + corner_) * tap_bytes_;
  map_.Rebase(origin);
  map_.ForEachRun(lines, [&](const OutputPosition& first, int64_t count) {
    char* const to = static_cast<char*>(index_) + OffsetOf(first, geometry_.output) * index_bytes_;
    const int64_t offset = OffsetOf(first, dense_) * tap_bytes_, bytes = count * tap_bytes_;
    alignas(64) char copy[IndexMap::kLongestRun * sizeof(uint32_t)];
    const bool overlaps = std::less<const char*>()(to, origin + offset + bytes) &&
                          std::less<const char*>()(origin + offset, to + count * index_bytes_);
    if (overlaps) {
      std::memcpy(copy, origin + offset, static_cast<size_t>(bytes));
      map_.Rebase(copy - offset);
    }
    map_.TranslateTo(first, count, index_bytes_, to);
    if (overlaps) map_.Rebase(origin);
  });
}

bool ConvertIndices(const Indices& from, const IndexKernels* kernels, int32_t to_format, void* to, Range lines) {
  const Geometry& g = *from.geometry;
  IndexMap map(from, kernels, NumberingOf(g, to_format), g.output, g.output, {0, g.axis[kWidth].output},
               {0, g.channels});
  const int bytes = static_cast<int>(IndexBytes(to_format));
  bool valid = true;
  map.ForEachRun(lines, [&](const OutputPosition& first, int64_t count) {
    valid &= map.TranslateTo(first, count, bytes, static_cast<char*>(to) + OffsetOf(first, g.output) * bytes);
  });
  return valid;
}

namespace {

// Bytes of taps, of windows of few taps and never empty: no need to take them apart. A tap has a bit for its place
// along each axis if that is padding for some output; an output has the bits of the places that are not padding.
class TapBytes {
 public:
  TapBytes(const Indices& indices, const IndexKernels* kernels)
      : g_(*indices.geometry), kernels_(kernels), taps_(static_cast<const uint8_t*>(indices.base)) {
    takes_ = indices.format == PEAKPOOL_INDEX_WINDOW_U8 && !indices.has_empty_window;
    if (!takes_) return;
    int64_t bits = 0;
    for (int a = 2; a >= 0; --a) {
      const Axis& axis = g_.axis[a];
      Places& places = places_[a];
      places.shift = static_cast<int>(bits);
      places.before = axis.adaptive ? 0 : axis.FirstTap(0);
      places.after = axis.adaptive ? 0 : std::max(axis.TapEnd(axis.output - 1), places.before);
      bits += places.before + axis.kernel - places.after;
    }
    all_inside_ = bits == 0;
    takes_ = all_inside_ || (bits <= 8 && g_.Taps() <= kMostTaps);
  }
  bool takes() const { return takes_; }

  bool Validate(Range lines) {
    if (all_inside_) {
      std::memset(bits_, 0, sizeof(bits_));
    } else {
      FillBits();
    }
    const Axis *d = &g_.axis[kDepth], *h = d + 1, *w = h + 1;
    const Strides& s = g_.output;
    const int64_t pixel = g_.channels_last ? g_.channels : 1, line = w->output * pixel;
    const int64_t plane_lines = d->output * h->output, plane = plane_lines * line;
    const bool dense_line = !g_.channels_last || w->output == 1 || s.axis[kWidth] == pixel;
    const bool dense_plane = dense_line && (h->output == 1 || s.axis[kHeight] == line) &&
                             (d->output == 1 || s.axis[kDepth] == line * h->output);
    const bool dense_image = dense_plane && (g_.channels_last || g_.channels == 1 || s.channel == plane);
    const int64_t image_lines = plane_lines * (g_.channels_last ? 1 : g_.channels);
    const bool dense = dense_image && (g_.batch == 1 || s.batch == image_lines * line);
    // Short runs take longer than their copy.
    const bool copies_lines = !dense_line && pixel < kShortRun && line <= kTable,
               joins_lines = dense_line || copies_lines;
    const bool copies_planes = joins_lines && !dense_plane && plane <= kTable;
    if (all_inside_ || copies_planes || (dense_plane && plane <= kTable)) {
      // Runs go on for as long as the memory does.
      int64_t table = kTable;
      if (all_inside_) {
        table = std::min(kTable, lines.size() * line);
        std::memset(allowed_, 0xFF, static_cast<size_t>(table));
      } else {
        table = FillPlane(plane, pixel, (lines.size() + plane_lines - 1) / plane_lines + 1);
      }
      const int64_t lines_of_run = dense                          ? g_.OutputLines()
                                   : dense_image                  ? image_lines
                                   : dense_plane || copies_planes ? plane_lines
                                   : dense_line                   ? 1
                                                                  : 0;
      if (lines_of_run > 0) {
        for (int64_t begin = lines.begin, end; begin < lines.end; begin = end) {
          end = std::min(begin - begin % lines_of_run + lines_of_run, lines.end);
          const int64_t first = all_inside_ ? 0 : begin % plane_lines * line;
          const uint8_t* const taps =
              copies_planes ? CopyLines(begin, end, pixel) : taps_ + OffsetOf(g_.OutputAt(begin), s);
          if (!InRuns(taps, (end - begin) * line, first, table, 0xFF)) return false;
        }
        return true;
      }
    }
    const uint8_t columns = places_[kWidth].Of(0, w->kernel);
    if (!joins_lines || line > kTable) std::memset(allowed_, 0xFF, kTable);
    if (joins_lines && line <= kTable) {
      FillLine(pixel);
      for (int64_t i = 0; i < line; ++i) allowed_[i] |= static_cast<uint8_t>(~columns);
    }
    for (int64_t i = lines.begin; i < lines.end; ++i) {
      OutputPosition output = g_.OutputAt(i);
      const uint8_t rows = static_cast<uint8_t>(PlacesOf(kDepth, output.o[0]) | PlacesOf(kHeight, output.o[1]));
      if (joins_lines && line <= kTable) {
        const uint8_t* const taps = copies_lines ? CopyLines(i, i + 1, pixel) : taps_ + OffsetOf(output, s);
        if (!InRuns(taps, line, 0, kTable, rows | columns)) return false;
        continue;
      }
      // Columns that have the same places.
      for (int64_t end; output.o[kWidth] < w->output; output.o[kWidth] = end) {
        const uint8_t places = PlacesOf(kWidth, output.o[kWidth]);
        end = output.o[kWidth] + 1;
        while (dense_line && end < w->output && PlacesOf(kWidth, end) == places) ++end;
        const int64_t count = (end - output.o[kWidth]) * pixel;
        if (!InRuns(taps_ + OffsetOf(output, s), count, 0, kTable, rows | places)) return false;
      }
    }
    return true;
  }

 private:
  static constexpr int64_t kTable = 4096, kShortRun = 64;

  static constexpr int64_t kMostTaps = 32;

  // Along an axis, places before `before` and from `after` on have a bit.
  struct Places {
    int64_t before, after;
    int shift;

    // The bits of places [begin, end).
    uint8_t Of(int64_t begin, int64_t end) const {
      return static_cast<uint8_t>(((1 << BitsBefore(end)) - (1 << BitsBefore(begin))) << shift);
    }
    int64_t BitsBefore(int64_t place) const { return std::min(place, before) + std::max<int64_t>(place - after, 0); }
  };

  // The bits of an output's places that are not padding.
  uint8_t PlacesOf(int a, int64_t o) const { return places_[a].Of(g_.axis[a].FirstTap(o), g_.axis[a].TapEnd(o)); }
  void FillBits() {
    uint8_t* bits = bits_;
    for (int64_t d = 0; d < g_.axis[kDepth].kernel; ++d) {
      for (int64_t h = 0; h < g_.axis[kHeight].kernel; ++h) {
        const uint8_t row = places_[kDepth].Of(d, d + 1) | places_[kHeight].Of(h, h + 1);
        for (int64_t w = 0; w < g_.axis[kWidth].kernel; ++w) *bits++ = row | places_[kWidth].Of(w, w + 1);
      }
    }
  }
  void FillLine(int64_t pixel) {
    for (int64_t w = 0; w < g_.axis[kWidth].output; ++w) {
      std::memset(allowed_ + w * pixel, PlacesOf(kWidth, w), static_cast<size_t>(pixel));
    }
  }
  // As many whole planes as there is room for; returns the bytes.
  int64_t FillPlane(int64_t plane, int64_t pixel, int64_t planes) {
    FillLine(pixel);
    const int64_t line = g_.axis[kWidth].output * pixel;
    int below = -1;
    for (int64_t at = plane - line; at >= 0; at -= line) {  // the first line, which the others need, last
      const int64_t row = at / line, d = row / g_.axis[kHeight].output;
      const uint8_t places = PlacesOf(kDepth, d) | PlacesOf(kHeight, row - d * g_.axis[kHeight].output);
      if (places == below) {
        std::memcpy(allowed_ + at, allowed_ + at + line, static_cast<size_t>(line));
      } else {
        for (int64_t i = 0; i < line; ++i) allowed_[at + i] = allowed_[i] | places;
      }
      below = places;
    }
    int64_t filled = plane;
    for (; filled + plane <= std::min(kTable, planes * plane); filled += plane) {
      std::memcpy(allowed_ + filled, allowed_, static_cast<size_t>(plane));
    }
    return filled;
  }
  // Lines of one plane, without the gaps between them and between pixels of so many bytes.
  const uint8_t* CopyLines(int64_t begin, int64_t end, int64_t pixel) {
    const int64_t step = g_.output.axis[kWidth], width = g_.axis[kWidth].output, line = width * pixel;
    const bool whole = step == pixel || width == 1;
    char* to = reinterpret_cast<char*>(copied_);
    OutputPosition output = g_.OutputAt(begin);
    for (int64_t i = begin; i < end; ++i, to += line) {
      const char* from = reinterpret_cast<const char*>(taps_ + OffsetOf(output, g_.output));
      CopyRows({to, pixel}, {from, step}, whole ? line : pixel, whole ? 1 : width);
      if (++output.o[kHeight] == g_.axis[kHeight].output) output.o[kHeight] = 0, ++output.o[kDepth];
    }
    return copied_;
  }
  [[gnu::noinline]] bool InRuns(const uint8_t* taps, int64_t count, int64_t at, int64_t table, uint8_t also) const {
    bool valid = true;
    for (int64_t done = 0; done < count && valid; at = 0) {
      const int64_t run = std::min(count - done, table - at);
      valid = kernels_->validate_taps(taps + done, run, allowed_ + at, also, bits_, g_.Taps());
      done += run;
    }
    return valid;
  }

  const Geometry& g_;
  const IndexKernels* const kernels_;
  const uint8_t* const taps_;
  bool takes_, all_inside_ = false;
  Places places_[3];
  alignas(16) uint8_t bits_[kMostTaps];
  alignas(64) uint8_t allowed_[kTable], copied_[kTable];
};

}  // namespace

bool ValidateIndices(const Indices& indices, const IndexKernels* kernels, Range lines) {
  if (kernels != nullptr) {
    TapBytes bytes(indices, kernels);
    if (bytes.takes()) return bytes.Validate(lines);
  }
  const Geometry& g = *indices.geometry;
  IndexMap map(indices, kernels, NumberingOf(g, PEAKPOOL_INDEX_WINDOW_U32), g.output, g.output,
               {0, g.axis[kWidth].output}, {0, g.channels});
  alignas(64) uint32_t taps[IndexMap::kLongestRun];
  bool valid = true;
  map.ForEachRun(lines, [&](const OutputPosition& first, int64_t count) {
    valid = valid && map.Translate(first, count, 0, taps);
  });
  return valid;
}

void FindInvalidIndex(const Indices& indices, InvalidIndex* found) {
  const Geometry& g = *indices.geometry;
  const IndexReader reader(indices);
  for (int64_t line = 0; line < g.OutputLines(); ++line) {
    OutputPosition output = g.OutputAt(line);
    for (output.o[kWidth] = 0; output.o[kWidth] < g.axis[kWidth].output; ++output.o[kWidth]) {
      const int64_t first = output.c, end = g.channels_last ? g.channels : first + 1;
      for (output.c = first; output.c < end; ++output.c) {
        const int64_t offset = OffsetOf(output, g.output);
        int64_t tap[3];
        if (reader.Read(output, offset, tap) != IndexReader::kInvalid) continue;
        *found = {output.n, output.c, {output.o[0], output.o[1], output.o[2]}, reader.Value(offset)};
        return;
      }
      output.c = first;
    }
  }
}

}  // namespace peakpool
