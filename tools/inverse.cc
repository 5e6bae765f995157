// SPDX-License-Identifier: Apache-2.0
// `peakpool backward` and `peakpool unpool`.
#include "peakpool/peakpool.hpp"
#include "tools/arrays.h"
#include "tools/commands.h"
#include "tools/executor.h"

namespace peakpool::tools {
namespace {

using Call = peakpool_status (Plan::*)(const void* values, const void* index, void* result,
                                       const peakpool_executor* executor) const;

// `direction` is what explain calls it; null: no choice of algorithms.
Error Run(const InverseArguments& arguments, Call call, const char* direction) {
  NpyArray values, index, result;
  if (Error error = ParseInputShape(arguments.input_shape, &result.shape)) return error;
  if (Error error = ReadNpy(arguments.values, &values)) return error;
  if (Error error = ReadNpy(arguments.indices, &index)) return error;
  result.type = values.type;
  peakpool_problem problem;
  const std::string shape_name = "--input-shape " + arguments.input_shape;
  // A wrong number of axes is --input-shape's fault, a wrong type is that of the values.
  const std::string name = result.shape.size() == values.shape.size() ? arguments.values : shape_name;
  if (Error error = MakeProblem(arguments.flags, name, values.type, result.shape, &problem)) return error;
  int32_t format;
  if (Error error =
          FormatOfFile("--index-format", arguments.flags.index_format, arguments.indices, index.type, &format))
    return error;
  problem.index_format = format;
  const Plan plan(problem);
  if (!plan) return std::string(plan.error());

  if (Error error = CheckPooledShape(arguments.values, values, arguments.input_shape, plan.problem())) return error;
  if (index.shape != values.shape) {
    return arguments.indices + ": shape " + ShapeName(index.shape) + ": must be that of " + arguments.values + ", " +
           ShapeName(values.shape);
  }
  if (Error error = result.Allocate(shape_name)) return error;
  const Executor executor(arguments.flags.threads);
  const Stopwatch stopwatch;
  const peakpool_status status = (plan.*call)(values.data.get(), index.data.get(), result.data.get(), executor.get());
  const double milliseconds = stopwatch.Milliseconds();
  if (status == PEAKPOOL_INVALID_INDEX) return arguments.indices + ": " + peakpool_last_error();
  if (status != PEAKPOOL_OK) return std::string(peakpool_last_error());

  if (Error error = WriteAndCommit(result, arguments.result)) return error;
  PrintLine(problem, direction == nullptr ? "" : How(plan, direction), milliseconds);
  return {};
}

}  // namespace

Error Backward(const InverseArguments& arguments) { return Run(arguments, &Plan::backward, "backward"); }
Error Unpool(const InverseArguments& arguments) { return Run(arguments, &Plan::unpool, nullptr); }

}  // namespace peakpool::tools
