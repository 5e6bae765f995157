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

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_COMPAT_INL_H_
