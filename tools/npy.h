// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files, versions 1.0 to 3.0: little-endian, C-ordered arrays of f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8.
// Own code: no reader that Debian packages reports errors as statuses or knows float16.
#ifndef PEAKPOOL_TOOLS_NPY_H_
#define PEAKPOOL_TOOLS_NPY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tools/error.h"
#include "tools/files.h"

namespace peakpool::tools {

struct NpyType {
  char kind = 'f';  // 'f', 'i' or 'u'
  int bytes = 4;

  bool operator==(const NpyType& other) const { return kind == other.kind && bytes == other.bytes; }
  std::string Name() const { return kind + std::to_string(bytes); }  // as NumPy spells it: "f4"
};

struct NpyArray {
  NpyType type;
  std::vector<int64_t> shape;
  std::unique_ptr<std::byte[]> data;

  // Sets data for type and shape, uninitialised. `path` is what an error names.
  Error Allocate(const std::string& path);
  size_t Bytes() const;  // of data; defined after Allocate() or ReadNpy()
};

// "(1, 64, 112, 112)".
std::string ShapeName(const std::vector<int64_t>& shape);

// Reads one array. The header is checked against the file's length before anything is allocated.
Error ReadNpy(const std::string& path, NpyArray* array);

// Writes one array, version 1.0, to an open file.
Error WriteNpy(const NpyArray& array, OutputFile* file);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_NPY_H_
