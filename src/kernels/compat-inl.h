// SPDX-License-Identifier: Apache-2.0
// The only place that knows Highway versions and instruction sets: operations that Highway 1.0.3 lacks or does slowly.
#if defined(PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
#undef PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"

#ifndef PEAKPOOL_INLINED
// Of a lambda that is part of the function around it. g++ otherwise calls some, with all that they capture in memory.
#define PEAKPOOL_INLINED HWY_ATTR __attribute__((always_inline))
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Whether kernels for particular windows are worth their size: on machines of 2012 the general engine has to do.
constexpr bool kHasWindowKernels = HWY_TARGET != HWY_SSSE3 && HWY_TARGET != HWY_SSE4;

// Whether the general engine has lanes of 8 and 16 bits; without, narrow elements are pooled in 32-bit lanes.
constexpr bool kHasNarrowLoops = kHasWindowKernels;

// Highway numbers x86's targets below all others, better ones lower.
constexpr bool kHasAvx512 = HWY_TARGET <= HWY_AVX3;
constexpr bool kHas32Registers = !HWY_ARCH_X86 || kHasAvx512;

// Whether vectors have a size that is known here.
constexpr bool kHasFixedSize = !HWY_HAVE_SCALABLE;

// Whether Highway converts between f16 and f32 exactly and with one rounding to nearest even: it truncates where there
// is no instruction.
constexpr bool kHasHalfConversions = HWY_TARGET <= HWY_AVX2;

// v, in a register from here on: g++ otherwise loads an operand again for each use, or builds a constant anew.
template <class V>
HWY_INLINE V InRegister(V v) {
#if HWY_TARGET <= HWY_AVX3 && HWY_COMPILER_GCC_ACTUAL
  asm("" : "+v"(v.raw));
#elif HWY_TARGET <= HWY_SSSE3 && HWY_COMPILER_GCC_ACTUAL
  asm("" : "+x"(v.raw));
#endif
  return v;
}

// Lanes where a or b is NaN; one compare on x86 where Highway needs two.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> EitherNan(D, V a, V b) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (sizeof(hn::TFromD<D>) == 4 && sizeof(V) == 64) {
    return hn::Mask<D>{_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_UNORD_Q)};
  } else if constexpr (sizeof(hn::TFromD<D>) == 8 && sizeof(V) == 64) {
    return hn::Mask<D>{_mm512_cmp_pd_mask(a.raw, b.raw, _CMP_UNORD_Q)};
  } else {
    return hn::Or(hn::IsNaN(a), hn::IsNaN(b));
  }
#elif HWY_TARGET == HWY_AVX2
  if constexpr (sizeof(hn::TFromD<D>) == 4 && sizeof(V) == 32) {
    return hn::Mask<D>{_mm256_cmp_ps(a.raw, b.raw, _CMP_UNORD_Q)};
  } else if constexpr (sizeof(hn::TFromD<D>) == 8 && sizeof(V) == 32) {
    return hn::Mask<D>{_mm256_cmp_pd(a.raw, b.raw, _CMP_UNORD_Q)};
  } else {
    return hn::Or(hn::IsNaN(a), hn::IsNaN(b));
  }
#else
  return hn::Or(hn::IsNaN(a), hn::IsNaN(b));
#endif
}

// `ordered` without the lanes where a or b is NaN: one masked compare on AVX-512 (7 % of 3x3 s2 in L2).
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> AndOrdered(D d, hn::Mask<D> ordered, V a, V b) {
#if HWY_TARGET <= HWY_AVX3
  constexpr bool kDouble = sizeof(hn::TFromD<D>) == 8;
  if constexpr (sizeof(V) == 64 && kDouble) {
    return {_mm512_mask_cmp_pd_mask(ordered.raw, a.raw, b.raw, _CMP_ORD_Q)};
  } else if constexpr (sizeof(V) == 64) {
    return {_mm512_mask_cmp_ps_mask(ordered.raw, a.raw, b.raw, _CMP_ORD_Q)};
  } else if constexpr (sizeof(V) == 32 && kDouble) {
    return {_mm256_mask_cmp_pd_mask(ordered.raw, a.raw, b.raw, _CMP_ORD_Q)};
  } else if constexpr (sizeof(V) == 32) {
    return {_mm256_mask_cmp_ps_mask(ordered.raw, a.raw, b.raw, _CMP_ORD_Q)};
  }
#endif
  return hn::AndNot(EitherNan(d, a, b), ordered);
}

// {cur[1], ..., cur[N-1], next[0]}; d is a tag of full vectors, or of 128-bit ones on targets of fixed size.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SlideDown1(D d, V cur, V next) {
#if HWY_TARGET == HWY_SVE || HWY_TARGET == HWY_SVE2 || HWY_TARGET == HWY_SVE_256 || HWY_TARGET == HWY_SVE2_128
  static_cast<void>(d);
  return svext(cur, next, 1);
