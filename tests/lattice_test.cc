// SPDX-License-Identifier: Apache-2.0
// The kernels a plan chooses against the im2col reference, through the public API: every small geometry, on every
// target.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

// Compares forward with and without indices, and backward, on one target. False stops a lattice at its first failure.
class Comparison {
 public:
  bool Check(peakpool_problem problem, const std::vector<std::string>& targets) {
    problem.algorithm = PEAKPOOL_IM2COL;
    const Plan reference(problem);
    problem.algorithm = PEAKPOOL_AUTO;
    const peakpool_executor* serial = peakpool_serial_executor();
    if (!reference) {
      // Not a geometry; both must say so in the same words.
      const Plan plan(problem);
      EXPECT_EQ(plan.status(), reference.status()) << Described(problem);
      EXPECT_EQ(plan.error(), reference.error()) << Described(problem);
      return !::testing::Test::HasFailure();
    }
    const peakpool_problem& p = reference.problem();
    const Bytes x =
        RandomElements(p.type, InputBytes(p), ++checks_ % 4 == 0 ? Fill::kTies : Fill::kFiniteTies, &random_);
    const Forward expected = RunForward(reference, x, true, serial);
    const Bytes dx_before =
        p.flags & PEAKPOOL_ACCUMULATE ? RandomGradients(p.type, InputBytes(p), &random_) : Untouched(InputBytes(p));
    Bytes dy, dx_expected;
    if (IsFloatType(p.type)) {
      dy = RandomGradients(p.type, OutputBytes(p), &random_);
      dx_expected = RunBackward(reference, dy, expected.index, dx_before, serial);
    }
    for (const std::string& target : targets) {
      problem.target = target.c_str();
      const Plan plan(problem);
      EXPECT_TRUE(plan) << plan.error();
      if (!plan) return false;
      const Forward actual = RunForward(plan, x, true, serial);
      EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type))) << "y";
      EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format))) << "index";
      EXPECT_TRUE(SameBytes(RunForward(plan, x, false, serial).y, expected.y, ElementBytes(p.type)))
          << "y without index";
      if (IsFloatType(p.type)) {
        EXPECT_TRUE(
            SameBytes(RunBackward(plan, dy, expected.index, dx_before, serial), dx_expected, ElementBytes(p.type)))
            << "dx";
      }
      if (::testing::Test::HasFailure()) {
        ADD_FAILURE() << Described(problem) << " on " << target;
        return false;
      }
    }
    return true;
  }

 private:
  Random random_{3};
  uint64_t checks_ = 0;
};

struct AxisCase {
  int64_t kernel, stride, before, after;
};
// k 1 to 4, s 1 to 4, each pad 0 to k independently where `asymmetric`.
std::vector<AxisCase> AxisCases(bool asymmetric) {
  std::vector<AxisCase> cases;
  for (int64_t k = 1; k <= 4; ++k) {
    for (int64_t s = 1; s <= 4; ++s) {
      for (int64_t before = 0; before <= k; ++before) {
        for (int64_t after = asymmetric ? 0 : before; after <= (asymmetric ? k : before); ++after) {
          cases.push_back({k, s, before, after});
        }
      }
    }
  }
  return cases;
}

peakpool_problem Planar(int32_t layout, int64_t n, int64_t c, int64_t h, int64_t w, const AxisCase& rows,
                        const AxisCase& columns, int32_t rounding) {
  peakpool_problem p;
  EXPECT_EQ(peakpool_problem_init(&p, PEAKPOOL_F32, layout, 2), PEAKPOOL_OK);
  p.batch = n;
  p.channels = c;
  p.input[0] = h;
  p.input[1] = w;
  const AxisCase* axes[] = {&rows, &columns};
  for (int a = 0; a < 2; ++a) {
    p.kernel[a] = axes[a]->kernel;
    p.stride[a] = axes[a]->stride;
    p.padding[a] = {axes[a]->before, axes[a]->after};
  }
  p.rounding = rounding;
  p.index_format = PEAKPOOL_INDEX_WINDOW_U8;
  p.flags = PEAKPOOL_ALLOW_EMPTY;
  return p;
}

