// SPDX-License-Identifier: Apache-2.0
#include "src/execute.h"

#include <algorithm>
#include <atomic>

#include "src/backward_scatter.h"
#include "src/blocks.h"
#include "src/executor.h"
#include "src/indices.h"
#include "src/reference/im2col.h"
#include "src/unpool.h"

namespace peakpool {
namespace {

// Channel and column parts are no smaller than this: a few vectors, so that sharing within a line survives.
constexpr int64_t kLeastChannels = 64;
constexpr int64_t kLeastColumns = 1024;

// Taps of the lines in flight while they await conversion to another index format: on the stack, or where their
// indices will be. Windows reach into few blocks of the latter size. (5x5 s1 over 512x13x13 channels-last 60 -> 35 us.)
constexpr int64_t kTapBlockBytes = 16 * 1024, kTapsInPlaceBytes = 128 * 1024;

// Taps of the lines whose gradients are gathered, decoded from another index format.
constexpr int64_t kDecodedBytes = 32 * 1024;

// Outputs between two visits of the clamp.
constexpr int64_t kClampBytes = 16 * 1024;

int64_t Bytes(const peakpool_plan& plan) {
  const Shape& s = plan.shape;
  return (s.input_extent + s.output_extent) * s.element_bytes + s.output_extent * s.index_bytes;
}

// Kernels do best with whole planes: as many as `lines` hold, if any.
int64_t WholePlanes(const Geometry& g, int64_t lines) {
  const int64_t plane = g.OutputPlaneLines();
  return lines > plane ? lines - lines % plane : lines;
}

int64_t Elements(Range columns, Range channels, bool channels_last) {
  return columns.size() * (channels_last ? channels.size() : 1);
}

// Whether outputs are that far apart, along each axis that has several.
bool HasStrides(const Geometry& g, const Strides& strides) {
  bool same =
      (g.batch == 1 || g.output.batch == strides.batch) && (g.channels == 1 || g.output.channel == strides.channel);
  for (int a = 0; a < 3; ++a) same &= g.axis[a].output == 1 || g.output.axis[a] == strides.axis[a];
  return same;
}

// Part i of a task grid: lines vary slowest, columns fastest.
struct TaskPart {
  Range lines, columns, channels;
  TaskPart(Range l, Range w, Range c) : lines(l), columns(w), channels(c) {}
  TaskPart(const Split& split, int64_t i, int64_t planes, int64_t plane_lines, int64_t column_count,
           int64_t channel_count)
      : lines{0, planes * plane_lines}, columns{0, column_count}, channels{0, channel_count} {
    if (split.Tasks() == 1) return;  // spares a tiny call ten divisions
    const int64_t part = i / (split.columns * split.channels);
    if (planes >= 4 * split.lines) {
      // Whole ones: gradients of 7x7 go row by row from within a plane (2048 of them on two threads: 36 us, not 4).
      lines = Part(planes, split.lines, part);
      lines = {lines.begin * plane_lines, lines.end * plane_lines};
    } else {
      lines = Part(planes * plane_lines, split.lines, part);
    }
    columns = Part(column_count, split.columns, i % split.columns);
    channels = Part(channel_count, split.channels, i / split.columns % split.channels);
  }
};

// Channels-first, kernels take many small planes at a time, those of one image. Whether slices of the depth are pooled
// by themselves and lie as planes do: 1x2x2 over 14x14 takes a quarter of the time, of u8 less than a tenth.
bool SlicesArePlanes(const Geometry& g) {
  const Axis& depth = g.axis[kDepth];
  const auto follow = [&](const Strides& s) { return g.channels == 1 || s.channel == depth.input * s.axis[kDepth]; };
  return depth.output > 1 && !g.channels_last && depth.IsIdentity() && follow(g.input) && follow(g.output);
}
// Whether images follow each other as their planes do: of one channel, 2x2 and 3x3 over 14x14 take a sixth of the time.
bool ImagesArePlanes(const Geometry& g) {
  const auto follow = [&](const Strides& s) { return s.batch == g.channels * s.channel; };
  return g.batch > 1 && !g.channels_last && follow(g.input) && follow(g.output);
}

// The columns and channels of a line that one task computes, as a geometry of its own.
struct View {
  Geometry geometry;
  int64_t input_offset, output_offset;
  bool slices_are_planes;

