// SPDX-License-Identifier: Apache-2.0
// Unpooling, through the public API, against the naive loop: types, formats, layouts, strided views, duplicates, empty
// windows, invalid indices, and the same bytes however the work is split.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"

namespace peakpool::tests {
namespace {

const char* const kGeometries[] = {
    "ncw 2x3x9 k3 s2 p1",
    "nwc 2x3x10 k4 s1 p2:1",
    "nwc 1x2x3 k2 s2 p4:5 allow-empty",
    "nchw 2x3x6x8 k2 s2",
    "nchw 2x3x5x6 k3x2 s2x1 p1:2x0:1",
    "nchw 1x2x6x9 k3 s1 p1 d2x3",
    "nchw 1x2x3x3 k2 s1 p3 allow-empty",
    "nchw 1x2x9x9 k2 s5",
    "nchw 1x1x20x19 k16 s2",
    "nchw 1x2x7x5 a3x4",
    "nchw 1x2x3x4 a5x9",
    "nchw 2x2x4x5 k2 s1 xs=60x30x6x1 ys=40x13x4x1",
    "nhwc 2x3x5x6 k3x2 s2x1 p1:2x0:1",
    "nhwc 1x2x4x3 k2 s3 p3:2x2:3 d2 allow-empty",
    "nhwc 2x2x4x5 k2 s1 xs=200x1x40x5 ys=90x1x20x3",
    "nhwc 1x70x4x4 k2 s1",
    "ncdhw 2x2x3x4x5 k2x3x2 s1x2x1 p1x1x0",
    "ndhwc 1x3x3x4x5 k2x3x2 s1x2x3 p1:0x1:2x0:1",
    "nchw 0x3x5x6 k3",
    "nhwc 2x0x5x6 k3",
};
const char* const kTypeNames[] = {"f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"};

bool IsPosition(int32_t format) { return format >= PEAKPOOL_INDEX_PLANE_I32; }

// The indices of a forward pass.
Bytes ValidIndices(const peakpool_problem& p, Random* random) {
  const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kFiniteTies, random);
  return RunNaiveForward(p, x).index;
}
// Any position of each output's own plane, for the position formats.
Bytes AnyPositions(const peakpool_problem& p, Random* random) {
  Bytes index = Untouched(IndexTensorBytes(p));
  const size_t bytes = IndexBytes(p.index_format);
  int64_t plane = 1;
  for (int a = 0; a < p.rank; ++a) plane *= p.input[a];
  int64_t output[PEAKPOOL_MAX_RANK] = {1, 1, 1}, stride[PEAKPOOL_MAX_RANK] = {0, 0, 0};
  for (int a = 0; a < p.rank; ++a) {
    output[a] = p.output[a];
    stride[a] = p.output_strides.spatial[a];
  }
  for (int64_t n = 0; n < p.batch; ++n) {
    for (int64_t c = 0; c < p.channels; ++c) {
      for (int64_t o = 0; o < output[0] * output[1] * output[2]; ++o) {
        const int64_t at = n * p.output_strides.batch + c * p.output_strides.channel +
                           o / (output[1] * output[2]) * stride[0] + o / output[2] % output[1] * stride[1] +
                           o % output[2] * stride[2];
        int64_t position = static_cast<int64_t>((*random)() % static_cast<uint64_t>(plane));
        if (p.index_format >= PEAKPOOL_INDEX_TENSOR_I64) position += (n * p.channels + c) * plane;
        std::memcpy(index.data() + static_cast<size_t>(at) * bytes, &position, bytes);
      }
    }
  }
  return index;
}

class Unpool : public ::testing::TestWithParam<int> {
 protected:
  void Check(const Plan& plan, const Bytes& index) {
    const peakpool_problem& p = plan.problem();
    const Bytes y = RandomElements(p.type, OutputBytes(p), Fill::kBits, &random_);
    Bytes expected = Untouched(InputBytes(p)), x = expected;
    ASSERT_TRUE(NaiveUnpool(p, y.data(), index.data(), expected.data())) << Described(p);
    ASSERT_EQ(TryUnpool(plan, y, index, &x), PEAKPOOL_OK) << peakpool_last_error() << "; " << Described(p);
    ASSERT_TRUE(SameBytes(x, expected, ElementBytes(p.type))) << Described(p);
  }
  Random random_{21};
};

TEST_P(Unpool, MatchesTheNaiveLoop) {
  for (const char* geometry : kGeometries) {
    for (const char* algorithm : {"", " im2col"}) {
      const std::string text = std::string(kTypeNames[GetParam()]) + " " + geometry + algorithm;
      for (const peakpool_problem& problem : InEveryFormat(Parsed(text))) {
        const Plan plan(problem);
        ASSERT_TRUE(plan) << plan.error();
        Check(plan, ValidIndices(plan.problem(), &random_));
        if (IsPosition(problem.index_format)) Check(plan, AnyPositions(plan.problem(), &random_));
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(Unpool, JudgesGarbageAndStaysInsideTheTensor) {
  for (const char* geometry : kGeometries) {
    for (const peakpool_problem& problem :
         InEveryFormat(Parsed(std::string(kTypeNames[GetParam()]) + " " + geometry))) {
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const peakpool_problem& p = plan.problem();
      const Bytes good = ValidIndices(p, &random_), y = RandomElements(p.type, OutputBytes(p), Fill::kBits, &random_);
      for (Garbage garbage : kGarbage) {
        const Bytes index = RandomIndices(p, good, garbage, &random_);
        Bytes expected = Untouched(InputBytes(p)), x = expected;
        const bool valid = NaiveUnpool(p, y.data(), index.data(), expected.data());
        ASSERT_EQ(TryUnpool(plan, y, index, &x), valid ? PEAKPOOL_OK : PEAKPOOL_INVALID_INDEX)
            << Described(p) << ", garbage " << static_cast<int>(garbage);
        if (valid) {
          ASSERT_TRUE(SameBytes(x, expected, ElementBytes(p.type))) << Described(p);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Type, Unpool, ::testing::Range(0, static_cast<int>(kTypes)),
                         [](const ::testing::TestParamInfo<int>& info) { return kTypeNames[info.param]; });

// Overlapping windows select one position many times, and then every output names the plane's first.
TEST(UnpoolDuplicates, TheLastOutputWinsForEveryExecutor) {
  Random random(22);
  for (const char* text :
       {"f32 nchw 1x1x512x300 k3 s1 p1", "f32 nchw 4x8x64x80 k3 s2 p1", "u8 nhwc 1x67x64x50 k3 s1",
        "f64 nhwc 1x1x300x200 k2 s1", "bf16 nhwc 2x130x40x40 k2 s2", "i16 ncdhw 1x2x20x40x40 k3 s1"}) {
    for (const peakpool_problem& problem : InEveryFormat(Parsed(text))) {
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const peakpool_problem& p = plan.problem();
      const Bytes index = ValidIndices(p, &random);
      const Bytes y = RandomElements(p.type, OutputBytes(p), Fill::kBits, &random), before = Untouched(InputBytes(p));
      Bytes serial = before;
      ASSERT_EQ(TryUnpool(plan, y, index, &serial, peakpool_serial_executor()), PEAKPOOL_OK) << peakpool_last_error();
      for (const NamedExecutor& named : Executors()) {
        Bytes x = before;
        EXPECT_EQ(TryUnpool(plan, y, index, &x, named.get()), PEAKPOOL_OK) << peakpool_last_error();
        ASSERT_TRUE(SameBytes(x, serial, ElementBytes(p.type))) << Described(p) << ", " << named.name;
      }
      if (!IsPosition(p.index_format) || p.index_format >= PEAKPOOL_INDEX_TENSOR_I64)
        continue;  // whose 0 is in the first plane only
      const Bytes same(index.size(), 0);
      Bytes x = before;
      EXPECT_EQ(TryUnpool(plan, y, same, &x), PEAKPOOL_OK) << peakpool_last_error();
      int64_t last = 0;
      for (int a = 0; a < p.rank; ++a) last += (p.output[a] - 1) * p.output_strides.spatial[a];
      const size_t bytes = ElementBytes(p.type);
      EXPECT_EQ(
          Bytes(x.begin(), x.begin() + static_cast<int64_t>(bytes)),
          Bytes(y.begin() + last * static_cast<int64_t>(bytes), y.begin() + (last + 1) * static_cast<int64_t>(bytes)))
          << Described(p);
    }
  }
}

TEST(UnpoolErrors, AreNamed) {
  const Plan plan(Parsed("f32 nchw 1x1x4x4 k2 window-u8")), values(Parsed("f32 nchw 1x1x4x4 k2"));
  ASSERT_TRUE(plan && values);
  float x[16], y[4] = {};
  uint8_t index[4] = {};
  const auto refused = [](peakpool_status status, const char* name) {
    EXPECT_EQ(status, PEAKPOOL_INVALID_ARGUMENT) << name;
    EXPECT_NE(std::string(peakpool_last_error()).find(name), std::string::npos) << peakpool_last_error();
  };
  refused(peakpool_unpool(nullptr, y, index, x, nullptr), "plan");
  refused(peakpool_unpool(plan.get(), nullptr, index, x, nullptr), "y");
  refused(peakpool_unpool(plan.get(), y, nullptr, x, nullptr), "index");
  refused(peakpool_unpool(plan.get(), y, index, nullptr, nullptr), "x");
  refused(peakpool_unpool(plan.get(), x + 14, index, x, nullptr), "overlap");
  EXPECT_EQ(peakpool_unpool(values.get(), y, index, x, nullptr), PEAKPOOL_UNSUPPORTED);
  const Plan nothing(Parsed("f32 nhwc 0x3x4x4 k2 window-u8"));
  EXPECT_EQ(peakpool_unpool(nothing.get(), nullptr, nullptr, nullptr, nullptr), PEAKPOOL_OK) << peakpool_last_error();
}

}  // namespace
}  // namespace peakpool::tests
