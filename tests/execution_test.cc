// SPDX-License-Identifier: Apache-2.0
// What does not depend on geometry: executors and thread counts give the same bytes, plans are shared by threads,
// untrusted indices are caught, pointers are checked.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

// Large enough to be split: by planes, by row bands of one plane, by channels, and one line only. The last ones have
// gaps between pixels, lines, planes or images, and are copied to blocks: whole slices, or rows of them.
const char* const kProblems[] = {"f32 nchw 4x8x64x80 k3 s2 p1 window-u8",
                                 "f32 nchw 1x1x512x300 k3 s1 p1 window-u8",
                                 "f32 nchw 1x1x512x300 k2 s2 plane-i64",
                                 "f32 nchw 1x1x301x515 k3 s2 p1 ceil window-u16",
                                 "f32 nchw 1x3x1x90000 k1x5 s1x2 window-u8",
                                 "f32 nhwc 1x67x64x50 k3 s2 p1 window-u8",
                                 "f32 nhwc 2x64x50x64 k2 s2 window-u8",
                                 "f32 nhwc 1x30000x3x3 k3 s1 window-u8",
                                 "f32 nhwc 1x1x400x700 k3 s1 p1 window-u8",
                                 "f32 nchw 1x2x300x400 k7 s1 p3 plane-i32",
                                 "bf16 nchw 1x2x300x400 k3 s1 p1 window-u8",
                                 "f16 nhwc 1x48x90x90 k3 s2 p1 window-u8",
                                 "f64 nchw 1x2x300x200 k3 s2 p1 tensor-i64",
                                 "f32 ncdhw 1x2x20x64x64 k3 s2 p1 window-u8",
                                 "f32 nchw 2x3x300x300 k1x2 s4x2 plane-i64",
                                 "f32 nchw 1x2899x7x7 k7 window-u8",
                                 "f32 nchw 6x64x14x14 k3 s1 p1 window-u8 xs=12560x196x14x1",
                                 "f32 nchw 19x60x13x11 k3 s2 p1 window-u8 xs=9370x156x12x1 ys=2710x45x6x1",
                                 "bf16 nchw 7x70x15x20 k2 s2 plane-i64 xs=29400x420x28x1 ys=5040x72x10x1",
                                 "f64 nchw 5x50x16x9 k3 s1 p1x0 window-u8 ys=6000x120x7x1",
                                 "f32 nchw 2x3x226x230 k2 s2 window-u8 xs=162744x54248x240x1 ys=40680x13560x120x1",
                                 "f32 nchw 1x3x300x310 k3 s3 p1 window-u8 xs=288000x96000x320x1",
                                 "f32 ncdhw 9x20x4x17x19 k1x3x3 s1x2x2 window-u8 xs=32000x1600x400x20x1",
                                 "f32 nhwc 3x3x120x90 k3 s2 p1 window-u8 xs=43200x1x360x4 ys=13500x1x225x5",
                                 "bf16 nhwc 6x5x80x100 k2 s2 plane-i64 xs=64000x1x800x8 ys=10000x1x250x5",
                                 "f64 nhwc 40x3x17x19 k3 s1 p2 d2 window-u8 xs=1300x1x76x4",
                                 "f16 ndhwc 9x6x3x30x31 k1x2x2 s1 window-u8 ys=25200x1x8400x280x9"};

TEST(Executors, GiveTheSameBytes) {
  Random random(4);
  for (const char* text : kProblems) {
    const Plan plan(Parsed(text));
    ASSERT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
    const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random);
    const Bytes dx_before = Untouched(InputBytes(p));
    const Forward one = RunForward(plan, x, true, peakpool_serial_executor());
    const Bytes dx_one = RunBackward(plan, dy, one.index, dx_before, peakpool_serial_executor());
    for (const NamedExecutor& named : Executors()) {
      SCOPED_TRACE(std::string(text) + ", " + named.name);
      const Forward many = RunForward(plan, x, true, named.get());
      EXPECT_TRUE(SameBytes(many.y, one.y, ElementBytes(p.type)));
      EXPECT_TRUE(SameBytes(many.index, one.index, IndexBytes(p.index_format)));
      EXPECT_TRUE(SameBytes(RunForward(plan, x, false, named.get()).y, one.y, ElementBytes(p.type)));
      EXPECT_TRUE(SameBytes(RunBackward(plan, dy, one.index, dx_before, named.get()), dx_one, ElementBytes(p.type)));
      if (HasFailure()) return;
    }
    const Forward defaulted = RunForward(plan, x, true, nullptr);
    EXPECT_TRUE(SameBytes(defaulted.y, one.y, ElementBytes(p.type))) << text;
  }
}

