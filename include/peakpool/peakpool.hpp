// SPDX-License-Identifier: Apache-2.0
// The C++17 face of peakpool.h: the same calls with an owning plan. Header-only, no exceptions, no RTTI.
//
//   peakpool::Plan plan("f32 nchw 1x64x112x112 k3 s2 p1 window-u8");
//   if (!plan) return std::puts(plan.error()), 1;
//   plan.forward(x, y, index);
#ifndef PEAKPOOL_PEAKPOOL_HPP_
#define PEAKPOOL_PEAKPOOL_HPP_

#include <peakpool/peakpool.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace peakpool {

// A problem with its defaults set; fill in the public fields of peakpool_problem. A type, layout or rank outside its
// domain leaves struct_size 0, which every later call refuses.
struct Problem : peakpool_problem {
  Problem(int32_t type, int32_t layout, int32_t rank) : peakpool_problem() {
    peakpool_problem_init(this, type, layout, rank);
  }
};

// Owns one peakpool_plan. Movable; a moved-from plan is empty. The const members may be called by many threads at once.
class Plan {
 public:
  Plan() = default;
  explicit Plan(const peakpool_problem& problem) { Create(problem); }
  // From the describe grammar, see peakpool_parse().
  explicit Plan(const char* description) {
    peakpool_problem problem;
    status_ = peakpool_parse(description, &problem);
    if (status_ == PEAKPOOL_OK) {
      Create(problem);
    } else {
      KeepError();
    }
  }
  Plan(Plan&& other) noexcept { Swap(other); }
  Plan& operator=(Plan&& other) noexcept {
    Swap(other);
    return *this;
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() { peakpool_plan_destroy(plan_); }

  explicit operator bool() const { return plan_ != nullptr; }
  peakpool_status status() const { return status_; }
  // Why the plan could not be made; "" if it could.
  const char* error() const { return error_; }
  const peakpool_plan* get() const { return plan_; }
  // The resolved problem; the plan must not be empty.
  const peakpool_problem& problem() const { return *peakpool_plan_problem(plan_); }

  // Elements of a dense x, and of a dense y or index.
  int64_t input_elements() const { return Elements(problem().input); }
  int64_t output_elements() const { return Elements(problem().output); }

  // As the functions of the same names in peakpool.h.
  peakpool_status forward(const void* x, void* y, void* index = nullptr,
                          const peakpool_executor* executor = nullptr) const {
    return peakpool_forward(plan_, x, y, index, executor);
  }
  peakpool_status backward(const void* dy, const void* index, void* dx,
                           const peakpool_executor* executor = nullptr) const {
    return peakpool_backward(plan_, dy, index, dx, executor);
  }
  peakpool_status unpool(const void* y, const void* index, void* x, const peakpool_executor* executor = nullptr) const {
    return peakpool_unpool(plan_, y, index, x, executor);
  }
  peakpool_status convert_indices(int32_t from_format, const void* from, int32_t to_format, void* to,
                                  const peakpool_executor* executor = nullptr) const {
    return peakpool_convert_indices(plan_, from_format, from, to_format, to, executor);
  }

 private:
  void Create(const peakpool_problem& problem) {
    status_ = peakpool_plan_create(&problem, &plan_);
    if (status_ != PEAKPOOL_OK) KeepError();
  }
  void KeepError() { std::strncpy(error_, peakpool_last_error(), sizeof(error_) - 1); }
  void Swap(Plan& other) {
    std::swap(plan_, other.plan_);
    std::swap(status_, other.status_);
    std::swap(error_, other.error_);
  }
  int64_t Elements(const int64_t (&spatial)[PEAKPOOL_MAX_RANK]) const {
    int64_t elements = problem().batch * problem().channels;
    for (int a = 0; a < problem().rank; ++a) elements *= spatial[a];
    return elements;
  }

  peakpool_plan* plan_ = nullptr;
  peakpool_status status_ = PEAKPOOL_INVALID_ARGUMENT;
  char error_[256] = "";
};

}  // namespace peakpool

#endif  // PEAKPOOL_PEAKPOOL_HPP_
