// SPDX-License-Identifier: Apache-2.0
// `peakpool convert`: index arrays from one format to another.
#include "peakpool/peakpool.hpp"
#include "tools/arrays.h"
#include "tools/commands.h"
#include "tools/executor.h"

namespace peakpool::tools {

Error Convert(const ConvertArguments& arguments) {
  NpyArray from, to;
  std::vector<int64_t> shape;
  if (Error error = ParseInputShape(arguments.input_shape, &shape)) return error;
  if (Error error = ReadNpy(arguments.input, &from)) return error;
  peakpool_problem problem;
  // Indices are the same whatever the type of the values.
  if (Error error = MakeProblem(arguments.flags, "--input-shape " + arguments.input_shape, {'f', 4}, shape, &problem)) {
    return error;
  }
  int32_t from_format;
  if (Error error = FormatOfFile("--from", arguments.from, arguments.input, from.type, &from_format)) return error;
  const Plan plan(problem);
  if (!plan) return std::string(plan.error());
  if (Error error = CheckPooledShape(arguments.input, from, arguments.input_shape, plan.problem())) return error;

  const int32_t to_format = FormatForTaps(arguments.to, plan.problem());
  to.type = TypeOfFormat(to_format);
  to.shape = from.shape;
  if (Error error = to.Allocate(arguments.output)) return error;
  const Executor executor(arguments.flags.threads);
  const Stopwatch stopwatch;
  const peakpool_status status =
      plan.convert_indices(from_format, from.data.get(), to_format, to.data.get(), executor.get());
  const double milliseconds = stopwatch.Milliseconds();
  if (status == PEAKPOOL_INVALID_INDEX) return arguments.input + ": " + peakpool_last_error();
  if (status != PEAKPOOL_OK) return std::string(peakpool_last_error());

  if (Error error = WriteAndCommit(to, arguments.output)) return error;
  PrintLine(problem, ", from: " + FormatName(from_format) + ", to: " + FormatName(to_format), milliseconds);
  return {};
}

}  // namespace peakpool::tools
