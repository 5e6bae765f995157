// SPDX-License-Identifier: Apache-2.0
// The node data that the ONNX project publishes for its pooling operators, through the public API: values and indices
// must be equal, not close.
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/onnx_data.h"
#include "tests/pooling.h"

namespace peakpool::tests {
namespace {

namespace fs = std::filesystem;

// The problem of a node whose pooling reads a tensor of type and shape x; false with the reason where it has no
// counterpart.
bool ProblemOf(const onnx::NodeProto& node, const Array& x, peakpool_problem* p, std::string* why) {
  const int rank = static_cast<int>(x.shape.size()) - 2;
  if (peakpool_problem_init(p, x.type, PEAKPOOL_CHANNELS_FIRST, rank) != PEAKPOOL_OK) {
    return *why = peakpool_last_error(), false;
  }
  p->batch = x.shape[0];
  p->channels = x.shape[1];
  std::copy(x.shape.begin() + 2, x.shape.end(), p->input);
  if (node.op_type() == "GlobalMaxPool") {
    std::copy(p->input, p->input + rank, p->kernel);
    return true;
  }
  if (node.op_type() != "MaxPool" && node.op_type() != "MaxUnpool") {
    return *why = "operator " + node.op_type() + " is not supported", false;
  }
  std::string auto_pad = "NOTSET";
  p->index_format = PEAKPOOL_INDEX_TENSOR_I64;
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    const std::string& name = attribute.name();
    const auto copy_to = [&](int64_t* axes) { std::copy(attribute.ints().begin(), attribute.ints().end(), axes); };
    if (name == "kernel_shape") {
      copy_to(p->kernel);
    } else if (name == "strides") {
      copy_to(p->stride);
    } else if (name == "dilations") {
      copy_to(p->dilation);
    } else if (name == "pads") {
      for (int a = 0; a < rank; ++a) p->padding[a] = {attribute.ints(a), attribute.ints(rank + a)};
    } else if (name == "ceil_mode") {
      if (attribute.i() != 0) p->rounding = PEAKPOOL_CEIL;
    } else if (name == "auto_pad") {
      auto_pad = attribute.s();
    } else if (name == "storage_order") {
      if (attribute.i() != 0) p->index_format = PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64;
    } else {
      return *why = "attribute " + name + " is not supported", false;
    }
  }
  if (node.op_type() == "MaxPool" && node.output_size() < 2) p->index_format = PEAKPOOL_INDEX_NONE;
  peakpool_status status = PEAKPOOL_OK;
  if (auto_pad == "SAME_UPPER") status = peakpool_pad_same_upper(p);
  if (auto_pad == "SAME_LOWER") status = peakpool_pad_same_lower(p);
  if (status != PEAKPOOL_OK) return *why = peakpool_last_error(), false;
  return true;
}

bool Same(const char* name, const Bytes& actual, const Array& expected, const Array& x, const peakpool_problem& p,
          std::string* why) {
  std::vector<int64_t> shape = {x.shape[0], x.shape[1]};
  shape.insert(shape.end(), p.output, p.output + p.rank);
  if (shape != expected.shape) return *why = std::string(name) + ": the shape differs", false;
  const ::testing::AssertionResult same = SameBytes(actual, expected.bytes, ElementBytes(expected.type));
  if (!same) *why = std::string(name) + ": " + same.message();
  return same;
}

// MaxPool and GlobalMaxPool: input_0 is pooled to output_0 and, where asked for, indices in output_1.
bool PoolPasses(const onnx::NodeProto& node, const fs::path& set, std::string* why) {
  Array x, y, index;
  peakpool_problem problem;
  if (!ReadArray(set / "input_0.pb", &x, why) || !ReadArray(set / "output_0.pb", &y, why)) return false;
  if (!ProblemOf(node, x, &problem, why)) return false;
  const bool with_index = problem.index_format != PEAKPOOL_INDEX_NONE;
  if (with_index && !ReadArray(set / "output_1.pb", &index, why)) return false;
  for (int32_t algorithm : {PEAKPOOL_AUTO, PEAKPOOL_IM2COL}) {
    problem.algorithm = algorithm;
    const Plan plan(problem);
    if (!plan) return *why = plan.error(), false;
    const Forward result = RunForward(plan, x.bytes, with_index);
    if (!Same("Y", result.y, y, x, plan.problem(), why)) return false;
    if (with_index && !Same("Indices", result.index, index, x, plan.problem(), why)) return false;
  }
  return true;
}

// MaxUnpool: input_0 and the indices input_1 become output_0. The indices refer to the size that window and stride
// imply; output_shape (input_2) may ask for a larger tensor, whose leading corner that is.
bool UnpoolPasses(const onnx::NodeProto& node, const fs::path& set, std::string* why) {
  Array y, index, expected;
  peakpool_problem problem;
  if (!ReadArray(set / "input_0.pb", &y, why) || !ReadArray(set / "input_1.pb", &index, why)) return false;
  if (!ReadArray(set / "output_0.pb", &expected, why)) return false;
  if (!ProblemOf(node, y, &problem, why)) return false;
  problem.rounding = PEAKPOOL_EXPLICIT;
  int64_t stride = 1;
  for (int a = problem.rank - 1; a >= 0; --a) {
    const size_t axis = static_cast<size_t>(a) + 2;
    problem.output[a] = y.shape[axis];
    problem.input[a] = (y.shape[axis] - 1) * problem.stride[a] + problem.kernel[a] - problem.padding[a].before -
                       problem.padding[a].after;
    if (problem.input[a] > expected.shape[axis]) return *why = "output_shape is smaller than the implied size", false;
    problem.input_strides.spatial[a] = stride;
    stride *= expected.shape[axis];
  }
  problem.input_strides.channel = stride;
  problem.input_strides.batch = stride * problem.channels;
  const Plan plan(problem);
  if (!plan) return *why = plan.error(), false;
  Bytes corner(InputBytes(plan.problem()));  // the rest of the output is zero, and so are the corner's gaps
  if (TryUnpool(plan, y.bytes, index.bytes, &corner) != PEAKPOOL_OK) return *why = peakpool_last_error(), false;
  corner.resize(expected.bytes.size());
  const ::testing::AssertionResult same = SameBytes(corner, expected.bytes, ElementBytes(expected.type));
  if (!same) *why = same.message();
  return same;
}

bool Passes(const fs::path& folder, std::string* why) {
  onnx::ModelProto model;
  std::ifstream file(folder / "model.onnx", std::ios::binary);
  if (!model.ParseFromIstream(&file)) return *why = "model.onnx: not a model", false;
  if (model.graph().node_size() != 1) return *why = "the graph is not one node", false;
  const onnx::NodeProto& node = model.graph().node(0);
  int sets = 0;
  for (const fs::directory_entry& set : fs::directory_iterator(folder)) {
    if (!set.is_directory()) continue;
    ++sets;
    const auto passes = node.op_type() == "MaxUnpool" ? &UnpoolPasses : &PoolPasses;
    if (!passes(node, set.path(), why)) return false;
  }
  return sets > 0 || (*why = "no data set", false);
}

class Onnx : public ::testing::TestWithParam<fs::path> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Onnx);

TEST_P(Onnx, NodeData) {
  std::string why;
  EXPECT_TRUE(Passes(GetParam(), &why)) << why;
}

INSTANTIATE_TEST_SUITE_P(Cases, Onnx, ::testing::ValuesIn(OnnxCases()),
                         [](const ::testing::TestParamInfo<fs::path>& info) { return info.param.filename().string(); });

TEST(OnnxData, IsComplete) {
  const std::vector<fs::path> cases = OnnxCases();
  if (!fs::exists(OnnxData())) GTEST_SKIP() << OnnxData() << " is not there (Debian package libonnx-testdata)";
  // ONNX 1.12: 15 MaxPool, 2 GlobalMaxPool and 2 MaxUnpool nodes, 8 models converted from PyTorch, 1 of its operators.
  EXPECT_GE(cases.size(), 28u);
}

}  // namespace
}  // namespace peakpool::tests
