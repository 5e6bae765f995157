// SPDX-License-Identifier: Apache-2.0
#include "tools/problem_flags.h"

#include <CLI/CLI.hpp>
#include <charconv>

namespace peakpool::tools {
namespace {

// One value for every axis, or one per axis.
Error ParseAxes(const std::string& name, const std::string& text, int rank, int64_t* axes) {
  std::vector<int64_t> values;
  if (Error error = ParseNumbers(name, text, &values)) return error;
  if (values.size() != 1 && values.size() != static_cast<size_t>(rank)) {
    return name + " " + text + ": has " + std::to_string(values.size()) + " values, needs 1 or " +
           std::to_string(rank) + " (one per spatial axis)";
  }
  for (int i = 0; i < rank; ++i) axes[i] = values[values.size() == 1 ? 0 : i];
  return {};
}

// One value for every side, one per axis for both its sides, or ONNX's order: all begins, then all ends.
Error ParsePad(const std::string& text, int rank, peakpool_padding* padding) {
  std::vector<int64_t> values;
  if (Error error = ParseNumbers("--pad", text, &values)) return error;
  const size_t count = values.size(), axes = static_cast<size_t>(rank);
  if (count != 1 && count != axes && count != 2 * axes) {
    return "--pad " + text + ": has " + std::to_string(count) + " values, needs 1, " + std::to_string(rank) +
           " (one per spatial axis) or " + std::to_string(2 * rank) + " (all begins, then all ends)";
  }
  for (size_t i = 0; i < axes; ++i) {
    padding[i].before = values[count == 1 ? 0 : i];
    padding[i].after = count == 2 * axes ? values[axes + i] : padding[i].before;
  }
  return {};
}

Error TypeOfArray(const std::string& dtype, const std::string& name, const NpyType& type, int32_t* result) {
  if (dtype == "bf16") {
    if (!(type == NpyType{'u', 2})) {
      return name + ": dtype " + type.Name() + ": --dtype bf16 reads u2 (the bits of bfloat16)";
    }
    *result = PEAKPOOL_BF16;
    return {};
  }
  const struct {
    NpyType type;
    int32_t result;
  } types[] = {{{'f', 2}, PEAKPOOL_F16}, {{'f', 4}, PEAKPOOL_F32}, {{'f', 8}, PEAKPOOL_F64}, {{'i', 1}, PEAKPOOL_I8},
               {{'i', 2}, PEAKPOOL_I16}, {{'i', 4}, PEAKPOOL_I32}, {{'i', 8}, PEAKPOOL_I64}, {{'u', 1}, PEAKPOOL_U8},
               {{'u', 2}, PEAKPOOL_U16}, {{'u', 4}, PEAKPOOL_U32}, {{'u', 8}, PEAKPOOL_U64}};
  for (const auto& entry : types) {
    if (entry.type == type) *result = entry.result;
  }
  return {};
}

// What --index-format and its like take. "window" stands for any of the three widths.
const struct {
  const char* name;
  int32_t format;
} kFormats[] = {{"window-u8", PEAKPOOL_INDEX_WINDOW_U8},
                {"window-u16", PEAKPOOL_INDEX_WINDOW_U16},
                {"window-u32", PEAKPOOL_INDEX_WINDOW_U32},
                {"plane-i32", PEAKPOOL_INDEX_PLANE_I32},
                {"plane", PEAKPOOL_INDEX_PLANE_I64},
                {"tensor", PEAKPOOL_INDEX_TENSOR_I64},
                {"tensor-colmajor", PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64}};

constexpr const char* kGeometryGroup =
    "Geometry (one value means every spatial axis; several are in the order depth, height, width)";
constexpr const char* kArraysGroup = "Arrays";
constexpr const char* kExecutionGroup = "Execution";

// The flags that an output size makes meaningless.
constexpr const char* kWindowFlags[] = {"--kernel",   "--stride",   "--pad",        "--dilation",
                                        "--rounding", "--auto-pad", "--allow-empty"};

Error LastError() { return std::string(peakpool_last_error()); }

// Calls write(buffer, size) as snprintf is called for a string of unknown length.
template <class Write>
std::string Text(Write write) {
  std::string text(write(nullptr, 0), '\0');
  write(text.data(), text.size() + 1);
  return text;
}

// LOWER:UPPER in the arithmetic of the problem's type. The library's grammar knows how to read that.
Error ParseClamp(const std::string& text, peakpool_problem* problem) {
  const std::string described = Describe(*problem);
  const std::string type = described.substr(0, described.find(' '));
  peakpool_problem clamped;
  if (text.find(' ') != std::string::npos ||
      peakpool_parse((type + " ncw 1x1x1 k1 clamp=" + text).c_str(), &clamped) != PEAKPOOL_OK) {
    return "--clamp " + text + ": must be LOWER:UPPER, two numbers of the array's type, " + type;
  }
  problem->flags |= PEAKPOOL_CLAMP;
  problem->clamp_lower = clamped.clamp_lower;
  problem->clamp_upper = clamped.clamp_upper;
  return {};
}

}  // namespace

void AddGeometryFlags(CLI::App* command, ProblemFlags* flags) {
  const std::string group = kGeometryGroup;
  command->add_option("--kernel", flags->kernel, "Window size: 3 or 3,2")
      ->required()
      ->group(group)
      ->option_text("K[,K]");
  command->add_option("--stride", flags->stride, "Step between windows [the kernel]")
      ->group(group)
      ->option_text("S[,S]");
  auto* pad = command
                  ->add_option("--pad", flags->pad,
                               "Padding: one value, one per axis (both sides), or all begins then all ends [0]")
                  ->group(group)
                  ->option_text("P[,P]");
  command->add_option("--dilation", flags->dilation, "Distance between taps [1]")->group(group)->option_text("D[,D]");
  auto* rounding = command
                       ->add_option("--rounding", flags->rounding,
                                    "Sizes that the stride does not divide: floor drops the rest, ceil adds a window, "
                                    "exact refuses [floor]")
                       ->group(group)
                       ->check(CLI::IsMember({"floor", "ceil", "exact"}))
                       ->option_text("floor|ceil|exact");
  command
      ->add_option("--auto-pad", flags->auto_pad,
                   "Choose the padding as TensorFlow and ONNX do; not with --pad, --rounding")
      ->group(group)
      ->check(CLI::IsMember({"valid", "same-upper", "same-lower"}))
      ->excludes(pad)
      ->excludes(rounding)
      ->option_text("valid|same-upper|same-lower");
  command
      ->add_flag("--allow-empty", flags->allow_empty,
                 "Windows wholly in the padding give the lowest value and index -1 instead of an error")
      ->group(group);
}

CLI::Option* AddOutputSizeFlag(CLI::App* command, ProblemFlags* flags) {
  return command
      ->add_option("--output-size", flags->output_size,
                   "Adaptive pooling to this size: output o pools the input from floor(o * input / output) to "
                   "ceil((o + 1) * input / output)")
      ->group(kGeometryGroup)
      ->option_text("O[,O]");
}

void AddGeometryOrOutputSizeFlags(CLI::App* command, ProblemFlags* flags) {
  AddGeometryFlags(command, flags);
  command->get_option("--kernel")->required(false);
  CLI::Option* const output_size = AddOutputSizeFlag(command, flags);
  for (const char* flag : kWindowFlags) output_size->excludes(command->get_option(flag));
}

void AddClampFlag(CLI::App* command, ProblemFlags* flags) {
  command->add_option("--clamp", flags->clamp, "Bound each output: 0:inf is ReLU, 0:6 is ReLU6; not the indices")
      ->option_text("LOWER:UPPER");
}

void AddThreadsFlag(CLI::App* command, ProblemFlags* flags) {
  command->add_option("--threads", flags->threads, "At most N threads [all]")
      ->group(kExecutionGroup)
      ->check(CLI::Range(1, 65536))
      ->option_text("N");
}

void AddExecutionFlags(CLI::App* command, ProblemFlags* flags) {
  AddThreadsFlag(command, flags);
  command->add_option("--algorithm", flags->algorithm, "auto: the fastest kernels; im2col: the plain reference [auto]")
      ->group(kExecutionGroup)
      ->check(CLI::IsMember({"auto", "im2col"}))
      ->option_text("auto|im2col");
  command->add_option("--target", flags->target, "Instruction set, one of those that `peakpool info` lists [the best]")
      ->group(kExecutionGroup)
      ->option_text("NAME");
}

void AddLayoutFlag(CLI::App* command, ProblemFlags* flags) {
  command
      ->add_option("--layout", flags->layout,
                   "channels-first: N, C, spatial; channels-last: N, spatial, C [channels-first]")
      ->group(kArraysGroup)
      ->check(CLI::IsMember({"channels-first", "channels-last"}))
      ->option_text("channels-first|channels-last");
}

void AddTypeFlag(CLI::App* command, ProblemFlags* flags) {
  command->add_option("--dtype", flags->dtype, "Read an array of u2 as the bits of bfloat16, and write so")
      ->group(kArraysGroup)
      ->check(CLI::IsMember({"bf16"}))
      ->option_text("bf16");
}

CLI::Option* AddIndexFormatFlag(CLI::App* command, const std::string& name, const std::string& purpose,
                                std::string* format) {
  std::vector<std::string> names = {"window"};
  for (const auto& entry : kFormats) names.push_back(entry.name);
  return command
      ->add_option(name, *format,
                   purpose +
                       "window: tap number in the window (u1, u2 or u4 by the number of taps, or window-u8, "
                       "window-u16, window-u32); plane, plane-i32: position in the plane (i8, i4); tensor, "
                       "tensor-colmajor: position in the tensor (i8)" +
                       (format->empty() ? "" : " [" + *format + "]"))
      ->group(kArraysGroup)
      ->check(CLI::IsMember(names))
      ->option_text("window|plane|plane-i32|tensor|tensor-colmajor");
}

Error ParseNumbers(const std::string& name, const std::string& text, std::vector<int64_t>* numbers) {
  numbers->clear();
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    int64_t value;
    const auto [rest, failure] = std::from_chars(at, end, value);
    if (failure == std::errc::result_out_of_range) return name + " " + text + ": a number does not fit 64 bits";
    if (failure != std::errc() || (rest != end && *rest != ',')) {
      return name + " '" + text + "': must be whole numbers separated by commas";
    }
    numbers->push_back(value);
    if (rest == end) return {};
    at = rest + 1;
  }
}

