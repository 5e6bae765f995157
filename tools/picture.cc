// SPDX-License-Identifier: Apache-2.0
// `peakpool picture`: pools the three colours of a picture as one channels-last array of bytes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "peakpool/peakpool.hpp"
#include "tools/commands.h"
#include "tools/executor.h"
#include "tools/files.h"
#include "tools/image.h"
#include "tools/sheet.h"

namespace peakpool::tools {
namespace {

enum { kHeight = 0, kWidth = 1 };  // the spatial axes of a picture

// The output position whose window's centre is nearest to input position i; the lower one of two.
int64_t NearestOutput(const peakpool_problem& problem, int axis, int64_t i) {
  // Twice the distance from the centre of window 0, to stay in whole numbers.
  const int64_t distance = 2 * (i + problem.padding[axis].before) - (problem.kernel[axis] - 1) * problem.dilation[axis];
  const int64_t twice_stride = 2 * problem.stride[axis];
  const int64_t shifted = distance - problem.stride[axis] + twice_stride - 1;  // the quotient is rounded up
  const int64_t nearest = shifted < 0 ? 0 : shifted / twice_stride;
  return std::min(nearest, problem.output[axis] - 1);
}

// The result at the input's size: each output pixel covers the input pixels nearest to its window's centre.
Image DrawOutput(const peakpool_problem& problem, const Image& y, const Image& x) {
  Image drawn(x.width, x.height);
  for (int row = 0; row < x.height; ++row) {
    const int from = static_cast<int>(NearestOutput(problem, kHeight, row));
    for (int column = 0; column < x.width; ++column) {
      std::memcpy(drawn.Pixel(column, row), y.Pixel(static_cast<int>(NearestOutput(problem, kWidth, column)), from), 3);
    }
  }
  return drawn;
}

int64_t ReadTap(const std::byte* taps, int bytes, size_t i) {
  uint32_t tap = 0;
  std::memcpy(&tap, taps + i * static_cast<size_t>(bytes), static_cast<size_t>(bytes));  // little-endian machines
  return tap;
}

// The input in dark grey, with each selected value in its place: a pixel that all three colours selected is bright in
// its own colour. *selected counts the pixels that any colour selected.
void DrawSelection(const peakpool_problem& problem, const NpyArray& taps, const Image& x, Sheet::Panel* panel,
                   int64_t* selected) {
  std::vector<bool> is_selected(x.rgb.size());
  const int64_t count = problem.kernel[kHeight] * problem.kernel[kWidth];
  size_t i = 0;
  for (int64_t row = 0; row < problem.output[kHeight]; ++row) {
    for (int64_t column = 0; column < problem.output[kWidth]; ++column) {
      for (size_t colour = 0; colour < 3; ++colour, ++i) {
        const int64_t tap = ReadTap(taps.data.get(), taps.type.bytes, i);
        if (tap >= count) continue;  // an empty window
        const int64_t y = row * problem.stride[kHeight] - problem.padding[kHeight].before +
                          tap / problem.kernel[kWidth] * problem.dilation[kHeight];
        const int64_t in_row = column * problem.stride[kWidth] - problem.padding[kWidth].before +
                               tap % problem.kernel[kWidth] * problem.dilation[kWidth];
        is_selected[3 * static_cast<size_t>(y * x.width + in_row) + colour] = true;
      }
    }
  }
  panel->image = Image(x.width, x.height);
  panel->outlined.resize(x.rgb.size() / 3);
  *selected = 0;
  for (size_t pixel = 0; pixel < x.rgb.size(); pixel += 3) {
    const uint8_t* const rgb = x.rgb.data() + pixel;
    const int luma = (77 * rgb[0] + 150 * rgb[1] + 29 * rgb[2]) / 256;
    bool any = false;
    for (size_t colour = 0; colour < 3; ++colour) {
      any |= is_selected[pixel + colour];
      panel->image.rgb[pixel + colour] =
          is_selected[pixel + colour] ? rgb[colour] : static_cast<uint8_t>(luma * 5 / 16);
    }
    panel->outlined[pixel / 3] = any;
    *selected += any;
  }
}

std::string Size(int64_t width, int64_t height, const char* times) {
  return std::to_string(width) + times + std::to_string(height);
}

std::string Percent(int64_t part, int64_t whole) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

}  // namespace

Error Picture(const PictureArguments& arguments) {
  Image x;
  if (Error error = ReadImage(arguments.input, &x)) return error;
  peakpool_problem problem;
  ProblemFlags flags = arguments.flags;
  flags.layout = "channels-last";
  if (Error error = MakeProblem(flags, arguments.input, {'u', 1}, {1, x.height, x.width, 3}, &problem)) return error;
  Plan plan(problem);
  if (plan) {
    problem.index_format = FormatForTaps(flags.index_format, plan.problem());
    plan = Plan(problem);
  }
  if (!plan) return std::string(plan.error());
  const peakpool_problem& resolved = plan.problem();
  if (std::max(resolved.output[kWidth], resolved.output[kHeight]) > kMaxImageSide) {
    return "--pad " + flags.pad + ": pools to " + Size(resolved.output[kWidth], resolved.output[kHeight], " x ") +
           " pixels: sides must be at most " + std::to_string(kMaxImageSide);
  }
  Image y(static_cast<int>(resolved.output[kWidth]), static_cast<int>(resolved.output[kHeight]));
  NpyArray taps;
  taps.type = TypeOfFormat(problem.index_format);
  taps.shape = OutputShape(resolved);
  if (Error error = taps.Allocate(arguments.output)) return error;

  const Executor executor(flags.threads);
  const auto start = std::chrono::steady_clock::now();
  if (plan.forward(x.rgb.data(), y.rgb.data(), taps.data.get(), executor.get()) != PEAKPOOL_OK) {
    return std::string(peakpool_last_error());
  }
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;

  int64_t selected;
  const char* const times = " \u00d7 ";
  const int64_t pixels = int64_t{x.width} * x.height;
  Sheet sheet;
  sheet.title = "Max pooling " + Size(resolved.kernel[kWidth], resolved.kernel[kHeight], times) + ", stride " +
                Size(resolved.stride[kWidth], resolved.stride[kHeight], times);
  sheet.subtitle = Describe(problem);
  DrawSelection(resolved, taps, x, &sheet.panels[2], &selected);
  sheet.panels[2].heading = "Selected pixels";
  sheet.panels[2].caption = Percent(selected, pixels) + " of the input; each colour has maxima of its own";
  sheet.panels[1].image = DrawOutput(resolved, y, x);
  sheet.panels[1].heading = "Pooled";
  sheet.panels[1].caption = Size(y.width, y.height, times) + " pixels, drawn at the input's size";
  sheet.panels[0].image = std::move(x);
  sheet.panels[0].heading = "Input";
  sheet.panels[0].caption = Size(sheet.panels[0].image.width, sheet.panels[0].image.height, times) + " pixels";
  const auto cell = [&](int axis) { return static_cast<int>(std::min<int64_t>(resolved.stride[axis], kMaxImageSide)); };
  sheet.cell_width = cell(kWidth);
  sheet.cell_height = cell(kHeight);
  OutputFile output;
  if (Error error = output.Open(arguments.output)) return error;
  if (Error error = WriteSheet(sheet, arguments.output, &output)) return error;
  if (Error error = output.Commit()) return error;

  std::printf("%s, algorithm: %s, target: %s, %.3f ms\n", sheet.subtitle.c_str(),
              ExplainWord(plan.get(), "forward").c_str(), ExplainWord(plan.get(), "target").c_str(), time.count());
  std::printf("%s: %s pixels, pooled %s, %lld selected (%s)\n", arguments.output.c_str(),
              Size(sheet.panels[0].image.width, sheet.panels[0].image.height, " x ").c_str(),
              Size(y.width, y.height, " x ").c_str(), static_cast<long long>(selected),
              Percent(selected, pixels).c_str());
  return {};
}

}  // namespace peakpool::tools