#elif HWY_HAVE_SCALABLE
  const hn::RebindToUnsigned<D> du;
  const size_t last = hn::Lanes(d) - 1;
  return hn::IfThenElse(hn::FirstN(d, last), hn::BitCast(d, hn::Slide1Down(du, hn::BitCast(du, cur))),
                        hn::Set(d, hn::GetLane(next)));
#else
  constexpr int kSize = sizeof(hn::TFromD<D>);
  const hn::Repartition<uint8_t, D> d8;
  const auto cur8 = hn::BitCast(d8, cur), next8 = hn::BitCast(d8, next);
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(V) == 64) {
    using V8 = decltype(cur8);
    if constexpr (kSize == 4) return hn::BitCast(d, V8{_mm512_alignr_epi32(next8.raw, cur8.raw, 1)});
    if constexpr (kSize == 8) return hn::BitCast(d, V8{_mm512_alignr_epi64(next8.raw, cur8.raw, 1)});
    return hn::BitCast(d, V8{_mm512_alignr_epi8(_mm512_alignr_epi64(next8.raw, cur8.raw, 2), cur8.raw, kSize)});
  }
#endif
#if HWY_TARGET <= HWY_AVX2
  if constexpr (sizeof(V) == 32) {
    const __m256i middle = _mm256_permute2x128_si256(cur8.raw, next8.raw, 0x21);
    return hn::BitCast(d, decltype(cur8){_mm256_alignr_epi8(middle, cur8.raw, kSize)});
  }
#endif
  if constexpr (sizeof(V) == 16) return hn::BitCast(d, hn::CombineShiftRightBytes<kSize>(d8, next8, cur8));
#endif
}

// {prev[N-1], cur[0], ..., cur[N-2]}
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SlideUp1(D d, V prev, V cur) {
#if HWY_TARGET == HWY_SVE || HWY_TARGET == HWY_SVE2 || HWY_TARGET == HWY_SVE_256 || HWY_TARGET == HWY_SVE2_128
  return svinsr(cur, svlastb(hn::detail::PTrue(d), prev));
#elif HWY_HAVE_SCALABLE
  const hn::RebindToUnsigned<D> du;
  return hn::IfThenElse(hn::FirstN(d, 1), hn::Set(d, hn::ExtractLane(prev, hn::Lanes(d) - 1)),
                        hn::BitCast(d, hn::Slide1Up(du, hn::BitCast(du, cur))));
#else
  constexpr int kSize = sizeof(hn::TFromD<D>);
  const hn::Repartition<uint8_t, D> d8;
  const auto prev8 = hn::BitCast(d8, prev), cur8 = hn::BitCast(d8, cur);
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(V) == 64) {
    using V8 = decltype(cur8);
    if constexpr (kSize == 4) return hn::BitCast(d, V8{_mm512_alignr_epi32(cur8.raw, prev8.raw, 15)});
    if constexpr (kSize == 8) return hn::BitCast(d, V8{_mm512_alignr_epi64(cur8.raw, prev8.raw, 7)});
    return hn::BitCast(d, V8{_mm512_alignr_epi8(cur8.raw, _mm512_alignr_epi64(cur8.raw, prev8.raw, 6), 16 - kSize)});
  }
#endif
#if HWY_TARGET <= HWY_AVX2
  if constexpr (sizeof(V) == 32) {
    const __m256i middle = _mm256_permute2x128_si256(prev8.raw, cur8.raw, 0x21);
    return hn::BitCast(d, decltype(cur8){_mm256_alignr_epi8(cur8.raw, middle, 16 - kSize)});
  }
#endif
  if constexpr (sizeof(V) == 16) return hn::BitCast(d, hn::CombineShiftRightBytes<16 - kSize>(d8, cur8, prev8));
#endif
}

// Every second lane of the 2N consecutive ones in lo and hi.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V EvenLanes(D d, V lo, V hi) {
  return hn::ConcatEven(d, hi, lo);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE V OddLanes(D d, V lo, V hi) {
  return hn::ConcatOdd(d, hi, lo);
}

// The same in an order of the type's own, which costs one operation less (AVX2) or a cheaper one (AVX-512): "mixed".
// InOrder mends it.
template <class D>
constexpr bool kHasMixedLanes =
    HWY_TARGET <= HWY_AVX2 &&
    sizeof(hn::TFromD<D>) == 4 && hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) == (HWY_TARGET <= HWY_AVX3 ? 64 : 32);

template <class D, class V = hn::Vec<D>>
HWY_INLINE V EvenMixed(D d, V lo, V hi) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kHasMixedLanes<D>) return V{_mm512_shuffle_ps(lo.raw, hi.raw, 0x88)};
#elif HWY_TARGET == HWY_AVX2
  if constexpr (kHasMixedLanes<D>) return V{_mm256_shuffle_ps(lo.raw, hi.raw, 0x88)};
