// SPDX-License-Identifier: Apache-2.0
#include "tests/onnx_data.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <system_error>

#include "tests/naive.h"

namespace peakpool::tests {

namespace fs = std::filesystem;

bool ReadArray(const fs::path& path, Array* array, std::string* why) {
  onnx::TensorProto tensor;
  std::ifstream file(path, std::ios::binary);
  if (!tensor.ParseFromIstream(&file)) return *why = path.string() + ": not a tensor", false;
  array->shape.assign(tensor.dims().begin(), tensor.dims().end());
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT: array->type = PEAKPOOL_F32; break;
    case onnx::TensorProto::DOUBLE: array->type = PEAKPOOL_F64; break;
    case onnx::TensorProto::UINT8: array->type = PEAKPOOL_U8; break;
    case onnx::TensorProto::INT8: array->type = PEAKPOOL_I8; break;
    case onnx::TensorProto::INT64: array->type = PEAKPOOL_I64; break;
    default: return *why = path.string() + ": tensor type " + std::to_string(tensor.data_type()), false;
  }
  const auto take = [&](const void* data, size_t bytes) {
    array->bytes.assign(static_cast<const uint8_t*>(data), static_cast<const uint8_t*>(data) + bytes);
  };
  if (tensor.has_raw_data()) {
    take(tensor.raw_data().data(), tensor.raw_data().size());
  } else if (array->type == PEAKPOOL_F32) {
    take(tensor.float_data().data(), static_cast<size_t>(tensor.float_data_size()) * sizeof(float));
  } else if (array->type == PEAKPOOL_I64) {
    take(tensor.int64_data().data(), static_cast<size_t>(tensor.int64_data_size()) * sizeof(int64_t));
  } else if (array->type == PEAKPOOL_U8 || array->type == PEAKPOOL_I8) {
    for (int32_t value : tensor.int32_data()) array->bytes.push_back(static_cast<uint8_t>(value));
  }
  int64_t count = 1;
  for (int64_t size : array->shape) count *= size;
  if (array->bytes.size() == static_cast<size_t>(count) * ElementBytes(array->type)) return true;
  return *why = path.string() + ": data and shape disagree", false;
}

const char* OnnxData() { return PEAKPOOL_ONNX_DATA; }

std::vector<fs::path> OnnxCases() {
  std::vector<fs::path> cases;
  std::error_code error;
  for (const char* group : {"node", "pytorch-converted", "pytorch-operator"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(OnnxData()) / group, error)) {
      std::string name = entry.path().filename().string();
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      const bool pooling = name.find("maxpool") != std::string::npos || name.find("maxunpool") != std::string::npos;
      if (pooling && fs::exists(entry.path() / "model.onnx")) cases.push_back(entry.path());
    }
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

}  // namespace peakpool::tests
