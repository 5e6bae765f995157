// SPDX-License-Identifier: Apache-2.0
// A validated problem as plans and kernels see it: always three spatial axes, everything resolved. Data only.
#ifndef PEAKPOOL_SRC_GEOMETRY_H_
#define PEAKPOOL_SRC_GEOMETRY_H_

#include <cstdint>

namespace peakpool {

// One spatial axis, in elements of that axis. Output o reads the taps o * stride - pad_before + t * dilation for
// t in [0, kernel); those outside [0, input) are padding.
struct Axis {
  int64_t input, output, kernel, stride, dilation, pad_before;
  // Windows of unequal sizes instead: output o reads [floor(o * input / output), ceil((o + 1) * input / output)), and
  // kernel is the largest size. Part of an axis keeps the whole one's sizes, and the remainder that it begins with.
  bool adaptive = false;
  int64_t whole_input = 0, whole_output = 0, phase = 0;

  int64_t Begin(int64_t o) const {
    return adaptive ? (o * whole_input + phase) / whole_output : o * stride - pad_before;
  }
  // The taps of output o that are not padding are [FirstTap(o), TapEnd(o)); none where the first is not below the end.
  int64_t FirstTap(int64_t o) const {
    const int64_t begin = Begin(o);
    return begin >= 0 ? 0 : (-begin + dilation - 1) / dilation;
  }
  int64_t TapEnd(int64_t o) const {
    if (adaptive) return ((o + 1) * whole_input + phase + whole_output - 1) / whole_output - Begin(o);
    const int64_t room = input - Begin(o);
    if (room <= 0) return 0;
    const int64_t end = dilation == 1 ? room : (room + dilation - 1) / dilation;
    return end < kernel ? end : kernel;
  }
  bool IsEmpty(int64_t o) const { return FirstTap(o) >= TapEnd(o); }
  // Inputs from the first tap of a window to its last.
  int64_t EffectiveKernel() const { return (kernel - 1) * dilation + 1; }
  // How many taps lie on either side of the window's centre where every output has its centre on the input of its own
  // number; one side may lack its only one. -1 for other windows.
  int64_t TapsBesideCentre() const {
    const int64_t before = pad_before / dilation, after = kernel - 1 - before;
    if (adaptive || stride != 1 || output != input || before * dilation != pad_before || after < 0) return -1;
    if (before == after) return before;
    return before + after == 1 ? 1 : -1;
  }
  // Whether no input lies in two windows and taps leave no gaps.
  bool IsApart() const { return (output == 1 || kernel <= stride) && (dilation == 1 || kernel == 1); }
  // Whether output o is input o.
  bool IsIdentity() const { return kernel == 1 && stride == 1 && pad_before == 0 && input == output && !adaptive; }
  // The outputs whose windows may touch inputs [begin, end) are [FirstTouching(begin), TouchingEnd(end)).
  int64_t FirstTouching(int64_t begin) const {
    if (adaptive) return begin * output / input;
    const int64_t room = begin + pad_before - (kernel - 1) * dilation;
    return room <= 0 ? 0 : (room + stride - 1) / stride;
  }
  int64_t TouchingEnd(int64_t end) const {
    const int64_t most = adaptive ? (end * output + input - 1) / input : (end - 1 + pad_before) / stride + 1;
    return most < output ? most : output;
  }
};

// Distances in elements: of the batch, the channel, and the depth, height and width axes.
struct Strides {
  int64_t batch, channel, axis[3];
};

enum SpatialAxis { kDepth = 0, kHeight = 1, kWidth = 2 };

// An output.
struct OutputPosition {
  int64_t n, c, o[3];
};

struct Geometry {
  Axis axis[3];  // an absent leading axis is 1 wide with kernel, stride and dilation 1
  int64_t batch, channels;
  bool channels_last;  // which of channel and width has stride 1
  Strides input;       // of x and dx
  Strides output;      // of y, dy and caller-visible indices

  int64_t Taps() const { return axis[0].kernel * axis[1].kernel * axis[2].kernel; }
  bool IsApart() const { return axis[0].IsApart() && axis[1].IsApart() && axis[2].IsApart(); }
  // A line is one row along the width axis: width elements channels-first, width x channels elements channels-last.
  // Lines are numbered row-major over (batch, channel if channels-first, depth, height).
  int64_t Planes() const { return channels_last ? batch : batch * channels; }
  int64_t OutputPlaneLines() const { return axis[kDepth].output * axis[kHeight].output; }
  int64_t InputPlaneLines() const { return axis[kDepth].input * axis[kHeight].input; }
  int64_t OutputLines() const { return Planes() * OutputPlaneLines(); }
  int64_t InputLines() const { return Planes() * InputPlaneLines(); }

  // The first output of a line.
  OutputPosition OutputAt(int64_t line) const {
    const int64_t rest = line / axis[kHeight].output, plane = rest / axis[kDepth].output;
    const int64_t n = channels_last ? plane : plane / channels, c = channels_last ? 0 : plane - n * channels;
    return {n, c, {rest - plane * axis[kDepth].output, line - rest * axis[kHeight].output, 0}};
  }
  // Whether every tap of the output lies in the padding.
  bool IsEmptyWindow(const OutputPosition& output) const {
    for (int a = 0; a < 3; ++a) {
      if (axis[a].IsEmpty(output.o[a])) return true;
    }
    return false;
  }
};

inline int64_t OffsetOf(const OutputPosition& output, const Strides& strides) {
  return output.n * strides.batch + output.c * strides.channel + output.o[0] * strides.axis[0] +
         output.o[1] * strides.axis[1] + output.o[2] * strides.axis[2];
}

// Up to where elements follow each other without a gap.
enum Dense { kPixel, kLine, kSlice, kImage, kTensor };

inline Dense DenseExtent(const Geometry& g, const Strides& strides, bool output) {
  const auto size = [&](int a) { return output ? g.axis[a].output : g.axis[a].input; };
  int64_t pitch = g.channels_last ? g.channels : 1;
  if (size(kWidth) != 1 && strides.axis[kWidth] != pitch) return kPixel;
  pitch *= size(kWidth);
  if (size(kHeight) != 1 && strides.axis[kHeight] != pitch) return kLine;
  pitch *= size(kHeight);
  if (size(kDepth) != 1 && strides.axis[kDepth] != pitch) return kSlice;
  pitch *= size(kDepth);
  if (!g.channels_last) {
    if (g.channels != 1 && strides.channel != pitch) return kSlice;
    pitch *= g.channels;
  }
  return g.batch == 1 || strides.batch == pitch ? kTensor : kImage;
}

// Where slice (n, c, d), or (n, d) channels-last, begins, they being numbered in this order.
inline int64_t SliceOffset(const Geometry& g, const Strides& strides, int64_t slice) {
  const int64_t depth = g.axis[kDepth].input, plane = slice / depth, n = g.channels_last ? plane : plane / g.channels;
  const int64_t c = g.channels_last ? 0 : plane - n * g.channels;
  return n * strides.batch + c * strides.channel + (slice - plane * depth) * strides.axis[kDepth];
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_GEOMETRY_H_
