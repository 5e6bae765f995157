// SPDX-License-Identifier: Apache-2.0
// How the kernels of small windows channels-first fold values, tap numbers and NaN.
#if defined(PEAKPOOL_SRC_KERNELS_SLICES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
#endif

#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slice_walk.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Greatest so far and its tap number; strictly greater replaces.
template <class D, class V, class VI>
HWY_INLINE void Fold(D /*d*/, V v, VI tap, V& best, VI& best_tap) {
  const hn::RebindToSigned<D> di;
  const auto greater = hn::Gt(v, best);
  best = hn::Max(best, v);
  best_tap = hn::IfThenElse(hn::RebindMask(di, greater), tap, best_tap);
}

// Clears the lanes of `ordered` where one of an even number of vectors is NaN. Their compares are chained among
// themselves, then joined: a chain through all of a loop would bind it by its latency (2x2 s2 on 14x14: 1.9 times).
template <class D, class M, class V, class... Vs>
HWY_INLINE M OrderedLanes(D d, M ordered, V a, V b, Vs... more) {
  ordered = AndOrdered(d, ordered, a, b);
  if constexpr (sizeof...(more) > 0) ordered = OrderedLanes(d, ordered, more...);
  return ordered;
}
// The same by squares, whose sum is NaN if there was one.
template <class D, class V>
HWY_INLINE V Squares(D /*d*/, V a) {
  return hn::Mul(a, a);
}
template <class D, class V, class... Vs>
HWY_INLINE V Squares(D d, V a, Vs... more) {
  return hn::MulAdd(a, a, Squares(d, more...));
}
template <bool kBySquares, class D>
HWY_INLINE auto NoNanYet(D d) {
  if constexpr (kBySquares) {
    return hn::Zero(d);
  } else {
    return hn::FirstN(d, hn::Lanes(d));
  }
}
template <class L, class D, class M, class... Vs>
HWY_INLINE void Note(D d, M& seen, Vs... vectors) {
  if constexpr (!L::kTracksNan) {
    static_cast<void>(d), static_cast<void>(seen);
  } else if constexpr (std::is_same<M, hn::Vec<D>>::value) {
    seen = hn::Add(seen, Squares(d, vectors...));
  } else {
    seen = hn::And(seen, OrderedLanes(d, hn::FirstN(d, hn::Lanes(d)), vectors...));
  }
}
// The same where masks are vectors and chain at no cost: 3x3 s2 with tap numbers takes 0.95 of the time on AVX2,
// without 1.04.
template <class L, class D, class M, class... Vs>
HWY_INLINE void NoteInTurn(D d, M& seen, Vs... vectors) {
  if constexpr (L::kTracksNan && !kHas32Registers) {
    seen = OrderedLanes(d, seen, vectors...);
  } else {
    Note<L>(d, seen, vectors...);
  }
}
template <class L, class D, class M>
HWY_INLINE bool SawNan(D d, M seen) {
  if constexpr (!L::kTracksNan) {
    static_cast<void>(d), static_cast<void>(seen);
    return false;
  } else if constexpr (std::is_same<M, hn::Vec<D>>::value) {
    return !hn::AllFalse(d, hn::IsNaN(seen));
  } else {
    return !hn::AllTrue(d, seen);
  }
}

// Ahead of what stride 2 loads, of the columns in a pair of vectors: 3x3 on 112x112 in L3 takes 0.8 times as long; from
// memory 4 KB ahead takes 1.1 to 1.2 times as long as 8 (12: 1.0 to 1.2), but where two slices are read at once 0.85.
// At stride 1 the hardware keeps up, and parts of cache lines would be asked for twice (5 to 10 %).
template <class D>
constexpr bool kWholeCacheLine = hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) >= 64;
template <uintptr_t kBytes = 8192, class T>
HWY_INLINE void PrefetchAhead(const T* p) {
  hwy::Prefetch(reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(p) + kBytes));
}
template <uintptr_t kBytes = 8192, class T>
HWY_INLINE void PrefetchRowAhead(const T* row, int64_t width) {
  for (int64_t c = 0; c < width; c += static_cast<int64_t>(64 / sizeof(T))) PrefetchAhead<kBytes>(row + c);
}
template <class D, class T>
HWY_INLINE void PrefetchPairAhead(D /*d*/, const T* lo, const T* hi) {
  PrefetchAhead(lo);
  if (kWholeCacheLine<D>) PrefetchAhead(hi);
}

// The strip that tables of a kind, see StripKind, are made for: of those between the one with the least room behind it.
// -1: there is none.
inline int64_t StripOfKind(int64_t kind, int64_t strips) {
  if (strips <= (kind == 1 ? 2 : kind / 2)) return -1;
  return kind == 0 ? 0 : kind == 1 ? strips - 2 : strips - 1;
}
// Elements from line to line and from plane to plane, and the last row of a plane.
struct StripPlanes {
  explicit StripPlanes(const ForwardCall& call)
      : x_pitch(call.geometry->input.axis[kHeight]),
        y_pitch(call.geometry->output.axis[kHeight]),
        taps_pitch(call.taps.strides.axis[kHeight]),
        x_plane(call.geometry->input.channel),
        y_plane(call.geometry->output.channel),
        taps_plane(call.taps.strides.channel),
        last(call.geometry->axis[kHeight].input - 1) {}
  int64_t x_pitch, y_pitch, taps_pitch;
  int64_t x_plane, y_plane, taps_plane;
  int64_t last;
};

// Loads are pinned to registers: g++ repeats them as operands of both the maximum and the check for NaN.
template <class L, class D, class T>
HWY_INLINE hn::Vec<D> LoadLanes(L lanes, D d, const T* p) {
  return InRegister(lanes.Load(d, p));
}
// The same for kernels that number taps, or for those of which only the greatest lane is stored.
template <bool kTaps, class L, class D>
HWY_INLINE hn::Vec<D> ToTapKey(L lanes, D d, hn::Vec<D> bits) {
  if constexpr (!kTaps && std::is_same<L, HalfLanes>::value) {
    return InRegister(lanes.ToMaximumKey(d, InRegister(bits)));
  } else {
    return InRegister(lanes.ToKey(d, InRegister(bits)));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
