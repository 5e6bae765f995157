// SPDX-License-Identifier: Apache-2.0
#include "src/blocks.h"

#include <algorithm>

#include "src/copy_rows.h"

namespace peakpool {
namespace {

constexpr int64_t kBlockBytes = 64 << 10;

// Columns of x and dx channels-first. Kernels take longer rows, of any tensors, as they lie.
constexpr int64_t kShortRow = 32;

// Bytes of a pixel's channels. Kernels take more, of any tensors, as they lie.
constexpr int64_t kShortPixel = 64;

// A tensor of a call. Those whose images have no gaps stay where they are.
struct Tensor {
  [[gnu::noinline]] Tensor(const void* at, int64_t bytes, const Geometry& geometry, const Strides& s, bool output)
      : base(static_cast<char*>(const_cast<void*>(at))),
        g(geometry),
        strides(s),
        element_bytes(bytes),
        dense(at == nullptr ? kTensor : DenseExtent(geometry, s, output)),
        columns(output ? g.axis[kWidth].output : g.axis[kWidth].input),
        pixel_bytes(at == nullptr ? 0 : (g.channels_last ? g.channels : 1) * bytes) {}

  bool IsCopied() const { return dense < kImage; }
  int64_t RowBytes() const { return columns * pixel_bytes; }
  // Takes so much of a block, and returns what is left.
  char* Place(char* at, int64_t rows) {
    if (!IsCopied()) return at;
    block = at;
    return at + (rows * RowBytes() + 63) / 64 * 64;
  }
  // Where rows of a block are, from this one of a slice on.
  char* Rows(int64_t slice, int64_t row) const {
    if (IsCopied() || base == nullptr) return block;
    return base + (SliceOffset(g, strides, slice) + row * strides.axis[kHeight]) * element_bytes;
  }
  // Copies rows [row, row + rows) of these slices to the block, or from it.
  [[gnu::noinline]] void Copy(bool out, int64_t slice, int64_t slices, int64_t row, int64_t rows) const {
    if (!IsCopied()) return;
    const auto copy = [out](char* in_block, int64_t block_step, char* in_tensor, int64_t tensor_step, int64_t bytes,
                            int64_t count) {
      if (out) {
        CopyRows({in_tensor, tensor_step}, {in_block, block_step}, bytes, count);
      } else {
        CopyRows({in_block, block_step}, {in_tensor, tensor_step}, bytes, count);
      }
    };
    const int64_t row_bytes = RowBytes();
    const int64_t row_step = strides.axis[kHeight] * element_bytes, pixel_step = strides.axis[kWidth] * element_bytes;
    // (Divisions for every slice took up to 1.25 times as long.)
    OutputPosition at = g.OutputAt(slice * g.axis[kHeight].output);
    at.o[kHeight] = row;
    char* in_block = block;
    for (int64_t s = 0; s < slices; ++s) {
      char* in_tensor = base + OffsetOf(at, strides) * element_bytes;
      if (dense == kSlice) {
        copy(in_block, 0, in_tensor, 0, rows * row_bytes, 1);
      } else if (dense == kLine) {
        copy(in_block, row_bytes, in_tensor, row_step, row_bytes, rows);
      } else {
        for (int64_t r = 0; r < rows; ++r) {
          copy(in_block + r * row_bytes, pixel_bytes, in_tensor + r * row_step, pixel_step, pixel_bytes, columns);
        }
      }
      in_block += rows * row_bytes;
      if (++at.o[kDepth] < g.axis[kDepth].output) continue;
      at.o[kDepth] = 0;
      if (g.channels_last || ++at.c == g.channels) at.c = 0, ++at.n;
    }
  }
  void CopyIn(int64_t slice, int64_t slices, int64_t row, int64_t rows) const { Copy(false, slice, slices, row, rows); }
  void CopyOut(int64_t slice, int64_t slices, int64_t row, int64_t rows) const { Copy(true, slice, slices, row, rows); }

