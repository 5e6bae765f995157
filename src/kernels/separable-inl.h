// SPDX-License-Identifier: Apache-2.0
// The general forward engine: any geometry, both layouts, with or without tap numbers, one axis after the other.
//
// Everything between x and y is signed integer keys (KeyLanes), so NaN, zeros and ties need no care, and one engine per
// lane width serves all element types: a Codec loads and stores their runs. A tile of the output passes through
// bounded scratch: each input row is mapped to keys once, reduced along the width, and kept in a ring of rows that the
// height reduces; depth taps are accumulated one after the other. The innermost axis goes first, so "the earlier
// operand wins ties" is row-major-first. A line is flat memory of width x inner elements (inner is 1 channels-first, a
// tile of channels otherwise), and short lines of several planes lie side by side, so the same loops fill whole
// vectors.
//
// Tap numbers ride along in a second array of the same lanes. All arithmetic on them is modulo 2^bits, so lanes need
// only hold the number of taps; narrower elements with more taps than that run in 32-bit lanes.
#if defined(PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#undef PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <numeric>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/separable_plan.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Copies runs of lanes out as another type: Convert::Store writes Step() of them. Run r begins at from + r * from_step
// and to + r * to_step; it may write up to `writable - r * shrink` elements, but only `count` are meant.
template <class Convert, class Lane>
HWY_NOINLINE void StoreRuns(const Lane* from, int64_t from_step, int64_t runs, int64_t count, void* base,
                            int64_t to_step, int64_t writable, int64_t shrink) {
  using Out = typename Convert::Out;
  const int64_t step = Convert::Step();
  Out* to = static_cast<Out*>(base);
  if (count <= step) {
    for (; runs > 0 && writable >= step; --runs, from += from_step, to += to_step, writable -= shrink) {
      Convert::Store(from, to);
    }
  }
  for (; runs > 0; --runs, from += from_step, to += to_step, writable -= shrink) {
    int64_t j = 0;
    for (; j < count && j + step <= writable; j += step) Convert::Store(from + j, to + j);
    if (j >= count) continue;
    if (count >= step) {
      Convert::Store(from + count - step, to + count - step);
    } else {
      Out whole[hn::MaxLanes(hn::ScalableTag<uint8_t>())];
      Convert::Store(from, whole);
      std::memcpy(to, whole, static_cast<size_t>(count) * sizeof(Out));
    }
  }
}

// What the engine knows of an element type: two loops over runs, and the key below all others.
template <class Lane>
struct Codec {
  // Maps runs of `count` elements, `from_step` apart, to keys `to_step` apart, and fills the lanes up to the next run
  // with `lowest`. Run r may read up to `readable - r * shrink` elements. May write a vector beyond the last run.
  void (*load)(const void* from, int64_t from_step, int64_t runs, int64_t count, int64_t readable, int64_t shrink,
               Lane* to, int64_t to_step);
  void (*store)(const Lane* from, int64_t from_step, int64_t runs, int64_t count, void* to, int64_t to_step,
                int64_t writable, int64_t shrink);
  int64_t bytes;  // of an element
  Lane lowest;
};

template <class T, class Lane>
struct ElementCodec {
  using Keys = KeyLanes<T>;
  using D = hn::ScalableTag<Lane>;
  using Narrow = hn::Rebind<typename Keys::Lane, D>;
  using Out = T;
  static int64_t Step() { return static_cast<int64_t>(hn::Lanes(D())); }

  static HWY_INLINE hn::Vec<D> LoadKey(const T* p) {
    if constexpr (sizeof(Lane) != sizeof(T)) {
      return hn::PromoteTo(D(), Keys::Load(Narrow(), p));
    } else {
      return Keys::Load(D(), p);
    }
  }
  static HWY_INLINE void Store(const Lane* from, T* to) {
    const hn::Vec<D> key = hn::LoadU(D(), from);
    if constexpr (sizeof(Lane) != sizeof(T)) {
      Keys::Store(Narrow(), hn::DemoteTo(Narrow(), key), to);
    } else {
      Keys::Store(D(), key, to);
    }
  }

  static void Load(const void* base, int64_t from_step, int64_t runs, int64_t count, int64_t readable, int64_t shrink,
                   Lane* to, int64_t to_step) {
    const D d;
    const int64_t n = Step();
    const hn::Vec<D> lowest = hn::Set(d, static_cast<Lane>(Keys::Lowest()));
    const auto rest = hn::FirstN(d, static_cast<size_t>(count % n));
    const T* from = static_cast<const T*>(base);
    if (count > 0 && count < n && to_step <= n) {
      for (; runs > 0 && readable >= n; --runs, from += from_step, to += to_step, readable -= shrink) {
        hn::StoreU(hn::IfThenElse(rest, LoadKey(from), lowest), d, to);
      }
    }
    for (; runs > 0; --runs, from += from_step, to += to_step, readable -= shrink) {
      int64_t j = 0;
      for (; j + n <= count; j += n) hn::StoreU(LoadKey(from + j), d, to + j);
      if (j < count) {
        const T* source = from + j;
        if (j + n > readable) {
          std::memcpy(to + j, source, static_cast<size_t>(count - j) * sizeof(T));
          source = reinterpret_cast<const T*>(to + j);
        }
        hn::StoreU(hn::IfThenElse(rest, LoadKey(source), lowest), d, to + j);
        j += n;
      }
      for (; j < to_step; j += n) hn::StoreU(lowest, d, to + j);
    }
  }
  static Codec<Lane> Make() {
    return {&Load, &StoreRuns<ElementCodec, Lane>, sizeof(T), static_cast<Lane>(Keys::Lowest())};
  }
};

// Tap numbers of the caller's width.
template <class Lane, class Index>
struct TapStore {
  using Out = Index;
  using D = hn::ScalableTag<Lane>;
  using Unsigned = hwy::MakeUnsigned<Lane>;
  using Tag = std::conditional_t<(sizeof(Index) > sizeof(Lane)), hn::ScalableTag<Index>, hn::Rebind<Index, D>>;
  static int64_t Step() { return static_cast<int64_t>(hn::Lanes(Tag())); }
  static HWY_INLINE void Store(const Lane* from, Index* to) {
    const Tag tag;
    const hn::Rebind<Unsigned, Tag> unsigned_lanes;
    if constexpr (sizeof(Index) == sizeof(Lane)) {
      hn::StoreU(hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from)), tag, to);
    } else if constexpr (sizeof(Index) > sizeof(Lane)) {
      hn::StoreU(hn::PromoteTo(tag, hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from))), tag, to);
    } else if constexpr (sizeof(Lane) == 8) {
      // Highway 1.0.3 cannot narrow 64-bit integers; the compiler can.
      for (int64_t i = 0; i < Step(); ++i) to[i] = static_cast<Index>(from[i]);
    } else {
      hn::StoreU(hn::DemoteTo(tag, hn::LoadU(D(), from)), tag, to);
    }
  }
};

