// SPDX-License-Identifier: Apache-2.0
#include "bench/cliff.h"

#include <algorithm>
#include <cstdlib>

#include "bench/peers/peer.h"
#include "tools/random_problem.h"
#include "tools/sizes.h"

namespace peakpool_bench {
namespace {

using peakpool::tools::Random;

// In [low, high], every octave equally likely.
int64_t Logarithmic(Random* random, int64_t low, int64_t high) {
  int octaves = 0;
  while (low << (octaves + 1) <= high) ++octaves;
  const int64_t begin = low << random->Between(0, octaves);
  return random->Between(begin, std::min(high, 2 * begin - 1));
}

void DrawAxis(Random* random, int64_t largest_kernel, int64_t largest_input, peakpool_problem* p, int a) {
  p->kernel[a] = random->Between(largest_kernel > 3 ? 4 : 1, largest_kernel);
  p->dilation[a] = random->OneIn(3) ? random->Between(2, 4) : 1;
  switch (random->Between(0, 2)) {
    case 0: p->stride[a] = 1; break;
    case 1: p->stride[a] = p->kernel[a]; break;
    default: p->stride[a] = random->Between(1, std::max<int64_t>(4, 3 * p->kernel[a] / 2));
  }
  const int64_t reach = (p->kernel[a] - 1) * p->dilation[a] + 1;
  if (random->OneIn(2)) p->padding[a] = {random->Between(0, reach / 2), random->Between(0, reach / 2)};
  const int64_t least = std::max<int64_t>(1, reach - p->padding[a].before - p->padding[a].after);
  p->input[a] =
      least + (largest_input <= 16 ? random->Between(0, largest_input) : Logarithmic(random, 16, largest_input));
}

// A problem of one image and any size.
peakpool_problem Draw(Random* random) {
  const int rank = random->OneIn(2) ? 2 : static_cast<int>(random->Between(1, 3));
  peakpool_problem p;
  peakpool_problem_init(&p, static_cast<int32_t>(random->Between(PEAKPOOL_F32, PEAKPOOL_U64)),
                        static_cast<int32_t>(random->Between(0, 1)), rank);
  p.channels = Logarithmic(random, 1, 1024);
  const int64_t largest_kernel = random->OneIn(2) ? 3 : random->OneIn(2) ? 9 : 40;
  const int64_t largest_input = random->OneIn(2) ? 16 : rank == 1 ? 65536 : rank == 2 ? 512 : 64;
  for (int a = 0; a < rank; ++a) DrawAxis(random, largest_kernel, largest_input, &p, a);
  if (random->Between(1, 3) > 1) {  // usually the axes are alike in all but their size
    for (int a = 1; a < rank; ++a) {
      p.kernel[a] = p.kernel[0];
      p.stride[a] = p.stride[0];
      p.dilation[a] = p.dilation[0];
      p.padding[a] = p.padding[0];
    }
  }
  p.rounding = random->OneIn(3) ? PEAKPOOL_CEIL : PEAKPOOL_FLOOR;
  if (random->OneIn(2)) {
    int64_t taps = 1;
    for (int a = 0; a < rank; ++a) taps *= p.kernel[a];
    p.index_format = taps <= 255 ? PEAKPOOL_INDEX_WINDOW_U8 : PEAKPOOL_INDEX_WINDOW_U16;  // as in training
    if (random->OneIn(2)) {
      p.index_format =
          static_cast<int32_t>(random->Between(PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64));
    }
  }
  return p;
}

int64_t Bytes(const peakpool_problem& p) {  // whose output is known
  const int64_t element = peakpool::tools::ElementBytes(p.type), index = peakpool::tools::IndexBytes(p.index_format);
  return p.batch * p.channels * (InputPlane(p) * element + OutputPlane(p) * (element + index));
}

bool IsAccepted(const peakpool_problem& p) {
  peakpool_plan* plan;
  if (peakpool_plan_create(&p, &plan) != PEAKPOOL_OK) return false;
  peakpool_plan_destroy(plan);
  return true;
}

}  // namespace

std::vector<peakpool_problem> EqualProblems(int count, int64_t bytes) {
  Random random(300);
  std::vector<peakpool_problem> problems;
  while (static_cast<int>(problems.size()) < count) {
    peakpool_problem p = Draw(&random);
    peakpool_problem sized = p;
    if (peakpool_output_size(&p, sized.output) != PEAKPOOL_OK) continue;
    p.batch = sized.batch = std::max<int64_t>(1, (bytes + Bytes(sized) / 2) / Bytes(sized));
    if (std::abs(Bytes(sized) - bytes) <= bytes / 4 && IsAccepted(p)) problems.push_back(p);
  }
  return problems;
}

}  // namespace peakpool_bench
