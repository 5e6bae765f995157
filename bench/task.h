// SPDX-License-Identifier: Apache-2.0
// One problem, one mode and one number of threads, with its plan and tensors: what a row of the suite measures.
#ifndef PEAKPOOL_BENCH_TASK_H_
#define PEAKPOOL_BENCH_TASK_H_

#include <memory>
#include <string>
#include <vector>

#include "bench/peers/peer.h"
#include "bench/rounds.h"
#include "bench/speed_of_light.h"
#include "peakpool/peakpool.h"

namespace peakpool_bench {

const char* TypeName(int32_t type);
const char* ModeName(Mode mode);

// Aligned for Streams. `offset` staggers the tensors of a task within a page, so that no two start at the same address
// modulo 4 KB.
class Buffer {
 public:
  Buffer() = default;
  Buffer(size_t bytes, size_t offset);
  uint8_t* data() const { return storage_ ? storage_.get() + offset_ : nullptr; }

 private:
  struct Free {
    void operator()(uint8_t* storage) const;
  };
  std::unique_ptr<uint8_t, Free> storage_;
  size_t offset_ = 0;
};

class Task {
 public:
  // Picks the most compact index format if the mode needs one and the problem names none, makes the plan, fills x and
  // dy (small integers, so that sums are exact in any order) and, for backward, runs forward. Returns false with the
  // library's message in *error.
  bool Prepare(peakpool_problem problem, Mode mode, int threads, std::string* error);
  ~Task() { peakpool_plan_destroy(plan_); }
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  peakpool_status Execute() const;
  Side Ours();
  // Every loop at one thread and, for two threads, also split in two on the same executor.
  std::vector<Side> SpeedOfLight();

  PeerTask ForPeers() const { return {&problem_, mode_, threads_, x_.data(), dy_.data()}; }
  // Compares what Execute() left in y, dx and the indices. Empty if equal, else the first difference.
  std::string Compare(const Peer& peer, void* handle) const;

  const peakpool_problem& problem() const { return problem_; }
  size_t Bytes() const;  // read and written once
  // The forward algorithm and why, as the library explains it.
  std::string ForwardAlgorithm() const;

 private:
  struct StreamRun {
    Streams streams;
    StreamLoop loop;
    const peakpool_executor* executor;  // nullptr: on this thread
  };
  static void RunOurs(void* context);
  static void RunStreams(void* context);
  Streams TaskStreams() const;
  int64_t Tap(size_t i) const;

  peakpool_problem problem_ = {};  // resolved
  Mode mode_ = Mode::kForward;
  int threads_ = 1;
  peakpool_plan* plan_ = nullptr;
  const peakpool_executor* executor_ = nullptr;
  Buffer x_, y_, index_, dy_, dx_;
  std::vector<StreamRun> stream_runs_;
};

}  // namespace peakpool_bench

#endif  // PEAKPOOL_BENCH_TASK_H_
