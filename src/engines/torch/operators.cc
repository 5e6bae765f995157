// SPDX-License-Identifier: Apache-2.0
// PyTorch's own max-pooling operators on CPU, overridden. Each tries peakpool and else calls the kernel it replaced.
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/ops/adaptive_max_pool2d_backward_cpu_dispatch.h>
#include <ATen/ops/adaptive_max_pool2d_cpu_dispatch.h>
#include <ATen/ops/adaptive_max_pool3d_backward_cpu_dispatch.h>
#include <ATen/ops/adaptive_max_pool3d_cpu_dispatch.h>
#include <ATen/ops/max_pool1d_native.h>
#include <ATen/ops/max_pool2d_native.h>
#include <ATen/ops/max_pool2d_with_indices_backward_cpu_dispatch.h>
#include <ATen/ops/max_pool2d_with_indices_cpu_dispatch.h>
#include <ATen/ops/max_pool3d_native.h>
#include <ATen/ops/max_pool3d_with_indices_backward_cpu_dispatch.h>
#include <ATen/ops/max_pool3d_with_indices_cpu_dispatch.h>
#include <ATen/ops/max_unpool2d_cpu_dispatch.h>
#include <ATen/ops/max_unpool3d_cpu_dispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "src/engines/torch/compact.h"
#include "src/engines/torch/pooling.h"

