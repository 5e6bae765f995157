// SPDX-License-Identifier: Apache-2.0
// The general forward engine: any geometry, both layouts, with or without tap numbers, one axis after the other.
//
// A tile of the output passes through bounded scratch: each input row is mapped to keys once (see separable-inl.h),
// reduced along the width, and kept in a ring of rows that the height reduces; depth taps are accumulated one after the
// other. A line is flat memory of width x inner elements (inner is 1 channels-first, a tile of channels otherwise), and
// short lines of several planes lie side by side, so the same loops fill whole vectors.
#include "src/kernels/separable.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "src/kernels/separable_plan.h"

namespace peakpool {
namespace {

int Log2(int64_t bytes) { return bytes >= 8 ? 3 : static_cast<int>(bytes / 2); }

class SeparableRun : SeparablePlan {
  static constexpr int64_t kMaxLines = 96;  // in a group; see HeightFirst

 public:
  SeparableRun(const SeparableProblem& problem, const SeparableElement& element, const SeparableLoops& loops)
      : SeparablePlan(problem, loops.lane_bytes, loops.lanes), loops_(loops), element_(element) {}

  [[gnu::cold]] void Run() {
    if (GlobalFours() || Fours() || GlobalPlanes() || GlobalPixels() || Transposed() || RowPlanes() || HeightFirst())
      return;
    if (!has_tile_) ChooseTile();
    has_tile_ = true;
    TakeScratch();
    for (int64_t line = call_.begin; line < call_.end;) {
      const int64_t left = call_.end - line;
      const int64_t oy = line % height_.output;
      const int64_t outer = line / height_.output;
      const int64_t oz = outer % depth_.output;
      const int64_t plane = outer / depth_.output;
      const int64_t rows = std::min(height_.output - oy, left);
      int64_t depths = 1, planes = 1;
      if (rows == height_.output) {
        depths = std::min(depth_.output - oz, left / rows);
        if (depths == depth_.output) {
          planes = std::min({tile_.planes, left / LinesPerPlane(), images_of_planes_ - plane % images_of_planes_});
        }
      }
      Planes(plane, planes, oz, depths, oy, rows);
      line += rows * depths * planes;
    }
  }

 private:
  KeyArray At(KeyArray b, int64_t lane) const {
    return {b.keys + lane * loops_.lane_bytes, b.taps + lane * loops_.lane_bytes};
  }
  bool HasTaps() const { return arrays_ > 1; }

  // Lane i of an array.
  void SetLane(char* lanes, int64_t i, int64_t value) const {
    switch (loops_.lane_bytes) {
      case 1: reinterpret_cast<int8_t*>(lanes)[i] = static_cast<int8_t>(value); break;
      case 2: reinterpret_cast<int16_t*>(lanes)[i] = static_cast<int16_t>(value); break;
      case 4: reinterpret_cast<int32_t*>(lanes)[i] = static_cast<int32_t>(value); break;
      default: reinterpret_cast<int64_t*>(lanes)[i] = value;
    }
  }

  // Elements of x as keys; see SeparableLoops. Runs without gaps are one.
  void Load(const char* x, int64_t from_step, int64_t runs, int64_t count, int64_t readable, int64_t shrink, char* to,
            int64_t to_step, int64_t filled) const {
    if (from_step == count && to_step == count && filled == count) {
      count *= runs;
      runs = std::min<int64_t>(runs, 1);
      filled = count;
    }
    loops_.load[Log2(element_.bytes)](element_.map, x, from_step, runs, count, readable, shrink, to, to_step, filled);
  }
  // Where keys or tap numbers go.
  struct Target {
    SeparableLoops::Store* store;
    const void* map;
    const Strides& strides;
    int64_t bytes;
    char* base;
    void Store(const char* from, int64_t from_step, int64_t runs, int64_t count, char* to, int64_t to_step,
               int64_t writable, int64_t shrink) const {
      if (from_step == count && to_step == count && writable == count * runs) {  // all in one
        count = writable;
        runs = std::min<int64_t>(runs, 1);
      }
      store(map, from, from_step, runs, count, to, to_step, writable, shrink);
    }
  };
  Target Values() const {
    return {loops_.store[Log2(element_.bytes)], element_.map, geometry_.output, element_.bytes,
            static_cast<char*>(call_.y)};
  }
  Target Taps() const {
    const int64_t bytes = call_.taps.bytes;
    return {loops_.store_taps[Log2(bytes)], nullptr, call_.taps.strides, bytes,
            static_cast<char*>(call_.taps.base) - call_.taps.origin * bytes};
  }

  [[gnu::cold]] void TakeScratch() {
    char* next = static_cast<char*>(call_.scratch);
    const auto take = [&](int64_t lanes) {
      const int64_t bytes = lanes * loops_.lane_bytes;
      char* const keys = next;
      next += bytes * arrays_;
      return KeyArray{keys, next - bytes};
    };
    row_ = take(GroupElements(tile_, group_));
    phases_ = row_;
    if (Splits(tile_)) phases_ = take(GroupElements(tile_, group_));
    ring_ = take(height_ring_.slots * RowPitch(OutElements(tile_)) + 4 * n_);
    planes_ = take(deep_ ? depth_ring_.slots * depth_ring_.pitch + 4 * n_ : 0);
    sums_ = take(tile_.depths * depth_ring_.pitch + 4 * n_);
    shared_ = take(4 * kMaxShare * n_);
    first_taps_ = next;
    width_plan_.first_taps = next;
    has_edge_ = false;
  }

  // --- Width ----------------------------------------------------------------------------------------------------

  // Tap numbers of the first in-range taps, where windows begin in the padding.
  [[gnu::cold]] void PlanEdge() const {
    const SeparableWidth& p = width_plan_;
    loops_.fill(first_taps_, p.out_pitch, 0);
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      for (int64_t o = 0; o < p.edge; ++o) {
        const int64_t begin = width_.Begin(p.ox + o) + p.tap * width_.dilation;
        const int64_t first = FirstTap(width_, begin) * tap_step_[kWidth];
        for (int64_t c = 0; c < p.channels; ++c)
          SetLane(first_taps_, plane * p.out_segment + o * p.channels + c, first);
      }
    }
  }

