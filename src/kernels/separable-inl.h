// SPDX-License-Identifier: Apache-2.0
// The vector loops of the general forward engine, whose driver is separable.cc.
//
// Everything between x and y is signed integer keys, so NaN, zeros and ties need no care, and one set of loops per lane
// width serves all element types: loads and stores map whole runs, by run-time constants (RingLanes, IntegerLanes). The
// innermost axis goes first, so "the earlier operand wins ties" is row-major-first.
//
// Tap numbers ride along in a second array of the same lanes. All arithmetic on them is modulo 2^bits, so lanes need
// only hold the number of taps; narrower elements with more taps than that run in wider lanes.
#if defined(PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#undef PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/separable.h"
#include "src/kernels/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace separable {
namespace hn = hwy::HWY_NAMESPACE;

// How elements of one width become keys in lanes of their width or a greater one, and keys elements.
template <class L, class Lane>
struct ElementRuns {
  using Element = typename L::Element;
  using Out = Element;
  using D = hn::ScalableTag<Lane>;
  using Narrow = hn::Rebind<Element, D>;
  L map;

  explicit ElementRuns(const void* object) : map(*static_cast<const L*>(object)) {}
  static int64_t Step() { return static_cast<int64_t>(hn::Lanes(D())); }

  HWY_INLINE hn::Vec<D> Load(const Element* p) const {
    if constexpr (sizeof(Lane) != sizeof(Element)) {
      return hn::PromoteTo(D(), map.Load(Narrow(), p));
    } else {
      return map.Load(D(), p);
    }
  }
  HWY_INLINE void Store(const Lane* from, Element* to) const {
    const hn::Vec<D> key = hn::LoadU(D(), from);
    if constexpr (sizeof(Lane) != sizeof(Element)) {
      map.Store(Narrow(), hn::DemoteTo(Narrow(), key), to);
    } else {
      map.Store(D(), key, to);
    }
  }
};

// Tap numbers of the caller's width.
template <class Index, class Lane>
struct TapRuns {
  using Out = Index;
  using D = hn::ScalableTag<Lane>;
  using Unsigned = hwy::MakeUnsigned<Lane>;
  using Tag = std::conditional_t<(sizeof(Index) > sizeof(Lane)), hn::ScalableTag<Index>, hn::Rebind<Index, D>>;

  explicit TapRuns(const void* /*map*/) {}
  static int64_t Step() { return static_cast<int64_t>(hn::Lanes(Tag())); }

  HWY_INLINE void Store(const Lane* from, Index* to) const {
    const Tag tag;
    const hn::Rebind<Unsigned, Tag> unsigned_lanes;
    if constexpr (sizeof(Index) == sizeof(Lane)) {
      hn::StoreU(hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from)), tag, to);
    } else if constexpr (sizeof(Index) > sizeof(Lane)) {
      hn::StoreU(hn::PromoteTo(tag, hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from))), tag, to);
    } else if constexpr (sizeof(Lane) == 8) {
      // Highway 1.0.3 cannot narrow 64-bit integers.
      const hn::Repartition<int32_t, D> d32;
      const hn::Half<decltype(d32)> dh;
      const auto pairs = hn::BitCast(d32, hn::LoadU(D(), from));
      const auto low = hn::LowerHalf(dh, EvenLanes(d32, pairs, pairs));
      if constexpr (sizeof(Index) == 4) {
        hn::StoreU(low, dh, reinterpret_cast<int32_t*>(to));
      } else {
        hn::StoreU(hn::DemoteTo(tag, low), tag, to);
      }
    } else {
      hn::StoreU(hn::DemoteTo(tag, hn::LoadU(D(), from)), tag, to);
    }
  }
};

template <class L, class Lane>
void LoadRuns(const void* map, const void* base, int64_t from_step, int64_t runs, int64_t count, int64_t readable,
              int64_t shrink, char* keys, int64_t to_step, int64_t filled) {
  using Element = typename L::Element;
  const ElementRuns<L, Lane> element(map);
  const hn::ScalableTag<Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto lowest = hn::Set(d, hwy::LimitsMin<Lane>());
  const Element* from = static_cast<const Element*>(base);
  Lane* to = reinterpret_cast<Lane*>(keys);
  if (count >= n) {
    for (; runs > 0; --runs, from += from_step, to += to_step) {
      for (int64_t j = 0; j < count - n; j += n) hn::StoreU(element.Load(from + j), d, to + j);
      hn::StoreU(element.Load(from + count - n), d, to + count - n);
      for (int64_t j = count; j < filled; j += n) hn::StoreU(lowest, d, to + j);
    }
    return;
  }
  const auto rest = hn::FirstN(d, static_cast<size_t>(count));
  for (; runs > 0; --runs, from += from_step, to += to_step, readable -= shrink) {
    const Element* source = from;
    if (readable < n) {
      std::memcpy(to, source, static_cast<size_t>(count) * sizeof(Element));
      source = reinterpret_cast<const Element*>(to);
    }
    hn::StoreU(hn::IfThenElse(rest, element.Load(source), lowest), d, to);
    for (int64_t j = n; j < filled; j += n) hn::StoreU(lowest, d, to + j);
  }
}

// See LoadLines: after any that a window has, even with all its columns' added.
template <class Lane>
constexpr Lane kNoTap = static_cast<Lane>(hwy::LimitsMax<Lane>() - SeparableLoops::kMostOrderedTaps);