#endif
  return EvenLanes(d, lo, hi);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE V OddMixed(D d, V lo, V hi) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kHasMixedLanes<D>) return V{_mm512_shuffle_ps(lo.raw, hi.raw, 0xDD)};
#elif HWY_TARGET == HWY_AVX2
  if constexpr (kHasMixedLanes<D>) return V{_mm256_shuffle_ps(lo.raw, hi.raw, 0xDD)};
#endif
  return OddLanes(d, lo, hi);
}
// SlideUp1 of mixed lanes, whose first one is the first of the vector in order, too; every lane of `before` is the
// same.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SlideUp1Mixed(D d, V before, V cur) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kHasMixedLanes<D>) {
    const __m512i from = _mm512_set_epi32(14, 11, 12, 9, 10, 7, 8, 5, 6, 3, 4, 1, 2, 13, 0, 16);
    return V{_mm512_permutex2var_ps(cur.raw, from, before.raw)};
  }
#elif HWY_TARGET == HWY_AVX2
  if constexpr (kHasMixedLanes<D>) {
    const __m256 moved = _mm256_permutevar8x32_ps(cur.raw, _mm256_set_epi32(6, 3, 4, 1, 2, 5, 0, 0));
    return V{_mm256_blend_ps(moved, before.raw, 1)};
  }
#endif
  return SlideUp1(d, before, cur);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE V InOrder(D d, V mixed) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kHasMixedLanes<D>) {
    const hn::Repartition<int64_t, D> d64;
    const __m512i from = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    return hn::BitCast(d, hn::Vec<decltype(d64)>{_mm512_permutexvar_epi64(from, hn::BitCast(d64, mixed).raw)});
  }
#elif HWY_TARGET == HWY_AVX2
  if constexpr (kHasMixedLanes<D>) {
    const hn::Repartition<int64_t, D> d64;
    return hn::BitCast(d, hn::Vec<decltype(d64)>{_mm256_permute4x64_epi64(hn::BitCast(d64, mixed).raw, 0xD8)});
  }
#endif
  static_cast<void>(d);
  return mixed;
}

// The vector whose blocks of 16 bytes begin at p + at[i].
template <class D>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const hn::TFromD<D>* p, const int32_t* at) {
  if constexpr (hn::MaxLanes(d) * sizeof(hn::TFromD<D>) <= 16) {
    return hn::LoadU(d, p + at[0]);
  } else {
    const hn::Half<D> dh;
    constexpr int kHalf = hn::MaxLanes(d) * sizeof(hn::TFromD<D>) / 32;
    return hn::Combine(d, LoadBlocks(dh, p, at + kHalf), LoadBlocks(dh, p, at));
  }
}
// Stores 16-byte block i of the vector at p + at[i].
template <class D>
HWY_INLINE void StoreBlocks(D d, hn::Vec<D> v, hn::TFromD<D>* p, const int32_t* at) {
  if constexpr (hn::MaxLanes(d) * sizeof(hn::TFromD<D>) <= 16) {
    hn::StoreU(v, d, p + at[0]);
  } else {
    const hn::Half<D> dh;
    constexpr int kHalf = hn::MaxLanes(d) * sizeof(hn::TFromD<D>) / 32;
    StoreBlocks(dh, hn::LowerHalf(dh, v), p, at);
    StoreBlocks(dh, hn::UpperHalf(dh, v), p, at + kHalf);
  }
}

// The upper half of the lanes, where vectors have halves.
template <class D, class V>
HWY_INLINE auto UpperLanes(D d, V v) {
  return hn::UpperHalf(d, v);
}

// The vector of two halves.
template <class D, class VH>
HWY_INLINE hn::Vec<D> JoinHalves(D d, VH lo, VH hi) {
  return hn::Combine(d, hi, lo);
}

// {lower half of a, lower half of b}, and of the upper halves.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LowerHalves(D d, V a, V b) {
  return hn::ConcatLowerLower(d, b, a);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE V UpperHalves(D d, V a, V b) {
  return hn::ConcatUpperUpper(d, b, a);
}

// Within blocks of 16 bytes, vector i gets lane i of each of the vectors, whose lanes have 4 bytes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void TransposeFours(D d, V& v0, V& v1, V& v2, V& v3) {
  const V lower02 = hn::InterleaveLower(d, v0, v2), lower13 = hn::InterleaveLower(d, v1, v3);
  const V upper02 = hn::InterleaveUpper(d, v0, v2), upper13 = hn::InterleaveUpper(d, v1, v3);
  v0 = hn::InterleaveLower(d, lower02, lower13);
  v1 = hn::InterleaveUpper(d, lower02, lower13);
  v2 = hn::InterleaveLower(d, upper02, upper13);
  v3 = hn::InterleaveUpper(d, upper02, upper13);
}

