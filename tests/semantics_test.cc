// SPDX-License-Identifier: Apache-2.0
// What the contract says about single values: NaN, zeros, infinities, ties, minima, empty windows. On every target,
// with every algorithm, both layouts, with and without indices, at every position of a vector.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
// Both signs, quiet and signalling, payloads.
const uint32_t kNans[] = {0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC12345};

// Pools one 2x2 or 3x3 window, repeated over `copies` windows side by side that share no element, so that every lane of
// a vector and every tail meets it. Checks that all agree and returns the one result.
struct Result {
  uint64_t bits;
  int64_t tap;
};

template <class T>
Result PoolWindow(int32_t type, int k, const std::vector<T>& window, const std::string& extra = "") {
  static const char* const kNames[] = {"f32", "f64", "f16", "bf16", "i8",  "u8",
                                       "i16", "u16", "i32", "u32",  "i64", "u64"};
  Result first = {0, -2};
  bool have_first = false;
  for (int copies : {1, 70}) {
    for (const char* layout : {"nchw", "nhwc"}) {
      for (const char* algorithm : {"", " im2col"}) {
        const bool last = std::strcmp(layout, "nhwc") == 0;
        // Channels-first: windows side by side along the width. Channels-last: one window with `copies` channels.
        const std::string sizes =
            last ? "1x" + std::to_string(copies) + "x" + std::to_string(k) + "x" + std::to_string(k)
                 : "1x1x" + std::to_string(k) + "x" + std::to_string(k * copies);
        peakpool_problem problem = Parsed(std::string(kNames[type]) + " " + layout + " " + sizes + " k" +
                                          std::to_string(k) + " window-u8 " + extra + algorithm);
        for (const std::string& target : Targets()) {
          problem.target = target.c_str();
          const Plan plan(problem);
          EXPECT_TRUE(plan) << plan.error();
          if (!plan) return first;
          Bytes x(InputBytes(plan.problem()));
          const size_t row = static_cast<size_t>(k * copies), side = static_cast<size_t>(k);
          for (size_t i = 0; i < x.size() / sizeof(T); ++i) {
            const size_t tap = last ? i / static_cast<size_t>(copies) : i / row * side + i % side;
            std::memcpy(x.data() + i * sizeof(T), &window[tap], sizeof(T));
          }
          for (bool with_index : {true, false}) {
            const Forward result = RunForward(plan, x, with_index, peakpool_serial_executor());
            for (size_t i = 0; i < static_cast<size_t>(copies); ++i) {
              Result at = {0, with_index ? result.index[i] : first.tap};
              std::memcpy(&at.bits, result.y.data() + i * sizeof(T), sizeof(T));
              if (!have_first) first = at;
              have_first = true;
              EXPECT_TRUE(at.bits == first.bits && at.tap == first.tap)
                  << Described(problem) << " on " << target << ", window " << i << ": bits " << std::hex << at.bits
                  << ", expected " << first.bits << std::dec << "; tap " << at.tap << ", expected " << first.tap;
            }
          }
        }
      }
    }
  }
  return first;
}

void ExpectPooled(const std::vector<float>& window, uint32_t bits, int tap) {
  const Result result = PoolWindow(PEAKPOOL_F32, window.size() == 4 ? 2 : 3, window);
  EXPECT_EQ(result.bits, bits) << std::hex << result.bits;
  EXPECT_EQ(result.tap, tap);
}

TEST(Semantics, NanIsGreaterThanEverythingAndCanonical) {
  for (uint32_t nan : kNans) {
    for (int at = 0; at < 4; ++at) {
      std::vector<float> window = {1, kInf, -3, 2};
      window[static_cast<size_t>(at)] = FromBits(nan);
      SCOPED_TRACE(at);
      ExpectPooled(window, 0x7FC00000, at);
    }
    for (int at = 0; at < 9; ++at) {
      std::vector<float> window = {1, kInf, -3, 2, kInf, -kInf, 0, 5, 3};
      window[static_cast<size_t>(at)] = FromBits(nan);
      SCOPED_TRACE(at);
      ExpectPooled(window, 0x7FC00000, at);
    }
  }
}