  View(const Geometry& g, Range columns, Range channels)
      : geometry(g), input_offset(0), output_offset(0), slices_are_planes(SlicesArePlanes(g)) {
    Axis& w = geometry.axis[kWidth];
    const int64_t begin = w.Begin(columns.begin);
    if (columns.size() != w.output) {
      if (w.adaptive) w.phase = (columns.begin * w.whole_input + w.phase) % w.whole_output;
      w.output = columns.size();
      w.pad_before = std::max<int64_t>(-begin, 0);
      w.input -= std::max<int64_t>(begin, 0);
      input_offset += std::max<int64_t>(begin, 0) * g.input.axis[kWidth];
      output_offset += columns.begin * g.output.axis[kWidth];
    }
    if (g.channels_last) {
      geometry.channels = channels.size();
      input_offset += channels.begin * g.input.channel;
      output_offset += channels.begin * g.output.channel;
    }
    if (slices_are_planes) {
      geometry.channels *= g.axis[kDepth].output;
      geometry.axis[kDepth] = {1, 1, 1, 1, 1, 0};
      geometry.input = StridesOf(g.input);
      geometry.output = StridesOf(g.output);
    }
    if (ImagesArePlanes(geometry)) {
      geometry.channels *= geometry.batch;
      geometry.batch = 1;
    }
  }
  // What the strides of the whole geometry are in this one.
  Strides StridesOf(Strides s) const {
    if (slices_are_planes) s.channel = s.axis[kDepth];
    return s;
  }
};

const void* Advance(const void* base, int64_t bytes) { return static_cast<const char*>(base) + bytes; }
void* Advance(void* base, int64_t bytes) { return static_cast<char*>(base) + bytes; }

Indices IndicesOf(const peakpool_plan& plan, const void* index, bool any_position) {
  return {&plan.shape.geometry, plan.problem.index_format, plan.shape.has_empty_window, index, any_position};
}

// Bounds the outputs of the given lines, columns and channels. y is that of the whole tensor.
void ClampLines(const peakpool_plan& plan, Range lines, Range columns, Range channels, void* y) {
  const Geometry& g = plan.shape.geometry;
  const int64_t bytes = plan.shape.element_bytes;
  const bool by_pixel = g.channels_last && (channels.size() != g.channels || g.output.axis[kWidth] != g.channels);
  const int64_t runs = by_pixel ? columns.size() : 1;
  const int64_t count = by_pixel ? channels.size() : Elements(columns, channels, g.channels_last);
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    OutputPosition first = g.OutputAt(line);
    first.o[kWidth] = columns.begin;
    if (g.channels_last) first.c = channels.begin;
    const int64_t offset = OffsetOf(first, g.output);
    for (int64_t run = 0; run < runs; ++run) {
      plan.kernels->clamp(Advance(y, (offset + run * g.output.axis[kWidth]) * bytes), count, plan.shape.clamp_lower,
                          plan.shape.clamp_upper);
    }
  }
}

void RunKernel(const peakpool_plan& plan, const ForwardCall& call) {
  if (plan.has_gaps) {
    ForwardInBlocks(plan.forward_kernel, call, plan.shape.element_bytes);
  } else {
    plan.forward_kernel(call);
  }
}
void RunKernel(const peakpool_plan& plan, const BackwardCall& call) {
  if (plan.has_gaps) {
    BackwardInBlocks(plan.backward_kernel, call, plan.shape.element_bytes);
  } else {
    plan.backward_kernel(call);
  }
}

// Runs the kernel, and where outputs are clamped does so a few lines at a time, while they are in the L1 cache.
void RunAndClamp(const peakpool_plan& plan, const ForwardCall& all, const Range& columns, const Range& channels,
                 void* y) {
  if (!(plan.problem.flags & PEAKPOOL_CLAMP)) {
    RunKernel(plan, all);
    return;
  }
  ForwardCall call = all;
  const int64_t line_bytes = Elements(columns, channels, plan.shape.geometry.channels_last) * plan.shape.element_bytes;
  const int64_t step = WholePlanes(plan.shape.geometry, std::max<int64_t>(kClampBytes / line_bytes, 2));
  const int64_t end = call.end;
  for (; call.begin < end; call.begin = call.end) {
    call.end = std::min(call.begin + step, end);
    RunKernel(plan, call);
    ClampLines(plan, {call.begin, call.end}, columns, channels, y);
  }
}

// One task whose indices, if any, are window taps that the kernel writes in place.
void RunForward(const peakpool_plan& plan, const TaskPart& part, const void* x, void* y, void* index) {
  alignas(64) unsigned char scratch[kScratchBytes];
  const Geometry& g = plan.shape.geometry;
  const Range &columns = part.columns, &channels = part.channels;
  const int index_bytes = static_cast<int>(plan.shape.index_bytes);
  if (columns.size() == g.axis[kWidth].output && (!g.channels_last || channels.size() == g.channels) &&
      !SlicesArePlanes(g) && !ImagesArePlanes(g)) {
    const ForwardCall call = {&g, x, y, {index, index_bytes, g.output, 0}, part.lines.begin, part.lines.end, scratch};
    RunAndClamp(plan, call, columns, channels, y);
    return;
  }
  const View view(g, columns, channels);
  const int64_t bytes = plan.shape.element_bytes;
  void* const taps = index == nullptr ? nullptr : Advance(index, view.output_offset * index_bytes);
  const ForwardCall call = {&view.geometry,
                            Advance(x, view.input_offset * bytes),
                            Advance(y, view.output_offset * bytes),
                            {taps, index_bytes, view.geometry.output, 0},
                            part.lines.begin,
                            part.lines.end,
                            scratch};
  RunAndClamp(plan, call, columns, channels, y);
}

// The same for other index formats: the kernel writes taps of a few lines to a block, which is then converted.
void RunForwardExpanding(const peakpool_plan& plan, const TaskPart& part, const void* x, void* y, void* index) {
  alignas(64) unsigned char scratch[kScratchBytes];
  alignas(64) unsigned char block_taps[kTapBlockBytes];
  const Geometry& g = plan.shape.geometry;
  const Range &columns = part.columns, &channels = part.channels;
  const int tap_bytes = NarrowestTapBytes(g, plan.shape.has_empty_window);
  const int64_t elements = Elements(columns, channels, g.channels_last);
  const Strides dense = DenseLines(g, columns.size(), channels.size());
  // Indices of lines that follow each other without gaps are written from the first one on, over taps at their end.
  const bool in_place =
      columns.size() == g.axis[kWidth].output && channels.size() == g.channels && HasStrides(g, dense);
  const int64_t room = (in_place ? kTapsInPlaceBytes : kTapBlockBytes) / tap_bytes;
  if (elements > room && !in_place) {
    // A line is too long for the block: halve its longer dimension.
    if (g.channels_last && channels.size() > columns.size()) {
      const int64_t middle = channels.begin + channels.size() / 2;
      RunForwardExpanding(plan, {part.lines, columns, {channels.begin, middle}}, x, y, index);
      RunForwardExpanding(plan, {part.lines, columns, {middle, channels.end}}, x, y, index);
    } else {
      const int64_t middle = columns.begin + columns.size() / 2;
      RunForwardExpanding(plan, {part.lines, {columns.begin, middle}, channels}, x, y, index);
      RunForwardExpanding(plan, {part.lines, {middle, columns.end}, channels}, x, y, index);
    }
    return;
  }
  const View view(g, columns, channels);
  const int64_t bytes = plan.shape.element_bytes;
  TapExpander expander(g, plan.index_kernels, plan.shape.has_empty_window, plan.problem.index_format, tap_bytes,
                       columns, channels, index);
  const int64_t step = WholePlanes(g, std::max<int64_t>(room / elements, 1));
  for (int64_t begin = part.lines.begin; begin < part.lines.end; begin += step) {
    const Range block = {begin, std::min(begin + step, part.lines.end)};
    void* const taps =
        in_place ? Advance(index, block.end * elements * plan.shape.index_bytes - block.size() * elements * tap_bytes)
                 : block_taps;
    const ForwardCall call = {&view.geometry,
                              Advance(x, view.input_offset * bytes),
                              Advance(y, view.output_offset * bytes),
                              {taps, tap_bytes, view.StridesOf(dense), block.begin * elements},
                              block.begin,
                              block.end,
                              scratch};
    RunAndClamp(plan, call, columns, channels, y);
    expander.Expand(taps, block);
  }
}

void RunGather(const peakpool_plan& plan, Range lines, Range channels, const void* dy, const void* index, void* dx) {
  alignas(64) unsigned char scratch[kScratchBytes];
  const Geometry& g = plan.shape.geometry;
  const View view(g, {0, g.axis[kWidth].output}, channels);
  const int64_t bytes = plan.shape.element_bytes;
  RunKernel(plan, BackwardCall{&view.geometry,
                               Advance(dy, view.output_offset * bytes),
                               // Kernels only read the taps of a backward call.
                               {const_cast<void*>(Advance(index, view.output_offset)), 1, view.geometry.output, 0},
                               Advance(dx, view.input_offset * bytes),
                               (plan.problem.flags & PEAKPOOL_ACCUMULATE) != 0,
                               lines.begin,
                               lines.end,
                               scratch});
}

// Output lines that one line of dx may have windows from.
int64_t LinesOfWindows(const Axis& height) { return (height.kernel - 1) * height.dilation / height.stride + 1; }

// The same for other index formats, which become bytes a few lines at a time. False if an index is invalid.
bool RunGatherDecoding(const peakpool_plan& plan, Range lines, Range channels, const void* dy, const void* index,
                       void* dx) {
  const Geometry& g = plan.shape.geometry;
  const Axis &depth = g.axis[kDepth], &height = g.axis[kHeight];
  const int64_t line_taps = Elements({0, g.axis[kWidth].output}, channels, g.channels_last);
  if (line_taps * LinesOfWindows(height) > kDecodedBytes && g.channels_last) {
    const int64_t middle = channels.begin + channels.size() / 2;
    const bool valid = RunGatherDecoding(plan, lines, {channels.begin, middle}, dy, index, dx);
    return RunGatherDecoding(plan, lines, {middle, channels.end}, dy, index, dx) && valid;
  }
  alignas(64) unsigned char scratch[kScratchBytes];
  alignas(64) uint8_t taps[kDecodedBytes];
  const View view(g, {0, g.axis[kWidth].output}, channels);
  const int64_t bytes = plan.shape.element_bytes;
  const Strides dense = DenseLines(g, g.axis[kWidth].output, channels.size());
  IndexMap map(IndicesOf(plan, index, false), plan.index_kernels, NumberingOf(g, PEAKPOOL_INDEX_WINDOW_U8), g.output,
               dense, {0, g.axis[kWidth].output}, channels);
  // Whole slices (n, c, d) where they fit, else as many lines as leave room for their windows.
  const int64_t room = kDecodedBytes / line_taps, slices = room / height.output;
  const int64_t step = std::max<int64_t>((room - LinesOfWindows(height)) * height.stride, 1);
  const auto output_line = [&](int64_t slice, int64_t h) {
    const int64_t plane = slice / depth.input, d = slice - plane * depth.input;
    // Slices beyond the last windows have no lines at all.
    return d < depth.output ? (plane * depth.output + d) * height.output + h
                            : (plane + 1) * depth.output * height.output;
  };
  bool valid = true;
  for (int64_t begin = lines.begin, end; begin < lines.end; begin = end) {
    const int64_t slice = begin / height.input;
    end = std::min((slice + std::max<int64_t>(slices, 1)) * height.input, lines.end);
    if (slices == 0) end = std::min(end, begin + step);
    const int64_t last = (end - 1) / height.input;
    const int64_t top = begin - slice * height.input;
    // Kernels of windows apart look at the row of windows above a gap that they begin in, too.
    const Range outputs = {output_line(slice, std::min(height.FirstTouching(top), height.TouchingEnd(top + 1) - 1)),
                           output_line(last, height.TouchingEnd(end - last * height.input))};
    const int64_t origin = outputs.begin * line_taps, corner = origin + (g.channels_last ? channels.begin : 0);
    map.ForEachRun(outputs, [&](const OutputPosition& first, int64_t count) {
      valid &= map.TranslateTo(first, count, 1, taps + OffsetOf(first, dense) - corner);
    });
    RunKernel(plan, BackwardCall{&view.geometry,
                                 Advance(dy, view.output_offset * bytes),
                                 {taps, 1, view.StridesOf(dense), origin},
                                 Advance(dx, view.input_offset * bytes),
                                 (plan.problem.flags & PEAKPOOL_ACCUMULATE) != 0,
                                 begin,
                                 end,
                                 scratch});
  }
  return valid;
}

bool RunScatter(const peakpool_plan& plan, Range lines, Range channels, const void* dy, const void* index, void* dx) {
  alignas(64) unsigned char scratch[kScratchBytes];
  return ScatterBackward({plan.index_kernels, IndicesOf(plan, index, false), plan.problem.type, dy, dx,
                          (plan.problem.flags & PEAKPOOL_ACCUMULATE) != 0, lines, channels, scratch});
}

}  // namespace

