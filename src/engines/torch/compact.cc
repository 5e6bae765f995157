// SPDX-License-Identifier: Apache-2.0
// peakpool::max_pool2d_compact: max_pool2d for training that keeps one byte per output, the tap's number in its window,
// where PyTorch's keeps an int64 position and the whole input.
#include <ATen/ops/max_pool2d_with_indices_cpu_dispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "src/engines/torch/pooling.h"

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

  Window window() const { return {kernel_size, stride, padding, dilation, ceil_mode}; }

  static Call Load(AutogradContext* context) {
    const auto ints = [&](const char* name) { return context->saved_data[name].toIntVector(); };
    return {ints("input_size"), ints("kernel_size"), ints("stride"),
            ints("padding"),    ints("dilation"),    context->saved_data["ceil_mode"].toBool()};
  }
  void Save(AutogradContext* context) const {
    context->saved_data["input_size"] = input_size;
    context->saved_data["kernel_size"] = kernel_size;
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    context->saved_data["dilation"] = dilation;
    context->saved_data["ceil_mode"] = ceil_mode;
  }
};

Pooling PoolingOf(const Tensor& index, const Tensor& dy, const Call& call) {
  return Pooling(dy, call.input_size, 2, index.suggest_memory_format(), Types::kAny, call.window());
}

std::tuple<Tensor, Tensor> Forward(const Tensor& x, IntArrayRef kernel_size, IntArrayRef stride, IntArrayRef padding,
                                   IntArrayRef dilation, bool ceil_mode) {
  const Pooling pooling(x, x.sizes(), 2, x.suggest_memory_format(), Types::kAny,
                        {kernel_size, stride, padding, dilation, ceil_mode});
  if (pooling) {
    const Tensor y = pooling.NewOutput(x.options()), index = pooling.NewOutput(x.options().dtype(at::kByte));
    if (pooling.Forward(x, y, index)) return {y, index};
  }
  const std::string error = peakpool_last_error();
  at::cpu::max_pool2d_with_indices(x, kernel_size, stride, padding, dilation,
                                   ceil_mode);  // raises PyTorch's own errors
  TORCH_CHECK(false, "max_pool2d_compact: ", error);
}

Tensor Backward(const Tensor& dy, const Tensor& index, const Call& call) {
  const Pooling pooling = PoolingOf(index, dy, call);
  const Tensor dx = pooling.NewInput(dy.options());
  TORCH_CHECK(pooling.Backward(dy, index, dx), "max_pool2d_compact: ", peakpool_last_error());
  return dx;
}

// dx as a function of dy, whose own gradient takes dx's elements at the indices.
class CompactBackward : public torch::autograd::Function<CompactBackward> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& dy, const Tensor& index, const Call& call) {
    at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({index});
    call.Save(context);
    return Backward(dy, index, call);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor index = context->get_saved_variables()[0], &ddx = gradients[0];
    const Tensor plane = PoolingOf(index, ddx, Call::Load(context)).PlaneIndex(index);
    const Tensor ddy = ddx.flatten(-2).gather(-1, plane.clamp_min(0).flatten(-2)).view_as(plane);
    return {ddy.masked_fill(plane.lt(0), 0), Tensor(), Tensor()};
  }
};

class Compact : public torch::autograd::Function<Compact> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x, const Call& call) {
    at::AutoDispatchBelowADInplaceOrView below;
    Tensor y, index;
    std::tie(y, index) = Forward(x, call.kernel_size, call.stride, call.padding, call.dilation, call.ceil_mode);
    context->save_for_backward({index});
    context->mark_non_differentiable({index});
    call.Save(context);
    return {y, index};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor index = context->get_saved_variables()[0];
    return {CompactBackward::apply(gradients[0], index, Call::Load(context)), Tensor()};
  }
};

std::tuple<Tensor, Tensor> Differentiable(const Tensor& x, IntArrayRef kernel_size, IntArrayRef stride,
                                          IntArrayRef padding, IntArrayRef dilation, bool ceil_mode) {
  const variable_list outputs = Compact::apply(
      x, Call{x.sizes().vec(), kernel_size.vec(), stride.vec(), padding.vec(), dilation.vec(), ceil_mode});
  return {outputs[0], outputs[1]};
}

}  // namespace

TORCH_LIBRARY(peakpool, m) {
  m.def(
      "max_pool2d_compact(Tensor x, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, "
      "bool ceil_mode=False) -> (Tensor y, Tensor index)");
}
TORCH_LIBRARY_IMPL(peakpool, CPU, m) { m.impl("max_pool2d_compact", TORCH_FN(Forward)); }
TORCH_LIBRARY_IMPL(peakpool, AutogradCPU, m) { m.impl("max_pool2d_compact", TORCH_FN(Differentiable)); }

}  // namespace peakpool_torch