// Kernels look for NaN in what they load anyway, which is not the same everywhere in a line.
TEST(Semantics, OneNanIsSeenWhereverItIs) {
  Random random(14);
  for (const char* text :
       {"f32 nchw 1x2x5x70 k2 s1", "f32 nchw 1x2x4x70 k2 s1 p0:1", "f32 nchw 1x1x4x150 k2 s1 p0:1",
        "f32 nchw 1x1x3x150 k2 s1 p1", "f32 nchw 1x2x5x70 k3 s1", "f32 nchw 1x2x4x70 k3 s1 p1",
        "f32 nchw 1x1x5x60 k3 s1 p2 d2", "f32 nchw 1x1x5x60 k3 s1 d2", "f32 nchw 1x2x5x70 k3 s2 p1",
        "f32 nchw 1x2x5x70 k2 s2", "f32 nchw 1x24x5x13 k3 s2", "f32 nchw 1x24x4x14 k2 s2",
        "f32 nchw 1x24x4x14 k3 s1 p1", "f32 nchw 1x24x5x19 k3 s1", "f32 nhwc 1x20x5x9 k3 s1 p1",
        "f32 nhwc 1x20x5x9 k3 s2", "f32 nhwc 1x3x4x10 k2 s2", "f32 nhwc 1x20x5x9 k2 s1", "f32 nchw 1x24x7x7 k7"}) {
    for (int32_t type : {PEAKPOOL_F32, PEAKPOOL_F64, PEAKPOOL_F16, PEAKPOOL_BF16}) {
      peakpool_problem problem = Parsed(text);
      problem.type = type;
      problem.index_format = PEAKPOOL_INDEX_WINDOW_U8;
      problem.algorithm = PEAKPOOL_IM2COL;
      const Plan reference(problem);
      problem.algorithm = PEAKPOOL_AUTO;
      ASSERT_TRUE(reference) << reference.error();
      const peakpool_problem& p = reference.problem();
      const Bytes finite = RandomElements(type, InputBytes(p), Fill::kFiniteTies, &random);
      const size_t bytes = ElementBytes(type), channels = static_cast<size_t>(p.channels);
      const size_t pixels = static_cast<size_t>(p.input[0] * p.input[1]);
      for (size_t i = 0; i < pixels; ++i) {
        const size_t c = i % channels, at = p.layout == PEAKPOOL_CHANNELS_LAST ? i * channels + c : c * pixels + i;
        Bytes x = finite;
        std::memset(x.data() + at * bytes, 0xFF, bytes);
        const Forward expected = RunForward(reference, x, true);
        for (const std::string& target : Targets()) {
          problem.target = target.c_str();
          const Plan plan(problem);
          ASSERT_TRUE(plan) << plan.error();
          const Forward actual = RunForward(plan, x, true, peakpool_serial_executor());
          ASSERT_TRUE(SameBytes(actual.y, expected.y, bytes)) << Described(problem) << ", NaN at " << i;
          ASSERT_TRUE(SameBytes(actual.index, expected.index, 1)) << Described(problem) << ", NaN at " << i;
          const Forward values = RunForward(plan, x, false, peakpool_serial_executor());
          ASSERT_TRUE(SameBytes(values.y, expected.y, bytes)) << Described(problem) << ", NaN at " << i;
        }
      }
    }
  }
}

TEST(Semantics, FirstNanIsTheIndex) {
  for (int first = 0; first < 9; ++first) {
    for (int second = first + 1; second < 9; ++second) {
      std::vector<float> window = {1, kInf, -3, 2, kInf, -kInf, 0, 5, 3};
      // The later one has the greater payload.
      window[static_cast<size_t>(first)] = FromBits(0xFF800001);
      window[static_cast<size_t>(second)] = FromBits(0x7FFFFFFF);
      SCOPED_TRACE(first * 9 + second);
      ExpectPooled(window, 0x7FC00000, first);
    }
  }
}

