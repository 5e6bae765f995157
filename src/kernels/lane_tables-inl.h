// SPDX-License-Identifier: Apache-2.0
// Tables of lane numbers for kernels that put several pixels of few channels into a vector: most vectors of a line
// share one, those at its ends have their own.
#if defined(PEAKPOOL_SRC_KERNELS_LANE_TABLES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_LANE_TABLES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_LANE_TABLES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_LANE_TABLES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {

// Made on demand, in a task's scratch. Lanes are of type TI.
template <class TI>
class LaneTables {
 public:
  static constexpr int kMost = 16;

  // `lanes` to a table; scratch holds kMost of them.
  LaneTables(void* scratch, int64_t lanes) : lanes_(lanes), tables_(static_cast<TI*>(scratch)) {}

  bool empty() const { return count_ == 0; }
  TI* first() const { return tables_; }
  // All tables are lost: something else has used the scratch.
  void Clear() { count_ = 0; }

  // The table of the vector that begins at `position`, filled in by make(table) if it is new.
  template <class Make>
  TI* Find(int64_t position, Make make) {
    int i = 0;
    while (i < count_ && positions_[i] != position) ++i;
    TI* const table = tables_ + i * lanes_;
    if (i < count_) return table;
    if (i < kMost - 1) ++count_;  // the last one is made again and again
    positions_[i] = position;
    for (int64_t lane = 0; lane < lanes_; ++lane) table[lane] = 0;
    make(table);
    return table;
  }

 private:
  const int64_t lanes_;
  TI* const tables_;
  int64_t positions_[kMost];
  int count_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_LANE_TABLES_INL_H_
