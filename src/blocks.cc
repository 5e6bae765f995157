// SPDX-License-Identifier: Apache-2.0
#include "src/blocks.h"

#include <algorithm>
#include <initializer_list>

#include "src/copy_row.h"

namespace peakpool {
namespace {

constexpr int64_t kBlockBytes = 64 << 10;

// Columns of x and dx. Kernels take longer rows, of any tensors, as they lie.
constexpr int64_t kShortRow = 32;

// A tensor of a call. Slices (n, c, d) of tensors whose images have no gaps stay where they are; of others, blocks are
// copies.
struct Tensor {
  Tensor(const void* at, int64_t bytes, const Geometry& geometry, const Strides& s, bool output)
      : base(static_cast<char*>(const_cast<void*>(at))),
        g(geometry),
        strides(s),
        element_bytes(bytes),
        dense(at == nullptr ? kTensor : DenseExtent(geometry, s, output)),
        row_bytes((output ? g.axis[kWidth].output : g.axis[kWidth].input) * bytes) {}

  bool IsCopied() const { return dense < kImage; }
  // Takes so much of a block, and returns what is left.
  char* Place(char* at, int64_t rows) {
    if (!IsCopied()) return at;
    block = at;
    return at + (rows * row_bytes + 63) / 64 * 64;
  }
  char* At(int64_t slice, int64_t row) const {
    if (base == nullptr) return nullptr;
    return base + (SliceOffset(g, strides, slice) + row * strides.axis[kHeight]) * element_bytes;
  }
  // Where rows [row, row + rows) of a block of slices are.
  char* Rows(int64_t slice, int64_t row) const { return IsCopied() ? block : At(slice, row); }
  template <class Copy>
  void ForEachRow(int64_t slice, int64_t slices, int64_t row, int64_t rows, Copy copy) const {
    if (!IsCopied()) return;
    // A slice without gaps is one row.
    const int64_t joined = dense == kSlice ? rows : 1, bytes = joined * row_bytes;
    const int64_t depth = g.axis[kDepth].input, plane = slice / depth, n = plane / g.channels;
    OutputPosition at = {n, plane - n * g.channels, {slice - plane * depth, row, 0}};
    char* to = block;
    for (int64_t s = 0; s < slices; ++s) {
      char* from = base + OffsetOf(at, strides) * element_bytes;
      if (++at.o[kDepth] == depth) {
        at.o[kDepth] = 0;
        if (++at.c == g.channels) at.c = 0, ++at.n;
      }
      for (int64_t r = 0; r < rows; r += joined) {
        copy(to, from, bytes);
        to += bytes;
        from += strides.axis[kHeight] * element_bytes;
      }
    }
  }
  void In(int64_t slice, int64_t slices, int64_t row, int64_t rows) const {
    ForEachRow(slice, slices, row, rows, [](char* to, char* from, int64_t bytes) { CopyRow(to, from, bytes); });
  }
  void Out(int64_t slice, int64_t slices, int64_t row, int64_t rows) const {
    ForEachRow(slice, slices, row, rows, [](char* from, char* to, int64_t bytes) { CopyRow(to, from, bytes); });
  }

