// SPDX-License-Identifier: Apache-2.0
// `peakpool verify`: random problems on every target against the im2col reference, bit for bit, canaries included.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <vector>

#include "peakpool/peakpool.hpp"
#include "tools/commands.h"
#include "tools/random_problem.h"
#include "tools/verify_case.h"

namespace peakpool::tools {
namespace {

constexpr int kMaxMismatches = 10;  // then it stops

// A bar on stderr where that is a terminal. Debian packages no C++ library for it.
class ProgressBar {
 public:
  explicit ProgressBar(int64_t total) : total_(total), visible_(isatty(STDERR_FILENO)) {}
  ~ProgressBar() { Clear(); }

  void Show(int64_t done) {
    constexpr int kWidth = 40;
    constexpr std::chrono::milliseconds kPeriod{100};
    const auto now = std::chrono::steady_clock::now();
    if (!visible_ || now - shown_ < kPeriod) return;
    shown_ = now;
    const double part = static_cast<double>(done) / static_cast<double>(total_);
    const int filled = static_cast<int>(part * kWidth);
    std::fprintf(stderr, "\r[%s%s] %3.0f %%  %lld of %lld", std::string(filled, '#').c_str(),
                 std::string(kWidth - filled, '.').c_str(), 100 * part, static_cast<long long>(done),
                 static_cast<long long>(total_));
  }
  void Clear() {
    if (visible_) std::fprintf(stderr, "\r\x1b[K");
  }

 private:
  int64_t total_;
  bool visible_;
  std::chrono::steady_clock::time_point shown_;
};

Error FindTargets(const std::string& wanted, std::vector<std::string>* targets) {
  std::string names;
  for (int i = 0; const char* name = peakpool_target_name(i); ++i) {
    names += std::string(i ? ", " : "") + name;
    if (wanted == "all" || wanted == name) targets->push_back(name);
  }
  if (targets->empty()) return "--target " + wanted + ": must be all or one of " + names;
  return {};
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// Checks one problem; false, and the reason in *refusal, if the library does not take it.
bool Check(const peakpool_problem& problem, uint64_t seed, const std::vector<std::string>& targets, bool verbose,
           Outcome* outcome, std::string* refusal) {
  peakpool_problem p = problem;
  p.algorithm = PEAKPOOL_IM2COL;
  const Plan reference(p);
  if (!reference) {
    *refusal = reference.error();
    return false;
  }
  p.algorithm = PEAKPOOL_AUTO;
  if (verbose) std::fprintf(stderr, "%s\n", Reproduction(p, seed).c_str());
  Case(p, reference, seed, outcome).Run(targets);
  return true;
}

void PrintSummary(const Outcome& outcome, const std::vector<std::string>& targets) {
  const struct {
    const char* name;
    int64_t count;
  } parts[] = {{"backward", outcome.backward},         {"unpool", outcome.unpool}, {"convert", outcome.convert},
               {"corrupted indices", outcome.corrupt}, {"stream", outcome.stream}, {"pyramid", outcome.pyramid}};
  std::printf("%lld problems (", static_cast<long long>(outcome.forward));
  for (const auto& part : parts) {
    std::printf("%s%lld %s", &part == parts ? "" : ", ", static_cast<long long>(part.count), part.name);
  }
  std::printf(") on %s: %s\n", Join(targets).c_str(),
              outcome.mismatches.empty() ? "every bit equals im2col" : "MISMATCH");
}

}  // namespace

Error Verify(const VerifyArguments& arguments, bool* mismatch) {
  std::vector<std::string> targets;
  if (Error error = FindTargets(arguments.target, &targets)) return error;
  const bool verbose = arguments.verbose && !isatty(STDERR_FILENO);
  Outcome outcome;
  std::string refusal;
  if (!arguments.problem.empty()) {
    const std::string name = "--problem \"" + arguments.problem + "\": ";
    peakpool_problem problem;
    if (peakpool_parse(arguments.problem.c_str(), &problem) != PEAKPOOL_OK) return name + peakpool_last_error();
    if (!Check(problem, arguments.seed, targets, verbose, &outcome, &refusal)) return name + refusal;
  } else {
    constexpr int64_t kMaxDraws = 1000;  // per case; about one problem in three is refused
    ProgressBar progress(arguments.cases);
    Random random(arguments.seed);
    int64_t refused = 0;
    while (outcome.forward < arguments.cases && outcome.mismatches.size() < kMaxMismatches) {
      peakpool_problem problem = RandomProblem(&random);
      RandomVariant(&random, &problem);
      if (!Check(problem, random.Next(), targets, verbose, &outcome, &refusal)) {
        if (++refused > kMaxDraws * arguments.cases) return "refused every problem, the last one: " + refusal;
        continue;
      }
      progress.Show(outcome.forward);
    }
  }
  for (const std::string& text : outcome.mismatches) std::printf("%s\n", text.c_str());
  *mismatch = !outcome.mismatches.empty();
  PrintSummary(outcome, targets);
  return {};
}

}  // namespace peakpool::tools
