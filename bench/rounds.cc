// SPDX-License-Identifier: Apache-2.0
#include "bench/rounds.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace peakpool_bench {
namespace {

double Time(const Side& side, int64_t calls) {
  const double start = Seconds();
  for (int64_t i = 0; i < calls; ++i) side.run(side.context);
  return Seconds() - start;
}

constexpr double kSlowCall = 5e-3;  // calls this long need no untimed one before them

}  // namespace

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double Side::Minimum() const { return rounds.empty() ? 0 : *std::min_element(rounds.begin(), rounds.end()); }

void RunRounds(std::vector<Side>* sides, const RoundsOptions& options) {
  std::vector<double> call_seconds, used(sides->size(), 0);
  for (Side& side : *sides) {
    side.rounds.clear();
    int64_t calls = 1;
    double seconds = Time(side, calls);
    while (options.evict == nullptr && seconds < options.slot_seconds / 4) {
      calls *= 2;
      seconds = Time(side, calls);
    }
    call_seconds.push_back(seconds / calls);
    side.calls =
        options.evict != nullptr ? 1 : std::max<int64_t>(1, std::llround(options.slot_seconds / call_seconds.back()));
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t k = 0; k < sides->size(); ++k) {
      const size_t i = (k + round) % sides->size();
      Side& side = (*sides)[i];
      if (used[i] > options.side_seconds && side.rounds.size() >= 3) continue;
      if (options.evict != nullptr) {
        options.evict();
      } else if (call_seconds[i] < kSlowCall) {
        Time(side, 1);
      }
      const double seconds = Time(side, side.calls);
      used[i] += seconds;
      side.rounds.push_back(seconds / side.calls);
    }
  }
}

double MedianRatio(const Side& a, const Side& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.rounds.size(), b.rounds.size()); ++i) ratios.push_back(a.rounds[i] / b.rounds[i]);
  if (ratios.empty()) return 0;
  std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
  return ratios[ratios.size() / 2];
}

}  // namespace peakpool_bench
