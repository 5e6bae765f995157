// SPDX-License-Identifier: Apache-2.0
// The custom operator in the real ONNX Runtime: against ONNX's published data, the im2col reference, and the runtime's
// own MaxPool where it has one.
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/naive.h"
#include "tests/onnx_data.h"
#include "tests/pooling.h"

namespace peakpool::tests {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kApi = 16;  // the oldest runtime that the operator supports

// ONNX's number (TensorProto.DataType, ONNXTensorElementDataType) of each of our types.
constexpr int kOnnxTypes[kTypes] = {1, 11, 10, 16, 3, 2, 5, 4, 6, 12, 7, 13};

const OrtApi& Api() {
  static const OrtApi* const api = OrtGetApiBase()->GetApi(kApi);
  return *api;
}

// The status's message, and "" where there is no error.
std::string Message(OrtStatus* status) {
  if (status == nullptr) return "";
  const std::string message = Api().GetErrorMessage(status);
  Api().ReleaseStatus(status);
  return message;
}

OrtEnv* Env() {
  static OrtEnv* const env = [] {
    OrtEnv* made = nullptr;
    EXPECT_EQ(Message(Api().CreateEnv(ORT_LOGGING_LEVEL_FATAL, "onnxruntime_test", &made)), "");
    return made;
  }();
  return env;
}

// A session that has registered the operator. Runs take the input "x" and hand back the outputs in the model's order.
class Session {
 public:
  explicit Session(const onnx::ModelProto& model, int threads = 1) {
    for (const onnx::ValueInfoProto& output : model.graph().output()) outputs_.push_back(output.name());
    OrtSessionOptions* options = nullptr;
    error_ = Message(Api().CreateSessionOptions(&options));
    if (error_.empty()) error_ = Message(Api().SetIntraOpNumThreads(options, threads));
    if (error_.empty()) error_ = Message(Api().RegisterCustomOpsLibrary_V2(options, PEAKPOOL_ONNXRUNTIME_OP));
    const std::string bytes = model.SerializeAsString();
    if (error_.empty()) {
      error_ = Message(Api().CreateSessionFromArray(Env(), bytes.data(), bytes.size(), options, &session_));
    }
    Api().ReleaseSessionOptions(options);
  }
  ~Session() { Api().ReleaseSession(session_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Why there is no session; "" if there is one.
  const std::string& error() const { return error_; }

  // Returns the runtime's error message, "" if there is none.
  std::string Run(const Array& x, std::vector<Array>* outputs) const {
    OrtMemoryInfo* memory = nullptr;
    std::string error = Message(Api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    OrtValue* input = nullptr;
    Bytes elements = x.bytes;
    if (error.empty()) {
      error = Message(
          Api().CreateTensorWithDataAsOrtValue(memory, elements.data(), elements.size(), x.shape.data(), x.shape.size(),
                                               static_cast<ONNXTensorElementDataType>(kOnnxTypes[x.type]), &input));
    }
    Api().ReleaseMemoryInfo(memory);
    std::vector<const char*> names;
    for (const std::string& name : outputs_) names.push_back(name.c_str());
    std::vector<OrtValue*> values(names.size());
    const char* const x_name = "x";
    if (error.empty()) {
      error = Message(Api().Run(session_, nullptr, &x_name, &input, 1, names.data(), names.size(), values.data()));
    }
    outputs->clear();
    for (OrtValue* value : values) {
      if (error.empty()) outputs->push_back(Copy(value, &error));
      Api().ReleaseValue(value);
    }
    Api().ReleaseValue(input);
    return error;
  }

 private:
  static Array Copy(OrtValue* value, std::string* error) {
    Array array;
    OrtTensorTypeAndShapeInfo* info = nullptr;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t axes = 0, count = 0;
    void* data = nullptr;
    *error = Message(Api().GetTensorTypeAndShape(value, &info));
    if (error->empty()) *error = Message(Api().GetTensorElementType(info, &type));
    if (error->empty()) *error = Message(Api().GetDimensionsCount(info, &axes));
    array.shape.resize(axes);
    if (error->empty()) *error = Message(Api().GetDimensions(info, array.shape.data(), axes));
    if (error->empty()) *error = Message(Api().GetTensorShapeElementCount(info, &count));
    if (error->empty()) *error = Message(Api().GetTensorMutableData(value, &data));
    Api().ReleaseTensorTypeAndShapeInfo(info);
    const auto known = std::find(std::begin(kOnnxTypes), std::end(kOnnxTypes), static_cast<int>(type));
    if (known == std::end(kOnnxTypes)) *error = "an output of element type " + std::to_string(type);
    if (!error->empty()) return array;
    array.type = static_cast<int32_t>(known - kOnnxTypes);
    array.bytes.resize(count * ElementBytes(array.type));
    if (count != 0) std::memcpy(array.bytes.data(), data, array.bytes.size());
    return array;
  }

  std::vector<std::string> outputs_;
  OrtSession* session_ = nullptr;
  std::string error_;
};

void SetInts(onnx::NodeProto* node, const char* name, const std::vector<int64_t>& values) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (int64_t value : values) attribute->add_ints(value);
}

void SetInt(onnx::NodeProto* node, const char* name, int64_t value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

void SetFloat(onnx::NodeProto* node, const char* name, float value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::FLOAT);
  attribute->set_f(value);
}

void SetString(onnx::NodeProto* node, const char* name, const std::string& value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::STRING);
  attribute->set_s(value);
}

onnx::ValueInfoProto* Name(onnx::ValueInfoProto* value, const char* name, int onnx_type) {
  value->set_name(name);
  value->mutable_type()->mutable_tensor_type()->set_elem_type(onnx_type);
  return value;
}

// A model of one MaxPool without attributes, peakpool's or (domain "") the runtime's own, whose input has so many axes
// of unknown size.
onnx::ModelProto Model(const char* domain, int onnx_type, int axes, bool with_index) {
  onnx::ModelProto model;
  model.set_ir_version(7);
  onnx::OperatorSetIdProto* opset = model.add_opset_import();
  opset->set_domain("");
  opset->set_version(12);
  opset = model.add_opset_import();
  opset->set_domain("peakpool");
  opset->set_version(1);
  onnx::GraphProto* graph = model.mutable_graph();
  graph->set_name("test");
  onnx::NodeProto* node = graph->add_node();
  node->set_op_type("MaxPool");
  node->set_domain(domain);
  node->add_input("x");
  node->add_output("y");
  onnx::ValueInfoProto* x = Name(graph->add_input(), "x", onnx_type);
  for (int a = 0; a < axes; ++a) {
    x->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_param("d" + std::to_string(a));
  }
  Name(graph->add_output(), "y", onnx_type);
  if (with_index) {
    node->add_output("index");
    Name(graph->add_output(), "index", onnx::TensorProto::INT64);
  }
  return model;
}

// The model of a problem, padded as it says.
onnx::ModelProto ModelOf(const peakpool_problem& p, const char* domain = "peakpool") {
  onnx::ModelProto model = Model(domain, kOnnxTypes[p.type], p.rank + 2, p.index_format != PEAKPOOL_INDEX_NONE);
  onnx::NodeProto* node = model.mutable_graph()->mutable_node(0);
  const size_t rank = static_cast<size_t>(p.rank);
  SetInts(node, "kernel_shape", {p.kernel, p.kernel + rank});
  SetInts(node, "strides", {p.stride, p.stride + rank});
  SetInts(node, "dilations", {p.dilation, p.dilation + rank});
  std::vector<int64_t> pads(2 * rank);
  for (size_t a = 0; a < rank; ++a) {
    pads[a] = p.padding[a].before;
    pads[rank + a] = p.padding[a].after;
  }
  SetInts(node, "pads", pads);
  SetInt(node, "ceil_mode", p.rounding == PEAKPOOL_CEIL);
  SetInt(node, "storage_order", p.index_format == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64);
  return model;
}

std::vector<int64_t> Shape(const peakpool_problem& p, const int64_t* spatial) {
  std::vector<int64_t> shape = {p.batch, p.channels};
  shape.insert(shape.end(), spatial, spatial + p.rank);
  return shape;
}

// Numbers on which libraries agree: no NaN, no infinity, no zero of either sign.
Array PlainInput(const peakpool_problem& p, Random* random) {
  const size_t bytes = InputBytes(p);
  return {p.type, Shape(p, p.input),
          IsFloatType(p.type) ? RandomGradients(p.type, bytes, random, false)
                              : RandomElements(p.type, bytes, Fill::kBits, random)};
}

void ExpectSame(const std::vector<Array>& actual, const std::vector<Array>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].type, expected[i].type);
    EXPECT_EQ(actual[i].shape, expected[i].shape);
    EXPECT_TRUE(SameBytes(actual[i].bytes, expected[i].bytes, ElementBytes(expected[i].type))) << "output " << i;
  }
}

