// SPDX-License-Identifier: Apache-2.0
// On the host's threads: every entry point that takes an executor, on a plain thread pool, on OpenMP and in a
// tbb::task_arena, gives the serial bytes and starts no thread. The default executor, which is oneTBB's and does start
// threads, is never used in this program.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <utility>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/thread_pool.h"

#ifdef PEAKPOOL_TESTS_TBB
#include <peakpool/tbb.hpp>
#endif
#ifdef PEAKPOOL_TESTS_OPENMP
#include <omp.h>
#endif

namespace peakpool::tests {
namespace {

constexpr int kThreads = 4;

// Of this process.
int CountThreads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<int>(std::distance(begin(tasks), end(tasks)));
}

// Passes calls on to another executor and counts them.
class Counted {
 public:
  explicit Counted(const peakpool_executor& inner) : inner_(inner) {}
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  const peakpool_executor* get() const { return &executor_; }
  int TakeCalls() { return std::exchange(calls_, 0); }
  // The most threads that this process had at the end of a task.
  int most_threads() const { return most_threads_; }

 private:
  struct Task {
    Counted* counted;
    void (*task)(void*, int64_t);
    void* context;
  };
  static void ParallelFor(void* context, int64_t count, void (*task)(void*, int64_t), void* task_context) {
    Counted* const counted = static_cast<Counted*>(context);
    ++counted->calls_;
    Task one = {counted, task, task_context};
    counted->inner_.parallel_for(
        counted->inner_.context, count,
        [](void* one_context, int64_t i) {
          const Task& t = *static_cast<Task*>(one_context);
          t.task(t.context, i);
          const int threads = CountThreads();
          int most = t.counted->most_threads_;
          while (most < threads && !t.counted->most_threads_.compare_exchange_weak(most, threads)) {
          }
        },
        &one);
  }

