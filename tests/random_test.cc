// SPDX-License-Identifier: Apache-2.0
// Seeded random problems, those of `peakpool verify`: the kernels against the im2col reference on every target, and the
// reference against the naive loop.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"
#include "tools/random_problem.h"

namespace peakpool::tests {
namespace {

struct Data {
  Bytes x, dy, dx;
};

Data Draw(const peakpool_problem& p, tools::Random* random) {
  const auto count = [&](size_t bytes) { return static_cast<int64_t>(bytes / ElementBytes(p.type)); };
  Data data = {Bytes(InputBytes(p)), {}, Untouched(InputBytes(p))};
  tools::RandomValues(p.type, random, count(data.x.size()), data.x.data());
  if (IsFloatType(p.type)) {
    data.dy.resize(OutputBytes(p));
    tools::RandomGradients(p.type, random, count(data.dy.size()), data.dy.data());
    if (p.flags & PEAKPOOL_ACCUMULATE) tools::RandomGradients(p.type, random, count(data.dx.size()), data.dx.data());
  }
  return data;
}

// Calls visit(plan, data) until `cases` problems were accepted. A refused one must give every algorithm's plan the same
// refusal.
template <class Visit>
void ForEachRandomPlan(uint64_t seed, int cases, bool variants, Visit visit) {
  tools::Random random(seed);
  int accepted = 0;
  for (int drawn = 0; accepted < cases; ++drawn) {
    ASSERT_LT(drawn, 20 * cases) << "nearly every random problem is refused";
    peakpool_problem problem = tools::RandomProblem(&random);
    if (variants) tools::RandomVariant(&random, &problem);
    problem.algorithm = PEAKPOOL_IM2COL;
    const Plan plan(problem);
    if (!plan) {
      problem.algorithm = PEAKPOOL_AUTO;
      ASSERT_EQ(Plan(problem).error(), plan.error()) << Described(problem);
      continue;
    }
    ++accepted;
    const Data data = Draw(plan.problem(), &random);
    visit(plan, data);
    if (::testing::Test::HasFailure()) {
      ADD_FAILURE() << Described(plan.problem());
      return;
    }
  }
}

TEST(Random, KernelsMatchTheReferenceOnEveryTarget) {
  const std::vector<std::string> targets = Targets();
  int threads = 1;
  ForEachRandomPlan(1, 4000, true, [&](const Plan& reference, const Data& data) {
    // Small problems are cut into tasks, too, which begin and end anywhere in a plane.
    threads = threads % 8 + 1;
    const peakpool_executor reverse = ReverseExecutor(threads);
    peakpool_problem problem = reference.problem();
    problem.algorithm = PEAKPOOL_AUTO;
    const bool with_index = problem.index_format != PEAKPOOL_INDEX_NONE;
    const Forward expected = RunForward(reference, data.x, with_index);
    Bytes dx_expected;
    if (with_index && IsFloatType(problem.type)) {
      dx_expected = RunBackward(reference, data.dy, expected.index, data.dx);
    }
    for (const std::string& target : targets) {
      problem.target = target.c_str();
      const Plan plan(problem);
      ASSERT_TRUE(plan) << plan.error();
      const Forward actual = RunForward(plan, data.x, with_index, threads % 2 == 0 ? &reverse : nullptr);
      EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(problem.type))) << target;
      if (!with_index) continue;
      EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(problem.index_format))) << target;
      EXPECT_TRUE(SameBytes(RunForward(plan, data.x, false, &reverse).y, expected.y, ElementBytes(problem.type)))
          << target << ", without index";
      if (!IsFloatType(problem.type)) continue;
      EXPECT_TRUE(SameBytes(RunBackward(plan, data.dy, expected.index, data.dx, &reverse), dx_expected,
                            ElementBytes(problem.type)))
          << target << ", backward";
    }
  });
}

TEST(Random, ReferenceMatchesTheNaiveLoop) {
  ForEachRandomPlan(2, 300, false, [&](const Plan& plan, const Data& data) {
    const peakpool_problem& p = plan.problem();
    const bool with_index = p.index_format != PEAKPOOL_INDEX_NONE;
    const Forward actual = RunForward(plan, data.x, with_index);
    const Forward expected = RunNaiveForward(p, data.x);
    EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type)));
    if (!with_index) return;
    EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format)));
    if (!IsFloatType(p.type) || (p.flags & PEAKPOOL_ACCUMULATE)) return;  // zeros and NaNs that were there: oracle_test
    EXPECT_TRUE(SameBytes(RunBackward(plan, data.dy, expected.index, data.dx),
                          RunNaiveBackward(p, data.dy, expected.index, data.dx), ElementBytes(p.type)));
  });
}

}  // namespace
}  // namespace peakpool::tests
