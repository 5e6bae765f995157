// SPDX-License-Identifier: Apache-2.0
// The C ABI: checks arguments, words index errors, calls in.
#include <cinttypes>
#include <cstring>

#include "peakpool/peakpool.h"
#include "src/describe.h"
#include "src/element.h"
#include "src/error.h"
#include "src/execute.h"
#include "src/executor.h"
#include "src/explain.h"
#include "src/indices.h"
#include "src/overlap.h"
#include "src/plan.h"
#include "src/pyramid.h"
#include "src/shape.h"
#include "src/stream.h"
#include "src/text.h"

using peakpool::Fail;

namespace {

peakpool_status CheckPointer(const void* pointer, const char* name) {
  return pointer != nullptr ? PEAKPOOL_OK : Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = NULL: must point to data", name);
}

struct Tensor {
  const char* name;
  const void* data;
  int64_t extent, element_bytes;
  const peakpool::Geometry* geometry;
  bool is_input;  // has the geometry's input size and strides, else the output's
  uintptr_t begin() const { return reinterpret_cast<uintptr_t>(data); }
  uintptr_t end() const { return begin() + static_cast<uintptr_t>(extent * element_bytes); }
  peakpool::Footprint footprint() const {
    return (is_input ? peakpool::InputFootprint : peakpool::OutputFootprint)(*geometry, data, element_bytes);
  }
};

// Of x's or dx's shape, and of that of y, dy or the indices.
Tensor Input(const char* name, const void* data, const peakpool::Shape& shape) {
  return {name, data, shape.input_extent, shape.element_bytes, &shape.geometry, true};
}
Tensor Output(const char* name, const void* data, const peakpool::Shape& shape, int64_t element_bytes) {
  return {name, data, shape.output_extent, element_bytes, &shape.geometry, false};
}

// Every tensor there, aligned to its element, and none overlapping an output.
peakpool_status CheckTensors(const Tensor* tensors, int count, const bool* is_output) {
  for (int i = 0; i < count; ++i) {
    const Tensor& t = tensors[i];
    if (t.extent == 0) continue;
    if (peakpool_status s = CheckPointer(t.data, t.name)) return s;
    if ((t.begin() & static_cast<uintptr_t>(t.element_bytes - 1)) != 0) {
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = %p: must be aligned to its %" PRId64 "-byte elements", t.name,
                  t.data, t.element_bytes);
    }
    for (int j = 0; j < i; ++j) {
      const Tensor& other = tensors[j];
      if (!(is_output[i] || is_output[j]) || other.extent == 0) continue;
      if (t.begin() < other.end() && other.begin() < t.end() &&
          peakpool::MayOverlap(t.footprint(), other.footprint())) {
        return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = %p: overlaps %s = %p", t.name, t.data, other.name, other.data);
      }
    }
  }
  return PEAKPOOL_OK;
}

peakpool_status CheckExecutor(const peakpool_executor** executor) {
  if (*executor == nullptr) {
    *executor = peakpool::DefaultExecutor();
    return PEAKPOOL_OK;
  }
  const peakpool_executor& e = **executor;
  if (e.struct_size != sizeof(peakpool_executor)) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "executor.struct_size = %zu: this library knows %zu", e.struct_size,
                sizeof(peakpool_executor));
  }
  if (peakpool_status s = CheckPointer(reinterpret_cast<const void*>(e.parallel_for), "executor.parallel_for"))
    return s;
  if (e.threads < 1 && *executor != peakpool::DefaultExecutor()) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "executor.threads = %d: must be >= 1", e.threads);
  }
  return PEAKPOOL_OK;
}

// Names the first invalid index; only a failed call pays for the search.
peakpool_status FailInvalidIndex(const peakpool_plan& plan, int32_t format, const void* index, bool in_window) {
  peakpool::InvalidIndex found = {};
  const peakpool::Shape& shape = plan.shape;
  peakpool::FindInvalidIndex({&shape.geometry, format, shape.has_empty_window, index, !in_window}, &found);
  char position[96];
  peakpool::Text text(position, sizeof(position));
  text.Add("%" PRId64 ",%" PRId64, found.n, found.c);
  for (int a = PEAKPOOL_MAX_RANK - plan.problem.rank; a < PEAKPOOL_MAX_RANK; ++a) text.Add(",%" PRId64, found.o[a]);
  return Fail(PEAKPOOL_INVALID_INDEX, "index[%s] = %" PRId64 ": lies outside its %s (%s)", position, found.value,
              in_window ? "window" : "plane", peakpool::IndexFormatName(format));
}

}  // namespace