  // Padded rows [y, y + rows) of one tile as keys. `x` is the first element of row 0, see Readable for `readable`.
  void LoadRows(const char* x, int64_t readable, int64_t y, int64_t rows) const {
    const SeparableWidth& p = width_plan_;
    const Strides& s = geometry_.input;
    const int64_t left = p.left * p.channels, count = p.count * p.channels, segment = p.segment * p.channels;
    const int64_t start = y * s.axis[kHeight] + p.first * s.axis[kWidth] + p.channel;
    // Reading past a row is fine only where the rows that follow are dense.
    readable = count == 0 ? 0 : readable - (dense_rows_ ? start : start - y * s.axis[kHeight]);
    const int64_t step = s.axis[kHeight], shrink = dense_rows_ ? step : 0;
    x += start * element_.bytes;
    KeyArray to = row_;
    if (IsFlat(tile_)) {
      const int64_t plane = PlaneStep(s), size = rows * step, span = size - step + Span(1, p.taps, width_);
      return Load(x, plane, p.planes, span, readable, DensePlanes() ? plane : 0, to.keys, size, size);
    }
    if (p.planes == 1 && p.channels == s.axis[kWidth]) {
      // What is filled up to the next row includes its padding.
      loops_.fill(to.keys, left, loops_.lowest);
      to = At(to, left);
      Load(x, step, rows - 1, count, readable, shrink, to.keys, p.pitch, p.pitch);
      x += (rows - 1) * step * element_.bytes;
      Load(x, step, 1, count, readable - (rows - 1) * shrink, shrink, At(to, (rows - 1) * p.pitch).keys, p.pitch,
           segment);
      return;
    }
    for (int64_t r = 0; r < rows; ++r, x += step * element_.bytes, readable -= shrink, to = At(to, p.pitch)) {
      loops_.fill(to.keys, left, loops_.lowest);
      const KeyArray begin = At(to, left);
      if (p.channels == s.axis[kWidth]) {
        const int64_t plane = PlaneStep(s);
        Load(x, plane, p.planes, count, readable, DensePlanes() ? plane : 0, begin.keys, segment, segment);
      } else {
        Load(x, s.axis[kWidth], p.count, p.channels, readable, s.axis[kWidth], begin.keys, p.channels, p.channels);
        loops_.fill(At(begin, count).keys, segment - count, loops_.lowest);
      }
    }
  }

  [[gnu::cold]] void GrowTo(int64_t taps, int64_t count) const {
    if (taps == 1) return;
    const int64_t from = Shrink(taps);
    GrowTo(from, count);
    loops_.grow(width_plan_, row_, from, taps, count);
  }

  // Rows in row_ or phases_.
  void Split(const char* from, char* to, int64_t rows) {
    SeparableWidth& p = width_plan_;
    if (width_.adaptive) return loops_.split_adaptive(p, from, to, rows);
    if (!IsFlat(tile_)) return loops_.split(p, from, to, rows * p.pitch);
    const int64_t stride = p.stride, size = rows * p.planes * width_.input;
    p.stride = rows * width_.input;
    for (int64_t r = 0; r < rows; ++r) {
      loops_.split(p, from + r * width_.input * loops_.lane_bytes, to + r * p.split_pitch * loops_.lane_bytes, size);
    }
    p.stride = stride;
  }

  // Rings carry tap numbers counted from position 0 in steps of the dilation; see ReduceAxis.
  int64_t RingTap(int a, int64_t y) const { return FloorDivide(y, geometry_.axis[a].dilation) * tap_step_[a]; }

  // Where rows go that are outputs: `row`, the first, to `to`, all with the tap number `tap`.
  struct DirectRows {
    KeyArray to;
    int64_t row, tap;
  };

  // Reduces input rows [y, end) of the planes into the ring, or to where they go directly. `x` is the first element of
  // row 0.
  void ReduceRows(const char* x, int64_t readable, int64_t y, int64_t end, const DirectRows* direct) {
    const SeparableWidth& p = width_plan_;
    while (y < end) {
      if (!IsTouched(height_, y)) {
        ++y;
        continue;
      }
      const int64_t slot = y % height_ring_.slots;
      const int64_t most = std::min({end - y, group_, height_ring_.slots - slot});
      int64_t rows = 1;
      while (rows < most && IsTouched(height_, y + rows)) ++rows;
      LoadRows(x, readable, y, rows);
      GrowTo(p.grown, rows * p.pitch);
      const bool carried = HasTaps() && p.grown > 1;
      if (p.split) {
        Split(row_.keys, phases_.keys, rows);
        if (carried) Split(row_.taps, phases_.taps, rows);
      }
      const int64_t dilation = height_.dilation;
      SeparableRowTaps taps = {RingTap(kHeight, y), tap_step_[kHeight], y % dilation, dilation};
      KeyArray to = At(ring_, slot * p.out_pitch);
      if (direct != nullptr) {
        taps = {direct->tap, 0, 0, 1};
        to = At(direct->to, (y - direct->row) * p.out_pitch);
      }
      const auto gather = carried ? loops_.gather_carried : loops_.gather;
      for (int64_t part = 0; part < p.parts; ++part) {
        const KeyArray from = At(p.split ? phases_ : row_, part * p.part_step);
        gather(p, from, At(to, part * p.out_segment), rows, p.split ? p.split_pitch : p.pitch, taps);
      }
      y += rows;
    }
  }

  // --- Height and depth -----------------------------------------------------------------------------------------

  static SeparableColumn Columns(KeyArray from, KeyArray to, int64_t to_pitch, int64_t vectors, int64_t taps,
                                 bool fresh) {
    SeparableColumn c = {};
    c.from = from;
    c.to = to;
    c.to_pitch = to_pitch;
    c.vectors = vectors;
    c.taps = taps;
    c.fresh = fresh;
    return c;
  }

  // Combines `outputs` outputs of a block from a ring's rows. Outputs whose windows lie on the same rows of the dilated
  // grid share what all of them cover: with the outputs' windows starting s rows apart, `share` outputs cost
  // taps + 2 * (share - 1) * s maxima instead of share * taps. Of each window, the c.taps from `tap` on are meant; the
  // first one of all is number tap_origin.
  [[gnu::cold]] void ReduceAxis(int a, const Ring& ring, SeparableColumn c, int64_t first, int64_t outputs, int64_t tap,
                                int64_t tap_origin) const {
    const Axis& axis = geometry_.axis[a];
    const int64_t common = std::gcd(axis.stride, axis.dilation);
    const int64_t classes = axis.dilation / common;  // every classes-th output is on the same rows
    const int64_t apart = axis.stride / common;      // their distance in taps
    const int64_t taps = c.taps, most = axis.adaptive ? 1 : std::min(kMaxShare, (taps - 1) / apart + 1);
    const KeyArray to = c.to;
    const int64_t to_pitch = c.to_pitch;
    c.step = axis.dilation;
    c.apart = apart;
    c.to_pitch = to_pitch * classes;
    c.origin_step = apart * tap_step_[a];
    c.shared = shared_;
    for (int64_t i = 0; i < std::min(classes, outputs); ++i) {
      for (int64_t o = i; o < outputs; o += classes * most) {
        const int64_t begin = axis.Begin(first + o) + tap * axis.dilation;
        if (axis.adaptive) c.taps = std::min(taps, axis.TapEnd(first + o) - tap);
        if (c.taps <= 0) continue;
        c.offset = ring.offset + begin - ring.begin;
        c.share = std::min(most, (outputs - o + classes - 1) / classes);
        c.to = At(to, o * to_pitch);
        // Turns the ring's tap numbers into those of the first output's window.
        c.origin = tap_origin - RingTap(a, begin);
        loops_.reduce_columns(c);
      }
    }
  }

