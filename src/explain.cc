// SPDX-License-Identifier: Apache-2.0
#include "src/explain.h"

#include "hwy/targets.h"
#include "src/describe.h"
#include "src/element.h"
#include "src/execute.h"
#include "src/executor.h"
#include "src/text.h"

namespace peakpool {
namespace {

void ExplainChoice(Text* text, const char* direction, const Choice& choice, const Split& split) {
  text->Add("%s: %s (%s)", direction, AlgorithmName(choice.algorithm), choice.why);
  if (choice.refused != nullptr) text->Add("; not %s: %s", choice.refused, choice.refused_why);
  text->Add("; %lld task%s", static_cast<long long>(split.Tasks()), split.Tasks() == 1 ? "" : "s");
  if (split.Tasks() > 1) {
    text->Add(" (%lld line parts x %lld column parts x %lld channel parts)", static_cast<long long>(split.lines),
              static_cast<long long>(split.columns), static_cast<long long>(split.channels));
  }
  text->Add("\n");
}

}  // namespace

size_t Explain(const peakpool_plan& plan, char* buffer, size_t size) {
  Text text(buffer, size);
  const peakpool_problem& p = plan.shape.problem;
  const int threads = ThreadCount(*DefaultExecutor());
  char description[512];
  Describe(plan.problem, description, sizeof(description));
  text.Add("problem: %s\noutput:", description);
  for (int a = 0; a < p.rank; ++a) text.Add(a == 0 ? " %lld" : "x%lld", static_cast<long long>(p.output[a]));
  text.Add("\n");
  if (plan.few.outputs > 0) {
    text.Add("forward: few (a list of every tap)\n");
  } else {
    ExplainChoice(&text, "forward", plan.forward, ForwardSplit(plan, threads));
  }
  if (!IsFloat(p.type)) {
    text.Add("backward: unsupported (integer type)\n");
  } else if (p.index_format == PEAKPOOL_INDEX_NONE) {
    text.Add("backward: unsupported (no index format)\n");
  } else {
    ExplainChoice(&text, "backward", plan.backward, BackwardSplit(plan, threads));
  }
  text.Add("target: %s", plan.kernels == nullptr ? "none (scalar)" : hwy::TargetName(plan.kernels->target));
  if (plan.kernels != nullptr) text.Add(", %zu lanes", plan.kernels->lanes);
  const int64_t elements = p.batch * p.channels;
  int64_t inputs = elements, outputs = elements;
  for (int a = 0; a < p.rank; ++a) {
    inputs *= p.input[a];
    outputs *= p.output[a];
  }
  const int64_t bytes = ElementBytes(p.type);
  text.Add("\nthreads: %d\nbytes: %lld in, %lld out, %lld of indices\n", threads,
           static_cast<long long>(inputs * bytes), static_cast<long long>(outputs * bytes),
           static_cast<long long>(outputs * IndexBytes(p.index_format)));
  return text.length();
}

}  // namespace peakpool
