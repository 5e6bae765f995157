// SPDX-License-Identifier: Apache-2.0
// What a caller's index means, one at a time: for unpooling and for conversions between formats.
#ifndef PEAKPOOL_SRC_INDEX_READER_H_
#define PEAKPOOL_SRC_INDEX_READER_H_

#include <cstdint>

#include "peakpool/peakpool.h"
#include "src/geometry.h"
#include "src/partition.h"

namespace peakpool {

// An output, and what its index is relative to.
struct OutputPosition {
  int64_t n, c, o[3];
};

// Calls visit(output at width 0 and its first channel, offset of that element in y) for each line.
template <class Visit>
void ForEachLine(const Geometry& g, Range lines, Visit visit) {
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    OutputPosition output = {};
    int64_t rest = line / g.axis[kHeight].output;
    output.o[kHeight] = line - rest * g.axis[kHeight].output;
    const int64_t plane = rest / g.axis[kDepth].output;
    output.o[kDepth] = rest - plane * g.axis[kDepth].output;
    output.n = g.channels_last ? plane : plane / g.channels;
    output.c = g.channels_last ? 0 : plane - output.n * g.channels;
    visit(output, output.n * g.output.batch + output.c * g.output.channel + output.o[0] * g.output.axis[0] +
                      output.o[1] * g.output.axis[1]);
  }
}

// Reads untrusted indices of any format. Divisions are 64-bit and plain; PositionDecoder in backward_scatter.h is the
// fast one for whole runs of outputs that point into their own windows.
class IndexReader {
 public:
  enum Result { kPosition, kEmpty, kInvalid };

  IndexReader(const Geometry& geometry, int32_t index_format, bool has_empty_window)
      : g_(geometry),
        format_(index_format),
        has_empty_window_(has_empty_window),
        mark_(index_format == PEAKPOOL_INDEX_WINDOW_U8    ? UINT8_MAX
              : index_format == PEAKPOOL_INDEX_WINDOW_U16 ? UINT16_MAX
              : index_format == PEAKPOOL_INDEX_WINDOW_U32 ? int64_t{UINT32_MAX}
                                                          : -1),
        plane_(g_.axis[0].input * g_.axis[1].input * g_.axis[2].input) {}

  // The index at `offset` as stored.
  int64_t Value(const void* index, int64_t offset) const {
    switch (format_) {
      case PEAKPOOL_INDEX_WINDOW_U8: return static_cast<const uint8_t*>(index)[offset];
      case PEAKPOOL_INDEX_WINDOW_U16: return static_cast<const uint16_t*>(index)[offset];
      case PEAKPOOL_INDEX_WINDOW_U32: return static_cast<const uint32_t*>(index)[offset];
      case PEAKPOOL_INDEX_PLANE_I32: return static_cast<const int32_t*>(index)[offset];
      default: return static_cast<const int64_t*>(index)[offset];
    }
  }

  // The spatial position that the index at `offset`, which is that of `output`, names. A plane or tensor index may name
  // any position of its own plane, a window index any in-range tap of its window; -1 marks an empty window.
  Result Read(const void* index, int64_t offset, const OutputPosition& output, int64_t (&at)[3]) const {
    const int64_t value = Value(index, offset);
    if (has_empty_window_ && value == mark_ && IsEmptyWindow(output)) return kEmpty;
    if (format_ >= PEAKPOOL_INDEX_PLANE_I32) {
      int64_t position = value;
      if (format_ >= PEAKPOOL_INDEX_TENSOR_I64) {
        const int64_t base = (output.n * g_.channels + output.c) * plane_;
        if (position < base) return kInvalid;
        position -= base;
      }
      if (position < 0 || position >= plane_) return kInvalid;
      const bool column_major = format_ == PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64;
      const int fast = column_major ? 0 : 2, slow = column_major ? 2 : 0;
      const int64_t rest = position / g_.axis[fast].input;
      at[fast] = position - rest * g_.axis[fast].input;
      at[slow] = rest / g_.axis[1].input;
      at[1] = rest - at[slow] * g_.axis[1].input;
    } else {
      int64_t rest = value;
      for (int a = 2; a >= 0; --a) {
        const Axis& axis = g_.axis[a];
        const int64_t tap = rest % axis.kernel;
        rest /= axis.kernel;
        if (tap < axis.FirstTap(output.o[a]) || tap >= axis.TapEnd(output.o[a])) return kInvalid;
        at[a] = axis.Begin(output.o[a]) + tap * axis.dilation;
      }
      if (rest != 0) return kInvalid;
    }
    return kPosition;
  }

 private:
  bool IsEmptyWindow(const OutputPosition& output) const {
    for (int a = 0; a < 3; ++a) {
      if (g_.axis[a].FirstTap(output.o[a]) >= g_.axis[a].TapEnd(output.o[a])) return true;
    }
    return false;
  }

  const Geometry& g_;
  int32_t format_;
  bool has_empty_window_;
  int64_t mark_;  // all ones
  int64_t plane_;
};

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_INDEX_READER_H_
