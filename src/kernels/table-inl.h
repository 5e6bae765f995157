// SPDX-License-Identifier: Apache-2.0
// Gathers the kernel families into the table of one element type; included once per target by each type's .cc.
#include "src/kernels/kernels.h"

#ifndef PEAKPOOL_DISPATCH
// Calls the exported table function of the best of `targets` (a mask of HWY_* bits) that is compiled in, or of the
// baseline; null where the build has no baseline kernels and none matches. Leaves Highway's process-wide choice alone:
// plans may ask for any target while other threads use another one.
#if (HWY_TARGETS & (HWY_TARGETS - 1)) == 0
#define PEAKPOOL_DISPATCH(function, targets) (static_cast<void>(targets), HWY_DISPATCH_TABLE(function)[0]())
#else
#define PEAKPOOL_DISPATCH(function, targets)                                     \
  [](int64_t mask) {                                                             \
    hwy::ChosenTarget chosen;                                                    \
    chosen.Update(mask);                                                         \
    const auto table_function = HWY_DISPATCH_TABLE(function)[chosen.GetIndex()]; \
    return table_function == nullptr ? nullptr : table_function();               \
  }(targets)
#endif
#endif

#if defined(PEAKPOOL_SRC_KERNELS_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
#undef PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/clamp-inl.h"
#include "src/kernels/gather_channels_first-inl.h"
#include "src/kernels/gather_channels_last-inl.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/separable-inl.h"
#include "src/kernels/window-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

template <class T>
Kernels MakeKernels() {
  using L = WindowLanes<T>;
  Kernels k = {};
  k.target = HWY_TARGET;
  // All element types use lanes of their own width.
  k.lanes = hn::Lanes(hn::ScalableTag<typename KeyLanes<T>::Lane>());
  k.clamp = &Clamp<T>;
  k.separable = &Separable<T>;
  if constexpr (kHasWindowChannelsFirst<L>) {
    k.window_channels_first = [](const ForwardCall& call) {
      WindowChannelsFirst(call, MakeWindowLanes<T>(), &Separable<T>);
    };
  }
  if constexpr (kHasWindowChannelsLast<L>) {
    k.window_channels_last = [](const ForwardCall& call) {
      WindowChannelsLast(call, MakeWindowLanes<T>(), &Separable<T>);
    };
  }
  if constexpr (std::is_same<T, float>::value) {
    k.gather_channels_first = &GatherChannelsFirst<T>;
    k.gather_channels_last = &GatherChannelsLast<T>;
  }
  return k;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