// What the reference makes of x.
std::vector<Array> Reference(peakpool_problem problem, const Array& x) {
  problem.algorithm = PEAKPOOL_IM2COL;
  const Plan plan(problem);
  EXPECT_TRUE(plan) << plan.error();
  if (!plan) return {};
  const bool with_index = problem.index_format != PEAKPOOL_INDEX_NONE;
  const Forward result = RunForward(plan, x.bytes, with_index);
  const std::vector<int64_t> shape = Shape(problem, plan.problem().output);
  std::vector<Array> outputs = {{problem.type, shape, result.y}};
  if (with_index) outputs.push_back({PEAKPOOL_I64, shape, result.index});
  return outputs;
}

std::vector<Array> RunModel(const onnx::ModelProto& model, const Array& x, int threads = 1) {
  std::vector<Array> outputs;
  const Session session(model, threads);
  EXPECT_EQ(session.error(), "");
  if (session.error().empty()) {
    EXPECT_EQ(session.Run(x, &outputs), "");
  }
  return outputs;
}

peakpool_problem ResolvedInput(const std::string& text) {
  peakpool_problem p = Parsed(text);
  const Plan plan(p);
  EXPECT_TRUE(plan) << text << ": " << plan.error();
  return plan ? plan.problem() : p;
}

// The problem with its strides filled in is for the tensors' sizes only; models are made from its text.
void ExpectReference(const std::string& text, Fill fill) {
  SCOPED_TRACE(text);
  Random random(1);
  const peakpool_problem problem = Parsed(text), resolved = ResolvedInput(text);
  const Array x = {problem.type, Shape(problem, problem.input),
                   RandomElements(problem.type, InputBytes(resolved), fill, &random)};
  ExpectSame(RunModel(ModelOf(problem), x), Reference(problem, x));
}

