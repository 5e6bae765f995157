// SPDX-License-Identifier: Apache-2.0
// Whole files in, whole files out: an output appears under its name only when it is complete.
#ifndef PEAKPOOL_TOOLS_FILES_H_
#define PEAKPOOL_TOOLS_FILES_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "tools/error.h"

namespace peakpool::tools {

// A regular file opened for reading. Errors name the path.
class InputFile {
 public:
  InputFile() = default;
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  Error Open(const std::string& path);
  Error Read(void* data, size_t bytes);  // fails unless all bytes are there
  int64_t size() const { return size_; }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  int64_t size_ = 0;
};

// Writes to a temporary beside `path`; Commit() renames it over `path`. Without Commit() nothing is left behind.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Refuses a path that names something other than a regular file: a rename over a device would replace the device.
  Error Open(const std::string& path);
  Error Write(const void* data, size_t bytes);
  Error Commit();

 private:
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_FILES_H_
