// SPDX-License-Identifier: Apache-2.0
// One problem of `peakpool verify`: everything the library does with it, against what the im2col plans say.
#ifndef PEAKPOOL_TOOLS_VERIFY_CASE_H_
#define PEAKPOOL_TOOLS_VERIFY_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "peakpool/peakpool.hpp"
#include "tools/guarded.h"
#include "tools/random_problem.h"

namespace peakpool::tools {

// What was checked, in problems, and what went wrong.
struct Outcome {
  int64_t forward = 0, backward = 0, unpool = 0, convert = 0, corrupt = 0, stream = 0, pyramid = 0;
  std::vector<std::string> mismatches;
};

// The command that runs one problem again.
std::string Reproduction(const peakpool_problem& problem, uint64_t seed);

class Case {
 public:
  // `reference` is the problem's im2col plan. All data is drawn from the seed before anything is checked, so that one
  // target alone sees the same.
  Case(const peakpool_problem& problem, const Plan& reference, uint64_t seed, Outcome* outcome);

  void Run(const std::vector<std::string>& targets);

 private:
  struct Levels {
    std::vector<int64_t> kernels;
    peakpool_problem whole;  // y as one tensor of all channels
  };

  size_t OutputBytes() const { return outputs_ * element_; }
  size_t InputBytes() const { return inputs_ * element_; }
  bool has_index() const { return index_element_ != 0; }
  bool has_backward() const { return has_index() && problem_.type <= PEAKPOOL_BF16; }

  void Corrupt();
  void DrawLevels();

  void CheckForward(const Plan& plan);
  void CheckBackward(const Plan& plan);
  void CheckStream();
  void CheckPyramid();
  void CheckUnpool(const Plan& plan);
  void CheckConversion(const Plan& plan);
  // The corrupted indices must be refused as the reference refuses them, and nothing but dx touched.
  void CheckCorrupted(const Plan& plan);

  bool Expect(const char* what, peakpool_status status, peakpool_status expected = PEAKPOOL_OK);
  void Compare(const char* what, const Guarded& found, const Guarded& expected, size_t element);
  void CompareOutside(const char* what, Guarded* x);
  void Mismatch(const std::string& what);

  const Plan& reference_;
  const peakpool_problem& resolved_;
  peakpool_problem problem_;
  const uint64_t seed_;
  Outcome* const outcome_;
  Random random_;
  std::string target_;      // the one that is being checked
  std::string mismatched_;  // the one that was reported last

  const size_t element_, index_element_, inputs_, outputs_, offset_;
  peakpool_executor backwards_;
  const peakpool_executor* executor_;
  Guarded x_, y_, index_, dy_, start_, dx_;
  Guarded corrupted_;
  bool surely_invalid_ = false;  // whatever reads corrupted_
  peakpool_status corrupted_status_ = PEAKPOOL_OK;
  Levels levels_;
  Guarded pyramid_y_;
};

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_VERIFY_CASE_H_