void ExpectOwnMaxPool(const std::string& text) {
  SCOPED_TRACE(text);
  Random random(2);
  const peakpool_problem problem = Parsed(text);
  const Array x = PlainInput(ResolvedInput(text), &random);
  ExpectSame(RunModel(ModelOf(problem), x), RunModel(ModelOf(problem, ""), x));
}

// ONNX's data: the models are rewritten by the tool.

bool ReadModel(const fs::path& path, onnx::ModelProto* model) {
  std::ifstream file(path, std::ios::binary);
  return model->ParseFromIstream(&file);
}

std::vector<fs::path> MaxPoolCases() {
  std::vector<fs::path> cases = OnnxCases();
  cases.erase(std::remove_if(cases.begin(), cases.end(),
                             [](const fs::path& folder) {
                               onnx::ModelProto model;
                               return !ReadModel(folder / "model.onnx", &model) ||
                                      model.graph().node(0).op_type() != "MaxPool";
                             }),
              cases.end());
  return cases;
}

class OnnxRuntimeData : public ::testing::TestWithParam<fs::path> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OnnxRuntimeData);

TEST_P(OnnxRuntimeData, Rewritten) {
  const fs::path folder = GetParam();
  const std::string rewritten = ::testing::TempDir() + "peakpool_" + folder.filename().string() + ".onnx";
  const std::string command = PEAKPOOL_ONNX_TOOL " --force " + (folder / "model.onnx").string() + " " + rewritten;
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  onnx::ModelProto theirs, ours;
  ASSERT_TRUE(ReadModel(folder / "model.onnx", &theirs));
  ASSERT_TRUE(ReadModel(rewritten, &ours));
  fs::remove(rewritten);
  ASSERT_EQ(ours.graph().node(0).domain(), "peakpool");
  const auto input_is_x = [](onnx::ModelProto* model) {  // as Session wants it
    model->mutable_graph()->mutable_node(0)->set_input(0, "x");
    model->mutable_graph()->mutable_input(0)->set_name("x");
  };
  input_is_x(&theirs);
  input_is_x(&ours);
  int sets = 0;
  for (const fs::directory_entry& set : fs::directory_iterator(folder)) {
    if (!set.is_directory()) continue;
    ++sets;
    std::string why;
    Array x;
    ASSERT_TRUE(ReadArray(set.path() / "input_0.pb", &x, &why)) << why;
    std::vector<Array> expected(static_cast<size_t>(ours.graph().output_size()));
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_TRUE(ReadArray(set.path() / ("output_" + std::to_string(i) + ".pb"), &expected[i], &why)) << why;
    }
    const std::vector<Array> actual = RunModel(ours, x);
    ExpectSame(actual, expected);
    ExpectSame(actual, RunModel(theirs, x));
  }
  EXPECT_GT(sets, 0);
}

