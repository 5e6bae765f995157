// SPDX-License-Identifier: Apache-2.0
#include "src/unpool.h"

#include <cstring>

#include "peakpool/peakpool.h"
#include "src/index_reader.h"

namespace peakpool {
namespace {

template <class Element>
void Zero(const Geometry& g, Element* x, int64_t inner) {
  const int64_t run = g.channels_last ? inner : g.axis[2].input;
  for (int64_t d = 0; d < g.axis[0].input; ++d) {
    for (int64_t h = 0; h < g.axis[1].input; ++h) {
      Element* row = x + d * g.input.axis[0] + h * g.input.axis[1];
      for (int64_t w = 0; w < (g.channels_last ? g.axis[2].input : 1); ++w) {
        std::memset(row + w * g.input.axis[2], 0, static_cast<size_t>(run) * sizeof(Element));
      }
    }
  }
}

template <class Element>
bool UnpoolElements(const UnpoolCall& call) {
  const Geometry& g = *call.geometry;
  const IndexReader reader(g, call.index_format, call.has_empty_window);
  const int64_t inner = g.channels_last ? call.channels.size() : 1;
  bool valid = true;
  for (int64_t plane = call.planes.begin; plane < call.planes.end; ++plane) {
    OutputPosition output;
    output.n = g.channels_last ? plane : plane / g.channels;
    const int64_t first = g.channels_last ? call.channels.begin : plane % g.channels;
    Element* x = static_cast<Element*>(call.x) + output.n * g.input.batch + first * g.input.channel;
    const int64_t source = output.n * g.output.batch + first * g.output.channel;
    Zero(g, x, inner);
    for (output.o[0] = 0; output.o[0] < g.axis[0].output; ++output.o[0]) {
      for (output.o[1] = 0; output.o[1] < g.axis[1].output; ++output.o[1]) {
        for (output.o[2] = 0; output.o[2] < g.axis[2].output; ++output.o[2]) {
          const int64_t at =
              source + output.o[0] * g.output.axis[0] + output.o[1] * g.output.axis[1] + output.o[2] * g.output.axis[2];
          for (int64_t i = 0; i < inner; ++i) {
            output.c = first + i;
            int64_t to[3];
            const auto result = reader.Read(call.index, at + i, output, to);
            valid &= result != IndexReader::kInvalid;
            if (result != IndexReader::kPosition) continue;
            x[to[0] * g.input.axis[0] + to[1] * g.input.axis[1] + to[2] * g.input.axis[2] + i] =
                static_cast<const Element*>(call.y)[at + i];
          }
        }
      }
    }
  }
  return valid;
}

}  // namespace

bool Unpool(const UnpoolCall& call) {
  switch (call.element_bytes) {
    case 1: return UnpoolElements<uint8_t>(call);
    case 2: return UnpoolElements<uint16_t>(call);
    case 4: return UnpoolElements<uint32_t>(call);
    default: return UnpoolElements<uint64_t>(call);
  }
}

}  // namespace peakpool