  // --- Planes, tiles, output --------------------------------------------------------------------------------------

  [[gnu::cold]] void Planes(int64_t plane, int64_t planes, int64_t oz, int64_t depths, int64_t oy, int64_t rows) {
    for (int64_t channel = 0; channel < inner_; channel += tile_.channels) {
      const int64_t channels = std::min(tile_.channels, inner_ - channel);
      for (int64_t ox = 0; ox < width_.output; ox += tile_.columns) {
        const int64_t columns = std::min(tile_.columns, width_.output - ox);
        const auto plan_width = [&](int64_t tap) {
          if (PlanWidth(ox, columns, channel, channels, tap, planes)) has_edge_ = false;
          if (!has_edge_ && HasTaps() && width_plan_.edge > 0) PlanEdge();
          has_edge_ = true;
        };
        // The ring of planes holds one block of rows; without it, the ring of rows serves one plane after the other.
        const int64_t row_step = deep_ ? tile_.rows : rows, depth_step = deep_ ? depths : 1;
        for (int64_t o = 0; o < rows; o += row_step) {
          for (int64_t d = 0; d < depths; d += depth_step) {
            height_ring_.end = depth_ring_.end = 0;
            for (int64_t r = o; r < std::min(rows, o + row_step); r += tile_.rows) {
              const int64_t block = std::min(tile_.rows, rows - r);
              for (int64_t e = d; e < std::min(depths, d + depth_step); e += tile_.depths) {
                Block(plane, oz + e, std::min(tile_.depths, depths - e), oy + r, block, plan_width);
              }
            }
          }
        }
      }
    }
  }

  int64_t Image(int64_t plane) const { return geometry_.channels_last ? plane : plane / geometry_.channels; }
  int64_t Channel(int64_t plane) const { return geometry_.channels_last ? 0 : plane % geometry_.channels; }
  // Where a plane begins.
  int64_t PlaneOffset(const Strides& s, int64_t plane) const {
    return Image(plane) * s.batch + Channel(plane) * s.channel;
  }

  // Reduces all taps of one block of outputs and stores it.
  template <class PlanWidthTap>
  [[gnu::cold]] void Block(int64_t plane, int64_t oz, int64_t depths, int64_t oy, int64_t rows,
                           const PlanWidthTap& plan_width) {
    plan_width(0);
    const int64_t begin = depth_.Begin(oz);
    const int64_t origin = problem_.tap_origin;
    bool fresh = true;
    if (deep_) {
      const int64_t span = Span(depths, depth_.kernel, depth_);
      const int64_t end = std::min(depth_.input, begin + span);
      for (int64_t z = std::max({int64_t{0}, begin, depth_ring_.end}); z < end; ++z) {
        if (!IsTouched(depth_, z)) continue;
        height_ring_.end = 0;
        ReducePlane(plane, z, oy, rows, RingTap(kDepth, z), At(planes_, z % depth_ring_.slots * depth_ring_.pitch),
                    true, plan_width);
      }
      depth_ring_.end = end;
      fresh = end <= 0 || begin >= depth_.input;
      PlanRing(depth_, begin, span, &depth_ring_);
      const int64_t vectors = ((rows - 1) * width_plan_.out_pitch + width_plan_.out_vectors * n_ + n_ - 1) / n_;
      ReduceAxis(kDepth, depth_ring_, Columns(planes_, sums_, depth_ring_.pitch, vectors, depth_.kernel, true), oz,
                 depths, 0, origin);
    } else {
      const int64_t first = depth_.FirstTap(oz), end = depth_.TapEnd(oz);
      for (int64_t t = first; t < end; ++t) {
        if (end - first > 1) height_ring_.end = 0;
        fresh &= !ReducePlane(plane, begin + t * depth_.dilation, oy, rows, origin + t * tap_step_[kDepth], sums_,
                              fresh, plan_width);
      }
    }
    for (int64_t d = 0; d < depths; ++d) {
      StoreBlock(At(sums_, d * depth_ring_.pitch), plane, oz + d, oy, rows,
                 fresh || (may_be_empty_ && depth_.IsEmpty(oz + d)));
    }
  }

  // Reduces input plane z along width and height. False if no row is in range.
  template <class PlanWidthTap>
  [[gnu::cold]] bool ReducePlane(int64_t plane, int64_t z, int64_t oy, int64_t rows, int64_t tap_origin, KeyArray to,
                                 bool fresh, const PlanWidthTap& plan_width) {
    const Strides& s = geometry_.input;
    const char* x = static_cast<const char*>(call_.x) + (PlaneOffset(s, plane) + z * s.axis[kDepth]) * element_.bytes;
    const int64_t readable = Readable(Image(plane), Channel(plane), z);
    const bool one_pass = tile_.taps_y == height_.kernel && tile_.taps_x == width_.kernel;
    bool any = false;
    for (int64_t ty = 0; ty < height_.kernel; ty += tile_.taps_y) {
      const int64_t taps = std::min(tile_.taps_y, height_.kernel - ty);
      const int64_t begin = height_.Begin(oy) + ty * height_.dilation;
      const int64_t span = Span(rows, taps, height_);
      const int64_t first = std::max<int64_t>(0, begin);
      const int64_t end = std::min(height_.input, begin + span);
      if (first >= end) continue;
      if (rows == 1 && FirstTap(height_, begin) >= EndTap(height_, begin, taps)) continue;
      height_ring_.pitch = width_plan_.out_pitch;
      PlanRing(height_, begin, span, &height_ring_);
      for (int64_t part = 0; part < width_.kernel; part += tile_.taps_x) {
        // Parts of adaptive windows need a tap that all windows have. To see taps twice changes nothing.
        const int64_t tx = width_.adaptive ? std::min(part, width_.kernel - tile_.taps_x) : part;
        // What meets nothing but padding changes nothing: most of a kernel that is huge beside its input.
        if ((any || !fresh) && !width_.adaptive) {
          const int64_t at = width_.Begin(width_plan_.ox) + tx * width_.dilation;
          if (at >= width_.input) break;
          if (at + Span(width_plan_.columns, std::min(tile_.taps_x, width_.kernel - tx), width_) <= 0) continue;
        }
        plan_width(tx);
        if (fresh && one_pass && height_.kernel == 1 && height_.stride == 1 && !height_.adaptive && first == begin) {
          const DirectRows direct = {to, first, tap_origin};
          ReduceRows(x, readable, first, end, &direct);
          return true;
        }
        ReduceRows(x, readable, one_pass ? std::max(first, height_ring_.end) : first, end, nullptr);
        height_ring_.end = end;
        ReduceAxis(kHeight, height_ring_,
                   Columns(ring_, to, width_plan_.out_pitch, width_plan_.out_vectors, taps, fresh && !any), oy, rows,
                   ty, tap_origin + ty * tap_step_[kHeight] + tx * tap_step_[kWidth]);
        any = true;
      }
    }
    return any;
  }

