// SPDX-License-Identifier: Apache-2.0
// Memory that shows what was written outside a tensor.
#ifndef PEAKPOOL_TOOLS_GUARDED_H_
#define PEAKPOOL_TOOLS_GUARDED_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace peakpool::tools {

// A tensor between canaries. Gaps between strided elements are canaries too, so comparing two whole buffers also finds
// what was written outside the tensor.
class Guarded {
 public:
  Guarded() : Guarded(0, 0) {}
  // The offset moves the tensor within its cache line.
  Guarded(size_t bytes, size_t offset)
      : begin_(kGuardBytes + offset), bytes_(begin_ + bytes + kGuardBytes, kCanary), size_(bytes) {}

  void* data() { return bytes_.data() + begin_; }
  bool GuardsIntact() const {
    const auto intact = [](unsigned char byte) { return byte == kCanary; };
    return std::all_of(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_), intact) &&
           std::all_of(bytes_.begin() + static_cast<std::ptrdiff_t>(begin_ + size_), bytes_.end(), intact);
  }
  // Makes part of the tensor look untouched.
  void Wipe(size_t at, size_t count) { std::memset(bytes_.data() + begin_ + at, kCanary, count); }
  // Where the first difference is, from the start of the tensor: negative or beyond its end in a guard.
  bool Differs(const Guarded& other, int64_t* at) const {
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
  static constexpr size_t kGuardBytes = 64;
  static constexpr unsigned char kCanary = 0xA5;

  size_t begin_;
  std::vector<unsigned char> bytes_;
  size_t size_;
};

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_GUARDED_H_
