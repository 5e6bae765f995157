// SPDX-License-Identifier: Apache-2.0
// What another library must offer to be measured beside peakpool. Each peer is one shared object in this folder, loaded
// at run time where it was built, and exports PeakpoolBenchPeer(). Header only, so that a peer links nothing of ours.
#ifndef PEAKPOOL_BENCH_PEERS_PEER_H_
#define PEAKPOOL_BENCH_PEERS_PEER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "peakpool/peakpool.h"

namespace peakpool_bench {

enum class Mode { kForward, kForwardIndices, kBackward };

// One measurement, as the peer sees it. The tensors are dense in the problem's layout and outlive the peer's handle.
struct PeerTask {
  const peakpool_problem* problem;  // resolved: `output` holds the output size
  Mode mode;
  int threads;
  const void* x;
  const void* dy;
};

struct Peer {
  const char* name;
  std::string (*version)();
  // Prepares everything that a user would do once per network. Returns nullptr, with the reason in *note, where the
  // peer cannot do the task; otherwise *note is the name of its implementation.
  void* (*prepare)(const PeerTask& task, std::string* note);
  void (*run)(void* handle);
  // y, or dx for Mode::kBackward, dense in the problem's layout.
  const void* (*result)(void* handle);
  // For Mode::kForwardIndices: fills plane[i] with the position of y[i]'s maximum within its (n, c) plane.
  void (*indices)(void* handle, int64_t* plane);
  void (*release)(void* handle);
};

inline int64_t InputPlane(const peakpool_problem& p) {
  int64_t size = 1;
  for (int axis = 0; axis < p.rank; ++axis) size *= p.input[axis];
  return size;
}

inline int64_t OutputPlane(const peakpool_problem& p) {
  int64_t size = 1;
  for (int axis = 0; axis < p.rank; ++axis) size *= p.output[axis];
  return size;
}

inline size_t InputElements(const peakpool_problem& p) { return p.batch * p.channels * InputPlane(p); }
inline size_t OutputElements(const peakpool_problem& p) { return p.batch * p.channels * OutputPlane(p); }

// The trailing padding with which `output` is what floor division gives; negative where the last elements are not read.
inline int64_t TrailingPadding(const peakpool_problem& p, int axis) {
  return (p.output[axis] - 1) * p.stride[axis] + (p.kernel[axis] - 1) * p.dilation[axis] + 1 - p.input[axis] -
         p.padding[axis].before;
}

// The position in the input plane of a window's row-major tap, for the i-th element of a dense y.
inline int64_t PlanePosition(const peakpool_problem& p, int64_t i, int64_t tap) {
  int64_t o = p.layout == PEAKPOOL_CHANNELS_LAST ? i / p.channels : i;
  int64_t position = 0, scale = 1;
  for (int axis = p.rank - 1; axis >= 0; --axis) {
    position += scale * (o % p.output[axis] * p.stride[axis] - p.padding[axis].before +
                         tap % p.kernel[axis] * p.dilation[axis]);
    scale *= p.input[axis];
    o /= p.output[axis];
    tap /= p.kernel[axis];
  }
  return position;
}

}  // namespace peakpool_bench

extern "C" __attribute__((visibility("default"))) const peakpool_bench::Peer* PeakpoolBenchPeer();

#endif  // PEAKPOOL_BENCH_PEERS_PEER_H_