  // Stores a block of rows to an output that begins at `to`. Rows that follow each other without a gap may be written
  // past their end while the next row of the block is still to come.
  void StoreRows(const char* from, int64_t rows, const Target& target, char* to) const {
    const SeparableWidth& p = width_plan_;
    const Strides& s = target.strides;
    const int64_t pixel = s.axis[kWidth], step = s.axis[kHeight], lane_bytes = loops_.lane_bytes;
    if (p.channels != pixel) {
      for (int64_t r = 0; r < rows; ++r) {
        target.Store(from + r * p.out_pitch * lane_bytes, p.channels, p.columns, p.channels,
                     to + r * step * target.bytes, pixel, p.channels, 0);
      }
      return;
    }
    const int64_t row = p.columns * p.channels;
    const bool dense = row == step;
    const bool dense_planes = dense && rows * step == PlaneStep(s);
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      const int64_t writable = dense ? (dense_planes ? p.planes - plane : 1) * rows * row : row;
      target.Store(from + plane * p.out_segment * lane_bytes, p.out_pitch, rows, row,
                   to + plane * PlaneStep(s) * target.bytes, step, writable, dense ? row : 0);
    }
  }

  [[gnu::cold]] void StoreBlock(KeyArray from, int64_t plane, int64_t oz, int64_t oy, int64_t rows, bool empty) const {
    const SeparableWidth& p = width_plan_;
    const auto start = [&](const Target& target) {
      const Strides& s = target.strides;
      return target.base +
             (PlaneOffset(s, plane) + oz * s.axis[kDepth] + oy * s.axis[kHeight] + p.ox * s.axis[kWidth] + p.channel) *
                 target.bytes;
    };
    const bool any_empty = empty || may_be_empty_;
    if (any_empty) {
      for (int64_t r = 0; r < rows; ++r) {
        if (empty || height_.IsEmpty(oy + r)) {
          loops_.fill(At(from, r * p.out_pitch).keys, p.out_vectors * n_, loops_.lowest);
        }
      }
    }
    StoreRows(from.keys, rows, Values(), start(Values()));
    if (!HasTaps()) return;
    const Strides& s = call_.taps.strides;
    const int64_t bytes = call_.taps.bytes;
    char* const to = start(Taps());
    StoreRows(from.taps, rows, Taps(), to);
    if (!any_empty) return;
    for (int64_t r = 0; r < p.planes * rows; ++r) {
      const bool empty_row = empty || height_.IsEmpty(oy + r % rows);
      char* const line = to + (r / rows * PlaneStep(s) + r % rows * s.axis[kHeight]) * bytes;
      for (int64_t o = 0; o < p.columns; ++o) {
        if (!empty_row && !width_.IsEmpty(p.ox + o)) continue;
        std::memset(line + o * s.axis[kWidth] * bytes, 0xFF, static_cast<size_t>(p.channels * bytes));
      }
    }
  }

  // --- Global pooling ---------------------------------------------------------------------------------------------

  // Whether one window is the whole axis.
  static bool IsGlobal(const Axis& axis) {
    return axis.output == 1 && axis.kernel == axis.input && axis.dilation == 1 && axis.pad_before == 0;
  }

  // Elements per plane if these are one window each, channels-first, else 0.
  [[gnu::cold]] int64_t GlobalSize() const {
    int64_t size = 1;
    for (int i = kWidth; i >= kDepth; --i) {
      const Axis& a = geometry_.axis[i];
      if (!IsGlobal(a)) return 0;
      if (a.input > 1 && (geometry_.input.axis[i] != size || (HasTaps() && tap_step_[i] != size))) return 0;
      size *= a.input;
    }
    const bool numbered = HasTaps() && problem_.tap_origin != 0;
    return geometry_.channels_last || numbered || (n_ & (n_ - 1)) != 0 ? 0 : size;
  }

  // Lines that the floats' own maximum got wrong.
  [[gnu::cold]] void WithNan(int64_t begin, int64_t end) const {
    SeparableProblem problem = problem_;
    problem.call.begin = begin;
    problem.call.end = end;
    SeparableRun(problem, {element_.bytes, element_.map, false}, loops_).Run();
  }

