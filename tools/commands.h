// SPDX-License-Identifier: Apache-2.0
// The subcommands of `peakpool`. Each prints its result on stdout, or returns the one line to print on stderr.
#ifndef PEAKPOOL_TOOLS_COMMANDS_H_
#define PEAKPOOL_TOOLS_COMMANDS_H_

#include <cstdint>
#include <string>

#include "tools/error.h"
#include "tools/problem_flags.h"

namespace peakpool::tools {

struct PoolArguments {
  std::string input, output, indices;  // indices may be empty
  bool stream = false;
  ProblemFlags flags;
};
Error Pool(const PoolArguments& arguments);  // also `adaptive` and `global`, which differ in their flags

// From a pooled array and its indices back to an array of the input's shape.
struct InverseArguments {
  std::string values, indices, result, input_shape;
  ProblemFlags flags;
};
Error Backward(const InverseArguments& arguments);
Error Unpool(const InverseArguments& arguments);

struct ConvertArguments {
  std::string input, output, input_shape, from, to;
  ProblemFlags flags;
};
Error Convert(const ConvertArguments& arguments);

struct PyramidArguments {
  std::string input, output, kernels;
  ProblemFlags flags;
};
Error Pyramid(const PyramidArguments& arguments);

struct PictureArguments {
  std::string input, output;
  ProblemFlags flags;
};
Error Picture(const PictureArguments& arguments);

struct VerifyArguments {
  int64_t cases = 2000;
  uint64_t seed = 1;
  std::string target = "all";
  std::string problem;  // empty: random ones
  bool verbose = false;
};
// Sets *mismatch when a result differs from the reference; that is no Error but the answer "no".
Error Verify(const VerifyArguments& arguments, bool* mismatch);

Error ExplainText(const std::string& text);
void Info();

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_COMMANDS_H_
