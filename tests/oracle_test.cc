// SPDX-License-Identifier: Apache-2.0
// The im2col reference against the naive loop: every type, rank, layout and index format, forward and backward.
#include <gtest/gtest.h>

#include <string>

#include "tests/naive.h"
#include "tests/pooling.h"

namespace peakpool::tests {
namespace {

// LAYOUT SIZES GEOMETRY; each runs with every type and index format.
const char* const kGeometries[] = {
    "ncw 2x3x9 k3 s2 p1",
    "ncw 1x2x7 k2 s3 p0:2 d3 ceil",
    "ncw 1x1x1 k1",
    "nwc 2x3x10 k4 s1 p2:1",
    "nwc 1x2x3 k2 s2 p4:5 allow-empty",
    "nchw 2x3x5x6 k3x2 s2x1 p1:2x0:1",
    "nchw 1x2x7x7 k2 s2 ceil",
    "nchw 1x2x8x8 k2 s2 exact",
    "nchw 1x2x6x9 k3 s1 p1 d2x3",
    "nchw 1x1x4x4 k5 s1 p2",
    "nchw 1x2x3x3 k2 s1 p3 allow-empty",
    "nchw 2x2x3x5 k2x3 s4 o1x2",
    "nhwc 2x3x5x6 k3x2 s2x1 p1:2x0:1",
    "nhwc 1x5x7x7 k3 s2 p1 ceil",
    "nhwc 1x2x4x3 k2 s3 p3:2x2:3 d2 allow-empty",
    "nhwc 1x1x9x2 k9x2",
    "nchw 2x2x4x5 k2 s1 xs=60x30x6x1 ys=40x13x4x1",
    "nhwc 2x2x4x5 k2 s1 xs=200x1x40x5 ys=90x1x20x3",
    "ncdhw 2x2x3x4x5 k2x3x2 s1x2x1 p1x1x0",
    "ncdhw 1x1x5x4x3 k2 s2 d2x1x1 ceil",
    "ndhwc 1x3x3x4x5 k2x3x2 s1x2x3 p1:0x1:2x0:1",
    "ndhwc 1x2x2x2x2 k1x2x1 s1 p0x3x0 allow-empty",
    "nchw 0x3x5x6 k3",
    "nhwc 2x0x5x6 k3",
};

const char* const kTypeNames[] = {"f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"};
const char* const kIndexNames[] = {"no-index",  "window-u8", "window-u16", "window-u32",
                                   "plane-i32", "plane-i64", "tensor-i64", "tensor-colmajor-i64"};

class Oracle : public ::testing::TestWithParam<int> {
 protected:
  template <class Visit>
  void ForEachPlan(Visit visit) {
    for (const char* geometry : kGeometries) {
      for (const char* index : kIndexNames) {
        const Plan plan(Parsed(std::string(kTypeNames[GetParam()]) + " " + geometry + " " + index + " im2col"));
        ASSERT_TRUE(plan) << plan.error() << "; " << geometry << " " << index;
        SCOPED_TRACE(Described(plan.problem()));
        visit(plan);
        if (HasFailure()) return;
      }
    }
  }
};

TEST_P(Oracle, ForwardMatchesNaiveLoop) {
  Random random(1);
  ForEachPlan([&](const Plan& plan) {
    const peakpool_problem& p = plan.problem();
    for (Fill fill : {Fill::kTies, Fill::kBits}) {
      const Bytes x = RandomElements(p.type, InputBytes(p), fill, &random);
      const bool with_index = p.index_format != PEAKPOOL_INDEX_NONE;
      const Forward actual = RunForward(plan, x, with_index);
      const Forward expected = RunNaiveForward(p, x);
      EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type)));
      if (!with_index) continue;
      EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format)));
    }
  });
}

TEST_P(Oracle, BackwardMatchesNaiveLoop) {
  if (!IsFloatType(GetParam())) {
    const Plan plan(Parsed(std::string(kTypeNames[GetParam()]) + " nchw 1x1x2x2 k2 window-u8 im2col"));
    ASSERT_TRUE(plan);
    const uint64_t dy = 0, index = 0;
    uint64_t dx[4];
    EXPECT_EQ(peakpool_backward(plan.get(), &dy, &index, dx, nullptr), PEAKPOOL_UNSUPPORTED);
    EXPECT_STRNE(peakpool_last_error(), "");
    return;
  }
  Random random(2);
  ForEachPlan([&](const Plan& overwriting) {
    if (overwriting.problem().index_format == PEAKPOOL_INDEX_NONE) return;
    peakpool_problem problem = overwriting.problem();
    for (uint32_t accumulate : {0u, static_cast<uint32_t>(PEAKPOOL_ACCUMULATE)}) {
      problem.flags = (problem.flags & ~static_cast<uint32_t>(PEAKPOOL_ACCUMULATE)) | accumulate;
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const peakpool_problem& p = plan.problem();
      const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
      const Bytes index = RunNaiveForward(p, x).index;
      const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random);
      const Bytes dx = accumulate ? RandomGradients(p.type, InputBytes(p), &random) : Untouched(InputBytes(p));
      EXPECT_TRUE(
          SameBytes(RunBackward(plan, dy, index, dx), RunNaiveBackward(p, dy, index, dx), ElementBytes(p.type)));
    }
  });
}

std::string TypeName(const ::testing::TestParamInfo<int>& info) { return kTypeNames[info.param]; }
INSTANTIATE_TEST_SUITE_P(Type, Oracle, ::testing::Range(0, static_cast<int>(kTypes)), TypeName);

// The naive loop's own 16-bit conversions, which the tests above lean on.
TEST(Half, ConversionsRoundTripEveryBitPattern) {
  for (int32_t type : {PEAKPOOL_F16, PEAKPOOL_BF16}) {
    const uint16_t infinity = type == PEAKPOOL_F16 ? 0x7C00 : 0x7F80;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const uint16_t half = static_cast<uint16_t>(bits);
      const bool nan = (bits & 0x7FFF) > infinity;
      ASSERT_EQ(ToHalf(type, FromHalf(type, half)), nan ? infinity | (type == PEAKPOOL_F16 ? 0x200 : 0x40) : half);
    }
  }
  EXPECT_EQ(FromHalf(PEAKPOOL_F16, 0x3C01), 1 + 0x1p-10);
  EXPECT_EQ(FromHalf(PEAKPOOL_BF16, 0xC040), -3);
  EXPECT_EQ(ToHalf(PEAKPOOL_F16, 1 + 0x1p-11), 0x3C00);  // a tie, to even
  EXPECT_EQ(ToHalf(PEAKPOOL_F16, 1 + 0x3p-11), 0x3C02);  // a tie, to even
  EXPECT_EQ(ToHalf(PEAKPOOL_F16, 65519.0), 0x7BFF);      // below the tie with infinity
  EXPECT_EQ(ToHalf(PEAKPOOL_F16, 65520.0), 0x7C00);      // the tie itself
  EXPECT_EQ(ToHalf(PEAKPOOL_F16, -0x1p-26), 0x8000);     // below half the least subnormal
}

}  // namespace
}  // namespace peakpool::tests
