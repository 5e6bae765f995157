// SPDX-License-Identifier: Apache-2.0
// Pyramids: one call equals separate poolings, each written to its channels of one output.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/guard.h"
#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

using Kernels = std::vector<int64_t>;

class Pyramid {
 public:
  Pyramid(const peakpool_problem& problem, const Kernels& kernels)
      : status_(peakpool_pyramid_create(&problem, kernels.data(), static_cast<int32_t>(kernels.size()), &pyramid_)) {}
  ~Pyramid() { peakpool_pyramid_destroy(pyramid_); }
  Pyramid(const Pyramid&) = delete;
  Pyramid& operator=(const Pyramid&) = delete;
  explicit operator bool() const { return pyramid_ != nullptr; }
  const peakpool_pyramid* get() const { return pyramid_; }
  peakpool_status status() const { return status_; }

 private:
  peakpool_pyramid* pyramid_ = nullptr;
  peakpool_status status_;
};

// The same windows one by one, by the reference, into the output of all channels.
Bytes Separately(const peakpool_problem& problem, const peakpool_problem& whole, const Kernels& kernels,
                 const Bytes& x) {
  Bytes y = Untouched(OutputBytes(whole));
  int64_t channel = 0;
  for (int64_t kernel : kernels) {
    peakpool_problem level = problem;
    for (int a = 0; a < level.rank; ++a) {
      level.kernel[a] = kernel;
      level.stride[a] = 1;
      level.padding[a] = {kernel / 2, kernel / 2};
    }
    level.output_strides = whole.output_strides;
    level.algorithm = PEAKPOOL_IM2COL;
    const Plan plan(level);
    EXPECT_TRUE(plan) << plan.error();
    if (!plan) return y;
    uint8_t* to = y.data() + static_cast<size_t>(channel * whole.output_strides.channel) * ElementBytes(level.type);
    EXPECT_EQ(peakpool_forward(plan.get(), x.data(), to, nullptr, nullptr), PEAKPOOL_OK) << peakpool_last_error();
    channel += level.channels;
  }
  return y;
}

// The output as one tensor of all channels, whose strides, unless given, are the dense ones.
peakpool_problem Whole(const peakpool_problem& problem, size_t levels) {
  peakpool_problem whole = problem;
  whole.channels *= static_cast<int64_t>(levels);
  for (int a = 0; a < whole.rank; ++a) whole.kernel[a] = whole.stride[a] = 1;
  whole.input_strides = {};
  return Plan(whole).problem();
}

struct Case {
  const char* text;  // the window is not read
  Kernels kernels;
};
const Case kCases[] = {
    {"nchw 1x4x20x20 k1", {5, 9, 13}},
    {"nhwc 1x4x20x20 k1", {5, 9, 13}},
    {"nchw 2x3x13x7 k1", {3, 5, 7, 11}},
    {"nhwc 2x19x6x9 k1", {3, 5, 7, 11}},
    {"nchw 2x2x9x40 k1", {1, 5, 9, 13}},
    {"nhwc 2x33x4x5 k1", {1, 3}},
    {"nchw 1x2x5x6 k1", {1}},
    {"nchw 1x2x5x6 k1", {7}},
    {"ncw 3x2x30 k1", {3, 9}},
    {"nwc 3x5x30 k1", {5, 7, 21}},
    {"ncdhw 2x2x5x6x7 k1", {3, 5}},
    {"ndhwc 1x3x5x4x6 k1", {1, 3, 9}},
    {"nchw 1x1x30x30 k1", {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}},
    // A slice of a larger input; an output with room between rows, planes and pixels.
    {"nchw 2x2x4x5 k1 xs=60x30x6x1 ys=400x40x7x1", {3, 5}},
    {"nhwc 2x2x4x5 k1 xs=200x1x40x5 ys=900x1x90x11", {3, 5}},
};

