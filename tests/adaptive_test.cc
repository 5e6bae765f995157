// SPDX-License-Identifier: Apache-2.0
// Adaptive pooling against the naive loop: forward, with every index format, and backward. The library's windows are
// [floor(o * input / output), ceil((o + 1) * input / output)); the naive loop's are the inputs that overlap the output
// when both are stretched to one length.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

const char* const kTypeNames[] = {"f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"};
const char* const kGeometries[] = {
    // Output smaller and larger than the input, equal, one, divisible on all, some and no axes.
    "ncw 2x3x11 a4",
    "ncw 1x2x5 a13",
    "nwc 2x3x12 a4",
    "nwc 1x5x7 a7",
    "nwc 1x2x9 a1",
    "nchw 2x3x7x9 a3x4",
    "nchw 1x2x8x12 a4x6",
    "nchw 1x2x8x9 a4",
    "nchw 1x2x3x2 a7x5",
    "nchw 1x2x6x70 a6x31",
    "nchw 1x2x1x1 a3",
    "nhwc 2x3x7x9 a3x4",
    "nhwc 1x19x8x12 a4x6",
    "nhwc 1x2x8x9 a4",
    "nhwc 1x40x10x7 a1",
    "nhwc 1x3x3x2 a7x5",
    "nchw 2x2x5x4 a2x3 xs=60x30x6x1 ys=40x13x4x1",
    "nhwc 2x2x4x5 a3 xs=200x1x40x5 ys=90x1x20x3",
    "ncdhw 1x2x5x4x7 a2x3x3",
    "ncdhw 2x1x4x6x8 a2x3x4",
    "ndhwc 1x3x5x4x7 a2x3x9",
    "nchw 0x3x5x6 a4",
};

class Adaptive : public ::testing::TestWithParam<int> {};

TEST_P(Adaptive, MatchesTheNaiveLoop) {
  Random random(41);
  for (const char* geometry : kGeometries) {
    for (const char* algorithm : {"", " im2col"}) {
      const std::string text = std::string(kTypeNames[GetParam()]) + " " + geometry + algorithm;
      for (peakpool_problem problem : InEveryFormat(Parsed(text))) {
        for (const std::string& target : Targets()) {
          problem.target = target.c_str();
          const Plan plan(problem);
          ASSERT_TRUE(plan) << plan.error();
          SCOPED_TRACE(Described(problem) + " on " + target);
          const peakpool_problem& p = plan.problem();
          peakpool_problem naive = p;
          Resolve(&naive);
          naive.output_strides = p.output_strides;
          naive.input_strides = p.input_strides;
          for (int a = 0; a < p.rank; ++a) {
            ASSERT_EQ(p.kernel[a], naive.kernel[a]) << "the largest window";
            ASSERT_EQ(p.output[a], problem.output[a]);
          }
          const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
          const Forward expected = RunNaiveForward(naive, x), actual = RunForward(plan, x, true);
          EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type)));
          EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format)));
          EXPECT_TRUE(SameBytes(RunForward(plan, x, false).y, expected.y, ElementBytes(p.type)));
          if (IsFloatType(p.type)) {
            const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random), dx = Untouched(InputBytes(p));
            EXPECT_TRUE(SameBytes(RunBackward(plan, dy, expected.index, dx),
                                  RunNaiveBackward(naive, dy, expected.index, dx), ElementBytes(p.type)));
          }
          if (HasFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Type, Adaptive, ::testing::Range(0, static_cast<int>(kTypes)),
                         [](const ::testing::TestParamInfo<int>& info) { return kTypeNames[info.param]; });