peakpool_status peakpool_problem_init(peakpool_problem* problem, int32_t type, int32_t layout, int32_t rank) {
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  if (peakpool_status s = peakpool::CheckDomains(type, layout, rank)) return s;
  std::memset(problem, 0, sizeof(*problem));
  problem->struct_size = sizeof(*problem);
  problem->type = type;
  problem->layout = layout;
  problem->rank = rank;
  problem->batch = problem->channels = 1;
  for (int a = 0; a < PEAKPOOL_MAX_RANK; ++a) {
    problem->input[a] = problem->kernel[a] = problem->stride[a] = problem->dilation[a] = 1;
  }
  return PEAKPOOL_OK;
}

peakpool_status peakpool_parse(const char* text, peakpool_problem* problem) {
  if (peakpool_status s = CheckPointer(text, "text")) return s;
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  return peakpool::Parse(text, problem);
}

size_t peakpool_describe(const peakpool_problem* problem, char* buffer, size_t size) {
  if (buffer == nullptr) size = 0;
  if (size > 0) buffer[0] = '\0';
  if (problem == nullptr || problem->struct_size != sizeof(*problem) ||
      peakpool::CheckDomains(problem->type, problem->layout, problem->rank) != PEAKPOOL_OK || problem->rounding < 0 ||
      problem->rounding > PEAKPOOL_ADAPTIVE || problem->index_format < 0 ||
      problem->index_format > PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64) {
    return 0;
  }
  return peakpool::Describe(*problem, buffer, size);
}

peakpool_status peakpool_pad_same_upper(peakpool_problem* problem) {
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  return peakpool::PadSame(problem, true);
}

peakpool_status peakpool_pad_same_lower(peakpool_problem* problem) {
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  return peakpool::PadSame(problem, false);
}

peakpool_status peakpool_output_size(const peakpool_problem* problem, int64_t* output) {
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  if (peakpool_status s = CheckPointer(output, "output")) return s;
  peakpool::Shape shape;
  if (peakpool_status s = peakpool::ResolveShape(*problem, &shape)) return s;
  for (int a = 0; a < problem->rank; ++a) output[a] = shape.problem.output[a];
  return PEAKPOOL_OK;
}

peakpool_status peakpool_plan_create(const peakpool_problem* problem, peakpool_plan** plan) {
  if (peakpool_status s = CheckPointer(plan, "plan")) return s;
  *plan = nullptr;
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  return peakpool::MakePlan(*problem, plan);
}

void peakpool_plan_destroy(peakpool_plan* plan) { delete plan; }

const peakpool_problem* peakpool_plan_problem(const peakpool_plan* plan) {
  return plan == nullptr ? nullptr : &plan->shape.problem;
}

size_t peakpool_explain(const peakpool_plan* plan, char* buffer, size_t size) {
  if (buffer == nullptr) size = 0;
  if (size > 0) buffer[0] = '\0';
  return plan == nullptr ? 0 : peakpool::Explain(*plan, buffer, size);
}

peakpool_status peakpool_forward(const peakpool_plan* plan, const void* x, void* y, void* index,
                                 const peakpool_executor* executor) {
  if (peakpool_status s = CheckPointer(plan, "plan")) return s;
  if (peakpool_status s = CheckExecutor(&executor)) return s;
  const int32_t format = plan->problem.index_format;
  if (index != nullptr && format == PEAKPOOL_INDEX_NONE) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "index = %p: the plan has no index format", index);
  }
  const Tensor tensors[] = {Input("x", x, plan->shape), Output("y", y, plan->shape, plan->shape.element_bytes),
                            Output("index", index, plan->shape, plan->shape.index_bytes)};
  static constexpr bool kIsOutput[] = {false, true, true};
  if (peakpool_status s = CheckTensors(tensors, index == nullptr ? 2 : 3, kIsOutput)) return s;
  peakpool::Forward(*plan, x, y, index, *executor);
  return PEAKPOOL_OK;
}

