// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime's MaxPool on peakpool: a shared library with the custom operator peakpool.MaxPool, which has the
// attributes and outputs of ONNX's MaxPool and takes every element type that peakpool and the runtime share. Threads
// are the session's. Uses peakpool's public API and the runtime's C API only.
#include <onnxruntime_c_api.h>

#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <thread>

#include "peakpool/peakpool.hpp"

namespace peakpool {
namespace {

// The first API whose operators hand errors back instead of throwing them, and the first that lends its threads.
constexpr uint32_t kOldestApi = 16, kThreadsApi = 17;

// What a node says of its pooling: everything but the input's sizes, which can change from run to run. A plan is made
// for each run: that takes 0.13 us (Zen 5), less than a lookup that threads can share.
struct Kernel {
  const OrtApi* api;
  peakpool_problem problem;
  peakpool_status (*pad)(peakpool_problem*);  // for SAME_UPPER and SAME_LOWER, else null
  peakpool_index_format index_format;         // of Indices, where the node has that output
  int32_t threads;                            // how many tasks to make for the session's threads; 1: it lends none
};

__attribute__((format(printf, 2, 3))) OrtStatus* Fail(const OrtApi& api, const char* format, ...) {
  char text[512] = "peakpool.MaxPool: ";
  const size_t prefix = std::strlen(text);
  va_list values;
  va_start(values, format);
  std::vsnprintf(text + prefix, sizeof(text) - prefix, format, values);
  va_end(values);
  return api.CreateStatus(ORT_INVALID_ARGUMENT, text);
}

// True where there is no error; drops it otherwise.
bool Succeeds(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return true;
  api.ReleaseStatus(status);
  return false;
}

// The attributes of one node.
class Attributes {
 public:
  Attributes(const OrtApi& api, const OrtKernelInfo* info) : api_(api), info_(info) {}

  // Each leaves *value as it is where the node does not have the attribute.
  OrtStatus* Flag(const char* name, bool* value) const {
    int64_t number;
    if (!Succeeds(api_, api_.KernelInfoGetAttribute_int64(info_, name, &number))) {
      return Exists(name) ? Fail(api_, "%s: must be an integer", name) : nullptr;
    }
    if (number != 0 && number != 1) return Fail(api_, "%s = %" PRId64 ": must be 0 or 1", name, number);
    *value = number == 1;
    return nullptr;
  }

  template <size_t kBytes>
  OrtStatus* Text(const char* name, char (&value)[kBytes]) const {
    size_t bytes = 0;
    if (!Succeeds(api_, api_.KernelInfoGetAttribute_string(info_, name, nullptr, &bytes))) {
      return Exists(name) ? Fail(api_, "%s: must be a string", name) : nullptr;
    }
    if (bytes > kBytes) return Fail(api_, "%s: is %zu bytes long", name, bytes - 1);
    return api_.KernelInfoGetAttribute_string(info_, name, value, &bytes);
  }

  // A list of least to most integers; *count is 0 where there is none.
  OrtStatus* List(const char* name, size_t least, size_t most, int64_t* values, size_t* count) const {
    // Some runtimes take any other type for an empty list.
    if (!Succeeds(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, count)) || *count == 0) {
      *count = 0;
      return Exists(name) ? Fail(api_, "%s: must be a list of integers, not empty", name) : nullptr;
    }
    if (*count < least || *count > most) {
      return least == most ? Fail(api_, "%s has %zu values: must have %zu", name, *count, most)
                           : Fail(api_, "%s has %zu values: must have %zu to %zu", name, *count, least, most);
    }
    return api_.KernelInfoGetAttributeArray_int64(info_, name, values, count);
  }

 private:
  // The runtime's getters fail alike for an attribute that is absent and one of another type.
  bool Exists(const char* name) const {
    int64_t integer;
    float real;
    size_t size = 0;
    return Succeeds(api_, api_.KernelInfoGetAttribute_int64(info_, name, &integer)) ||
           Succeeds(api_, api_.KernelInfoGetAttribute_float(info_, name, &real)) ||
           Succeeds(api_, api_.KernelInfoGetAttribute_string(info_, name, nullptr, &size)) ||
           Succeeds(api_, api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &size)) ||
           Succeeds(api_, api_.KernelInfoGetAttributeArray_float(info_, name, nullptr, &size));
  }

