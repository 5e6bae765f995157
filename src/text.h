// SPDX-License-Identifier: Apache-2.0
// Appends formatted text to a caller's buffer with snprintf's conventions: never overflows, counts what did not fit.
#ifndef PEAKPOOL_SRC_TEXT_H_
#define PEAKPOOL_SRC_TEXT_H_

#include <cstdarg>
#include <cstddef>
#include <cstdio>

namespace peakpool {

class Text {
 public:
  Text(char* buffer, size_t size) : buffer_(buffer), size_(size) {
    if (size_ > 0) buffer_[0] = '\0';
  }

  __attribute__((format(printf, 2, 3))) void Add(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const size_t room = length_ < size_ ? size_ - length_ : 0;
    const int written = std::vsnprintf(room > 0 ? buffer_ + length_ : nullptr, room, format, arguments);
    va_end(arguments);
    if (written > 0) length_ += static_cast<size_t>(written);
  }

  size_t length() const { return length_; }

 private:
  char* buffer_;
  size_t size_;
  size_t length_ = 0;
};

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_TEXT_H_
