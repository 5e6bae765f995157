// SPDX-License-Identifier: Apache-2.0
// Gathers the kernel families into the table of one element type; included once per target by each type's .cc.
#if defined(PEAKPOOL_SRC_KERNELS_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
#undef PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/clamp-inl.h"
#include "src/kernels/gather_channels_first-inl.h"
#include "src/kernels/gather_channels_last-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/separable.h"
#include "src/kernels/wide-inl.h"
#include "src/kernels/window-inl.h"
#include "src/kernels/window_depth-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

// Compiled once per type of lanes (separable_loops.cc).
template <class Lane>
const SeparableLoops& SeparableLoopsOf(bool taps);

// The general engine, in lanes that are wide enough for elements and tap numbers.
template <class T>
void Separable(const ForwardCall& call) {
  using Lane = KeyLane<T>;
  static constexpr auto kMap = MakeKeyMap<T>();
  const SeparableElement element = {sizeof(T), &kMap, std::is_floating_point<T>::value};
  const bool with_taps = call.taps.base != nullptr;
  const auto holds = [&](size_t bytes) {
    return !with_taps || bytes >= 4 || call.geometry->Taps() <= (int64_t{1} << (8 * bytes));
  };
  if constexpr (kHasNarrowLoops && sizeof(Lane) == 1) {
    if (holds(1)) return RunSeparable(call, element, SeparableLoopsOf<int8_t>(with_taps));
  }
  if constexpr (kHasNarrowLoops && sizeof(Lane) <= 2) {
    if (holds(2)) return RunSeparable(call, element, SeparableLoopsOf<int16_t>(with_taps));
  }
  RunSeparable(call, element, SeparableLoopsOf<std::conditional_t<sizeof(T) == 8, int64_t, int32_t>>(with_taps));
}

template <class T>
Kernels MakeKernels() {
  using L = WindowLanes<T>;
  Kernels k = {};
  k.target = HWY_TARGET;
  // All element types use lanes of their own width.
  k.lanes = hn::Lanes(hn::ScalableTag<KeyLane<T>>());
  k.clamp = &Clamp<T>;
  k.separable = &Separable<T>;
  if constexpr (kHasWindowChannelsFirst<L>) {
    k.window_channels_first = [](const ForwardCall& call) {
      if constexpr (std::is_floating_point<T>::value) {
        if (WindowDepth<T>(call, &Separable<T>)) return;
      }
      WindowChannelsFirst(call, MakeWindowLanes<T>(), &Separable<T>);
    };
  }
  if constexpr (kHasWindowChannelsLast<L>) {
    k.window_channels_last = [](const ForwardCall& call) {
      if constexpr (std::is_floating_point<T>::value) {
        if (WindowDepthLast<T>(call, &Separable<T>)) return;
      }
      WindowChannelsLast(call, MakeWindowLanes<T>(), &Separable<T>);
    };
  }
  if constexpr (kHasWide<L>) {
    k.wide_channels_first = [](const ForwardCall& call) {
      WideChannelsFirst(call, MakeWindowLanes<T>(), &Separable<T>);
    };
    k.wide_channels_last = [](const ForwardCall& call) { WideChannelsLast(call, MakeWindowLanes<T>(), &Separable<T>); };
  }
  if constexpr (kHasWindowKernels && kIsFloatElement<T>) {
    k.gather_channels_first = &GatherChannelsFirst<T>;
    k.gather_channels_last = &GatherChannelsLast<T>;
  }
  return k;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_TABLE_INL_H_