TEST(Pyramid, EqualsSeparatePoolings) {
  Random random(51);
  GuardedBuffer x_buffer, y_buffer;
  for (const char* type : {"f32", "f64", "f16", "bf16", "i8", "u16", "i64"}) {
    for (const Case& c : kCases) {
      peakpool_problem problem = Parsed(std::string(type) + " " + c.text);
      const peakpool_problem whole = Whole(problem, c.kernels.size());
      peakpool_problem resolved = whole;
      resolved.channels = problem.channels;
      resolved.input_strides = problem.input_strides;
      if (resolved.input_strides.channel == 0) {
        peakpool_problem dense = problem;
        dense.output_strides = {};
        resolved.input_strides = Plan(dense).problem().input_strides;
      }
      const Bytes x = RandomElements(problem.type, InputBytes(resolved), Fill::kTies, &random);
      const Bytes expected = Separately(problem, whole, c.kernels, x), before = Untouched(expected.size());
      std::vector<std::string> targets = Targets();
      targets.push_back("im2col");
      for (const std::string& target : targets) {
        if (target == "im2col") {
          problem.target = nullptr;
          problem.algorithm = PEAKPOOL_IM2COL;
        } else {
          problem.target = target.c_str();
        }
        const Pyramid pyramid(problem, c.kernels);
        ASSERT_TRUE(pyramid) << peakpool_last_error();
        for (Side side : kSides) {
          const uint8_t* input = x_buffer.Copy(x.data(), x.size(), side);
          uint8_t* y = y_buffer.Copy(before.data(), before.size(), side);
          NoteRunning("pyramid", problem);
          ASSERT_EQ(peakpool_pyramid_forward(pyramid.get(), input, y, nullptr), PEAKPOOL_OK) << peakpool_last_error();
          ASSERT_TRUE(SameBytes(Bytes(y, y + before.size()), expected, ElementBytes(problem.type)))
              << type << " " << c.text << " on " << target << ", first kernel " << c.kernels[0];
        }
      }
    }
  }
}

TEST(Pyramid, GivesTheSameBytesForEveryExecutor) {
  Random random(52);
  for (const char* text : {"f32 nchw 1x1x300x400 k1", "f32 nhwc 1x67x64x50 k1", "u8 nchw 4x8x64x80 k1"}) {
    const peakpool_problem problem = Parsed(text);
    const Kernels kernels = {5, 9, 13};
    const Pyramid pyramid(problem, kernels);
    ASSERT_TRUE(pyramid) << peakpool_last_error();
    const peakpool_problem whole = Whole(problem, kernels.size());
    const Bytes x = RandomElements(problem.type, InputBytes(Plan(problem).problem()), Fill::kTies, &random);
    Bytes serial = Untouched(OutputBytes(whole));
    ASSERT_EQ(peakpool_pyramid_forward(pyramid.get(), x.data(), serial.data(), peakpool_serial_executor()),
              PEAKPOOL_OK);
    for (const NamedExecutor& named : Executors()) {
      Bytes y = Untouched(serial.size());
      ASSERT_EQ(peakpool_pyramid_forward(pyramid.get(), x.data(), y.data(), named.get()), PEAKPOOL_OK);
      EXPECT_TRUE(SameBytes(y, serial, ElementBytes(problem.type))) << text << ", " << named.name;
    }
  }
}

