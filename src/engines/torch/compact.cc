// SPDX-License-Identifier: Apache-2.0
// Max pooling for training that keeps one byte per output, the tap's number in its window, where PyTorch keeps an int64
// position and the whole input: for PyTorch's own max_pool1d, 2d and 3d where no indices are asked for, and as
// peakpool::max_pool2d_compact, which also returns the bytes.
#include "src/engines/torch/compact.h"

#include <ATen/ops/max_pool2d_with_indices_cpu_dispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <string>
#include <tuple>
#include <vector>

namespace peakpool_torch {
namespace {

using at::IntArrayRef;
using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// All that backward needs besides the indices.
struct Call {
  std::vector<int64_t> input_size, kernel_size, stride, padding, dilation;
  bool ceil_mode;
  int64_t rank;

  static Call Of(const Tensor& x, int rank, const Window& w) {
    return {x.sizes().vec(), w.kernel.vec(), w.stride.vec(), w.padding.vec(), w.dilation.vec(), w.ceil_mode, rank};
  }
  static Call Load(AutogradContext* context) {
    auto& saved = context->saved_data;
    const auto ints = [&](const char* name) { return saved[name].toIntVector(); };
    return {ints("input_size"), ints("kernel_size"),         ints("stride"),       ints("padding"),
            ints("dilation"),   saved["ceil_mode"].toBool(), saved["rank"].toInt()};
  }
  void Save(AutogradContext* context) const {
    auto& saved = context->saved_data;
    saved["input_size"] = input_size;
    saved["kernel_size"] = kernel_size;
    saved["stride"] = stride;
    saved["padding"] = padding;
    saved["dilation"] = dilation;
    saved["ceil_mode"] = ceil_mode;
    saved["rank"] = rank;
  }

  Pooling PoolingOf(const Tensor& index, const Tensor& gradient) const {
    const int axes = static_cast<int>(rank);
    return Pooling(gradient, input_size, axes, FormatOf(index, axes), Types::kAny,
                   Window{kernel_size, stride, padding, dilation, ceil_mode});
  }
};

// dx as a function of dy, whose own gradient takes dx's elements at the indices.
class CompactBackward : public torch::autograd::Function<CompactBackward> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& dy, const Tensor& index, const Call& call) {
    at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({index});
    call.Save(context);
    const Pooling pooling = call.PoolingOf(index, dy);
    const Tensor dx = pooling.NewInput(dy.options());
    TORCH_CHECK(pooling.Backward(dy, index, dx), "max pooling backward: ", peakpool_last_error());
    return dx;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor index = context->get_saved_variables()[0], &ddx = gradients[0];
    const Call call = Call::Load(context);
    const Tensor plane = call.PoolingOf(index, ddx).PlaneIndex(index);
    const Tensor ddy = ddx.flatten(-call.rank).gather(-1, plane.clamp_min(0).flatten(-call.rank)).view_as(plane);
    return {ddy.masked_fill(plane.lt(0), 0), Tensor(), Tensor()};
  }
};

class Compact : public torch::autograd::Function<Compact> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x, const Pooling& pooling, const Call& call) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor y = pooling.NewOutput(x.options()), index = pooling.NewOutput(x.options().dtype(at::kByte));
    TORCH_CHECK(pooling.Forward(x, y, index), "max pooling: ", peakpool_last_error());
    context->save_for_backward({index});
    context->mark_non_differentiable({index});
    call.Save(context);
    return {y, index};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor index = context->get_saved_variables()[0];
    return {CompactBackward::apply(gradients[0], index, Call::Load(context)), Tensor(), Tensor()};
  }
};

// A call that peakpool refuses, in PyTorch's words where PyTorch does so too.
[[noreturn]] void Refuse(const Tensor& x, const Window& w) {
  const std::string error = peakpool_last_error();
  at::cpu::max_pool2d_with_indices(x, w.kernel, w.stride, w.padding, w.dilation, w.ceil_mode);
  TORCH_CHECK(false, "max_pool2d_compact: ", error);
}

std::tuple<Tensor, Tensor> Forward(const Tensor& x, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding,
                                   IntArrayRef dilation, bool ceil_mode) {
  const Window window = {kernel_size, stride, padding, dilation, ceil_mode};
  const Pooling pooling(x, x.sizes(), 2, FormatOf(x, 2), Types::kAny, window);
  if (!pooling || !pooling.TapsFitBytes()) Refuse(x, window);
  const Tensor y = pooling.NewOutput(x.options()), index = pooling.NewOutput(x.options().dtype(at::kByte));
  TORCH_CHECK(pooling.Forward(x, y, index), "max_pool2d_compact: ", peakpool_last_error());
  return {y, index};
}

std::tuple<Tensor, Tensor> Differentiable(const Tensor& x, IntArrayRef kernel_size, IntArrayRef stride,
                                          IntArrayRef padding, IntArrayRef dilation, bool ceil_mode) {
  const Window window = {kernel_size, stride, padding, dilation, ceil_mode};
  const Pooling pooling(x, x.sizes(), 2, FormatOf(x, 2), Types::kAny, window);
  if (!pooling || !pooling.TapsFitBytes()) Refuse(x, window);
  const variable_list outputs = Compact::apply(x, pooling, Call::Of(x, 2, window));
  return {outputs[0], outputs[1]};
}

}  // namespace

bool CompactMaxPool(const Tensor& x, int rank, Types types, const Window& window, Tensor* y) {
  const Pooling pooling(x, x.sizes(), rank, FormatOf(x, rank), types, window);
  if (!pooling || !pooling.TapsFitBytes()) return false;
  *y = Compact::apply(x, pooling, Call::Of(x, rank, window))[0];
  return true;
}

TORCH_LIBRARY(peakpool, m) {
  m.def(
      "max_pool2d_compact(Tensor x, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, "
      "bool ceil_mode=False) -> (Tensor y, Tensor index)");
}
TORCH_LIBRARY_IMPL(peakpool, CPU, m) { m.impl("max_pool2d_compact", TORCH_FN(Forward)); }
TORCH_LIBRARY_IMPL(peakpool, AutogradCPU, m) { m.impl("max_pool2d_compact", TORCH_FN(Differentiable)); }

}  // namespace peakpool_torch