TEST(Semantics, ZerosAreEqualAndPositive) {
  for (int signs = 0; signs < 16; ++signs) {
    std::vector<float> window(4);
    for (int i = 0; i < 4; ++i) window[static_cast<size_t>(i)] = signs >> i & 1 ? -0.0f : 0.0f;
    SCOPED_TRACE(signs);
    ExpectPooled(window, 0, 0);
  }
  ExpectPooled({-1, -0.0f, 0.0f, -2}, 0, 1);
  ExpectPooled({-1, -2, -3, -4, -0.0f, -5, 0.0f, -0.0f, -6}, 0, 4);
}

TEST(Semantics, InfinitiesAreOrdinary) {
  ExpectPooled({-kInf, -kInf, -kInf, -kInf}, Bits(-kInf), 0);
  ExpectPooled({-kInf, kInf, kInf, 3}, Bits(kInf), 1);
  ExpectPooled({-kInf, -kInf, std::numeric_limits<float>::lowest(), -kInf}, Bits(std::numeric_limits<float>::lowest()),
               2);
}

TEST(Semantics, DenormalsAreNotFlushed) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  ExpectPooled({0, tiny, -tiny, -1}, 1, 1);
  ExpectPooled({-1, -2 * tiny, -tiny, -1}, 0x80000001, 2);
}

TEST(Semantics, TiesGoToTheFirstTap) {
  for (int first = 0; first < 9; ++first) {
    std::vector<float> window(9, 1.0f);
    for (int i = 0; i < first; ++i) window[static_cast<size_t>(i)] = 0.5f;
    SCOPED_TRACE(first);
    ExpectPooled(window, Bits(1.0f), first);
  }
}

TEST(Semantics, PaddingIsNeverSelected) {
  // Every element -inf, so anything else in the output came from the padding; the index is the first tap in range.
  for (const char* layout : {"nchw", "nhwc"}) {
    for (const char* geometry :
         {"k2 s1 p1", "k3 s1 p1", "k3 s2 p1", "k2 s2 p1", "k5 s1 p2", "k3 s2 p2:1 d2", "k7 s3 p6"}) {
      for (const std::string& target : Targets()) {
        peakpool_problem problem =
            Parsed(std::string("f32 ") + layout + " 1x35x9x37 " + geometry + " window-u8 allow-empty");
        problem.target = target.c_str();
        const Plan plan(problem);
        ASSERT_TRUE(plan) << plan.error();
        Bytes x(InputBytes(plan.problem()));
        for (size_t i = 0; i < x.size(); i += 4) std::memcpy(x.data() + i, &kInf, 4), x[i + 3] |= 0x80;
        const Forward expected = RunNaiveForward(plan.problem(), x);
        const Forward actual = RunForward(plan, x, true);
        EXPECT_TRUE(SameBytes(actual.y, expected.y, 4)) << Described(problem) << " on " << target;
        EXPECT_TRUE(SameBytes(actual.index, expected.index, 1)) << Described(problem) << " on " << target;
        EXPECT_TRUE(SameBytes(RunForward(plan, x, false).y, expected.y, 4)) << Described(problem) << " on " << target;
      }
    }
  }
}

template <class T>
void CheckMinimumIsOrdinary(int32_t type) {
  const T least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  uint64_t least_bits = 0, next_bits = 0, most_bits = 0;
  const T next = static_cast<T>(least + 1);
  std::memcpy(&least_bits, &least, sizeof(T));
  std::memcpy(&next_bits, &next, sizeof(T));
  std::memcpy(&most_bits, &most, sizeof(T));
  Result result = PoolWindow<T>(type, 2, {least, least, least, least});
  EXPECT_EQ(result.bits, least_bits);
  EXPECT_EQ(result.tap, 0);
  result = PoolWindow<T>(type, 2, {least, least, next, least});
  EXPECT_EQ(result.bits, next_bits);
  EXPECT_EQ(result.tap, 2);
  // Values that a detour through float could not tell apart.
  result = PoolWindow<T>(type, 2, {least, static_cast<T>(most - 1), most, static_cast<T>(most - 1)});
  EXPECT_EQ(result.bits, most_bits);
  EXPECT_EQ(result.tap, 2);
}