INSTANTIATE_TEST_SUITE_P(Cases, OnnxRuntimeData, ::testing::ValuesIn(MaxPoolCases()),
                         [](const ::testing::TestParamInfo<fs::path>& info) { return info.param.filename().string(); });

TEST(OnnxRuntime, DataIsComplete) {
  if (!fs::exists(OnnxData())) GTEST_SKIP() << OnnxData() << " is not there (Debian package libonnx-testdata)";
  EXPECT_GE(MaxPoolCases().size(), 24u);  // ONNX 1.12
}

// Other problems.

const char* const kGeometries[] = {
    "nchw 1x64x56x56 k3 s2 p1",
    "nchw 2x3x17x13 k3x2 s2x1 p1x0:1",
    "nchw 2x3x17x13 k3 s1 p1 d2",
    "nchw 1x2x19x23 k5 s3 p2 ceil",
    "nchw 1x5x32x32 k13 s1 p6",
    "nchw 3x4x9x9 k2 s2 tensor-i64",
    "nchw 2x3x11x8 k3x4 s1x2 p1x2 tensor-i64",
    "nchw 2x3x11x8 k3 s2 p1 tensor-colmajor-i64",
    "ncw 2x5x100 k7 s3 p3 tensor-i64",
    "ncw 1x16x1000 k4 s4",
    "ncdhw 1x3x8x9x10 k2x3x2 s1x2x2 p0x1x1 tensor-i64",
    "ncdhw 2x2x6x7x8 k3 s2 p1 tensor-colmajor-i64",
};

TEST(OnnxRuntime, EveryTypeEqualsReference) {
  for (const char* type : {"f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"}) {
    for (const char* geometry : kGeometries) ExpectReference(std::string(type) + " " + geometry, Fill::kTies);
  }
}

TEST(OnnxRuntime, EqualsItsOwnMaxPool) {
  // The types that its CPU kernels take.
  for (const char* type : {"f32", "f64", "i8", "u8"}) {
    for (const char* geometry : kGeometries) ExpectOwnMaxPool(std::string(type) + " " + geometry);
  }
}

TEST(OnnxRuntime, AutoPad) {
  Random random(3);
  for (const char* auto_pad : {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}) {
    SCOPED_TRACE(auto_pad);
    const peakpool_problem size = ResolvedInput("f32 nchw 2x3x14x15 k3 s2");
    const Array x = PlainInput(size, &random);
    onnx::ModelProto ours = Model("peakpool", onnx::TensorProto::FLOAT, 4, true);
    onnx::ModelProto theirs = Model("", onnx::TensorProto::FLOAT, 4, true);
    for (onnx::ModelProto* model : {&ours, &theirs}) {
      onnx::NodeProto* node = model->mutable_graph()->mutable_node(0);
      SetInts(node, "kernel_shape", {4, 3});
      SetInts(node, "strides", {2, 2});
      SetString(node, "auto_pad", auto_pad);
    }
    ExpectSame(RunModel(ours, x), RunModel(theirs, x));
  }
}

TEST(OnnxRuntime, DefaultsAreOnnxs) {
  Random random(4);
  const Array x = PlainInput(ResolvedInput("f32 nchw 1x2x6x6 k3"), &random);
  onnx::ModelProto model = Model("peakpool", onnx::TensorProto::FLOAT, 4, false);
  SetInts(model.mutable_graph()->mutable_node(0), "kernel_shape", {3, 3});
  ExpectSame(RunModel(model, x), Reference(Parsed("f32 nchw 1x2x6x6 k3 s1"), x));
}

TEST(OnnxRuntime, AnUnnamedOutputIsNotMade) {
  Random random(5);
  const Array x = PlainInput(ResolvedInput("f32 nchw 1x2x6x6 k3"), &random);
  onnx::ModelProto model = ModelOf(Parsed("f32 nchw 1x2x6x6 k3"));
  model.mutable_graph()->mutable_node(0)->add_output("");
  ExpectSame(RunModel(model, x), Reference(Parsed("f32 nchw 1x2x6x6 k3"), x));
}

