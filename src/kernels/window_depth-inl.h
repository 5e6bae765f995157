// SPDX-License-Identifier: Apache-2.0
// Small windows that have a depth, in both layouts: the loop over vectors; see window_depth.cc for what drives it.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/window-inl.h"
#include "src/kernels/window_depth.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
bool MaxOfSlices(const PooledSlices& in, int64_t begin, int64_t count, void* y, uint8_t* HWY_RESTRICT taps) {
  const hn::ScalableTag<T> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), slices = in.slices;
  const auto load = [&](int64_t z, int64_t at)
                        HWY_ATTR { return hn::LoadU(d, reinterpret_cast<const T*>(in.values[z]) + begin + at); };
  T* HWY_RESTRICT to = static_cast<T*>(y);
  const auto first = SetTap(d, static_cast<int>(in.first_tap)), next = SetTap(d, static_cast<int>(in.taps));
  auto ordered = hn::FirstN(d, static_cast<size_t>(n));
  for (int64_t j = 0; j < count; j += n) {
    const int64_t at = HWY_MIN(j, count - n);
    auto best = load(0, at);
    if (taps == nullptr) {
      for (int64_t z = 1; z < slices; ++z) {
        const auto v = load(z, at);
        ordered = AndOrdered(d, ordered, best, v);
        best = hn::Max(best, v);
      }
    } else {
      auto added = first, tap = hn::Add(LoadTaps(d, in.numbers[0] + begin + at), first);
      for (int64_t z = 1; z < slices; ++z) {
        const auto v = load(z, at);
        added = hn::Add(added, next);
        ordered = AndOrdered(d, ordered, best, v);
        const auto greater = TapsWhere(d, hn::Gt(v, best));
        tap = hn::IfThenElse(greater, hn::Add(LoadTaps(d, in.numbers[z] + begin + at), added), tap);
        best = hn::Max(best, v);
      }
      StoreTaps(d, tap, taps + at);
    }
    hn::StoreU(best, d, to + at);
  }
  return !hn::AllTrue(d, ordered);
}

// T is float or double.
template <class T>
bool WindowDepth(const ForwardCall& call, ForwardKernel separable) {
  const DepthLanes lanes = {
      static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>())), sizeof(T),
      [](const ForwardCall& planes) { WindowChannelsFirst(planes, NativeLanes<T>(), &SliceNotPooled); },
      &MaxOfSlices<T>};
  return ForwardDepth(call, lanes, separable);
}
template <class T>
bool WindowDepthLast(const ForwardCall& call, ForwardKernel separable) {
  const DepthLanes lanes = {
      static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>())), sizeof(T),
      [](const ForwardCall& planes) { WindowChannelsLast(planes, NativeLanes<T>(), &SliceNotPooled); },
      &MaxOfSlices<T>};
  return ForwardDepthLast(call, lanes, separable);
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_INL_H_
