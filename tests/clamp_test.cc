// SPDX-License-Identifier: Apache-2.0
// The output clamp against the naive loop: every type and kind of kernel, bounds at the ends of the types, NaN, indices
// and gradients that it must not change.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

const char* const kGeometries[] = {
    "nchw 2x3x9x40 k3 s2 p1",  "nchw 1x2x8x70 k2 s2",
    "nchw 1x2x7x33 k3 s1 p1",  "nchw 1x2x6x21 k2 s1",
    "nhwc 1x37x9x8 k3 s2 p1",  "nhwc 2x3x8x9 k2 s2",
    "nhwc 1x70x5x5 k3 s1 p1",  "nhwc 1x1x6x40 k2 s1",
    "nchw 1x2x20x30 k9 s1 p4", "nhwc 1x5x12x13 k5 s2 d2",
    "ncdhw 1x2x5x6x7 k2x3x2",  "ncw 2x3x50 k4 s3 p1",
    "nchw 1x2x7x9 a3x4",       "nchw 1x2x3x3 k2 s1 p3 allow-empty",
};

struct TypeCase {
  const char* name;
  std::vector<const char*> clamps;
};
const TypeCase kTypeCases[] = {
    {"f32", {"0:inf", "0:6", "-0.0:0.0", "-inf:inf", "0.1:0.1", "-inf:-1"}},
    {"f64", {"0:inf", "0.1:0.3", "-inf:inf"}},
    {"f16", {"0:inf", "0.1:6", "-1e9:1e9"}},
    {"bf16", {"0:inf", "0.1:6", "-inf:inf"}},
    {"i8", {"0:127", "0:6", "-128:127", "-3:-3"}},
    {"u8", {"0:255", "1:6", "255:255"}},
    {"i16", {"0:32767", "-5:6"}},
    {"u16", {"0:65535", "3:40000"}},
    {"i32", {"0:2147483647", "-2147483648:3"}},
    {"u32", {"0:4294967295", "2:3000000000"}},
    {"i64", {"0:9223372036854775807", "-9223372036854775808:3"}},
    {"u64", {"0:18446744073709551615", "2:10000000000000000000"}},
};

void PrintTo(const TypeCase& type, std::ostream* out) { *out << type.name; }

class Clamp : public ::testing::TestWithParam<TypeCase> {
 protected:
  void Check(const std::string& text) {
    peakpool_problem problem = Parsed(text);
    std::vector<std::string> targets = Targets();
    targets.push_back("im2col");
    for (const std::string& target : targets) {
      problem.algorithm = target == "im2col" ? PEAKPOOL_IM2COL : PEAKPOOL_AUTO;
      problem.target = target == "im2col" ? nullptr : target.c_str();
      SCOPED_TRACE(text + " on " + target);
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const peakpool_problem& p = plan.problem();
      peakpool_problem without = p;
      without.flags &= ~static_cast<uint32_t>(PEAKPOOL_CLAMP);
      for (Fill fill : {Fill::kTies, Fill::kBits}) {
        const Bytes x = RandomElements(p.type, InputBytes(p), fill, &random_);
        const Forward expected = RunNaiveForward(p, x), actual = RunForward(plan, x, true);
        EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type)));
        EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format)));
        EXPECT_TRUE(SameBytes(RunForward(plan, x, false).y, expected.y, ElementBytes(p.type))) << "without index";
        if (IsFloatType(p.type)) {
          const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random_), dx = Untouched(InputBytes(p));
          EXPECT_TRUE(SameBytes(RunBackward(plan, dy, expected.index, dx),
                                RunNaiveBackward(without, dy, expected.index, dx), ElementBytes(p.type)));
        }
        if (HasFailure()) return;
      }
    }
  }

 private:
  Random random_{81};
};

TEST_P(Clamp, MatchesTheNaiveLoop) {
  const std::string type = GetParam().name;
  for (const char* geometry : kGeometries) {
    for (const char* clamp : GetParam().clamps) {
      for (const char* index : {" window-u8", " plane-i64"}) {
        Check(type + " " + geometry + index + " clamp=" + clamp);
        if (HasFailure()) return;
      }
    }
  }
}

// Lines that are pooled in parts.
TEST_P(Clamp, LongLinesMatchTheNaiveLoop) {
  const std::string type = GetParam().name;
  for (const char* geometry : {" nchw 1x1x1x40000 k1x2 s1", " nhwc 1x30000x2x2 k2 s1"}) {
    Check(type + geometry + " plane-i64 clamp=" + GetParam().clamps[0]);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Type, Clamp, ::testing::ValuesIn(kTypeCases),
                         [](const ::testing::TestParamInfo<TypeCase>& info) { return info.param.name; });

TEST(ClampErrors, BoundsThatTheTypeCannotHold) {
  for (const char* text :
       {"i8 nchw 1x1x4x4 k2 clamp=-129:0", "i8 nchw 1x1x4x4 k2 clamp=0:128", "u8 nchw 1x1x4x4 k2 clamp=0:256",
        "u16 nchw 1x1x4x4 k2 clamp=0:65536", "i32 nchw 1x1x4x4 k2 clamp=0:2147483648",
        "u32 nchw 1x1x4x4 k2 clamp=4294967296:4294967297", "u64 nchw 1x1x4x4 k2 clamp=5:4",
        "i64 nchw 1x1x4x4 k2 clamp=-4:-5", "f32 nchw 1x1x4x4 k2 clamp=1:0.5", "f32 nchw 1x1x4x4 k2 clamp=nan:1"}) {
    const Plan plan(Parsed(text));
    EXPECT_EQ(plan.status(), PEAKPOOL_INVALID_ARGUMENT) << text;
    EXPECT_NE(plan.error().find("clamp_"), std::string::npos) << text << ": " << plan.error();
  }
}

}  // namespace
}  // namespace peakpool::tests
