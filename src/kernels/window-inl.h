// SPDX-License-Identifier: Apache-2.0
// The window kernels as the tables see them: compiled once per kind of lanes (window.cc), given an element type here.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

// Whether there are window kernels for lanes of this kind; window.cc then has them, and else something trivial.
template <class L>
constexpr bool kHasWindowChannelsLast = kHasWindowKernels && (std::is_floating_point<typename L::Lane>::value ||
                                                              sizeof(typename L::Lane) < 4);
template <class L>
constexpr bool kHasWindowChannelsFirst = kHasWindowChannelsLast<L>;

// `separable` takes what these do not: blocks with a NaN, where lanes track it, and lines too short for vectors.
template <class L>
void WindowChannelsFirst(const ForwardCall& call, L lanes, ForwardKernel separable);
template <class L>
void WindowChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable);

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_INL_H_
