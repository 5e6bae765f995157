// SPDX-License-Identifier: Apache-2.0
// The table of index kernels of each target.
#include "src/kernels/index_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/indices.cc"
#include "hwy/foreach_target.h"
#include "src/kernels/dispatch.h"
#if PEAKPOOL_TARGET_HAS_VECTORS
#include "src/kernels/indices-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace {
const IndexKernels* Table() {
#if PEAKPOOL_TARGET_HAS_VECTORS
  static const IndexKernels table = {
      HWY_TARGET,
      &indices::Translate,
      &indices::NumberTaps,
      &indices::Place,
      &indices::Narrow,
      &indices::ValidateTaps,
      {&indices::LoadSums<float>, &indices::LoadSums<double>, &indices::LoadSums<F16>, &indices::LoadSums<BF16>},
      {&indices::StoreSums<float>, &indices::StoreSums<double>, &indices::StoreSums<F16>, &indices::StoreSums<BF16>},
      {&indices::AreFinite<float>, &indices::AreFinite<double>},
  };
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
const IndexKernels* IndexKernelsFor(int64_t targets) { return PEAKPOOL_DISPATCH(Table, targets); }
}  // namespace peakpool
#endif
