// SPDX-License-Identifier: Apache-2.0
// `peakpool pool`, `adaptive` and `global`.
#include "peakpool/peakpool.hpp"
#include "tools/arrays.h"
#include "tools/commands.h"
#include "tools/executor.h"
#include "tools/rows.h"

namespace peakpool::tools {

Error Pool(const PoolArguments& arguments) {
  if (!arguments.indices.empty() && arguments.indices == arguments.output) {
    return "--indices " + arguments.indices + ": is also OUT.npy";
  }
  NpyArray x, y, index;
  if (Error error = ReadNpy(arguments.input, &x)) return error;
  peakpool_problem problem;
  if (Error error = MakeProblem(arguments.flags, arguments.input, x.type, x.shape, &problem)) return error;
  Plan plan(problem);
  if (plan && !arguments.indices.empty()) {
    problem.index_format = FormatForTaps(arguments.flags.index_format, plan.problem());
    plan = Plan(problem);
  }
  if (!plan) return std::string(plan.error());

  y.type = x.type;
  y.shape = OutputShape(plan.problem());
  if (Error error = y.Allocate(arguments.output)) return error;
  if (!arguments.indices.empty()) {
    index.type = TypeOfFormat(problem.index_format);
    index.shape = y.shape;
    if (Error error = index.Allocate(arguments.indices)) return error;
  }
  const Executor executor(arguments.flags.threads);
  const Stopwatch stopwatch;
  const peakpool_status status =
      arguments.stream
          ? ForwardByRows(problem, plan.problem(), x.data.get(), y.data.get(), index.data.get(), executor.get())
          : plan.forward(x.data.get(), y.data.get(), index.data.get(), executor.get());
  const double milliseconds = stopwatch.Milliseconds();
  if (status != PEAKPOOL_OK) return std::string(arguments.stream ? "--stream: " : "") + peakpool_last_error();

  // Both are complete on disk before either gets its name.
  OutputFile output, indices;
  if (Error error = Write(y, arguments.output, &output)) return error;
  if (!arguments.indices.empty()) {
    if (Error error = Write(index, arguments.indices, &indices)) return error;
    if (Error error = indices.Commit()) return error;
  }
  if (Error error = output.Commit()) return error;
  PrintLine(problem, How(plan, "forward"), milliseconds);
  return {};
}

}  // namespace peakpool::tools
