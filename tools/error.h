// SPDX-License-Identifier: Apache-2.0
// What went wrong in a tool: one line that names the argument and its value. Empty means success.
#ifndef PEAKPOOL_TOOLS_ERROR_H_
#define PEAKPOOL_TOOLS_ERROR_H_

#include <string>
#include <utility>

namespace peakpool::tools {

struct [[nodiscard]] Error {
  Error() = default;
  Error(std::string text) : message(std::move(text)) {}  // implicit, so that a string can be returned

  explicit operator bool() const { return !message.empty(); }

  std::string message;
};

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_ERROR_H_
