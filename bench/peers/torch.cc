// SPDX-License-Identifier: Apache-2.0
// PyTorch's ATen, called with the outputs given where it has such a form. Its max pooling always finds the indices.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/api/include/torch/version.h>

#include <memory>
#include <vector>

#include "bench/peers/peer.h"

namespace peakpool_bench {
namespace {

struct Handle {
  PeerTask task;
  std::vector<int64_t> kernel, stride, padding, dilation;
  bool ceil;
  at::Tensor x, y, indices, dy, dx;

  void Forward() {
    if (kernel.size() == 3) {
      at::max_pool3d_with_indices_out(y, indices, x, kernel, stride, padding, dilation, ceil);
    } else if (kernel.size() == 2) {
      at::max_pool2d_with_indices_out(y, indices, x, kernel, stride, padding, dilation, ceil);
    } else {
      y = at::max_pool1d(x, kernel, stride, padding, dilation, ceil);
    }
  }

  void Backward() {
    if (kernel.size() == 3) {
      at::max_pool3d_with_indices_backward_out(dx, dy, x, kernel, stride, padding, dilation, ceil, indices);
    } else {
      at::max_pool2d_with_indices_backward_out(dx, dy, x, kernel, stride, padding, dilation, ceil, indices);
    }
  }
};

std::string Version() { return TORCH_VERSION; }

bool Type(int32_t type, at::ScalarType* scalar) {
  switch (type) {
    case PEAKPOOL_F32: *scalar = at::kFloat; return true;
    case PEAKPOOL_F64: *scalar = at::kDouble; return true;
    case PEAKPOOL_F16: *scalar = at::kHalf; return true;
    case PEAKPOOL_BF16: *scalar = at::kBFloat16; return true;
    case PEAKPOOL_I8: *scalar = at::kChar; return true;
    case PEAKPOOL_U8: *scalar = at::kByte; return true;
    case PEAKPOOL_I16: *scalar = at::kShort; return true;
    case PEAKPOOL_I32: *scalar = at::kInt; return true;
    case PEAKPOOL_I64: *scalar = at::kLong; return true;
    default: return false;
  }
}

at::Tensor Tensor(const void* data, const peakpool_problem& p, const std::vector<int64_t>& spatial,
                  at::ScalarType type) {
  std::vector<int64_t> sizes = {p.batch, p.channels};
  sizes.insert(sizes.end(), spatial.begin(), spatial.end());
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  if (p.layout == PEAKPOOL_CHANNELS_LAST) {
    strides[1] = 1;
    step = p.channels;
  }
  for (size_t i = sizes.size(); i-- > 2;) {
    strides[i] = step;
    step *= sizes[i];
  }
  if (p.layout == PEAKPOOL_CHANNELS_FIRST) {
    strides[1] = step;
    step *= p.channels;
  }
  strides[0] = step;
  if (data == nullptr) return at::empty_strided(sizes, strides, type);
  return at::from_blob(const_cast<void*>(data), sizes, strides, type);
}

void* Prepare(const PeerTask& task, std::string* note) {
  const peakpool_problem& p = *task.problem;
  at::ScalarType type;
  if (!Type(p.type, &type)) {
    *note = "no such type";
    return nullptr;
  }
  at::set_num_threads(task.threads);
  auto handle = std::make_unique<Handle>();
  handle->task = task;
  handle->ceil = p.rounding == PEAKPOOL_CEIL;
  std::vector<int64_t> input, output;
  // Except for values channels-first, its 1-D pooling is its 2-D pooling of one row.
  if (p.rank == 1 && (task.mode != Mode::kForward || p.layout == PEAKPOOL_CHANNELS_LAST)) {
    input = output = handle->kernel = handle->stride = handle->dilation = {1};
    handle->padding = {0};
  }
  for (int axis = 0; axis < p.rank; ++axis) {
    if (p.padding[axis].before != p.padding[axis].after) {
      *note = "no asymmetric padding";
      return nullptr;
    }
    input.push_back(p.input[axis]);
    output.push_back(p.output[axis]);
    handle->kernel.push_back(p.kernel[axis]);
    handle->stride.push_back(p.stride[axis]);
    handle->padding.push_back(p.padding[axis].before);
    handle->dilation.push_back(p.dilation[axis]);
  }
  try {
    handle->x = Tensor(task.x, p, input, type);
    handle->y = Tensor(nullptr, p, output, type);
    handle->indices = Tensor(nullptr, p, output, at::kLong);
    if (p.rank == 3 && p.layout == PEAKPOOL_CHANNELS_LAST &&
        std::get<0>(at::max_pool3d_with_indices(handle->x, handle->kernel, handle->stride, handle->padding,
                                                handle->dilation, handle->ceil))
                .strides() != handle->y.strides()) {
      *note = "no channels-last 3-D";
      return nullptr;
    }
    handle->Forward();
    *note = "ATen";
    if (task.mode == Mode::kBackward) {
      handle->dy = Tensor(task.dy, p, output, type);
      handle->dx = Tensor(nullptr, p, input, type);
      handle->Backward();
    }
    return handle.release();
  } catch (const c10::Error& error) {
    *note = error.what_without_backtrace();
    return nullptr;
  }
}

void Run(void* context) {
  Handle* handle = static_cast<Handle*>(context);
  if (handle->task.mode == Mode::kBackward) {
    handle->Backward();
  } else {
    handle->Forward();
  }
}

const void* Result(void* context) {
  const Handle* handle = static_cast<Handle*>(context);
  return (handle->task.mode == Mode::kBackward ? handle->dx : handle->y).data_ptr();
}

void Indices(void* context, int64_t* plane) {
  const Handle* handle = static_cast<Handle*>(context);
  const int64_t* indices = handle->indices.data_ptr<int64_t>();
  std::copy(indices, indices + OutputElements(*handle->task.problem), plane);
}

void Release(void* context) { delete static_cast<Handle*>(context); }

const Peer kPeer = {"torch", Version, Prepare, Run, Result, Indices, Release};

}  // namespace
}  // namespace peakpool_bench

const peakpool_bench::Peer* PeakpoolBenchPeer() { return &peakpool_bench::kPeer; }