// Square windows over every plane of 1 to 8 by 1 to 8.
TEST(Lattice, SquareWindowsOnEverySmallPlane) {
  Comparison comparison;
  const std::vector<std::string> targets = Targets();
  size_t turn = 0;
  for (int32_t layout : {PEAKPOOL_CHANNELS_FIRST, PEAKPOOL_CHANNELS_LAST}) {
    for (int32_t rounding : {PEAKPOOL_FLOOR, PEAKPOOL_CEIL}) {
      for (const AxisCase& axis : AxisCases(false)) {
        for (int64_t h = 1; h <= 8; ++h) {
          for (int64_t w = 1; w <= 8; ++w) {
            const int64_t n = 1 + static_cast<int64_t>(turn % 2), c = 1 + static_cast<int64_t>(turn / 2 % 3);
            // One target per geometry in turn, and all of them for the planes that are as wide as they are high.
            const std::vector<std::string> one = {targets[turn++ % targets.size()]};
            if (!comparison.Check(Planar(layout, n, c, h, w, axis, axis, rounding), h == w ? targets : one)) return;
          }
        }
      }
    }
  }
}

// Every pair of row and column geometry, pads before and after independent.
TEST(Lattice, RectangularWindows) {
  Comparison comparison;
  const std::vector<std::string> targets = Targets();
  const std::vector<AxisCase> cases = AxisCases(true);
  size_t turn = 0;
  for (const AxisCase& rows : cases) {
    for (const AxisCase& columns : cases) {
      const size_t i = turn++;
      const int32_t layout = i % 2 == 0 ? PEAKPOOL_CHANNELS_FIRST : PEAKPOOL_CHANNELS_LAST;
      const int32_t rounding = i / 2 % 2 == 0 ? PEAKPOOL_FLOOR : PEAKPOOL_CEIL;
      const int64_t h = 1 + static_cast<int64_t>(i % 7), w = 1 + static_cast<int64_t>(i % 11);
      const int64_t c = 1 + static_cast<int64_t>(i % 3);
      const std::vector<std::string> one = {targets[i % targets.size()]};
      if (!comparison.Check(Planar(layout, 1, c, h, w, rows, columns, rounding), one)) return;
    }
  }
}

// Wide enough for whole vectors and every tail: the small windows that have kernels of their own, and neighbours.
TEST(Lattice, LongLines) {
  Comparison comparison;
  const std::vector<std::string> targets = Targets();
  for (const AxisCase& axis :
       {AxisCase{2, 1, 0, 0}, AxisCase{2, 1, 0, 1}, AxisCase{2, 2, 0, 0}, AxisCase{2, 2, 1, 1}, AxisCase{3, 1, 1, 1},
        AxisCase{3, 2, 1, 1}, AxisCase{3, 2, 0, 1}, AxisCase{3, 3, 0, 0}, AxisCase{5, 1, 2, 2}, AxisCase{4, 3, 1, 2}}) {
    for (int64_t width = 1; width <= 70; ++width) {
      for (int64_t height : {3, 6}) {
        if (!comparison.Check(Planar(PEAKPOOL_CHANNELS_FIRST, 1, 2, height, width, axis, axis, PEAKPOOL_CEIL),
                              targets)) {
          return;
        }
        if (!comparison.Check(Planar(PEAKPOOL_CHANNELS_LAST, 1, width, height, 7, axis, axis, PEAKPOOL_CEIL),
                              targets)) {
          return;
        }
      }
    }
  }
}

// Strides that leave gaps, which must stay as they were: slices, channel ranges, padded rows.
TEST(Lattice, StridedTensors) {
  Comparison comparison;
  const std::vector<std::string> targets = Targets();
  for (const char* text : {"f32 nchw 2x2x9x21 k2 s2 window-u8 xs=3000x700x30x1 ys=800x300x17x1",
                           "f32 nchw 2x3x9x21 k3 s2 p1 window-u8 xs=567x189x21x1 ys=1000x200x11x1",
                           "f32 nchw 2x2x9x40 k3 s1 p1 window-u8 xs=900x400x41x1 ys=1000x450x50x1",
                           "f32 nhwc 2x19x6x7 k2 s2 window-u8 xs=2000x1x300x33 ys=900x1x200x24",
                           "f32 nhwc 2x19x6x7 k3 s2 p1 window-u8 xs=2000x1x300x19 ys=900x1x200x64",
                           "f32 nhwc 2x33x6x7 k3 s1 p1 window-u8 xs=4000x1x500x50 ys=4000x1x500x60",
                           "f32 nchw 2x2x9x40 k5x2 s1x3 p2x1 window-u16 xs=900x400x41x1 ys=1000x450x50x1",
                           "f32 nhwc 2x33x6x7 k4 s3 p1 plane-i64 xs=4000x1x500x50 ys=4000x1x500x60",
                           "f32 ncdhw 2x2x5x6x20 k3 s2 p1 plane-i32 xs=9000x4000x700x30x1 ys=4000x700x200x20x1"}) {
    peakpool_problem problem = Parsed(text);
    if (!comparison.Check(problem, targets)) return;
    problem.flags |= PEAKPOOL_ACCUMULATE;
    if (!comparison.Check(problem, targets)) return;
  }
}