namespace peakpool_torch {
namespace {

using at::IntArrayRef;
using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;
using OutPair = std::tuple<Tensor&, Tensor&>;

Types TypesOf(int rank) { return rank == 3 ? Types::kF32F64 : Types::kF32F64BF16; }

template <class Shape>  // a Window, or the output size of adaptive pooling
Pooling PoolingOf(const Tensor& x, int rank, const Shape& shape) {
  return Pooling(x, x.sizes(), rank, FormatOf(x, rank), TypesOf(rank), shape);
}

template <class Shape>
bool Forward(const Tensor& x, int rank, const Shape& shape, Pair* result) {
  const Pooling pooling = PoolingOf(x, rank, shape);
  if (!pooling) return false;
  std::get<0>(*result) = pooling.NewOutput(x.options());
  std::get<1>(*result) = pooling.NewOutput(x.options().dtype(at::kLong));
  return pooling.Forward(x, std::get<0>(*result), std::get<1>(*result));
}

template <class Shape>
bool ForwardInto(const Tensor& x, int rank, const Shape& shape, const Tensor& y, const Tensor& index) {
  const Pooling pooling = PoolingOf(x, rank, shape);
  return pooling && pooling.IsOutput(y, x.scalar_type()) && pooling.IsOutput(index, at::kLong) &&
         pooling.Forward(x, y, index);
}

template <class Shape>
bool Backward(const Tensor& dy, const Tensor& x, int rank, const Shape& shape, const Tensor& index, Tensor* dx) {
  const Pooling pooling = PoolingOf(x, rank, shape);
  if (!pooling || dy.has_names() || index.has_names()) return false;
  *dx = pooling.NewInput(x.options());
  return pooling.Backward(dy, index, *dx);
}

template <class Shape>
bool BackwardInto(const Tensor& dy, const Tensor& x, int rank, const Shape& shape, const Tensor& index,
                  const Tensor& dx) {
  const Pooling pooling = PoolingOf(x, rank, shape);
  return pooling && !dy.has_names() && !index.has_names() && pooling.IsInput(dx, x.scalar_type()) &&
         pooling.Backward(dy, index, dx);
}

// Adaptive backward is told no output size: it is the gradient's.
IntArrayRef Spatial(const Tensor& x, size_t rank) {
  const IntArrayRef sizes = x.sizes();
  return sizes.size() < rank ? sizes : sizes.slice(sizes.size() - rank);
}

bool UnpoolSizes(const Tensor& y, int rank, IntArrayRef output_size, std::vector<int64_t>* sizes) {
  if (output_size.size() != static_cast<size_t>(rank) || y.dim() < rank) return false;
  const IntArrayRef outer = y.sizes().slice(0, static_cast<size_t>(y.dim() - rank));
  sizes->assign(outer.begin(), outer.end());
  sizes->insert(sizes->end(), output_size.begin(), output_size.end());
  return true;
}

bool Unpool(const Tensor& y, const Tensor& index, int rank, IntArrayRef output_size, Tensor* x) {
  std::vector<int64_t> sizes;
  if (!UnpoolSizes(y, rank, output_size, &sizes) || index.has_names()) return false;
  const Pooling pooling(y, sizes, rank, FormatOf(y, rank), Types::kF32F64, Spatial(y, static_cast<size_t>(rank)));
  if (!pooling) return false;
  *x = pooling.NewInput(y.options());
  return pooling.Unpool(y, index, *x);
}

bool UnpoolInto(const Tensor& y, const Tensor& index, int rank, IntArrayRef output_size, const Tensor& x) {
  std::vector<int64_t> sizes;
  if (!UnpoolSizes(y, rank, output_size, &sizes) || index.has_names()) return false;
  const Pooling pooling(y, sizes, rank, FormatOf(y, rank), Types::kF32F64, Spatial(y, static_cast<size_t>(rank)));
  return pooling && pooling.IsInput(x, y.scalar_type()) && pooling.Unpool(y, index, x);
}

// PyTorch makes max_pool1d, 2d and 3d of the operators with indices. Here the values alone are pooled where nobody will
// ask for a gradient, and for one there are compact indices.
bool WithoutIndices(const Tensor& x, int rank, const Window& window, Tensor* y) {
  // Subclasses and forward derivatives know the operators with indices only.
  if (x._fw_grad(0).defined() || at::isTensorSubclassLike(x)) return false;
  if (x.requires_grad() && at::GradMode::is_enabled()) {
    // 1-D with a gradient is PyTorch's 2-D with a height of 1, whose result can be channels-last.
    if (rank == 1 && x.unsqueeze(-2).suggest_memory_format() != at::MemoryFormat::Contiguous) return false;
    return CompactMaxPool(x, rank, TypesOf(rank), window, y);
  }
  const Pooling pooling = PoolingOf(x, rank, window);
  if (!pooling) return false;
  *y = pooling.NewOutput(x.options());
  return pooling.Forward(x, *y, Tensor());
}

#define WINDOW_PARAMETERS \
  IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, bool ceil_mode
#define WINDOW kernel_size, stride, padding, dilation, ceil_mode

Tensor MaxPool1d(const Tensor& x, WINDOW_PARAMETERS) {
  Tensor y;
  return WithoutIndices(x, 1, Window{WINDOW}, &y) ? y : at::native::max_pool1d(x, WINDOW);
}

Tensor MaxPool2d(const Tensor& x, WINDOW_PARAMETERS) {
  Tensor y;
  return WithoutIndices(x, 2, Window{WINDOW}, &y) ? y : at::native::max_pool2d(x, WINDOW);
}

Tensor MaxPool3d(const Tensor& x, WINDOW_PARAMETERS) {
  Tensor y;
  return WithoutIndices(x, 3, Window{WINDOW}, &y) ? y : at::native::max_pool3d(x, WINDOW);
}

Pair MaxPool2dWithIndices(const Tensor& x, WINDOW_PARAMETERS) {
  Pair result;
  return Forward(x, 2, Window{WINDOW}, &result) ? result : at::cpu::max_pool2d_with_indices(x, WINDOW);
}

Pair MaxPool3dWithIndices(const Tensor& x, WINDOW_PARAMETERS) {
  Pair result;
  return Forward(x, 3, Window{WINDOW}, &result) ? result : at::cpu::max_pool3d_with_indices(x, WINDOW);
}

OutPair MaxPool2dWithIndicesOut(const Tensor& x, WINDOW_PARAMETERS, Tensor& y, Tensor& index) {
  if (ForwardInto(x, 2, Window{WINDOW}, y, index)) return {y, index};
  return at::cpu::max_pool2d_with_indices_outf(x, WINDOW, y, index);
}

OutPair MaxPool3dWithIndicesOut(const Tensor& x, WINDOW_PARAMETERS, Tensor& y, Tensor& index) {
  if (ForwardInto(x, 3, Window{WINDOW}, y, index)) return {y, index};
  return at::cpu::max_pool3d_with_indices_outf(x, WINDOW, y, index);
}

Tensor MaxPool2dBackward(const Tensor& dy, const Tensor& x, WINDOW_PARAMETERS, const Tensor& index) {
  Tensor dx;
  if (Backward(dy, x, 2, Window{WINDOW}, index, &dx)) return dx;
  return at::cpu::max_pool2d_with_indices_backward(dy, x, WINDOW, index);
}

Tensor MaxPool3dBackward(const Tensor& dy, const Tensor& x, WINDOW_PARAMETERS, const Tensor& index) {
  Tensor dx;
  if (Backward(dy, x, 3, Window{WINDOW}, index, &dx)) return dx;
  return at::cpu::max_pool3d_with_indices_backward(dy, x, WINDOW, index);
}

Tensor& MaxPool2dBackwardOut(const Tensor& dy, const Tensor& x, WINDOW_PARAMETERS, const Tensor& index, Tensor& dx) {
  if (BackwardInto(dy, x, 2, Window{WINDOW}, index, dx)) return dx;
  return at::cpu::max_pool2d_with_indices_backward_outf(dy, x, WINDOW, index, dx);
}

Tensor& MaxPool3dBackwardOut(const Tensor& dy, const Tensor& x, WINDOW_PARAMETERS, const Tensor& index, Tensor& dx) {
  if (BackwardInto(dy, x, 3, Window{WINDOW}, index, dx)) return dx;
  return at::cpu::max_pool3d_with_indices_backward_outf(dy, x, WINDOW, index, dx);
}

#undef WINDOW
#undef WINDOW_PARAMETERS

Pair AdaptiveMaxPool2d(const Tensor& x, IntArrayRef output_size) {
  Pair result;
  return Forward(x, 2, output_size, &result) ? result : at::cpu::adaptive_max_pool2d(x, output_size);
}

Pair AdaptiveMaxPool3d(const Tensor& x, IntArrayRef output_size) {
  Pair result;
  return Forward(x, 3, output_size, &result) ? result : at::cpu::adaptive_max_pool3d(x, output_size);
}

OutPair AdaptiveMaxPool2dOut(const Tensor& x, IntArrayRef output_size, Tensor& y, Tensor& index) {
  if (ForwardInto(x, 2, output_size, y, index)) return {y, index};
  return at::cpu::adaptive_max_pool2d_outf(x, output_size, y, index);
}

OutPair AdaptiveMaxPool3dOut(const Tensor& x, IntArrayRef output_size, Tensor& y, Tensor& index) {
  if (ForwardInto(x, 3, output_size, y, index)) return {y, index};
  return at::cpu::adaptive_max_pool3d_outf(x, output_size, y, index);
}

Tensor AdaptiveMaxPool2dBackward(const Tensor& dy, const Tensor& x, const Tensor& index) {
  Tensor dx;
  return Backward(dy, x, 2, Spatial(dy, 2), index, &dx) ? dx : at::cpu::adaptive_max_pool2d_backward(dy, x, index);
}

Tensor AdaptiveMaxPool3dBackward(const Tensor& dy, const Tensor& x, const Tensor& index) {
  Tensor dx;
  return Backward(dy, x, 3, Spatial(dy, 3), index, &dx) ? dx : at::cpu::adaptive_max_pool3d_backward(dy, x, index);
}

Tensor& AdaptiveMaxPool2dBackwardOut(const Tensor& dy, const Tensor& x, const Tensor& index, Tensor& dx) {
  if (BackwardInto(dy, x, 2, Spatial(dy, 2), index, dx)) return dx;
  return at::cpu::adaptive_max_pool2d_backward_outf(dy, x, index, dx);
}

Tensor& AdaptiveMaxPool3dBackwardOut(const Tensor& dy, const Tensor& x, const Tensor& index, Tensor& dx) {
  if (BackwardInto(dy, x, 3, Spatial(dy, 3), index, dx)) return dx;
  return at::cpu::adaptive_max_pool3d_backward_outf(dy, x, index, dx);
}

Tensor MaxUnpool2d(const Tensor& y, const Tensor& index, IntArrayRef output_size) {
  Tensor x;
  return Unpool(y, index, 2, output_size, &x) ? x : at::cpu::max_unpool2d(y, index, output_size);
}

Tensor& MaxUnpool2dOut(const Tensor& y, const Tensor& index, IntArrayRef output_size, Tensor& x) {
  return UnpoolInto(y, index, 2, output_size, x) ? x : at::cpu::max_unpool2d_outf(y, index, output_size, x);
}

// Stride and padding say nothing that the output size does not; PyTorch checks them, so odd ones are left to it.
bool IsUsual(IntArrayRef stride, IntArrayRef padding) {
  return stride.size() == 3 && padding.size() == 3 && *std::min_element(stride.begin(), stride.end()) > 0;
}

Tensor MaxUnpool3d(const Tensor& y, const Tensor& index, IntArrayRef output_size, IntArrayRef stride,
                   IntArrayRef padding) {
  Tensor x;
  if (IsUsual(stride, padding) && Unpool(y, index, 3, output_size, &x)) return x;
  return at::cpu::max_unpool3d(y, index, output_size, stride, padding);
}

Tensor& MaxUnpool3dOut(const Tensor& y, const Tensor& index, IntArrayRef output_size, IntArrayRef stride,
                       IntArrayRef padding, Tensor& x) {
  if (IsUsual(stride, padding) && UnpoolInto(y, index, 3, output_size, x)) return x;
  return at::cpu::max_unpool3d_outf(y, index, output_size, stride, padding, x);
}

// PyTorch warns of each kernel that is replaced, which is what loading this library asks for.
class Silence : public c10::WarningHandler {
 public:
  void process(const c10::SourceLocation&, const std::string&, bool) override {}
};

void RegisterWithoutIndices(torch::Library& m) {
  Silence silence;
  c10::Warning::WarningHandlerGuard guard(&silence);
  m.impl("max_pool1d", TORCH_FN(MaxPool1d));
  m.impl("max_pool2d", TORCH_FN(MaxPool2d));
  m.impl("max_pool3d", TORCH_FN(MaxPool3d));
}

void RegisterKernels(torch::Library& m) {
  Silence silence;
  c10::Warning::WarningHandlerGuard guard(&silence);
  m.impl("max_pool2d_with_indices", TORCH_FN(MaxPool2dWithIndices));
  m.impl("max_pool2d_with_indices.out", TORCH_FN(MaxPool2dWithIndicesOut));
  m.impl("max_pool2d_with_indices_backward", TORCH_FN(MaxPool2dBackward));
  m.impl("max_pool2d_with_indices_backward.grad_input", TORCH_FN(MaxPool2dBackwardOut));
  m.impl("max_pool3d_with_indices", TORCH_FN(MaxPool3dWithIndices));
  m.impl("max_pool3d_with_indices.out", TORCH_FN(MaxPool3dWithIndicesOut));
  m.impl("max_pool3d_with_indices_backward", TORCH_FN(MaxPool3dBackward));
  m.impl("max_pool3d_with_indices_backward.grad_input", TORCH_FN(MaxPool3dBackwardOut));
  m.impl("adaptive_max_pool2d", TORCH_FN(AdaptiveMaxPool2d));
  m.impl("adaptive_max_pool2d.out", TORCH_FN(AdaptiveMaxPool2dOut));
  m.impl("adaptive_max_pool2d_backward", TORCH_FN(AdaptiveMaxPool2dBackward));
  m.impl("adaptive_max_pool2d_backward.grad_input", TORCH_FN(AdaptiveMaxPool2dBackwardOut));
  m.impl("adaptive_max_pool3d", TORCH_FN(AdaptiveMaxPool3d));
  m.impl("adaptive_max_pool3d.out", TORCH_FN(AdaptiveMaxPool3dOut));
  m.impl("adaptive_max_pool3d_backward", TORCH_FN(AdaptiveMaxPool3dBackward));
  m.impl("adaptive_max_pool3d_backward.grad_input", TORCH_FN(AdaptiveMaxPool3dBackwardOut));
  m.impl("max_unpool2d", TORCH_FN(MaxUnpool2d));
  m.impl("max_unpool2d.out", TORCH_FN(MaxUnpool2dOut));
  m.impl("max_unpool3d", TORCH_FN(MaxUnpool3d));
  m.impl("max_unpool3d.out", TORCH_FN(MaxUnpool3dOut));
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CPU, m) {
  RegisterKernels(m);
  RegisterWithoutIndices(m);  // in inference mode tensors have no autograd key
}
TORCH_LIBRARY_IMPL(aten, AutogradCPU, m) { RegisterWithoutIndices(m); }

}  // namespace peakpool_torch