Error MakeArrayProblem(const ProblemFlags& flags, const std::string& name, const NpyType& type,
                       const std::vector<int64_t>& shape, peakpool_problem* problem) {
  const int rank = static_cast<int>(shape.size()) - 2;
  if (rank < 1 || rank > PEAKPOOL_MAX_RANK) {
    return name + ": shape " + ShapeName(shape) + ": must have 3 to 5 axes: N, C and 1 to 3 spatial ones";
  }
  int32_t element = PEAKPOOL_F32;
  if (Error error = TypeOfArray(flags.dtype, name, type, &element)) return error;
  const bool last = flags.layout == "channels-last";
  const auto layout = last ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST;
  if (peakpool_problem_init(problem, element, layout, rank) != PEAKPOOL_OK) {
    return LastError();
  }
  problem->batch = shape[0];
  problem->channels = shape[last ? rank + 1 : 1];
  for (int i = 0; i < rank; ++i) problem->input[i] = shape[i + (last ? 1 : 2)];
  problem->algorithm = flags.algorithm == "im2col" ? PEAKPOOL_IM2COL : PEAKPOOL_AUTO;
  if (!flags.target.empty()) problem->target = flags.target.c_str();
  return {};
}

Error MakeProblem(const ProblemFlags& flags, const std::string& name, const NpyType& type,
                  const std::vector<int64_t>& shape, peakpool_problem* problem) {
  if (Error error = MakeArrayProblem(flags, name, type, shape, problem)) return error;
  if (!flags.clamp.empty()) {
    if (Error error = ParseClamp(flags.clamp, problem)) return error;
  }
  const int rank = problem->rank;
  if (!flags.output_size.empty()) {
    problem->rounding = PEAKPOOL_ADAPTIVE;
    return ParseAxes("--output-size", flags.output_size, rank, problem->output);
  }
  if (flags.kernel.empty()) return std::string("--kernel: is required, or --output-size");
  if (Error error = ParseAxes("--kernel", flags.kernel, rank, problem->kernel)) return error;
  const std::string& stride = flags.stride.empty() ? flags.kernel : flags.stride;
  if (Error error = ParseAxes("--stride", stride, rank, problem->stride)) return error;
  if (Error error = ParseAxes("--dilation", flags.dilation, rank, problem->dilation)) return error;
  if (Error error = ParsePad(flags.pad, rank, problem->padding)) return error;
  problem->rounding = flags.rounding == "ceil"    ? PEAKPOOL_CEIL
                      : flags.rounding == "exact" ? PEAKPOOL_EXACT
                                                  : PEAKPOOL_FLOOR;
  if (flags.auto_pad == "same-upper" && peakpool_pad_same_upper(problem) != PEAKPOOL_OK) return LastError();
  if (flags.auto_pad == "same-lower" && peakpool_pad_same_lower(problem) != PEAKPOOL_OK) return LastError();
  if (flags.allow_empty) problem->flags |= PEAKPOOL_ALLOW_EMPTY;
  return {};
}