template <class L, class Lane, bool kTaps>
void LoadLines(const void* map, const SeparableLines& all, int64_t lines, const SeparableLine* line, KeyArray to) {
  using Element = typename L::Element;
  using D = hn::ScalableTag<Lane>;
  using V = hn::Vec<D>;
  const ElementRuns<L, Lane> element(map);
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), count = all.count, filled = all.filled;
  const int64_t depth_step = all.depth_step, height_step = all.height_step, skip = all.fresh ? 1 : 0;
  const int64_t last = std::max<int64_t>(0, count - n);
  const V lowest = hn::Set(d, hwy::LimitsMin<Lane>());
  const V no_tap = hn::Set(d, kNoTap<Lane>);
  const V next_row = hn::Set(d, static_cast<Lane>(all.height_tap));
  const V next_depth = hn::Set(d, static_cast<Lane>(all.depth_tap));
  const auto mine = hn::FirstN(d, static_cast<size_t>(std::min(n, count)));
  Lane* keys = reinterpret_cast<Lane*>(to.keys);
  Lane* taps = reinterpret_cast<Lane*>(to.taps);
  for (; lines > 0; --lines, ++line, keys += all.pitch, taps += all.pitch) {
    const int64_t depths = line->depths, heights = line->heights;
    const V first_tap = hn::Set(d, static_cast<Lane>(line->tap));
    const auto load = [&](const char* row) HWY_ATTR { return element.Load(reinterpret_cast<const Element*>(row)); };
    for (int64_t j = 0;; j += n) {
      const int64_t at = std::min(j, last);
      const char* slice = static_cast<const char*>(line->x) + at * static_cast<int64_t>(sizeof(Element));
      V key, tap = first_tap, slice_tap = first_tap;
      if (all.fresh) {
        key = load(slice);
      } else {
        key = hn::LoadU(d, keys + at);
        if constexpr (kTaps) tap = hn::LoadU(d, taps + at);
      }
      const auto later = [&](int64_t y, V row_tap, const char* row) HWY_ATTR {
        for (; y < heights; ++y, row += height_step) {
          const V other = load(row);
          if constexpr (kTaps) {
            tap = hn::IfThenElse(hn::Gt(other, key), row_tap, tap);
            row_tap = hn::Add(row_tap, next_row);
          }
          key = hn::Max(key, other);
        }
      };
      later(skip, skip == 0 ? first_tap : hn::Add(first_tap, next_row), slice + skip * height_step);
      for (int64_t z = 1; z < depths; ++z) {
        slice += depth_step;
        slice_tap = hn::Add(slice_tap, next_depth);
        later(0, slice_tap, slice);
      }
      hn::StoreU(hn::IfThenElse(mine, key, lowest), d, keys + at);
      if constexpr (kTaps) hn::StoreU(hn::IfThenElse(mine, tap, no_tap), d, taps + at);
      if (at == last) break;
    }
    for (int64_t j = std::max(n, count); j < filled; j += n) {
      hn::StoreU(lowest, d, keys + j);
      if constexpr (kTaps) hn::StoreU(no_tap, d, taps + j);
    }
  }
}

// Runs::Store writes Step() elements.
template <class Runs, class Lane>
void StoreRuns(const void* map, const char* lanes, int64_t from_step, int64_t runs, int64_t count, void* base,
               int64_t to_step, int64_t writable, int64_t shrink) {
  using Out = typename Runs::Out;
  const Runs element(map);
  const int64_t step = Runs::Step();
  const Lane* from = reinterpret_cast<const Lane*>(lanes);
  Out* to = static_cast<Out*>(base);
  if (count <= step) {
    for (; runs > 0 && writable >= step; --runs, from += from_step, to += to_step, writable -= shrink) {
      element.Store(from, to);
    }
  }
  for (; runs > 0; --runs, from += from_step, to += to_step, writable -= shrink) {
    int64_t j = 0;
    for (; j < count && j + step <= writable; j += step) element.Store(from + j, to + j);
    if (j >= count) continue;
    if (count >= step) {
      element.Store(from + count - step, to + count - step);
    } else {
      Out whole[hn::MaxLanes(hn::ScalableTag<uint8_t>())];
      element.Store(from, whole);
      std::memcpy(to, whole, static_cast<size_t>(count) * sizeof(Out));
    }
  }
}

// What needs no tap numbers.
template <class Lane>
struct KeyLoops {
  using D = hn::ScalableTag<Lane>;
  using V = hn::Vec<D>;

  // Lanes per vector: a constant where vectors have a fixed size, and never a load that a vector store might alias.
  static HWY_INLINE int64_t N() { return static_cast<int64_t>(hn::Lanes(D())); }
  static HWY_INLINE Lane* Lanes(char* lanes) { return reinterpret_cast<Lane*>(lanes); }
  static HWY_INLINE const Lane* Lanes(const char* lanes) { return reinterpret_cast<const Lane*>(lanes); }

  static void Fill(char* lanes, int64_t count, int64_t lane) {
    const D d;
    const V all = hn::Set(d, static_cast<Lane>(lane));
    for (int64_t j = 0; j < count; j += N()) hn::StoreU(all, d, Lanes(lanes) + j);
  }

