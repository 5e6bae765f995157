// SPDX-License-Identifier: Apache-2.0
// `peakpool verify`: random problems on every target against the im2col reference, bit for bit, canaries included.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "peakpool/peakpool.hpp"
#include "tools/commands.h"
#include "tools/random_problem.h"

namespace peakpool::tools {
namespace {

constexpr int kMaxMismatches = 10;  // then it stops
constexpr size_t kGuardBytes = 64;
constexpr unsigned char kCanary = 0xA5;

// A tensor between canaries. Gaps between strided elements are canaries too, so comparing two whole buffers also finds
// what was written outside the tensor.
class Buffer {
 public:
  Buffer(size_t bytes, size_t offset) : begin_(kGuardBytes + offset), bytes_(begin_ + bytes + kGuardBytes, kCanary) {}

  void* data() { return bytes_.data() + begin_; }
  bool GuardsIntact(size_t bytes) const {
    const auto intact = [](unsigned char byte) { return byte == kCanary; };
    return std::all_of(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_), intact) &&
           std::all_of(bytes_.begin() + static_cast<std::ptrdiff_t>(begin_ + bytes), bytes_.end(), intact);
  }
  // Where the first difference is, from the start of the tensor: negative or beyond its end in a guard.
  bool Differs(const Buffer& other, int64_t* at) const {
    const auto first = std::mismatch(bytes_.begin(), bytes_.end(), other.bytes_.begin()).first;
    *at = first - bytes_.begin() - static_cast<int64_t>(begin_);
    return first != bytes_.end();
  }
  // The bytes at a distance from the start of the tensor as one little-endian number, as far as there are some.
  std::string Hex(int64_t at, size_t count) const {
    std::string text = "0x";
    for (size_t i = count; i-- > 0;) {
      const size_t place = begin_ + static_cast<size_t>(at) + i;
      if (place >= bytes_.size()) continue;
      char digits[3];
      std::snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned>(bytes_[place]));
      text += digits;
    }
    return text;
  }

 private:
  size_t begin_;
  std::vector<unsigned char> bytes_;
};

// Claims some threads and runs the tasks last first: what tasks must not share shows, the same way every time.
void RunBackwards(void*, int64_t count, void (*task)(void* task_context, int64_t i), void* task_context) {
  for (int64_t i = count; i-- > 0;) task(task_context, i);
}

struct Outcome {
  int64_t backward = 0;  // problems that had a backward pass
  std::vector<std::string> mismatches;
};

class Case {
 public:
  Case(const peakpool_problem& problem, uint64_t seed) : problem_(problem), seed_(seed) {
    problem_.target = nullptr;
    problem_.algorithm = PEAKPOOL_IM2COL;
    reference_ = Plan(problem_);
    problem_.algorithm = PEAKPOOL_AUTO;
  }

  bool accepted() const { return static_cast<bool>(reference_); }
  const char* refusal() const { return reference_.error(); }

  // Everything random is drawn before the targets are looped over, so that one target alone sees the same.
  void Run(const std::vector<std::string>& targets, Outcome* outcome) {
    Random random(seed_);
    const peakpool_problem& p = reference_.problem();
    const size_t element = ElementBytes(p.type), index_element = IndexBytes(p.index_format);
    const size_t inputs = static_cast<size_t>(InputSpan(p)), outputs = static_cast<size_t>(OutputSpan(p));
    const size_t offset = element * static_cast<size_t>(random.Between(0, 7));
    const peakpool_executor backwards = {sizeof(peakpool_executor), RunBackwards, nullptr,
                                         static_cast<int32_t>(random.Between(2, 8))};
    const peakpool_executor* const executors[] = {peakpool_serial_executor(), peakpool_default_executor(), &backwards};
    const peakpool_executor* const executor = executors[random.Between(0, 2)];

    const size_t output_bytes = outputs * element, input_bytes = inputs * element;
    const size_t index_bytes = outputs * index_element;
    Buffer x(input_bytes, offset), y(output_bytes, offset), index(index_bytes, 8);
    RandomValues(p.type, &random, static_cast<int64_t>(inputs), x.data());
    const Buffer untouched_x = x;
    Expect("im2col", "forward",
           reference_.forward(x.data(), y.data(), index_element ? index.data() : nullptr, Serial()), outcome);
    const bool backward = index_element != 0 && p.type <= PEAKPOOL_BF16;
    Buffer dy(output_bytes, offset), start(input_bytes, offset);
    if (backward) {
      RandomGradients(p.type, &random, static_cast<int64_t>(outputs), dy.data());
      if (p.flags & PEAKPOOL_ACCUMULATE) {
        RandomGradients(p.type, &random, static_cast<int64_t>(inputs), start.data());
      }
      ++outcome->backward;
    }
    Buffer dx = start;
    if (backward) {
      Expect("im2col", "backward", reference_.backward(dy.data(), index.data(), dx.data(), Serial()), outcome);
    }
    if (!y.GuardsIntact(output_bytes) || !index.GuardsIntact(index_bytes) || !dx.GuardsIntact(input_bytes)) {
      Mismatch("im2col", "wrote outside a tensor", outcome);
    }

    for (const std::string& target : targets) {
      problem_.target = target.c_str();
      const Plan plan(problem_);
      if (!plan) {
        Mismatch(target, std::string("refused what im2col takes: ") + plan.error(), outcome);
        continue;
      }
      Buffer values(output_bytes, offset);
      Expect(target, "forward", plan.forward(x.data(), values.data(), nullptr, executor), outcome);
      Compare(target, "y without indices", values, y, element, outcome);
      if (index_element != 0) {
        Buffer with_indices(output_bytes, offset), taps(index_bytes, 8);
        Expect(target, "forward", plan.forward(x.data(), with_indices.data(), taps.data(), executor), outcome);
        Compare(target, "y with indices", with_indices, y, element, outcome);
        Compare(target, "an index", taps, index, index_element, outcome);
      }
      Compare(target, "the input was written to and", x, untouched_x, element, outcome);
      if (backward) {
        Buffer gradients = start;
        Expect(target, "backward", plan.backward(dy.data(), index.data(), gradients.data(), executor), outcome);
        Compare(target, "dx", gradients, dx, element, outcome);
      }
    }
    problem_.target = nullptr;
  }

