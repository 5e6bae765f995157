// SPDX-License-Identifier: Apache-2.0
#include "src/stream.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "src/error.h"
#include "src/execute.h"
#include "src/indices.h"

namespace peakpool {
namespace {

// The input rows [begin, end) that output row o reads; none for an empty window.
Range RowsOf(const Axis& height, int64_t o) {
  const int64_t begin = std::min(std::max<int64_t>(height.Begin(o), 0), height.input);
  const int64_t first = height.FirstTap(o), end = height.TapEnd(o);
  return {begin, first < end ? height.Begin(o) + (end - 1) * height.dilation + 1 : begin};
}

// Elements from the first to one past the last of a row of every (n, c).
int64_t RowExtent(const Geometry& g, const Strides& s, int64_t width) {
  if (g.batch == 0 || g.channels == 0) return 0;
  return (g.batch - 1) * s.batch + (g.channels - 1) * s.channel + (width - 1) * s.axis[kWidth] + 1;
}

// Copies `count` rows of every (n, c).
void CopyRowsOfPlanes(const Geometry& g, int64_t width, int64_t bytes, const unsigned char* from,
                      const Strides& from_strides, unsigned char* to, const Strides& to_strides, int64_t count) {
  const int64_t planes = g.channels_last ? 1 : g.channels, pixels = g.channels_last ? width : 1;
  const int64_t run = g.channels_last ? g.channels : width;
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t c = 0; c < planes; ++c) {
      for (int64_t h = 0; h < count; ++h) {
        for (int64_t w = 0; w < pixels; ++w) {
          auto offset = [&](const Strides& s) {
            return (n * s.batch + c * s.channel + h * s.axis[kHeight] + w * s.axis[kWidth]) * bytes;
          };
          std::memmove(to + offset(to_strides), from + offset(from_strides), static_cast<size_t>(run * bytes));
        }
      }
    }
  }
}

}  // namespace

peakpool_status MakeStream(const peakpool_problem& problem, peakpool_stream** result) {
  if (problem.rank != 2) return Fail(PEAKPOOL_UNSUPPORTED, "rank = %d: streams pool 2-D problems", problem.rank);
  peakpool_plan* plan = nullptr;
  if (peakpool_status s = MakePlan(problem, &plan)) return s;
  const Geometry& g = plan->shape.geometry;
  peakpool_stream* stream = new (std::nothrow) peakpool_stream{};
  if (stream == nullptr) {
    delete plan;
    return Fail(PEAKPOOL_OUT_OF_MEMORY, "stream: %zu bytes could not be allocated", sizeof(*stream));
  }
  stream->plan = plan;
  stream->row = plan->shape;
  stream->row.geometry.axis[kHeight].input = stream->row.geometry.axis[kHeight].output = 1;
  stream->row.input_extent = RowExtent(g, g.input, g.axis[kWidth].input);
  stream->row.output_extent = RowExtent(g, g.output, g.axis[kWidth].output);
  // Twice the window, so that rows move to the front only once in a window's worth of them.
  stream->capacity = std::min(2 * g.axis[kHeight].EffectiveKernel(), g.axis[kHeight].input);
  Geometry held = g;
  held.axis[kHeight].output = stream->capacity;
  stream->held = DenseLines(held, g.axis[kWidth].input, g.channels);
  stream->pooled_strides = DenseLines(stream->row.geometry, g.axis[kWidth].output, g.channels);
  const size_t row_bytes = static_cast<size_t>(stream->held.batch * g.batch * ElementBytes(problem.type));
  const bool expands = problem.index_format != PEAKPOOL_INDEX_NONE && !IsWindowFormat(problem.index_format);
  const int64_t pooled = expands ? stream->pooled_strides.batch * g.batch : 0;
  const size_t pooled_bytes = static_cast<size_t>(pooled * ElementBytes(problem.type));
  const size_t tap_bytes = static_cast<size_t>(pooled * NarrowestTapBytes(g, plan->shape.has_empty_window));
  stream->rows = new (std::nothrow) unsigned char[row_bytes];
  stream->taps = new (std::nothrow) unsigned char[tap_bytes];
  stream->pooled = new (std::nothrow) unsigned char[pooled_bytes];
  if (stream->rows == nullptr || stream->taps == nullptr || stream->pooled == nullptr) {
    DestroyStream(stream);
    return Fail(PEAKPOOL_OUT_OF_MEMORY, "stream: %zu bytes could not be allocated",
                row_bytes + pooled_bytes + tap_bytes);
  }
  *result = stream;
  return PEAKPOOL_OK;
}

