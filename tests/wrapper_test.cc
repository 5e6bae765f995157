// SPDX-License-Identifier: Apache-2.0
// The C++ wrapper, compiled as its users may: without exceptions and RTTI. No test framework, which needs both.
#include <cstdio>
#include <cstring>
#include <peakpool/peakpool.hpp>
#include <utility>

#ifdef PEAKPOOL_TESTS_TBB
#include <peakpool/tbb.hpp>
#endif

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) return std::printf("line %d: %s\n", __LINE__, #condition), 1; \
  } while (false)

int main() {
  peakpool::Plan plan("f32 nchw 1x2x64x64 k2 s2 window-u8");
  CHECK(plan);
  CHECK(plan.status() == PEAKPOOL_OK && std::strcmp(plan.error(), "") == 0);
  CHECK(plan.input_elements() == 2 * 64 * 64 && plan.output_elements() == 2 * 32 * 32);
  static float x[2 * 64 * 64], y[2 * 32 * 32], dx[2 * 64 * 64];
  static uint8_t index[2 * 32 * 32];
  for (int i = 0; i < 2 * 64 * 64; ++i) x[i] = static_cast<float>(i * 7 % 64);
  CHECK(plan.forward(x, y, index) == PEAKPOOL_OK);
  CHECK(plan.backward(y, index, dx) == PEAKPOOL_OK);
  for (int o = 0; o < 2 * 32 * 32; ++o) {
    const int at = (o / 32 * 2 + index[o] / 2) * 64 + o % 32 * 2 + index[o] % 2;
    CHECK(y[o] == x[at] && dx[at] == y[o]);
  }

  static int64_t planes[2 * 32 * 32];
  CHECK(plan.convert_indices(PEAKPOOL_INDEX_WINDOW_U8, index, PEAKPOOL_INDEX_PLANE_I64, planes) == PEAKPOOL_OK);
  static float unpooled[2 * 64 * 64];
  CHECK(plan.unpool(y, index, unpooled) == PEAKPOOL_OK);
  CHECK(std::memcmp(unpooled, dx, sizeof(dx)) == 0);  // without overlap that is the gradient of y itself
  for (int o = 0; o < 2 * 32 * 32; ++o) CHECK(x[o / 1024 * 4096 + planes[o]] == y[o]);
  static uint8_t back[2 * 32 * 32];
  CHECK(plan.convert_indices(PEAKPOOL_INDEX_PLANE_I64, planes, PEAKPOOL_INDEX_WINDOW_U8, back) == PEAKPOOL_OK);
  CHECK(std::memcmp(back, index, sizeof(index)) == 0);
  index[5] = 4;
  CHECK(plan.unpool(y, index, unpooled) == PEAKPOOL_INVALID_INDEX);
  CHECK(plan.convert_indices(PEAKPOOL_INDEX_WINDOW_U8, index, PEAKPOOL_INDEX_PLANE_I64, planes) ==
        PEAKPOOL_INVALID_INDEX);
  CHECK(planes[4] >= 0 && planes[5] == -1);

  peakpool::Plan moved(std::move(plan));
  CHECK(moved && !plan);
  plan = std::move(moved);
  CHECK(plan && plan.problem().output[0] == 32);

  const peakpool::Plan refused("f32 nchw 1x2x64x64 k2 s0");
  CHECK(!refused && refused.status() == PEAKPOOL_INVALID_ARGUMENT);
  CHECK(std::strstr(refused.error(), "stride[0] = 0") != nullptr);
  const peakpool::Plan unreadable("f32 nchw 64 k2");
  CHECK(!unreadable && std::strstr(unreadable.error(), "64") != nullptr);

  peakpool::Problem problem(PEAKPOOL_F32, PEAKPOOL_CHANNELS_LAST, 1);
  problem.input[0] = 5;
  problem.kernel[0] = 3;
  const peakpool::Plan line(problem);
  CHECK(line && line.output_elements() == 3);
  CHECK(!peakpool::Plan(peakpool::Problem(PEAKPOOL_F32, PEAKPOOL_CHANNELS_LAST, 7)));

  const int64_t kernels[] = {1, 3};
  peakpool::Problem image(PEAKPOOL_F32, PEAKPOOL_CHANNELS_FIRST, 2);
  image.input[0] = image.input[1] = 3;
  const peakpool::Pyramid pyramid(image, kernels, 2);
  const float pixels[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  float levels[18];
  CHECK(pyramid && pyramid.forward(pixels, levels) == PEAKPOOL_OK);
  CHECK(levels[0] == 1 && levels[9] == 5 && levels[17] == 9);
  CHECK(std::strstr(peakpool::Pyramid(image, kernels, 0).error(), "levels = 0") != nullptr);

  peakpool::Stream stream("f32 nchw 1x1x4x4 k2");
  CHECK(stream && !stream.ready());
  float row[2];
  CHECK(stream.push(pixels) == PEAKPOOL_OK && stream.push(pixels + 4) == PEAKPOOL_OK && stream.ready());
  CHECK(stream.pull(row) == PEAKPOOL_OK && row[0] == 6 && row[1] == 8 && !stream.ready());
  CHECK(std::strstr(peakpool::Stream("f32 ncw 1x1x4 k2").error(), "rank") != nullptr);

#ifdef PEAKPOOL_TESTS_TBB
  tbb::task_arena arena(2);
  const peakpool::TbbExecutor executor(arena);
  static float again[2 * 32 * 32];
  CHECK(plan.forward(x, again, nullptr, executor.get()) == PEAKPOOL_OK);
  CHECK(std::memcmp(again, y, sizeof(y)) == 0);
#endif
  return 0;
}
