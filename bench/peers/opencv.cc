// SPDX-License-Identifier: Apache-2.0
// OpenCV's dilate: values of stride-1 windows whose output is as large as the input. One image per channels-first plane
// or per channels-last batch entry.
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "bench/peers/peer.h"

namespace peakpool_bench {
namespace {

struct Handle {
  std::vector<cv::Mat> x, y;
  std::vector<uint8_t> values;
  cv::Mat window;
  cv::Point anchor;
};

std::string Version() { return CV_VERSION; }

void Run(void* context) {
  Handle* handle = static_cast<Handle*>(context);
  for (size_t i = 0; i < handle->x.size(); ++i) {
    cv::dilate(handle->x[i], handle->y[i], handle->window, handle->anchor);
  }
}

void* Prepare(const PeerTask& task, std::string* note) {
  const peakpool_problem& p = *task.problem;
  int depth;
  switch (p.type) {
    case PEAKPOOL_F32: depth = CV_32F; break;
    case PEAKPOOL_F64: depth = CV_64F; break;
    case PEAKPOOL_U8: depth = CV_8U; break;
    case PEAKPOOL_I16: depth = CV_16S; break;
    case PEAKPOOL_U16: depth = CV_16U; break;
    default: *note = "no such type"; return nullptr;
  }
  if (task.mode != Mode::kForward || p.rank != 2) {
    *note = p.rank != 2 ? "2-D only" : "values only";
    return nullptr;
  }
  for (int axis = 0; axis < 2; ++axis) {
    if (p.stride[axis] != 1 || p.dilation[axis] != 1 || p.output[axis] != p.input[axis]) {
      *note = "stride 1, no dilation, output as large as input only";
      return nullptr;
    }
  }
  const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
  if (last && p.channels > CV_CN_MAX) {
    *note = "too many channels";
    return nullptr;
  }
  cv::setNumThreads(task.threads);
  auto handle = std::make_unique<Handle>();
  const int height = static_cast<int>(p.input[0]), width = static_cast<int>(p.input[1]);
  const int type = CV_MAKETYPE(depth, last ? static_cast<int>(p.channels) : 1);
  const int64_t images = last ? p.batch : p.batch * p.channels;
  const size_t bytes = static_cast<size_t>(height) * width * CV_ELEM_SIZE(type);
  handle->values.resize(images * bytes);
  for (int64_t i = 0; i < images; ++i) {
    uint8_t* x = static_cast<uint8_t*>(const_cast<void*>(task.x)) + i * bytes;
    handle->x.emplace_back(height, width, type, x);
    handle->y.emplace_back(height, width, type, handle->values.data() + i * bytes);
  }
  handle->window =
      cv::getStructuringElement(cv::MORPH_RECT, {static_cast<int>(p.kernel[1]), static_cast<int>(p.kernel[0])});
  handle->anchor = {static_cast<int>(p.padding[1].before), static_cast<int>(p.padding[0].before)};
  *note = "dilate";
  try {
    Run(handle.get());
  } catch (const cv::Exception& error) {
    *note = error.err;
    return nullptr;
  }
  return handle.release();
}

const void* Result(void* context) { return static_cast<Handle*>(context)->values.data(); }

void Indices(void*, int64_t*) {}

void Release(void* context) { delete static_cast<Handle*>(context); }

const Peer kPeer = {"opencv", Version, Prepare, Run, Result, Indices, Release};

}  // namespace
}  // namespace peakpool_bench

const peakpool_bench::Peer* PeakpoolBenchPeer() { return &peakpool_bench::kPeer; }