 private:
  static const peakpool_executor* Serial() { return peakpool_serial_executor(); }

  void Expect(const std::string& target, const char* direction, peakpool_status status, Outcome* outcome) {
    if (status == PEAKPOOL_OK) return;
    Mismatch(target, std::string(direction) + " failed: " + peakpool_last_error(), outcome);
  }

  void Compare(const std::string& target, const char* what, const Buffer& found, const Buffer& expected, size_t element,
               Outcome* outcome) {
    int64_t at;
    if (!found.Differs(expected, &at)) return;
    const int64_t size = static_cast<int64_t>(element);
    const int64_t number = (at < 0 ? at - size + 1 : at) / size;
    Mismatch(target,
             std::string(what) + " is wrong at element " + std::to_string(number) + " in memory: " +
                 found.Hex(number * size, element) + " should be " + expected.Hex(number * size, element),
             outcome);
  }

  // Reports the first of each target: the others follow from it more often than not.
  void Mismatch(const std::string& target, const std::string& what, Outcome* outcome) {
    if (mismatched_ == target) return;
    mismatched_ = target;
    std::string text = target + ": " + what + "\n  peakpool verify --problem \"" + Describe(problem_) + "\" --seed " +
                       std::to_string(seed_);
    if (target != "im2col") text += " --target " + target;
    outcome->mismatches.push_back(text);
  }

  peakpool_problem problem_;
  uint64_t seed_;
  Plan reference_;
  std::string mismatched_;  // the target that was reported last
};

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

}  // namespace

Error Verify(const VerifyArguments& arguments, bool* mismatch) {
  std::vector<std::string> targets;
  if (Error error = FindTargets(arguments.target, &targets)) return error;
  Outcome outcome;
  int64_t cases = 0;
  if (!arguments.problem.empty()) {
    peakpool_problem problem;
    if (peakpool_parse(arguments.problem.c_str(), &problem) != PEAKPOOL_OK) {
      return "--problem \"" + arguments.problem + "\": " + peakpool_last_error();
    }
    Case one(problem, arguments.seed);
    if (!one.accepted()) return "--problem \"" + arguments.problem + "\": " + one.refusal();
    one.Run(targets, &outcome);
    cases = 1;
  } else {
    constexpr int64_t kMaxDraws = 1000;  // per case; about one problem in three is refused
    ProgressBar progress(arguments.cases);
    Random random(arguments.seed);
    int64_t draws = 0;
    while (cases < arguments.cases && outcome.mismatches.size() < kMaxMismatches) {
      const peakpool_problem problem = RandomProblem(&random);
      Case one(problem, random.Next());
      if (!one.accepted()) {
        if (++draws > kMaxDraws * arguments.cases)
          return std::string("refused every problem, the last one: ") + one.refusal();
        continue;
      }
      one.Run(targets, &outcome);
      ++cases;
      progress.Show(cases);
    }
  }
  for (const std::string& text : outcome.mismatches) std::printf("%s\n", text.c_str());
  *mismatch = !outcome.mismatches.empty();
  std::printf("%lld problems, %lld of them backward too, on %s: %s\n", static_cast<long long>(cases),
              static_cast<long long>(outcome.backward), Join(targets).c_str(),
              *mismatch ? "MISMATCH" : "every bit equals im2col");
  return {};
}

}  // namespace peakpool::tools
