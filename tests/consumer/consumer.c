/* SPDX-License-Identifier: Apache-2.0 */
/* A C99 program that links peakpool. Prints what consumer.cc prints. */
#include <peakpool/peakpool.h>
#include <stdio.h>

int main(void) {
  const float x[16] = {1, 2, 3, 4, 8, 7, 6, 5, 1, 1, 1, 1, 1, 9, 1, 1};
  float y[4];
  peakpool_problem problem;
  peakpool_plan* plan;
  if (peakpool_abi_version() != PEAKPOOL_ABI_VERSION) return 1;
  if (peakpool_parse("f32 nchw 1x1x4x4 k2", &problem) != PEAKPOOL_OK) return 1;
  if (peakpool_plan_create(&problem, &plan) != PEAKPOOL_OK) return 1;
  if (peakpool_forward(plan, x, y, NULL, NULL) != PEAKPOOL_OK) return 1;
  peakpool_plan_destroy(plan);
  printf("%g %g %g %g\n", y[0], y[1], y[2], y[3]);
  return 0;
}