TEST(Semantics, IntegersAreExactInTheirOwnType) {
  CheckMinimumIsOrdinary<int8_t>(PEAKPOOL_I8);
  CheckMinimumIsOrdinary<uint8_t>(PEAKPOOL_U8);
  CheckMinimumIsOrdinary<int16_t>(PEAKPOOL_I16);
  CheckMinimumIsOrdinary<uint16_t>(PEAKPOOL_U16);
  CheckMinimumIsOrdinary<int32_t>(PEAKPOOL_I32);
  CheckMinimumIsOrdinary<uint32_t>(PEAKPOOL_U32);
  CheckMinimumIsOrdinary<int64_t>(PEAKPOOL_I64);
  CheckMinimumIsOrdinary<uint64_t>(PEAKPOOL_U64);
}

TEST(Semantics, HalfFloats) {
  struct Case {
    std::vector<uint16_t> window;
    uint16_t bits;
    int tap;
  };
  // inf, NaN: f16 0x7C00, 0x7E00; bf16 0x7F80, 0x7FC0. Negative values compare against their bit order.
  const Case f16[] = {{{0x3C00, 0xFC01, 0x7E01, 0x7C00}, 0x7E00, 1}, {{0x8000, 0x0000, 0x8000, 0xBC00}, 0x0000, 0},
                      {{0xFC00, 0xFC00, 0xFC00, 0xFC00}, 0xFC00, 0}, {{0xBC00, 0xBC01, 0xBBFF, 0xC000}, 0xBBFF, 2},
                      {{0x8001, 0x8002, 0xFBFF, 0x8003}, 0x8001, 0}, {{0x0001, 0x8000, 0x0002, 0x0002}, 0x0002, 2},
                      {{0x7BFF, 0x7C00, 0x7C00, 0x0000}, 0x7C00, 1}};
  for (const Case& c : f16) {
    const Result result = PoolWindow(PEAKPOOL_F16, 2, c.window);
    EXPECT_EQ(result.bits, c.bits);
    EXPECT_EQ(result.tap, c.tap);
  }
  const Case bf16[] = {{{0x3F80, 0xFF81, 0x7FFF, 0x7F80}, 0x7FC0, 1},
                       {{0x8000, 0x0000, 0x8000, 0xBF80}, 0x0000, 0},
                       {{0xFF80, 0xFF80, 0xFF80, 0xFF80}, 0xFF80, 0},
                       {{0xBF80, 0xBF81, 0xBF7F, 0xC000}, 0xBF7F, 2},
                       {{0x8001, 0x8002, 0xFF7F, 0x8003}, 0x8001, 0}};
  for (const Case& c : bf16) {
    const Result result = PoolWindow(PEAKPOOL_BF16, 2, c.window);
    EXPECT_EQ(result.bits, c.bits);
    EXPECT_EQ(result.tap, c.tap);
  }
}

TEST(Semantics, DoublesKeepTheirPrecision) {
  const double above = 1 + 0x1p-52;
  const Result result = PoolWindow<double>(PEAKPOOL_F64, 2, {1, above, 1, above});
  double value;
  std::memcpy(&value, &result.bits, sizeof(value));
  EXPECT_EQ(value, above);
  EXPECT_EQ(result.tap, 1);
  const double nan = -std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(PoolWindow<double>(PEAKPOOL_F64, 2, {1, above, nan, 1}).bits, 0x7FF8000000000000u);
}