peakpool_problem Im2col(peakpool_problem problem) {
  problem.algorithm = PEAKPOOL_IM2COL;
  return problem;
}

// The reference's values and indices, after the plan gave the same; the values also without indices.
Forward SameForward(const Plan& plan, const Plan& reference, const Bytes& x) {
  const peakpool_problem& p = plan.problem();
  Forward expected = RunForward(reference, x, true);
  const Forward actual = RunForward(plan, x, true);
  EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type))) << Described(p);
  EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format))) << Described(p);
  EXPECT_TRUE(SameBytes(RunForward(plan, x, false).y, expected.y, ElementBytes(p.type))) << Described(p);
  return expected;
}

void SameGradients(const Plan& plan, const Plan& reference, const Bytes& index, Random* random) {
  const peakpool_problem& p = plan.problem();
  const Bytes dy = RandomGradients(p.type, OutputBytes(p), random), dx = Untouched(InputBytes(p));
  EXPECT_TRUE(SameBytes(RunBackward(plan, dy, index, dx), RunBackward(reference, dy, index, dx), ElementBytes(p.type)))
      << Described(p);
}

// Values, indices and gradients of random elements.
void SameAsReference(const peakpool_problem& problem, Random* random) {
  SCOPED_TRACE(Described(problem));
  const Plan plan(problem), reference(Im2col(problem));
  ASSERT_TRUE(plan && reference) << plan.error();
  const peakpool_problem& p = plan.problem();
  for (const Fill fill : {Fill::kTies, Fill::kBits}) {
    const Forward expected = SameForward(plan, reference, RandomElements(p.type, InputBytes(p), fill, random));
    if (IsFloatType(p.type)) SameGradients(plan, reference, expected.index, random);
  }
}

TEST(Executors, LargeProblemsMatchTheReference) {
  Random random(5);
  for (const char* text : kProblems) SameAsReference(Parsed(text), &random);
}

// Up to 64 taps in all, which plans list.
TEST(Few, ListedTapsMatchTheReference) {
  Random random(7);
  for (const char* text :
       {"f32 nchw 1x1x4x4 k2", "f32 nhwc 1x3x4x4 k2", "f32 nchw 1x1x5x3 k3x2 s2x1 p1x1 d2x1", "f32 nchw 1x1x8x8 k2 s2",
        "f32 ncw 1x3x9 k5 s3 p2 d2 ceil", "f32 ncdhw 1x2x3x3x3 k3 s3", "f32 nhwc 1x1x5x5 a2",
        "f32 ndhwc 1x1x4x4x4 k2 s2", "f32 nchw 1x64x1x1 k1", "f32 nchw 1x1x1x64 k1x64"}) {
    for (int32_t type = 0; type < kTypes; ++type) {
      peakpool_problem typed = Parsed(text);
      typed.type = type;
      for (const peakpool_problem& problem : InEveryFormat(typed)) {
        const Plan plan(problem);
        ASSERT_TRUE(plan) << plan.error();
        std::string explanation(peakpool_explain(plan.get(), nullptr, 0) + 1, '\0');
        peakpool_explain(plan.get(), &explanation[0], explanation.size());
        EXPECT_EQ(explanation.find("forward: few") != std::string::npos, HasVectors()) << explanation;
        SameAsReference(problem, &random);
      }
    }
  }
}