  // Adaptive windows have no stride: the windows at both ends of each output's to two phases.
  [[gnu::cold]] static void SplitAdaptive(const SeparableWidth& p, const char* from_lanes, char* to_lanes,
                                          int64_t rows) {
    const D d;
    const Axis& axis = *p.axis;
    const Lane* HWY_RESTRICT from = Lanes(from_lanes);
    Lane* HWY_RESTRICT to = Lanes(to_lanes);
    const int64_t pitch = p.phase_pitch, channels = p.channels;
    const int64_t quotient = axis.whole_input / axis.whole_output;
    const int64_t remainder = axis.whole_input % axis.whole_output;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t plane = 0; plane < p.planes; ++plane) {
        const Lane* HWY_RESTRICT source = from + r * p.pitch + plane * p.segment * channels;
        Lane* HWY_RESTRICT target = to + r * p.split_pitch + plane * p.out_segment;
        int64_t phase = (p.ox * axis.whole_input + axis.phase) % axis.whole_output;
        for (int64_t o = 0; o < p.columns; ++o, target += channels) {
          const int64_t second = p.phases > 1 && phase + remainder > axis.whole_output ? channels : 0;
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
          const bool wraps = phase >= axis.whole_output;
          phase -= wraps ? axis.whole_output : 0;
          source += (quotient + (wraps ? 1 : 0)) * channels;
        }
      }
    }
  }

  static void Split(const SeparableWidth& p, const char* from_lanes, char* to_lanes, int64_t count) {
    const D d;
    const Lane* HWY_RESTRICT from = Lanes(from_lanes);
    Lane* HWY_RESTRICT to = Lanes(to_lanes);
    const int64_t stride = p.stride;
    const int64_t channels = p.channels;
    const int64_t pitch = p.phase_pitch;
    const int64_t phases = p.phases;
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
    for (int64_t phase = 0; phase < phases; phase += p.phase_step) {
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

  static void Deinterleave(const char* from_lanes, int64_t count, char* to_lanes) {
    const D d;
    const Lane* HWY_RESTRICT from = Lanes(from_lanes);
    Lane* HWY_RESTRICT to = Lanes(to_lanes);
    for (int64_t j = 0; j < count / 2; j += N()) {
      V even, odd;
      hn::LoadInterleaved2(d, from + 2 * j, even, odd);
      hn::StoreU(even, d, to + j);
      hn::StoreU(odd, d, to + count / 2 + j);
    }
  }
  static void Interleave(const char* from_lanes, int64_t count, char* to_lanes) {
    const D d;
    const Lane* HWY_RESTRICT from = Lanes(from_lanes);
    Lane* HWY_RESTRICT to = Lanes(to_lanes);
    for (int64_t j = 0; j < count / 2; j += N()) {
      hn::StoreInterleaved2(hn::LoadU(d, from + j), hn::LoadU(d, from + count / 2 + j), d, to + 2 * j);
    }
  }
};

// Neighbouring lanes of 2N, or where these are narrow, units of 4 bytes.
template <class DE, class VE>
HWY_INLINE VE MaxOfNeighbours(DE d, VE lo, VE hi, bool units) {
  if constexpr (sizeof(hn::TFromD<DE>) < 4) {
    if (units) {
      const hn::Repartition<int32_t, DE> du;
      const auto lo_units = hn::BitCast(du, lo), hi_units = hn::BitCast(du, hi);
      return hn::Max(hn::BitCast(d, EvenLanes(du, lo_units, hi_units)),
                     hn::BitCast(d, OddLanes(du, lo_units, hi_units)));
    }
  }
  return hn::Max(EvenLanes(d, lo, hi), OddLanes(d, lo, hi));
}
// Of four vectors a quarter of one each; vectors have four lanes.
template <class DE, class VE>
HWY_INLINE void StoreFour(DE d, VE a, VE b, VE c, VE e, hn::TFromD<DE>* to) {
  const VE lower = hn::Max(LowerHalves(d, a, b), UpperHalves(d, a, b));
  const VE upper = hn::Max(LowerHalves(d, c, e), UpperHalves(d, c, e));
  hn::StoreU(MaxOfNeighbours(d, lower, upper, true), d, to);
}
// Groups of a quarter of a vector's lanes to one each.
template <class DE, class T = hn::TFromD<DE>>
HWY_NOINLINE void ReduceQuarters(DE d, int64_t groups, T* lanes) {
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t width = n / 8; width > 0; width /= 2) {
    const bool units = width * static_cast<int64_t>(sizeof(T)) >= 4;
    for (int64_t j = 0; j < groups * width; j += n) {
      const auto lo = hn::LoadU(d, lanes + 2 * j), hi = hn::LoadU(d, lanes + 2 * j + n);
      hn::StoreU(MaxOfNeighbours(d, lo, hi, units), d, lanes + j);
    }
  }
}

template <class Lane, bool kTaps>
struct Loops : KeyLoops<Lane> {
  using Keys = KeyLoops<Lane>;
  using Keys::Lanes;
  using Keys::N;
  using typename Keys::D;
  using typename Keys::V;

  struct Buffer {
    Lane* keys;
    Lane* taps;
  };
  static HWY_INLINE Buffer Of(KeyArray array) { return {Lanes(array.keys), Lanes(array.taps)}; }
  static HWY_INLINE Buffer At(Buffer b, int64_t lane) { return {b.keys + lane, b.taps + lane}; }

  static void Grow(const SeparableWidth& p, KeyArray row, int64_t from, int64_t to, int64_t count) {
    const D d;
    const int64_t step = p.step, tap_step = p.tap_step;
    const int64_t end = count - (to - 1) * step;
    Lane* HWY_RESTRICT keys = Lanes(row.keys);
    Lane* HWY_RESTRICT taps = Lanes(row.taps);
    for (int64_t j = 0; j < end; j += N()) {
      V key = hn::LoadU(d, keys + j);
      V tap = hn::Zero(d);
      if (kTaps && from > 1) tap = hn::LoadU(d, taps + j);
      for (int64_t t = from; t < to; t += from) {
        const int64_t shift = std::min(t, to - from);
        const V other = hn::LoadU(d, keys + j + shift * step);
        if constexpr (kTaps) {
          V other_tap = hn::Set(d, static_cast<Lane>(shift * tap_step));
          if (from > 1) other_tap = hn::Add(other_tap, hn::LoadU(d, taps + j + shift * step));
          tap = hn::IfThenElse(hn::Gt(other, key), other_tap, tap);
        }
        key = hn::Max(key, other);
      }
      hn::StoreU(key, d, keys + j);
      if (kTaps) hn::StoreU(tap, d, taps + j);
    }
  }