int UsefulThreads(const peakpool_plan& plan, const peakpool_executor& executor) {
  return IsWorthSplitting(Bytes(plan)) ? ThreadCount(executor) : 1;
}

Split ForwardSplit(const peakpool_plan& plan, int threads) {
  if (threads == 1) return {1, 1, 1};
  const Geometry& g = plan.shape.geometry;
  if (plan.forward.algorithm == Algorithm::kIm2col) {
    return ChooseSplit(g.batch * g.channels, 1, 1, Bytes(plan), threads);
  }
  const Axis& height = g.axis[kHeight];
  const int64_t channels = g.channels_last ? g.channels / kLeastChannels : 1;
  // Rows that two bands of lines share are reduced along the width twice. Where those are most of a band's, rather
  // share out channels (two threads, 13x13 channels-last: 13 taps 0.3 and 5 taps 0.6 of the time; 3x3 on 14x14 1.45).
  const int64_t shared = (height.kernel - 1) * height.dilation + 1 - height.stride;
  const bool whole = g.batch < threads && channels >= threads && 2 * threads * shared > height.input;
  // A part that began beyond the input would have an empty input of its own.
  const int64_t columns = plan.shape.has_empty_window ? 1 : g.axis[kWidth].output / kLeastColumns;
  return ChooseSplit(whole ? 1 : g.OutputLines(), columns, channels, Bytes(plan), threads);
}

