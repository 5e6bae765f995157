// SPDX-License-Identifier: Apache-2.0
#include "src/unpool.h"

#include <cstring>

namespace peakpool {
namespace {

// Zeroes and stores go over so many bytes of x at a time, while they are in the L1 cache.
constexpr int64_t kGroupBytes = 16 * 1024;

// `count` contiguous bytes per column of a plane, or per row where the columns follow each other: as few pieces as the
// strides allow.
void ZeroPlanes(const Geometry& g, int64_t bytes, char* x, int64_t planes, int64_t channels) {
  struct {
    int64_t size, stride;
  } loops[4] = {{planes, g.channels_last ? g.input.batch : g.input.channel},
                {g.axis[kDepth].input, g.input.axis[kDepth]},
                {g.axis[kHeight].input, g.input.axis[kHeight]},
                {g.axis[kWidth].input, g.input.axis[kWidth]}};
  int64_t run = g.channels_last ? channels : 1;
  int outer = 4;
  while (outer > 0 && (loops[outer - 1].size == 1 || loops[outer - 1].stride == run)) run *= loops[--outer].size;
  for (int i = outer; i < 4; ++i) loops[i].size = 1;
  for (int64_t p = 0; p < loops[0].size; ++p) {
    for (int64_t d = 0; d < loops[1].size; ++d) {
      for (int64_t h = 0; h < loops[2].size; ++h) {
        for (int64_t w = 0; w < loops[3].size; ++w) {
          const int64_t at = p * loops[0].stride + d * loops[1].stride + h * loops[2].stride + w * loops[3].stride;
          std::memset(x + at * bytes, 0, static_cast<size_t>(run * bytes));
        }
      }
    }
  }
}

// to[i] < 0: nowhere.
template <class Element>
void ScatterRun(const char* from, const int64_t* to, int64_t count, char* x) {
  for (int64_t i = 0; i < count; ++i) {
    if (to[i] >= 0) reinterpret_cast<Element*>(x)[to[i]] = reinterpret_cast<const Element*>(from)[i];
  }
}

}  // namespace

bool Unpool(const UnpoolCall& call) {
  const Geometry& g = *call.indices.geometry;
  const int64_t bytes = call.element_bytes;
  const char* y = static_cast<const char*>(call.y);
  char* x = static_cast<char*>(call.x);
  const auto scatter_run = bytes == 1   ? &ScatterRun<uint8_t>
                           : bytes == 2 ? &ScatterRun<uint16_t>
                           : bytes == 4 ? &ScatterRun<uint32_t>
                                        : &ScatterRun<uint64_t>;
  IndexMap map(call.indices, call.kernels, {g.input, false}, g.output, g.output, {0, g.axis[kWidth].output},
               call.channels);
  const int64_t plane_lines = g.axis[kDepth].output * g.axis[kHeight].output;
  const int64_t plane_bytes = g.axis[kDepth].input * g.axis[kHeight].input * g.axis[kWidth].input * bytes;
  const int64_t step = g.channels_last ? 1 : std::max<int64_t>(kGroupBytes / plane_bytes, 1);
  bool valid = true;
  for (int64_t plane = call.planes.begin, end; plane < call.planes.end; plane = end) {
    const int64_t n = g.channels_last ? plane : plane / g.channels;
    const int64_t c = g.channels_last ? call.channels.begin : plane - n * g.channels;
    end = std::min(plane + step, call.planes.end);
    if (!g.channels_last) end = std::min(end, (n + 1) * g.channels);
    ZeroPlanes(g, bytes, x + (n * g.input.batch + c * g.input.channel) * bytes, end - plane, call.channels.size());
    map.ForEachRun({plane * plane_lines, end * plane_lines}, [&](const OutputPosition& first, int64_t count) {
      int64_t to[IndexMap::kLongestRun];
      valid &= map.TranslateTo(first, count, 8, to);
      scatter_run(y + OffsetOf(first, g.output) * bytes, to, count, x);
    });
  }
  return valid;
}

}  // namespace peakpool