// Slices that have windows of their own, and images, whose planes kernels take for those of more channels.
TEST(Planes, OfSlicesAndImagesMatchTheReference) {
  Random random(8);
  for (const char* text :
       {"f32 ncdhw 2x3x5x14x14 k1x2x2 s1x2x2", "f32 ncdhw 2x5x4x13x13 k1x3x3 s1x2x2",
        "f32 ncdhw 1x1x9x30x40 k1x3x3 s1x2x2 p0x1x1", "f32 ncdhw 3x4x6x14x14 k1x3x3 s1 p0x1x1 d1x2x2",
        "f32 ncdhw 2x2x3x13x13 k1x5x5 s1 p0x2x2", "f32 ncdhw 7x1x3x5x12 k1 s1 d4", "f32 ncdhw 2x3x4x7x7 k1x7x7 s1",
        "f32 ncdhw 2x2x3x9x9 a3x4x4", "f32 nchw 40x1x14x14 k2 s2", "f32 nchw 30x2x13x13 k3 s2",
        "f32 nchw 9x3x14x14 k3 s1 p1", "f32 nchw 12x3x9x20 k5 s1 p2", "f32 ncdhw 5x1x4x9x9 k2 s2",
        "f32 ncw 60x1x31 k3 s2 p1"}) {
    for (int32_t type = 0; type < kTypes; ++type) {
      peakpool_problem typed = Parsed(text);
      typed.type = type;
      for (const peakpool_problem& problem : InEveryFormat(typed)) SameAsReference(problem, &random);
    }
  }
}

// Slices that kernels take for planes where they follow each other, in memory of another order as well, or do not.
TEST(Planes, OfSomeSlicesMatchTheReference) {
  Random random(10);
  for (const char* text :
       {"f32 ncdhw 1x4x2x4x5 k1x3x3 s2x1x1 p0x1x1 window-u8 xs=160x20x80x5x1",
        "f32 ncdhw 1x4x2x4x5 k1 s2x1x1 window-u8", "f32 ncdhw 2x9x5x6x7 k1x3x3 s3x1x1 p0x1x1 window-u8",
        "f32 ncdhw 2x3x4x5x6 k1x3x3 s2x1x1 p0x1x1 window-u8 xs=360x30x90x6x1",
        "f32 ncdhw 1x70x2x9x9 k1x2x2 s2x2x2 window-u8 xs=11340x81x5670x9x1"}) {
    for (int32_t type = 0; type < kTypes; ++type) {
      peakpool_problem problem = Parsed(text);
      problem.type = type;
      SameAsReference(problem, &random);
    }
  }
}

// Windows that reach so many slices of a depth that scratch does not hold them.
TEST(Depth, OfFarReachMatchesTheReference) {
  Random random(11);
  for (const char* text :
       {"f32 ndhwc 1x7x1100x2x2 k2x1x1 s1 d600x1x1 window-u8", "u8 ndhwc 1x7x2500x2x2 k2x1x1 s1 d1100x1x1 window-u8",
        "f64 ncdhw 1x1x1500x2x5 k700x1x3 s1 plane-i64", "f32 ncdhw 1x1x1500x2x5 k1100x1x3 s1 plane-i32",
        "i8 ncdhw 1x2x1300x3x4 k600x1x1 s2x1x1 window-u16", "bf16 ndhwc 1x3x1200x2x3 k520x1x2 s1 window-u16"}) {
    SameAsReference(Parsed(text), &random);
  }
}

// Of as many outputs as inputs, none of which is the slice of its number.
TEST(Depth, OfOneTapBehindPaddingMatchesTheReference) {
  Random random(13);
  for (const char* text :
       {"u8 ncdhw 2x13x2x13x8 k1x2x2 s1x2x1 p1:0x4:0x2:2 d1x1x4 o2x3x6 window-u16 allow-empty ys=1170x90x45x15x1",
        "f32 ncdhw 1x2x3x6x8 k1x3x3 s1 p1:0x1x1 o3x6x8 window-u8 allow-empty xs=400x160x50x8x1"}) {
    SameAsReference(Parsed(text), &random);
  }
}

