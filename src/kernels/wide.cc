// SPDX-License-Identifier: Apache-2.0
// The kernels for wide windows of one kind of lanes, PEAKPOOL_LANES, which src/meson.build names.
#include "src/kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/wide.cc"
#include "hwy/foreach_target.h"
#include "src/kernels/dispatch.h"
#if PEAKPOOL_TARGET_HAS_VECTORS
#include "src/kernels/wide_channels_first-inl.h"
#include "src/kernels/wide_channels_last-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

#if PEAKPOOL_TARGET_HAS_VECTORS
template void WideChannelsFirst(const ForwardCall& call, PEAKPOOL_LANES lanes, ForwardKernel separable);
template void WideChannelsLast(const ForwardCall& call, PEAKPOOL_LANES lanes, ForwardKernel separable);
#endif

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();
