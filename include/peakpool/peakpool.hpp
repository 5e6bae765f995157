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

// What Plan, Pyramid and Stream share: the object owned, or why it could not be made. Movable; a moved-from one is
// empty.
template <class T, void (*Destroy)(T*)>
class Owner {
 public:
  Owner() = default;
  Owner(Owner&& other) noexcept { Swap(other); }
  Owner& operator=(Owner&& other) noexcept {
    Swap(other);
    return *this;
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner() { Destroy(object_); }

  explicit operator bool() const { return object_ != nullptr; }
  peakpool_status status() const { return status_; }
  // Why it could not be made; "" if it could.
  const char* error() const { return error_; }
  T* get() const { return object_; }

 protected:
  // create(problem, T**) makes the object.
  template <class Create>
  void Make(const peakpool_problem& problem, Create create) {
    Keep(create(&problem, &object_));
  }
  template <class Create>
  void Make(const char* description, Create create) {
    peakpool_problem problem;
    Keep(peakpool_parse(description, &problem));
    if (status_ == PEAKPOOL_OK) Make(problem, create);
  }

 private:
  void Keep(peakpool_status status) {
    status_ = status;
    if (status_ != PEAKPOOL_OK) std::strncpy(error_, peakpool_last_error(), sizeof(error_) - 1);
  }
  void Swap(Owner& other) {
    std::swap(object_, other.object_);
    std::swap(status_, other.status_);
    std::swap(error_, other.error_);
  }

  T* object_ = nullptr;
  peakpool_status status_ = PEAKPOOL_INVALID_ARGUMENT;
  char error_[256] = "";
};

// One pooling problem, ready to run. The const members may be called by many threads at once.
class Plan : public Owner<peakpool_plan, peakpool_plan_destroy> {
 public:
  Plan() = default;
  explicit Plan(const peakpool_problem& problem) { Make(problem, peakpool_plan_create); }
  // From the describe grammar, see peakpool_parse().
  explicit Plan(const char* description) { Make(description, peakpool_plan_create); }

  // The resolved problem; the plan must not be empty.
  const peakpool_problem& problem() const { return *peakpool_plan_problem(get()); }

  // Elements of a dense x, and of a dense y or index; the plan must not be empty.
  int64_t input_elements() const { return Elements(problem().input); }
  int64_t output_elements() const { return Elements(problem().output); }

  // As the functions of the same names in peakpool.h.
  peakpool_status forward(const void* x, void* y, void* index = nullptr,
                          const peakpool_executor* executor = nullptr) const {
    return peakpool_forward(get(), x, y, index, executor);
  }
  peakpool_status backward(const void* dy, const void* index, void* dx,
                           const peakpool_executor* executor = nullptr) const {
    return peakpool_backward(get(), dy, index, dx, executor);
  }
  peakpool_status unpool(const void* y, const void* index, void* x, const peakpool_executor* executor = nullptr) const {
    return peakpool_unpool(get(), y, index, x, executor);
  }
  peakpool_status convert_indices(int32_t from_format, const void* from, int32_t to_format, void* to,
                                  const peakpool_executor* executor = nullptr) const {
    return peakpool_convert_indices(get(), from_format, from, to_format, to, executor);
  }

 private:
  int64_t Elements(const int64_t (&spatial)[PEAKPOOL_MAX_RANK]) const {
    int64_t elements = problem().batch * problem().channels;
    for (int a = 0; a < problem().rank; ++a) elements *= spatial[a];
    return elements;
  }
};

// Several stride-1 windows over one input in one call, see peakpool_pyramid_create(). forward() may be called by many
// threads at once.
class Pyramid : public Owner<peakpool_pyramid, peakpool_pyramid_destroy> {
 public:
  Pyramid() = default;
  Pyramid(const peakpool_problem& problem, const int64_t* kernels, int32_t levels) {
    Make(problem, [=](const peakpool_problem* from, peakpool_pyramid** pyramid) {
      return peakpool_pyramid_create(from, kernels, levels, pyramid);
    });
  }
  peakpool_status forward(const void* x, void* y, const peakpool_executor* executor = nullptr) const {
    return peakpool_pyramid_forward(get(), x, y, executor);
  }
};

// Row by row, see peakpool_stream_create(). For one thread at a time.
class Stream : public Owner<peakpool_stream, peakpool_stream_destroy> {
 public:
  Stream() = default;
  explicit Stream(const peakpool_problem& problem) { Make(problem, peakpool_stream_create); }
  explicit Stream(const char* description) { Make(description, peakpool_stream_create); }

  bool ready() const { return peakpool_stream_ready(get()) != 0; }
  peakpool_status push(const void* row) { return peakpool_stream_push(get(), row); }
  peakpool_status pull(void* row, void* index = nullptr, const peakpool_executor* executor = nullptr) {
    return peakpool_stream_pull(get(), row, index, executor);
  }
};

}  // namespace peakpool

#endif  // PEAKPOOL_PEAKPOOL_HPP_
