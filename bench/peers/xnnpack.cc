// SPDX-License-Identifier: Apache-2.0
// XNNPACK: channels-last only, no backward, argmax only where the stride equals the kernel and the type is f32.
#include <pthreadpool.h>
#include <xnnpack.h>

#include <limits>
#include <memory>
#include <vector>

#include "bench/peers/peer.h"

namespace peakpool_bench {
namespace {

struct Handle {
  PeerTask task;
  xnn_operator_t op = nullptr;
  pthreadpool_t pool = nullptr;
  std::vector<uint8_t> y;
  std::vector<uint32_t> taps;

  ~Handle() {
    if (op != nullptr) xnn_delete_operator(op);
    if (pool != nullptr) pthreadpool_destroy(pool);
  }
};

std::string Version() { return "2022-02 or later (the library carries no version)"; }

void* Prepare(const PeerTask& task, std::string* note) {
  const peakpool_problem& p = *task.problem;
  if (p.layout != PEAKPOOL_CHANNELS_LAST) {
    *note = "no channels-first";
    return nullptr;
  }
  if (p.rank == 3 || task.mode == Mode::kBackward) {
    *note = p.rank == 3 ? "no 3-D" : "no backward";
    return nullptr;
  }
  if (xnn_initialize(nullptr) != xnn_status_success) {
    *note = "not usable on this machine";
    return nullptr;
  }
  // Height and width; a 1-D problem is one row.
  uint32_t before[2] = {0, 0}, after[2] = {0, 0}, kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  size_t input[2] = {1, 1};
  bool stride_is_kernel = true;
  for (int axis = 0; axis < p.rank; ++axis) {
    const int i = axis + 2 - p.rank;
    before[i] = static_cast<uint32_t>(p.padding[axis].before);
    const int64_t trailing = TrailingPadding(p, axis);
    after[i] = trailing > 0 ? static_cast<uint32_t>(trailing) : 0;
    kernel[i] = static_cast<uint32_t>(p.kernel[axis]);
    stride[i] = static_cast<uint32_t>(p.stride[axis]);
    dilation[i] = static_cast<uint32_t>(p.dilation[axis]);
    input[i] = p.input[axis];
    stride_is_kernel = stride_is_kernel && stride[i] == kernel[i] && dilation[i] == 1;
  }
  auto handle = std::make_unique<Handle>();
  handle->task = task;
  if (task.threads > 1) handle->pool = pthreadpool_create(task.threads);
  handle->y.resize(OutputElements(p) * 8 + XNN_EXTRA_BYTES);
  const size_t channels = p.channels, batch = p.batch;
  void* y = handle->y.data();
  xnn_status status = xnn_status_unsupported_parameter;
  if (task.mode == Mode::kForwardIndices) {
    if (p.type != PEAKPOOL_F32 || !stride_is_kernel) {
      *note = "argmax only for f32 with stride = kernel";
      return nullptr;
    }
    handle->taps.resize(OutputElements(p) + XNN_EXTRA_BYTES);
    status = xnn_create_argmax_pooling2d_nhwc_f32(before[0], after[1], after[0], before[1], kernel[0], kernel[1],
                                                  channels, channels, channels, 0, &handle->op);
    if (status == xnn_status_success) {
      status =
          xnn_setup_argmax_pooling2d_nhwc_f32(handle->op, batch, input[0], input[1], static_cast<const float*>(task.x),
                                              static_cast<float*>(y), handle->taps.data(), handle->pool);
    }
    *note = "argmax_pooling2d_nhwc_f32";
  } else {
#define PEAKPOOL_MAX(suffix, T, lowest, highest)                                                                      \
  status = xnn_create_max_pooling2d_nhwc_##suffix(before[0], after[1], after[0], before[1], kernel[0], kernel[1],     \
                                                  stride[0], stride[1], dilation[0], dilation[1], channels, channels, \
                                                  channels, lowest, highest, 0, &handle->op);                         \
  if (status == xnn_status_success) {                                                                                 \
    status = xnn_setup_max_pooling2d_nhwc_##suffix(handle->op, batch, input[0], input[1],                             \
                                                   static_cast<const T*>(task.x), static_cast<T*>(y), handle->pool);  \
  }                                                                                                                   \
  *note = "max_pooling2d_nhwc_" #suffix
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    switch (p.type) {
      case PEAKPOOL_F32: PEAKPOOL_MAX(f32, float, -kInfinity, kInfinity); break;
      case PEAKPOOL_F16: PEAKPOOL_MAX(f16, void, -kInfinity, kInfinity); break;
      case PEAKPOOL_I8: PEAKPOOL_MAX(s8, int8_t, -128, 127); break;
      case PEAKPOOL_U8: PEAKPOOL_MAX(u8, uint8_t, 0, 255); break;
      default: *note = "no such type"; return nullptr;
    }
#undef PEAKPOOL_MAX
  }
  if (status == xnn_status_success) return handle.release();
  *note += " failed with status " + std::to_string(status);
  return nullptr;
}

void Run(void* context) {
  Handle* handle = static_cast<Handle*>(context);
  xnn_run_operator(handle->op, handle->pool);
}

const void* Result(void* context) { return static_cast<Handle*>(context)->y.data(); }

// Its taps are numbered down the window's columns.
void Indices(void* context, int64_t* plane) {
  const Handle* handle = static_cast<Handle*>(context);
  const peakpool_problem& p = *handle->task.problem;
  const int64_t rows = p.rank == 1 ? 1 : p.kernel[0], columns = p.kernel[p.rank - 1];
  for (size_t i = 0; i < OutputElements(p); ++i) {
    const int64_t tap = handle->taps[i];
    plane[i] = PlanePosition(p, i, tap % rows * columns + tap / rows);
  }
}

void Release(void* context) { delete static_cast<Handle*>(context); }

const Peer kPeer = {"xnnpack", Version, Prepare, Run, Result, Indices, Release};

}  // namespace
}  // namespace peakpool_bench

const peakpool_bench::Peer* PeakpoolBenchPeer() { return &peakpool_bench::kPeer; }