peakpool_status peakpool_backward(const peakpool_plan* plan, const void* dy, const void* index, void* dx,
                                  const peakpool_executor* executor) {
  if (peakpool_status s = CheckPointer(plan, "plan")) return s;
  if (peakpool_status s = CheckExecutor(&executor)) return s;
  if (!peakpool::IsFloat(plan->problem.type)) {
    return Fail(PEAKPOOL_UNSUPPORTED, "type = %s: gradients are f32, f64, f16 or bf16",
                peakpool::TypeName(plan->problem.type));
  }
  const int32_t format = plan->problem.index_format;
  if (format == PEAKPOOL_INDEX_NONE) {
    return Fail(PEAKPOOL_UNSUPPORTED, "index_format = no-index: backward needs the indices of the forward pass");
  }
  const Tensor tensors[] = {Output("dy", dy, plan->shape, plan->shape.element_bytes),
                            Output("index", index, plan->shape, plan->shape.index_bytes), Input("dx", dx, plan->shape)};
  static constexpr bool kIsOutput[] = {false, false, true};
  if (peakpool_status s = CheckTensors(tensors, 3, kIsOutput)) return s;
  if (!peakpool::Backward(*plan, dy, index, dx, *executor)) return FailInvalidIndex(*plan, format, index, true);
  return PEAKPOOL_OK;
}

peakpool_status peakpool_unpool(const peakpool_plan* plan, const void* y, const void* index, void* x,
                                const peakpool_executor* executor) {
  if (peakpool_status s = CheckPointer(plan, "plan")) return s;
  if (peakpool_status s = CheckExecutor(&executor)) return s;
  const int32_t format = plan->problem.index_format;
  if (format == PEAKPOOL_INDEX_NONE) {
    return Fail(PEAKPOOL_UNSUPPORTED, "index_format = no-index: unpool needs the indices of the forward pass");
  }
  const Tensor tensors[] = {Output("y", y, plan->shape, plan->shape.element_bytes),
                            Output("index", index, plan->shape, plan->shape.index_bytes), Input("x", x, plan->shape)};
  static constexpr bool kIsOutput[] = {false, false, true};
  if (peakpool_status s = CheckTensors(tensors, 3, kIsOutput)) return s;
  if (!peakpool::Unpool(*plan, y, index, x, *executor)) {
    return FailInvalidIndex(*plan, format, index, peakpool::IsWindowFormat(format));
  }
  return PEAKPOOL_OK;
}

peakpool_status peakpool_convert_indices(const peakpool_plan* plan, int32_t from_format, const void* from,
                                         int32_t to_format, void* to, const peakpool_executor* executor) {
  if (peakpool_status s = CheckPointer(plan, "plan")) return s;
  if (peakpool_status s = CheckExecutor(&executor)) return s;
  const struct {
    const char* name;
    int32_t format;
  } formats[] = {{"from_format", from_format}, {"to_format", to_format}};
  for (const auto& f : formats) {
    if (f.format <= PEAKPOOL_INDEX_NONE || f.format > PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64) {
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = %d: must be 1 to %d", f.name, f.format,
                  PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64);
    }
    // Whether the format can hold the range is a question for the shape.
    peakpool_problem problem = plan->problem;
    problem.index_format = f.format;
    peakpool::Shape shape;
    if (peakpool_status s = peakpool::ResolveShape(problem, &shape)) return s;
  }
  const Tensor tensors[] = {Output("from", from, plan->shape, peakpool::IndexBytes(from_format)),
                            Output("to", to, plan->shape, peakpool::IndexBytes(to_format))};
  static constexpr bool kIsOutput[] = {false, true};
  if (peakpool_status s = CheckTensors(tensors, 2, kIsOutput)) return s;
  if (!peakpool::ConvertIndices(*plan, from_format, from, to_format, to, *executor)) {
    const bool in_window = peakpool::IsWindowFormat(from_format) || peakpool::IsWindowFormat(to_format);
    return FailInvalidIndex(*plan, from_format, from, in_window);
  }
  return PEAKPOOL_OK;
}

peakpool_status peakpool_pyramid_create(const peakpool_problem* problem, const int64_t* kernels, int32_t levels,
                                        peakpool_pyramid** pyramid) {
  if (peakpool_status s = CheckPointer(pyramid, "pyramid")) return s;
  *pyramid = nullptr;
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  if (peakpool_status s = CheckPointer(kernels, "kernels")) return s;
  return peakpool::MakePyramid(*problem, kernels, levels, pyramid);
}