// Images enough that vectors run across them, and some more; side by side where lines are longer.
TEST(Lattice, ManySmallImages) {
  Comparison comparison;
  const std::vector<std::string> targets = Targets();
  for (const char* geometry : {"ncw 331x1x4 k5 s7 p2:1 ceil",
                               "ncw 150x3x31 k37 s37 p8 ceil",
                               "ncw 500x1x9 k2 s1 p1:0",
                               "nwc 300x3x17 k4 s2 p2 d2",
                               "nwc 203x2x47 k33 s21 p9:13 d2 ceil",
                               "nwc 203x6x44 k20 s20 p3:12 d2 ceil",
                               "nwc 9x2x300 k3 s3 p1:2 d2",
                               "nchw 150x2x4x2 k2 s1",
                               "nchw 77x3x10x5 k3 s3 d2 ceil",
                               "nchw 70x5x8x9 k3x1 s1x2 p1:0x0:0",
                               "nhwc 300x3x2x12 k2x3 s3",
                               "nhwc 131x2x9x13 k4x3 s2x3 p1",
                               "ncdhw 40x3x4x6x4 k2x1x1 s1x2x1 d2x3x1",
                               "ncdhw 140x1x7x7x1 k4 s6 ceil",
                               "ncdhw 20x3x9x4x15 k2 s2",
                               "ncdhw 11x2x12x10x33 k3 s2 p1 d2",
                               "ncdhw 2x3x25x9x40 k5x3x2 s2x1x3 p2x1x0",
                               "ndhwc 131x1x17x3x1 k3 s1x1x3 p0:1x2:2x2:2 d1x2x2",
                               "ndhwc 9x5x7x9x15 k2x3x1 s2x1x4 p0:0x0:1x0:0",
                               "ncw 150x2x21 a5",
                               "nwc 150x3x7 a9",
                               "nchw 90x2x9x11 a4x3",
                               "ndhwc 21x2x5x6x7 a3x4x5"}) {
    for (const char* type : {"f32", "f64", "bf16", "u8"}) {
      for (const char* index : {" window-u16", " tensor-colmajor-i64"}) {
        if (!comparison.Check(Parsed(std::string(type) + " " + geometry + index), targets)) return;
      }
    }
  }
}

// Every type, format and rank, dilation included.
TEST(Lattice, TypesFormatsRanks) {
  Comparison comparison;
  const std::vector<std::string> targets = Targets();
  for (const char* geometry :
       {"nchw 2x3x12x37 k2 s2", "nchw 1x3x11x38 k3 s2 p1 ceil", "nchw 1x2x9x33 k3 s1 p1", "nhwc 1x37x7x8 k2 s2",
        "nhwc 1x20x7x9 k3 s2 p1", "nhwc 2x3x7x9 k3 s1 p1", "nchw 1x2x9x33 k3 s1 p1 d2", "nhwc 1x20x9x9 k3 s2 p2 d3",
        "ncw 2x3x40 k3 s2 p1", "nwc 2x3x40 k3 s2 p1", "ncdhw 1x2x5x6x19 k2 s2", "ndhwc 1x19x5x6x4 k3 s1 p1",
        "nchw 1x2x20x21 k13 s1 p6", "nhwc 1x18x20x11 k9 s1 p4"}) {
    for (const char* type : {"f32", "f64", "f16", "bf16", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"}) {
      for (const char* index :
           {"window-u8", "window-u16", "window-u32", "plane-i32", "plane-i64", "tensor-i64", "tensor-colmajor-i64"}) {
        peakpool_problem problem = Parsed(std::string(type) + " " + geometry + " " + index);
        if (!comparison.Check(problem, targets)) return;
        problem.flags |= PEAKPOOL_ACCUMULATE;
        if (!comparison.Check(problem, {targets.front()})) return;
      }
    }
  }
}

}  // namespace
}  // namespace peakpool::tests
