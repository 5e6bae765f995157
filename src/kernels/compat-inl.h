// SPDX-License-Identifier: Apache-2.0
// The only place that knows Highway versions and instruction sets: operations that Highway 1.0.3 lacks or does slowly.
#if defined(PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
#undef PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// {cur[1], ..., cur[N-1], next[0]}; d is a tag of full vectors, or of 128-bit ones on targets of fixed size.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SlideDown1(D d, V cur, V next) {
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(d), static_cast<void>(cur);
  return next;
#elif HWY_TARGET == HWY_SVE || HWY_TARGET == HWY_SVE2 || HWY_TARGET == HWY_SVE_256 || HWY_TARGET == HWY_SVE2_128
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
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(d), static_cast<void>(cur);
  return prev;
#elif HWY_TARGET == HWY_SVE || HWY_TARGET == HWY_SVE2 || HWY_TARGET == HWY_SVE_256 || HWY_TARGET == HWY_SVE2_128
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
    return hn::BitCast(
        d, V8{_mm512_alignr_epi8(cur8.raw, _mm512_alignr_epi64(cur8.raw, prev8.raw, 6), 16 - kSize)});
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

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
