// SPDX-License-Identifier: Apache-2.0
// The data that the ONNX project publishes for its operators.
#ifndef PEAKPOOL_TESTS_ONNX_DATA_H_
#define PEAKPOOL_TESTS_ONNX_DATA_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/pooling.h"

namespace peakpool::tests {

struct Array {
  int32_t type = PEAKPOOL_F32;
  std::vector<int64_t> shape;
  Bytes bytes;
};

// Reads a TensorProto; false with the reason where that is not possible.
bool ReadArray(const std::filesystem::path& path, Array* array, std::string* why);

// Where the data is, and the folders below it that hold a max pooling or unpooling operator's case, by name.
const char* OnnxData();
std::vector<std::filesystem::path> OnnxCases();

}  // namespace peakpool::tests

#endif  // PEAKPOOL_TESTS_ONNX_DATA_H_
