// SPDX-License-Identifier: Apache-2.0
// The command line's pooling geometry: the flags every subcommand shares, and how they become a peakpool_problem.
#ifndef PEAKPOOL_TOOLS_PROBLEM_FLAGS_H_
#define PEAKPOOL_TOOLS_PROBLEM_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "peakpool/peakpool.h"
#include "tools/error.h"
#include "tools/npy.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace peakpool::tools {

// As typed. Lists stay text until the rank is known.
struct ProblemFlags {
  std::string kernel, stride, pad = "0", dilation = "1", rounding = "floor", auto_pad;
  std::string output_size;  // not empty: adaptive, and the window's flags above are not read
  std::string clamp, algorithm = "auto", target;
  std::string layout = "channels-first", dtype, index_format = "window";
  bool allow_empty = false;
  int threads = 0;  // 0: the default executor
};

// --kernel --stride --pad --dilation --rounding --auto-pad --allow-empty.
void AddGeometryFlags(CLI::App* command, ProblemFlags* flags);
CLI::Option* AddOutputSizeFlag(CLI::App* command, ProblemFlags* flags);
// One or the other, for subcommands that undo or rewrite what either kind of pooling gave.
void AddGeometryOrOutputSizeFlags(CLI::App* command, ProblemFlags* flags);
void AddClampFlag(CLI::App* command, ProblemFlags* flags);
void AddThreadsFlag(CLI::App* command, ProblemFlags* flags);
// --threads --algorithm --target.
void AddExecutionFlags(CLI::App* command, ProblemFlags* flags);
// For subcommands that read arrays.
void AddLayoutFlag(CLI::App* command, ProblemFlags* flags);
void AddTypeFlag(CLI::App* command, ProblemFlags* flags);
// An option `name` that takes an index format.
CLI::Option* AddIndexFormatFlag(CLI::App* command, const std::string& name, const std::string& purpose,
                                std::string* format);

// Whole numbers separated by commas: "3" or "3,2". `name` is what an error names.
Error ParseNumbers(const std::string& name, const std::string& text, std::vector<int64_t>* numbers);

// An array of this shape, in the axis order of flags.layout, as the problem of copying it, and how to execute it. The
// problem points into `flags` (target), which must outlive it. `name` is the argument that brought the array.
Error MakeArrayProblem(const ProblemFlags& flags, const std::string& name, const NpyType& type,
                       const std::vector<int64_t>& shape, peakpool_problem* problem);
// The same with the window, or the output size, and the clamp. The index format stays NONE.
Error MakeProblem(const ProblemFlags& flags, const std::string& name, const NpyType& type,
                  const std::vector<int64_t>& shape, peakpool_problem* problem);

// The index format of this name for a plan's resolved problem; "window" takes the narrowest type that holds the taps.
int32_t FormatForTaps(const std::string& format, const peakpool_problem& resolved);
// The index format of this name, the value of `option`, for an index file of this type.
Error FormatOfFile(const std::string& option, const std::string& name, const std::string& path, const NpyType& type,
                   int32_t* format);
NpyType TypeOfFormat(int32_t format);
std::string FormatName(int32_t format);

// The shape of y in the layout's axis order, for a plan's resolved problem.
std::vector<int64_t> OutputShape(const peakpool_problem& resolved);

// "f32 nchw 1x64x112x112 k3 s2 p1".
std::string Describe(const peakpool_problem& problem);

std::string Explain(const peakpool_plan* plan);
// The first word of the line of explain's text that starts with "`key`: "; empty if there is none. Keys: forward and
// backward (the algorithm), target.
std::string ExplainWord(const peakpool_plan* plan, const std::string& key);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_PROBLEM_FLAGS_H_
