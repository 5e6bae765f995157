// SPDX-License-Identifier: Apache-2.0
// The pooling layers that the suite measures, read from workloads.csv.
#ifndef PEAKPOOL_BENCH_WORKLOADS_H_
#define PEAKPOOL_BENCH_WORKLOADS_H_

#include <string>
#include <vector>

#include "peakpool/peakpool.h"

namespace peakpool_bench {

struct Workload {
  std::string name;
  peakpool_problem problem;  // f32, channels-first, values only
};

// Empty on failure, with one line in *error.
std::vector<Workload> ReadWorkloads(const std::string& path, std::string* error);

}  // namespace peakpool_bench

#endif  // PEAKPOOL_BENCH_WORKLOADS_H_
