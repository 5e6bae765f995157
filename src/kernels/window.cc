// SPDX-License-Identifier: Apache-2.0
// The window kernels of one kind of lanes, PEAKPOOL_LANES, which src/meson.build names.
#include "src/kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/window.cc"
#include "hwy/foreach_target.h"
#include "src/kernels/dispatch.h"
#if PEAKPOOL_TARGET_HAS_VECTORS
#include "src/kernels/window_channels_first-inl.h"
#include "src/kernels/window_channels_last-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

#if PEAKPOOL_TARGET_HAS_VECTORS
template void WindowChannelsFirst(const ForwardCall& call, PEAKPOOL_LANES lanes, ForwardKernel separable);
template void WindowChannelsLast(const ForwardCall& call, PEAKPOOL_LANES lanes, ForwardKernel separable);
#endif

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();
