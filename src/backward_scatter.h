// SPDX-License-Identifier: Apache-2.0
// The general backward: right for every geometry, layout, floating-point type and index format, in plain scalar C++.
// Also the one place that decodes and validates caller-visible indices. Knows nothing of plans and executors.
#ifndef PEAKPOOL_SRC_BACKWARD_SCATTER_H_
#define PEAKPOOL_SRC_BACKWARD_SCATTER_H_

#include <cstdint>

#include "src/geometry.h"

namespace peakpool {

// x / divisor by one multiplication while x < 2^32 and divisor <= 2^31, which is exact: the rounded-up reciprocal errs
// by less than divisor / 2^63. Other operands divide.
struct Divider {
  Divider() = default;
  explicit Divider(int64_t by)
      : divisor(static_cast<uint64_t>(by)),
        reciprocal(divisor <= uint64_t{1} << 31 ? ((uint64_t{1} << 63) + divisor - 1) / divisor : 0) {}

  uint64_t Divide(uint64_t x) const {
    if (x >> 32 != 0 || reciprocal == 0) return x / divisor;
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>((Wide{x} * reciprocal) >> 63);
  }

  uint64_t divisor = 1, reciprocal = 0;
};

// Outputs [w, w + count) of channel c (channels-first), or channels [c, c + count) of output w (channels-last).
struct OutputRun {
  int64_t n, c, d, h, w, count;
};

// The positions a caller wants, and the offsets it wants them as:
// n * batch + c * channel + d * axis[0] + h * axis[1] + w * axis[2] - origin.
struct PositionBox {
  Strides strides;
  int64_t origin;
  int64_t line_begin, line_end;    // of d * height + h
  int64_t width_begin, width_end;  // of w
};

// Turns untrusted indices into the positions they select.
class PositionDecoder {
 public:
  static constexpr int64_t kNone = INT64_MIN;

  PositionDecoder(const Geometry& geometry, int32_t index_format, const void* index, bool allow_empty);

  // Writes run.count offsets: kNone for positions outside the box, for empty windows and for invalid indices. Returns
  // false if any index of the run is invalid: not an in-range tap of its own window, or -1 other than at an empty
  // window with allow_empty.
  bool Decode(const OutputRun& run, const PositionBox& box, int64_t* offsets) const;

 private:
  struct Segment;
  bool DecodeSegment(const Segment& segment, int64_t* offsets) const;
  template <class Index>
  bool DecodeTaps(const Index* index, const Segment& segment, int64_t* offsets) const;
  template <class Index>
  bool DecodeFlat(const Index* index, const Segment& segment, int64_t* offsets) const;
  template <class Index>
  bool DecodeEmpty(const Index* index, const Segment& segment, int64_t* offsets) const;

  const Geometry& geometry_;
  const void* index_;
  int32_t format_;
  bool allow_empty_, tensor_, dilated_;
  int order_[3];                           // axes of a flat index, slowest first
  int64_t pitch_[3];                       // by axis: its distance in a flat index
  int64_t plane_;                          // elements of one (n, c)
  int64_t interior_begin_, interior_end_;  // outputs along w whose windows are clear of the padding
  Divider by_kernel_width_, by_kernel_height_, by_slow_, by_middle_, by_dilation_[3];
};

// Sums dy into input lines [begin, end) of dx, which it zeroes first unless `accumulate`. Each sum runs in ascending
// output position (n, c, d, h, w), so its bits do not depend on how lines are split. F16 and BF16 sum in float and
// round once, to nearest even, NaN canonical.
struct ScatterCall {
  const Geometry* geometry;
  int32_t type;          // peakpool_type, floating point
  int32_t index_format;  // peakpool_index_format, any but none
  const void* dy;
  const void* index;
  void* dx;
  bool accumulate, allow_empty;
  int64_t begin, end;
  void* scratch;  // kScratchBytes, 64-byte aligned
};

// False if an index it met was invalid. It meets those of every window that can touch the lines, no others; never
// writes outside the lines.
bool ScatterBackward(const ScatterCall& call);

// Whether every index of output lines [begin, end) is valid; see PositionDecoder::Decode.
bool ValidateIndices(const Geometry& geometry, int32_t index_format, const void* index, bool allow_empty, int64_t begin,
                     int64_t end);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_BACKWARD_SCATTER_H_