  char* base;
  const Geometry& g;
  const Strides& strides;
  int64_t element_bytes;
  Dense dense;
  int64_t columns, pixel_bytes;
  char* block = nullptr;
};

// Some slices, or rows of one: [row, row + rows) on the side of the call's lines, x or y, with those from `other_row`
// on of the other side.
struct Block {
  int64_t slice, slices, row, rows, other_row;
  Axis height;
  bool is_cut;  // else the kernel takes these lines as they lie
};

// The blocks of a call. `lines` and `other` are the tensors on both sides of the windows, the call's lines those of the
// first.
class Cutter {
 public:
  [[gnu::noinline]] Cutter(const Geometry& g, bool forward, const Tensor& lines, const Tensor& taps,
                           const Tensor& other, bool cuts_rows)
      : g_(g), forward_(forward), height_(g.axis[kHeight]) {
    by_image_ = lines.dense == kImage || taps.dense == kImage || other.dense == kImage;
    const Tensor &x = forward ? other : lines, &y = forward ? lines : other;
    const int64_t input = x.RowBytes(), output = y.RowBytes() + taps.RowBytes();
    most_slices_ = kBlockBytes / (height_.input * input + height_.output * output);
    if (!lines.IsCopied() && !taps.IsCopied() && !other.IsCopied()) most_slices_ = INT64_MAX;
    if (!cuts_rows || height_.adaptive) return;
    // Rows, and those beyond their share that windows reach.
    const int64_t reach = height_.EffectiveKernel();
    const int64_t shared = forward ? reach * input : (reach / height_.stride + 2) * output;
    const int64_t row = forward ? height_.stride * input + output : input + (output - 1) / height_.stride + 1;
    most_rows_ = std::max<int64_t>(kBlockBytes - shared, 0) / row;
  }
  bool CutsAny() const { return most_slices_ > 0 || most_rows_ > 0; }

  [[gnu::noinline]] Block Next(int64_t line, int64_t end) const {
    const int64_t slice = line / Lines(), row = line - slice * Lines();
    Block block = {slice, row == 0 ? std::min(most_slices_, (end - line) / Lines()) : 0, row, Lines(), 0, height_,
                   true};
    if (block.slices > 0) {
      const int64_t image = (g_.channels_last ? 1 : g_.channels) * g_.axis[kDepth].input;
      if (by_image_) block.slices = std::min(block.slices, image - slice % image);
      return block;
    }
    block.slices = 1;
    block.rows = std::min(Lines() - row, end - line);
    block.is_cut = most_rows_ > 0;
    if (!block.is_cut) return block;
    block.rows = std::min(block.rows, most_rows_);
    Axis& part = block.height;
    if (forward_) {
      const int64_t begin = height_.Begin(row);
      block.other_row = std::max<int64_t>(begin, 0);
      part.output = block.rows;
      part.pad_before = block.other_row - begin;
      part.input =
          std::min(height_.Begin(row + block.rows - 1) + height_.EffectiveKernel(), height_.input) - block.other_row;
    } else {
      block.other_row = height_.FirstTouching(row);
      part.input = block.rows;
      part.output = height_.TouchingEnd(row + block.rows) - block.other_row;
      part.pad_before = row + height_.pad_before - block.other_row * height_.stride;
    }
    // No window lies there.
    block.is_cut = part.input > 0 && part.output > 0;
    return block;
  }

  // Dense but for tensors in place, whose images are.
  [[gnu::noinline]] Geometry GeometryOf(const Block& block) const {
    Geometry g = g_;
    g.batch = g_.channels_last ? block.slices : 1;
    if (!g_.channels_last) g.channels = block.slices;
    g.axis[kDepth] = {1, 1, 1, 1, 1, 0};
    g.axis[kHeight] = block.height;
    const auto dense = [&](int64_t rows, int64_t columns) {
      const int64_t pixel = g_.channels_last ? g_.channels : 1, slice = rows * columns * pixel;
      return Strides{g_.channels_last ? slice : block.slices * slice,
                     g_.channels_last ? 1 : slice,
                     {slice, columns * pixel, pixel}};
    };
    g.input = dense(block.height.input, g_.axis[kWidth].input);
    g.output = dense(block.height.output, g_.axis[kWidth].output);
    return g;
  }

 private:
  int64_t Lines() const { return forward_ ? height_.output : height_.input; }

