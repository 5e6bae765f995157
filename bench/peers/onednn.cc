// SPDX-License-Identifier: Apache-2.0
// oneDNN (2.6 or 3), on memory in the row's own layout, with the implementation that it prefers there.
#include <omp.h>

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "bench/peers/peer.h"

namespace peakpool_bench {
namespace {

struct Handle {
  PeerTask task;
  dnnl::primitive primitive;
  std::unordered_map<int, dnnl::memory> arguments;
  dnnl::memory y, workspace, dx;
};

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& Stream() {
  static dnnl::stream stream(Engine());
  return stream;
}

std::string Version() {
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

dnnl::memory::data_type Type(int32_t type) {
  switch (type) {
    case PEAKPOOL_F32: return dnnl::memory::data_type::f32;
    case PEAKPOOL_F16: return dnnl::memory::data_type::f16;
    case PEAKPOOL_BF16: return dnnl::memory::data_type::bf16;
    case PEAKPOOL_I8: return dnnl::memory::data_type::s8;
    case PEAKPOOL_U8: return dnnl::memory::data_type::u8;
    case PEAKPOOL_I32: return dnnl::memory::data_type::s32;
    default: return dnnl::memory::data_type::undef;
  }
}

dnnl::memory::desc Tensor(const peakpool_problem& p, const int64_t* spatial) {
  using Tag = dnnl::memory::format_tag;
  static const Tag kTags[2][3] = {{Tag::ncw, Tag::nchw, Tag::ncdhw}, {Tag::nwc, Tag::nhwc, Tag::ndhwc}};
  dnnl::memory::dims dims = {p.batch, p.channels};
  dims.insert(dims.end(), spatial, spatial + p.rank);
  return {dims, Type(p.type), kTags[p.layout][p.rank - 1]};
}

void* Prepare(const PeerTask& task, std::string* note) {
  const peakpool_problem& p = *task.problem;
  if (Type(p.type) == dnnl::memory::data_type::undef) {
    *note = "no such type";
    return nullptr;
  }
  omp_set_num_threads(task.threads);
  dnnl::memory::dims stride, kernel, dilation, before, after;
  for (int axis = 0; axis < p.rank; ++axis) {
    stride.push_back(p.stride[axis]);
    kernel.push_back(p.kernel[axis]);
    dilation.push_back(p.dilation[axis] - 1);
    before.push_back(p.padding[axis].before);
    after.push_back(TrailingPadding(p, axis));
  }
  const dnnl::memory::desc x = Tensor(p, p.input), y = Tensor(p, p.output);
  const auto algorithm = dnnl::algorithm::pooling_max;
  const auto kind =
      task.mode == Mode::kForward ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
  try {
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::pooling_forward::primitive_desc forward(Engine(), kind, algorithm, x, y, stride, kernel, dilation,
                                                        before, after);
    using Forward = dnnl::pooling_forward;
    using Backward = dnnl::pooling_backward;
#else
    const dnnl::pooling_v2_forward::primitive_desc forward(
        {kind, algorithm, x, y, stride, kernel, dilation, before, after}, Engine());
    using Forward = dnnl::pooling_v2_forward;
    using Backward = dnnl::pooling_v2_backward;
#endif
    auto handle = std::make_unique<Handle>();
    handle->task = task;
    *note = forward.impl_info_str();
    handle->primitive = Forward(forward);
    handle->y = dnnl::memory(y, Engine());
    handle->arguments = {{DNNL_ARG_SRC, dnnl::memory(x, Engine(), const_cast<void*>(task.x))},
                         {DNNL_ARG_DST, handle->y}};
    if (task.mode == Mode::kForward) return handle.release();
    handle->workspace = dnnl::memory(forward.workspace_desc(), Engine());
    handle->arguments.insert({DNNL_ARG_WORKSPACE, handle->workspace});
    if (task.mode == Mode::kForwardIndices) return handle.release();
    handle->primitive.execute(Stream(), handle->arguments);
    Stream().wait();
#if DNNL_VERSION_MAJOR >= 3
    const Backward::primitive_desc backward(Engine(), algorithm, x, y, stride, kernel, dilation, before, after,
                                            forward);
#else
    const Backward::primitive_desc backward({algorithm, x, y, stride, kernel, dilation, before, after}, Engine(),
                                            forward);
#endif
    *note = backward.impl_info_str();
    handle->primitive = Backward(backward);
    handle->dx = dnnl::memory(x, Engine());
    handle->arguments = {{DNNL_ARG_DIFF_DST, dnnl::memory(y, Engine(), const_cast<void*>(task.dy))},
                         {DNNL_ARG_WORKSPACE, handle->workspace},
                         {DNNL_ARG_DIFF_SRC, handle->dx}};
    return handle.release();
  } catch (const dnnl::error& error) {
    *note = error.what();
    return nullptr;
  }
}

void Run(void* context) {
  Handle* handle = static_cast<Handle*>(context);
  handle->primitive.execute(Stream(), handle->arguments);
  Stream().wait();
}

const void* Result(void* context) {
  Handle* handle = static_cast<Handle*>(context);
  return (handle->task.mode == Mode::kBackward ? handle->dx : handle->y).get_data_handle();
}

// The workspace holds tap numbers in y's layout: u8, or s32 for large windows.
void Indices(void* context, int64_t* plane) {
  Handle* handle = static_cast<Handle*>(context);
  const peakpool_problem& p = *handle->task.problem;
  const void* taps = handle->workspace.get_data_handle();
  const bool bytes = handle->workspace.get_desc().get_size() < 4 * OutputElements(p);
  for (size_t i = 0; i < OutputElements(p); ++i) {
    plane[i] = PlanePosition(p, i, bytes ? static_cast<const uint8_t*>(taps)[i] : static_cast<const int32_t*>(taps)[i]);
  }
}

void Release(void* context) { delete static_cast<Handle*>(context); }

const Peer kPeer = {"onednn", Version, Prepare, Run, Result, Indices, Release};

}  // namespace
}  // namespace peakpool_bench

const peakpool_bench::Peer* PeakpoolBenchPeer() { return &peakpool_bench::kPeer; }