  char* base;
  const Geometry& g;
  const Strides& strides;
  int64_t element_bytes;
  Dense dense;
  int64_t row_bytes;
  char* block = nullptr;
};

// Whether slices of the depth are planes by themselves.
bool HasPlainDepth(const Geometry& g) {
  const Axis& d = g.axis[kDepth];
  return d.kernel == 1 && d.stride == 1 && d.input == d.output && !d.adaptive;
}

// Of so many slices, with heights of their own.
Geometry BlockOf(const Geometry& g, const Axis& height, int64_t slices) {
  Geometry block = g;
  block.batch = 1;
  block.channels = slices;
  block.axis[kDepth] = {1, 1, 1, 1, 1, 0};
  block.axis[kHeight] = height;
  const auto dense = [&](int64_t rows, int64_t columns) {
    return Strides{slices * rows * columns, rows * columns, {rows * columns, columns, 1}};
  };
  block.input = dense(height.input, g.axis[kWidth].input);
  block.output = dense(height.output, g.axis[kWidth].output);
  return block;
}

// Output rows [row, row + rows) of an axis, as an axis of their own that begins at input *from.
Axis RowsOf(const Axis& height, int64_t row, int64_t rows, int64_t* from) {
  Axis part = height;
  const int64_t begin = height.Begin(row);
  *from = std::max<int64_t>(begin, 0);
  part.output = rows;
  part.pad_before = *from - begin;
  part.input = std::min(height.Begin(row + rows - 1) + height.kernel, height.input) - *from;
  return part;
}

// No more slices than are left of the image, if a tensor that stays where it is has a gap behind that.
int64_t WithinImage(const Geometry& g, Dense least_in_place, int64_t first, int64_t slices) {
  const int64_t image = g.channels * g.axis[kDepth].input;
  return least_in_place == kImage ? std::min(slices, image - first % image) : slices;
}
Dense LeastInPlace(std::initializer_list<const Tensor*> tensors) {
  Dense least = kTensor;
  for (const Tensor* tensor : tensors) {
    if (!tensor->IsCopied()) least = std::min(least, tensor->dense);
  }
  return least;
}

}  // namespace

void ForwardInBlocks(ForwardKernel kernel, const ForwardCall& call, int64_t element_bytes) {
  const Geometry& g = *call.geometry;
  if (g.channels_last || !HasPlainDepth(g)) return kernel(call);
  const bool with_taps = call.taps.base != nullptr;
  Tensor x(call.x, element_bytes, g, g.input, false), y(call.y, element_bytes, g, g.output, true);
  Tensor taps(call.taps.base, call.taps.bytes, g, call.taps.strides, true);
  const Dense dense = std::min({x.dense, y.dense, taps.dense});
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  // Windows apart have lines for themselves, and kernels for lines with gaps in few cases.
  const bool apart = g.IsApart() && h.kernel <= 3 && w.kernel <= 3 && !h.adaptive && !w.adaptive;
  const bool takes_gaps = w.input > kShortRow && (!apart || (!with_taps && element_bytes != 1 && dense == kLine));
  if (dense >= kImage || takes_gaps) return kernel(call);
  if (with_taps) taps.base -= call.taps.origin * call.taps.bytes;
  const int64_t output_row = y.row_bytes + (with_taps ? taps.row_bytes : 0);
  const int64_t most_slices = kBlockBytes / (h.input * x.row_bytes + h.output * output_row);
  const int64_t most_rows = apart ? kBlockBytes / (std::max(h.kernel, h.stride) * x.row_bytes + output_row) : 0;
  const Dense in_place = LeastInPlace({&x, &y, &taps});
  alignas(64) char room[kBlockBytes + 3 * 64];
  for (int64_t line = call.begin, end; line < call.end; line = end) {
    const int64_t first = line / h.output, row = line - first * h.output;
    int64_t slices = row == 0 ? std::min(most_slices, (call.end - line) / h.output) : 0, rows = h.output, x_row = 0;
    Axis height = h;
    if (slices > 0) {
      slices = WithinImage(g, in_place, first, slices);
    } else {
      slices = 1;
      rows = std::min(h.output - row, call.end - line);
      if (most_rows > 0) {
        rows = std::min(rows, most_rows);
        height = RowsOf(h, row, rows, &x_row);
      }
      if (most_rows == 0 || height.input < 1) {
        ForwardCall part = call;
        part.begin = line;
        part.end = end = line + rows;
        kernel(part);
        continue;
      }
    }
    end = line + slices * rows;
    taps.Place(y.Place(x.Place(room, slices * height.input), slices * rows), slices * rows);
    x.In(first, slices, x_row, height.input);
    const Geometry block = BlockOf(g, height, slices);
    kernel({&block,
            x.Rows(first, x_row),
            y.Rows(first, row),
            {taps.Rows(first, row), call.taps.bytes, block.output, 0},
            0,
            slices * rows,
            call.scratch,
            call.scratch_bytes});
    y.Out(first, slices, row, rows);
    taps.Out(first, slices, row, rows);
  }
}

void BackwardInBlocks(BackwardKernel kernel, const BackwardCall& call, int64_t element_bytes) {
  const Geometry& g = *call.geometry;
  if (g.channels_last || !HasPlainDepth(g)) return kernel(call);
  Tensor dy(call.dy, element_bytes, g, g.output, true), dx(call.dx, element_bytes, g, g.input, false);
  Tensor taps(call.taps.base, 1, g, call.taps.strides, true);
  const Dense dense = std::min({dy.dense, dx.dense, taps.dense});
  const Axis& h = g.axis[kHeight];
  const int64_t slice = h.input * dx.row_bytes + h.output * (dy.row_bytes + taps.row_bytes);
  const bool copies = dense < kImage;
  const int64_t most = copies ? kBlockBytes / slice : g.channels * g.axis[kDepth].input;
  if (dense == kTensor || most == 0 || (copies && g.axis[kWidth].input > kShortRow)) return kernel(call);
  taps.base -= call.taps.origin;
  const Dense in_place = LeastInPlace({&dy, &dx, &taps});
  alignas(64) char room[kBlockBytes + 3 * 64];
  for (int64_t line = call.begin, end; line < call.end; line = end) {
    const int64_t first = line / h.input, rest = std::min((first + 1) * h.input, call.end) - line;
    int64_t slices = line % h.input == 0 ? std::min(most, (call.end - line) / h.input) : 0;
    if (slices == 0) {
      BackwardCall part = call;
      part.begin = line;
      part.end = end = line + rest;
      kernel(part);
      continue;
    }
    slices = WithinImage(g, in_place, first, slices);
    end = line + slices * h.input;
    taps.Place(dx.Place(dy.Place(room, slices * h.output), slices * h.input), slices * h.output);
    dy.In(first, slices, 0, h.output);
    taps.In(first, slices, 0, h.output);
    if (call.accumulate) dx.In(first, slices, 0, h.input);
    const Geometry block = BlockOf(g, h, slices);
    kernel({&block,
            dy.Rows(first, 0),
            {taps.Rows(first, 0), 1, block.output, 0},
            dx.Rows(first, 0),
            call.accumulate,
            0,
            slices * h.input,
            call.scratch});
    dx.Out(first, slices, 0, h.input);
  }
}

}  // namespace peakpool