  const Geometry& g_;
  const bool forward_;
  const Axis& height_;
  bool by_image_ = false;
  int64_t most_slices_ = 0, most_rows_ = 0;
};

// Whether pixels of so few bytes have gaps between them.
bool HasShortPixels(const Tensor& x, const Tensor& y) {
  return std::min(x.dense, y.dense) == kPixel && x.pixel_bytes < kShortPixel;
}

// Runs the kernel on lines that are not cut, and run(block) for the others.
template <class Call, class Run>
void ForEachBlock(void (*kernel)(const Call&), const Call& call, const Cutter& cutter, Run run) {
  for (int64_t line = call.begin, end; line < call.end; line = end) {
    const Block block = cutter.Next(line, call.end);
    end = line + block.slices * block.rows;
    if (block.is_cut) {
      run(block);
      continue;
    }
    Call part = call;
    part.begin = line, part.end = end;
    kernel(part);
  }
}

}  // namespace

void ForwardInBlocks(ForwardKernel kernel, const ForwardCall& call, int64_t element_bytes) {
  const Geometry& g = *call.geometry;
  // A part of a line whose windows all begin beyond the input has no columns to copy, but fewer than none.
  if (!g.axis[kDepth].IsIdentity() || g.axis[kWidth].input < 1) return kernel(call);
  Tensor x(call.x, element_bytes, g, g.input, false), y(call.y, element_bytes, g, g.output, true);
  Tensor taps(call.taps.base, call.taps.bytes, g, call.taps.strides, true);
  const bool with_taps = call.taps.base != nullptr;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const Dense dense = std::min({x.dense, y.dense, taps.dense});
  if (dense >= kImage) return kernel(call);
  // Windows apart have lines for themselves. (Of other channels-first kernels some need to know the whole plane.)
  const bool apart = g.IsApart() && h.kernel <= 3 && w.kernel <= 3 && !h.adaptive && !w.adaptive;
  // Channels-first the kernels for lines with gaps take few windows apart.
  const bool takes_gaps = g.channels_last
                              ? !HasShortPixels(x, y)
                              : w.input > kShortRow && (!apart || (!with_taps && element_bytes != 1 && dense == kLine));
  if (takes_gaps) return kernel(call);
  const Cutter cutter(g, true, y, taps, x, g.channels_last || apart);
  if (!cutter.CutsAny()) return kernel(call);
  if (with_taps) taps.base -= call.taps.origin * call.taps.bytes;
  alignas(64) char room[kBlockBytes + 3 * 64];
  ForEachBlock(kernel, call, cutter, [&](const Block& block) {
    const int64_t first = block.slice, slices = block.slices, rows = block.rows, x_rows = block.height.input;
    taps.Place(y.Place(x.Place(room, slices * x_rows), slices * rows), slices * rows);
    x.CopyIn(first, slices, block.other_row, x_rows);
    const Geometry part = cutter.GeometryOf(block);
    kernel({&part,
            x.Rows(first, block.other_row),
            y.Rows(first, block.row),
            {taps.Rows(first, block.row), call.taps.bytes, part.output, 0},
            0,
            slices * rows,
            call.scratch,
            call.scratch_bytes});
    y.CopyOut(first, slices, block.row, rows);
    taps.CopyOut(first, slices, block.row, rows);
  });
}

void BackwardInBlocks(BackwardKernel kernel, const BackwardCall& call, int64_t element_bytes) {
  const Geometry& g = *call.geometry;
  if (!g.axis[kDepth].IsIdentity()) return kernel(call);
  Tensor dy(call.dy, element_bytes, g, g.output, true), dx(call.dx, element_bytes, g, g.input, false);
  Tensor taps(call.taps.base, 1, g, call.taps.strides, true);
  const Dense dense = std::min({dy.dense, dx.dense, taps.dense});
  const bool takes_gaps =
      g.channels_last ? !HasShortPixels(dx, dy) : dense < kImage && g.axis[kWidth].input > kShortRow;
  if (dense == kTensor || takes_gaps) return kernel(call);
  const Axis& h = g.axis[kHeight];
  // Rows that no window covers, between others, have no first window.
  const Cutter cutter(g, false, dx, taps, dy, g.channels_last && h.kernel >= h.stride);
  if (!cutter.CutsAny()) return kernel(call);
  taps.base -= call.taps.origin;
  alignas(64) char room[kBlockBytes + 3 * 64];
  ForEachBlock(kernel, call, cutter, [&](const Block& block) {
    const int64_t first = block.slice, slices = block.slices, rows = block.rows, dy_rows = block.height.output;
    taps.Place(dx.Place(dy.Place(room, slices * dy_rows), slices * rows), slices * dy_rows);
    dy.CopyIn(first, slices, block.other_row, dy_rows);
    taps.CopyIn(first, slices, block.other_row, dy_rows);
    if (call.accumulate) dx.CopyIn(first, slices, block.row, rows);
    const Geometry part = cutter.GeometryOf(block);
    kernel({&part,
            dy.Rows(first, block.other_row),
            {taps.Rows(first, block.other_row), 1, part.output, 0},
            dx.Rows(first, block.row),
            call.accumulate,
            0,
            slices * rows,
            call.scratch});
    dx.CopyOut(first, slices, block.row, rows);
  });
}

}  // namespace peakpool