// The greatest lane of each block of 16 bytes of the vectors: within blocks, lane i is that of vector i. Of narrower
// lanes than 4 bytes, lanes i + 4, too, are some of vector i.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V MaxOfFours(D d, V v0, V v1, V v2, V v3) {
  const V even = hn::Max(hn::InterleaveLower(d, v0, v2), hn::InterleaveUpper(d, v0, v2));
  const V odd = hn::Max(hn::InterleaveLower(d, v1, v3), hn::InterleaveUpper(d, v1, v3));
  return hn::Max(hn::InterleaveLower(d, even, odd), hn::InterleaveUpper(d, even, odd));
}

// The greater of lanes next to each other, twice as wide, whose lower and upper parts are `low` and `high`.
template <class DW, class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<DW> MaxOfWide(DW dw, D d, V low, V high) {
  return hn::Max(hn::BitCast(dw, hn::InterleaveLower(d, low, high)),
                 hn::BitCast(dw, hn::InterleaveUpper(d, low, high)));
}

// Stores four lanes, each the greatest of those that lie a multiple of four from it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreMaxOfFourths(D d, V v, hn::TFromD<D>* to) {
#if HWY_HAVE_SCALABLE
  const hn::CappedTag<hn::TFromD<D>, 4> d4;
  HWY_ALIGN hn::TFromD<D> all[hn::MaxLanes(d)];
  hn::Store(v, d, all);
  auto best = hn::Load(d4, all);
  for (size_t i = 4; i < hn::Lanes(d); i += 4) best = hn::Max(best, hn::LoadU(d4, all + i));
  hn::StoreU(best, d4, to);
#else
  if constexpr (hn::MaxLanes(D()) <= 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> dh;
    StoreMaxOfFourths(dh, hn::Max(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)), to);
  }
#endif
}

// Whether LookupLanes and LookupTwo exist for lanes of this size, in full vectors.
template <class T>
constexpr bool kHasLookup = sizeof(T) >= 4 || (HWY_TARGET <= HWY_AVX3 && sizeof(T) == 2);

// Lane i is v[index[i]], 0 <= index < N. Highway 1.0.3 has no 16-bit form.
template <class D, class VI, class V = hn::Vec<D>>
HWY_INLINE V LookupLanes(D d, V v, VI index) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(hn::TFromD<D>) == 2 && sizeof(V) == 64) {
    const hn::RebindToSigned<D> di;
    return hn::BitCast(d, VI{_mm512_permutexvar_epi16(index.raw, hn::BitCast(di, v).raw)});
  }
#endif
  if constexpr (sizeof(hn::TFromD<D>) >= 4) return hn::TableLookupLanes(v, hn::IndicesFromVec(d, index));
  return v;
}

// Whether LookupTwo is one operation.
constexpr bool kHasLookupOfTwo = HWY_TARGET <= HWY_AVX3;

// Lane i is the lane index[i] of the 2N lanes of a and b. Lanes for which kHasLookup is false take 128-bit tags.
template <class D, class VI, class V = hn::Vec<D>>
HWY_INLINE V LookupTwo(D d, V a, V b, VI index) {
  const hn::RebindToSigned<D> di;
  if constexpr (!kHasLookup<hn::TFromD<D>>) {
    const hn::Repartition<int8_t, D> d8;
    auto bytes = hn::BitCast(d8, index);
    if constexpr (sizeof(hn::TFromD<D>) == 2) {
      bytes = hn::BitCast(d8, hn::Add(hn::Mul(index, hn::Set(di, 0x0202)), hn::Set(di, 0x0100)));
    }
    const auto within = hn::And(bytes, hn::Set(d8, 15));
    const auto from_a = hn::TableLookupBytes(hn::BitCast(d8, a), within);
    const auto from_b = hn::TableLookupBytes(hn::BitCast(d8, b), within);
    return hn::BitCast(d, hn::IfThenElse(hn::Lt(bytes, hn::Set(d8, 16)), from_a, from_b));
  }
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(V) == 64) {
    const VI ia = hn::BitCast(di, a), ib = hn::BitCast(di, b);
    if constexpr (sizeof(hn::TFromD<D>) == 2) {
      return hn::BitCast(d, VI{_mm512_permutex2var_epi16(ia.raw, index.raw, ib.raw)});
    } else if constexpr (sizeof(hn::TFromD<D>) == 4) {
      return hn::BitCast(d, VI{_mm512_permutex2var_epi32(ia.raw, index.raw, ib.raw)});
    } else {
      return hn::BitCast(d, VI{_mm512_permutex2var_epi64(ia.raw, index.raw, ib.raw)});
    }
  }
