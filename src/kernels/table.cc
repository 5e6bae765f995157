// SPDX-License-Identifier: Apache-2.0
// The kernel table of one element type. Compiled once per type, which src/meson.build names: PEAKPOOL_ELEMENT is the
// C++ type and PEAKPOOL_KERNELS the function that returns its table.
#include "src/kernels/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/table.cc"
#include "hwy/foreach_target.h"
#include "src/kernels/dispatch.h"
#if PEAKPOOL_TARGET_HAS_VECTORS
#include "src/kernels/table-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace {
const Kernels* Table() {
#if PEAKPOOL_TARGET_HAS_VECTORS
  static const Kernels table = MakeKernels<PEAKPOOL_ELEMENT>();
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace peakpool {
namespace {
HWY_EXPORT(Table);
}
const Kernels* PEAKPOOL_KERNELS(int64_t targets) { return PEAKPOOL_DISPATCH(Table, targets); }
}  // namespace peakpool
#endif