  // Whole planes four at a time, from where they are or, short planes and those that lanes are wider than, from a copy
  // in keys. False if the call is something else.
  [[gnu::cold]] bool GlobalFours() const {
    constexpr int64_t kMost = 256;
    const int64_t size = GlobalSize(), n = loops_.plane_lanes, room = HasTaps() ? n : 0;
    if (size == 0 || loops_.pool_planes == nullptr || n < 4) return false;
    if (element_.bytes >= 4 ? !element_.is_float : loops_.lane_bytes >= 4) return false;
    const bool in_place = size >= n && element_.bytes == loops_.lane_bytes;
    if (!in_place && element_.bytes >= 4) return false;
    const int64_t pitch = in_place ? 0 : std::max(size, n_);
    const int64_t most = std::min(kMost, (capacity_ - 2 * n - n_) / (n / 4 + 2 * room + pitch) / 4 * 4);
    if (most < 4) return false;
    const KeyArray best = {static_cast<char*>(call_.scratch), nullptr};
    const auto after = [&](int64_t rooms) { return At(best, most / 4 * n + n + rooms * most * room).keys; };
    const KeyArray rooms = {after(0), after(1)};
    char* const keys = after(2);
    const Strides& s = geometry_.input;
    for (int64_t line = call_.begin, planes; line < call_.end; line += planes) {
      planes = std::min({most, call_.end - line, images_of_planes_ - line % images_of_planes_});
      const char* const x = static_cast<const char*>(call_.x) + PlaneOffset(s, line) * element_.bytes;
      bool nan = false;
      if (in_place) {
        nan = loops_.pool_planes(element_.map, x, planes, size, s.channel, rooms, best.keys);
      } else {
        const bool dense = s.channel == size;
        Load(x, s.channel, planes, size, dense ? planes * size : size, dense ? size : 0, keys, pitch, pitch);
        loops_.pool_planes(loops_.identity, keys, planes, pitch, pitch, rooms, best.keys);
      }
      if (nan) {
        WithNan(line, line + planes);
        continue;
      }
      StorePlanes(best.keys, line, planes, Values());
      if (HasTaps()) StorePlanes(rooms.taps, line, planes, Taps());
    }
    return true;
  }

  // Whole planes of few vectors, channels-first: each is reduced to one vector, then neighbouring lanes of many planes
  // at a time. False if the call is something else.
  [[gnu::cold]] bool GlobalPlanes() const {
    const int64_t size = GlobalSize();
    if (size == 0 || loops_.reduce_planes == nullptr) return false;
    const int64_t n = n_, pitch = std::max(size, n);  // vectors may overlap
    const int64_t most = (capacity_ - 8 * n) / (arrays_ * (pitch + n)) / n * n;
    if (most == 0) return false;
    char* const keys = static_cast<char*>(call_.scratch);
    const KeyArray best = {keys + (most * pitch + n) * loops_.lane_bytes,
                           keys + (most * (pitch + n) + 2 * n) * loops_.lane_bytes};
    const Strides& s = geometry_.input;
    for (int64_t line = call_.begin; line < call_.end;) {
      const int64_t planes = std::min({most, call_.end - line, images_of_planes_ - line % images_of_planes_});
      const char* x = static_cast<const char*>(call_.x) + PlaneOffset(s, line) * element_.bytes;
      Load(x, s.channel, planes, size, s.channel == size ? planes * size : size, s.channel == size ? size : 0, keys,
           pitch, pitch);
      loops_.reduce_planes(keys, planes, size, pitch, best);
      StorePlanes(best.keys, line, planes, Values());
      if (HasTaps()) StorePlanes(best.taps, line, planes, Taps());
      line += planes;
    }
    return true;
  }

  // Lines of f32 in windows of 4 apart: 0.34 of the time that three passes take (4 s4 over 16000 elements, with
  // indices). False if the call is something else.
  [[gnu::cold]] bool Fours() const {
    const Axis &d = depth_, &h = height_, &w = width_;
    if (loops_.pool_fours == nullptr || !element_.is_float || geometry_.channels_last || may_be_empty_) return false;
    if (w.kernel != 4 || w.stride != 4 || w.dilation != 1 || w.pad_before != 0 || w.adaptive || w.output < n_)
      return false;
    if (4 * w.output > w.input || problem_.tap_origin != 0) return false;
    if (HasTaps() && (call_.taps.bytes != 1 || tap_step_[kWidth] != 1)) return false;
    if (d.kernel != 1 || h.kernel != 1 || d.pad_before != 0 || h.pad_before != 0 || d.adaptive || h.adaptive)
      return false;
    const Strides &in = geometry_.input, &out = geometry_.output, &numbers = call_.taps.strides;
    if (in.axis[kWidth] != 1 || out.axis[kWidth] != 1 || (HasTaps() && numbers.axis[kWidth] != 1)) return false;
    for (int64_t line = call_.begin; line < call_.end; ++line) {
      const int64_t oy = line % h.output, oz = line / h.output % d.output, plane = line / h.output / d.output;
      const auto at = [&](const Strides& s, int64_t z, int64_t y) {
        return PlaneOffset(s, plane) + z * s.axis[kDepth] + y * s.axis[kHeight];
      };
      const float* const x = static_cast<const float*>(call_.x) + at(in, oz * d.stride, oy * h.stride);
      uint8_t* const taps =
          HasTaps() ? static_cast<uint8_t*>(call_.taps.base) - call_.taps.origin + at(numbers, oz, oy) : nullptr;
      if (loops_.pool_fours(x, w.output, static_cast<float*>(call_.y) + at(out, oz, oy), taps)) WithNan(line, line + 1);
    }
    return true;
  }

  // Whole images, channels-last: windows of one vector of channels after the other, without a row of keys between.
  // False if the call is something else.
  [[gnu::cold]] bool GlobalPixels() {
    const Axis &d = depth_, &h = height_, &w = width_;
    if (!geometry_.channels_last || d.kernel != 1 || d.output != 1 || !HasLines()) return false;
    if (!IsGlobal(h) || !IsGlobal(w)) return false;
    const Strides& in = geometry_.input;
    constexpr int64_t kMostPixels = 7;
    const int64_t most = std::min(inner_, 32 * n_);
    const KeyArray keys = {static_cast<char*>(call_.scratch),
                           static_cast<char*>(call_.scratch) + (arrays_ - 1) * 33 * n_ * loops_.lane_bytes};
    sums_ = At(keys, 33 * arrays_ * n_);
    if (33 * arrays_ * n_ + kMostPixels * n_ > capacity_) return false;
    SeparableLines all = {0, in.axis[kWidth] * element_.bytes, 0, tap_step_[kWidth], 0, 0, 0, true};
    for (int64_t image = call_.begin; image < call_.end; ++image) {
      for (int64_t c = 0; c < inner_; c += all.count) {
        all.count = std::min(most, inner_ - c);
        all.fresh = true;
        for (int64_t y = 0; y < h.kernel; ++y) {
          for (int64_t x = 0; x < w.kernel; x += kMostPixels, all.fresh = false) {
            const int64_t at = image * in.batch + y * in.axis[kHeight] + x * in.axis[kWidth] + c;
            const int64_t tap = problem_.tap_origin + y * tap_step_[kHeight] + x * tap_step_[kWidth];
            const SeparableLine line = {static_cast<const char*>(call_.x) + at * element_.bytes, 1,
                                        static_cast<int32_t>(std::min(kMostPixels, w.kernel - x)),
                                        static_cast<int32_t>(tap), all.count >= n_};
            LoadLines(all, &line, 1, keys);
          }
        }
        const auto store = [&](const char* from, const Target& target) {
          target.Store(from, 0, 1, all.count, target.base + (image * target.strides.batch + c) * target.bytes, 0,
                       all.count, 0);
        };
        store(keys.keys, Values());
        if (HasTaps()) store(keys.taps, Taps());
      }
    }
    return true;
  }

