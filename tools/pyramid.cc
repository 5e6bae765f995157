// SPDX-License-Identifier: Apache-2.0
// `peakpool pyramid`: several windows over one array.
#include <memory>

#include "peakpool/peakpool.hpp"
#include "tools/arrays.h"
#include "tools/commands.h"
#include "tools/executor.h"

namespace peakpool::tools {

Error Pyramid(const PyramidArguments& arguments) {
  std::vector<int64_t> kernels;
  if (Error error = ParseNumbers("--kernels", arguments.kernels, &kernels)) return error;
  NpyArray x, y;
  if (Error error = ReadNpy(arguments.input, &x)) return error;
  peakpool_problem problem;
  if (Error error = MakeArrayProblem(arguments.flags, arguments.input, x.type, x.shape, &problem)) return error;
  peakpool_pyramid* created;
  const int64_t levels = static_cast<int64_t>(kernels.size());
  if (peakpool_pyramid_create(&problem, kernels.data(), static_cast<int32_t>(levels), &created) != PEAKPOOL_OK) {
    return "--kernels " + arguments.kernels + ": " + peakpool_last_error();
  }
  const std::unique_ptr<peakpool_pyramid, decltype(&peakpool_pyramid_destroy)> pyramid(created,
                                                                                       peakpool_pyramid_destroy);
  y.type = x.type;
  y.shape = x.shape;
  y.shape[problem.layout == PEAKPOOL_CHANNELS_LAST ? y.shape.size() - 1 : 1] *= levels;
  if (Error error = y.Allocate(arguments.output)) return error;
  const Executor executor(arguments.flags.threads);
  const Stopwatch stopwatch;
  if (peakpool_pyramid_forward(pyramid.get(), x.data.get(), y.data.get(), executor.get()) != PEAKPOOL_OK) {
    return std::string(peakpool_last_error());
  }
  const double milliseconds = stopwatch.Milliseconds();

  if (Error error = WriteAndCommit(y, arguments.output)) return error;
  for (int a = 0; a < problem.rank; ++a) {
    problem.kernel[a] = kernels.back();  // the line shows the top level as a problem of its own
    problem.padding[a] = {kernels.back() / 2, kernels.back() / 2};
  }
  PrintLine(problem, ", levels: " + arguments.kernels, milliseconds);
  return {};
}

}  // namespace peakpool::tools