int32_t FormatForTaps(const std::string& format, const peakpool_problem& resolved) {
  for (const auto& entry : kFormats) {
    if (format == entry.name) return entry.format;
  }
  int64_t taps = 1;
  for (int i = 0; i < resolved.rank; ++i) {
    // The library judges absurd kernels; the widest format does for them.
    if (__builtin_mul_overflow(taps, resolved.kernel[i], &taps)) return PEAKPOOL_INDEX_WINDOW_U32;
  }
  const int64_t reserved = resolved.flags & PEAKPOOL_ALLOW_EMPTY ? 1 : 0;  // all ones means an empty window
  if (taps <= 256 - reserved) return PEAKPOOL_INDEX_WINDOW_U8;
  return taps <= 65536 - reserved ? PEAKPOOL_INDEX_WINDOW_U16 : PEAKPOOL_INDEX_WINDOW_U32;
}

Error FormatOfFile(const std::string& option, const std::string& name, const std::string& path, const NpyType& type,
                   int32_t* format) {
  std::string wanted;
  for (const auto& entry : kFormats) {
    const bool any_width = name == "window" && entry.format <= PEAKPOOL_INDEX_WINDOW_U32;
    if (!any_width && name != entry.name) continue;
    *format = entry.format;
    const NpyType expected = TypeOfFormat(entry.format);
    if (expected == type) return {};
    wanted += (wanted.empty() ? "" : ", ") + expected.Name();
  }
  return path + ": dtype " + type.Name() + ": " + option + " " + name + " is " + wanted;
}

