// SPDX-License-Identifier: Apache-2.0
// One dispatch per plan, and which targets have kernels. Included after hwy/foreach_target.h, once per target.
#include "hwy/highway.h"

#ifndef PEAKPOOL_TARGET_HAS_VECTORS
// The baselines without vectors get no kernels: plans fall back to the reference there, which is no slower. Units leave
// out their -inl.h files for these, which are compiled last: no target comes behind whose include toggles would be out
// of step.
#define PEAKPOOL_TARGET_HAS_VECTORS (HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128)
#endif

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