void peakpool_pyramid_destroy(peakpool_pyramid* pyramid) { peakpool::DestroyPyramid(pyramid); }

peakpool_status peakpool_pyramid_forward(const peakpool_pyramid* pyramid, const void* x, void* y,
                                         const peakpool_executor* executor) {
  if (peakpool_status s = CheckPointer(pyramid, "pyramid")) return s;
  if (peakpool_status s = CheckExecutor(&executor)) return s;
  const Tensor tensors[] = {Input("x", x, pyramid->plan[0]->shape),
                            Output("y", y, pyramid->whole, pyramid->whole.element_bytes)};
  static constexpr bool kIsOutput[] = {false, true};
  if (peakpool_status s = CheckTensors(tensors, 2, kIsOutput)) return s;
  peakpool::PyramidForward(*pyramid, x, y, *executor);
  return PEAKPOOL_OK;
}

peakpool_status peakpool_stream_create(const peakpool_problem* problem, peakpool_stream** stream) {
  if (peakpool_status s = CheckPointer(stream, "stream")) return s;
  *stream = nullptr;
  if (peakpool_status s = CheckPointer(problem, "problem")) return s;
  return peakpool::MakeStream(*problem, stream);
}

void peakpool_stream_destroy(peakpool_stream* stream) { peakpool::DestroyStream(stream); }

int peakpool_stream_ready(const peakpool_stream* stream) { return stream != nullptr && peakpool::HasRow(*stream); }

peakpool_status peakpool_stream_push(peakpool_stream* stream, const void* row) {
  if (peakpool_status s = CheckPointer(stream, "stream")) return s;
  if (!peakpool::TakesRow(*stream)) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "row %" PRId64 ": %s", stream->next_input,
                peakpool::HasRow(*stream) ? "an output row must be pulled first" : "all input rows have been pushed");
  }
  const Tensor tensor = Input("row", row, stream->row);
  static constexpr bool kIsOutput = false;
  if (peakpool_status s = CheckTensors(&tensor, 1, &kIsOutput)) return s;
  peakpool::PushRow(stream, row);
  return PEAKPOOL_OK;
}

peakpool_status peakpool_stream_pull(peakpool_stream* stream, void* row, void* index,
                                     const peakpool_executor* executor) {
  if (peakpool_status s = CheckPointer(stream, "stream")) return s;
  if (peakpool_status s = CheckExecutor(&executor)) return s;
  if (!peakpool::HasRow(*stream)) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "row %" PRId64 ": is not ready, push more input rows", stream->next_output);
  }
  if (index != nullptr && stream->plan->problem.index_format == PEAKPOOL_INDEX_NONE) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "index = %p: the stream has no index format", index);
  }
  const Tensor tensors[] = {Output("row", row, stream->row, stream->row.element_bytes),
                            Output("index", index, stream->row, stream->row.index_bytes)};
  static constexpr bool kIsOutput[] = {true, true};
  if (peakpool_status s = CheckTensors(tensors, index == nullptr ? 1 : 2, kIsOutput)) return s;
  peakpool::PullRow(stream, row, index, *executor);
  return PEAKPOOL_OK;
}

const peakpool_executor* peakpool_serial_executor(void) { return peakpool::SerialExecutor(); }
const peakpool_executor* peakpool_default_executor(void) { return peakpool::DefaultExecutor(); }

const char* peakpool_last_error(void) { return peakpool::LastError(); }

const char* peakpool_status_name(int32_t status) {
  switch (status) {
    case PEAKPOOL_OK: return "ok";
    case PEAKPOOL_INVALID_ARGUMENT: return "invalid argument";
    case PEAKPOOL_UNSUPPORTED: return "unsupported";
    case PEAKPOOL_SIZE_OVERFLOW: return "size overflow";
    case PEAKPOOL_EMPTY_WINDOW: return "empty window";
    case PEAKPOOL_INVALID_INDEX: return "invalid index";
    case PEAKPOOL_OUT_OF_MEMORY: return "out of memory";
  }
  return "unknown status";
}

const char* peakpool_version(void) { return PEAKPOOL_VERSION; }
int peakpool_abi_version(void) { return PEAKPOOL_ABI_VERSION; }
const char* peakpool_target_name(int i) { return peakpool::TargetName(i); }
