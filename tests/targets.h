// SPDX-License-Identifier: Apache-2.0
// The Highway targets this build contains and this machine runs.
#ifndef PEAKPOOL_TESTS_TARGETS_H_
#define PEAKPOOL_TESTS_TARGETS_H_

#include <string>
#include <vector>

#include "peakpool/peakpool.h"

namespace peakpool::tests {

inline std::vector<std::string> Targets() {
  std::vector<std::string> names;
  for (int i = 0; peakpool_target_name(i) != nullptr; ++i) names.emplace_back(peakpool_target_name(i));
  return names;
}

inline bool HasVectors() { return peakpool_target_name(0) != std::string("none"); }

}  // namespace peakpool::tests

#endif  // PEAKPOOL_TESTS_TARGETS_H_