  const OrtApi& api_;
  const OrtKernelInfo* info_;
};

OrtStatus* ReadType(const OrtApi& api, const OrtKernelInfo* info, int32_t* type) {
  OrtTypeInfo* type_info = nullptr;
  if (OrtStatus* status = api.KernelInfo_GetInputTypeInfo(info, 0, &type_info)) return status;
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  OrtStatus* status = api.CastTypeInfoToTensorInfo(type_info, &tensor);
  if (status == nullptr && tensor != nullptr) status = api.GetTensorElementType(tensor, &element);
  api.ReleaseTypeInfo(type_info);
  if (status != nullptr) return status;
  switch (element) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: *type = PEAKPOOL_F32; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: *type = PEAKPOOL_F64; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: *type = PEAKPOOL_F16; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16: *type = PEAKPOOL_BF16; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: *type = PEAKPOOL_I8; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: *type = PEAKPOOL_U8; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16: *type = PEAKPOOL_I16; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16: *type = PEAKPOOL_U16; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: *type = PEAKPOOL_I32; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32: *type = PEAKPOOL_U32; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: *type = PEAKPOOL_I64; return nullptr;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64: *type = PEAKPOOL_U64; return nullptr;
    default:
      return Fail(api, "X has element type %d (TensorProto.DataType): must be a number", static_cast<int>(element));
  }
}

// Everything that is wrong whatever the input's sizes is refused here, when the session is made.
OrtStatus* ReadNode(const OrtApi& api, const OrtKernelInfo* info, Kernel* kernel) {
  const Attributes attributes(api, info);
  int32_t type = PEAKPOOL_F32;
  if (OrtStatus* status = ReadType(api, info, &type)) return status;
  int64_t values[2 * PEAKPOOL_MAX_RANK];
  size_t rank = 0;
  if (OrtStatus* status = attributes.List("kernel_shape", 1, PEAKPOOL_MAX_RANK, values, &rank)) return status;
  if (rank == 0) return Fail(api, "kernel_shape: must be given");

  peakpool_problem& problem = kernel->problem;
  if (peakpool_problem_init(&problem, type, PEAKPOOL_CHANNELS_FIRST, static_cast<int>(rank)) != PEAKPOOL_OK) {
    return Fail(api, "%s", peakpool_last_error());
  }
  std::memcpy(problem.kernel, values, rank * sizeof(int64_t));
  size_t count;
  if (OrtStatus* status = attributes.List("strides", rank, rank, problem.stride, &count)) return status;
  if (OrtStatus* status = attributes.List("dilations", rank, rank, problem.dilation, &count)) return status;
  if (OrtStatus* status = attributes.List("pads", 2 * rank, 2 * rank, values, &count)) return status;

  // auto_pad overrules pads, as in the runtime's own operator.
  char auto_pad[16] = "NOTSET";
  if (OrtStatus* status = attributes.Text("auto_pad", auto_pad)) return status;
  kernel->pad = nullptr;
  if (std::strcmp(auto_pad, "NOTSET") == 0) {
    for (size_t a = 0; count != 0 && a < rank; ++a) problem.padding[a] = {values[a], values[rank + a]};
  } else if (std::strcmp(auto_pad, "SAME_UPPER") == 0) {
    kernel->pad = &peakpool_pad_same_upper;
  } else if (std::strcmp(auto_pad, "SAME_LOWER") == 0) {
    kernel->pad = &peakpool_pad_same_lower;
  } else if (std::strcmp(auto_pad, "VALID") != 0) {
    return Fail(api, "auto_pad = \"%s\": must be NOTSET, SAME_UPPER, SAME_LOWER or VALID", auto_pad);
  }

  // Windows of one output, none of which must hold an input, check the rest.
  problem.rounding = PEAKPOOL_EXPLICIT;
  problem.flags = PEAKPOOL_ALLOW_EMPTY;
  problem.batch = 0;
  for (size_t a = 0; a < rank; ++a) problem.output[a] = 1;
  const Plan trial(problem);
  if (!trial) return Fail(api, "%s", trial.error());
  problem.flags = 0;

  bool ceil = false, column_major = false;
  if (OrtStatus* status = attributes.Flag("ceil_mode", &ceil)) return status;
  if (OrtStatus* status = attributes.Flag("storage_order", &column_major)) return status;
  problem.rounding = ceil ? PEAKPOOL_CEIL : PEAKPOOL_FLOOR;
  kernel->index_format = column_major ? PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64 : PEAKPOOL_INDEX_TENSOR_I64;
  return nullptr;
}

