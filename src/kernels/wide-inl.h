// SPDX-License-Identifier: Apache-2.0
// The kernels for wide windows as the tables see them: compiled once per kind of lanes (wide.cc), given an element type
// here.
#if defined(PEAKPOOL_SRC_KERNELS_WIDE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WIDE_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WIDE_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WIDE_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

// Whether there are kernels for lanes of this kind; wide.cc then has them, and else something trivial.
template <class L>
constexpr bool kHasWide = kHasWindowKernels &&
                          (std::is_same<L, NativeLanes<float>>::value || sizeof(typename L::Lane) < 4);

// `separable` takes what these do not: planes with a NaN, where lanes track it, and what is stated there.
template <class L>
void WideChannelsFirst(const ForwardCall& call, L lanes, ForwardKernel separable);
template <class L>
void WideChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable);

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WIDE_INL_H_