// One axis at a time: windows before, after, and between taps of the input.
TEST(EmptyWindows, AreRefusedNamingAxisAndPosition) {
  const struct {
    const char* problem;
    const char* window;
    const char* axis;
  } kCases[] = {{"f32 nchw 1x1x4x4 k2 s1 p2:0x0:0", "window 0 ", "axis 0"},
                {"f32 nchw 1x1x4x4 k2 s1 p0:0x0:2", "window 4 ", "axis 1"},
                {"f32 nhwc 1x3x8x4 k2 s2 p0:0x0:3", "window 2 ", "axis 1"},
                {"f32 nchw 1x1x1x9 k3x2 s1 p1:0x0:0 d3x1 o2x1", "window 0 ", "axis 0"},
                {"f32 ncdhw 1x1x3x3x3 k1 s1 p0:0x1:0x0:0", "window 0 ", "axis 1"}};
  for (const auto& c : kCases) {
    const Plan plan(Parsed(c.problem));
    EXPECT_FALSE(plan) << c.problem;
    EXPECT_EQ(plan.status(), PEAKPOOL_EMPTY_WINDOW) << c.problem;
    EXPECT_NE(plan.error().find(c.window), std::string::npos) << plan.error();
    EXPECT_NE(plan.error().find(c.axis), std::string::npos) << plan.error();
    EXPECT_TRUE(Plan(Parsed(std::string(c.problem) + " allow-empty"))) << c.problem;
  }
}

// In no time: what is padding for every output is not looked at. The reference would look at each tap.
TEST(EmptyWindows, MayBeHugeWithoutATapInRange) {
  for (const char* text : {"f32 ncw 1x17x8 k2147483644 s999997 p2147483645:0 o1 allow-empty",
                           "f32 nwc 1x17x8 k2147483644 s1 p2147483646:0 o2 allow-empty",
                           "f32 nchw 1x3x8x8 k3x1000000000 s1 p1x1000000007 o8x8 allow-empty",
                           "f32 nchw 1x3x2x8 k1000000x3 s1 d1000x1 p999998x1 o3x8 allow-empty"}) {
    peakpool_problem problem = Parsed(std::string(text) + " plane-i64");
    for (const std::string& target : Targets()) {
      problem.target = target.c_str();
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const Bytes x(InputBytes(plan.problem()));
      const Forward forward = RunForward(plan, x, true);
      for (size_t i = 0; i < forward.y.size() / 4; ++i) {
        float value;
        int64_t index;
        std::memcpy(&value, forward.y.data() + 4 * i, sizeof(value));
        std::memcpy(&index, forward.index.data() + 8 * i, sizeof(index));
        ASSERT_EQ(value, -kInf) << text << " on " << target << ", output " << i;
        ASSERT_EQ(index, -1) << text << " on " << target << ", output " << i;
      }
    }
  }
}

TEST(EmptyWindows, GiveLowestAndAllOnesAndBackwardSkipsThem) {
  for (const char* index :
       {"window-u8", "window-u16", "window-u32", "plane-i32", "plane-i64", "tensor-i64", "tensor-colmajor-i64"}) {
    for (const char* layout : {"nchw", "nhwc"}) {
      for (const char* algorithm : {"", " im2col"}) {
        const Plan plan(Parsed(std::string("f32 ") + layout + " 1x2x2x2 k1 s2 p2:1 allow-empty " + index + algorithm));
        ASSERT_TRUE(plan) << plan.error();
        const peakpool_problem& p = plan.problem();
        const Bytes x = Bytes(InputBytes(p), 0x41);
        const Forward result = RunForward(plan, x, true);
        const Forward expected = RunNaiveForward(p, x);
        EXPECT_TRUE(SameBytes(result.y, expected.y, 4)) << Described(p);
        EXPECT_TRUE(SameBytes(result.index, expected.index, IndexBytes(p.index_format))) << Described(p);
        // The first window is empty, whatever the layout.
        float y0;
        std::memcpy(&y0, result.y.data(), sizeof(y0));
        EXPECT_EQ(y0, -kInf);
        for (size_t b = 0; b < IndexBytes(p.index_format); ++b) EXPECT_EQ(result.index[b], 0xFF) << Described(p);
        const Bytes dy = Bytes(OutputBytes(p), 0x3F);
        const Bytes dx = Untouched(InputBytes(p));
        EXPECT_TRUE(SameBytes(RunBackward(plan, dy, result.index, dx), RunNaiveBackward(p, dy, result.index, dx), 4))
            << Described(p);
      }
    }
  }
}

}  // namespace
}  // namespace peakpool::tests