  void StorePlanes(const char* from, int64_t plane, int64_t planes, const Target& target) const {
    const Strides& s = target.strides;
    const bool dense = s.channel == 1 || planes == 1;
    target.Store(from, 1, dense ? 1 : planes, dense ? planes : 1, target.base + PlaneOffset(s, plane) * target.bytes,
                 s.channel, dense ? planes : 1, 0);
  }

  // --- Small images -----------------------------------------------------------------------------------------------

  // Images of few elements become the innermost axis: a group of them is transposed, pooled as the channels of one
  // image, and transposed back. False if the call is something else.
  [[gnu::cold]] bool Transposed() const {
    Transposition t;
    if (!PlanTransposition(&t)) return false;
    const int64_t bytes = loops_.lane_bytes;
    char* const x = static_cast<char*>(call_.scratch);
    char* const y = x + t.group * t.in_pitch * bytes;
    char* const taps = y + t.group * t.out_pitch * bytes;
    char* const rest = taps + (arrays_ - 1) * t.group * t.out_pitch * bytes;
    const SeparableProblem problem = TransposedProblem(t, x, y, HasTaps() ? taps : nullptr, rest);

    // Keys are their own lanes.
    SeparableRun transposed(problem, {bytes, loops_.identity, false}, loops_);
    for (int64_t plane = call_.begin / LinesPerPlane(), end = plane + t.images; plane < end;) {
      const int64_t count = std::min({t.group, end - plane, images_of_planes_ - plane % images_of_planes_});
      const Strides& s = geometry_.input;
      const int64_t step = PlaneStep(s);
      char* const loaded = t.in_rounds % 2 == 0 ? x : rest;
      const char* const from = static_cast<const char*>(call_.x) + PlaneOffset(s, plane) * element_.bytes;
      Load(from, step, count, t.in, step == t.in ? count * t.in : t.in, step == t.in ? t.in : 0, loaded, t.in_pitch,
           t.in_pitch);
      for (int r = 0; r < t.in_rounds; ++r) {
        const bool even = (t.in_rounds - r) % 2 == 0;
        loops_.deinterleave(even ? x : rest, t.group * t.in_pitch, even ? rest : x);
      }
      transposed.Run();
      const auto store = [&](char* result, const Target& target) {
        for (int r = 0; r < t.out_rounds; ++r) {
          loops_.interleave(r % 2 == 0 ? result : rest, t.group * t.out_pitch, r % 2 == 0 ? rest : result);
        }
        if (t.out_rounds % 2 != 0) result = rest;
        const int64_t distance = PlaneStep(target.strides);
        const bool flat = distance == t.out;
        target.Store(result, t.out_pitch, count, t.out, target.base + PlaneOffset(target.strides, plane) * target.bytes,
                     distance, flat ? count * t.out : t.out, flat ? t.out : 0);
      };
      store(y, Values());
      if (HasTaps()) store(taps, Taps());
      plane += count;
    }
    return true;
  }

  // --- Planes whose rows fit a vector -----------------------------------------------------------------------------

  // Dense channels-first planes with a row per vector: windows grow to the right and then to the left of each lane by
  // lookups, where lanes that would leave the row look up themselves. 0.55 of the time of rows side by side (13x13 f32
  // on AVX-512). False if the call is something else.
  [[gnu::cold]] bool RowPlanes() const {
    if (loops_.grow_rows == nullptr) return false;
    const int64_t n = n_;
    const int64_t in_plane = height_.input * width_.input, out_plane = height_.output * width_.output;
    const int64_t left = width_.pad_before / width_.dilation, last = width_.kernel - 1;
    if (width_.pad_before < 0) return false;
    if (width_.adaptive || height_.adaptive) return false;
    if (geometry_.channels_last || may_be_empty_ || width_.input > n || width_.output > n) return false;
    if (depth_.input != 1 || depth_.output != 1 || depth_.kernel != 1 || depth_.pad_before != 0) return false;
    if (width_.pad_before % width_.dilation != 0 || left > last || height_.kernel > kMaxShare) return false;
    if ((width_.output - 1) * width_.stride >= width_.input) return false;
    if (call_.begin % height_.output != 0 || call_.end % height_.output != 0 || call_.end == call_.begin) return false;
    const auto dense = [&](const Strides& s, const Axis& w, int64_t plane) {
      return (plane == w.input || s.axis[kHeight] == w.input) && s.channel == plane;
    };
    const Axis out_width = {width_.output, 0, 0, 0, 0, 0};
    if (!dense(geometry_.input, width_, in_plane) || !dense(geometry_.output, out_width, out_plane)) return false;
    if (HasTaps() && !dense(call_.taps.strides, out_width, out_plane)) return false;

    constexpr int64_t kMaxSteps = SeparableLookups::kMaxSteps;
    const int64_t rows_per_plane = height_.input + height_.output;
    const int64_t most = (capacity_ / 8 * 5 - (kMaxSteps + 8) * n) / (rows_per_plane * n * arrays_);
    if (most < 1) return false;
    char* const tables = static_cast<char*>(call_.scratch);
    int64_t steps = 0, rights = 0;
    for (int sign = 1; sign >= -1; sign -= 2) {
      const int64_t wanted = std::min((sign > 0 ? last - left : left), (width_.input - 1) / width_.dilation) + 1;
      for (int64_t have = 1, more; have < wanted; have += more, ++steps) {
        more = std::min(have, wanted - have);
        for (int64_t i = 0; i < n; ++i) {
          const int64_t other = i + sign * more * width_.dilation;
          SetLane(tables, steps * n + i, other >= 0 && other < width_.input ? other : i);
        }
      }
      if (sign > 0) rights = steps;
    }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t begin = std::min(i * width_.stride, width_.input - 1);
      SetLane(tables, kMaxSteps * n + i, begin);
      SetLane(tables, (kMaxSteps + 1) * n + i, i / width_.dilation * tap_step_[kWidth]);
      SetLane(tables, (kMaxSteps + 2) * n + i,
              (left - begin / width_.dilation) * tap_step_[kWidth] + problem_.tap_origin);
    }
    const SeparableLookups lookups = {tables, rights, steps, width_.stride != 1};
    char* const first = tables + (kMaxSteps + 3) * n * loops_.lane_bytes;
    const KeyArray rows = {first, first + most * rows_per_plane * n * loops_.lane_bytes};
    const KeyArray best = At(rows, most * height_.input * n);

