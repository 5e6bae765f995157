// SPDX-License-Identifier: Apache-2.0
// Runs the public API on guarded tensors and hands back plain bytes to compare.
#ifndef PEAKPOOL_TESTS_POOLING_H_
#define PEAKPOOL_TESTS_POOLING_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "peakpool/peakpool.h"

namespace peakpool::tests {

using Bytes = std::vector<uint8_t>;
using Random = std::mt19937_64;

// Every type, layout and format as they are numbered.
constexpr int32_t kTypes = PEAKPOOL_U64 + 1;
constexpr int32_t kIndexFormats = PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64 + 1;

inline bool IsFloatType(int32_t type) { return type <= PEAKPOOL_BF16; }

// The grammar's problem; a test that cannot parse its own text fails.
peakpool_problem Parsed(const std::string& text);
std::string Described(const peakpool_problem& problem);

// Owns a plan; `status` and `error` say why there is none.
class Plan {
 public:
  explicit Plan(const peakpool_problem& problem);
  ~Plan() { peakpool_plan_destroy(plan_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  explicit operator bool() const { return plan_ != nullptr; }
  const peakpool_plan* get() const { return plan_; }
  const peakpool_problem& problem() const { return *peakpool_plan_problem(plan_); }
  peakpool_status status() const { return status_; }
  const std::string& error() const { return error_; }

 private:
  peakpool_plan* plan_ = nullptr;
  peakpool_status status_;
  std::string error_;
};

// Bytes from the first element of a tensor to the end of its last one.
size_t InputBytes(const peakpool_problem& resolved);
size_t OutputBytes(const peakpool_problem& resolved);
size_t IndexTensorBytes(const peakpool_problem& resolved);

// What fills x: every bit pattern; few distinct values with NaN, zeros of both signs and infinities among them, so that
// ties are the rule; the same without NaN.
enum class Fill { kBits, kTies, kFiniteTies };
Bytes RandomElements(int32_t type, size_t bytes, Fill fill, Random* random);
// Nothing but the least element, which padding must not be taken for.
Bytes LowestElements(int32_t type, size_t bytes);
// Gradients whose sum depends on the order of addition; every other time with zeros, infinities and NaNs among them.
Bytes RandomGradients(int32_t type, size_t bytes, Random* random, bool specials = true);

// Remembers what is about to run, so that a segmentation fault (a guard page was touched) can say what it was.
void NoteRunning(const char* what, const peakpool_problem& problem);

// Outputs start as a pattern that shows every byte that was not, or should not have been, written.
Bytes Untouched(size_t bytes);

struct Forward {
  Bytes y, index;
};
// Runs on guarded copies; a failed status fails the test.
Forward RunForward(const Plan& plan, const Bytes& x, bool with_index, const peakpool_executor* executor = nullptr);
Forward RunNaiveForward(const peakpool_problem& resolved, const Bytes& x);
// `dx` is what the tensor holds before.
Bytes RunBackward(const Plan& plan, const Bytes& dy, const Bytes& index, const Bytes& dx,
                  const peakpool_executor* executor = nullptr);
Bytes RunNaiveBackward(const peakpool_problem& resolved, const Bytes& dy, const Bytes& index, const Bytes& dx);

// These hand the status back, for indices that may be invalid. The result starts as, and replaces, what is given.
peakpool_status TryBackward(const Plan& plan, const Bytes& dy, const Bytes& index, Bytes* dx,
                            const peakpool_executor* executor = nullptr);
peakpool_status TryUnpool(const Plan& plan, const Bytes& y, const Bytes& index, Bytes* x,
                          const peakpool_executor* executor = nullptr);
peakpool_status TryConvert(const Plan& plan, int32_t from_format, const Bytes& from, int32_t to_format, Bytes* to,
                           const peakpool_executor* executor = nullptr);

// Untrusted index tensors: random bytes, small numbers around the windows' and the plane's ends, and `good` with one
// place of it ruined.
enum class Garbage { kBytes, kSmall, kOneBad };
constexpr Garbage kGarbage[] = {Garbage::kBytes, Garbage::kSmall, Garbage::kOneBad};
Bytes RandomIndices(const peakpool_problem& resolved, const Bytes& good, Garbage garbage, Random* random);

// Where two tensors first differ, in hexadecimal.
::testing::AssertionResult SameBytes(const Bytes& actual, const Bytes& expected, size_t element_bytes);

// A problem in every index format that can hold it.
std::vector<peakpool_problem> InEveryFormat(peakpool_problem problem);

// Executors that stress a plan's claim that tasks are independent.
peakpool_executor ReverseExecutor(int threads);
peakpool_executor ShuffledExecutor(int threads);
peakpool_executor ThreadExecutor(int threads);  // so many std::threads, at most 8

struct NamedExecutor {
  const char* name;
  peakpool_executor executor;
  bool is_default = false;  // whose thread count is the arena's, so that it must be passed as it is

  const peakpool_executor* get() const { return is_default ? peakpool_default_executor() : &executor; }
};
std::vector<NamedExecutor> Executors();

}  // namespace peakpool::tests

#endif  // PEAKPOOL_TESTS_POOLING_H_