#endif
  using TI = hn::TFromD<hn::RebindToSigned<D>>;
  const VI n = hn::Set(di, static_cast<TI>(hn::Lanes(d)));
  const auto from_a = hn::Lt(index, n);
  const VI within = hn::Sub(index, hn::IfThenZeroElse(from_a, n));
  return hn::IfThenElse(hn::RebindMask(d, from_a), LookupLanes(d, a, within), LookupLanes(d, b, within));
}

// Stores even[0], odd[0], even[1], odd[1] and so on. AVX-512: two-source permutes; Highway 1.0.3 interleaves within
// 128-bit blocks and then transposes those.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StorePairs(D d, V even, V odd, hn::TFromD<D>* HWY_RESTRICT to) {
#if HWY_TARGET <= HWY_AVX3
  constexpr int kSize = sizeof(hn::TFromD<D>);
  if constexpr (sizeof(V) == 64 && kSize == 4) {
    const hn::RebindToFloat<D> df;
    const __m512 even_raw = hn::BitCast(df, even).raw, odd_raw = hn::BitCast(df, odd).raw;
    const __m512i lower = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i upper = _mm512_add_epi32(lower, _mm512_set1_epi32(8));
    _mm512_storeu_ps(to, _mm512_permutex2var_ps(even_raw, lower, odd_raw));
    _mm512_storeu_ps(to + 16, _mm512_permutex2var_ps(even_raw, upper, odd_raw));
    return;
  } else if constexpr (sizeof(V) == 32 && kSize == 4) {
    const hn::RebindToFloat<D> df;
    const __m512i order = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_ps(to, _mm512_permutex2var_ps(_mm512_castps256_ps512(hn::BitCast(df, even).raw), order,
                                                _mm512_castps256_ps512(hn::BitCast(df, odd).raw)));
    return;
  } else if constexpr (sizeof(V) == 64 && kSize == 8) {
    const hn::RebindToFloat<D> df;
    const __m512d even_raw = hn::BitCast(df, even).raw, odd_raw = hn::BitCast(df, odd).raw;
    const __m512i lower = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0),
                  upper = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
    _mm512_storeu_pd(to, _mm512_permutex2var_pd(even_raw, lower, odd_raw));
    _mm512_storeu_pd(to + 8, _mm512_permutex2var_pd(even_raw, upper, odd_raw));
    return;
  } else if constexpr (sizeof(V) == 64 && kSize == 2) {
    const __m512i pairs = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i lower =
        _mm512_add_epi32(_mm512_or_si512(pairs, _mm512_slli_epi32(pairs, 16)), _mm512_set1_epi32(0x200000));
    const __m512i upper = _mm512_add_epi32(lower, _mm512_set1_epi32(0x100010));
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even.raw, lower, odd.raw));
    _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(even.raw, upper, odd.raw));
    return;
  }
#endif
  hn::StoreInterleaved2(even, odd, d, to);
}

// Whether PairHalves and PairTaps exist for vectors of D, halves of whole ones.
template <class D>
constexpr bool kHasPairedHalves = HWY_TARGET <= HWY_AVX3 && sizeof(hn::TFromD<D>) == 4 && hn::MaxLanes(D()) == 8;

// A whole vector of even[0], odd[0], even[1], odd[1] and so on; and of what LoadTaps loads.
template <class D, class V = hn::Vec<D>>
HWY_INLINE auto PairHalves(D /*d*/, V even, V odd) {
#if HWY_TARGET <= HWY_AVX3
  const __m512i order = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return hn::Vec<hn::ScalableTag<float>>{
      _mm512_permutex2var_ps(_mm512_castps256_ps512(even.raw), order, _mm512_castps256_ps512(odd.raw))};
#else
  static_cast<void>(odd);
  return even;
#endif
}
template <class D, class Taps>
HWY_INLINE auto PairTaps(D /*d*/, Taps even, Taps odd) {
#if HWY_TARGET <= HWY_AVX3
  return hn::Vec<hn::Rebind<uint8_t, hn::ScalableTag<float>>>{_mm_unpacklo_epi8(even.raw, odd.raw)};
#else
  static_cast<void>(odd);
  return even;
#endif
}

// Lanes of integers, each within [0, 255], to one byte each.
template <class DI, class VI = hn::Vec<DI>>
HWY_INLINE void StoreBytes(DI di, VI v, uint8_t* HWY_RESTRICT to) {
  const hn::Rebind<uint8_t, DI> d8;
#if HWY_TARGET <= HWY_AVX3
  // One truncation, where Highway's saturating DemoteTo takes five operations.
  static_cast<void>(di);
  using VI512 = hn::Vec<hn::ScalableTag<hn::TFromD<DI>>>;
  if constexpr (sizeof(hn::TFromD<DI>) == 1) {
    hn::StoreU(hn::BitCast(d8, v), d8, to);
  } else if constexpr (!std::is_same<VI, VI512>::value && sizeof(hn::TFromD<DI>) == 8) {
    hn::StoreU(hn::TruncateTo(d8, hn::BitCast(hn::RebindToUnsigned<DI>(), v)), d8, to);
  } else if constexpr (!std::is_same<VI, VI512>::value) {
    hn::StoreU(hn::DemoteTo(d8, v), d8, to);
  } else if constexpr (sizeof(hn::TFromD<DI>) == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(v.raw));
  } else if constexpr (sizeof(hn::TFromD<DI>) == 4) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(v.raw));
  } else {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm512_cvtepi64_epi8(v.raw));
  }
