// SPDX-License-Identifier: Apache-2.0
#include "src/choose.h"

namespace peakpool {
namespace {

bool IsTwoOrThree(const Axis& axis) {
  return (axis.kernel == 2 || axis.kernel == 3) && (axis.stride == 1 || axis.stride == 2);
}

// Whether some axis is adaptive with windows of unequal sizes; only the general kernels take those.
bool IsAdaptive(const Geometry& g) { return g.axis[0].adaptive || g.axis[1].adaptive || g.axis[2].adaptive; }
constexpr char kAdaptive[] = "adaptive windows of unequal sizes";

// Windows around each input, of planes that are pooled as one flat array.
bool IsFlat(const Shape& shape) {
  const Geometry& g = shape.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const int64_t beside_h = h.TapsBesideCentre(), beside_w = w.TapsBesideCentre();
  if (g.channels_last || g.axis[kDepth].kernel != 1 || beside_h < 0 || beside_w < 0) return false;
  if (beside_h <= 1 && beside_w <= 1) return true;
  // Windows of up to 5 taps: small dense planes of types of which a vector holds several rows, or that have no wide
  // kernels.
  return beside_h <= 2 && beside_w <= 2 && shape.element_bytes != 4 && h.input * w.input <= 1024 &&
         g.input.axis[kHeight] == w.input && g.output.axis[kHeight] == w.input;
}

bool HasDepth(const Geometry& g) { return g.axis[kDepth].kernel != 1 || g.axis[kDepth].stride != 1; }

// Why the small-window kernels do not take the geometry, or null if they do.
const char* WindowRefusal(const Shape& shape) {
  const Geometry& g = shape.geometry;
  if (shape.has_empty_window) return "some windows are empty";
  if (IsAdaptive(g)) return kAdaptive;
  if (IsFlat(shape)) return nullptr;
  for (const Axis& axis : g.axis) {
    if (axis.kernel > 3 && !(g.channels_last && g.IsApart())) return "a kernel is larger than 3";
    // Vectors of channels need neither of these.
    if (!g.channels_last && axis.dilation != 1 && axis.kernel != 1) {
      return "dilation is not 1, nor is there an output per input";
    }
  }
  if (!g.channels_last && !IsTwoOrThree(g.axis[kWidth])) return "the width's kernel is not 2 or 3 with stride 1 or 2";
  return nullptr;
}

// The same for the kernels that reduce wide windows in registers.
const char* WideRefusal(const Shape& shape) {
  const Geometry& g = shape.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  if (shape.has_empty_window) return "some windows are empty";
  if (IsAdaptive(g)) return kAdaptive;
  if (g.axis[kDepth].kernel != 1) return "the window has a depth";
  if (h.kernel <= 3 && w.kernel <= 3) return "no kernel is larger than 3";
  const bool one_window = h.output == 1 && w.output == 1;
  for (const Axis& axis : g.axis) {
    if (axis.dilation != 1 && axis.kernel != 1) return "dilation is not 1";
    // Such windows are reduced tap by tap, or rows are slid over whole.
    if (axis.stride != 1 && axis.output != 1 && axis.kernel > (g.channels_last ? 4 : 2) * axis.stride) {
      return g.channels_last ? "a kernel is larger than 4 strides" : "a kernel is larger than 2 strides";
    }
  }
  if (!g.channels_last && one_window) return "one window per plane";
  // The separable kernel transposes them (4 s4 over 16000 elements, AVX2: 0.62 of the time).
  const bool fours = w.kernel == 4 && w.stride == 4 && w.output >= 16 && w.pad_before == 0 && 4 * w.output <= w.input;
  if (!g.channels_last && h.kernel == 1 && fours && shape.problem.type == PEAKPOOL_F32) return "windows of four apart";
  if (!g.channels_last && 4 * w.output < w.kernel) return "few windows per row";
  if (shape.problem.index_format == PEAKPOOL_INDEX_NONE) return nullptr;
  if ((!g.channels_last || h.kernel != 1) && (h.stride != 1 || w.stride != 1)) return "strides and indices";
  return nullptr;
}

// Vectors of channels move gradients from this many bytes on.
constexpr int64_t kLeastApartBytes = 64;

// Dilated windows leave as many gaps at most.
constexpr int64_t kMostDilation = 8;

// The same for gradients.
const char* GatherRefusal(const Shape& shape) {
  const Geometry& g = shape.geometry;
  const bool bytes = shape.problem.index_format == PEAKPOOL_INDEX_WINDOW_U8;
  if (shape.has_empty_window) return "some windows are empty";
  if (IsAdaptive(g)) return kAdaptive;
  // Other formats are decoded to bytes by the line, one channel at least.
  const bool decodes = bytes || (g.Taps() <= 256 && g.axis[kWidth].output <= kLongestDecodedLine);
  const bool moves_channels =
      g.channels * shape.element_bytes >= kLeastApartBytes && !(shape.problem.flags & PEAKPOOL_ACCUMULATE);
  if (g.IsApart() && decodes && (bytes || !HasDepth(g)) && (!g.channels_last || moves_channels)) return nullptr;
  const Axis& w = g.axis[kWidth];
  const Axis& h = g.axis[kHeight];
  if (HasDepth(g)) {
    const Axis& d = g.axis[kDepth];
    // Channels-last, dx is summed slice after slice of the windows' depth. Channels-first that took 1.5 times as long
    // as the scatter, 2.2 on AVX2.
    if (!g.channels_last || d.kernel > 3 || d.dilation != 1 || !bytes) {
      return "the window has a depth";
    }
    if (shape.element_bytes == 2 && d.kernel > d.stride) {
      return "16-bit sums would be rounded between slices of the depth";
    }
  }
  const bool dilated = w.dilation != 1 || h.dilation != 1;
  if (dilated && (w.stride != 1 || h.stride != 1)) return "dilation and a stride";
  if (dilated && HasDepth(g)) return "dilation and a depth";
  if (w.dilation > kMostDilation || h.dilation > kMostDilation) return "dilation is larger than 8";
  // So that the decoded taps of all rows that a row of dx needs are there.
  if (dilated && !bytes && w.output > kLongestDecodedLine / kMostDilation) return "dilated lines are long";
  if (w.kernel != h.kernel || w.stride != h.stride) return "height and width differ in kernel or stride";
  if (!IsTwoOrThree(w)) return "kernel and stride are not 2x2 or 3x3 with stride 1 or 2";
  if (!decodes) return "lines are too long for their indices to be decoded";
  return nullptr;
}

}  // namespace

const char* AlgorithmName(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kWindow: return "window";
    case Algorithm::kWide: return "wide";
    case Algorithm::kSeparable: return "separable";
    case Algorithm::kGather: return "gather";
    case Algorithm::kScatter: return "scatter";
    default: return "im2col";
  }
}

Choice ChooseForward(const Shape& shape) {
  if (shape.problem.algorithm == PEAKPOOL_IM2COL) return {Algorithm::kIm2col, "asked for", nullptr, nullptr};
  const char* no_window = WindowRefusal(shape);
  if (no_window == nullptr) {
    return {Algorithm::kWindow, shape.geometry.Taps() > 27 ? "windows apart" : "a small window", nullptr, nullptr};
  }
  const char* no_wide = WideRefusal(shape);
  if (no_wide == nullptr) return {Algorithm::kWide, "axes reduced in registers", "window", no_window};
  return {Algorithm::kSeparable, "takes every geometry", "wide", no_wide};
}

Choice ChooseBackward(const Shape& shape) {
  if (shape.problem.algorithm == PEAKPOOL_IM2COL) return {Algorithm::kIm2col, "asked for", nullptr, nullptr};
  const char* why = GatherRefusal(shape);
  if (why != nullptr) return {Algorithm::kScatter, "takes every geometry", "gather", why};
  return {Algorithm::kGather, "small windows, or windows apart", nullptr, nullptr};
}

}  // namespace peakpool
