// SPDX-License-Identifier: Apache-2.0
// As on a machine that runs none of this build's vector targets: plans fall back to scalar code and still serve.
#include <gtest/gtest.h>

#include <string>

#include "hwy/targets.h"
#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

TEST(NoVectors, PlansFallBack) {
  hwy::DisableTargets(~int64_t{0});
  if (HasVectors()) GTEST_SKIP() << "the baseline has vectors: " << peakpool_target_name(0);
  Random random(71);
  for (const char* text : {"f32 nchw 2x3x9x11 k3 s2 p1 window-u8", "f32 nhwc 2x3x9x11 k2 s2 window-u8",
                           "bf16 nchw 1x2x9x9 k5 s1 plane-i64", "u8 nhwc 1x3x9x9 k3 s1 tensor-i64",
                           "f64 nchw 1x2x3x3 k2 s1 p3 window-u16 allow-empty"}) {
    const Plan plan(Parsed(text));
    ASSERT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
    const Forward expected = RunNaiveForward(p, x), actual = RunForward(plan, x, true);
    EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type))) << text;
    EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format))) << text;
    EXPECT_TRUE(SameBytes(RunForward(plan, x, false).y, expected.y, ElementBytes(p.type))) << text;
    if (IsFloatType(p.type)) {
      const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random), dx = Untouched(InputBytes(p));
      EXPECT_TRUE(SameBytes(RunBackward(plan, dy, expected.index, dx), RunNaiveBackward(p, dy, expected.index, dx),
                            ElementBytes(p.type)))
          << text;
    }
    std::string explanation(peakpool_explain(plan.get(), nullptr, 0) + 1, '\0');
    peakpool_explain(plan.get(), &explanation[0], explanation.size());
    EXPECT_NE(explanation.find("target: none"), std::string::npos) << explanation;
  }
  peakpool_problem problem = Parsed("f32 nchw 1x1x4x4 k2");
  problem.target = "AVX2";
  EXPECT_EQ(Plan(problem).status(), PEAKPOOL_UNSUPPORTED);
}

}  // namespace
}  // namespace peakpool::tests
