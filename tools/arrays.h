// SPDX-License-Identifier: Apache-2.0
// What the subcommands that read and write .npy files share.
#ifndef PEAKPOOL_TOOLS_ARRAYS_H_
#define PEAKPOOL_TOOLS_ARRAYS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "peakpool/peakpool.hpp"
#include "tools/error.h"
#include "tools/files.h"
#include "tools/npy.h"

namespace peakpool::tools {

class Stopwatch {
 public:
  double Milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// --input-shape.
Error ParseInputShape(const std::string& text, std::vector<int64_t>* shape);

// The array that `path` holds must have the shape that pooling --input-shape gives.
Error CheckPooledShape(const std::string& path, const NpyArray& array, const std::string& input_shape,
                       const peakpool_problem& resolved);

// Writes the array beside its path, to be committed.
Error Write(const NpyArray& array, const std::string& path, OutputFile* file);
Error WriteAndCommit(const NpyArray& array, const std::string& path);

// The line on stdout: the problem, what ran it (", algorithm: window, target: AVX3", or nothing) and the time.
void PrintLine(const peakpool_problem& problem, const std::string& how, double milliseconds);
// That text for a plan and a direction, "forward" or "backward".
std::string How(const Plan& plan, const char* direction);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_ARRAYS_H_