TEST(AdaptiveWindows, AreTheOnesOfPyTorch) {
  // nn.AdaptiveMaxPool1d(4) over 0 to 10: windows [0, 3), [2, 6), [5, 9), [8, 11).
  const Plan plan(Parsed("f32 ncw 1x1x11 a4 window-u8"));
  ASSERT_TRUE(plan) << plan.error();
  EXPECT_EQ(plan.problem().kernel[0], 4);
  float x[11], y[4];
  uint8_t index[4];
  for (int i = 0; i < 11; ++i) x[i] = static_cast<float>(i);
  ASSERT_EQ(peakpool_forward(plan.get(), x, y, index, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  EXPECT_EQ(std::vector<float>(y, y + 4), (std::vector<float>{2, 5, 8, 10}));
  EXPECT_EQ(std::vector<uint8_t>(index, index + 4), (std::vector<uint8_t>{2, 3, 3, 2}));
  for (int i = 0; i < 11; ++i) x[i] = static_cast<float>(-i);
  ASSERT_EQ(peakpool_forward(plan.get(), x, y, index, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  EXPECT_EQ(std::vector<float>(y, y + 4), (std::vector<float>{0, -2, -5, -8}));
}

// An output that divides the input is pooled by the kernels of plain windows.
TEST(AdaptiveWindows, OfOneSizeArePlainOnes) {
  const auto explained = [](const char* text) {
    const Plan plan(Parsed(text));
    EXPECT_TRUE(plan) << plan.error();
    std::string explanation(peakpool_explain(plan.get(), nullptr, 0) + 1, '\0');
    peakpool_explain(plan.get(), &explanation[0], explanation.size());
    return explanation.substr(explanation.find("output:"));
  };
  EXPECT_EQ(explained("f32 nchw 1x3x16x16 a8 window-u8"), explained("f32 nchw 1x3x16x16 k2 window-u8"));
  EXPECT_EQ(explained("f32 nhwc 1x3x12x15 a4x5 window-u8"), explained("f32 nhwc 1x3x12x15 k3 window-u8"));
  EXPECT_EQ(explained("u8 nchw 1x3x7x9 a1"), explained("u8 nchw 1x3x7x9 k7x9"));
}

TEST(AdaptiveWindows, KernelStrideDilationAndPaddingAreNotRead) {
  peakpool_problem problem = Parsed("f32 nchw 1x1x7x9 a3x4 window-u8");
  const std::string text = Described(problem);
  for (int a = 0; a < 2; ++a) {
    problem.kernel[a] = -5;
    problem.stride[a] = 0;
    problem.dilation[a] = -1;
    problem.padding[a] = {-2, INT64_MAX};
  }
  EXPECT_EQ(Described(problem), text);
  const Plan plan(problem);
  ASSERT_TRUE(plan) << plan.error();
  EXPECT_EQ(plan.problem().kernel[0], 3);
  EXPECT_EQ(plan.problem().kernel[1], 3);
}

// Splitting must not show: same bytes for every executor.
TEST(AdaptiveWindows, GiveTheSameBytesForEveryExecutor) {
  Random random(42);
  for (const char* text : {"f32 nchw 1x1x400x301 a37x50 window-u8", "f32 nhwc 2x67x61x50 a7x9 plane-i64",
                           "f16 nchw 3x5x64x64 a32 window-u8"}) {
    const Plan plan(Parsed(text));
    ASSERT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
    const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random), dx = Untouched(InputBytes(p));
    const Forward one = RunForward(plan, x, true, peakpool_serial_executor());
    const Bytes dx_one = RunBackward(plan, dy, one.index, dx, peakpool_serial_executor());
    for (const NamedExecutor& named : Executors()) {
      SCOPED_TRACE(std::string(text) + ", " + named.name);
      const Forward many = RunForward(plan, x, true, named.get());
      EXPECT_TRUE(SameBytes(many.y, one.y, ElementBytes(p.type)));
      EXPECT_TRUE(SameBytes(many.index, one.index, IndexBytes(p.index_format)));
      EXPECT_TRUE(SameBytes(RunBackward(plan, dy, one.index, dx, named.get()), dx_one, ElementBytes(p.type)));
    }
  }
}

}  // namespace
}  // namespace peakpool::tests
