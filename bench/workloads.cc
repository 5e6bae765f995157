// SPDX-License-Identifier: Apache-2.0
#include "bench/workloads.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace peakpool_bench {
namespace {

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

// The columns after `name`.
enum Column {
  kRank = 1,
  kBatch,
  kChannels,
  kDepth,
  kHeight,
  kWidth,
  kKernel,
  kStride,
  kBefore,
  kAfter,
  kDilation,
  kRounding
};

bool Parse(const std::vector<std::string>& row, peakpool_problem* problem) {
  if (row.size() <= kRounding) return false;
  const int rank = std::atoi(row[kRank].c_str());
  if (peakpool_problem_init(problem, PEAKPOOL_F32, PEAKPOOL_CHANNELS_FIRST, rank) != PEAKPOOL_OK) return false;
  problem->batch = std::atoll(row[kBatch].c_str());
  problem->channels = std::atoll(row[kChannels].c_str());
  for (Column column : {kKernel, kStride, kBefore, kAfter, kDilation}) {
    const std::vector<std::string> sizes = Split(row[column], 'x');
    if (sizes.size() != static_cast<size_t>(rank)) return false;
    for (int axis = 0; axis < rank; ++axis) {
      const int64_t size = std::atoll(sizes[axis].c_str());
      switch (column) {
        case kKernel: problem->kernel[axis] = size; break;
        case kStride: problem->stride[axis] = size; break;
        case kBefore: problem->padding[axis].before = size; break;
        case kAfter: problem->padding[axis].after = size; break;
        default: problem->dilation[axis] = size;
      }
    }
  }
  for (int axis = 0; axis < rank; ++axis) problem->input[axis] = std::atoll(row[kWidth - rank + 1 + axis].c_str());
  if (row[kRounding] != "floor" && row[kRounding] != "ceil") return false;
  problem->rounding = row[kRounding] == "ceil" ? PEAKPOOL_CEIL : PEAKPOOL_FLOOR;
  return true;
}

}  // namespace

std::vector<Workload> ReadWorkloads(const std::string& path, std::string* error) {
  std::ifstream file(path);
  std::vector<Workload> workloads;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> row = Split(line, ',');
    Workload workload = {row[0], {}};
    if (!Parse(row, &workload.problem)) {
      *error = path + ":" + std::to_string(number) + ": not a workload: " + line;
      return {};
    }
    workloads.push_back(workload);
  }
  if (workloads.empty()) *error = path + ": no workloads";
  return workloads;
}

}  // namespace peakpool_bench
