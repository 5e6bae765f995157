// SPDX-License-Identifier: Apache-2.0
// The output clamp: bounds a run of outputs that the kernel before it has just written, while they are in the L1 cache.
#if defined(PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
#undef PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T, class D>
HWY_INLINE void ClampVector(D d, hn::Vec<D> lower, hn::Vec<D> upper, T* HWY_RESTRICT y) {
  const auto key = KeyLanes<T>::Load(d, y);
  auto bounded = hn::Min(hn::Max(key, lower), upper);
  if constexpr (kIsFloatElement<T>) {  // NaN is above every bound and stays
    bounded = hn::IfThenElse(hn::Gt(key, hn::Set(d, FloatBits<T>::kInf)), key, bounded);
  }
  KeyLanes<T>::Store(d, bounded, y);
}

// elements: y, and the lower and upper bound, all of type T; count of y.
template <class T>
void Clamp(void* elements, int64_t count, const void* lower_bound, const void* upper_bound) {
  const hn::ScalableTag<typename KeyLanes<T>::Lane> d;
  const hn::CappedTag<typename KeyLanes<T>::Lane, 1> d1;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  T* HWY_RESTRICT y = static_cast<T*>(elements);
  const auto lower1 = KeyLanes<T>::Load(d1, static_cast<const T*>(lower_bound));
  const auto upper1 = KeyLanes<T>::Load(d1, static_cast<const T*>(upper_bound));
  const auto lower = hn::Set(d, hn::GetLane(lower1)), upper = hn::Set(d, hn::GetLane(upper1));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) ClampVector(d, lower, upper, y + i);
  for (; i < count; ++i) ClampVector(d1, lower1, upper1, y + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
