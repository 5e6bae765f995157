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
  // Never empty, so that no test passes by looping over nothing: plans refuse this name.
  if (names.empty()) names.emplace_back("no target");
  return names;
}

}  // namespace peakpool::tests

#endif  // PEAKPOOL_TESTS_TARGETS_H_
