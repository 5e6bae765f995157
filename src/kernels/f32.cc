// SPDX-License-Identifier: Apache-2.0
#include "src/kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/f32.cc"
#include "hwy/foreach_target.h"
#include "src/kernels/table-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
const Kernels* F32Table() {
  static const Kernels table = MakeKernels<float>();
  return &table;
}
}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace peakpool {
HWY_EXPORT(F32Table);
const Kernels* F32Kernels(int64_t targets) { return PEAKPOOL_DISPATCH(F32Table, targets); }
}  // namespace peakpool
#endif
