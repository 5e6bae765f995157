// SPDX-License-Identifier: Apache-2.0
// Interleaved timing. Several sides do the same work; every round gives each of them one slot, starting one side later
// than the round before, so that whatever disturbs the machine disturbs all of them alike. Knows nothing of pooling.
#ifndef PEAKPOOL_BENCH_ROUNDS_H_
#define PEAKPOOL_BENCH_ROUNDS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace peakpool_bench {

struct Side {
  std::string name;
  void (*run)(void* context);
  void* context;
  int64_t calls = 0;                // per slot
  std::vector<double> rounds = {};  // seconds per call, one entry per round

  double Minimum() const;
};

struct RoundsOptions {
  int rounds = 25;
  double slot_seconds = 4e-4;
  double side_seconds = 0.15;  // a side slower than a slot gives up its later rounds once it has used this much
  void (*evict)() = nullptr;   // called before every single call, untimed: measures with cold caches
};

double Seconds();  // of a clock that only moves forward

// Fills `calls` and `rounds` of every side. Each slot starts with one untimed call, which brings the side's buffers
// back into the caches that they fit and wakes its threads.
void RunRounds(std::vector<Side>* sides, const RoundsOptions& options);

// The median over the rounds of a / b: both sides ran within a few milliseconds of each other.
double MedianRatio(const Side& a, const Side& b);

}  // namespace peakpool_bench

#endif  // PEAKPOOL_BENCH_ROUNDS_H_