#else
  if constexpr (sizeof(hn::TFromD<DI>) == 1) {
    hn::StoreU(hn::BitCast(d8, v), d8, to);
  } else if constexpr (sizeof(hn::TFromD<DI>) == 8) {
    const hn::Repartition<int32_t, DI> d32;
    const hn::Half<decltype(d32)> dh;
    const auto v32 = hn::BitCast(d32, v);
    hn::StoreU(hn::DemoteTo(d8, hn::LowerHalf(dh, hn::ConcatEven(d32, v32, v32))), d8, to);
  } else {
    static_cast<void>(di);
    hn::StoreU(hn::DemoteTo(d8, v), d8, to);
  }
#endif
}

// Two vectors of them to two places: where bytes take several steps, most are shared.
template <class DI, class VI = hn::Vec<DI>>
HWY_INLINE void StoreBytesPair(DI di, VI a, VI b, uint8_t* HWY_RESTRICT to_a, uint8_t* HWY_RESTRICT to_b) {
#if HWY_TARGET == HWY_AVX2
  if constexpr (sizeof(VI) == 32 && sizeof(hn::TFromD<DI>) == 4) {
    static_cast<void>(di);
    const __m256i words = _mm256_packs_epi32(a.raw, b.raw), bytes = _mm256_packus_epi16(words, words);
    const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to_a), both);
    _mm_storeh_pi(reinterpret_cast<__m64*>(to_b), _mm_castsi128_ps(both));
    return;
  }
#endif
  StoreBytes(di, a, to_a);
  StoreBytes(di, b, to_b);
}

// Window taps for as many lanes as d has, to be compared with TapIs. AVX3 compares bytes, whose mask fits any lane
// size; elsewhere the taps are widened once.
template <class D>
HWY_INLINE auto LoadTaps(D /*d*/, const uint8_t* HWY_RESTRICT p) {
  const hn::Rebind<uint8_t, D> d8;
#if HWY_TARGET <= HWY_AVX3
  return hn::LoadU(d8, p);
#else
  const hn::RebindToSigned<D> di;
  if constexpr (sizeof(hn::TFromD<D>) == 1) {
    return hn::BitCast(di, hn::LoadU(d8, p));
  } else if constexpr (sizeof(hn::TFromD<D>) == 8) {
    return hn::PromoteTo(di, hn::PromoteTo(hn::Rebind<int32_t, D>(), hn::LoadU(d8, p)));
  } else {
    return hn::PromoteTo(di, hn::LoadU(d8, p));
  }
#endif
}

// `tap` in every lane of what LoadTaps returns.
template <class D>
HWY_INLINE auto SetTap(D /*d*/, int tap) {
#if HWY_TARGET <= HWY_AVX3
  return hn::Set(hn::Rebind<uint8_t, D>(), static_cast<uint8_t>(tap));
#else
  using DI = hn::RebindToSigned<D>;
  return hn::Set(DI(), static_cast<hn::TFromD<DI>>(tap));
#endif
}

// Taps plus `by` of up to 255: no tap's number where that is 255.
template <class D, class Taps>
HWY_INLINE Taps AddTaps(D /*d*/, Taps taps, Taps by) {
#if HWY_TARGET <= HWY_AVX3
  return hn::SaturatedAdd(taps, by);
#else
  return hn::Add(taps, by);
#endif
}

// A mask of what LoadTaps returns as one of lanes.
template <class D, class TapMask>
HWY_INLINE hn::Mask<D> LanesOfTaps(D d, TapMask mask) {
#if HWY_TARGET <= HWY_AVX3
  static_cast<void>(d);
  using Raw = decltype(hn::Mask<D>::raw);
#if HWY_COMPILER_CLANG
  if constexpr (sizeof(Raw) < sizeof(mask.raw)) {
    Raw raw;  // clang 14 narrows a mask through memory
    asm("kmovw %1, %0" : "=k"(raw) : "k"(mask.raw));
    return hn::Mask<D>{raw};
  }
#endif
  return hn::Mask<D>{static_cast<Raw>(mask.raw)};
#else
  return hn::RebindMask(d, mask);
#endif
}