template <class Lane, bool kTaps>
class SeparableRun : SeparablePlan {
  using D = hn::ScalableTag<Lane>;
  using V = hn::Vec<D>;
  using Unsigned = hwy::MakeUnsigned<Lane>;

 public:
  SeparableRun(const SeparableProblem& problem, const Codec<Lane>& codec)
      : SeparablePlan(problem, sizeof(Lane), N()), codec_(codec) {}

  [[gnu::cold]] void Run() {
    if (GlobalPlanes() || Transposed() || RowPlanes()) return;
    ChooseTile();
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
  // An array of keys in scratch; the tap numbers, if any, follow at a fixed distance.
  struct Buffer {
    Lane* keys;
    Lane* taps;
  };

  static Buffer At(Buffer b, int64_t lane) { return {b.keys + lane, b.taps + lane}; }

  // A few outputs of an axis, `vectors` wide; see ReduceAxis.
  struct Column {
    Buffer from, to;
    int64_t to_pitch;  // from output to output
    int64_t vectors, taps;
    bool fresh;  // or combined with what is there
    // What ReduceAxis fills in.
    const int32_t* offset = nullptr;  // of the rows, in steps of `step` per tap
    int64_t step = 0;
    int64_t share = 0, apart = 0;  // outputs, and taps between the beginnings of their windows
    Lane origin = 0, origin_step = 0;
  };

  // Lanes per vector: a constant where vectors have a fixed size, and never a load that a vector store might alias.
  static HWY_INLINE int64_t N() { return static_cast<int64_t>(hn::Lanes(D())); }

  [[gnu::cold]] void TakeScratch() {
    Lane* next = static_cast<Lane*>(call_.scratch);
    const auto take = [&next](int64_t lanes) {
      Lane* const keys = next;
      next += lanes * (kTaps ? 2 : 1);
      return Buffer{keys, keys + (kTaps ? lanes : 0)};
    };
    row_ = take(RowElements(tile_) * group_);
    phases_ = row_;
    if (Splits(tile_)) phases_ = take(RowElements(tile_) * group_);
    ring_ = take(height_ring_.slots * RowPitch(OutElements(tile_)) + 4 * N());
    planes_ = take(deep_ ? depth_ring_.slots * depth_ring_.pitch + 4 * N() : 0);
    sums_ = take(tile_.depths * depth_ring_.pitch + 4 * N());
    shared_ = take(4 * kMaxShare * N());
    first_taps_ = next;
  }

  // --- Width ----------------------------------------------------------------------------------------------------

  HWY_NOINLINE void Fill(Lane* to, int64_t count, Lane lane) const {
    const D d;
    const V all = hn::Set(d, lane);
    for (int64_t j = 0; j < count; j += N()) hn::StoreU(all, d, to + j);
  }

  // Tap numbers of the first in-range taps, where windows begin in the padding.
  [[gnu::cold]] void PlanEdge() const {
    const WidthPlan& p = width_plan_;
    Fill(first_taps_, out_pitch_, 0);
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      for (int64_t o = 0; o < p.edge; ++o) {
        const int64_t begin = width_.Begin(p.ox + o) + p.tap * width_.dilation;
        const Lane first = static_cast<Lane>(FirstTap(width_, begin) * tap_step_[kWidth]);
        for (int64_t c = 0; c < p.channels; ++c) first_taps_[plane * p.out_segment + o * p.channels + c] = first;
      }
    }
  }

  // The padded row y of one tile as keys. `x` is the first element of row 0, see Readable for `readable`.
  void LoadRow(const char* x, int64_t readable, int64_t y, Lane* to) const {
    const WidthPlan& p = width_plan_;
    const Strides& s = geometry_.input;
    const int64_t left = p.left * p.channels, count = p.count * p.channels;
    const int64_t start = y * s.axis[kHeight] + p.first * s.axis[kWidth] + p.channel;
    // Reading past a row is fine only where the rows that follow are dense.
    readable -= dense_rows_ ? start : start - y * s.axis[kHeight];
    x += start * codec_.bytes;
    Fill(to, left, codec_.lowest);
    to += left;
    if (p.channels == s.axis[kWidth]) {
      const int64_t step = PlaneStep(s);
      codec_.load(x, step, p.planes, count, readable, DensePlanes() ? step : 0, to, p.segment * p.channels);
    } else {
      codec_.load(x, s.axis[kWidth], p.count, p.channels, readable, s.axis[kWidth], to, p.channels);
      Fill(to + count, p.segment * p.channels - count, codec_.lowest);
    }
  }

  // Windows of `from` taps become windows of `to` <= 4 * from taps, in place, over `count` elements.
  HWY_NOINLINE void Grow(int64_t from, int64_t to, int64_t count) const {
    const D d;
    const int64_t step = width_.dilation * width_plan_.channels;
    const int64_t end = count - (to - 1) * step;
    Lane* HWY_RESTRICT keys = row_.keys;
    Lane* HWY_RESTRICT taps = row_.taps;
    for (int64_t j = 0; j < end; j += N()) {
      V key = hn::LoadU(d, keys + j);
      V tap = hn::Zero(d);
      if (kTaps && from > 1) tap = hn::LoadU(d, taps + j);
      for (int64_t t = from; t < to; t += from) {
        const int64_t shift = std::min(t, to - from);
        const V other = hn::LoadU(d, keys + j + shift * step);
        if constexpr (kTaps) {
          V other_tap = hn::Set(d, static_cast<Lane>(shift * tap_step_[kWidth]));
          if (from > 1) other_tap = hn::Add(other_tap, hn::LoadU(d, taps + j + shift * step));
          tap = hn::IfThenElse(hn::Gt(other, key), other_tap, tap);
        }
        key = hn::Max(key, other);
      }
      hn::StoreU(key, d, keys + j);
      if (kTaps) hn::StoreU(tap, d, taps + j);
    }
  }
  [[gnu::cold]] void GrowTo(int64_t taps, int64_t count) const {
    if (taps == 1) return;
    const int64_t from = Shrink(taps);
    GrowTo(from, count);
    Grow(from, taps, count);
  }