std::string FormatName(int32_t format) {
  for (const auto& entry : kFormats) {
    if (entry.format == format) return entry.name;
  }
  return "none";
}

NpyType TypeOfFormat(int32_t format) {
  switch (format) {
    case PEAKPOOL_INDEX_WINDOW_U8: return {'u', 1};
    case PEAKPOOL_INDEX_WINDOW_U16: return {'u', 2};
    case PEAKPOOL_INDEX_WINDOW_U32: return {'u', 4};
    case PEAKPOOL_INDEX_PLANE_I32: return {'i', 4};
    default: return {'i', 8};
  }
}

std::vector<int64_t> OutputShape(const peakpool_problem& resolved) {
  std::vector<int64_t> shape(resolved.output, resolved.output + resolved.rank);
  shape.insert(resolved.layout == PEAKPOOL_CHANNELS_LAST ? shape.end() : shape.begin(), resolved.channels);
  shape.insert(shape.begin(), resolved.batch);
  return shape;
}

std::string Describe(const peakpool_problem& problem) {
  return Text([&](char* buffer, size_t size) { return peakpool_describe(&problem, buffer, size); });
}

std::string Explain(const peakpool_plan* plan) {
  return Text([&](char* buffer, size_t size) { return peakpool_explain(plan, buffer, size); });
}

std::string ExplainWord(const peakpool_plan* plan, const std::string& key) {
  const std::string text = "\n" + Explain(plan);
  const size_t found = text.find("\n" + key + ": ");
  if (found == std::string::npos) return {};
  const size_t begin = found + key.size() + 3;
  return text.substr(begin, text.find_first_of(" ,\n", begin) - begin);
}

}  // namespace peakpool::tools
