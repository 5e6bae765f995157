// SPDX-License-Identifier: Apache-2.0
#include "src/pyramid.h"

#include <cinttypes>
#include <new>

#include "src/error.h"
#include "src/execute.h"

namespace peakpool {
namespace {

peakpool_status CheckKernels(const int64_t* kernels, int32_t levels) {
  if (levels < 1 || levels > peakpool_pyramid::kMostLevels) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "levels = %d: must be 1 to %d", levels, peakpool_pyramid::kMostLevels);
  }
  for (int32_t i = 0; i < levels; ++i) {
    if (kernels[i] < 1 || kernels[i] % 2 == 0) {
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "kernels[%d] = %" PRId64 ": must be odd and >= 1", i, kernels[i]);
    }
    if (kernels[i] > kMostSize) {
      return Fail(PEAKPOOL_SIZE_OVERFLOW, "kernels[%d] = %" PRId64 ": must be <= %" PRId64, i, kernels[i], kMostSize);
    }
    if (i > 0 && kernels[i] <= kernels[i - 1]) {
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "kernels[%d] = %" PRId64 ": must be larger than kernels[%d] = %" PRId64, i,
                  kernels[i], i - 1, kernels[i - 1]);
    }
  }
  return PEAKPOOL_OK;
}

}  // namespace

peakpool_status MakePyramid(const peakpool_problem& problem, const int64_t* kernels, int32_t levels,
                            peakpool_pyramid** result) {
  if (peakpool_status s = CheckKernels(kernels, levels)) return s;
  peakpool_problem level = problem;
  if (peakpool_status s = CheckDomains(level.type, level.layout, level.rank)) return s;
  level.rounding = PEAKPOOL_FLOOR;
  level.index_format = PEAKPOOL_INDEX_NONE;
  level.flags = 0;
  // First as one tensor with all channels, so that its sizes are known to fit and its strides not to alias.
  int64_t all_channels;
  for (int a = 0; a < level.rank; ++a) {
    level.kernel[a] = level.stride[a] = level.dilation[a] = 1;
    level.padding[a] = {0, 0};
  }
  if (__builtin_mul_overflow(level.channels, int64_t{levels}, &all_channels)) {
    return Fail(PEAKPOOL_SIZE_OVERFLOW, "channels = %" PRId64 ": %d levels of them exceed 64 bits", level.channels,
                levels);
  }
  peakpool_problem whole = level;
  whole.channels = all_channels;
  whole.input_strides = {};
  Shape whole_shape;
  if (peakpool_status s = ResolveShape(whole, &whole_shape)) return s;
  level.output_strides = whole_shape.problem.output_strides;

  peakpool_pyramid* pyramid = new (std::nothrow) peakpool_pyramid{};
  if (pyramid == nullptr) {
    return Fail(PEAKPOOL_OUT_OF_MEMORY, "pyramid: %zu bytes could not be allocated", sizeof(*pyramid));
  }
  pyramid->whole = whole_shape;
  pyramid->level_stride = level.channels * level.output_strides.channel;
  int64_t covered = 1;  // the window that the levels so far add up to
  for (int32_t i = 0; i < levels; ++i) {
    const int64_t kernel = kernels[i] - covered + 1;
    covered = kernels[i];
    for (int a = 0; a < level.rank; ++a) {
      level.kernel[a] = kernel;
      level.padding[a] = {kernel / 2, kernel / 2};
    }
    if (peakpool_status s = MakePlan(level, &pyramid->plan[i])) {
      DestroyPyramid(pyramid);
      return s;
    }
    pyramid->levels = i + 1;
    level.input_strides = level.output_strides;
  }
  *result = pyramid;
  return PEAKPOOL_OK;
}

void DestroyPyramid(peakpool_pyramid* pyramid) {
  if (pyramid == nullptr) return;
  for (int32_t i = 0; i < pyramid->levels; ++i) delete pyramid->plan[i];
  delete pyramid;
}

void PyramidForward(const peakpool_pyramid& pyramid, const void* x, void* y, const peakpool_executor& executor) {
  const void* from = x;
  for (int32_t i = 0; i < pyramid.levels; ++i) {
    void* to = static_cast<char*>(y) + i * pyramid.level_stride * pyramid.whole.element_bytes;
    Forward(*pyramid.plan[i], from, to, nullptr, executor);
    from = to;
  }
}

}  // namespace peakpool