void DestroyStream(peakpool_stream* stream) {
  if (stream == nullptr) return;
  delete[] stream->rows;
  delete[] stream->taps;
  delete[] stream->pooled;
  delete stream->plan;
  delete stream;
}

bool HasRow(const peakpool_stream& stream) {
  const Axis& height = stream.plan->shape.geometry.axis[kHeight];
  return stream.next_output < height.output && RowsOf(height, stream.next_output).end <= stream.next_input;
}

bool TakesRow(const peakpool_stream& stream) {
  const Axis& height = stream.plan->shape.geometry.axis[kHeight];
  return stream.next_input < height.input && !HasRow(stream);
}

void PushRow(peakpool_stream* stream, const void* row) {
  const Geometry& g = stream->plan->shape.geometry;
  const Axis& height = g.axis[kHeight];
  const int64_t bytes = ElementBytes(stream->plan->problem.type);
  const int64_t h = stream->next_input++;
  // Rows before the next window, in a stride's gap or beyond the last window, are not kept.
  const Range needed = stream->next_output < height.output ? RowsOf(height, stream->next_output) : Range{h + 1, h + 1};
  if (h < needed.begin) return;
  const int64_t stale = std::min(std::max<int64_t>(needed.begin - stream->first, 0), stream->count);
  if (stream->count == stale) {
    stream->first = h;
    stream->count = 0;
  } else if (stream->count == stream->capacity) {
    CopyRowsOfPlanes(g, g.axis[kWidth].input, bytes, stream->rows + stale * stream->held.axis[kHeight] * bytes,
                     stream->held, stream->rows, stream->held, stream->count - stale);
    stream->first += stale;
    stream->count -= stale;
  }
  CopyRowsOfPlanes(g, g.axis[kWidth].input, bytes, static_cast<const unsigned char*>(row), g.input,
                   stream->rows + stream->count * stream->held.axis[kHeight] * bytes, stream->held, 1);
  ++stream->count;
}

void PullRow(peakpool_stream* stream, void* row, void* index, const peakpool_executor& executor) {
  const peakpool_plan& whole = *stream->plan;
  const Geometry& g = whole.shape.geometry;
  const Axis& height = g.axis[kHeight];
  const int64_t o = stream->next_output++;
  if (g.batch == 0 || g.channels == 0) return;
  const Range needed = RowsOf(height, o);
  const int64_t bytes = ElementBytes(whole.problem.type);
  // The same problem with this window's rows as its whole height; an empty window lies above a row that it never
  // reaches.
  peakpool_plan one = whole;
  one.few.outputs = 0;
  Geometry& view = one.shape.geometry;
  const bool empty = needed.size() <= 0;
  view.axis[kHeight].input = empty ? 1 : needed.size();
  view.axis[kHeight].output = 1;
  view.axis[kHeight].adaptive = false;
  if (height.adaptive) view.axis[kHeight].kernel = needed.size();  // this window's own
  view.axis[kHeight].pad_before = empty ? height.EffectiveKernel() : needed.begin - height.Begin(o);
  view.input = stream->held;
  const int64_t skipped = empty ? 0 : needed.begin - stream->first;
  const unsigned char* from = stream->rows + skipped * stream->held.axis[kHeight] * bytes;
  if (index == nullptr || IsWindowFormat(whole.problem.index_format)) {
    Forward(one, from, row, index, executor);
    return;
  }
  // Other formats name positions of the whole input: pool into rows of our own, then number them.
  const int tap_bytes = NarrowestTapBytes(g, whole.shape.has_empty_window);
  one.problem.index_format = WindowFormatOf(tap_bytes);
  one.shape.problem.index_format = one.problem.index_format;  // the one that im2col reads
  one.shape.index_bytes = tap_bytes;
  view.output = stream->pooled_strides;
  Forward(one, from, stream->pooled, stream->taps, executor);
  CopyRowsOfPlanes(g, g.axis[kWidth].output, bytes, stream->pooled, stream->pooled_strides,
                   static_cast<unsigned char*>(row), g.output, 1);
  const int64_t planes = g.Planes(), line_taps = stream->pooled_strides.axis[kHeight];
  // The expander puts output row o at o rows below its base, the caller's row is that very row.
  const int64_t row_offset = o * g.output.axis[kHeight] * IndexBytes(whole.problem.index_format);
  unsigned char* base = static_cast<unsigned char*>(index) - row_offset;
  TapExpander expander(g, whole.index_kernels, whole.shape.has_empty_window, whole.problem.index_format, tap_bytes,
                       {0, g.axis[kWidth].output}, {0, g.channels}, base);
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int64_t line = plane * height.output + o;
    expander.Expand(stream->taps + plane * line_taps * tap_bytes, {line, line + 1});
  }
}

}  // namespace peakpool