OrtStatus* CreateKernel(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** result) {
  Kernel kernel = {};
  kernel.api = api;
  if (OrtStatus* status = ReadNode(*api, info, &kernel)) return status;
  // The runtime does not say how many threads a session has. Tasks for more than there are cost little.
  const unsigned int threads = op->version >= kThreadsApi ? std::thread::hardware_concurrency() : 1;
  kernel.threads = threads > 1 ? static_cast<int32_t>(threads) : 1;
  *result = new (std::nothrow) Kernel(kernel);
  return *result == nullptr ? Fail(*api, "out of memory") : nullptr;
}

void DestroyKernel(void* kernel) { delete static_cast<Kernel*>(kernel); }

// The session's threads as an executor.
struct Session {
  const OrtApi* api;
  const OrtKernelContext* context;
  OrtStatus* status;
};

void RunInSession(void* context, int64_t count, void (*task)(void*, int64_t), void* task_context) {
  struct Tasks {
    void (*run)(void*, int64_t);
    void* context;
  } tasks = {task, task_context};
  Session* const session = static_cast<Session*>(context);
  session->status = session->api->KernelContext_ParallelFor(
      session->context,
      [](void* data, size_t i) {
        const Tasks& t = *static_cast<const Tasks*>(data);
        t.run(t.context, static_cast<int64_t>(i));
      },
      static_cast<size_t>(count), 0, &tasks);
}

// X's elements, and its sizes in the problem.
OrtStatus* ReadInput(const OrtApi& api, const OrtKernelContext* context, peakpool_problem* problem, const void** data) {
  const OrtValue* x = nullptr;
  if (OrtStatus* status = api.KernelContext_GetInput(context, 0, &x)) return status;
  OrtTensorTypeAndShapeInfo* shape = nullptr;
  if (OrtStatus* status = api.GetTensorTypeAndShape(x, &shape)) return status;
  const size_t expected = static_cast<size_t>(problem->rank) + 2;
  size_t axes = 0;
  int64_t sizes[PEAKPOOL_MAX_RANK + 2];
  OrtStatus* status = api.GetDimensionsCount(shape, &axes);
  if (status == nullptr && axes == expected) status = api.GetDimensions(shape, sizes, axes);
  api.ReleaseTensorTypeAndShapeInfo(shape);
  if (status != nullptr) return status;
  if (axes != expected) {
    return Fail(api, "X has %zu axes: must have %zu, two more than kernel_shape has values", axes, expected);
  }
  problem->batch = sizes[0];
  problem->channels = sizes[1];
  std::memcpy(problem->input, sizes + 2, (axes - 2) * sizeof(int64_t));
  void* elements = nullptr;  // the getter of constant data came with a later API
  status = api.GetTensorMutableData(const_cast<OrtValue*>(x), &elements);
  *data = elements;
  return status;
}

// Output i, with the given sizes; *data stays null where the node does not have it.
OrtStatus* MakeOutput(const OrtApi& api, OrtKernelContext* context, size_t i, const peakpool_problem& problem,
                      void** data) {
  int64_t sizes[PEAKPOOL_MAX_RANK + 2] = {problem.batch, problem.channels};
  std::memcpy(sizes + 2, problem.output, static_cast<size_t>(problem.rank) * sizeof(int64_t));
  OrtValue* value = nullptr;
  if (OrtStatus* status =
          api.KernelContext_GetOutput(context, i, sizes, static_cast<size_t>(problem.rank) + 2, &value)) {
    return status;
  }
  return value == nullptr ? nullptr : api.GetTensorMutableData(value, data);
}

