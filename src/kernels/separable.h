// SPDX-License-Identifier: Apache-2.0
// The seam of the general forward engine: what drives it (separable.cc) is compiled once and knows lanes only by their
// size; the loops over vectors (separable-inl.h) are compiled per target and kind of lanes, and know no geometry.
#ifndef PEAKPOOL_SRC_KERNELS_SEPARABLE_H_
#define PEAKPOOL_SRC_KERNELS_SEPARABLE_H_

#include <cstdint>

#include "src/geometry.h"
#include "src/kernels/kernels.h"

namespace peakpool {

// An array of keys in scratch; the tap numbers, if any, follow at a fixed distance. Offsets and counts of both are in
// lanes.
struct KeyArray {
  char* keys;
  char* taps;
};

// How one tile of columns and one range of taps is reduced along the width. Windows of `window` taps grow in place by a
// few passes over the flat rows; the last pass reads `last_taps` windows per output and writes the ring. Strides > 1
// are split in phases before the last pass, so that it too reads neighbours.
struct SeparableWidth {
  static constexpr int64_t kMaxTaps = 128;  // of one pass, where strides are split in phases

  int64_t ox, columns, channel, channels, tap, planes;  // the tile this plan is for
  int64_t taps;
  int64_t left, first, count;  // padding, in-range input columns
  int64_t segment;             // columns from plane to plane
  int64_t pitch, split_pitch;  // elements from row to row before and after the split
  int64_t out_segment;         // elements of a ring row from plane to plane
  int64_t stride;
  int64_t phases, phase_step;       // that the last pass reads: every phase_step-th
  int64_t phase_pitch;              // elements from phase to phase of a group of rows
  bool split;                       // the stride is not 1
  int64_t grown;                    // taps of the windows before the last pass
  int64_t last_taps;                // windows combined by the last pass
  int64_t edge;                     // leading outputs whose window begins in the padding
  int64_t out_vectors, out_pitch;   // of a row in the ring and in the sums
  int64_t parts, part_vectors;      // that the last pass is called for: all, or one per plane if rows are compacted
  int64_t part_step;                // elements from part to part before it
  int64_t step, tap_step;           // from tap to tap: elements, and what it adds to tap numbers
  int32_t window_offset[kMaxTaps];  // of the windows that the last pass combines, and their first taps
  int32_t window_tap[kMaxTaps];
  const char* first_taps;  // of each output of a row with an edge
  const Axis* axis;
};

// A few outputs of an axis, `vectors` wide; see SeparableRun::ReduceAxis.
struct SeparableColumn {
  KeyArray from, to, shared;
  int64_t to_pitch;  // from output to output
  int64_t vectors, taps;
  bool fresh;             // or combined with what is there
  const int32_t* offset;  // of the rows, in steps of `step` per tap
  int64_t step;
  int64_t share, apart;  // outputs, and taps between the beginnings of their windows
  int64_t origin, origin_step;
};

// Tap numbers of rows that follow each other: `dilation` of them have the same one, of which `phase` are past.
struct SeparableRowTaps {
  int64_t tap, step, phase, dilation;
};

// How planes whose rows fit a vector are reduced along the width: `steps` tables of lanes to compare with, the first
// `rights` of which look to the right, then where strides begin, the columns' tap numbers and what is added at the end.
struct SeparableLookups {
  static constexpr int64_t kMaxSteps = 16;
  const char* tables;
  int64_t rights, steps;
  bool strided;
};

// The rows of x that an output line reduces: `depths` x `heights` in-range taps from x on, whose numbers begin at
// `tap`.
struct SeparableLine {
  const void* x;
  int32_t depths, heights, tap;
  bool readable;  // a whole vector from each of them, or the driver copies them to where it is
};
// What all lines of a call have in common: bytes and numbers from tap to tap of either axis, elements per row, lanes
// that padding takes up to the next line's elements, and lanes from line to line.
struct SeparableLines {
  int64_t depth_step, height_step, depth_tap, height_tap;
  int64_t count, filled, pitch;
  bool fresh;  // or combined with what is there, which comes first
};

// The loops, with or without tap numbers. "map" is the element type's object of its kind of lanes (lanes-inl.h).
struct SeparableLoops {
  // Maps runs of `count` elements, `from_step` apart, to keys `to_step` apart, and fills the lanes from there to
  // `filled` with the lowest. Run r may read up to `readable - r * shrink` elements. May write a vector beyond each
  // run, which the next one follows.
  using Load = void(const void* map, const void* from, int64_t from_step, int64_t runs, int64_t count, int64_t readable,
                    int64_t shrink, char* to, int64_t to_step, int64_t filled);
  // Copies runs of lanes out as another type. Run r may write up to `writable - r * shrink` elements, but only `count`
  // are meant.
  using Store = void(const void* map, const char* from, int64_t from_step, int64_t runs, int64_t count, void* to,
                     int64_t to_step, int64_t writable, int64_t shrink);