TEST(OnnxRuntime, SizesMayChangeFromRunToRun) {
  Random random(6);
  const Session session(ModelOf(Parsed("f32 nchw 1x1x9x9 k3 s2 p1 tensor-i64")));
  ASSERT_EQ(session.error(), "");
  for (const char* size : {"1x1x9x9", "2x64x56x57", "3x1x5x300", "0x3x9x9", "1x0x9x9", "1x1x9x9"}) {
    SCOPED_TRACE(size);
    const peakpool_problem problem = Parsed(std::string("f32 nchw ") + size + " k3 s2 p1 tensor-i64");
    const Array x = PlainInput(ResolvedInput(Described(problem)), &random);
    std::vector<Array> outputs;
    ASSERT_EQ(session.Run(x, &outputs), "");
    ExpectSame(outputs, Reference(problem, x));
  }
}

TEST(OnnxRuntime, AnyNumberOfThreadsGivesTheSameBytes) {
  for (const char* text : {"f32 nchw 1x64x112x112 k3 s2 p1 tensor-i64", "f32 nchw 1x1x1000x700 k2 tensor-i64"}) {
    SCOPED_TRACE(text);
    Random random(7);
    const peakpool_problem problem = Parsed(text), resolved = ResolvedInput(text);
    const Array x = {problem.type, Shape(problem, problem.input),
                     RandomElements(problem.type, InputBytes(resolved), Fill::kTies, &random)};
    const std::vector<Array> expected = Reference(problem, x);
    for (int threads : {1, 2, 4}) ExpectSame(RunModel(ModelOf(problem), x, threads), expected);
  }
}

ptrdiff_t ThreadsOfThisProcess() {
  return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
}

TEST(OnnxRuntime, ThreadsAreTheSessions) {
  const char* const text = "f32 nchw 1x64x224x224 k3 s2 p1";
  Random random(8);
  const Array x = PlainInput(ResolvedInput(text), &random);
  for (int threads : {1, 3}) {
    const ptrdiff_t before = ThreadsOfThisProcess();
    const Session session(ModelOf(Parsed(text)), threads);
    ASSERT_EQ(session.error(), "");
    std::vector<Array> outputs;
    for (int run = 0; run < 5; ++run) ASSERT_EQ(session.Run(x, &outputs), "");
    EXPECT_EQ(ThreadsOfThisProcess() - before, threads - 1);  // the caller is one of them
  }
}