OrtStatus* Compute(void* op_kernel, OrtKernelContext* context) {
  const Kernel& kernel = *static_cast<const Kernel*>(op_kernel);
  const OrtApi& api = *kernel.api;
  peakpool_problem problem = kernel.problem;
  const void* x = nullptr;
  if (OrtStatus* status = ReadInput(api, context, &problem, &x)) return status;
  if (kernel.pad != nullptr && kernel.pad(&problem) != PEAKPOOL_OK) return Fail(api, "%s", peakpool_last_error());
  size_t outputs = 0;
  if (OrtStatus* status = api.KernelContext_GetOutputCount(context, &outputs)) return status;
  if (outputs > 1) problem.index_format = kernel.index_format;

  const Plan plan(problem);
  if (!plan) return Fail(api, "%s", plan.error());
  void *y = nullptr, *index = nullptr;
  if (OrtStatus* status = MakeOutput(api, context, 0, plan.problem(), &y)) return status;
  if (outputs > 1) {
    if (OrtStatus* status = MakeOutput(api, context, 1, plan.problem(), &index)) return status;
  }
  if (plan.output_elements() == 0) return nullptr;  // the runtime gives empty tensors no address

  Session session = {&api, context, nullptr};
  const peakpool_executor executor = {sizeof(executor), &RunInSession, &session, kernel.threads};
  if (plan.forward(x, y, index, &executor) != PEAKPOOL_OK) return Fail(api, "%s", peakpool_last_error());
  return session.status;
}

OrtCustomOp MaxPool(uint32_t api_version) {
  OrtCustomOp op = {};
  op.version = api_version;
  op.GetName = [](const OrtCustomOp*) { return "MaxPool"; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
  op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 2; };
  // Undefined means any for X, and X's for Y.
  op.GetInputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED; };
  op.GetOutputType = [](const OrtCustomOp*, size_t i) {
    return i == 0 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t i) {
    return i == 0 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  op.CreateKernelV2 = &CreateKernel;
  op.KernelComputeV2 = &Compute;
  op.KernelDestroy = &DestroyKernel;
  return op;
}

// The domain `peakpool` of one runtime. Lives until this library is unloaded: sessions keep pointers into it.
struct Domain {
  const OrtApi* api;
  OrtCustomOp max_pool;
  OrtCustomOpDomain* domain = nullptr;

  Domain(const OrtApi* its_api, uint32_t version) : api(its_api), max_pool(MaxPool(version)) {
    if (!Succeeds(*api, api->CreateCustomOpDomain("peakpool", &domain))) domain = nullptr;
    if (domain != nullptr && !Succeeds(*api, api->CustomOpDomain_Add(domain, &max_pool))) Release();
  }
  ~Domain() { Release(); }
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

 private:
  void Release() {
    if (domain != nullptr) api->ReleaseCustomOpDomain(domain);
    domain = nullptr;
  }
};

}  // namespace
}  // namespace peakpool

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using peakpool::Domain;
  // GetApi() writes to stderr where it does not have a version, so the runtime's own number is asked first.
  unsigned int major = 0, minor = 0;
  const char* const text = base->GetVersionString();
  const bool parsed = std::sscanf(text, "%u.%u", &major, &minor) == 2;
  if (parsed && major <= 1 && minor < peakpool::kOldestApi) {
    return peakpool::Fail(*base->GetApi(1), "needs ONNX Runtime 1.%u or later, this is %s", peakpool::kOldestApi, text);
  }
  const bool oldest = parsed && major <= 1 && minor < peakpool::kThreadsApi;
  const uint32_t version = oldest ? peakpool::kOldestApi : peakpool::kThreadsApi;
  const OrtApi* const api = base->GetApi(version);
  static const Domain domain(api, version);
  if (domain.api != api) return peakpool::Fail(*api, "is in use by another ONNX Runtime of this process");
  if (domain.domain == nullptr) return peakpool::Fail(*api, "the operator's domain could not be made");
  return api->AddCustomOpDomain(options, domain.domain);
}
