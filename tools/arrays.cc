// SPDX-License-Identifier: Apache-2.0
#include "tools/arrays.h"

#include <cstdio>

#include "tools/problem_flags.h"

namespace peakpool::tools {

Error ParseInputShape(const std::string& text, std::vector<int64_t>* shape) {
  if (Error error = ParseNumbers("--input-shape", text, shape)) return error;
  for (int64_t size : *shape) {
    if (size < 0) return "--input-shape " + text + ": sizes must be 0 or greater";
  }
  return {};
}

Error CheckPooledShape(const std::string& path, const NpyArray& array, const std::string& input_shape,
                       const peakpool_problem& resolved) {
  const std::vector<int64_t> shape = OutputShape(resolved);
  if (array.shape == shape) return {};
  return path + ": shape " + ShapeName(array.shape) + ": pooling --input-shape " + input_shape + " gives " +
         ShapeName(shape);
}

Error Write(const NpyArray& array, const std::string& path, OutputFile* file) {
  if (Error error = file->Open(path)) return error;
  return WriteNpy(array, file);
}

Error WriteAndCommit(const NpyArray& array, const std::string& path) {
  OutputFile file;
  if (Error error = Write(array, path, &file)) return error;
  return file.Commit();
}

void PrintLine(const peakpool_problem& problem, const std::string& how, double milliseconds) {
  std::printf("%s%s, %.3f ms\n", Describe(problem).c_str(), how.c_str(), milliseconds);
}

std::string How(const Plan& plan, const char* direction) {
  return ", algorithm: " + ExplainWord(plan.get(), direction) + ", target: " + ExplainWord(plan.get(), "target");
}

}  // namespace peakpool::tools