// Columns of long lines are taken in parts, of which some have windows beyond the input alone.
TEST(Lines, MayGoOnBeyondTheInput) {
  Random random(12);
  for (const char* text : {"i8 ncw 2x1x2615 k3 s2 p5:1 o27388 plane-i64 allow-empty ys=27396x27396x1",
                           "f32 nchw 1x2x3x20 k2x3 s1x2 o2x9000 plane-i64 allow-empty ys=70000x30000x9010x1"}) {
    const Plan plan(Parsed(text)), reference(Im2col(Parsed(text)));
    ASSERT_TRUE(plan && reference) << plan.error();
    const peakpool_problem& p = plan.problem();
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
    const Forward expected = RunForward(reference, x, true);
    for (int threads = 1; threads < 10; ++threads) {
      const peakpool_executor executor = ReverseExecutor(threads);
      const Forward actual = RunForward(plan, x, true, &executor);
      EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type))) << text << ", threads " << threads;
      EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format))) << text;
      EXPECT_TRUE(SameBytes(RunForward(plan, x, false, &executor).y, expected.y, ElementBytes(p.type))) << text;
    }
  }
}

TEST(Padding, IsNotTakenForTheLowestElements) {
  for (const std::string& target : Targets()) {
    for (int32_t type = 0; type < kTypes; ++type) {
      for (const char* text :
           {"f32 nchw 1x1x10x13 k1x20 s1 p0x10 window-u8", "f32 nchw 1x2x10x13 k1x100 s1 p0x90 window-u8",
            "f32 nchw 1x1x4x70 k3x60 s1 p1x50 window-u8", "f32 nhwc 1x3x10x13 k1x20 s1 p0x10 window-u8",
            "f32 nchw 1x1x4x150 k1x198 s1 p0x157:159 window-u8", "f32 nhwc 1x20x40x6 k50x1 s1 p40x0 window-u8"}) {
        peakpool_problem problem = Parsed(text);
        problem.type = type;
        problem.target = target.c_str();
        const Plan plan(problem);
        ASSERT_TRUE(plan) << plan.error();
        SCOPED_TRACE(target);
        SameForward(plan, Plan(Im2col(problem)), LowestElements(type, InputBytes(plan.problem())));
      }
    }
  }
}

// Indices are decoded for the lines that have windows, which those slices have not.
TEST(Gradients, OfSlicesBeyondTheLastWindow) {
  Random random(9);
  for (const char* text :
       {"f32 ncdhw 1x1x37x4x21 k1 s1 d1x2x1 o36x4x20 plane-i32", "f32 ncdhw 2x3x9x14x14 k1x2x2 s1x2x2 o7x7x7 plane-i64",
        "f16 ndhwc 2x70x9x15x15 k1x3x3 s1x2x2 o7x7x7 tensor-i64",
        "bf16 ncdhw 2x3x9x14x14 k1x3x3 s1x2x2 o7x6x6 window-u8",
        "f32 ncdhw 2x1x15x25x30 k1x2x2 s1 d1x8x8 o14x15x21 window-u8",
        "f32 ndhwc 2x20x10x15x13 k1x3x3 s1 p0:0x2:1x0:0 d1x4x4 o8x8x3 window-u8",
        "f16 ndhwc 2x40x10x15x13 k1x3x3 s1 p0:0x2:1x0:0 d1x4x4 o8x8x3 window-u8"}) {
    SameAsReference(Parsed(text), &random);
  }
}