  template <bool kCarried>
  static void Gather(const SeparableWidth& p, KeyArray from_keys, KeyArray to_keys, int64_t rows, int64_t pitch,
                     SeparableRowTaps row_taps) {
    const int64_t n = N(), vectors = p.part_vectors;
    Buffer from = Of(from_keys), to = Of(to_keys);
    for (int64_t r = 0; r < rows; ++r, from = At(from, pitch), to = At(to, p.out_pitch)) {
      const V row_tap = hn::Set(D(), static_cast<Lane>(row_taps.tap));
      if (++row_taps.phase == row_taps.dilation) {
        row_taps.phase = 0;
        row_taps.tap += row_taps.step;
      }
      int64_t v = 0;
      if constexpr (kHasWindowKernels) {
        for (; v + 4 <= vectors; v += 4) GatherVectors<kCarried, true>(p, At(from, v * n), At(to, v * n), v, row_tap);
      }
      for (; v < vectors; ++v) GatherVectors<kCarried, false>(p, At(from, v * n), At(to, v * n), v, row_tap);
    }
  }
  // One vector of a ring row, or four.
  template <bool kCarried, bool kFour>
  static HWY_INLINE void GatherVectors(const SeparableWidth& p, Buffer from, Buffer to, int64_t vector, V row_tap) {
    const D d;
    const int64_t windows = p.last_taps, n = N();
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
      const int64_t offset = t < p.kMaxTaps ? p.window_offset[t] : t * p.step;
      const V number = hn::Set(d, static_cast<Lane>(t < p.kMaxTaps ? p.window_tap[t] : t * p.tap_step));
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
    const bool edge = p.edge > 0;
    const auto store = [&](int64_t i, V key, V tap) HWY_ATTR {
      if (kTaps && edge) tap = LaterTap(tap, Lanes(p.first_taps) + (vector + i) * n);
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

  static void GatherOrdered(const SeparableWidth& p, KeyArray from_keys, KeyArray to_keys) {
    const D d;
    const Buffer from = Of(from_keys), to = Of(to_keys);
    const int64_t windows = p.last_taps;
    for (int64_t j = 0; j < p.out_vectors * N(); j += N()) {
      V key, tap;
      LoadPair(from, j, key, tap);
      for (int64_t t = 1; t < windows; ++t) {
        V other, other_tap;
        LoadPair(from, j + p.window_offset[t], other, other_tap);
        other_tap = hn::Add(other_tap, hn::Set(d, static_cast<Lane>(p.window_tap[t])));
        // Without a disjunction of masks, of which g++ 12 computes 16 lanes only on SVE.
        const V if_equal = hn::IfThenElse(hn::Eq(other, key), hn::Min(other_tap, tap), tap);
        tap = hn::IfThenElse(hn::Gt(other, key), other_tap, if_equal);
        key = hn::Max(key, other);
      }
      StorePair(key, tap, to, j);
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

  // `share` outputs of all columns; see SeparableRun::ReduceAxis. Four vectors at a time hide the latency of the chain
  // of maxima and the cost of the loops.
  static void ReduceColumns(const SeparableColumn& c) {
    int64_t v = 0;
    if constexpr (kHasWindowKernels) {
      for (; v + 4 <= c.vectors; v += 4) ReduceVectors<true>(c, v);
    }
    for (; v < c.vectors; ++v) ReduceVectors<false>(c, v);
  }
  template <bool kFour>
  static HWY_INLINE void ReduceVectors(const SeparableColumn& c, int64_t v) {
    const int64_t n = N();
    const int32_t* HWY_RESTRICT offset = c.offset;
    const int64_t step = c.step, taps = c.taps, share = c.share, apart = c.apart;
    const int64_t core = (share - 1) * apart;
    const Buffer rows = At(Of(c.from), v * n), to = Of(c.to), shared = Of(c.shared);
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
      Emit(key0, tap0, to, at, origin, c.fresh);
      if constexpr (!kFour) return;
      Emit(key1, tap1, to, at + n, origin, c.fresh);
      Emit(key2, tap2, to, at + 2 * n, origin, c.fresh);
      Emit(key3, tap3, to, at + 3 * n, origin, c.fresh);
    };
    // The shared rows, then upwards to the first output's window, keeping each output's part.
    load(offset[core * step]);
    for (int64_t t = core + 1; t < taps; ++t) later(offset[t * step]);
    for (int64_t g = share - 1; g > 0; --g) {
      StorePair(key0, tap0, shared, g * 4 * n);
      if constexpr (kFour) {
        StorePair(key1, tap1, shared, (g * 4 + 1) * n);
        StorePair(key2, tap2, shared, (g * 4 + 2) * n);
        StorePair(key3, tap3, shared, (g * 4 + 3) * n);
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
      earlier(shared, g * 4 * n);
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

  // Keys are reduced to a vector per plane, then neighbouring lanes of many planes at a time; so is the least of the
  // tap numbers of those that equal the result. (To search for it takes a mispredicted branch, or a mask by way of
  // memory.)
  static void ReducePlanes(const char* lanes, int64_t planes, int64_t size, int64_t pitch, KeyArray result) {
    const D d;
    const int64_t n = N(), last = std::max<int64_t>(0, size - n);
    const Lane* HWY_RESTRICT keys = Lanes(lanes);
    const auto max = [](V a, V b) HWY_ATTR { return hn::Max(a, b); };
    const auto min = [](V a, V b) HWY_ATTR { return hn::Min(a, b); };
    Lane* const best = Lanes(result.keys);
    for (int64_t p = 0; p < planes; ++p) {
      V key = hn::LoadU(d, keys + p * pitch + last);
      for (int64_t j = 0; j < last; j += n) key = hn::Max(key, hn::LoadU(d, keys + p * pitch + j));
      hn::StoreU(key, d, best + p * n);
    }
    ReduceLanes(planes, max, best);
    if constexpr (!kTaps) return;
    // Numbers of the full range, in signed order.
    Lane* const taps = Lanes(result.taps);
    const V zero = hn::Set(d, hwy::LimitsMin<Lane>()), next = hn::Set(d, static_cast<Lane>(n));
    const V first = hn::Add(zero, hn::Iota(d, 0)), most = hn::Set(d, hwy::LimitsMax<Lane>());
    const V last_numbers = hn::Add(first, hn::Set(d, static_cast<Lane>(last)));
    for (int64_t p = 0; p < planes; ++p) {
      const V key = hn::Set(d, best[p]);
      V number = first;
      V tap = hn::IfThenElse(hn::Eq(key, hn::LoadU(d, keys + p * pitch + last)), last_numbers, most);
      for (int64_t j = 0; j < last; j += n, number = hn::Add(number, next)) {
        const auto equal = hn::Eq(key, hn::LoadU(d, keys + p * pitch + j));
        tap = hn::Min(tap, hn::IfThenElse(equal, number, most));
      }
      hn::StoreU(tap, d, taps + p * n);
    }
    ReduceLanes(planes, min, taps);
    for (int64_t j = 0; j < planes; j += n) hn::StoreU(hn::Sub(hn::LoadU(d, taps + j), zero), d, taps + j);
  }
  // Groups of a vector's lanes to one each.
  template <class Combine>
  static HWY_INLINE void ReduceLanes(int64_t groups, Combine combine, Lane* lanes) {
    const D d;
    for (int64_t width = N() / 2; width > 0; width /= 2) {
      for (int64_t j = 0; j < groups * width; j += N()) {
        const V lo = hn::LoadU(d, lanes + 2 * j), hi = hn::LoadU(d, lanes + 2 * j + N());
        hn::StoreU(combine(EvenLanes(d, lo, hi), OddLanes(d, lo, hi)), d, lanes + j);
      }
    }
  }

  // Windows of 4 columns apart, one after the other, at least a vector of them: four vectors are transposed within
  // their blocks of 16 bytes, and the results put in order. True if there was a NaN.
  static bool PoolFours(const float* HWY_RESTRICT x, int64_t outputs, float* HWY_RESTRICT y,
                        uint8_t* HWY_RESTRICT taps) {
    const hn::ScalableTag<float> d;
    const hn::ScalableTag<int32_t> di;
    using VE = hn::Vec<decltype(d)>;
    using VT = hn::Vec<decltype(di)>;
    const NativeLanes<float> lanes;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), blocks = n / 4;
    HWY_ALIGN int32_t from[hn::MaxLanes(di)];
    for (int64_t i = 0; i < n; ++i) from[i] = static_cast<int32_t>(i % blocks * 4 + i / blocks);
    const VT order = hn::Load(di, from), one = hn::Set(di, 1), two = hn::Set(di, 2), three = hn::Set(di, 3);
    auto ordered = NoNanYet<false>(d);
    const auto load = [&](const float* p, VE& v0, VE& v1, VE& v2, VE& v3) HWY_ATTR {
      v0 = LoadLanes(lanes, d, p), v1 = LoadLanes(lanes, d, p + n);
      v2 = LoadLanes(lanes, d, p + 2 * n), v3 = LoadLanes(lanes, d, p + 3 * n);
      NoteInTurn<NativeLanes<float>>(d, ordered, v0, v1, v2, v3);
    };
    int64_t j = 0;
    if constexpr (kTaps && kHasPackedTaps) {
      // Minus the taps, by masks, of four vectors at a time: 0.74 of the time of one by one.
      const VT minus_two = hn::Set(di, -2);
      const auto pool = [&](int64_t at) PEAKPOOL_INLINED {
        VE v0, v1, v2, v3;
        load(x + 4 * at, v0, v1, v2, v3);
        TransposeFours(d, v0, v1, v2, v3);
        const VE first = hn::Max(v0, v1), last = hn::Max(v2, v3);
        const auto mask = [=](VE a, VE b)
                              PEAKPOOL_INLINED { return hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(b, a))); };
        lanes.Store(d, LookupLanes(d, hn::Max(first, last), order), y + at);
        return hn::IfThenElse(hn::RebindMask(di, hn::Gt(last, first)), hn::Add(mask(v2, v3), minus_two), mask(v0, v1));
      };
      for (; j + 4 * n <= outputs; j += 4 * n) {
        const VT t0 = pool(j), t1 = pool(j + n), t2 = pool(j + 2 * n), t3 = pool(j + 3 * n);
        StoreBlocksOfTaps(di, t0, t1, t2, t3, taps + j);
      }
    }
    for (; j < outputs; j += n) {
      const int64_t at = HWY_MIN(j, outputs - n);
      VE best, v1, v2, v3;
      load(x + 4 * at, best, v1, v2, v3);
      VT tap = hn::Zero(di);
      if constexpr (kTaps) {
        TransposeFours(d, best, v1, v2, v3);
        Fold(d, v1, one, best, tap);
        Fold(d, v2, two, best, tap);
        Fold(d, v3, three, best, tap);
      } else {
        best = MaxOfFours(d, best, v1, v2, v3);
      }
      lanes.Store(d, LookupLanes(d, best, order), y + at);
      if constexpr (kTaps) StoreBytes(di, LookupLanes(di, tap, order), taps + at);
    }
    return !hn::AllTrue(d, ordered);
  }

  template <class D, class V, class VI>
  static HWY_INLINE void FoldPlane(D d, V v, VI number, V& key, VI& tap) {
    if constexpr (kTaps) {
      Fold(d, v, number, key, tap);
    } else {
      key = hn::Max(key, v);
    }
  }
  // Floats of planes, none of them NaN, become keys.
  template <class DI>
  static void MapPlanes(DI d, const void* map, int64_t planes, Lane* results) {
    const auto element = MapOf<RingLanes<Lane>>(map);
    for (int64_t j = 0; j < planes; j += static_cast<int64_t>(hn::Lanes(d))) {
      hn::StoreU(element.Load(d, results + j), d, results + j);
    }
  }

  // Four planes at a time are reduced to a vector each. With taps, lanes of 8 and 16 bits become lanes twice as wide,
  // the key above the complement of its number, of which the greatest is both (7x7 on AVX-512: u8 takes 0.57 and f16
  // 0.73 of the time of what follows; the bits of masks, of which the first is the tap, 0.95). Taps of others stay
  // behind; vectors are halved until there is a lane per plane, and so is then the least of the tap numbers of those
  // lanes that equal it, as the greatest of its complements. (Aligned loads but for the first and the last of a plane
  // save nothing.)
  template <class L>
  using PlaneTag = hn::CappedTag<typename L::Lane, 32>;
  // Of bytes with taps, vectors are loaded as two parts, the second of which may overlap the first (AVX-512: 0.8 of
  // the time of vectors as long as a part; one masked load 1.1).
  template <class L>
  static constexpr bool kInHalves = kTaps && sizeof(typename L::Lane) == 1;
  template <class L>
  static bool PoolPlanes(const void* map, const void* elements, int64_t planes, int64_t size, int64_t step,
                         KeyArray rooms, char* results) {
    using T = typename L::Lane;
    using DE = std::conditional_t<kInHalves<L>, hn::ScalableTag<T>, PlaneTag<L>>;
    using VE = hn::Vec<DE>;
    const DE de;
    const hn::Half<DE> dh;
    const hn::RebindToSigned<DE> d;
    using VT = hn::Vec<decltype(d)>;
    constexpr bool kPacked = kTaps && sizeof(T) <= 2;
    using Packed = std::conditional_t<sizeof(T) == 1, int16_t, int32_t>;
    const hn::Repartition<Packed, DE> dp;
    const L lanes = MapOf<L>(map);
    const int64_t n = static_cast<int64_t>(hn::Lanes(de)), part = kInHalves<L> ? n / 2 : n, last = size - part;
    T* const best = reinterpret_cast<T*>(results);
    T* const keys = reinterpret_cast<T*>(rooms.keys);
    Lane* const taps = Lanes(rooms.taps);
    Packed* const packed = reinterpret_cast<Packed*>(rooms.keys);
    // Complements of numbers of the full range, in signed order, or where they are lower parts in unsigned order.
    const VT zero = hn::Set(d, kPacked ? Lane{-1} : hwy::LimitsMax<Lane>()), all = hn::Sub(zero, hn::Iota(d, 0));
    const auto lower = hn::FirstN(d, static_cast<size_t>(part));
    const auto numbers = [&](int64_t lo, int64_t hi) HWY_ATTR {
      const VT from = hn::Set(d, static_cast<Lane>(lo));
      if constexpr (!kInHalves<L>) return hn::Sub(all, from);
      return hn::Sub(all, hn::IfThenElse(lower, from, hn::Set(d, static_cast<Lane>(hi - part))));
    };
    const int64_t second = HWY_MIN(part, last);
    const VT first = numbers(0, second);
    auto unordered = hn::FirstN(de, 0);
    const auto note = [&](VE a, VE b, VE c, VE e) HWY_ATTR {
      if constexpr (L::kTracksNan) {
        unordered = hn::Or(unordered, hn::Or(EitherNan(de, a, b), EitherNan(de, c, e)));
      }
    };
    // In registers, see LoadLanes, 16-bit floats take 0.65 of the time; without taps, NaNs that are not the same, 0.95.
    const auto load = [&](const T* p, int64_t lo, int64_t hi) HWY_ATTR {
      return ToTapKey<kTaps>(
          lanes, de,
          kInHalves<L> ? JoinHalves(de, hn::LoadU(dh, p + lo), hn::LoadU(dh, p + hi)) : hn::LoadU(de, p + lo));
    };
    const T* x0 = static_cast<const T*>(elements);
    int64_t step1 = step, step2 = 2 * step, step3 = 3 * step;
    for (int64_t p = 0; p < planes; p += 4, x0 += 4 * step) {
      if (HWY_UNLIKELY(p + 4 > planes)) {
        step1 = p + 1 < planes ? step : 0;
        step2 = p + 2 < planes ? 2 * step : 0;
        step3 = 0;
      }
      const T *const x1 = x0 + step1, *const x2 = x0 + step2, *const x3 = x0 + step3;
      VE key0 = load(x0, 0, second), key1 = load(x1, 0, second), key2 = load(x2, 0, second), key3 = load(x3, 0, second);
      note(key0, key1, key2, key3);
      VT tap0, tap1, tap2, tap3;
      tap0 = tap1 = tap2 = tap3 = first;
      for (int64_t j = n; j < size; j += n) {
        const int64_t at = HWY_MIN(j, last), rest = HWY_MIN(j + part, last);
        const VE v0 = load(x0, at, rest), v1 = load(x1, at, rest), v2 = load(x2, at, rest), v3 = load(x3, at, rest);
        note(v0, v1, v2, v3);
        const VT number = numbers(at, rest);
        FoldPlane(de, v0, number, key0, tap0), FoldPlane(de, v1, number, key1, tap1);
        FoldPlane(de, v2, number, key2, tap2), FoldPlane(de, v3, number, key3, tap3);
      }
      if constexpr (kPacked) {
        const auto pack = [&](VE key, VT tap) HWY_ATTR { return MaxOfWide(dp, de, tap, key); };
        StoreMaxOfFourths(dp, MaxOfFours(dp, pack(key0, tap0), pack(key1, tap1), pack(key2, tap2), pack(key3, tap3)),
                          packed + p);
      } else if constexpr (kTaps) {
        T* const to = keys + p * n;
        hn::StoreU(key0, de, to), hn::StoreU(key1, de, to + n);
        hn::StoreU(key2, de, to + 2 * n), hn::StoreU(key3, de, to + 3 * n);
        Lane* const tap_to = taps + p * n;
        hn::StoreU(tap0, d, tap_to), hn::StoreU(tap1, d, tap_to + n);
        hn::StoreU(tap2, d, tap_to + 2 * n), hn::StoreU(tap3, d, tap_to + 3 * n);
      }
      if constexpr (!kPacked) StoreFour(de, key0, key1, key2, key3, best + p * (n / 4));
    }
    if (L::kTracksNan && !hn::AllFalse(de, unordered)) return true;
    if constexpr (!kPacked) ReduceQuarters(de, planes, best);
    if constexpr (kPacked) {
      constexpr int kBits = 8 * sizeof(T);
      const hn::Rebind<T, decltype(dp)> dn;
      for (int64_t j = 0; j < planes; j += static_cast<int64_t>(hn::Lanes(dp))) {
        const auto v = hn::LoadU(dp, packed + j);
        hn::StoreU(hn::DemoteTo(dn, hn::ShiftRight<kBits>(v)), dn, best + j);
        hn::StoreU(hn::DemoteTo(dn, hn::ShiftRight<kBits>(hn::ShiftLeft<kBits>(hn::Not(v)))), dn, taps + j);
      }
    } else if constexpr (kTaps) {
      const VT none = hn::Set(d, hwy::LimitsMin<Lane>());
      for (int64_t p = 0; p < planes; p += 4) {
        const auto numbers = [&](int64_t i) HWY_ATTR {
          const auto equal = hn::Eq(hn::LoadU(de, keys + i * n), hn::Set(de, best[i]));
          return hn::IfThenElse(hn::RebindMask(d, equal), hn::LoadU(d, taps + i * n), none);
        };
        StoreFour(d, numbers(p), numbers(p + 1), numbers(p + 2), numbers(p + 3), taps + p * (n / 4));
      }
      ReduceQuarters(d, planes, taps);
      for (int64_t j = 0; j < planes; j += n) hn::StoreU(hn::Sub(zero, hn::LoadU(d, taps + j)), d, taps + j);
    }
    if constexpr (L::kTracksNan) MapPlanes(d, map, planes, Lanes(results));
    return false;
  }
  // The same for f32: the planes' maxima meet in registers, where they are compared with the lanes they come from while
  // the next four planes are loaded. (With indices, AVX-512: 7x7 and lines of 126 0.75 of the time; at once 0.95; masks
  // of all vectors, moved to integers and their first bit counted, 0.74. One chain of masks: 0.85. Prefetches 4 KB
  // ahead: lines of 126, in L3, 0.84 of that, 7x7 and all planes in L2 1.05 to 1.2. Selects by the mask in place of
  // maxima, which share pipes with compares: 1.0 to 1.04.)
  static bool PoolFloatPlanes(const void* map, const void* elements, int64_t planes, int64_t size, int64_t step,
                              KeyArray rooms, char* results) {
    using DE = PlaneTag<NativeLanes<float>>;
    using VE = hn::Vec<DE>;
    const DE de;
    const hn::RebindToSigned<DE> d;
    using VT = hn::Vec<decltype(d)>;
    const NativeLanes<float> lanes;
    const int64_t n = static_cast<int64_t>(hn::Lanes(de)), last = size - n;
    float* const best = reinterpret_cast<float*>(results);
    Lane* const taps = Lanes(rooms.taps);
    auto seen = NoNanYet<kHas32Registers>(de);
    const VT first = hn::Neg(hn::Iota(d, 0)), none = hn::Set(d, hwy::LimitsMin<Lane>());
    // Lane i of each block: the greatest lane of a vector i.
    const auto max_of_all = [=](auto dv, auto a, auto b, auto c, auto e) HWY_ATTR {
      auto v = MaxOfFours(dv, a, b, c, e);
      for (int64_t apart = 4; apart < n; apart *= 2) {
        const VT other = hn::Xor(hn::Iota(d, 0), hn::Set(d, static_cast<Lane>(apart)));
        v = hn::Max(v, LookupLanes(dv, v, other));
      }
      return v;
    };
    VE key0, key1, key2, key3, was0, was1, was2, was3, most;
    VT tap0, tap1, tap2, tap3, tap_was0, tap_was1, tap_was2, tap_was3;
    was0 = was1 = was2 = was3 = most = hn::Zero(de);
    tap_was0 = tap_was1 = tap_was2 = tap_was3 = first;
    const auto finish = [&](int64_t p) HWY_ATTR {
      const auto numbers = [&](VE was, VE top, VT tap)
                               HWY_ATTR { return hn::IfThenElse(hn::RebindMask(d, hn::Eq(was, top)), tap, none); };
      const VT tap = max_of_all(
          d, numbers(was0, hn::Broadcast<0>(most), tap_was0), numbers(was1, hn::Broadcast<1>(most), tap_was1),
          numbers(was2, hn::Broadcast<2>(most), tap_was2), numbers(was3, hn::Broadcast<3>(most), tap_was3));
      hn::StoreU(hn::Neg(tap), d, taps + p);
    };
    const float* x0 = static_cast<const float*>(elements);
    int64_t step1 = step, step2 = 2 * step, step3 = 3 * step;
    for (int64_t p = 0; p < planes; p += 4, x0 += 4 * step) {
      if (HWY_UNLIKELY(p + 4 > planes)) {
        step1 = p + 1 < planes ? step : 0;
        step2 = p + 2 < planes ? 2 * step : 0;
        step3 = 0;
      }
      const float *const x1 = x0 + step1, *const x2 = x0 + step2, *const x3 = x0 + step3;
      const auto load = [&](int64_t at, VE& v0, VE& v1, VE& v2, VE& v3) HWY_ATTR {
        v0 = LoadLanes(lanes, de, x0 + at), v1 = LoadLanes(lanes, de, x1 + at);
        v2 = LoadLanes(lanes, de, x2 + at), v3 = LoadLanes(lanes, de, x3 + at);
        Note<NativeLanes<float>>(de, seen, v0, v1, v2, v3);
      };
      load(0, key0, key1, key2, key3);
      tap0 = tap1 = tap2 = tap3 = first;
      for (int64_t j = n; j < size; j += n) {
        const int64_t at = HWY_MIN(j, last);
        VE v0, v1, v2, v3;
        load(at, v0, v1, v2, v3);
        const VT number = InRegister(hn::Sub(first, hn::Set(d, static_cast<Lane>(at))));
        FoldPlane(de, v0, number, key0, tap0), FoldPlane(de, v1, number, key1, tap1);
        FoldPlane(de, v2, number, key2, tap2), FoldPlane(de, v3, number, key3, tap3);
      }
      if constexpr (kTaps) {
        finish(HWY_MAX(p - 4, 0));
        was0 = key0, was1 = key1, was2 = key2, was3 = key3;
        tap_was0 = tap0, tap_was1 = tap1, tap_was2 = tap2, tap_was3 = tap3;
      }
      most = max_of_all(de, key0, key1, key2, key3);
      hn::StoreU(most, de, best + p);
    }
    if (SawNan<NativeLanes<float>>(de, seen)) return true;
    if constexpr (kTaps) finish((planes - 1) / 4 * 4);
    MapPlanes(d, map, planes, Lanes(results));
    return false;
  }
  template <class L>
  static HWY_INLINE L MapOf(const void* map) {
    if constexpr (L::kTracksNan) {
      return {};
    } else {
      return *static_cast<const L*>(map);
    }
  }
  // Reduces rows of one vector along the width; see SeparableLookups.
  static void GrowRows(const SeparableLookups& lookups, int64_t rows, KeyArray row) {
    const D d;
    const int64_t n = N(), rights = lookups.rights, steps = lookups.steps;
    const Lane* HWY_RESTRICT tables = Lanes(lookups.tables);
    Lane* HWY_RESTRICT keys = Lanes(row.keys);
    Lane* HWY_RESTRICT taps = Lanes(row.taps);
    const V stride = hn::LoadU(d, tables + lookups.kMaxSteps * n);
    const V columns = hn::LoadU(d, tables + (lookups.kMaxSteps + 1) * n);
    const V origins = hn::LoadU(d, tables + (lookups.kMaxSteps + 2) * n);
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
      if (lookups.strided) {
        key = LookupLanes(d, key, stride);
        if constexpr (kTaps) tap = LookupLanes(d, tap, stride);
      }
      hn::StoreU(key, d, keys + r);
      if (kTaps) hn::StoreU(hn::Add(tap, origins), d, taps + r);
    }
  }

  // Reduces rows of one vector along the height. Windows at the edges are short, so that sharing rows between outputs
  // does not pay. One output row of all planes at a time: loops of one length are predicted (1.3 times faster).
  static void ReduceRows(const Axis& height, int64_t tap_step, int64_t planes, KeyArray from_keys, KeyArray to_keys) {
    const D d;
    const Buffer rows = Of(from_keys), best = Of(to_keys);
    const ptrdiff_t taps_at = rows.taps - rows.keys;
    const int64_t n = N(), step = height.dilation * n;
    const V next = hn::Set(d, static_cast<Lane>(tap_step));
    for (int64_t o = 0; o < height.output; ++o) {
      const int64_t begin = height.Begin(o);
      const int64_t first = height.FirstTap(o);
      const int64_t taps = height.TapEnd(o) - first;
      const Lane* HWY_RESTRICT from = rows.keys + (begin + first * height.dilation) * n;
      Lane* HWY_RESTRICT to = best.keys + o * n;
      const V first_number = hn::Set(d, static_cast<Lane>(first * tap_step));
      for (int64_t p = 0; p < planes; ++p, from += height.input * n, to += height.output * n) {
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

  template <class L>
  static void AddElement(SeparableLoops* loops, int i) {
    if constexpr (sizeof(typename L::Element) <= sizeof(Lane)) {
      loops->load[i] = &LoadRuns<L, Lane>;
      // Lanes of twice the width are for windows of many taps.
      if constexpr (sizeof(typename L::Element) == sizeof(Lane)) {
        loops->load_lines[i] = &LoadLines<L, Lane, kTaps>;
      }
      loops->store[i] = &StoreRuns<ElementRuns<L, Lane>, Lane>;
    }
  }
  static SeparableLoops Make() {
    SeparableLoops loops = {};
    loops.lane_bytes = sizeof(Lane);
    loops.lanes = N();
    loops.lowest = hwy::LimitsMin<Lane>();
    loops.no_tap = kNoTap<Lane>;
    static constexpr auto kIdentity = MakeKeyMap<Lane>();
    loops.identity = &kIdentity;
    if constexpr (sizeof(Lane) == 8) {
      AddElement<RingLanes<int64_t>>(&loops, 3);
    } else {
      AddElement<IntegerLanes<int8_t>>(&loops, 0);
      AddElement<RingLanes<int16_t>>(&loops, 1);
      AddElement<RingLanes<int32_t>>(&loops, 2);
    }
    if constexpr (kTaps) {
      loops.store_taps[0] = &StoreRuns<TapRuns<uint8_t, Lane>, Lane>;
      loops.store_taps[1] = &StoreRuns<TapRuns<uint16_t, Lane>, Lane>;
      loops.store_taps[2] = &StoreRuns<TapRuns<uint32_t, Lane>, Lane>;
      if constexpr (sizeof(Lane) == 8) loops.store_taps[3] = &StoreRuns<TapRuns<uint64_t, Lane>, Lane>;
    }
    loops.fill = &Keys::Fill;
    loops.grow = &Grow;
    loops.split = &Keys::Split;
    loops.split_adaptive = &Keys::SplitAdaptive;
    loops.gather = &Gather<false>;
    loops.gather_carried = &Gather<kTaps>;
    if constexpr (kTaps) loops.gather_ordered = &GatherOrdered;
    loops.reduce_columns = &ReduceColumns;
    if constexpr (sizeof(Lane) >= 4) loops.reduce_planes = &ReducePlanes;
    if constexpr (kHasWindowKernels) {
      using L =
          std::conditional_t<(sizeof(Lane) >= 4), NativeLanes<std::conditional_t<sizeof(Lane) == 4, float, double>>,
                             std::conditional_t<sizeof(Lane) == 2, RingLanes<int16_t>, IntegerLanes<int8_t>>>;
      if constexpr (sizeof(Lane) == 4) {
        loops.pool_fours = &PoolFours;
        loops.pool_planes = &PoolFloatPlanes;
      } else {
        loops.pool_planes = &PoolPlanes<L>;
      }
      loops.plane_lanes = static_cast<int64_t>(kInHalves<L> ? hn::Lanes(D()) / 2 : hn::Lanes(PlaneTag<L>()));
    }
    loops.deinterleave = &Keys::Deinterleave;
    loops.interleave = &Keys::Interleave;
    if constexpr (kHasLookup<Lane>) {
      loops.grow_rows = &GrowRows;
      loops.reduce_rows = &ReduceRows;
    }
    return loops;
  }
};

}  // namespace separable

template <class Lane>
const SeparableLoops& SeparableLoopsOf(bool taps) {
  if constexpr (sizeof(Lane) < 4 && !kHasNarrowLoops) {
    static const SeparableLoops none = {};
    return none;
  } else {
    static const SeparableLoops loops[2] = {separable::Loops<Lane, false>::Make(),
                                            separable::Loops<Lane, true>::Make()};
    return loops[taps];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
