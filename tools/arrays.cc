// SPDX-License-Identifier: Apache-2.0
// `peakpool pool` and `peakpool backward`: .npy files in, .npy files out.
#include <chrono>
#include <cstdio>

#include "peakpool/peakpool.hpp"
#include "tools/commands.h"
#include "tools/executor.h"
#include "tools/files.h"
#include "tools/npy.h"

namespace peakpool::tools {
namespace {

class Stopwatch {
 public:
  double Milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Error Write(const NpyArray& array, const std::string& path, OutputFile* file) {
  if (Error error = file->Open(path)) return error;
  return WriteNpy(array, file);
}

void PrintLine(const peakpool_problem& problem, const Plan& plan, const char* direction, double milliseconds) {
  std::printf("%s, algorithm: %s, target: %s, %.3f ms\n", Describe(problem).c_str(),
              ExplainWord(plan.get(), direction).c_str(), ExplainWord(plan.get(), "target").c_str(), milliseconds);
}

}  // namespace

Error Pool(const PoolArguments& arguments) {
  if (!arguments.indices.empty() && arguments.indices == arguments.output) {
    return "--indices " + arguments.indices + ": is also OUT.npy";
  }
  NpyArray x, y, index;
  if (Error error = ReadNpy(arguments.input, &x)) return error;
  peakpool_problem problem;
  if (Error error = MakeProblem(arguments.flags, arguments.input, x.type, x.shape, &problem)) return error;
  if (!arguments.indices.empty()) problem.index_format = FormatForTaps(arguments.flags, problem);
  const Plan plan(problem);
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
  if (plan.forward(x.data.get(), y.data.get(), index.data.get(), executor.get()) != PEAKPOOL_OK) {
    return std::string(peakpool_last_error());
  }
  const double milliseconds = stopwatch.Milliseconds();

  // Both are complete on disk before either gets its name.
  OutputFile output, indices;
  if (Error error = Write(y, arguments.output, &output)) return error;
  if (!arguments.indices.empty()) {
    if (Error error = Write(index, arguments.indices, &indices)) return error;
    if (Error error = indices.Commit()) return error;
  }
  if (Error error = output.Commit()) return error;
  PrintLine(problem, plan, "forward", milliseconds);
  return {};
}

Error Backward(const BackwardArguments& arguments) {
  NpyArray dy, index, dx;
  if (Error error = ParseNumbers("--input-shape", arguments.input_shape, &dx.shape)) return error;
  for (int64_t size : dx.shape) {
    if (size < 0) return "--input-shape " + arguments.input_shape + ": sizes must be 0 or greater";
  }
  if (Error error = ReadNpy(arguments.dy, &dy)) return error;
  if (Error error = ReadNpy(arguments.indices, &index)) return error;
  dx.type = dy.type;
  peakpool_problem problem;
  // A wrong number of axes is --input-shape's fault, a wrong type is DY's.
  const std::string name = dx.shape.size() == dy.shape.size() ? arguments.dy : "--input-shape " + arguments.input_shape;
  if (Error error = MakeProblem(arguments.flags, name, dy.type, dx.shape, &problem)) return error;
  peakpool_index_format format;
  if (Error error = FormatOfFile(arguments.flags, arguments.indices, index.type, &format)) return error;
  problem.index_format = format;
  const Plan plan(problem);
  if (!plan) return std::string(plan.error());

  const std::vector<int64_t> shape = OutputShape(plan.problem());
  if (dy.shape != shape) {
    return arguments.dy + ": shape " + ShapeName(dy.shape) + ": pooling --input-shape " + arguments.input_shape +
           " gives " + ShapeName(shape);
  }
  if (index.shape != shape) {
    return arguments.indices + ": shape " + ShapeName(index.shape) + ": must be that of " + arguments.dy + ", " +
           ShapeName(shape);
  }
  if (Error error = dx.Allocate("--input-shape " + arguments.input_shape)) return error;
  const Executor executor(arguments.flags.threads);
  const Stopwatch stopwatch;
  const peakpool_status status = plan.backward(dy.data.get(), index.data.get(), dx.data.get(), executor.get());
  const double milliseconds = stopwatch.Milliseconds();
  if (status == PEAKPOOL_INVALID_INDEX) return arguments.indices + ": " + peakpool_last_error();
  if (status != PEAKPOOL_OK) return std::string(peakpool_last_error());

  OutputFile output;
  if (Error error = Write(dx, arguments.dx, &output)) return error;
  if (Error error = output.Commit()) return error;
  PrintLine(problem, plan, "backward", milliseconds);
  return {};
}

}  // namespace peakpool::tools