// A mask of lanes as one of what LoadTaps returns.
template <class D, class M>
HWY_INLINE auto TapsWhere(D /*d*/, M mask) {
#if HWY_TARGET <= HWY_AVX3
  using TapMask = hn::Mask<hn::Rebind<uint8_t, D>>;
  return TapMask{static_cast<decltype(TapMask::raw)>(mask.raw)};
#else
  return hn::RebindMask(hn::RebindToSigned<D>(), mask);
#endif
}

// Stores what LoadTaps loads.
template <class D, class Taps>
HWY_INLINE void StoreTaps(D d, Taps taps, uint8_t* HWY_RESTRICT to) {
#if HWY_TARGET <= HWY_AVX3
  hn::StoreU(taps, hn::Rebind<uint8_t, D>(), to);
  static_cast<void>(d);
#else
  StoreBytes(hn::RebindToSigned<D>(), taps, to);
  static_cast<void>(d);
#endif
}
// The same of mixed lanes.
template <class D, class Taps>
HWY_INLINE void StoreTapsMixed(D d, Taps taps, uint8_t* HWY_RESTRICT to) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (kHasMixedLanes<D>) {
    const Taps order{_mm_set_epi8(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0)};
    taps = hn::TableLookupBytes(taps, order);
  }
#elif HWY_TARGET == HWY_AVX2
  if constexpr (kHasMixedLanes<D>) {
    // Pairs of lanes are in order within either half.
    const __m256i words = _mm256_packs_epi32(taps.raw, taps.raw), bytes = _mm256_packus_epi16(words, words);
    const __m128i pairs = _mm_unpacklo_epi16(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), pairs);
    return;
  }
#endif
  StoreTaps(d, taps, to);
}

// Whether tap numbers of two vectors of 32-bit lanes are one vector of 16-bit lanes, in an order of the type's own.
constexpr bool kHasPackedTaps = HWY_TARGET == HWY_AVX2;

template <class DI, class VI = hn::Vec<DI>>
HWY_INLINE auto PackTaps(DI /*di*/, VI lo, VI hi) {
#if HWY_TARGET == HWY_AVX2
  return hn::Vec<hn::Repartition<int16_t, DI>>{_mm256_packs_epi32(lo.raw, hi.raw)};
#else
  static_cast<void>(hi);
  return lo;
#endif
}
// Stores two such vectors as bytes: 16 at `to`, and as many of the other one `pitch` after it, which may overlap.
template <class DI, class V16>
HWY_INLINE void StorePackedTaps(DI /*di*/, V16 first, V16 second, int64_t pitch, uint8_t* HWY_RESTRICT to) {
#if HWY_TARGET == HWY_AVX2
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first.raw, second.raw), order);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + pitch), _mm256_extracti128_si256(bytes, 1));
#else
  static_cast<void>(first), static_cast<void>(second), static_cast<void>(pitch), static_cast<void>(to);
#endif
}

// Stores four vectors of tap numbers, negated, of which each block of 16 bytes has every second one.
template <class DI, class VI>
HWY_INLINE void StoreBlocksOfTaps(DI /*di*/, VI t0, VI t1, VI t2, VI t3, uint8_t* HWY_RESTRICT to) {
#if HWY_TARGET == HWY_AVX2
  const __m256i words0 = _mm256_packs_epi32(t0.raw, t1.raw), words1 = _mm256_packs_epi32(t2.raw, t3.raw);
  const __m256i bytes = _mm256_abs_epi8(_mm256_packs_epi16(words0, words1));
  const __m128i even = _mm256_castsi256_si128(bytes), odd = _mm256_extracti128_si256(bytes, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi8(even, odd));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), _mm_unpackhi_epi8(even, odd));
#else
  static_cast<void>(t0), static_cast<void>(t1), static_cast<void>(t2), static_cast<void>(t3), static_cast<void>(to);
#endif
}

// Stores what LoadTaps loads in another order: of lanes, or of bytes where taps are.
template <class D, class Taps, class VI>
HWY_INLINE void StoreTapsInOrder(D d, Taps taps, VI lanes, const uint8_t* bytes, uint8_t* HWY_RESTRICT to) {
#if HWY_TARGET <= HWY_AVX3
  static_cast<void>(lanes);
  StoreTaps(d, hn::TableLookupBytes(taps, hn::LoadU(hn::Rebind<uint8_t, D>(), bytes)), to);
#else
  static_cast<void>(bytes);
  StoreTaps(d, LookupLanes(hn::RebindToSigned<D>(), taps, lanes), to);
#endif
}

// Lanes from `first` on; in memory, `ramp` is 0 for the lanes of a vector, then -1.
template <class D>
HWY_INLINE hn::Mask<D> LanesFrom(D d, size_t first, const hwy::MakeSigned<hn::TFromD<D>>* HWY_RESTRICT ramp) {
#if HWY_TARGET <= HWY_AVX3
  static_cast<void>(ramp);
  static_cast<void>(d);
  return hn::Mask<D>{static_cast<decltype(hn::Mask<D>::raw)>(~0u << first)};
#else
  return hn::MaskFromVec(hn::BitCast(d, hn::LoadU(hn::RebindToSigned<D>(), ramp + hn::Lanes(d) - first)));
#endif
}