Split BackwardSplit(const peakpool_plan& plan, int threads) {
  const Geometry& g = plan.shape.geometry;
  if (plan.backward.algorithm == Algorithm::kIm2col) {
    return ChooseSplit(g.batch * g.channels, 1, 1, Bytes(plan), threads);
  }
  const int64_t channels = g.channels_last ? g.channels / kLeastChannels : 1;
  // Scatters look at windows that two parts share twice: rather share out images and channels.
  const bool whole = plan.backward.algorithm == Algorithm::kScatter && g.batch < threads && channels >= threads;
  return ChooseSplit(whole ? 1 : g.InputLines(), 1, channels, Bytes(plan), threads);
}

void Forward(const peakpool_plan& plan, const void* x, void* y, void* index, const peakpool_executor& executor) {
  const Geometry& g = plan.shape.geometry;
  if (plan.few.outputs > 0) return PoolFewTaps(plan.few, x, y, index);
  if (g.batch == 0 || g.channels == 0) return;
  const Split split = ForwardSplit(plan, UsefulThreads(plan, executor));
  // The kernels of small windows write tap numbers as bytes only.
  const bool expands = index != nullptr && plan.problem.index_format != PEAKPOOL_INDEX_WINDOW_U8 &&
                       (plan.forward.algorithm == Algorithm::kWindow || !IsWindowFormat(plan.problem.index_format));
  ParallelFor(executor, split.Tasks(), [&](int64_t i) {
    if (plan.forward.algorithm == Algorithm::kIm2col) {
      const Range planes = Part(g.batch * g.channels, split.lines, i);
      Im2colForward(plan.shape, x, y, index, planes.begin, planes.end);
      return;
    }
    const TaskPart part(split, i, g.Planes(), g.OutputPlaneLines(), g.axis[kWidth].output, g.channels);
    const auto run = expands ? &RunForwardExpanding : &RunForward;
    run(plan, part, x, y, index);
  });
}