    for (int64_t plane = call_.begin / height_.output; plane < call_.end / height_.output;) {
      const int64_t planes =
          std::min({most, call_.end / height_.output - plane, images_of_planes_ - plane % images_of_planes_});
      Load(static_cast<const char*>(call_.x) + PlaneOffset(geometry_.input, plane) * element_.bytes, width_.input,
           planes * height_.input, width_.input, planes * in_plane, width_.input, rows.keys, n, n);
      loops_.grow_rows(lookups, planes * height_.input, rows);
      loops_.reduce_rows(height_, tap_step_[kHeight], planes, rows, best);
      const auto store = [&](const char* from, const Target& target) {
        target.Store(from, n, planes * height_.output, width_.output,
                     target.base + PlaneOffset(target.strides, plane) * target.bytes, width_.output, planes * out_plane,
                     width_.output);
      };
      store(best.keys, Values());
      if (HasTaps()) store(best.taps, Taps());
      plane += planes;
    }
    return true;
  }

  // --- Small windows ----------------------------------------------------------------------------------------------

  // Channels-first windows of few rows: all rows of a window at once while they are loaded, then the width of a group
  // of lines as one flat row. False if the call is something else.
  [[gnu::cold]] bool HeightFirst() {
    const Axis &d = depth_, &h = height_, &w = width_;
    const int64_t rows = d.kernel * h.kernel;
    if (geometry_.channels_last || !HasLines() || may_be_empty_ || d.adaptive || h.adaptive || w.adaptive) return false;
    if (rows == 1 || rows > 9 || rows > 4 * d.stride * h.stride || w.kernel > 7) return false;
    if (HasTaps() && call_.geometry->Taps() > SeparableLoops::kMostOrderedTaps) return false;
    const Strides &in = geometry_.input, &out = geometry_.output;
    if (in.axis[kWidth] != 1 || out.axis[kWidth] != 1 || (HasTaps() && call_.taps.strides.axis[kWidth] != 1))
      return false;
    tile_ = {w.output, 1, 1, 1, h.kernel, w.kernel, 1};
    const int64_t row = RowElements(tile_);
    // Three buffers, and the rows that LoadLines copies. Each line is filled up to the next one's elements, the last
    // one beyond what a group has.
    const int64_t left = std::max<int64_t>(0, w.pad_before);
    group_ = std::min(kMaxLines, std::min(96 * n_, capacity_ / (3 * arrays_) - 12 * n_ - left) / row);
    if (group_ < 1) return false;
    PlanWidth(0, w.output, 0, 1, 0, 1);
    SeparableWidth& p = width_plan_;
    const int64_t pitch = p.split ? p.split_pitch : p.pitch;
    if (p.grown > 1) {
      p.columns = 0;  // no plan
      return false;
    }
    char* next = static_cast<char*>(call_.scratch);
    const auto take = [&] {
      const int64_t bytes = (GroupElements(tile_, group_) + left) * loops_.lane_bytes;
      next += bytes * arrays_;
      return KeyArray{next - bytes * arrays_, next - bytes};
    };
    row_ = take();
    phases_ = p.split ? take() : row_;
    sums_ = take();
    const bool dense = IsDense(out) && (!HasTaps() || IsDense(call_.taps.strides));
    const SeparableLines all = {d.dilation * in.axis[kDepth] * element_.bytes,
                                h.dilation * in.axis[kHeight] * element_.bytes,
                                tap_step_[kDepth],
                                tap_step_[kHeight],
                                p.count,
                                p.pitch,
                                p.pitch,
                                true};
    SeparableLine lines[kMaxLines];
    for (int64_t line = call_.begin, count; line < call_.end; line += count) {
      const int64_t first = line % h.output;
      count = std::min({group_, call_.end - line, dense ? group_ : h.output - first});
      PlanLines(line, count, lines);
      loops_.fill(row_.keys, p.left, loops_.lowest);
      if (HasTaps()) loops_.fill(row_.taps, p.left, loops_.no_tap);
      LoadLines(all, lines, count, At(row_, p.left));
      if (p.split) {
        loops_.split(p, row_.keys, phases_.keys, count * p.pitch);
        if (HasTaps()) loops_.split(p, row_.taps, phases_.taps, count * p.pitch);
      }
      p.out_vectors = p.part_vectors = CeilDivide(count * pitch, n_);
      if (HasTaps()) {
        loops_.gather_ordered(p, phases_, sums_);
      } else {
        loops_.gather(p, phases_, sums_, 1, 0, {});
      }
      const auto store = [&](const char* from, const Target& target) {
        const Strides& s = target.strides;
        const int64_t slice = line / h.output, plane = slice / d.output;
        const int64_t start = PlaneOffset(s, plane) + slice % d.output * s.axis[kDepth] + first * s.axis[kHeight];
        const bool flat = dense || s.axis[kHeight] == w.output;
        target.Store(from, pitch, count, w.output, target.base + start * target.bytes,
                     dense ? w.output : s.axis[kHeight], flat ? count * w.output : w.output, flat ? w.output : 0);
      };
      store(sums_.keys, Values());
      if (HasTaps()) store(sums_.taps, Taps());
    }
    return true;
  }
  [[gnu::noinline]] void LoadLines(const SeparableLines& all, const SeparableLine* lines, int64_t count,
                                   KeyArray to) const {
    const auto load = loops_.load_lines[Log2(element_.bytes)];
    for (int64_t i = 0, run; i < count; i += run) {
      for (run = 0; i + run < count && lines[i + run].readable; ++run) {
      }
      if (run > 0) {
        load(element_.map, all, run, lines + i, At(to, i * all.pitch));
        continue;
      }
      // A row per vector of lanes, which is no less than one of elements.
      run = 1;
      SeparableLine line = lines[i];
      SeparableLines copied = all;
      copied.height_step = n_ * loops_.lane_bytes;
      copied.depth_step = copied.height_step * line.heights;
      for (int64_t r = 0; r < line.depths * line.heights; ++r) {
        std::memcpy(
            sums_.keys + r * copied.height_step,
            static_cast<const char*>(line.x) + r / line.heights * all.depth_step + r % line.heights * all.height_step,
            static_cast<size_t>(all.count * element_.bytes));
      }
      line.x = sums_.keys;
      load(element_.map, copied, 1, &line, At(to, i * all.pitch));
    }
  }
  bool HasLines() const { return loops_.load_lines[Log2(element_.bytes)] != nullptr; }
  // Whether all lines follow each other.
  bool IsDense(const Strides& s) const {
    const int64_t line = width_.output, slice = line * height_.output, plane = slice * depth_.output;
    return (height_.output == 1 || s.axis[kHeight] == line) && (depth_.output == 1 || s.axis[kDepth] == slice) &&
           (geometry_.channels == 1 || s.channel == plane) &&
           (geometry_.batch == 1 || s.batch == plane * geometry_.channels);
  }
  // The rows of output lines [line, line + count). Not part of cold code.
  [[gnu::noinline]] void PlanLines(int64_t line, int64_t count, SeparableLine* lines) const {
    const Axis d = depth_, h = height_;
    const Strides& s = geometry_.input;
    const int64_t bytes = element_.bytes, row_bytes = s.axis[kHeight] * bytes, tap_step = tap_step_[kHeight];
    const int64_t reach = (h.kernel - 1) * h.dilation, first_column = width_plan_.first;
    const bool whole_vectors = width_plan_.count >= n_;
    int64_t o = line % h.output, slice = line / h.output;
    for (; count > 0; o = 0, ++slice) {
      const int64_t oz = slice % d.output, plane = slice / d.output;
      const int64_t tz = d.FirstTap(oz), depths = d.TapEnd(oz) - tz, z = d.Begin(oz) + tz * d.dilation;
      const int64_t tap = problem_.tap_origin + tz * tap_step_[kDepth];
      const char* const x =
          static_cast<const char*>(call_.x) + (PlaneOffset(s, plane) + z * s.axis[kDepth] + first_column) * bytes;
      // Rows of the last slice that begin below this may be read by the vector.
      const int64_t readable =
          (dense_rows_ ? Readable(Image(plane), Channel(plane), z + (depths - 1) * d.dilation) : width_.input) -
          first_column - n_;
      const int64_t row_step = dense_rows_ ? width_.input : 0, rows = std::min(count, h.output - o);
      int64_t begin = o * h.stride - h.pad_before;
      for (int64_t r = 0; r < rows; ++r, ++o, begin += h.stride) {
        int64_t first = 0, heights = h.kernel, y = begin;
        if (begin < 0 || begin + reach >= h.input) {
          first = h.FirstTap(o);
          heights = h.TapEnd(o) - first;
          y += first * h.dilation;
        }
        lines[r] = {x + y * row_bytes, static_cast<int32_t>(depths), static_cast<int32_t>(heights),
                    static_cast<int32_t>(tap + first * tap_step),
                    whole_vectors || (y + (heights - 1) * h.dilation) * row_step <= readable};
      }
      lines += rows;
      count -= rows;
    }
  }

  const SeparableLoops& loops_;
  const SeparableElement element_;
  KeyArray row_, phases_, ring_, planes_, sums_, shared_;
  char* first_taps_;
  bool has_tile_ = false, has_edge_ = false;  // and the first taps of width_plan_ are in scratch
};