// The promises of peakpool_parallel_for: at most one call, each task once, and none for small or single-threaded work.
TEST(Executors, AreCalledAtMostOnceWithEachTaskOnce) {
  if (!HasVectors()) GTEST_SKIP() << "the reference splits work between planes only";
  struct Count {
    int calls = 0;
    int64_t tasks = 0;
  };
  const auto counting = [](Count* count, int threads) {
    return peakpool_executor{sizeof(peakpool_executor),
                             [](void* context, int64_t tasks, void (*task)(void*, int64_t), void* task_context) {
                               Count* counted = static_cast<Count*>(context);
                               ++counted->calls;
                               counted->tasks += tasks;
                               for (int64_t i = 0; i < tasks; ++i) task(task_context, i);
                             },
                             count, threads};
  };
  Random random(6);
  const auto run = [&](const char* text, int threads) {
    const Plan plan(Parsed(text));
    EXPECT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    Count count;
    const peakpool_executor executor = counting(&count, threads);
    RunForward(plan, RandomElements(p.type, InputBytes(p), Fill::kTies, &random), true, &executor);
    return count;
  };
  for (const char* text : kProblems) {
    EXPECT_EQ(run(text, 1).calls, 0) << text;
    const Count count = run(text, 4);
    EXPECT_EQ(count.calls, 1) << text;
    EXPECT_GE(count.tasks, 4) << text;
  }
  EXPECT_EQ(run("f32 nchw 1x1x4x4 k2 window-u8", 8).calls, 0);
}