bool Backward(const peakpool_plan& plan, const void* dy, const void* index, void* dx,
              const peakpool_executor& executor) {
  const Geometry& g = plan.shape.geometry;
  if (g.batch == 0 || g.channels == 0) return true;
  const Split split = BackwardSplit(plan, UsefulThreads(plan, executor));
  std::atomic<bool> valid{true};
  ParallelFor(executor, split.Tasks(), [&](int64_t i) {
    bool part_valid = true;
    if (plan.backward.algorithm == Algorithm::kIm2col) {
      const Range planes = Part(g.batch * g.channels, split.lines, i);
      part_valid = Im2colBackward(plan.shape, dy, index, dx, planes.begin, planes.end);
    } else {
      const TaskPart part(split, i, g.Planes(), g.InputPlaneLines(), 1, g.channels);
      const bool gathers = plan.backward.algorithm == Algorithm::kGather;
      const bool decodes = gathers && plan.problem.index_format != PEAKPOOL_INDEX_WINDOW_U8;
      // Gathers of bytes ignore invalid indices, scatters never meet those of empty windows: each task also checks its
      // share.
      if ((gathers && !decodes) || plan.shape.has_empty_window) {
        const Range outputs = Part(g.OutputLines(), split.Tasks(), i);
        part_valid = ValidateIndices(IndicesOf(plan, index, false), plan.index_kernels, outputs);
      }
      if (decodes) {
        part_valid = RunGatherDecoding(plan, part.lines, part.channels, dy, index, dx);
      } else if (gathers) {
        RunGather(plan, part.lines, part.channels, dy, index, dx);
      } else {
        part_valid &= RunScatter(plan, part.lines, part.channels, dy, index, dx);
      }
    }
    if (!part_valid) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

bool Unpool(const peakpool_plan& plan, const void* y, const void* index, void* x, const peakpool_executor& executor) {
  const Geometry& g = plan.shape.geometry;
  if (g.batch == 0 || g.channels == 0) return true;
  const Split split = ChooseSplit(g.Planes(), 1, g.channels_last ? g.channels / kLeastChannels : 1, Bytes(plan),
                                  UsefulThreads(plan, executor));
  std::atomic<bool> valid{true};
  ParallelFor(executor, split.Tasks(), [&](int64_t i) {
    const TaskPart part(split, i, g.Planes(), 1, 1, g.channels);
    if (!Unpool({plan.index_kernels, IndicesOf(plan, index, true), plan.shape.element_bytes, y, x, part.lines,
                 part.channels})) {
      valid.store(false, std::memory_order_relaxed);
    }
  });
  return valid.load();
}

bool ConvertIndices(const peakpool_plan& plan, int32_t from_format, const void* from, int32_t to_format, void* to,
                    const peakpool_executor& executor) {
  const Geometry& g = plan.shape.geometry;
  if (g.batch == 0 || g.channels == 0) return true;
  const int64_t bytes = plan.shape.output_extent * (IndexBytes(from_format) + IndexBytes(to_format));
  const Split split = ChooseSplit(g.OutputLines(), 1, 1, bytes, IsWorthSplitting(bytes) ? ThreadCount(executor) : 1);
  // Between formats of positions, no window restricts them.
  const Indices indices = {&g, from_format, plan.shape.has_empty_window, from, !IsWindowFormat(to_format)};
  std::atomic<bool> valid{true};
  ParallelFor(executor, split.Tasks(), [&](int64_t i) {
    const Range lines = Part(g.OutputLines(), split.lines, i);
    if (!ConvertIndices(indices, plan.index_kernels, to_format, to, lines)) {
      valid.store(false, std::memory_order_relaxed);
    }
  });
  return valid.load();
}

}  // namespace peakpool