TEST(PyramidErrors, KernelsAndLevels) {
  const peakpool_problem problem = Parsed("f32 nchw 1x2x8x8 k1");
  const auto refused = [&](const Kernels& kernels, int32_t levels, const std::string& says) {
    peakpool_pyramid* pyramid = reinterpret_cast<peakpool_pyramid*>(1);
    EXPECT_EQ(peakpool_pyramid_create(&problem, kernels.data(), levels, &pyramid), PEAKPOOL_INVALID_ARGUMENT) << says;
    EXPECT_EQ(pyramid, nullptr);
    EXPECT_NE(std::string(peakpool_last_error()).find(says), std::string::npos)
        << "\"" << peakpool_last_error() << "\" does not say " << says;
  };
  refused({5, 8}, 2, "kernels[1] = 8");
  refused({0}, 1, "kernels[0] = 0");
  refused({-3}, 1, "kernels[0] = -3");
  refused({5, 5}, 2, "kernels[1] = 5");
  refused({5, 9, 7}, 3, "kernels[2] = 7");
  refused({5}, 0, "levels = 0");
  refused({5}, -1, "levels = -1");
  Kernels many;
  for (int64_t k = 1; k <= 33; k += 2) many.push_back(k);
  refused(many, 17, "levels = 17");
  for (const int64_t kernel : {(int64_t{1} << 40) + 1, (int64_t{1} << 62) + 1, INT64_MAX}) {
    EXPECT_EQ(Pyramid(problem, {3, kernel}).status(), PEAKPOOL_SIZE_OVERFLOW);
    EXPECT_NE(std::string(peakpool_last_error()).find("kernels[1] = " + std::to_string(kernel)), std::string::npos)
        << peakpool_last_error();
  }
  peakpool_pyramid* pyramid = nullptr;
  const int64_t five = 5;
  EXPECT_EQ(peakpool_pyramid_create(nullptr, &five, 1, &pyramid), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(peakpool_pyramid_create(&problem, nullptr, 1, &pyramid), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(peakpool_pyramid_create(&problem, &five, 1, nullptr), PEAKPOOL_INVALID_ARGUMENT);
  peakpool_pyramid_destroy(nullptr);
}

TEST(PyramidErrors, ProblemsAndTensors) {
  const Kernels kernels = {3, 5};
  const auto status = [&](auto change) {
    peakpool_problem problem = Parsed("f32 nchw 1x2x8x8 k1");
    change(&problem);
    return Pyramid(problem, kernels).status();
  };
  EXPECT_EQ(status([](peakpool_problem* p) { p->struct_size = 3; }), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(status([](peakpool_problem* p) { p->rank = 0; }), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(status([](peakpool_problem* p) { p->rank = 4; }), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(status([](peakpool_problem* p) { p->type = 12; }), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(status([](peakpool_problem* p) { p->target = "AVX9"; }), PEAKPOOL_UNSUPPORTED);
  EXPECT_EQ(status([](peakpool_problem* p) { p->channels = INT64_MAX / 2; }), PEAKPOOL_SIZE_OVERFLOW);
  EXPECT_EQ(status([](peakpool_problem* p) { p->channels = INT64_MAX; }), PEAKPOOL_SIZE_OVERFLOW);
  // The second level's channels would lie on the second batch's first.
  EXPECT_EQ(status([](peakpool_problem* p) {
              p->batch = 2;
              p->output_strides = {128, 64, {8, 1, 0}};
            }),
            PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(status([](peakpool_problem* p) { p->kernel[0] = -1; }), PEAKPOOL_OK) << "the window is not read";

  const Pyramid pyramid(Parsed("f32 nchw 1x1x4x4 k1"), kernels);
  ASSERT_TRUE(pyramid) << peakpool_last_error();
  float x[16] = {}, y[48];
  EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), x, y, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  EXPECT_EQ(peakpool_pyramid_forward(nullptr, x, y, nullptr), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), nullptr, y, nullptr), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), x, nullptr, nullptr), PEAKPOOL_INVALID_ARGUMENT);
  EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), y + 31, y, nullptr), PEAKPOOL_INVALID_ARGUMENT) << "overlap";
  EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), y + 32, y, nullptr), PEAKPOOL_OK) << "side by side";
  for (const char* empty : {"f32 nchw 0x2x4x4 k1", "f32 nchw 2x0x8x8 k1", "f32 nhwc 2x0x8x8 k1"}) {
    const Pyramid nothing(Parsed(empty), kernels);
    EXPECT_EQ(peakpool_pyramid_forward(nothing.get(), nullptr, nullptr, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  }
}

// Spatial pyramid pooling as networks have it: the input is the first quarter of the channels of the result.
TEST(Pyramid, PoolsWithinOneConcatenatedBuffer) {
  for (const char* text :
       {"f32 nhwc 2x5x9x7 k1 xs=1260x1x140x20 ys=1260x1x140x20", "f32 nchw 2x5x9x7 k1 xs=1260x63x7x1 ys=1260x63x7x1"}) {
    const peakpool_problem problem = Parsed(text);
    const Kernels kernels = {5, 9, 13};
    const Pyramid pyramid(problem, kernels);
    ASSERT_TRUE(pyramid) << peakpool_last_error();
    Random random(3);
    Bytes buffer = RandomElements(PEAKPOOL_F32, 2520 * 4, Fill::kTies, &random), apart = buffer;
    const Bytes x = buffer;
    const ptrdiff_t first = 5 * problem.output_strides.channel * 4;  // of y
    EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), x.data(), apart.data() + first, nullptr), PEAKPOOL_OK);
    EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), buffer.data(), buffer.data() + first, nullptr), PEAKPOOL_OK)
        << peakpool_last_error();
    EXPECT_TRUE(SameBytes(buffer, apart, 4));
    EXPECT_EQ(peakpool_pyramid_forward(pyramid.get(), buffer.data(), buffer.data() + first - 4, nullptr),
              PEAKPOOL_INVALID_ARGUMENT);
  }
}

}  // namespace
}  // namespace peakpool::tests
