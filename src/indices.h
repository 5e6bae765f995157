// SPDX-License-Identifier: Apache-2.0
// Index formats: what a valid index is, and what else the same tap is called. The only place that takes callers'
// indices apart.
#ifndef PEAKPOOL_SRC_INDICES_H_
#define PEAKPOOL_SRC_INDICES_H_

#include <algorithm>
#include <cstdint>

#include "src/geometry.h"
#include "src/kernels/index_kernels.h"
#include "src/partition.h"

namespace peakpool {

// The narrowest tap width that can hold every tap and, where windows can be empty, the all-ones mark: 1, 2 or 4.
int NarrowestTapBytes(const Geometry& geometry, bool has_empty_window);
// The index format of taps that wide.
int32_t WindowFormatOf(int tap_bytes);

// How numbers name the inputs of an (n, c) plane: n * batch + c * channel + the sum over the axes of the position times
// the stride. Or its windows' taps: then tap numbers count instead of positions.
struct Numbering {
  Strides strides;
  bool of_taps;
};
Numbering NumberingOf(const Geometry& geometry, int32_t index_format);

// Element i of an array of so many bytes each.
inline void StoreIndex(int bytes, int64_t value, void* to, int64_t i) {
  switch (bytes) {
    case 1: static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(value); break;
    case 2: static_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(value); break;
    case 4: static_cast<uint32_t*>(to)[i] = static_cast<uint32_t>(value); break;
    default: static_cast<int64_t*>(to)[i] = value; break;
  }
}

// Indices that a caller gave.
struct Indices {
  const Geometry* geometry;
  int32_t format;
  bool has_empty_window;
  const void* base;
  // A plane or tensor index may name any position of its plane, as unpooling allows; else it must be an in-range tap of
  // its own output's window, as a window index always must.
  bool any_position;
  bool is_valid = false;  // known to be: taps that a kernel wrote
};

// One untrusted index at a time, in 64 bits: for messages, and for whatever does not fit 32-bit lanes.
class IndexReader {
 public:
  enum Result { kTap, kEmpty, kInvalid };

  explicit IndexReader(const Indices& indices);

  // The index at `offset` as stored.
  int64_t Value(int64_t offset) const;
  // The tap that the index at `offset`, which is that of `output`, names along each axis of windows().
  Result Read(const OutputPosition& output, int64_t offset, int64_t (&tap)[3]) const;
  // What the numbering calls a tap of the output.
  int64_t Number(const Numbering& numbering, const OutputPosition& output, const int64_t (&tap)[3]) const;
  const Indices& indices() const { return indices_; }
  // Other indices of the same kind.
  void Rebase(const void* base) { indices_.base = base; }
  // The geometry, or one in which each window is its whole plane.
  const Geometry& windows() const { return windows_; }

 private:
  Indices indices_;
  Geometry windows_;
  int64_t mark_;  // all ones
};

// The strides of a tensor that holds whole lines of just these columns and channels.
Strides DenseLines(const Geometry& geometry, int64_t columns, int64_t channels);

// Translates runs of indices, neighbours in memory, to another numbering. Tables on the stack hold what differs between
// the outputs of a run: it goes along a line's columns, along the channels of one channels-last column, or, where
// lines follow each other without gaps, through several: those of one slice, or whole planes that are small, also from
// one image into the next.
class IndexMap {
 public:
  static constexpr int64_t kLongestRun = 512;
  static constexpr uint32_t kNone = UINT32_MAX;

  // Runs stay within the given columns and channels (all, channels-first). Indices are read with `from` as strides;
  // `to` is where other data of the same outputs lies: runs are contiguous in both. kernels may be null.
  IndexMap(const Indices& indices, const IndexKernels* kernels, const Numbering& numbering, const Strides& from,
           const Strides& to, Range columns, Range channels);
  IndexMap(const IndexMap&) = delete;

  void Rebase(const void* base) { reader_.Rebase(base); }

  // Calls visit(first output, count) for each run of the lines, which covers them in ascending order.
  template <class Visit>
  void ForEachRun(Range lines, Visit visit) const {
    const Geometry& g = *reader_.indices().geometry;
    if (through_planes_) {
      const int64_t plane_lines = g.axis[kDepth].output * g.axis[kHeight].output, width = g.axis[kWidth].output;
      for (int64_t line = lines.begin; line < lines.end;) {
        const OutputPosition first = g.OutputAt(line);
        // To the table's last plane, or the image's.
        const int64_t planes = through_images_ ? table_planes_ : std::min(table_planes_, g.channels - first.c);
        const int64_t end = std::min(lines.end, line - line % plane_lines + planes * plane_lines);
        visit(first, (end - line) * width);
        line = end;
      }
      return;
    }
    if (run_lines_ > 1) {
      for (int64_t line = lines.begin, count; line < lines.end; line += count) {
        OutputPosition first = g.OutputAt(line);
        if (g.channels_last) first.c = channels_.begin;
        const int64_t h = first.o[kHeight];
        const int64_t end = h < interior_lines_.begin ? interior_lines_.begin
                            : h < interior_lines_.end ? interior_lines_.end
                                                      : g.axis[kHeight].output;
        count = std::min({run_lines_, end - h, lines.end - line});
        visit(first, count * line_);
      }
      return;
    }
    OutputPosition first = g.OutputAt(lines.begin);
    for (int64_t line = lines.begin; line < lines.end; ++line) {
      ForEachRunOfLine(first, visit);
      if (++first.o[kHeight] < g.axis[kHeight].output) continue;
      first.o[kHeight] = 0;
      if (++first.o[kDepth] < g.axis[kDepth].output) continue;
      first.o[kDepth] = 0;
      if (!g.channels_last && ++first.c < g.channels) continue;
      first.c = 0;
      ++first.n;
    }
  }

