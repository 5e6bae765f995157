// SPDX-License-Identifier: Apache-2.0
// The vector loops of the general engine in lanes of type PEAKPOOL_LANE, which src/meson.build names.
#include "src/kernels/separable.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/separable_loops.cc"
#include "hwy/foreach_target.h"
#include "src/kernels/dispatch.h"
#if PEAKPOOL_TARGET_HAS_VECTORS
#include "src/kernels/separable-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

#if PEAKPOOL_TARGET_HAS_VECTORS
template const SeparableLoops& SeparableLoopsOf<PEAKPOOL_LANE>(bool taps);
#endif

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();