  // Adaptive windows have no stride: the windows at both ends of each output's to two phases.
  [[gnu::cold]] HWY_NOINLINE void SplitAdaptive(const Lane* HWY_RESTRICT from, Lane* HWY_RESTRICT to,
                                                int64_t rows) const {
    const D d;
    const WidthPlan& p = width_plan_;
    const int64_t pitch = PhasePitch(), channels = p.channels;
    const int64_t quotient = width_.whole_input / width_.whole_output;
    const int64_t remainder = width_.whole_input % width_.whole_output;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t plane = 0; plane < p.planes; ++plane) {
        const Lane* HWY_RESTRICT source = from + r * p.pitch + plane * p.segment * channels;
        Lane* HWY_RESTRICT target = to + r * p.split_pitch + plane * p.out_segment;
        int64_t phase = (p.ox * width_.whole_input + width_.phase) % width_.whole_output;
        for (int64_t o = 0; o < p.columns; ++o, target += channels) {
          const int64_t second = p.phases > 1 && phase + remainder > width_.whole_output ? channels : 0;
          if (channels == 1) {
            target[0] = source[0];
            target[pitch] = source[second];
          } else {
            for (int64_t c = 0; c < channels; c += N()) {
              hn::StoreU(hn::LoadU(d, source + c), d, target + c);
              hn::StoreU(hn::LoadU(d, source + second + c), d, target + pitch + c);
            }
          }
          phase += remainder;
          const bool wraps = phase >= width_.whole_output;
          phase -= wraps ? width_.whole_output : 0;
          source += (quotient + (wraps ? 1 : 0)) * channels;
        }
      }
    }
  }

  // Every stride-th pixel of `count` elements to its phase; only the first phase when windows are already grown.
  HWY_NOINLINE void Split(const Lane* HWY_RESTRICT from, Lane* HWY_RESTRICT to, int64_t count) const {
    const D d;
    const int64_t stride = width_plan_.stride;
    const int64_t channels = width_plan_.channels;
    const int64_t pitch = PhasePitch();
    const int64_t phases = width_plan_.phases;
    const int64_t pixels = count / stride;
    if (channels == 1 && stride <= 4) {
      for (int64_t j = 0; j < pixels; j += N()) {
        V p0, p1, p2, p3;
        if (stride == 2) {
          hn::LoadInterleaved2(d, from + 2 * j, p0, p1);
        } else if (stride == 3) {
          hn::LoadInterleaved3(d, from + 3 * j, p0, p1, p2);
          if (phases > 2) hn::StoreU(p2, d, to + 2 * pitch + j);
        } else {
          hn::LoadInterleaved4(d, from + 4 * j, p0, p1, p2, p3);
          if (phases > 2) hn::StoreU(p2, d, to + 2 * pitch + j);
          if (phases > 3) hn::StoreU(p3, d, to + 3 * pitch + j);
        }
        if (phases > 1) hn::StoreU(p1, d, to + pitch + j);
        hn::StoreU(p0, d, to + j);
      }
      return;
    }
    for (int64_t phase = 0; phase < phases; ++phase) {
      const Lane* HWY_RESTRICT source = from + phase * channels;
      Lane* HWY_RESTRICT target = to + phase * pitch;
      if (channels == 1) {
        for (int64_t j = 0; j < pixels; ++j) target[j] = source[j * stride];
      } else if (channels <= N()) {
        // Writes past a pixel are overwritten by the next one.
        for (int64_t j = 0; j < pixels; j += channels) hn::StoreU(hn::LoadU(d, source + j * stride), d, target + j);
      } else {
        for (int64_t j = 0; j < pixels; j += channels) {
          for (int64_t c = 0; c < channels; c += N()) {
            hn::StoreU(hn::LoadU(d, source + j * stride + c), d, target + j + c);
          }
        }
      }
    }
  }

  // The last pass: combines windows into ring rows from `to` on.
  template <bool kCarried>
  HWY_NOINLINE void Gather(Buffer from, Buffer to, int64_t rows, int64_t pitch, int64_t y) const {
    const int64_t n = N();
    for (int64_t r = 0; r < rows; ++r, from = At(from, pitch), to = At(to, out_pitch_)) {
      const V row_tap = hn::Set(D(), RingTap(kHeight, y + r));
      int64_t v = 0;
      for (; v + 4 <= out_vectors_; v += 4) GatherVectors<kCarried, true>(At(from, v * n), At(to, v * n), v, row_tap);
      for (; v < out_vectors_; ++v) GatherVectors<kCarried, false>(At(from, v * n), At(to, v * n), v, row_tap);
    }
  }
  // One vector of a ring row, or four.
  template <bool kCarried, bool kFour>
  HWY_INLINE void GatherVectors(Buffer from, Buffer to, int64_t vector, V row_tap) const {
    const D d;
    const int64_t step = width_.dilation * width_plan_.channels;
    const int64_t windows = width_plan_.last_taps, n = N();
    V key0, key1, key2, key3, tap0, tap1, tap2, tap3;
    tap0 = tap1 = tap2 = tap3 = hn::Zero(d);
    const auto load = [&](int64_t at, V& key, V& tap) HWY_ATTR {
      key = hn::LoadU(d, from.keys + at);
      if constexpr (kCarried) tap = hn::LoadU(d, from.taps + at);
    };
    load(0, key0, tap0);
    if constexpr (kFour) {
      load(n, key1, tap1);
      load(2 * n, key2, tap2);
      load(3 * n, key3, tap3);
    }
    for (int64_t t = 1; t < windows; ++t) {
      const int64_t offset = t < kMaxTaps ? window_offset_[t] : t * step;
      const V number = hn::Set(d, static_cast<Lane>(t < kMaxTaps ? window_tap_[t] : t * tap_step_[kWidth]));
      const auto later = [&](int64_t at, V& key, V& tap) HWY_ATTR {
        V other, other_tap = hn::Zero(d);
        load(at, other, other_tap);
        if constexpr (kTaps) {
          tap = hn::IfThenElse(hn::Gt(other, key), kCarried ? hn::Add(number, other_tap) : number, tap);
        }
        key = hn::Max(key, other);
      };
      later(offset, key0, tap0);
      if constexpr (kFour) {
        later(offset + n, key1, tap1);
        later(offset + 2 * n, key2, tap2);
        later(offset + 3 * n, key3, tap3);
      }
    }
    const bool edge = width_plan_.edge > 0;
    const auto store = [&](int64_t i, V key, V tap) HWY_ATTR {
      if (kTaps && edge) tap = LaterTap(tap, first_taps_ + (vector + i) * n);
      StorePair(key, kTaps ? hn::Add(tap, row_tap) : tap, to, i * n);
    };
    store(0, key0, tap0);
    if constexpr (kFour) {
      store(1, key1, tap1);
      store(2, key2, tap2);
      store(3, key3, tap3);
    }
  }
  // Where nothing beats the padding at the window's start, the first in-range tap is the answer.
  static HWY_INLINE V LaterTap(V tap, const Lane* first) {
    const D d;
    // Highway 1.0.3 is slow at unsigned 64-bit maxima; that many taps do not exist.
    const std::conditional_t<sizeof(Lane) < 4, hn::RebindToUnsigned<D>, D> du;
    return hn::BitCast(d, hn::Max(hn::BitCast(du, tap), hn::BitCast(du, hn::LoadU(d, first))));
  }

  // Rings carry tap numbers counted from position 0 in steps of the dilation; see ReduceAxis.
  Lane RingTap(int a, int64_t y) const {
    return static_cast<Lane>(FloorDivide(y, geometry_.axis[a].dilation) * tap_step_[a]);
  }

  // Reduces input rows [y, end) of the planes into the ring. `x` is the first element of row 0.
  HWY_NOINLINE void ReduceRows(const char* x, int64_t readable, int64_t y, int64_t end) const {
    const WidthPlan& p = width_plan_;
    while (y < end) {
      if (!IsTouched(height_, y)) {
        ++y;
        continue;
      }
      const int64_t slot = y % height_ring_.slots;
      const int64_t most = std::min({end - y, group_, height_ring_.slots - slot});
      int64_t rows = 1;
      while (rows < most && IsTouched(height_, y + rows)) ++rows;
      for (int64_t r = 0; r < rows; ++r) LoadRow(x, readable, y + r, row_.keys + r * p.pitch);
      GrowTo(p.grown, rows * p.pitch);
      const Buffer ring = {ring_.keys + slot * out_pitch_, ring_.taps + slot * out_pitch_};
      const bool carried = kTaps && p.grown > 1;
      if (width_.adaptive) {
        SplitAdaptive(row_.keys, phases_.keys, rows);
        if (carried) SplitAdaptive(row_.taps, phases_.taps, rows);
      } else if (p.split) {
        Split(row_.keys, phases_.keys, rows * p.pitch);
        if (carried) Split(row_.taps, phases_.taps, rows * p.pitch);
      }
      const Buffer from = p.split ? phases_ : row_;
      const int64_t pitch = p.split ? p.split_pitch : p.pitch;
      if (carried) {
        Gather<kTaps>(from, ring, rows, pitch, y);
      } else {
        Gather<false>(from, ring, rows, pitch, y);
      }
      y += rows;
    }
  }

  // --- Height and depth -----------------------------------------------------------------------------------------

  // Combines `outputs` outputs of a block from a ring's rows. Outputs whose windows lie on the same rows of the dilated
  // grid share what all of them cover: with the outputs' windows starting s rows apart, `share` outputs cost
  // taps + 2 * (share - 1) * s maxima instead of share * taps. Of each window, the c.taps from `tap` on are meant; the
  // first one of all is number tap_origin.
  [[gnu::cold]] void ReduceAxis(int a, const Ring& ring, Column c, int64_t first, int64_t outputs, int64_t tap,
                                int64_t tap_origin) const {
    const Axis& axis = geometry_.axis[a];
    const int64_t common = std::gcd(axis.stride, axis.dilation);
    const int64_t classes = axis.dilation / common;  // every classes-th output is on the same rows
    const int64_t apart = axis.stride / common;      // their distance in taps
    const int64_t taps = c.taps, most = axis.adaptive ? 1 : std::min(kMaxShare, (taps - 1) / apart + 1);
    const Buffer to = c.to;
    const int64_t to_pitch = c.to_pitch;
    c.step = axis.dilation;
    c.apart = apart;
    c.to_pitch = to_pitch * classes;
    c.origin_step = static_cast<Lane>(apart * tap_step_[a]);
    for (int64_t i = 0; i < std::min(classes, outputs); ++i) {
      for (int64_t o = i; o < outputs; o += classes * most) {
        const int64_t begin = axis.Begin(first + o) + tap * axis.dilation;
        if (axis.adaptive) c.taps = std::min(taps, axis.TapEnd(first + o) - tap);
        if (c.taps <= 0) continue;
        c.offset = ring.offset + begin - ring.begin;
        c.share = std::min(most, (outputs - o + classes - 1) / classes);
        c.to = At(to, o * to_pitch);
        // Turns the ring's tap numbers into those of the first output's window.
        c.origin = static_cast<Lane>(tap_origin - FloorDivide(begin, axis.dilation) * tap_step_[a]);
        ReduceColumns(c);
      }
    }
  }

  // One operand later or earlier in the window than (key, tap), which it replaces accordingly.
  static HWY_INLINE void Later(Buffer other, int64_t at, V& key, V& tap) {
    const D d;
    const V other_key = hn::LoadU(d, other.keys + at);
    if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(other_key, key), hn::LoadU(d, other.taps + at), tap);
    key = hn::Max(key, other_key);
  }
  static HWY_INLINE void Earlier(Buffer other, int64_t at, V& key, V& tap) {
    const D d;
    const V other_key = hn::LoadU(d, other.keys + at);
    if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(key, other_key), tap, hn::LoadU(d, other.taps + at));
    key = hn::Max(key, other_key);
  }
  static HWY_INLINE void LoadPair(Buffer from, int64_t at, V& key, V& tap) {
    key = hn::LoadU(D(), from.keys + at);
    if constexpr (kTaps) tap = hn::LoadU(D(), from.taps + at);
  }
  static HWY_INLINE void StorePair(V key, V tap, Buffer to, int64_t at) {
    hn::StoreU(key, D(), to.keys + at);
    if constexpr (kTaps) hn::StoreU(tap, D(), to.taps + at);
  }

  // `share` outputs of all columns; see ReduceAxis. Four vectors at a time hide the latency of the chain of maxima
  // and the cost of the loops.
  HWY_NOINLINE void ReduceColumns(const Column& c) const {
    int64_t v = 0;
    for (; v + 4 <= c.vectors; v += 4) ReduceVectors<true>(c, v);
    for (; v < c.vectors; ++v) ReduceVectors<false>(c, v);
  }
  template <bool kFour>
  HWY_INLINE void ReduceVectors(const Column& c, int64_t v) const {
    const int64_t n = N();
    const int32_t* HWY_RESTRICT offset = c.offset;
    const int64_t step = c.step, taps = c.taps, share = c.share, apart = c.apart;
    const int64_t core = (share - 1) * apart;
    const Buffer rows = At(c.from, v * n);
    V key0, key1, key2, key3, tap0, tap1, tap2, tap3;
    key1 = key2 = key3 = tap0 = tap1 = tap2 = tap3 = hn::Zero(D());
    const auto load = [&](int64_t at) HWY_ATTR {
      LoadPair(rows, at, key0, tap0);
      if constexpr (!kFour) return;
      LoadPair(rows, at + n, key1, tap1);
      LoadPair(rows, at + 2 * n, key2, tap2);
      LoadPair(rows, at + 3 * n, key3, tap3);
    };
    const auto later = [&](int64_t at) HWY_ATTR {
      Later(rows, at, key0, tap0);
      if constexpr (!kFour) return;
      Later(rows, at + n, key1, tap1);
      Later(rows, at + 2 * n, key2, tap2);
      Later(rows, at + 3 * n, key3, tap3);
    };
    const auto earlier = [&](Buffer other, int64_t at) HWY_ATTR {
      Earlier(other, at, key0, tap0);
      if constexpr (!kFour) return;
      Earlier(other, at + n, key1, tap1);
      Earlier(other, at + 2 * n, key2, tap2);
      Earlier(other, at + 3 * n, key3, tap3);
    };
    const auto emit = [&](int64_t g) HWY_ATTR {
      const int64_t at = g * c.to_pitch + v * n;
      const V origin = hn::Set(D(), static_cast<Lane>(c.origin - g * c.origin_step));
      Emit(key0, tap0, c.to, at, origin, c.fresh);
      if constexpr (!kFour) return;
      Emit(key1, tap1, c.to, at + n, origin, c.fresh);
      Emit(key2, tap2, c.to, at + 2 * n, origin, c.fresh);
      Emit(key3, tap3, c.to, at + 3 * n, origin, c.fresh);
    };
    // The shared rows, then upwards to the first output's window, keeping each output's part.
    load(offset[core * step]);
    for (int64_t t = core + 1; t < taps; ++t) later(offset[t * step]);
    for (int64_t g = share - 1; g > 0; --g) {
      StorePair(key0, tap0, shared_, g * 4 * n);
      if constexpr (kFour) {
        StorePair(key1, tap1, shared_, (g * 4 + 1) * n);
        StorePair(key2, tap2, shared_, (g * 4 + 2) * n);
        StorePair(key3, tap3, shared_, (g * 4 + 3) * n);
      }
      for (int64_t t = g * apart - 1; t >= (g - 1) * apart; --t) earlier(rows, offset[t * step]);
    }
    emit(0);
    if (share == 1) return;
    // Downwards from the shared rows.
    load(offset[taps * step]);
    for (int64_t t = taps + 1; t < taps + apart; ++t) later(offset[t * step]);
    for (int64_t g = 1;; ++g) {
      const V below0 = key0, below1 = key1, below2 = key2, below3 = key3;
      const V below_tap0 = tap0, below_tap1 = tap1, below_tap2 = tap2, below_tap3 = tap3;
      earlier(shared_, g * 4 * n);
      emit(g);
      if (g == share - 1) break;
      key0 = below0, key1 = below1, key2 = below2, key3 = below3;
      tap0 = below_tap0, tap1 = below_tap1, tap2 = below_tap2, tap3 = below_tap3;
      for (int64_t t = taps + g * apart; t < taps + (g + 1) * apart; ++t) later(offset[t * step]);
    }
  }

  // One vector of an output row.
  static HWY_INLINE void Emit(V key, V tap, Buffer to, int64_t at, V origin, bool fresh) {
    if constexpr (kTaps) tap = hn::Add(tap, origin);
    if (!fresh) Earlier(to, at, key, tap);
    StorePair(key, tap, to, at);
  }

  // --- Planes, tiles, output --------------------------------------------------------------------------------------

  [[gnu::cold]] void Planes(int64_t plane, int64_t planes, int64_t oz, int64_t depths, int64_t oy, int64_t rows) {
    for (int64_t channel = 0; channel < inner_; channel += tile_.channels) {
      const int64_t channels = std::min(tile_.channels, inner_ - channel);
      for (int64_t ox = 0; ox < width_.output; ox += tile_.columns) {
        const int64_t columns = std::min(tile_.columns, width_.output - ox);
        const auto plan_width = [&](int64_t tap) {
          if (PlanWidth(ox, columns, channel, channels, tap, planes) && kTaps && width_plan_.edge > 0) PlanEdge();
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
      const int64_t vectors = ((rows - 1) * out_pitch_ + out_vectors_ * N() + N() - 1) / N();
      ReduceAxis(kDepth, depth_ring_, {planes_, sums_, depth_ring_.pitch, vectors, depth_.kernel, true}, oz, depths, 0,
                 origin);
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
                 fresh || (may_be_empty_ && IsEmpty(depth_, oz + d)));
    }
  }

  // Reduces input plane z along width and height. False if no row is in range.
  template <class PlanWidthTap>
  [[gnu::cold]] bool ReducePlane(int64_t plane, int64_t z, int64_t oy, int64_t rows, int64_t tap_origin, Buffer to,
                                 bool fresh, const PlanWidthTap& plan_width) {
    const Strides& s = geometry_.input;
    const int64_t n = Image(plane), c = Channel(plane);
    const char* x =
        static_cast<const char*>(call_.x) + (n * s.batch + c * s.channel + z * s.axis[kDepth]) * codec_.bytes;
    const int64_t readable = Readable(n, c, z);
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
      height_ring_.pitch = out_pitch_;
      PlanRing(height_, begin, span, &height_ring_);
      for (int64_t part = 0; part < width_.kernel; part += tile_.taps_x) {
        // Parts of adaptive windows need a tap that all windows have. To see taps twice changes nothing.
        const int64_t tx = width_.adaptive ? std::min(part, width_.kernel - tile_.taps_x) : part;
        plan_width(tx);
        ReduceRows(x, readable, one_pass ? std::max(first, height_ring_.end) : first, end);
        height_ring_.end = end;
        ReduceAxis(kHeight, height_ring_, {ring_, to, out_pitch_, out_vectors_, taps, fresh && !any}, oy, rows, ty,
                   tap_origin + ty * tap_step_[kHeight] + tx * tap_step_[kWidth]);
        any = true;
      }
    }
    return any;
  }

  using StoreFunction = void (*)(const Lane*, int64_t, int64_t, int64_t, void*, int64_t, int64_t, int64_t);
  StoreFunction TapStoreFunction() const {
    if (call_.taps.bytes == 1) return &StoreRuns<TapStore<Lane, uint8_t>, Lane>;
    if (call_.taps.bytes == 2) return &StoreRuns<TapStore<Lane, uint16_t>, Lane>;
    if constexpr (sizeof(Lane) == 8) {
      if (call_.taps.bytes == 8) return &StoreRuns<TapStore<Lane, uint64_t>, Lane>;  // see Transposed
    }
    return &StoreRuns<TapStore<Lane, uint32_t>, Lane>;
  }

  // Stores a block of rows to an output that begins at `to`. Rows that follow each other without a gap may be written
  // past their end while the next row of the block is still to come.
  void StoreRows(const Lane* from, int64_t rows, const Strides& s, StoreFunction store, int64_t bytes, char* to) const {
    const WidthPlan& p = width_plan_;
    const int64_t pixel = s.axis[kWidth], step = s.axis[kHeight];
    if (p.channels != pixel) {
      for (int64_t r = 0; r < rows; ++r) {
        store(from + r * out_pitch_, p.channels, p.columns, p.channels, to + r * step * bytes, pixel, p.channels, 0);
      }
      return;
    }
    const int64_t row = p.columns * p.channels;
    const bool dense = row == step;
    const bool dense_planes = dense && rows * step == PlaneStep(s);
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      const int64_t writable = dense ? (dense_planes ? p.planes - plane : 1) * rows * row : row;
      store(from + plane * p.out_segment, out_pitch_, rows, row, to + plane * PlaneStep(s) * bytes, step, writable,
            dense ? row : 0);
    }
  }

  [[gnu::cold]] void StoreBlock(Buffer from, int64_t plane, int64_t oz, int64_t oy, int64_t rows, bool empty) const {
    const WidthPlan& p = width_plan_;
    const auto start = [&](const Strides& s) {
      return Image(plane) * s.batch + Channel(plane) * s.channel + oz * s.axis[kDepth] + oy * s.axis[kHeight] +
             p.ox * s.axis[kWidth] + p.channel;
    };
    const bool any_empty = empty || may_be_empty_;
    if (any_empty) {
      for (int64_t r = 0; r < rows; ++r) {
        if (empty || IsEmpty(height_, oy + r)) Fill(from.keys + r * out_pitch_, out_vectors_ * N(), codec_.lowest);
      }
    }
    const Strides& y = geometry_.output;
    StoreRows(from.keys, rows, y, codec_.store, codec_.bytes, static_cast<char*>(call_.y) + start(y) * codec_.bytes);
    if constexpr (kTaps) {
      const Strides& s = call_.taps.strides;
      const int64_t bytes = call_.taps.bytes;
      char* const to = static_cast<char*>(call_.taps.base) + (start(s) - call_.taps.origin) * bytes;
      StoreRows(from.taps, rows, s, TapStoreFunction(), bytes, to);
      if (!any_empty) return;
      for (int64_t r = 0; r < p.planes * rows; ++r) {
        const bool empty_row = empty || IsEmpty(height_, oy + r % rows);
        char* const line = to + (r / rows * PlaneStep(s) + r % rows * s.axis[kHeight]) * bytes;
        for (int64_t o = 0; o < p.columns; ++o) {
          if (!empty_row && !IsEmpty(width_, p.ox + o)) continue;
          std::memset(line + o * s.axis[kWidth] * bytes, 0xFF, static_cast<size_t>(p.channels * bytes));
        }
      }
    }
  }

  // --- Global pooling ---------------------------------------------------------------------------------------------

  // Whole planes of few vectors, channels-first: each is reduced to one vector, then neighbouring lanes of many planes
  // at a time. False if the call is something else.
  HWY_NOINLINE bool GlobalPlanes() const {
    if (geometry_.channels_last) return false;
    int64_t size = 1;
    for (int i = kWidth; i >= kDepth; --i) {
      const Axis& a = geometry_.axis[i];
      if (a.output != 1 || a.kernel != a.input || a.dilation != 1 || a.pad_before != 0) return false;
      if (a.input > 1 && (geometry_.input.axis[i] != size || (kTaps && tap_step_[i] != size))) return false;
      size *= a.input;
    }
    const D d;
    const int64_t n = N(), pitch = RoundUp(size);
    const int64_t most = (capacity_ - 8 * n) / (arrays_ * (pitch + n)) / n * n;
    if (kTaps && problem_.tap_origin != 0) return false;
    if (most == 0 || (n & (n - 1)) != 0) return false;
    Lane* const keys = static_cast<Lane*>(call_.scratch);
    Lane* const best = keys + most * pitch + n;
    const Strides& s = geometry_.input;
    for (int64_t line = call_.begin; line < call_.end;) {
      const int64_t image = Image(line), c = Channel(line);
      const int64_t planes = std::min({most, call_.end - line, images_of_planes_ - line % images_of_planes_});
      const char* x = static_cast<const char*>(call_.x) + (image * s.batch + c * s.channel) * codec_.bytes;
      codec_.load(x, s.channel, planes, size, s.channel == size ? planes * size : size, s.channel == size ? size : 0,
                  keys, pitch);
      for (int64_t p = 0; p < planes; ++p) {
        V key = hn::LoadU(d, keys + p * pitch);
        for (int64_t j = n; j < pitch; j += n) key = hn::Max(key, hn::LoadU(d, keys + p * pitch + j));
        hn::StoreU(key, d, best + p * n);
      }
      for (int64_t width = n / 2; width > 0; width /= 2) {
        for (int64_t j = 0; j < planes * width; j += n) {
          const V lo = hn::LoadU(d, best + 2 * j), hi = hn::LoadU(d, best + 2 * j + n);
          hn::StoreU(hn::Max(EvenLanes(d, lo, hi), OddLanes(d, lo, hi)), d, best + j);
        }
      }
      const Strides& y = geometry_.output;
      StorePlanes(best, planes, y, codec_.store,
                  static_cast<char*>(call_.y) + (image * y.batch + c * y.channel) * codec_.bytes);
      if constexpr (kTaps) {
        const Strides& t = call_.taps.strides;
        Lane* const taps = best + most * n + n;
        for (int64_t p = 0; p < planes; ++p) {
          const V key = hn::Set(d, best[p]);
          int64_t j = 0;
          intptr_t lane;
          while ((lane = hn::FindFirstTrue(d, hn::Eq(key, hn::LoadU(d, keys + p * pitch + j)))) < 0) j += n;
          taps[p] = static_cast<Lane>(j + lane);
        }
        StorePlanes(taps, planes, t, TapStoreFunction(),
                    static_cast<char*>(call_.taps.base) +
                        (image * t.batch + c * t.channel - call_.taps.origin) * call_.taps.bytes);
      }
      line += planes;
    }
    return true;
  }

  // --- Small images -----------------------------------------------------------------------------------------------

  // Images of few elements become the innermost axis: a group of them is transposed, pooled as the channels of one
  // image, and transposed back. False if the call is something else.
  [[gnu::cold]] HWY_NOINLINE bool Transposed() const {
    Transposition t;
    if (!PlanTransposition(&t)) return false;
    Lane* const x = static_cast<Lane*>(call_.scratch);
    Lane* const y = x + t.group * t.in_pitch;
    Lane* const taps = y + t.group * t.out_pitch;
    Lane* const rest = taps + (kTaps ? t.group * t.out_pitch : 0);
    const SeparableProblem problem = TransposedProblem(t, x, y, kTaps ? taps : nullptr, rest);
    Codec<Lane> keys = ElementCodec<Lane, Lane>::Make();
    keys.lowest = codec_.lowest;

    const auto run = [](int64_t step, int64_t pitch, int64_t size) { return step == size && pitch == size; };
    for (int64_t plane = call_.begin / LinesPerPlane(), end = plane + t.images; plane < end;) {
      const int64_t count = std::min({t.group, end - plane, images_of_planes_ - plane % images_of_planes_});
      const auto start = [&](const Strides& s) { return Image(plane) * s.batch + Channel(plane) * s.channel; };
      const Strides& s = geometry_.input;
      const int64_t step = PlaneStep(s);
      Lane* const loaded = t.in_rounds % 2 == 0 ? x : rest;
      const char* const from = static_cast<const char*>(call_.x) + start(s) * codec_.bytes;
      if (run(step, t.in_pitch, t.in)) {
        codec_.load(from, 0, 1, count * t.in, count * t.in, 0, loaded, 0);
      } else {
        codec_.load(from, step, count, t.in, step == t.in ? count * t.in : t.in, step == t.in ? t.in : 0, loaded,
                    t.in_pitch);
      }
      for (int r = 0; r < t.in_rounds; ++r) {
        const bool even = (t.in_rounds - r) % 2 == 0;
        Deinterleave(even ? x : rest, t.group * t.in_pitch, even ? rest : x);
      }
      SeparableRun(problem, keys).Run();
      const auto store = [&](Lane* result, const Strides& o, StoreFunction function, int64_t bytes, char* to) {
        for (int r = 0; r < t.out_rounds; ++r) {
          Interleave(r % 2 == 0 ? result : rest, t.group * t.out_pitch, r % 2 == 0 ? rest : result);
        }
        if (t.out_rounds % 2 != 0) result = rest;
        to += start(o) * bytes;
        const int64_t distance = PlaneStep(o);
        if (run(distance, t.out_pitch, t.out)) {
          function(result, 0, 1, count * t.out, to, 0, count * t.out, 0);
        } else {
          const bool flat = distance == t.out;
          function(result, t.out_pitch, count, t.out, to, distance, flat ? count * t.out : t.out, flat ? t.out : 0);
        }
      };
      store(y, geometry_.output, codec_.store, codec_.bytes, static_cast<char*>(call_.y));
      if constexpr (kTaps) {
        const int64_t bytes = call_.taps.bytes;
        store(taps, call_.taps.strides, TapStoreFunction(), bytes,
              static_cast<char*>(call_.taps.base) - call_.taps.origin * bytes);
      }
      plane += count;
    }
    return true;
  }

  // Even elements to the first half, odd ones to the second: one of log2(columns) rounds that transpose.
  static HWY_NOINLINE void Deinterleave(const Lane* HWY_RESTRICT from, int64_t count, Lane* HWY_RESTRICT to) {
    const D d;
    for (int64_t j = 0; j < count / 2; j += N()) {
      V even, odd;
      hn::LoadInterleaved2(d, from + 2 * j, even, odd);
      hn::StoreU(even, d, to + j);
      hn::StoreU(odd, d, to + count / 2 + j);
    }
  }
  static HWY_NOINLINE void Interleave(const Lane* HWY_RESTRICT from, int64_t count, Lane* HWY_RESTRICT to) {
    const D d;
    for (int64_t j = 0; j < count / 2; j += N()) {
      hn::StoreInterleaved2(hn::LoadU(d, from + j), hn::LoadU(d, from + count / 2 + j), d, to + 2 * j);
    }
  }

  // --- Planes whose rows fit a vector -----------------------------------------------------------------------------

  // Dense channels-first planes with a row per vector: windows grow to the right and then to the left of each lane by
  // lookups, where lanes that would leave the row look up themselves. 0.55 of the time of rows side by side (13x13 f32
  // on AVX-512). False if the call is something else.
  [[gnu::cold]] HWY_NOINLINE bool RowPlanes() const {
    if constexpr (!kHasLookup<Lane>) return false;
    const int64_t n = N();
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
    if (kTaps && !dense(call_.taps.strides, out_width, out_plane)) return false;

    constexpr int64_t kMaxSteps = 16;
    const int64_t rows_per_plane = height_.input + height_.output;
    const int64_t most = (capacity_ / 8 * 5 - (kMaxSteps + 8) * n) / (rows_per_plane * n * arrays_);
    if (most < 1) return false;
    Lane* const tables = static_cast<Lane*>(call_.scratch);
    int64_t steps = 0, rights = 0;
    for (int sign = 1; sign >= -1; sign -= 2) {
      const int64_t wanted = std::min((sign > 0 ? last - left : left), (width_.input - 1) / width_.dilation) + 1;
      for (int64_t have = 1, more; have < wanted; have += more, ++steps) {
        more = std::min(have, wanted - have);
        for (int64_t i = 0; i < n; ++i) {
          const int64_t other = i + sign * more * width_.dilation;
          tables[steps * n + i] = static_cast<Lane>(other >= 0 && other < width_.input ? other : i);
        }
      }
      if (sign > 0) rights = steps;
    }
    Lane* const stride_table = tables + kMaxSteps * n;
    Lane* const columns = stride_table + n;
    Lane* const origins = columns + n;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t begin = std::min(i * width_.stride, width_.input - 1);
      stride_table[i] = static_cast<Lane>(begin);
      columns[i] = static_cast<Lane>(i / width_.dilation * tap_step_[kWidth]);
      origins[i] = static_cast<Lane>((left - begin / width_.dilation) * tap_step_[kWidth] + problem_.tap_origin);
    }
    Lane* const keys = origins + n;
    Lane* const best = keys + most * height_.input * n;
    const int64_t taps_at = most * rows_per_plane * n;  // from keys to tap numbers

    for (int64_t plane = call_.begin / height_.output; plane < call_.end / height_.output;) {
      const int64_t planes =
          std::min({most, call_.end / height_.output - plane, images_of_planes_ - plane % images_of_planes_});
      const int64_t image = Image(plane), c = Channel(plane);
      const Strides& s = geometry_.input;
      codec_.load(static_cast<const char*>(call_.x) + (image * s.batch + c * s.channel) * codec_.bytes, width_.input,
                  planes * height_.input, width_.input, planes * in_plane, width_.input, keys, n);
      GrowRows(tables, rights, steps, planes * height_.input, keys, keys + taps_at);
      ReducePlanes(planes, keys, best, taps_at);
      const Strides& y = geometry_.output;
      codec_.store(best, n, planes * height_.output, width_.output,
                   static_cast<char*>(call_.y) + (image * y.batch + c * y.channel) * codec_.bytes, width_.output,
                   planes * out_plane, width_.output);
      if constexpr (kTaps) {
        const Strides& t = call_.taps.strides;
        TapStoreFunction()(best + taps_at, n, planes * height_.output, width_.output,
                           static_cast<char*>(call_.taps.base) +
                               (image * t.batch + c * t.channel - call_.taps.origin) * call_.taps.bytes,
                           width_.output, planes * out_plane, width_.output);
      }
      plane += planes;
    }
    return true;
  }

  // Reduces rows of one vector along the width; see RowPlanes for the tables.
  HWY_NOINLINE void GrowRows(const Lane* tables, int64_t rights, int64_t steps, int64_t rows, Lane* HWY_RESTRICT keys,
                             Lane* HWY_RESTRICT taps) const {
    const D d;
    const int64_t n = N();
    constexpr int64_t kMaxSteps = 16;
    const V stride = hn::LoadU(d, tables + kMaxSteps * n);
    const V columns = hn::LoadU(d, tables + (kMaxSteps + 1) * n);
    const V origins = hn::LoadU(d, tables + (kMaxSteps + 2) * n);
    for (int64_t r = 0; r < rows * n; r += n) {
      V key = hn::LoadU(d, keys + r);
      V tap = columns;
      int64_t step = 0;
      for (; step < rights; ++step) {
        const V from = hn::LoadU(d, tables + step * n);
        const V other = LookupLanes(d, key, from);
        if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(other, key), LookupLanes(d, tap, from), tap);
        key = hn::Max(key, other);
      }
      for (; step < steps; ++step) {
        const V from = hn::LoadU(d, tables + step * n);
        const V other = LookupLanes(d, key, from);
        if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(key, other), tap, LookupLanes(d, tap, from));
        key = hn::Max(key, other);
      }
      if (width_.stride != 1) {
        key = LookupLanes(d, key, stride);
        if constexpr (kTaps) tap = LookupLanes(d, tap, stride);
      }
      hn::StoreU(key, d, keys + r);
      if (kTaps) hn::StoreU(hn::Add(tap, origins), d, taps + r);
    }
  }

  // Reduces rows of one vector along the height. Windows at the edges are short, so that sharing rows between outputs
  // does not pay. One output row of all planes at a time: loops of one length are predicted (1.3 times faster).
  HWY_NOINLINE void ReducePlanes(int64_t planes, const Lane* keys, Lane* best, int64_t taps_at) const {
    const D d;
    const int64_t n = N(), step = height_.dilation * n;
    const V next = hn::Set(d, static_cast<Lane>(tap_step_[kHeight]));
    for (int64_t o = 0; o < height_.output; ++o) {
      const int64_t begin = height_.Begin(o);
      const int64_t first = FirstTap(height_, begin);
      const int64_t taps = EndTap(height_, begin, height_.kernel) - first;
      const Lane* HWY_RESTRICT from = keys + (begin + first * height_.dilation) * n;
      Lane* HWY_RESTRICT to = best + o * n;
      const V first_number = hn::Set(d, static_cast<Lane>(first * tap_step_[kHeight]));
      for (int64_t p = 0; p < planes; ++p, from += height_.input * n, to += height_.output * n) {
        V key = hn::LoadU(d, from);
        V number = first_number;
        V tap = number;
        if (kTaps) tap = hn::Add(number, hn::LoadU(d, from + taps_at));
        for (int64_t t = 1; t < taps; ++t) {
          const V other = hn::LoadU(d, from + t * step);
          if constexpr (kTaps) {
            number = hn::Add(number, next);
            tap = hn::IfThenElse(hn::Gt(other, key), hn::Add(number, hn::LoadU(d, from + t * step + taps_at)), tap);
          }
          key = hn::Max(key, other);
        }
        hn::StoreU(key, d, to);
        if (kTaps) hn::StoreU(tap, d, to + taps_at);
      }
    }
  }

  static void StorePlanes(const Lane* from, int64_t planes, const Strides& s, StoreFunction store, char* to) {
    const bool dense = s.channel == 1 || planes == 1;
    store(from, 1, dense ? 1 : planes, dense ? planes : 1, to, s.channel, dense ? planes : 1, 0);
  }

  const Codec<Lane> codec_;
  Buffer row_, phases_, ring_, planes_, sums_, shared_;
  Lane* first_taps_;
};

