// SPDX-License-Identifier: Apache-2.0
// The table of kernels for indices of one Highway target. They serve every element type.
#ifndef PEAKPOOL_SRC_KERNELS_INDEX_KERNELS_H_
#define PEAKPOOL_SRC_KERNELS_INDEX_KERNELS_H_

#include <cstdint>

namespace peakpool {

// What turns the indices of neighbouring outputs into other numbers for the same taps. An index is
//   from_base[i] + from_add + the sum of digit * step,
// its digits being the taps along each axis after the window's first that is not padding, slowest step first; the
// steps are such that digits are unique. The result is to_base[i] + to_add + the sum of digit * to_step. All arithmetic
// is modulo 2^32; 64-bit indices have from_high above.
struct TranslateCall {
  struct Digit {
    uint32_t step, to_step;  // step below 2^31
    float reciprocal;        // of step
    bool varies;             // whether most is by output, or one value
    const int32_t* most;     // the greatest digit that is a tap; negative: none, the window is empty
  };
  // By output; tables are readable for kIndexLanes more.
  const uint32_t *from_base, *to_base;
  uint32_t from_add, to_add, from_high;
  int from_bytes;  // 1, 2, 4 or 8 per index
  int digits;
  Digit digit[3];
  uint32_t limit;  // at most 2^31 - 1: so much beyond the base is no tap, nor is anything further
  bool beyond;     // limit is 2^21 or more
  bool has_empty;  // some windows are empty; their index is all ones
};

// What turns the tap numbers of neighbouring outputs' windows, which are neither dilated nor empty, into offsets, all
// in 16 bits: those of positions are modulo 2^16, counted from `origin`, the first of fewer than 2^16 that windows
// cover.
struct PlaceCall {
  int tap_bytes;  // 1 or 2
  bool deep;      // windows have several slices; else slices do not count
  bool alike;     // one window for all outputs: rows and columns do not count
  // Of a window: its taps, those of a slice and of a row, and what multiplies a tap number by 2^-16 of that many.
  uint16_t taps, slice_taps, row_taps, slice_reciprocal, row_reciprocal;
  uint16_t depth, height, width;   // of a plane
  uint16_t slice, row, column;     // where the first output's window begins, modulo 2^16
  const uint16_t *rows, *columns;  // by output: where its window begins beyond that
  uint16_t origin;
  uint32_t add;              // the offset of the origin
  uint32_t pitch;            // from a position's offset to the next one's
  const uint32_t* channels;  // added, by output, unless that is 1
};

// As many lanes as the longest vectors have.
constexpr int64_t kIndexLanes = 64;

struct IndexKernels {
  int64_t target;
  // Translates `count` indices. What is invalid comes out as all ones, as does the mark of an empty window; false if
  // any is invalid.
  bool (*translate)(const TranslateCall& call, const void* from, int64_t count, uint32_t* to);
  // The same for tap numbers that are valid, of windows that are not empty: they become to_base[i] + to_add + the sum
  // of tap / step * to_step, rounded down, where the last step is 1.
  void (*number)(const TranslateCall& call, const void* taps, int64_t count, uint32_t* to);
  // False, with any offsets, if a tap is outside its window or its plane, or if there are too few outputs.
  bool (*place)(const PlaceCall& call, const void* taps, int64_t count, uint32_t* to);
  // The lower bytes (1, 2 or 4) of `count` numbers, or 8 with `high` above; all ones stay all ones.
  void (*narrow)(const uint32_t* from, int64_t count, int bytes, uint32_t high, void* to);
  // Whether each tap is below `end`, and the bits that the table of 32 has for it are all set both in its `allowed` and
  // in `also`. Above 32 taps, the table is all zeros.
  bool (*validate_taps)(const uint8_t* taps, int64_t count, const uint8_t* allowed, uint8_t also, const uint8_t* bits,
                        int64_t end);
  // Elements of a peakpool_type to the floats or doubles in which gradients sum, and back: rounded to nearest even, NaN
  // canonical. By type; null for integers.
  void (*load_sums[4])(const void* from, int64_t count, void* sums);
  void (*store_sums[4])(const void* sums, int64_t count, void* to);
  // Whether none of `count` floats or doubles is NaN or infinite: then no sum of them is NaN.
  bool (*all_finite[2])(const void* values, int64_t count);
};

// Those for the best of `targets` (a mask of HWY_* bits) that is compiled in, null if none is.
const IndexKernels* IndexKernelsFor(int64_t targets);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_INDEX_KERNELS_H_