TEST(Plan, IsSharedByThreads) {
  const Plan plan(Parsed("f32 nchw 2x3x40x50 k3 s2 p1 window-u8"));
  ASSERT_TRUE(plan);
  const peakpool_problem& p = plan.problem();
  Random random(8);
  const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
  const Forward expected = RunNaiveForward(p, x);
  std::atomic<int> mismatches{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        Bytes y(expected.y.size()), index(expected.index.size());
        if (peakpool_forward(plan.get(), x.data(), y.data(), index.data(), nullptr) != PEAKPOOL_OK) ++mismatches;
        if (y != expected.y || index != expected.index) ++mismatches;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(mismatches, 0);
}

TEST(Plan, NoBatchOrNoChannelsIsANoOp) {
  for (const char* text : {"f32 nchw 0x3x8x8 k2 window-u8", "f32 nchw 3x0x8x8 k2 window-u8",
                           "f32 nhwc 0x0x8x8 k3 s2 p1 window-u8", "f32 nhwc 2x0x8x8 k3 s2 p1 window-u8 im2col"}) {
    const Plan plan(Parsed(text));
    ASSERT_TRUE(plan) << plan.error();
    EXPECT_EQ(peakpool_forward(plan.get(), nullptr, nullptr, nullptr, nullptr), PEAKPOOL_OK) << peakpool_last_error();
    EXPECT_EQ(peakpool_backward(plan.get(), nullptr, nullptr, nullptr, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  }
}

TEST(Backward, CatchesEveryIndexThatNamesNoTapOfItsWindow) {
  for (const char* layout : {"nchw", "nhwc"}) {
    for (const char* geometry :
         {"k2 s2", "k3 s2 p1", "k3 s1 p1", "k2 s1", "k5x2 s1x3 p2x1", "k2 s3 p2 d2 allow-empty"}) {
      for (const char* index :
           {"window-u8", "window-u16", "window-u32", "plane-i32", "plane-i64", "tensor-i64", "tensor-colmajor-i64"}) {
        for (const char* algorithm : {"", " im2col"}) {
          peakpool_problem problem =
              Parsed(std::string("f32 ") + layout + " 2x3x7x9 " + geometry + " " + index + algorithm);
          for (const std::string& target : Targets()) {
            problem.target = target.c_str();
            const Plan plan(problem);
            ASSERT_TRUE(plan) << plan.error();
            const peakpool_problem& p = plan.problem();
            Random random(9);
            const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
            const Bytes good = RunNaiveForward(p, x).index;
            const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random);
            const size_t bytes = IndexBytes(p.index_format), count = good.size() / bytes;
            Bytes dx = Untouched(InputBytes(p));
            ASSERT_EQ(peakpool_backward(plan.get(), dy.data(), good.data(), dx.data(), nullptr), PEAKPOOL_OK)
                << peakpool_last_error();
            // Garbage in the first, last and some middle place: far out, one past the window, negative.
            for (size_t at : {size_t{0}, count / 2, count - 1}) {
              for (uint64_t wrong :
                   {uint64_t{200}, uint64_t{0x7F7F7F7F7F7F7F7F}, uint64_t{0x8080808080808080}, ~uint64_t{0} - 1}) {
                Bytes bad = good;
                std::memcpy(bad.data() + at * bytes, &wrong, bytes);
                if (wrong == 200 && bytes > 4) continue;  // may be a position of the tensor, even of the window
                EXPECT_EQ(peakpool_backward(plan.get(), dy.data(), bad.data(), dx.data(), nullptr),
                          PEAKPOOL_INVALID_INDEX)
                    << Described(problem) << " on " << target << ", index " << at << " = " << wrong;
              }
            }
          }
        }
      }
    }
  }
}

// Random garbage over every kernel: the verdict and, where nothing is invalid, the sums are the naive loop's; the guard
// pages say that nothing else was touched.
TEST(Backward, GarbageIsJudgedAndStaysInsideTheTensor) {
  Random random(10);
  for (const char* geometry :
       {"nchw 2x3x7x9 k2 s2", "nchw 1x3x7x40 k3 s2 p1", "nchw 1x2x9x33 k3 s1 p1", "nchw 1x2x6x19 k2 s1",
        "nhwc 1x19x7x9 k2 s2", "nhwc 2x5x7x9 k3 s2 p1", "nhwc 1x33x5x6 k3 s1 p1", "nhwc 1x3x6x7 k2 s1",
        "nchw 1x1x40x40 k16 s8", "nchw 2x2x6x7 k5x2 s1x3 p2x1", "nhwc 1x3x6x5 k2 s3 p2 d2 allow-empty",
        "ncdhw 1x2x4x5x6 k2x3x2 s2x1x1", "ncw 1x2x30 k4 s3 p2", "nchw 1x2x7x9 a3x4", "nhwc 2x3x5x6 a2x3"}) {
    for (const char* type : {"f32", "f16", "f64"}) {
      for (peakpool_problem problem : InEveryFormat(Parsed(std::string(type) + " " + geometry))) {
        for (const std::string& target : Targets()) {
          problem.target = target.c_str();
          const Plan plan(problem);
          ASSERT_TRUE(plan) << plan.error();
          const peakpool_problem& p = plan.problem();
          const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kFiniteTies, &random);
          const Bytes good = RunNaiveForward(p, x).index, dy = RandomGradients(p.type, OutputBytes(p), &random);
          for (Garbage garbage : kGarbage) {
            const Bytes index = RandomIndices(p, good, garbage, &random);
            Bytes expected = Untouched(InputBytes(p)), dx = expected;
            const bool valid = NaiveBackward(p, dy.data(), index.data(), expected.data());
            const peakpool_status status = TryBackward(plan, dy, index, &dx);
            ASSERT_EQ(status, valid ? PEAKPOOL_OK : PEAKPOOL_INVALID_INDEX)
                << Described(p) << " on " << target << ", garbage " << static_cast<int>(garbage);
            if (valid) {
              ASSERT_TRUE(SameBytes(dx, expected, ElementBytes(p.type))) << Described(p) << " on " << target;
            }
          }
        }
      }
    }
  }
}

// The same where the work is split.
TEST(Backward, GarbageInLargeProblemsIsRefused) {
  Random random(10);
  for (const char* text : kProblems) {
    for (const peakpool_problem& problem : InEveryFormat(Parsed(text))) {
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const peakpool_problem& p = plan.problem();
      const Bytes garbage = RandomIndices(p, {}, Garbage::kBytes, &random), dy(OutputBytes(p), 0);
      Bytes dx(InputBytes(p));
      EXPECT_EQ(TryBackward(plan, dy, garbage, &dx), PEAKPOOL_INVALID_INDEX) << text;
      EXPECT_STRNE(peakpool_last_error(), "");
    }
  }
}

class Pointers : public ::testing::Test {
 protected:
  const Plan plan_{Parsed("f32 nchw 1x1x4x4 k2 window-u8")};
  float x_[16] = {}, y_[4] = {}, both_[20] = {};
  uint8_t index_[4] = {};

  void ExpectRefused(peakpool_status status, const char* name) {
    EXPECT_EQ(status, PEAKPOOL_INVALID_ARGUMENT) << name;
    EXPECT_NE(std::string(peakpool_last_error()).find(name), std::string::npos)
        << peakpool_last_error() << ", expected to name " << name;
    EXPECT_EQ(std::string(peakpool_last_error()).find('\n'), std::string::npos);
  }
};

TEST_F(Pointers, NullIsRefusedByName) {
  ASSERT_TRUE(plan_);
  ExpectRefused(peakpool_forward(nullptr, x_, y_, index_, nullptr), "plan");
  ExpectRefused(peakpool_forward(plan_.get(), nullptr, y_, index_, nullptr), "x");
  ExpectRefused(peakpool_forward(plan_.get(), x_, nullptr, index_, nullptr), "y");
  ExpectRefused(peakpool_backward(nullptr, y_, index_, x_, nullptr), "plan");
  ExpectRefused(peakpool_backward(plan_.get(), nullptr, index_, x_, nullptr), "dy");
  ExpectRefused(peakpool_backward(plan_.get(), y_, nullptr, x_, nullptr), "index");
  ExpectRefused(peakpool_backward(plan_.get(), y_, index_, nullptr, nullptr), "dx");
  peakpool_plan* plan = nullptr;
  ExpectRefused(peakpool_plan_create(nullptr, &plan), "problem");
  const peakpool_problem problem = Parsed("f32 nchw 1x1x4x4 k2");
  ExpectRefused(peakpool_plan_create(&problem, nullptr), "plan");
  ExpectRefused(peakpool_output_size(&problem, nullptr), "output");
  ExpectRefused(peakpool_problem_init(nullptr, PEAKPOOL_F32, PEAKPOOL_CHANNELS_FIRST, 2), "problem");
  ExpectRefused(peakpool_parse(nullptr, nullptr), "text");
  ExpectRefused(peakpool_parse("f32 nchw 1x1x4x4 k2", nullptr), "problem");
  ExpectRefused(peakpool_pad_same_upper(nullptr), "problem");
  peakpool_plan_destroy(nullptr);
}

TEST_F(Pointers, OverlapIsRefused) {
  ASSERT_TRUE(plan_);
  ExpectRefused(peakpool_forward(plan_.get(), both_, both_ + 15, index_, nullptr), "overlap");
  ExpectRefused(peakpool_forward(plan_.get(), both_ + 3, both_, index_, nullptr), "overlap");
  ExpectRefused(peakpool_forward(plan_.get(), both_, both_ + 16, both_ + 2, nullptr), "overlap");
  ExpectRefused(peakpool_forward(plan_.get(), both_, both_ + 16, both_ + 19, nullptr), "overlap");
  ExpectRefused(peakpool_backward(plan_.get(), both_, index_, both_ + 3, nullptr), "overlap");
  EXPECT_EQ(peakpool_forward(plan_.get(), both_, both_ + 16, index_, nullptr), PEAKPOOL_OK) << "side by side is fine";
}

// Two views that take turns in one buffer of floats, without and with an element in common.
struct Views {
  const char* text;  // strides of x and y are the buffer's
  size_t elements;   // of the buffer
  ptrdiff_t x, y, y_overlapping;
};
const Views kViews[] = {
    {"nhwc 2x8x6x7 k3 s1 p1 xs=840x1x140x20 ys=840x1x140x20", 1680, 0, 8, 7},          // channel ranges
    {"nhwc 2x8x6x7 k3 s1 p1 xs=840x1x140x20 ys=840x1x140x20", 1680, 12, 4, 5},         // the other way round
    {"nhwc 2x19x6x7 k2 s2 xs=1680x1x280x40 ys=1680x1x280x40", 3360, 0, 20, 18},        // of different sizes
    {"nchw 2x3x6x7 k3 s1 p1 xs=420x42x7x1 ys=420x42x7x1", 840, 0, 126, 125},           // channels first
    {"nchw 2x2x6x20 k3 s1 p1 xs=480x240x40x1 ys=480x240x40x1", 960, 0, 20, 19},        // columns
    {"nchw 2x2x3x20 k3 s1 p1 xs=240x120x20x1 ys=240x120x20x1", 480, 60, 0, 1},         // rows
    {"nchw 1x2x6x20 k3 s2 p1 xs=480x240x40x1 ys=480x240x80x1", 960, 20, 0, 12},        // every other row
    {"nchw 4x2x6x7 k3 s1 p1 xs=168x42x7x1 ys=168x42x7x1", 672, 0, 84, 83},             // images
    {"ncdhw 2x2x2x4x9 k3 s1 p1 xs=576x144x72x18x1 ys=576x144x72x18x1", 1152, 9, 0, 1}  // columns of volumes
};

TEST(Overlap, ViewsThatTakeTurnsInOneBufferAreTaken) {
  Random random(13);
  for (const Views& views : kViews) {
    SCOPED_TRACE(views.text);
    const Plan plan(Parsed(std::string("f32 ") + views.text + " plane-i32"));
    ASSERT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    Bytes buffer = RandomElements(PEAKPOOL_F32, views.elements * 4, Fill::kTies, &random), expected = buffer;
    const auto at = [](Bytes* bytes, ptrdiff_t element) { return bytes->data() + element * 4; };
    Bytes index(IndexTensorBytes(p)), index_expected = index;
    const Bytes before = buffer;
    NaiveForward(p, before.data() + views.x * 4, at(&expected, views.y), index_expected.data());
    EXPECT_EQ(peakpool_forward(plan.get(), at(&buffer, views.x), at(&buffer, views.y), index.data(), nullptr),
              PEAKPOOL_OK)
        << peakpool_last_error();
    EXPECT_TRUE(SameBytes(buffer, expected, 4));
    EXPECT_EQ(index, index_expected);

    const Bytes gradients = RandomGradients(PEAKPOOL_F32, buffer.size(), &random);
    buffer = expected = gradients;
    EXPECT_TRUE(NaiveBackward(p, gradients.data() + views.y * 4, index.data(), at(&expected, views.x)));
    EXPECT_EQ(peakpool_backward(plan.get(), at(&buffer, views.y), index.data(), at(&buffer, views.x), nullptr),
              PEAKPOOL_OK)
        << peakpool_last_error();
    EXPECT_TRUE(SameBytes(buffer, expected, 4));

    for (ptrdiff_t y : {views.y_overlapping, views.x}) {
      EXPECT_EQ(peakpool_forward(plan.get(), at(&buffer, views.x), at(&buffer, y), index.data(), nullptr),
                PEAKPOOL_INVALID_ARGUMENT);
      EXPECT_EQ(peakpool_backward(plan.get(), at(&buffer, y), index.data(), at(&buffer, views.x), nullptr),
                PEAKPOOL_INVALID_ARGUMENT);
    }
  }
}

TEST_F(Pointers, IndexWithoutFormatIsRefused) {
  const Plan values(Parsed("f32 nchw 1x1x4x4 k2"));
  ASSERT_TRUE(values);
  ExpectRefused(peakpool_forward(values.get(), x_, y_, index_, nullptr), "index");
  EXPECT_EQ(peakpool_backward(values.get(), y_, index_, x_, nullptr), PEAKPOOL_UNSUPPORTED);
}

TEST_F(Pointers, BadExecutorIsRefused) {
  peakpool_executor executor = *peakpool_serial_executor();
  executor.struct_size = 3;
  ExpectRefused(peakpool_forward(plan_.get(), x_, y_, index_, &executor), "struct_size");
  executor = ThreadExecutor(2);
  executor.parallel_for = nullptr;
  ExpectRefused(peakpool_forward(plan_.get(), x_, y_, index_, &executor), "parallel_for");
}

}  // namespace
}  // namespace peakpool::tests