  // The greatest key of each column of each line; with taps, the first row that has it. Padding gets the lowest key and
  // tap numbers beyond all others.
  using LoadLines = void(const void* map, const SeparableLines& all, int64_t count, const SeparableLine* lines,
                         KeyArray to);
  static constexpr int64_t kMostOrderedTaps = 63;

  int64_t lane_bytes, lanes;  // lanes per vector
  int64_t lowest, no_tap;     // the key and the tap number of padding
  const void* identity;       // the map of elements that are keys already
  // Item i is for elements of 2^i bytes; null where such never pass through these lanes. Tap numbers are unsigned.
  Load* load[4];
  LoadLines* load_lines[4];
  Store* store[4];
  Store* store_taps[4];

  // Writes whole vectors.
  void (*fill)(char* to, int64_t count, int64_t lane);
  // Windows of `from` taps become windows of `to` <= 4 * from taps, in place, over `count` elements.
  void (*grow)(const SeparableWidth& width, KeyArray row, int64_t from, int64_t to, int64_t count);
  // Every stride-th pixel of `count` elements to its phase; only the first phase when windows are already grown.
  void (*split)(const SeparableWidth& width, const char* from, char* to, int64_t count);
  void (*split_adaptive)(const SeparableWidth& width, const char* from, char* to, int64_t rows);
  // The last pass along the width: combines windows, which carry tap numbers or do not, into `rows` ring rows.
  using Gather = void(const SeparableWidth& width, KeyArray from, KeyArray to, int64_t rows, int64_t pitch,
                      SeparableRowTaps row_taps);
  Gather* gather;
  Gather* gather_carried;
  // The same over one row of windows each of which carries the number of its first row: the lowest number wins ties.
  void (*gather_ordered)(const SeparableWidth& width, KeyArray from, KeyArray to);
  void (*reduce_columns)(const SeparableColumn& column);

  // The greatest key of each of some planes of `size` keys, or one vector, `pitch` apart, by way of a vector for each;
  // with taps, also where it is. Null for narrow lanes, of which pool_planes takes all.
  void (*reduce_planes)(const char* keys, int64_t planes, int64_t size, int64_t pitch, KeyArray best);
  // The same for elements of one or two bytes and, as floats, for f32 and f64: `planes` of them, `step` apart, of
  // `size` >= plane_lanes >= 4 elements. `best` has room for a quarter of so many lanes per plane and a vector,
  // `rooms`, only for taps, for all of them of each plane, rounded up to four; taps are left where rooms.taps begins.
  // True if there was a NaN, and nothing is done. Null where such is not to be had.
  bool (*pool_planes)(const void* map, const void* elements, int64_t planes, int64_t size, int64_t step, KeyArray rooms,
                      char* best);
  int64_t plane_lanes;
  // Windows of 4 columns at stride 4 along a line of f32, a vector of outputs at least, tap numbers in bytes. True
  // if there was a NaN, and what was written is wrong. Null but for 4-byte lanes.
  bool (*pool_fours)(const float* x, int64_t outputs, float* y, uint8_t* taps);
  // Even elements to the first half, odd ones to the second, one of log2(columns) rounds that transpose; and back.
  void (*deinterleave)(const char* from, int64_t count, char* to);
  void (*interleave)(const char* from, int64_t count, char* to);
  // Rows of one vector along the width, and the rows of planes along the height. Null where lookups are not to be had.
  void (*grow_rows)(const SeparableLookups& lookups, int64_t rows, KeyArray row);
  void (*reduce_rows)(const Axis& height, int64_t tap_step, int64_t planes, KeyArray from, KeyArray to);
};

// An element type to the engine.
struct SeparableElement {
  int64_t bytes;
  const void* map;
  bool is_float;  // f32 or f64, without NaN
};

// Pools lines [begin, end) of any geometry. The loops' lanes must be as wide as elements and, with tap numbers, hold
// them; the tap numbers must fit call.taps.bytes.
void RunSeparable(const ForwardCall& call, const SeparableElement& element, const SeparableLoops& loops);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_SEPARABLE_H_