  // Translates a run to numbers less `origin`, modulo 2^32: kNone for an empty window and for what is invalid. False if
  // anything is.
  bool Translate(const OutputPosition& first, int64_t count, int64_t origin, uint32_t* to);
  // The same in as many bytes as a format has: 1, 2, 4 or 8.
  bool TranslateTo(const OutputPosition& first, int64_t count, int bytes, void* to);

  // Whether runs may go on from one plane into the next, and through how many planes.
  bool through_planes() const { return through_planes_; }
  int64_t table_planes() const { return table_planes_; }

 private:
  // What one axis contributes to the numbers of an output's first tap, and its greatest digit.
  struct Term {
    int64_t from, to;
    int32_t most;
  };
  Term TermOf(int axis, int64_t o) const;
  void FillColumns(int64_t begin);
  void FillLines();
  void FillPlanes();
  void FillChannels();
  int64_t PlanesOf(const OutputPosition& first, int64_t count) const;
  bool IsWithin32Bits(const Numbering& numbering, const OutputPosition& first, int64_t planes) const;
  bool TranslateInLanes(const OutputPosition& first, int64_t count, int64_t origin, uint32_t* to);
  // ForEachRun() of one line, given by its first output.
  template <class Visit>
  void ForEachRunOfLine(OutputPosition first, Visit visit) const {
    if (along_channels_) {
      for (int64_t w = columns_.begin; w < columns_.end; ++w) {
        for (int64_t c = channels_.begin; c < channels_.end; c += kLongestRun) {
          first.c = c;
          first.o[kWidth] = w;
          visit(first, std::min(kLongestRun, channels_.end - c));
        }
      }
    } else {
      if (reader_.indices().geometry->channels_last) first.c = channels_.begin;
      const int64_t step = kLongestRun / inner_;
      for (int64_t w = columns_.begin; w < columns_.end; w += step) {
        first.o[kWidth] = w;
        visit(first, std::min(step, columns_.end - w) * inner_);
      }
    }
  }
  template <class Store>
  bool TranslateSlowly(const OutputPosition& first, int64_t count, int64_t origin, Store store) const;

  IndexReader reader_;
  const IndexKernels* const kernels_;
  const Numbering from_, to_;
  const Strides from_strides_;
  const Range columns_, channels_;
  const int64_t index_bytes_;
  bool in_lanes_;            // 32 bits suffice
  bool as_numbers_ = false;  // nothing is checked: tables are of the windows as if nothing were padding
  bool through_planes_ = false, through_images_ = false, along_channels_ = false;
  int64_t inner_ = 1;  // channels that alternate within a run
  int64_t table_planes_ = 1, table_begin_ = INT64_MIN, table_end_ = INT64_MIN;
  int64_t line_;  // outputs of a line
  // Lines that a run goes through at most. If several, the table has so many of those whose windows are clear of the
  // padding, which are alike, and then all others.
  int64_t run_lines_ = 1;
  Range interior_columns_, interior_lines_;
  int64_t row_[2] = {-1, -1};  // the outputs of which row_terms_ are
  Term row_terms_[2];
  int axis_of_digit_[3];
  bool is_merged_ = false;  // digits count the positions of whole planes, some of them several axes at once
  int32_t merged_most_[3];  // then their greatest
  int32_t most_[3];         // of a run's only depth, row and, along channels, column
  TranslateCall call_;
  static constexpr int64_t kTable = kLongestRun + kIndexLanes;
  alignas(64) uint32_t from_base_[kTable], to_base_[kTable];
  alignas(64) int32_t digit_most_[3][kTable];  // by axis
};

// Writes indices of some columns and channels in a plane or tensor format, from the taps of a few lines at a time.
class TapExpander {
 public:
  TapExpander(const Geometry& geometry, const IndexKernels* kernels, bool has_empty_window, int32_t index_format,
              int tap_bytes, Range columns, Range channels, void* index);
  // taps is dense over (line, column, channel if channels-last) of just these lines, columns and channels. It may end
  // where the lines' indices end, if these have no gaps.
  void Expand(const void* taps, Range lines);

 private:
  const Geometry& geometry_;
  const int index_bytes_, tap_bytes_;
  const Strides dense_;
  const int64_t corner_;  // elements before the first column and channel
  void* const index_;
  IndexMap map_;
};

// Rewrites the indices of the given output lines to another format. False if one is invalid, or names a position that
// the other format cannot (no tap of its own window); its place then holds -1.
bool ConvertIndices(const Indices& from, const IndexKernels* kernels, int32_t to_format, void* to, Range lines);

// Whether every index of the output lines is valid.
bool ValidateIndices(const Indices& indices, const IndexKernels* kernels, Range lines);

// The first invalid index in row-major order, for the message about it. There must be one, or *found stays as it is.
struct InvalidIndex {
  int64_t n, c, o[3];
  int64_t value;
};
void FindInvalidIndex(const Indices& indices, InvalidIndex* found);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_INDICES_H_