// Output slices first, first + classes and so on, as many as there are below `end`, of whole planes whose windows are
// dilated along the depth: where `classes` is right, all taps have the same residue by the dilation, so that they are
// windows without dilation of every dilation-th input slice.
struct ResidueClass {
  Geometry geometry;
  ForwardCall call;

  ResidueClass(const ForwardCall& whole, int64_t classes, int64_t first, int64_t end, int64_t plane, int64_t planes,
               int64_t element_bytes)
      : geometry(*whole.geometry), call(whole) {
    Axis& axis = geometry.axis[kDepth];
    const int64_t dilation = axis.dilation, begin = axis.Begin(first);
    const int64_t residue = (begin % dilation + dilation) % dilation;
    axis.input = (axis.input - residue + dilation - 1) / dilation;
    axis.output = (end - first + classes - 1) / classes;
    axis.stride = axis.stride * classes / dilation;
    axis.pad_before = (residue - begin) / dilation;
    axis.dilation = 1;
    const auto take = [](Strides* s, int64_t slice, int64_t step) {
      const int64_t offset = slice * s->axis[kDepth];
      s->axis[kDepth] *= step;
      return offset;
    };
    call.x = static_cast<const char*>(call.x) + take(&geometry.input, residue, dilation) * element_bytes;
    call.y = static_cast<char*>(call.y) + take(&geometry.output, first, classes) * element_bytes;
    call.taps.origin -= take(&call.taps.strides, first, classes);
    call.geometry = &geometry;
    call.begin = plane * axis.output * geometry.axis[kHeight].output;
    call.end = (plane + planes) * axis.output * geometry.axis[kHeight].output;
  }
};

}  // namespace

void RunSeparable(const ForwardCall& call, const SeparableElement& element, const SeparableLoops& loops) {
  const auto run = [&](const ForwardCall& part) {
    const SeparableProblem problem(part, loops.lanes);
    SeparableRun(problem, element, loops).Run();
  };
  // The ring of planes holds as many slices as windows have taps if these are neighbours (i8 8x8x8 d3: 1.9 times
  // faster).
  const Axis& depth = call.geometry->axis[kDepth];
  const int64_t rows = call.geometry->axis[kHeight].output;
  const int64_t classes = depth.dilation / std::gcd(depth.stride, depth.dilation);
  const bool overlap = depth.stride * classes < depth.kernel * depth.dilation;
  if (classes == 1 || !overlap || depth.output < 2 * classes || depth.dilation > depth.input) return run(call);
  ForwardCall part = call;
  for (; part.begin < call.end; part.begin = part.end) {
    const int64_t slice = part.begin / rows, plane = slice / depth.output, first = slice % depth.output;
    const int64_t slices = std::min(call.end / rows - slice, depth.output - first);
    if (part.begin % rows != 0 || slices == 0) {
      part.end = std::min(call.end, (slice + 1) * rows);
      run(part);
      continue;
    }
    const int64_t planes = slices == depth.output ? (call.end / rows - slice) / slices : 1;
    for (int64_t i = 0; i < std::min(classes, slices); ++i) {
      run(ResidueClass(call, classes, first + i, first + slices, plane, planes, element.bytes).call);
    }
    part.end = part.begin + planes * slices * rows;
  }
}

}  // namespace peakpool