template <class Lane, bool kTaps>
HWY_NOINLINE void RunSeparable(const ForwardCall& call, const Codec<Lane>& codec) {
  const SeparableProblem problem(call, static_cast<int64_t>(hn::Lanes(hn::ScalableTag<Lane>())));
  SeparableRun<Lane, kTaps>(problem, codec).Run();
}

// Pools lines [begin, end) of any geometry. The tap numbers must fit call.taps.bytes.
template <class T>
void Separable(const ForwardCall& call) {
  using Lane = typename KeyLanes<T>::Lane;
  using Wide = std::conditional_t<sizeof(Lane) == 1, int16_t, int32_t>;
  const auto holds_taps = [&call](size_t bytes) {
    return bytes >= 4 || call.geometry->Taps() <= (int64_t{1} << (8 * bytes));
  };
  if (call.taps.base == nullptr) {
    RunSeparable<Lane, false>(call, ElementCodec<T, Lane>::Make());
  } else if (holds_taps(sizeof(Lane))) {
    RunSeparable<Lane, true>(call, ElementCodec<T, Lane>::Make());
  } else if constexpr (sizeof(Lane) < 4) {
    if (holds_taps(sizeof(Wide))) {
      RunSeparable<Wide, true>(call, ElementCodec<T, Wide>::Make());
    } else {
      RunSeparable<int32_t, true>(call, ElementCodec<T, int32_t>::Make());
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