  const peakpool_executor& inner_;
  int calls_ = 0;
  std::atomic<int> most_threads_{0};
  const peakpool_executor executor_ = {sizeof(executor_), ParallelFor, this, inner_.threads};
};

// Each algorithm and direction that the library has; large enough to be split.
const char* const kProblems[] = {
    "f32 nchw 2x32x64x64 k3 s2 p1 window-u8",       "f32 nhwc 2x67x40x40 k2 s2 window-u8",
    "f32 nchw 1x8x90x90 k3 s1 p1 plane-i64",        "f16 nhwc 2x48x64x64 k3 s2 p1 window-u16",
    "f32 nchw 1x4x120x120 k7 s1 p3 plane-i32",      "f32 nchw 2x3x200x200 a60x70 tensor-i64",
    "f32 nchw 2x16x64x64 k3 s2 p1 im2col plane-i64"};

// Runs everything on the executor, which must have been used for it, and compares with the serial one's bytes.
void RunEverything(const peakpool_executor& inner, int most_threads) {
  Counted counted(inner);
  const peakpool_executor* const serial = peakpool_serial_executor();
  const auto expect_used = [&](const char* what) {
    EXPECT_TRUE(inner.threads == 1 || counted.TakeCalls() > 0) << what << " did not use the executor";
  };
  Random random(12);
  for (const char* text : kProblems) {
    SCOPED_TRACE(text);
    const Plan plan(Parsed(text));
    ASSERT_TRUE(plan) << plan.error();
    const peakpool_problem& p = plan.problem();
    const size_t bytes = ElementBytes(p.type), index_bytes = IndexBytes(p.index_format);
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
    const Bytes dy = RandomGradients(p.type, OutputBytes(p), &random);
    const Forward expected = RunForward(plan, x, true, serial);
    const Forward actual = RunForward(plan, x, true, counted.get());
    expect_used("forward");
    EXPECT_TRUE(SameBytes(actual.y, expected.y, bytes));
    EXPECT_TRUE(SameBytes(actual.index, expected.index, index_bytes));
    const Bytes before = Untouched(InputBytes(p));
    EXPECT_TRUE(SameBytes(RunBackward(plan, dy, expected.index, before, counted.get()),
                          RunBackward(plan, dy, expected.index, before, serial), bytes));
    expect_used("backward");
    Bytes unpooled = before, unpooled_expected = before;
    EXPECT_EQ(TryUnpool(plan, expected.y, expected.index, &unpooled, counted.get()), PEAKPOOL_OK);
    expect_used("unpool");
    EXPECT_EQ(TryUnpool(plan, expected.y, expected.index, &unpooled_expected, serial), PEAKPOOL_OK);
    EXPECT_TRUE(SameBytes(unpooled, unpooled_expected, bytes));
    const int32_t to =
        p.index_format == PEAKPOOL_INDEX_PLANE_I64 ? PEAKPOOL_INDEX_WINDOW_U32 : PEAKPOOL_INDEX_PLANE_I64;
    Bytes converted(expected.index.size() / index_bytes * IndexBytes(to)), converted_expected = converted;
    EXPECT_EQ(TryConvert(plan, p.index_format, expected.index, to, &converted, counted.get()), PEAKPOOL_OK);
    expect_used("convert_indices");
    EXPECT_EQ(TryConvert(plan, p.index_format, expected.index, to, &converted_expected, serial), PEAKPOOL_OK);
    EXPECT_TRUE(SameBytes(converted, converted_expected, IndexBytes(to)));
  }

  const peakpool_problem spatial = Parsed("f32 nchw 1x8x64x64 k1");
  const std::vector<float> x(8 * 64 * 64, 1);
  std::vector<float> y(2 * x.size()), y_expected = y;
  const int64_t kernels[] = {3, 5};
  peakpool_pyramid* pyramid = nullptr;
  ASSERT_EQ(peakpool_pyramid_create(&spatial, kernels, 2, &pyramid), PEAKPOOL_OK) << peakpool_last_error();
  EXPECT_EQ(peakpool_pyramid_forward(pyramid, x.data(), y.data(), counted.get()), PEAKPOOL_OK);
  expect_used("pyramid_forward");
  EXPECT_EQ(peakpool_pyramid_forward(pyramid, x.data(), y_expected.data(), serial), PEAKPOOL_OK);
  EXPECT_EQ(y, y_expected);
  peakpool_pyramid_destroy(pyramid);

  const peakpool_problem rows = Parsed("f32 nchw 8x8x2x1024 k2 plane-i64");
  std::vector<float> row(8 * 8 * 2 * 1024, 1), pooled(8 * 8 * 512);
  std::vector<int64_t> index(pooled.size());
  peakpool_stream* stream = nullptr;
  ASSERT_EQ(peakpool_stream_create(&rows, &stream), PEAKPOOL_OK) << peakpool_last_error();
  for (int h = 0; h < 2; ++h) EXPECT_EQ(peakpool_stream_push(stream, row.data()), PEAKPOOL_OK);
  EXPECT_EQ(peakpool_stream_pull(stream, pooled.data(), index.data(), counted.get()), PEAKPOOL_OK);
  expect_used("stream_pull");
  peakpool_stream_destroy(stream);

  EXPECT_LE(counted.most_threads(), most_threads);
  EXPECT_LE(CountThreads(), most_threads);
}

TEST(HostThreads, NoneButTheCaller) {
  const int threads = CountThreads();
  RunEverything(*peakpool_serial_executor(), threads);
  RunEverything(ReverseExecutor(64), threads);
}

TEST(HostThreads, PlainThreadPool) {
  ThreadPool pool(kThreads);
  const peakpool_executor executor = {
      sizeof(executor),
      [](void* context, int64_t count, void (*task)(void*, int64_t), void* task_context) {
        static_cast<ThreadPool*>(context)->Run(count, [&](int64_t i) { task(task_context, i); });
      },
      &pool, pool.threads()};
  RunEverything(executor, CountThreads());
}

TEST(HostThreads, OpenMp) {
#ifdef PEAKPOOL_TESTS_OPENMP
  const peakpool_executor executor = {sizeof(executor),
                                      [](void*, int64_t count, void (*task)(void*, int64_t), void* task_context) {
#pragma omp parallel for schedule(dynamic) num_threads(kThreads)
                                        for (int64_t i = 0; i < count; ++i) task(task_context, i);
                                      },
                                      nullptr, kThreads};
  // OpenMP's threads start here, and stay.
  std::atomic<int> started{0};
#pragma omp parallel num_threads(kThreads)
  ++started;
  ASSERT_EQ(started, kThreads);
  RunEverything(executor, CountThreads());
#else
  GTEST_SKIP() << "the compiler has no OpenMP";
#endif
}

// Last: oneTBB keeps the threads that it started, and starts them when it sees fit, never more than the arena has.
TEST(HostThreads, TaskArena) {
#ifdef PEAKPOOL_TESTS_TBB
  tbb::task_arena arena(2);
  const int threads = CountThreads() + arena.max_concurrency() - 1;
  const TbbExecutor executor(arena);
  RunEverything(*executor.get(), threads);
#else
  GTEST_SKIP() << "built without oneTBB";
#endif
}

}  // namespace
}  // namespace peakpool::tests
