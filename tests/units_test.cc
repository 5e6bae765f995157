// SPDX-License-Identifier: Apache-2.0
// Internal pure functions: how work is split, whether tensors overlap.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "src/overlap.h"
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

// Against the sets of their bytes: tensors that share one are never passed, and of those that do not, most are.
TEST(MayOverlap, SeesEverySharedByte) {
  std::mt19937_64 random(5);
  const auto draw = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  int apart = 0, seen_apart = 0;
  for (int i = 0; i < 20000; ++i) {
    const int64_t scale = draw(1, 6);  // what strides have in common
    const auto tensor = [&](std::set<uint64_t>* bytes) {
      Footprint t = {static_cast<uintptr_t>(draw(0, 40) * 8), int64_t{1} << draw(0, 3), {}, {}};
      for (int a = 0; a < 5; ++a) {
        t.size[a] = draw(1, 3);
        t.stride[a] = a == 0 ? 1 : scale * draw(1, 8);
      }
      for (int64_t at = 0; at < t.size[0] * t.size[1] * t.size[2] * t.size[3] * t.size[4]; ++at) {
        int64_t rest = at, element = 0;
        for (int a = 0; a < 5; rest /= t.size[a++]) element += rest % t.size[a] * t.stride[a];
        for (int64_t b = 0; b < t.element_bytes; ++b) {
          bytes->insert(t.begin + static_cast<uint64_t>(element * t.element_bytes + b));
        }
      }
      return t;
    };
    std::set<uint64_t> a_bytes, b_bytes;
    const Footprint a = tensor(&a_bytes), b = tensor(&b_bytes);
    bool shared = false;
    for (uint64_t byte : a_bytes) shared |= b_bytes.count(byte) != 0;
    ASSERT_TRUE(!shared || MayOverlap(a, b)) << i;
    EXPECT_EQ(MayOverlap(a, b), MayOverlap(b, a));
    EXPECT_TRUE(MayOverlap(a, a));
    if (shared) continue;
    ++apart;
    seen_apart += MayOverlap(a, b) ? 0 : 1;
  }
  EXPECT_GT(apart, 1000);
  EXPECT_GT(seen_apart, apart / 2);
}

}  // namespace
}  // namespace peakpool::tests
