// SPDX-License-Identifier: Apache-2.0
#include "tools/rows.h"

#include <cstddef>
#include <memory>

#include "tools/sizes.h"

namespace peakpool::tools {

peakpool_status ForwardByRows(const peakpool_problem& problem, const peakpool_problem& resolved, const void* x, void* y,
                              void* index, const peakpool_executor* executor) {
  peakpool_stream* created;
  if (peakpool_status status = peakpool_stream_create(&problem, &created)) return status;
  const std::unique_ptr<peakpool_stream, decltype(&peakpool_stream_destroy)> stream(created, peakpool_stream_destroy);
  const int64_t element = static_cast<int64_t>(ElementBytes(problem.type));
  const int64_t x_step = resolved.input_strides.spatial[0] * element;
  const int64_t y_step = resolved.output_strides.spatial[0] * element;
  const int64_t index_step =
      resolved.output_strides.spatial[0] * static_cast<int64_t>(IndexBytes(problem.index_format));
  int64_t pushed = 0;
  const auto push = [&] {
    return peakpool_stream_push(stream.get(), static_cast<const std::byte*>(x) + pushed++ * x_step);
  };
  for (int64_t o = 0; o < resolved.output[0]; ++o) {
    while (!peakpool_stream_ready(stream.get())) {
      if (peakpool_status status = push()) return status;
    }
    void* const indices = index == nullptr ? nullptr : static_cast<std::byte*>(index) + o * index_step;
    void* const row = static_cast<std::byte*>(y) + o * y_step;
    if (peakpool_status status = peakpool_stream_pull(stream.get(), row, indices, executor)) return status;
  }
  while (pushed < resolved.input[0]) {  // rows below the last window
    if (peakpool_status status = push()) return status;
  }
  return PEAKPOOL_OK;
}

}  // namespace peakpool::tools