TEST(OnnxRuntime, SessionsRunSideBySide) {
  const char* const texts[] = {"f32 nchw 1x32x56x56 k3 s2 p1 tensor-i64", "u8 nchw 1x16x64x64 k5 s1 p2"};
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<Array> inputs;
  std::vector<std::vector<Array>> expected;
  Random random(9);
  for (const char* text : texts) {
    sessions.push_back(std::make_unique<Session>(ModelOf(Parsed(text)), 2));
    ASSERT_EQ(sessions.back()->error(), "");
    inputs.push_back(PlainInput(ResolvedInput(text), &random));
    expected.push_back(Reference(Parsed(text), inputs.back()));
  }
  std::vector<std::thread> threads;  // two for each session
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int run = 0; run < 50; ++run) {
        std::vector<Array> outputs;
        ASSERT_EQ(sessions[t % 2]->Run(inputs[t % 2], &outputs), "");
        ExpectSame(outputs, expected[t % 2]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Bad nodes are refused when the session is made, bad sizes when it runs, naming what is wrong.

void ExpectNoSession(const char* message, const std::function<void(onnx::NodeProto*)>& edit) {
  SCOPED_TRACE(message);
  onnx::ModelProto model = Model("peakpool", onnx::TensorProto::FLOAT, 4, true);
  edit(model.mutable_graph()->mutable_node(0));
  const Session session(model);
  EXPECT_NE(session.error().find(std::string("peakpool.MaxPool: ") + message), std::string::npos) << session.error();
}

TEST(OnnxRuntime, BadAttributesAreRefused) {
  using Node = onnx::NodeProto*;
  ExpectNoSession("kernel_shape: must be given", [](Node) {});
  ExpectNoSession("kernel_shape: must be a list of integers, not empty",
                  [](Node n) { SetInts(n, "kernel_shape", {}); });
  ExpectNoSession("kernel_shape has 4 values: must have 1 to 3", [](Node n) {
    SetInts(n, "kernel_shape", {1, 1, 1, 1});
  });
  ExpectNoSession("kernel_shape: must be a list of integers", [](Node n) { SetFloat(n, "kernel_shape", 3); });
  ExpectNoSession("kernel[1] = 0: must be >= 1", [](Node n) { SetInts(n, "kernel_shape", {3, 0}); });
  const auto also = [](const char* message, const std::function<void(Node)>& edit) {
    ExpectNoSession(message, [&](Node n) {
      SetInts(n, "kernel_shape", {3, 3});
      edit(n);
    });
  };
  also("strides has 1 values: must have 2", [](Node n) { SetInts(n, "strides", {2}); });
  also("strides: must be a list of integers", [](Node n) { SetString(n, "strides", "2"); });
  also("stride[0] = -1: must be >= 1", [](Node n) { SetInts(n, "strides", {-1, 1}); });
  also("dilation[1] = 0: must be >= 1", [](Node n) { SetInts(n, "dilations", {1, 0}); });
  also("dilations has 3 values: must have 2", [](Node n) { SetInts(n, "dilations", {1, 1, 1}); });
  also("pads has 2 values: must have 4", [](Node n) { SetInts(n, "pads", {1, 1}); });
  also("padding[1].before = -3: must be >= 0", [](Node n) { SetInts(n, "pads", {0, -3, 0, 0}); });
  also("padding[0].after = -4: must be >= 0", [](Node n) { SetInts(n, "pads", {0, 0, -4, 0}); });
  also("auto_pad = \"SAME\": must be NOTSET, SAME_UPPER, SAME_LOWER or VALID",
       [](Node n) { SetString(n, "auto_pad", "SAME"); });
  also("auto_pad: is 40 bytes long", [](Node n) { SetString(n, "auto_pad", std::string(40, 'A')); });
  also("auto_pad: must be a string", [](Node n) { SetInt(n, "auto_pad", 1); });
  also("ceil_mode = 2: must be 0 or 1", [](Node n) { SetInt(n, "ceil_mode", 2); });
  also("ceil_mode: must be an integer", [](Node n) { SetString(n, "ceil_mode", "yes"); });
  also("storage_order = -1: must be 0 or 1", [](Node n) { SetInt(n, "storage_order", -1); });
}

TEST(OnnxRuntime, OtherElementTypesAreRefused) {
  for (int type : {onnx::TensorProto::BOOL, onnx::TensorProto::STRING, onnx::TensorProto::COMPLEX64}) {
    onnx::ModelProto model = Model("peakpool", type, 4, false);
    SetInts(model.mutable_graph()->mutable_node(0), "kernel_shape", {3, 3});
    const Session session(model);
    EXPECT_NE(session.error(), "");
    if (type == onnx::TensorProto::COMPLEX64) continue;  // the runtime itself has no such tensors
    EXPECT_NE(session.error().find("X has element type " + std::to_string(type)), std::string::npos) << session.error();
  }
}

TEST(OnnxRuntime, BadSizesAreRefused) {
  const auto refused = [](const onnx::ModelProto& model, const std::vector<int64_t>& shape, const char* message) {
    SCOPED_TRACE(message);
    const Session session(model);
    ASSERT_EQ(session.error(), "");
    int64_t count = 1;
    for (int64_t size : shape) count *= size;
    std::vector<Array> outputs;
    const std::string error = session.Run({PEAKPOOL_F32, shape, Bytes(static_cast<size_t>(count) * 4)}, &outputs);
    EXPECT_NE(error.find(std::string("peakpool.MaxPool: ") + message), std::string::npos) << error;
  };
  const onnx::ModelProto model = ModelOf(Parsed("f32 nchw 1x1x5x5 k5"));
  refused(model, {1, 1, 5, 4}, "kernel[1] = 5");
  refused(model, {1, 1, 0, 5}, "input[0] = 0");
  // Every window of the first row lies in the padding.
  refused(ModelOf(Parsed("f32 nchw 1x1x5x5 k2 p2 allow-empty")), {1, 1, 5, 5},
          "padding[0] = 2:2: window 0 of spatial axis 0 lies wholly in the padding");
  onnx::ModelProto any_rank = model;
  any_rank.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  refused(any_rank, {1, 1, 5}, "X has 3 axes: must have 4, two more than kernel_shape has values");
  refused(any_rank, {1, 1, 5, 5, 5}, "X has 5 axes");
}

}  // namespace
}  // namespace peakpool::tests
