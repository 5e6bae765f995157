// SPDX-License-Identifier: Apache-2.0
// Conversions between index formats, through the public API, against the naive loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"

namespace peakpool::tests {
namespace {

const char* const kGeometries[] = {
    "ncw 2x3x9 k3 s2 p1",
    "nwc 1x2x3 k2 s2 p4:5 allow-empty",
    "nchw 2x3x5x6 k3x2 s2x1 p1:2x0:1",
    "nchw 1x2x6x9 k3 s1 p1 d2x3",
    "nchw 1x2x3x3 k2 s1 p3 allow-empty",
    "nchw 1x1x20x19 k16 s2",
    "nchw 1x2x7x5 a3x4",
    "nhwc 2x3x7x5 a3x9",
    "ncdhw 1x2x5x4x7 a2x3x3",
    "nchw 1x2x9x6 a3",
    "nchw 2x2x4x5 k2 s1 xs=60x30x6x1 ys=40x13x4x1",
    "nhwc 2x3x5x6 k3x2 s2x1 p1:2x0:1",
    "nhwc 1x2x4x3 k2 s3 p3:2x2:3 d2 allow-empty",
    "nhwc 2x2x4x5 k2 s1 xs=200x1x40x5 ys=90x1x20x3",
    "ncdhw 2x2x3x4x5 k2x3x2 s1x2x1 p1x1x0",
    "ndhwc 1x3x3x4x5 k2x3x2 s1x2x3 p1:0x1:2x0:1",
    "nchw 90x2x4x2 k2 s1 p1",  // hundreds of small planes
    "nchw 90x1x3x3 k2 s1 p3 allow-empty",
    "ncw 7x90x3 k2 s1 xs=270x3x1 ys=200x2x1",
    "nchw 1x2x30x27 k3 s1 p1",  // planes of many short lines
    "nhwc 2x2x70x7 k3x2 s1 p1 d2x1",
    "ncdhw 1x2x9x11x8 k3x2x2 s1 p1x1x0",
    "ndhwc 1x3x6x13x9 k2x3x2 s1 p1x1x0",
    "nchw 0x3x5x6 k3",
    "nhwc 2x0x5x6 k3",
};

// Calls visit(from, to) with the plans of every two formats that hold the problem.
template <class Visit>
void ForEachPair(const std::string& text, Visit visit) {
  const std::vector<peakpool_problem> formats = InEveryFormat(Parsed(text));
  ASSERT_GE(formats.size(), 4u) << text;
  for (const peakpool_problem& from : formats) {
    for (const peakpool_problem& to : formats) {
      const Plan from_plan(from), to_plan(to);
      ASSERT_TRUE(from_plan && to_plan) << from_plan.error() << to_plan.error();
      visit(from_plan, to_plan);
      if (::testing::Test::HasFailure()) {
        ADD_FAILURE() << Described(from) << " to format " << to.index_format;
        return;
      }
    }
  }
}

// What forward would have written in the other format, in one step and back.
TEST(Convert, EveryPairOfFormatsRoundTrips) {
  Random random(31);
  for (const char* geometry : kGeometries) {
    ForEachPair(std::string("f32 ") + geometry, [&](const Plan& from, const Plan& to) {
      const peakpool_problem &f = from.problem(), &t = to.problem();
      const Bytes x = RandomElements(f.type, InputBytes(f), Fill::kTies, &random);
      const Bytes source = RunNaiveForward(f, x).index, expected = RunNaiveForward(t, x).index;
      Bytes there = Untouched(expected.size()), back = Untouched(source.size());
      ASSERT_EQ(TryConvert(from, f.index_format, source, t.index_format, &there), PEAKPOOL_OK) << peakpool_last_error();
      EXPECT_TRUE(SameBytes(there, expected, IndexBytes(t.index_format)));
      // The plan's own format does not matter.
      ASSERT_EQ(TryConvert(from, t.index_format, there, f.index_format, &back), PEAKPOOL_OK) << peakpool_last_error();
      EXPECT_TRUE(SameBytes(back, source, IndexBytes(f.index_format)));
    });
  }
}

TEST(Convert, JudgesGarbageAndMarksIt) {
  Random random(32);
  for (const char* geometry : kGeometries) {
    ForEachPair(std::string("f32 ") + geometry, [&](const Plan& from, const Plan& to) {
      const peakpool_problem &f = from.problem(), &t = to.problem();
      const Bytes x = RandomElements(f.type, InputBytes(f), Fill::kTies, &random);
      const Bytes good = RunNaiveForward(f, x).index;
      for (Garbage garbage : kGarbage) {
        const Bytes index = RandomIndices(f, good, garbage, &random);
        Bytes expected = Untouched(IndexTensorBytes(t)), converted = expected;
        const bool valid = NaiveConvert(f, f.index_format, index.data(), t.index_format, expected.data());
        EXPECT_EQ(TryConvert(from, f.index_format, index, t.index_format, &converted),
                  valid ? PEAKPOOL_OK : PEAKPOOL_INVALID_INDEX)
            << "garbage " << static_cast<int>(garbage);
        EXPECT_TRUE(SameBytes(converted, expected, IndexBytes(t.index_format)))
            << "garbage " << static_cast<int>(garbage);
      }
    });
  }
}

TEST(Convert, GivesTheSameBytesForEveryExecutor) {
  Random random(33);
  for (const char* text : {"f32 nchw 1x1x300x301 k3 s1 p1", "u8 nhwc 2x67x40x50 k3 s2 p1"}) {
    ForEachPair(text, [&](const Plan& from, const Plan& to) {
      const peakpool_problem &f = from.problem(), &t = to.problem();
      const Bytes x = RandomElements(f.type, InputBytes(f), Fill::kTies, &random);
      const Bytes source = RunForward(from, x, true).index, expected = RunForward(to, x, true).index;
      for (const NamedExecutor& named : Executors()) {
        Bytes converted = Untouched(expected.size());
        ASSERT_EQ(TryConvert(from, f.index_format, source, t.index_format, &converted, named.get()), PEAKPOOL_OK)
            << peakpool_last_error();
        EXPECT_TRUE(SameBytes(converted, expected, IndexBytes(t.index_format))) << named.name;
      }
    });
  }
}

// Positions of more than 32 bits, and runs of them that cross a multiple of 2^32.
TEST(Convert, BeyondThirtyTwoBits) {
  Random random(33);
  for (const char* text : {"u8 nchw 3x2x70000x70000 k3x5 s9000x12000", "u8 nhwc 2x67x40000x40000 k3 s13000 p1",
                           "u8 nchw 70x3x9000x9000 k4 s8000 d3", "u8 ncdhw 2x3x2000x3000x700 k3x2x2 s900x2000x300",
                           "u8 nhwc 9x3x16384x16384 k3x5000 s9000"}) {
    const Plan plan(Parsed(text));
    ASSERT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    const int rank = p.rank;
    int64_t outputs = 1, plane = 1;
    for (int a = 0; a < rank; ++a) {
      outputs *= p.output[a];
      plane *= p.input[a];
    }
    const int64_t count = p.batch * p.channels * outputs;
    std::vector<uint32_t> window(static_cast<size_t>(count));
    std::vector<int64_t> flat(window.size()), expected[3] = {flat, flat, flat};
    const int32_t formats[] = {PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_TENSOR_I64, PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64};
    for (int64_t n = 0; n < p.batch; ++n) {
      for (int64_t c = 0; c < p.channels; ++c) {
        for (int64_t o = 0; o < outputs; ++o) {
          int64_t at = n * p.output_strides.batch + c * p.output_strides.channel, tap = 0, rows = 0, columns = 0;
          int64_t rest = o, unit = 1, tap_unit = 1, position[3] = {0, 0, 0};
          for (int a = rank - 1; a >= 0; --a) {
            const int64_t index = rest % p.output[a];
            rest /= p.output[a];
            at += index * p.output_strides.spatial[a];
            int64_t t;
            do {
              t = static_cast<int64_t>(random() % static_cast<uint64_t>(p.kernel[a]));
              position[a] = index * p.stride[a] - p.padding[a].before + t * p.dilation[a];
            } while (position[a] < 0 || position[a] >= p.input[a]);
            tap += t * tap_unit;
            tap_unit *= p.kernel[a];
            rows += position[a] * unit;
            unit *= p.input[a];
          }
          for (int a = rank - 1; a >= 0; --a) columns = columns * p.input[a] + position[a];
          const int64_t base = (n * p.channels + c) * plane;
          window[static_cast<size_t>(at)] = static_cast<uint32_t>(tap);
          expected[0][static_cast<size_t>(at)] = rows;
          expected[1][static_cast<size_t>(at)] = base + rows;
          expected[2][static_cast<size_t>(at)] = base + columns;
        }
      }
    }
    const auto convert = [&](int32_t from_format, const void* from, int32_t to_format, void* to) {
      return peakpool_convert_indices(plan.get(), from_format, from, to_format, to, nullptr);
    };
    for (int f = 0; f < 3; ++f) {
      ASSERT_EQ(convert(PEAKPOOL_INDEX_WINDOW_U32, window.data(), formats[f], flat.data()), PEAKPOOL_OK) << text;
      EXPECT_EQ(flat, expected[f]) << text;
      std::vector<uint32_t> back(window.size());
      ASSERT_EQ(convert(formats[f], expected[f].data(), PEAKPOOL_INDEX_WINDOW_U32, back.data()), PEAKPOOL_OK) << text;
      EXPECT_EQ(back, window) << text;
      for (int t = 0; t < 3; ++t) {
        ASSERT_EQ(convert(formats[f], expected[f].data(), formats[t], flat.data()), PEAKPOOL_OK) << text;
        EXPECT_EQ(flat, expected[t]) << text;
      }
      for (int64_t off : {int64_t{1} << 32, -(int64_t{1} << 32), int64_t{1} << 62}) {
        std::vector<int64_t> wrong = expected[f];
        const size_t i = static_cast<size_t>(random() % wrong.size());
        wrong[i] += off;
        EXPECT_EQ(convert(formats[f], wrong.data(), PEAKPOOL_INDEX_WINDOW_U32, back.data()), PEAKPOOL_INVALID_INDEX)
            << text << ", " << off;
        EXPECT_EQ(back[i], UINT32_MAX) << text;
        EXPECT_EQ(std::count(back.begin(), back.end(), UINT32_MAX), 1) << text;
      }
    }
  }
}

void ExpectRefused(peakpool_status status, const std::string& says) {
  EXPECT_EQ(status, PEAKPOOL_INVALID_ARGUMENT) << says;
  EXPECT_NE(std::string(peakpool_last_error()).find(says), std::string::npos)
      << "\"" << peakpool_last_error() << "\" does not say " << says;
  EXPECT_EQ(std::string(peakpool_last_error()).find('\n'), std::string::npos);
}

TEST(ConvertErrors, FormatsThatCannotHoldTheRange) {
  const int64_t index[16] = {};
  int64_t to[16];
  const auto convert = [&](const char* text, int32_t from_format, int32_t to_format) {
    const Plan plan(Parsed(text));
    EXPECT_TRUE(plan) << plan.error();
    return peakpool_convert_indices(plan.get(), from_format, index, to_format, to, nullptr);
  };
  const char* const tall = "u8 ncw 1x1x300 k300";  // one output, 300 taps
  EXPECT_EQ(convert(tall, PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_WINDOW_U16), PEAKPOOL_OK) << peakpool_last_error();
  ExpectRefused(convert(tall, PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_WINDOW_U8), "window-u8");
  ExpectRefused(convert(tall, PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_PLANE_I64), "window-u8");
  const char* const taller = "u8 ncw 1x1x70000 k70000";
  EXPECT_EQ(convert(taller, PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_WINDOW_U32), PEAKPOOL_OK) << peakpool_last_error();
  ExpectRefused(convert(taller, PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_WINDOW_U16), "window-u16");
  // 2^32 positions in the plane, few outputs.
  const char* const wide = "u8 nchw 1x1x65536x65536 k2 s65535";
  EXPECT_EQ(convert(wide, PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_WINDOW_U8), PEAKPOOL_OK) << peakpool_last_error();
  ExpectRefused(convert(wide, PEAKPOOL_INDEX_PLANE_I64, PEAKPOOL_INDEX_PLANE_I32), "plane-i32");
}

TEST(ConvertErrors, Arguments) {
  const Plan plan(Parsed("f32 nchw 1x1x4x4 k2"));  // its own format, none here, does not matter
  ASSERT_TRUE(plan);
  alignas(8) uint8_t from[64] = {};
  alignas(8) uint8_t to[64];
  constexpr auto kU8 = PEAKPOOL_INDEX_WINDOW_U8;
  constexpr auto kI64 = PEAKPOOL_INDEX_PLANE_I64;
  EXPECT_EQ(peakpool_convert_indices(plan.get(), kU8, from, kI64, to, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  ExpectRefused(peakpool_convert_indices(nullptr, kU8, from, kI64, to, nullptr), "plan");
  ExpectRefused(peakpool_convert_indices(plan.get(), kU8, nullptr, kI64, to, nullptr), "from");
  ExpectRefused(peakpool_convert_indices(plan.get(), kU8, from, kI64, nullptr, nullptr), "to");
  ExpectRefused(peakpool_convert_indices(plan.get(), PEAKPOOL_INDEX_NONE, from, kI64, to, nullptr), "from_format = 0");
  ExpectRefused(peakpool_convert_indices(plan.get(), kU8, from, 8, to, nullptr), "to_format = 8");
  ExpectRefused(peakpool_convert_indices(plan.get(), -1, from, kI64, to, nullptr), "from_format = -1");
  ExpectRefused(peakpool_convert_indices(plan.get(), kU8, to + 3, kI64, to, nullptr), "overlap");
  ExpectRefused(peakpool_convert_indices(plan.get(), kU8, from, kI64, to + 4, nullptr), "aligned");
  ExpectRefused(peakpool_convert_indices(plan.get(), kU8, from, kU8, from, nullptr), "overlap");
}

}  // namespace
}  // namespace peakpool::tests
