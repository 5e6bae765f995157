// SPDX-License-Identifier: Apache-2.0
// What needs no pixels: output sizes, auto_pad, the describe grammar, every refusal with its status and message.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

constexpr int64_t kMost = INT64_MAX;

std::vector<int64_t> OutputSize(const peakpool_problem& problem) {
  int64_t output[PEAKPOOL_MAX_RANK] = {-1, -1, -1};
  EXPECT_EQ(peakpool_output_size(&problem, output), PEAKPOOL_OK) << peakpool_last_error();
  return std::vector<int64_t>(output, output + problem.rank);
}
std::vector<int64_t> OutputSize(const std::string& text) { return OutputSize(Parsed(text)); }
using Sizes = std::vector<int64_t>;

TEST(OutputSize, KnownNetworks) {
  EXPECT_EQ(OutputSize("f32 nchw 1x64x112x112 k3 s2 p1"), (Sizes{56, 56}));    // ResNet
  EXPECT_EQ(OutputSize("f32 nchw 1x64x224x224 k2 s2"), (Sizes{112, 112}));     // VGG
  EXPECT_EQ(OutputSize("f32 nchw 1x64x112x112 k3 s2 ceil"), (Sizes{56, 56}));  // GoogLeNet
  EXPECT_EQ(OutputSize("f32 nchw 1x512x13x13 k13 s1 p6"), (Sizes{13, 13}));    // SPP
  EXPECT_EQ(OutputSize("f32 nchw 1x3x32x32 k5 s3"), (Sizes{10, 10}));
  EXPECT_EQ(OutputSize("f32 nchw 1x1x20x20 k3 s1 d4"), (Sizes{12, 12}));
  EXPECT_EQ(OutputSize("f32 ncdhw 1x1x9x8x7 k3x2x1 s2x3x4"), (Sizes{4, 3, 2}));
  EXPECT_EQ(OutputSize("f32 ncw 1x1x9 k9"), (Sizes{1}));
}

// A last window that would begin beyond input and leading padding is dropped.
TEST(OutputSize, CeilDropsAWindowThatBeginsInTheTrailingPadding) {
  EXPECT_EQ(OutputSize("f32 ncw 1x1x4 k2 s3 p1 ceil"), (Sizes{2}));
  EXPECT_EQ(OutputSize("f32 ncw 1x1x5 k1 s2 p0:2 ceil"), (Sizes{3}));
  EXPECT_EQ(OutputSize("f32 ncw 1x1x6 k2 s4 p0:2 ceil allow-empty"), (Sizes{2}));
  EXPECT_EQ(OutputSize("f32 ncw 1x1x2 k3 s2 ceil"), (Sizes{1}));
}

