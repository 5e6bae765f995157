// SPDX-License-Identifier: Apache-2.0
// The output clamp: bounds a run of outputs that the kernel before it has just written, while they are in the L1 cache.
#if defined(PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
#undef PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The bounds as keys, and the greatest key that is bounded: NaN is above it and stays.
template <class L>
struct Bounds {
  L map;
  typename L::Lane lower, upper, highest;

  template <class D>
  HWY_INLINE void Clamp(D d, typename L::Element* HWY_RESTRICT y) const {
    const auto key = map.Load(d, y);
    const auto bounded = hn::Min(hn::Max(key, hn::Set(d, lower)), hn::Set(d, upper));
    map.Store(d, hn::IfThenElse(hn::Gt(key, hn::Set(d, highest)), key, bounded), y);
  }
};

// Once for all types of a width.
template <class L>
HWY_NOINLINE void ClampRun(const Bounds<L>& bounds, typename L::Element* HWY_RESTRICT y, int64_t count) {
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) bounds.Clamp(d, y + i);
  for (; i < count; ++i) bounds.Clamp(hn::CappedTag<typename L::Lane, 1>(), y + i);
}

// elements: y, and the lower and upper bound, all of type T; count of y.
template <class T>
void Clamp(void* elements, int64_t count, const void* lower, const void* upper) {
  constexpr auto kMap = MakeKeyMap<T>();
  using L = std::remove_const_t<decltype(kMap)>;
  using Lane = typename L::Lane;
  const hn::CappedTag<Lane, 1> d1;
  const auto key = [&](const void* bound)
                       HWY_ATTR { return hn::GetLane(kMap.Load(d1, static_cast<const Lane*>(bound))); };
  Lane highest = hwy::LimitsMax<Lane>();
  if constexpr (kIsFloatElement<T>) highest = kMap.nan - 1;
  ClampRun(Bounds<L>{kMap, key(lower), key(upper), highest}, static_cast<Lane*>(elements), count);
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_CLAMP_INL_H_
