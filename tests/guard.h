// SPDX-License-Identifier: Apache-2.0
// Tensors whose every byte outside traps: the memory before and after a buffer is unmapped. Under the address sanitizer
// they are plain allocations, whose red zones find more.
#ifndef PEAKPOOL_TESTS_GUARD_H_
#define PEAKPOOL_TESTS_GUARD_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#define PEAKPOOL_TESTS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PEAKPOOL_TESTS_ASAN 1
#endif
#endif

namespace peakpool::tests {

// Which end of the buffer touches unmapped memory.
enum class Side { kStart, kEnd };
constexpr Side kSides[] = {Side::kEnd, Side::kStart};

// One reusable mapping: Place() gives `bytes` bytes abutting the chosen guard, valid until the next Place().
class GuardedBuffer {
 public:
  GuardedBuffer() = default;
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer() { Release(); }

  uint8_t* Place(size_t bytes, Side side = Side::kEnd) {
#ifdef PEAKPOOL_TESTS_ASAN
    static_cast<void>(side);
    Release();
    mapping_ = static_cast<uint8_t*>(std::malloc(bytes));
    return mapping_;
#else
    if (bytes > capacity_ || mapping_ == nullptr) Map(bytes);
    return side == Side::kStart ? mapping_ + page_ : mapping_ + page_ + capacity_ - bytes;
#endif
  }
  uint8_t* Copy(const void* data, size_t bytes, Side side = Side::kEnd) {
    uint8_t* p = Place(bytes, side);
    if (bytes != 0) std::memcpy(p, data, bytes);
    return p;
  }

 private:
#ifdef PEAKPOOL_TESTS_ASAN
  void Release() { std::free(mapping_); }
#else
  void Map(size_t bytes) {
    Release();
    page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    capacity_ = (2 * bytes + page_) / page_ * page_;
    void* p = mmap(nullptr, capacity_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    mapping_ = static_cast<uint8_t*>(p);
    if (mprotect(mapping_ + page_, capacity_, PROT_READ | PROT_WRITE) != 0) std::abort();
  }
  void Release() {
    if (mapping_ != nullptr) munmap(mapping_, capacity_ + 2 * page_);
  }
  size_t page_ = 0, capacity_ = 0;
#endif
  uint8_t* mapping_ = nullptr;
};

}  // namespace peakpool::tests

#endif  // PEAKPOOL_TESTS_GUARD_H_
