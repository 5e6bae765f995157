/* SPDX-License-Identifier: Apache-2.0 */
/* The C ABI from a C99 program: pools a plane, sends a gradient back, reads an error. */
#include <peakpool/peakpool.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      printf("line %d: %s; %s\n", __LINE__, #condition, peakpool_last_error()); \
      return 1;                                                                 \
    }                                                                           \
  } while (0)

int main(void) {
  static const float x[16] = {1, 2, 3, 4, 8, 7, 6, 5, -1, -2, -3, -4, -8, -7, -6, -5};
  static const float dy[4] = {10, 20, 30, 40};
  static const float dx_expected[16] = {0, 0, 0, 0, 10, 0, 20, 0, 30, 0, 40, 0, 0, 0, 0, 0};
  static const int64_t positions[4] = {4, 6, 8, 10};
  float y[4], dx[16];
  int64_t index[4];
  peakpool_problem problem;
  peakpool_plan* plan;
  int i;

  CHECK(peakpool_problem_init(&problem, PEAKPOOL_F32, PEAKPOOL_CHANNELS_FIRST, 2) == PEAKPOOL_OK);
  problem.input[0] = problem.input[1] = 4;
  problem.kernel[0] = problem.kernel[1] = problem.stride[0] = problem.stride[1] = 2;
  problem.index_format = PEAKPOOL_INDEX_PLANE_I64;
  CHECK(peakpool_plan_create(&problem, &plan) == PEAKPOOL_OK);
  CHECK(peakpool_forward(plan, x, y, index, NULL) == PEAKPOOL_OK);
  CHECK(y[0] == 8 && y[1] == 6 && y[2] == -1 && y[3] == -3);
  for (i = 0; i < 4; ++i) CHECK(index[i] == positions[i]);
  CHECK(peakpool_backward(plan, dy, index, dx, peakpool_serial_executor()) == PEAKPOOL_OK);
  CHECK(memcmp(dx, dx_expected, sizeof(dx)) == 0);
  peakpool_plan_destroy(plan);

  problem.padding[1].before = -3;
  CHECK(peakpool_plan_create(&problem, &plan) == PEAKPOOL_INVALID_ARGUMENT);
  CHECK(plan == NULL);
  CHECK(strstr(peakpool_last_error(), "padding[1].before") != NULL);
  CHECK(strstr(peakpool_last_error(), "-3") != NULL);
  return 0;
}
