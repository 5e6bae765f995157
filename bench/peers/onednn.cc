// SPDX-License-Identifier: Apache-2.0
// oneDNN (2.6 or 3), in whichever memory layout it is fastest: the row's own, channels-last or blocked by channels, as
// a network that runs wholly on oneDNN would choose. Its reorders are not timed.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "bench/peers/peer.h"

namespace peakpool_bench {
namespace {

struct Handle {
  PeerTask task;
  dnnl::primitive primitive;
  std::unordered_map<int, dnnl::memory> arguments;
  dnnl::memory y, workspace, dx, result;
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

using Tag = dnnl::memory::format_tag;

Tag PlainTag(int32_t layout, int rank) {
  static const Tag kTags[2][3] = {{Tag::ncw, Tag::nchw, Tag::ncdhw}, {Tag::nwc, Tag::nhwc, Tag::ndhwc}};
  return kTags[layout][rank - 1];
}

struct Candidate {
  Tag tag;
  const char* name;
};

std::vector<Candidate> Candidates(const peakpool_problem& p) {
  static const Candidate kBlocked[2][3] = {
      {{Tag::nCw16c, "nCw16c"}, {Tag::nChw16c, "nChw16c"}, {Tag::nCdhw16c, "nCdhw16c"}},
      {{Tag::nCw8c, "nCw8c"}, {Tag::nChw8c, "nChw8c"}, {Tag::nCdhw8c, "nCdhw8c"}}};
  std::vector<Candidate> candidates = {{PlainTag(p.layout, p.rank), "the row's layout"}};
  if (p.layout == PEAKPOOL_CHANNELS_FIRST)
    candidates.push_back({PlainTag(PEAKPOOL_CHANNELS_LAST, p.rank), "channels-last"});
  // Padding channels to whole blocks would make other tensors of them.
  if (p.channels % 16 == 0) candidates.push_back(kBlocked[0][p.rank - 1]);
  if (p.channels % 8 == 0) candidates.push_back(kBlocked[1][p.rank - 1]);
  return candidates;
}

dnnl::memory::desc Tensor(const peakpool_problem& p, const int64_t* spatial, dnnl::memory::data_type type, Tag tag) {
  dnnl::memory::dims dims = {p.batch, p.channels};
  dims.insert(dims.end(), spatial, spatial + p.rank);
  return {dims, type, tag};
}

// A copy in another layout.
dnnl::memory Reordered(dnnl::memory from, const dnnl::memory::desc& to_desc) {
  dnnl::memory to(to_desc, Engine());
  dnnl::reorder(from, to).execute(Stream(), from, to);
  Stream().wait();
  return to;
}

void Execute(Handle* handle) {
  handle->primitive.execute(Stream(), handle->arguments);
  Stream().wait();
}

std::unique_ptr<Handle> PrepareIn(const Candidate& candidate, const PeerTask& task, std::string* note) {
  const peakpool_problem& p = *task.problem;
  dnnl::memory::dims stride, kernel, dilation, before, after;
  for (int axis = 0; axis < p.rank; ++axis) {
    stride.push_back(p.stride[axis]);
    kernel.push_back(p.kernel[axis]);
    dilation.push_back(p.dilation[axis] - 1);
    before.push_back(p.padding[axis].before);
    after.push_back(TrailingPadding(p, axis));
  }
  const Tag plain = PlainTag(p.layout, p.rank);
  const dnnl::memory::desc x = Tensor(p, p.input, Type(p.type), candidate.tag);
  const dnnl::memory::desc y = Tensor(p, p.output, Type(p.type), candidate.tag);
  // `data` of the row, in the candidate's layout.
  const auto load = [&](const int64_t* spatial, const dnnl::memory::desc& desc, const void* data) {
    const dnnl::memory rows(Tensor(p, spatial, Type(p.type), plain), Engine(), const_cast<void*>(data));
    return candidate.tag == plain ? rows : Reordered(rows, desc);
  };
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
    *note = std::string(forward.impl_info_str()) + " in " + candidate.name;
    handle->primitive = Forward(forward);
    handle->y = dnnl::memory(y, Engine());
    handle->arguments = {{DNNL_ARG_SRC, load(p.input, x, task.x)}, {DNNL_ARG_DST, handle->y}};
    if (task.mode == Mode::kForward) return handle;
    handle->workspace = dnnl::memory(forward.workspace_desc(), Engine());
    handle->arguments.insert({DNNL_ARG_WORKSPACE, handle->workspace});
    if (task.mode == Mode::kForwardIndices) return handle;
    Execute(handle.get());
#if DNNL_VERSION_MAJOR >= 3
    const Backward::primitive_desc backward(Engine(), algorithm, x, y, stride, kernel, dilation, before, after,
                                            forward);
#else
    const Backward::primitive_desc backward({algorithm, x, y, stride, kernel, dilation, before, after}, Engine(),
                                            forward);
#endif
    *note = std::string(backward.impl_info_str()) + " in " + candidate.name;
    handle->primitive = Backward(backward);
    handle->dx = dnnl::memory(x, Engine());
    handle->arguments = {{DNNL_ARG_DIFF_DST, load(p.output, y, task.dy)},
                         {DNNL_ARG_WORKSPACE, handle->workspace},
                         {DNNL_ARG_DIFF_SRC, handle->dx}};
    return handle;
  } catch (const dnnl::error& error) {
    *note = error.what();
    return nullptr;
  }
}

// The shortest of a few runs.
double Seconds(Handle* handle) {
  double best = 1e9;
  const auto now = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  for (int run = 0; run < 5 && (run == 0 || best < 0.1); ++run) {
    const double start = now();
    Execute(handle);
    best = std::min(best, now() - start);
  }
  return best;
}

void* Prepare(const PeerTask& task, std::string* note) {
  if (Type(task.problem->type) == dnnl::memory::data_type::undef) {
    *note = "no such type";
    return nullptr;
  }
  omp_set_num_threads(task.threads);
  std::unique_ptr<Handle> best;
  double shortest = 0;
  for (const Candidate& candidate : Candidates(*task.problem)) {
    std::string remark;
    std::unique_ptr<Handle> handle = PrepareIn(candidate, task, &remark);
    if (handle == nullptr) {
      if (note->empty()) *note = remark;
      continue;
    }
    const double seconds = Seconds(handle.get());
    if (best != nullptr && seconds >= shortest) continue;
    best = std::move(handle);
    shortest = seconds;
    *note = remark;
  }
  return best.release();
}

void Run(void* context) { Execute(static_cast<Handle*>(context)); }

const void* Result(void* context) {
  Handle* handle = static_cast<Handle*>(context);
  const peakpool_problem& p = *handle->task.problem;
  const bool backward = handle->task.mode == Mode::kBackward;
  handle->result = Reordered(backward ? handle->dx : handle->y,
                             Tensor(p, backward ? p.input : p.output, Type(p.type), PlainTag(p.layout, p.rank)));
  return handle->result.get_data_handle();
}

// The workspace holds tap numbers in y's layout: u8, or s32 for large windows.
void Indices(void* context, int64_t* plane) {
  Handle* handle = static_cast<Handle*>(context);
  const peakpool_problem& p = *handle->task.problem;
  const bool bytes = handle->workspace.get_desc().get_size() < 4 * OutputElements(p);
  const auto type = bytes ? dnnl::memory::data_type::u8 : dnnl::memory::data_type::s32;
  const dnnl::memory reordered = Reordered(handle->workspace, Tensor(p, p.output, type, PlainTag(p.layout, p.rank)));
  const void* taps = reordered.get_data_handle();
  for (size_t i = 0; i < OutputElements(p); ++i) {
    plane[i] = PlanePosition(p, i, bytes ? static_cast<const uint8_t*>(taps)[i] : static_cast<const int32_t*>(taps)[i]);
  }
}

void Release(void* context) { delete static_cast<Handle*>(context); }

const Peer kPeer = {"onednn", Version, Prepare, Run, Result, Indices, Release};

}  // namespace
}  // namespace peakpool_bench

const peakpool_bench::Peer* PeakpoolBenchPeer() { return &peakpool_bench::kPeer; }