// Lanes whose bits are set, on targets with masks of bits.
template <class D>
HWY_INLINE hn::Mask<D> MaskOfBits(D d, uint64_t bits) {
#if HWY_TARGET <= HWY_AVX3
  static_cast<void>(d);
  return hn::Mask<D>{static_cast<decltype(hn::Mask<D>::raw)>(bits)};
#else
  static_cast<void>(bits);
  return hn::FirstN(d, 0);
#endif
}
// There: lanes of p where the mask has them, nothing else of which is read, and those of v; and stores the lowest bytes
// of 16- or 32-bit lanes where the mask has these.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LoadSome(D d, V v, hn::Mask<D> mask, const hn::TFromD<D>* HWY_RESTRICT p) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(V) == 64 && sizeof(hn::TFromD<D>) == 1) return V{_mm512_mask_loadu_epi8(v.raw, mask.raw, p)};
  if constexpr (std::is_same<V, hn::Vec<hn::ScalableTag<float>>>::value)
    return V{_mm512_mask_loadu_ps(v.raw, mask.raw, p)};
#endif
  return hn::IfThenElse(mask, hn::MaskedLoad(mask, d, p), v);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreSomeBytes(D d, V v, hn::Mask<D> mask, uint8_t* HWY_RESTRICT to) {
#if HWY_TARGET <= HWY_AVX3
  if constexpr (sizeof(V) == 64) {
    // Compilers otherwise truncate in the store, which takes longer.
    using V8 = hn::Vec<hn::Rebind<uint8_t, D>>;
    if constexpr (sizeof(hn::TFromD<D>) == 2) {
      return _mm256_mask_storeu_epi8(to, mask.raw, InRegister(V8{_mm512_cvtepi16_epi8(v.raw)}).raw);
    } else {
      return _mm_mask_storeu_epi8(to, mask.raw, InRegister(V8{_mm512_cvtepi32_epi8(v.raw)}).raw);
    }
  }
#endif
  static_cast<void>(mask);
  StoreBytes(d, v, to);
}

template <class D, class Taps>
HWY_INLINE hn::Mask<D> TapsEqual(D d, Taps taps, Taps tap) {
  return LanesOfTaps(d, hn::Eq(taps, tap));
}

// Where flags, loaded like taps, have this one.
template <class D, class Taps>
HWY_INLINE hn::Mask<D> TapsHave(D d, Taps flags, Taps flag) {
  return LanesOfTaps(d, hn::TestBit(flags, flag));
}

template <class D, class Taps>
HWY_INLINE hn::Mask<D> TapIs(D d, Taps taps, int tap) {
  return TapsEqual(d, taps, SetTap(d, tap));
}

// Whether StreamPairs exists for vectors of D.
template <class D>
constexpr bool kHasStreamPairs = HWY_TARGET <= HWY_AVX2&& hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) >= 32 &&
                                 sizeof(hn::TFromD<D>) == 4;

// StorePairs to an aligned address, around the caches.
template <class D, class V>
HWY_INLINE void StreamPairs(D d, V even, V odd, hn::TFromD<D>* HWY_RESTRICT to) {
  if constexpr (kHasStreamPairs<D>) {
#if HWY_TARGET <= HWY_AVX3
    const hn::RebindToFloat<D> df;
    const __m512 even_raw = hn::BitCast(df, even).raw, odd_raw = hn::BitCast(df, odd).raw;
    const __m512i lower = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i upper = _mm512_add_epi32(lower, _mm512_set1_epi32(8));
    float* const out = reinterpret_cast<float*>(to);
    _mm512_stream_ps(out, _mm512_permutex2var_ps(even_raw, lower, odd_raw));
    _mm512_stream_ps(out + 16, _mm512_permutex2var_ps(even_raw, upper, odd_raw));
#elif HWY_TARGET == HWY_AVX2
    const V lower = hn::InterleaveLower(d, even, odd), upper = hn::InterleaveUpper(d, even, odd);
    hn::Stream(hn::ConcatLowerLower(d, upper, lower), d, to);
    hn::Stream(hn::ConcatUpperUpper(d, upper, lower), d, to + hn::Lanes(d));
#endif
  } else {
    static_cast<void>(d), static_cast<void>(even), static_cast<void>(odd), static_cast<void>(to);
  }
}

// Keeps compilers from making a copy of a function, or of a loop, for each value that they know.
template <class I>
HWY_INLINE void HideValue(I& i) {
#if HWY_COMPILER_GCC
  asm("" : "+r"(i));
#else
  static_cast<void>(i);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
