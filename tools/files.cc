// SPDX-License-Identifier: Apache-2.0
#include "tools/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace peakpool::tools {
namespace {

Error SystemError(const std::string& path, const char* action) {
  return path + ": " + action + ": " + std::strerror(errno);
}

}  // namespace

InputFile::~InputFile() {
  if (file_) std::fclose(file_);
}

Error InputFile::Open(const std::string& path) {
  path_ = path;
  struct stat status;
  // Looked at before opening: opening a pipe would wait for its writer.
  if (stat(path.c_str(), &status) != 0) return SystemError(path, "cannot open");
  if (!S_ISREG(status.st_mode)) return path + ": not a regular file";
  file_ = std::fopen(path.c_str(), "rb");
  if (!file_) return SystemError(path, "cannot open");
  size_ = status.st_size;
  return {};
}

Error InputFile::Read(void* data, size_t bytes) {
  if (std::fread(data, 1, bytes, file_) == bytes) return {};
  if (std::ferror(file_)) return SystemError(path_, "cannot read");
  return path_ + ": truncated";
}

OutputFile::~OutputFile() {
  if (file_) std::fclose(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

Error OutputFile::Open(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) return path + ": not a regular file";
  path_ = path;
  std::string name = path + ".XXXXXX";
  const int descriptor = mkstemp(name.data());
  if (descriptor < 0) return SystemError(path, "cannot create");
  temporary_ = name;
  const mode_t mask = umask(0);  // mkstemp makes files private; outputs get the permissions of any new file
  umask(mask);
  fchmod(descriptor, 0666 & ~mask);
  file_ = fdopen(descriptor, "wb");
  if (file_) return {};
  const Error error = SystemError(path, "cannot create");
  close(descriptor);
  return error;
}

Error OutputFile::Write(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_) != bytes) return SystemError(path_, "cannot write");
  return {};
}

Error OutputFile::Commit() {
  const int closed = std::fclose(file_);
  file_ = nullptr;
  if (closed != 0) return SystemError(path_, "cannot write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return SystemError(path_, "cannot write");
  temporary_.clear();
  return {};
}

}  // namespace peakpool::tools
