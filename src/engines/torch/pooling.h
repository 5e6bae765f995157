// SPDX-License-Identifier: Apache-2.0
// PyTorch's arguments and tensors as a peakpool problem. Whatever PyTorch would refuse, and whatever peakpool does not
// take, is no Pooling: the caller then goes to PyTorch's own kernel, which does it, or refuses it in its own words.
#ifndef PEAKPOOL_SRC_ENGINES_TORCH_POOLING_H_
#define PEAKPOOL_SRC_ENGINES_TORCH_POOLING_H_

#include <ATen/core/Tensor.h>

#include <peakpool/peakpool.hpp>
#include <vector>

namespace peakpool_torch {

// One value for all axes or one for each; no stride is the kernel's.
struct Window {
  at::IntArrayRef kernel, stride, padding, dilation;
  bool ceil_mode;
};

// What a kernel of PyTorch's takes, so that a model runs with the drop-in only if it runs without; kAny is for
// operators of our own.
enum class Types { kF32F64, kF32F64BF16, kAny };

// The memory format of what is pooled from x. PyTorch 1.13 pools channels-last in 2-D only; 3-D results are contiguous
// whatever the input.
at::MemoryFormat FormatOf(const at::Tensor& x, int rank);

// Plans are made for every call: 0.2 us of the 1.3 us that PyTorch takes to call the smallest pooling.
class Pooling {
 public:
  // A tensor N, C, spatial, or without N. The outputs are dense in the format.
  Pooling(const at::Tensor& like, at::IntArrayRef sizes, int rank, at::MemoryFormat format, Types types,
          const Window& window);
  // Adaptive. It also stands for unpooling, which knows no window.
  Pooling(const at::Tensor& like, at::IntArrayRef sizes, int rank, at::MemoryFormat format, Types types,
          at::IntArrayRef output_size);

  explicit operator bool() const { return taken_; }
  // Whether uint8 can number the taps of the window.
  bool TapsFitBytes() const;

  at::Tensor NewOutput(at::TensorOptions options) const;
  at::Tensor NewInput(at::TensorOptions options) const;
  // Whether a tensor that the caller brings is as the new one would be.
  bool IsOutput(const at::Tensor& y, at::ScalarType type) const;
  bool IsInput(const at::Tensor& x, at::ScalarType type) const;

  // False where peakpool refuses; nothing is written then. y and index are dense, x lies anyhow. The index is int64
  // (in the plane), uint8 (in the window) or undefined; that of a NaN is PyTorch's, the last one in the window.
  bool Forward(const at::Tensor& x, const at::Tensor& y, const at::Tensor& index) const;
  // dy and index lie anyhow, dx is dense. Raises IndexError for an index outside the plane.
  bool Backward(const at::Tensor& dy, const at::Tensor& index, const at::Tensor& dx) const;
  bool Unpool(const at::Tensor& y, const at::Tensor& index, const at::Tensor& x) const;
  // Window indices as plane indices.
  at::Tensor PlaneIndex(const at::Tensor& index) const;

 private:
  bool SetShape(const at::Tensor& like, at::IntArrayRef sizes, int rank, Types types);
  bool SetWindow(const Window& window);
  peakpool::Plan PlanFor(const at::Tensor& index) const;
  at::DimVector Sizes(const int64_t* spatial) const;

  peakpool_problem problem_;
  at::MemoryFormat format_;
  bool batched_;
  bool taken_;
};

}  // namespace peakpool_torch

#endif  // PEAKPOOL_SRC_ENGINES_TORCH_POOLING_H_