TEST(OutputSize, MatchesCountingWindowsOneByOne) {
  for (int32_t rounding : {PEAKPOOL_FLOOR, PEAKPOOL_CEIL, PEAKPOOL_EXACT}) {
    for (int64_t k = 1; k <= 4; ++k) {
      for (int64_t s = 1; s <= 5; ++s) {
        for (int64_t d = 1; d <= 3; ++d) {
          for (int64_t before = 0; before <= 4; ++before) {
            for (int64_t after = 0; after <= 4; ++after) {
              for (int64_t input = 1; input <= 12; ++input) {
                peakpool_problem p = Parsed("f32 ncw 1x1x1 k1 allow-empty");
                p.input[0] = input;
                p.kernel[0] = k;
                p.stride[0] = s;
                p.dilation[0] = d;
                p.padding[0] = {before, after};
                p.rounding = rounding;
                peakpool_problem counted = p;
                Resolve(&counted);
                int64_t output;
                const peakpool_status status = peakpool_output_size(&p, &output);
                const int64_t room = before + input + after - ((k - 1) * d + 1);
                if (counted.output[0] == 0 || (rounding == PEAKPOOL_EXACT && room % s != 0)) {
                  ASSERT_EQ(status, PEAKPOOL_INVALID_ARGUMENT) << Described(p);
                } else {
                  ASSERT_EQ(status, PEAKPOOL_OK) << Described(p) << ": " << peakpool_last_error();
                  ASSERT_EQ(output, counted.output[0]) << Described(p);
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(OutputSize, DenseStridesAreFilledIn) {
  const Plan first(Parsed("f32 nchw 2x3x5x7 k2 s1"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first.problem().input_strides.batch, 105);
  EXPECT_EQ(first.problem().input_strides.channel, 35);
  EXPECT_EQ(first.problem().input_strides.spatial[0], 7);
  EXPECT_EQ(first.problem().input_strides.spatial[1], 1);
  EXPECT_EQ(first.problem().output_strides.batch, 72);
  EXPECT_EQ(first.problem().output[1], 6);
  const Plan last(Parsed("f32 nhwc 2x3x5x7 k2 s1"));
  ASSERT_TRUE(last);
  EXPECT_EQ(last.problem().input_strides.batch, 105);
  EXPECT_EQ(last.problem().input_strides.channel, 1);
  EXPECT_EQ(last.problem().input_strides.spatial[0], 21);
  EXPECT_EQ(last.problem().input_strides.spatial[1], 3);
}

TEST(AutoPad, SameGivesCeilOfInputOverStride) {
  for (int64_t input = 1; input <= 12; ++input) {
    for (int64_t k = 1; k <= 5; ++k) {
      for (int64_t s = 1; s <= 4; ++s) {
        for (int64_t d = 1; d <= 3; ++d) {
          peakpool_problem p = Parsed("f32 ncw 1x1x1 k1 p3");
          p.input[0] = input;
          p.kernel[0] = k;
          p.stride[0] = s;
          p.dilation[0] = d;
          const int64_t output = (input + s - 1) / s;
          const int64_t wanted = (output - 1) * s + (k - 1) * d + 1 - input, total = wanted > 0 ? wanted : 0;
          peakpool_problem upper = p, lower = p;
          ASSERT_EQ(peakpool_pad_same_upper(&upper), PEAKPOOL_OK) << peakpool_last_error();
          ASSERT_EQ(peakpool_pad_same_lower(&lower), PEAKPOOL_OK) << peakpool_last_error();
          EXPECT_EQ(upper.padding[0].before, total / 2);
          EXPECT_EQ(upper.padding[0].after, total - total / 2);
          EXPECT_EQ(lower.padding[0].before, total - total / 2);
          EXPECT_EQ(lower.padding[0].after, total / 2);
          upper.flags = lower.flags = PEAKPOOL_ALLOW_EMPTY;
          EXPECT_EQ(OutputSize(upper), Sizes{output});
          EXPECT_EQ(OutputSize(lower), Sizes{output});
        }
      }
    }
  }
}

TEST(Describe, ParsedTextComesBack) {
  for (const char* text :
       {"f32 nchw 1x64x112x112 k3 s2 p1", "f64 ncw 2x3x40 k3 s3", "i8 nhwc 1x2x3x4 k2x3 s1x2",
        "u64 ndhwc 1x2x3x4x5 k2 s1x2x3 p1x0x2 d1x2x1 ceil plane-i32",
        "bf16 nchw 1x1x9x9 k3 s2 p0:1 exact window-u16 allow-empty accumulate im2col",
        "f16 nchw 1x1x9x9 k3 s2 p0:1x2:0 o5x4 tensor-colmajor-i64",
        "f32 nchw 2x2x4x5 k2 s1 tensor-i64 xs=60x30x6x1 ys=40x13x4x1", "f32 nchw 1x2x7x9 a3 window-u8",
        "u8 ndhwc 1x2x7x9x11 a3x4x5 plane-i32 im2col", "f32 nchw 1x1x4x4 k2 s2 clamp=0:6",
        "f16 ncw 1x1x4 k2 s2 clamp=-inf:0.10000000000000001", "i8 nchw 1x1x4x4 k2 s2 clamp=-128:127",
        "u64 nchw 1x1x4x4 k2 s2 clamp=0:18446744073709551615"}) {
    EXPECT_EQ(Described(Parsed(text)), text);
  }
  EXPECT_EQ(Described(Parsed("  f32   nchw 1x1x9x9  k3x3 p1x1:1 ")), "f32 nchw 1x1x9x9 k3 s3 p1");
}

TEST(Describe, RandomProblemsRoundTrip) {
  Random random(11);
  const auto draw = [&](uint64_t below) { return static_cast<int64_t>(random() % below); };
  for (int i = 0; i < 20000; ++i) {
    peakpool_problem p;
    const int rank = 1 + static_cast<int>(draw(3));
    ASSERT_EQ(peakpool_problem_init(&p, static_cast<int32_t>(draw(12)), static_cast<int32_t>(draw(2)), rank),
              PEAKPOOL_OK);
    const bool explicit_strides = draw(4) == 0;
    p.batch = draw(3);
    p.channels = draw(5);
    const bool uniform = draw(2) == 0;
    for (int a = 0; a < rank; ++a) {
      p.input[a] = 1 + draw(300);
      p.kernel[a] = uniform && a > 0 ? p.kernel[0] : 1 + draw(9);
      p.stride[a] = uniform && a > 0 ? p.stride[0] : 1 + draw(4);
      p.dilation[a] = uniform && a > 0 ? p.dilation[0] : 1 + draw(3);
      p.padding[a] = {draw(3), draw(3)};
      if (uniform && a > 0) p.padding[a] = p.padding[0];
      if (explicit_strides) {
        p.input_strides.spatial[a] = 1 + draw(1000);
        p.output_strides.spatial[a] = 1 + draw(1000);
      }
    }
    if (explicit_strides) {
      p.input_strides.batch = draw(100000);
      p.output_strides.channel = draw(100000);
    }
    p.rounding = static_cast<int32_t>(draw(5));
    if (p.rounding == PEAKPOOL_EXPLICIT || p.rounding == PEAKPOOL_ADAPTIVE) {
      for (int a = 0; a < rank; ++a) p.output[a] = 1 + draw(50);
    }
    for (int a = 0; a < rank && p.rounding == PEAKPOOL_ADAPTIVE; ++a) {  // which has no window to write
      p.kernel[a] = p.stride[a] = p.dilation[a] = 1;
      p.padding[a] = {0, 0};
    }
    p.index_format = static_cast<int32_t>(draw(kIndexFormats));
    p.algorithm = static_cast<int32_t>(draw(2));
    p.flags = static_cast<uint32_t>(draw(4));
    const std::string text = Described(p);
    peakpool_problem back = Parsed(text);
    ASSERT_EQ(Described(back), text);
    // Entries beyond the rank say nothing.
    for (int a = rank; a < PEAKPOOL_MAX_RANK; ++a) {
      back.input[a] = p.input[a];
      back.kernel[a] = p.kernel[a];
      back.stride[a] = p.stride[a];
      back.dilation[a] = p.dilation[a];
      back.padding[a] = p.padding[a];
      back.output[a] = p.output[a];
    }
    ASSERT_EQ(std::memcmp(&back, &p, sizeof(p)), 0) << text;
  }
}

TEST(Describe, WritesAsSnprintfDoes) {
  const peakpool_problem p = Parsed("f32 nchw 1x64x112x112 k3 s2 p1");
  const std::string whole = Described(p);
  EXPECT_EQ(peakpool_describe(&p, nullptr, 0), whole.size());
  for (size_t size = 1; size <= whole.size() + 1; ++size) {
    std::vector<char> buffer(size + 1, '#');
    EXPECT_EQ(peakpool_describe(&p, buffer.data(), size), whole.size());
    EXPECT_EQ(std::string(buffer.data()), whole.substr(0, size - 1));
    EXPECT_EQ(buffer[size], '#');
  }
  EXPECT_EQ(peakpool_describe(nullptr, nullptr, 0), 0u);
  peakpool_problem bad = p;
  bad.type = 99;
  EXPECT_EQ(peakpool_describe(&bad, nullptr, 0), 0u);
}

TEST(Parse, NamesTheTokenItCannotRead) {
  const struct {
    const char* text;
    const char* token;
  } kCases[] = {{"", "expected"},
                {"f31 nchw 1x1x2x2 k2", "\"f31\""},
                {"f32 nchv 1x1x2x2 k2", "\"nchv\""},
                {"f32 nchw 1x1x2 k2", "\"1x1x2\""},
                {"f32 nchw 1x1x2x2x2 k2", "\"1x1x2x2x2\""},
                {"f32 nchw 1x1x2xa k2", "\"1x1x2xa\""},
                {"f32 nchw 1x1x2x2", "k"},
                {"f32 nchw 1x1x2x2 k", "\"k\""},
                {"f32 nchw 1x1x2x2 k2x2x2", "\"k2x2x2\""},
                {"f32 nchw 1x1x2x2 k2 s1x", "\"s1x\""},
                {"f32 nchw 1x1x2x2 k2 p1:2:3", "\"p1:2:3\""},
                {"f32 nchw 1x1x2x2 k2 rounded", "\"rounded\""},
                {"f32 nchw 1x1x2x2 k2 window-u9", "\"window-u9\""},
                {"f32 nchw 1x1x2x2 k2 xs=1x2", "\"xs=1x2\""},
                {"f32 nchw 1x1x2x2 a", "\"a\""},
                {"f32 nchw 1x1x2x2 a2x2x2", "\"a2x2x2\""},
                {"f32 nchw 1x1x2x2 k2 clamp=1", "\"clamp=1\""},
                {"i8 nchw 1x1x2x2 k2 clamp=0.5:1", "\"clamp=0.5:1\""},
                {"u8 nchw 1x1x2x2 k2 clamp=-1:1", "\"clamp=-1:1\""},
                {"f32 nchw 1x1x2x2 k99999999999999999999", "\"k99999999999999999999\""}};
  for (const auto& c : kCases) {
    peakpool_problem p;
    EXPECT_EQ(peakpool_parse(c.text, &p), PEAKPOOL_INVALID_ARGUMENT) << c.text;
    EXPECT_NE(std::string(peakpool_last_error()).find(c.token), std::string::npos)
        << c.text << " gives: " << peakpool_last_error();
  }
  const std::string endless(100000, 'k');
  peakpool_problem p;
  EXPECT_EQ(peakpool_parse(("f32 nchw 1x1x2x2 " + endless).c_str(), &p), PEAKPOOL_INVALID_ARGUMENT);
}

struct Refusal {
  const char* name;
  std::function<void(peakpool_problem*)> change;  // of "f32 nchw 2x3x8x9 k2 s2 p0 window-u8"
  peakpool_status status;
  std::vector<std::string> says;  // parameter and value
};

std::vector<Refusal> Refusals() {
  using P = peakpool_problem*;
  const peakpool_status kInvalid = PEAKPOOL_INVALID_ARGUMENT, kOverflow = PEAKPOOL_SIZE_OVERFLOW;
  return {
      {"StructSize", [](P p) { p->struct_size = 7; }, kInvalid, {"struct_size", "7"}},
      {"TypeBelow", [](P p) { p->type = -1; }, kInvalid, {"type", "-1"}},
      {"TypeAbove", [](P p) { p->type = 12; }, kInvalid, {"type", "12"}},
      {"Layout", [](P p) { p->layout = 2; }, kInvalid, {"layout", "2"}},
      {"RankBelow", [](P p) { p->rank = 0; }, kInvalid, {"rank", "0"}},
      {"RankAbove", [](P p) { p->rank = 4; }, kInvalid, {"rank", "4"}},
      {"Rounding", [](P p) { p->rounding = 9; }, kInvalid, {"rounding", "9"}},
      {"IndexFormat", [](P p) { p->index_format = 8; }, kInvalid, {"index_format", "8"}},
      {"Algorithm", [](P p) { p->algorithm = -5; }, kInvalid, {"algorithm", "-5"}},
      {"Flags", [](P p) { p->flags = 0x10; }, kInvalid, {"flags", "0x10"}},
      {"Reserved", [](P p) { p->reserved = 3; }, kInvalid, {"reserved", "3"}},
      {"Batch", [](P p) { p->batch = -2; }, kInvalid, {"batch", "-2"}},
      {"Channels", [](P p) { p->channels = -7; }, kInvalid, {"channels", "-7"}},
      {"Input", [](P p) { p->input[1] = 0; }, kInvalid, {"input[1]", "0"}},
      {"Kernel", [](P p) { p->kernel[0] = 0; }, kInvalid, {"kernel[0]", "0"}},
      {"Stride", [](P p) { p->stride[1] = -1; }, kInvalid, {"stride[1]", "-1"}},
      {"Dilation", [](P p) { p->dilation[0] = 0; }, kInvalid, {"dilation[0]", "0"}},
      {"PaddingBefore", [](P p) { p->padding[1].before = -3; }, kInvalid, {"padding[1].before", "-3"}},
      {"PaddingAfter", [](P p) { p->padding[0].after = -4; }, kInvalid, {"padding[0].after", "-4"}},
      {"KernelBeyondInput", [](P p) { p->kernel[0] = 10; }, kInvalid, {"kernel[0]", "10", "8"}},
      {"DilatedKernelBeyondInput", [](P p) { p->dilation[1] = 9; }, kInvalid, {"kernel[1]", "10", "9"}},
      {"ExactSizeThatDoesNotDivide", [](P p) { p->rounding = PEAKPOOL_EXACT; }, kInvalid, {"stride[1]", "2", "exact"}},
      {"ExplicitOutput",
       [](P p) {
         p->rounding = PEAKPOOL_EXPLICIT;
         p->output[0] = 2;
         p->output[1] = 0;
       },
       kInvalid,
       {"output[1]", "0"}},
      {"AdaptiveOutput",
       [](P p) {
         p->rounding = PEAKPOOL_ADAPTIVE;
         p->output[0] = 0;
         p->output[1] = 2;
       },
       kInvalid,
       {"output[0]", "0"}},
      {"AdaptiveInput",
       [](P p) {
         p->rounding = PEAKPOOL_ADAPTIVE;
         p->output[0] = p->output[1] = 2;
         p->input[1] = -1;
       },
       kInvalid,
       {"input[1]", "-1"}},
      {"AdaptiveOverflow",
       [](P p) {
         p->rounding = PEAKPOOL_ADAPTIVE;
         p->output[0] = 3;
         p->output[1] = kMost / 4;
       },
       kOverflow,
       {"output[1]", std::to_string(kMost / 4)}},
      {"ClampOrder",
       [](P p) {
         p->flags |= PEAKPOOL_CLAMP;
         p->clamp_lower.real = 2;
         p->clamp_upper.real = 1;
       },
       kInvalid,
       {"clamp_lower", "2", "1"}},
      {"ClampNan",
       [](P p) {
         p->flags |= PEAKPOOL_CLAMP;
         p->clamp_lower.real = 0;
         p->clamp_upper.real = std::nan("");
       },
       kInvalid,
       {"clamp"}},
      {"ExplicitOutputBeyondInput",
       [](P p) {
         p->rounding = PEAKPOOL_EXPLICIT;
         p->output[0] = 2;
         p->output[1] = 6;
       },
       PEAKPOOL_EMPTY_WINDOW,
       {"axis 1", "window 5"}},
      {"EmptyWindow", [](P p) { p->padding[0].before = 2; }, PEAKPOOL_EMPTY_WINDOW, {"padding[0]", "2", "window 0"}},
      {"EffectiveKernelOverflow",
       [](P p) {
         p->kernel[0] = kMost;
         p->dilation[0] = 2;
       },
       kOverflow,
       {"kernel[0]", std::to_string(kMost)}},
      {"PaddedInputOverflow",
       [](P p) { p->padding[1].after = kMost; },
       kOverflow,
       {"padding[1]", std::to_string(kMost)}},
      {"OutputOverflow",
       [](P p) {
         p->rounding = PEAKPOOL_EXPLICIT;
         p->output[0] = kMost;
         p->output[1] = 4;
         p->flags = PEAKPOOL_ALLOW_EMPTY;
       },
       kOverflow,
       {"output[0]", std::to_string(kMost)}},
      {"TensorOverflow",
       [](P p) {
         p->batch = kMost / 4;
         p->channels = 8;
       },
       kOverflow,
       {"input", std::to_string(kMost / 4)}},
      {"PlaneOverflow",
       [](P p) {
         p->index_format = PEAKPOOL_INDEX_PLANE_I32;
         p->input[0] = p->input[1] = int64_t{1} << 32;
       },
       kOverflow,
       {"input", "4294967296"}},
      {"PlaneOverflowWithStrides",
       [](P p) {
         p->index_format = PEAKPOOL_INDEX_PLANE_I64;
         p->batch = 0;
         p->channels = 1;
         p->input[0] = p->input[1] = int64_t{1} << 32;
         p->input_strides = {1, 1, {int64_t{1} << 32, 1, 0}};
       },
       kOverflow,
       {"input_strides.spatial[0]", "4294967296"}},
      {"PositionsOverflow",
       [](P p) {
         p->index_format = PEAKPOOL_INDEX_TENSOR_I64;
         p->batch = p->channels = int64_t{1} << 30;
       },
       kOverflow,
       {"input", "1073741824"}},
      {"TensorBytesOverflow", [](P p) { p->batch = kMost / (3 * 72); }, kOverflow, {"input"}},
      {"InnermostStride",
       [](P p) {
         p->input_strides = {216, 72, {9, 2, 0}};
       },
       kInvalid,
       {"input_strides.spatial[1]", "2"}},
      {"NegativeStride",
       [](P p) {
         p->output_strides = {48, 16, {-4, 1, 0}};
       },
       kInvalid,
       {"output_strides.spatial[0]", "-4"}},
      {"OverlappingRows",
       [](P p) {
         p->input_strides = {216, 72, {8, 1, 0}};
       },
       kInvalid,
       {"input_strides.spatial[0]", "8"}},
      {"OverlappingPlanes",
       [](P p) {
         p->output_strides = {48, 15, {4, 1, 0}};
       },
       kInvalid,
       {"output_strides.channel", "15"}},
      {"TooManyTapsForU8",
       [](P p) {
         p->input[0] = p->input[1] = 64;
         p->kernel[0] = 257;
         p->kernel[1] = 1;
         p->padding[0] = {200, 200};
         p->flags = PEAKPOOL_ALLOW_EMPTY;
       },
       kInvalid,
       {"window-u8", "257"}},
      {"TooManyTapsForU8WithEmptyWindows",
       [](P p) {
         p->kernel[0] = p->kernel[1] = 16;
         p->padding[0] = p->padding[1] = {16, 16};
         p->flags = PEAKPOOL_ALLOW_EMPTY;
       },
       kInvalid,
       {"window-u8", "256"}},
      {"PlaneBeyondI32",
       [](P p) {
         p->index_format = PEAKPOOL_INDEX_PLANE_I32;
         p->batch = p->channels = 1;
         p->input[0] = p->input[1] = 1 << 16;
       },
       kInvalid,
       {"plane-i32", "4294967296"}},
      {"Target", [](P p) { p->target = "AVX9"; }, PEAKPOOL_UNSUPPORTED, {"target", "AVX9"}},
  };
}

TEST(Init, RefusesWhatIsOutsideItsDomain) {
  peakpool_problem p;
  const auto expect_refused = [&](int32_t type, int32_t layout, int32_t rank, const char* says) {
    EXPECT_EQ(peakpool_problem_init(&p, type, layout, rank), PEAKPOOL_INVALID_ARGUMENT);
    EXPECT_NE(std::string(peakpool_last_error()).find(says), std::string::npos) << peakpool_last_error();
  };
  expect_refused(-1, 0, 2, "type = -1");
  expect_refused(12, 0, 2, "type = 12");
  expect_refused(0, -1, 2, "layout = -1");
  expect_refused(0, 2, 2, "layout = 2");
  expect_refused(0, 0, 0, "rank = 0");
  expect_refused(0, 0, 4, "rank = 4");
  EXPECT_EQ(peakpool_problem_init(&p, 11, 1, 3), PEAKPOOL_OK);
}

class Refused : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refused, WithStatusParameterAndValue) {
  const Refusal& refusal = GetParam();
  peakpool_problem problem = Parsed("f32 nchw 2x3x8x9 k2 s2 window-u8");
  ASSERT_TRUE(Plan(problem));
  refusal.change(&problem);
  peakpool_plan* plan = reinterpret_cast<peakpool_plan*>(&problem);
  ASSERT_EQ(peakpool_plan_create(&problem, &plan), refusal.status) << peakpool_last_error();
  EXPECT_EQ(plan, nullptr);
  const std::string error = peakpool_last_error();
  for (const std::string& part : refusal.says) {
    EXPECT_NE(error.find(part), std::string::npos) << "\"" << error << "\" does not say " << part;
  }
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(Problem, Refused, ::testing::ValuesIn(Refusals()),
                         [](const ::testing::TestParamInfo<Refusal>& info) { return info.param.name; });

TEST(Accepted, LegalButUnusual) {
  for (const char* text : {"f32 nchw 1x1x8x9 k2 s5", "f32 nchw 1x1x8x9 k2 s1 p1", "f32 nchw 1x1x8x9 k3 s1 p2",
                           "f32 nchw 1x1x8x9 k3 s1 p9 allow-empty", "f32 nchw 1x1x16x16 k16 window-u8",
                           "f32 nchw 1x1x1x1 k1 window-u8", "f32 nchw 0x0x4x4 k2", "f32 ncw 1x1x5 k2 s1099511627776",
                           "f32 nchw 1x2x4x4 k2 xs=32x16x4x1 ys=999x4x2x1", "f32 nchw 3x1x4x4 k2 xs=16x0x4x1"}) {
    const Plan plan(Parsed(text));
    EXPECT_TRUE(plan) << text << ": " << plan.error();
  }
}

constexpr int64_t kMostSize = int64_t{1} << 40;  // of an axis, as documented at PEAKPOOL_SIZE_OVERFLOW

// The text with a number in place of each #, then "" or the error for SIZE_OVERFLOW; other errors fail.
std::string OverflowOf(std::string text, int64_t number) {
  for (size_t at; (at = text.find('#')) != std::string::npos;) text.replace(at, 1, std::to_string(number));
  const Plan plan(Parsed(text));
  EXPECT_TRUE(plan || plan.status() == PEAKPOOL_SIZE_OVERFLOW) << text << ": " << plan.error();
  return plan.error();
}

TEST(SizeOverflow, EachParameterIsAtMost2To40) {
  const struct {
    const char* parameter;
    const char* text;
    bool accepted = true;  // at the bound, else refused for another reason
  } kCases[] = {
      {"input[0]", "u8 ncw 1x1x# k1"},
      {"input[0]", "u8 ncw 1x1x# a1"},
      {"kernel[0]", "u8 ncw 1x1x5 k# s1 o1"},
      {"kernel[1]", "u8 nchw 1x1x5x5 k2x# s1 o1"},
      {"stride[0]", "u8 ncw 1x1x5 k2 s#"},
      {"stride[1]", "u8 nchw 1x1x5x5 k2 s1x#"},
      {"dilation[0]", "u8 ncw 1x1x5 k1 s1 d#"},
      {"padding[0].before", "u8 ncw 1x1x5 k1 s1 p#:0 o1 allow-empty", false},
      {"padding[0].after", "u8 ncw 1x1x5 k1 s1 p0:# o1", false},
      {"output[0]", "u8 ncw 1x1x5 k1 s1 o# allow-empty"},
      {"output[0]", "u8 ncw 1x1x5 a#"},
  };
  for (const auto& c : kCases) {
    const std::string at_bound = OverflowOf(c.text, kMostSize);
    EXPECT_EQ(at_bound.empty(), c.accepted) << c.text << ": " << at_bound;
    EXPECT_EQ(at_bound.find(std::string(c.parameter) + " ="), std::string::npos) << at_bound;
    for (int64_t beyond : {kMostSize + 1, kMost / 2, kMost - 1, kMost}) {
      const std::string error = OverflowOf(c.text, beyond);
      EXPECT_NE(error.find(std::string(c.parameter) + " = " + std::to_string(beyond)), std::string::npos) << error;
      EXPECT_NE(error.find(std::to_string(kMostSize)), std::string::npos) << error;
    }
  }
}

// What parameters make together; each text is accepted with the number and refused with the next.
TEST(SizeOverflow, SoIsWhatTheyMakeTogether) {
  const struct {
    const char* text;
    int64_t most;
    std::vector<const char*> says;
  } kCases[] = {
      {"u8 ncw 1x1x5 k1 s1 p#:0 o1 allow-empty", kMostSize - 5, {"padding[0]", "1099511627772:0", "1099511627777"}},
      {"u8 ncw 1x1x5 k1 s1 p3:# o1 allow-empty", kMostSize - 8, {"padding[0]", "3:1099511627769"}},
      {"u8 ncw 1x1x5 k2 s1 d# o1", kMostSize - 1, {"kernel[0] = 2", "dilation[0] = 1099511627776"}},
      {"u8 ncw 1x1x5 k1 s# o2 allow-empty", kMostSize - 1, {"output[0] = 2", "stride[0] = 1099511627776"}},
      {"u8 ncw 1x1x5 k4 s1 o# allow-empty", kMostSize - 3, {"output[0] = 1099511627774", "stride[0] = 1"}},
      {"u8 ncw 1x1x1048576 a#", int64_t{1} << 36, {"output[0] = 68719476737", "1048576"}},
      // Of all axes, batch and channels: 2^56.
      {"u8 nchw 2x2x4x4 k134217728x# s1 o1", 1 << 27, {"input[1] = 4", "134217729", "72057594037927936"}},
      {"u8 nchw #x2x4x4 k134217728 s1 o1", 2, {"input[1] = 4", "134217728", "72057594037927936"}},
      {"u8 ncw 1x#x4 k1", int64_t{1} << 54, {"input", "72057594037927940", "72057594037927936"}},
      {"u8 nchw 1x1x2x4 k1048576x1 s1 o1x4 xs=99x99x#x1", int64_t{1} << 36, {"input_strides.spatial[0] = 68719476737"}},
      // Of the window: 2^32 - 1 taps, which an axis that has no taps in range counts for.
      {"u8 nchw 1x1x4x4 k65537x# s1 p65536 o1 allow-empty plane-i64", 65535, {"plane-i64", "4295032832", "65537"}},
      {"u8 ncdhw 1x1x4x4x4 k3x5x# s1 o1 tensor-i64", 286331153, {"tensor-i64", "4294967310", "4294967295"}},
      {"u8 ncdhw 1x1x4x4x4 k3x5x# s1 o1 plane-i32", 286331153, {"plane-i32", "4294967310", "4294967295"}},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(OverflowOf(c.text, c.most), "") << c.text;
    const std::string error = OverflowOf(c.text, c.most + 1);
    EXPECT_NE(error, "") << c.text;
    for (const char* part : c.says) {
      EXPECT_NE(error.find(part), std::string::npos) << "\"" << error << "\" does not say " << part;
    }
  }
  EXPECT_TRUE(Plan(Parsed("f32 nchw 1x1x4x4 k65536x65536 s1 o1"))) << "no indices, no bound on the taps";
}

TEST(SizeOverflow, RefusesWhatWouldOverflowOnTheWay) {
  for (const char* text :
       {"f32 ncw 1x1x5 k1 s9223372036854775805 o2",
        "f32 ncw 1x1x5 k1 d4611686018427387904 p4611686018427387905:0 s1 o1",
        "f32 ncw 1x1x5 k4 s100 d2305843009213693951 p6917529027641081853:0",
        "f32 nhwc 2x3x40x40 k30 s9223372036854775807 p2:0 plane-i64", "f32 ncw 1x1x5 a9223372036854775807",
        "f32 nchw 1x1x5x5 k4611686018427387905x1 s1 p4611686018427387902x0", "f32 nchw 1x1x5x5 k3 d2305843009213693952",
        "f32 ncdhw 1x2x2x3x3 k2x70000x70000 s1 p0x69999x69999 o1x3x3 plane-i64",
        "f32 nchw 1x2x5x5 k70000 s1 p70001:0 o3x3 plane-i64 allow-empty",
        "f32 ncdhw 1x1x5x5x5 k2097152 s1 p2097151 o5"}) {
    peakpool_problem problem = Parsed(text);
    EXPECT_EQ(Plan(problem).status(), PEAKPOOL_SIZE_OVERFLOW) << text;
    if (problem.rank != 2) continue;
    peakpool_stream* stream = nullptr;
    EXPECT_EQ(peakpool_stream_create(&problem, &stream), PEAKPOOL_SIZE_OVERFLOW) << text;
  }
  for (const char* text : {"f32 ncw 1x1x5 k4611686018427387904", "f32 ncw 1x1x5 k5 d4611686018427387904",
                           "f32 ncw 1x1x5 k2 d1099511627776"}) {
    peakpool_problem problem = Parsed(text);
    EXPECT_EQ(peakpool_pad_same_upper(&problem), PEAKPOOL_SIZE_OVERFLOW) << text;
    EXPECT_EQ(peakpool_pad_same_lower(&problem), PEAKPOOL_SIZE_OVERFLOW) << text;
  }
}

TEST(Target, NamesAreUsableAndEndWithNull) {
  const std::vector<std::string> targets = Targets();
  for (const std::string& target : targets) {
    peakpool_problem problem = Parsed("f32 nchw 1x1x4x4 k2");
    problem.target = target.c_str();
    const Plan plan(problem);
    ASSERT_TRUE(plan) << plan.error();
    EXPECT_EQ(plan.problem().target, nullptr) << "not kept";
    std::vector<char> text(peakpool_explain(plan.get(), nullptr, 0) + 1);
    peakpool_explain(plan.get(), text.data(), text.size());
    EXPECT_NE(std::string(text.data()).find(target), std::string::npos) << text.data();
  }
  EXPECT_EQ(peakpool_target_name(static_cast<int>(targets.size())), nullptr);
  EXPECT_EQ(peakpool_target_name(-1), nullptr);
}

TEST(Target, NoneIsTheReference) {
  peakpool_problem problem = Parsed("f32 nchw 1x1x4x4 k2");
  problem.target = "none";
  const Plan plan(problem);
  ASSERT_TRUE(plan) << plan.error();
  std::vector<char> text(peakpool_explain(plan.get(), nullptr, 0) + 1);
  peakpool_explain(plan.get(), text.data(), text.size());
  EXPECT_NE(std::string(text.data()).find("forward: im2col ("), std::string::npos) << text.data();
  EXPECT_NE(std::string(text.data()).find("target: none"), std::string::npos) << text.data();
}

TEST(Version, IsThere) {
  EXPECT_EQ(peakpool_abi_version(), PEAKPOOL_ABI_VERSION);
  EXPECT_STRNE(peakpool_version(), "");
  for (int status = PEAKPOOL_OK; status <= PEAKPOOL_OUT_OF_MEMORY; ++status) {
    EXPECT_STRNE(peakpool_status_name(status), "");
  }
  EXPECT_NE(peakpool_status_name(99), nullptr);
}

}  // namespace
}  // namespace peakpool::tests
