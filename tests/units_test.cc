// SPDX-License-Identifier: Apache-2.0
// Internal pure functions: how work is split.
#include <gtest/gtest.h>

#include "src/partition.h"

namespace peakpool::tests {
namespace {

TEST(Part, CoversEverythingOnceInNearlyEqualParts) {
  for (int64_t size : {0, 1, 2, 7, 64, 1000}) {
    for (int64_t count = 1; count <= 20; ++count) {
      int64_t at = 0;
      for (int64_t i = 0; i < count; ++i) {
        const Range range = Part(size, count, i);
        EXPECT_EQ(range.begin, at);
        EXPECT_GE(range.size(), size / count);
        EXPECT_LE(range.size(), (size + count - 1) / count);
        at = range.end;
      }
      EXPECT_EQ(at, size);
    }
  }
}

TEST(ChooseSplit, OneTaskForOneThreadOrSmallWork) {
  EXPECT_EQ(ChooseSplit(1000, 1, 1, int64_t{1} << 30, 1).Tasks(), 1);
  EXPECT_EQ(ChooseSplit(1000, 100, 100, 1000, 8).Tasks(), 1);
  EXPECT_EQ(ChooseSplit(0, 1, 1, 0, 8).Tasks(), 1);
}

TEST(ChooseSplit, FeedsEveryThreadFromWhateverThereIs) {
  constexpr int64_t kBytes = int64_t{1} << 26;
  for (int threads : {2, 3, 8, 61}) {
    EXPECT_GE(ChooseSplit(5000, 1, 1, kBytes, threads).Tasks(), threads) << "lines";
    EXPECT_GE(ChooseSplit(1, 1, 5000, kBytes, threads).Tasks(), threads) << "channels";
    EXPECT_GE(ChooseSplit(1, 5000, 1, kBytes, threads).Tasks(), threads) << "columns";
  }
  const Split lines = ChooseSplit(5000, 50, 50, kBytes, 4);
  EXPECT_EQ(lines.columns * lines.channels, 1) << "lines alone are enough";
}

TEST(ChooseSplit, NeverMakesMorePartsThanThereAre) {
  for (int64_t lines = 1; lines <= 5; ++lines) {
    for (int64_t columns = 1; columns <= 5; ++columns) {
      for (int64_t channels = 1; channels <= 5; ++channels) {
        for (int threads = 1; threads <= 9; ++threads) {
          const Split split = ChooseSplit(lines, columns, channels, int64_t{1} << 30, threads);
          EXPECT_LE(split.lines, lines);
          EXPECT_LE(split.columns, columns);
          EXPECT_LE(split.channels, channels);
          EXPECT_GE(split.Tasks(), 1);
        }
      }
    }
  }
}

}  // namespace
}  // namespace peakpool::tests
