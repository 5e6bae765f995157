// SPDX-License-Identifier: Apache-2.0
#include "tools/npy.h"

#include <cctype>
#include <cstring>
#include <new>

namespace peakpool::tools {
namespace {

constexpr size_t kPreambleBytes = 8;         // magic, major, minor
constexpr size_t kMaxHeaderBytes = 1 << 20;  // a header of a known type needs under 200 bytes
constexpr size_t kMaxAxes = 32;              // NumPy's own limit

// Overflow is judged as if axes of size 0 were absent: a shape is absurd or not whatever its order.
bool ByteCount(const NpyType& type, const std::vector<int64_t>& shape, int64_t* bytes) {
  *bytes = type.bytes;
  bool empty = false;
  for (int64_t size : shape) {
    empty |= size == 0;
    if (size != 0 && __builtin_mul_overflow(*bytes, size, bytes)) return false;
  }
  if (empty) *bytes = 0;
  return true;
}

// Reads the header's Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }, keys in any order.
class HeaderParser {
 public:
  HeaderParser(const std::string& path, const std::string& text) : path_(path), text_(text) {}

  Error Parse(NpyArray* array) {
    bool has_type = false, has_order = false, has_shape = false;
    if (!Take('{')) return Bad();
    while (!Take('}')) {
      std::string key;
      if (!TakeString(&key) || !Take(':')) return Bad();
      if (key == "descr" && !has_type) {
        has_type = true;
        if (Error error = TakeType(&array->type)) return error;
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        if (TakeWord("True")) return path_ + ": fortran_order = True: only C-ordered arrays are read";
        if (!TakeWord("False")) return Bad();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        if (!TakeShape(&array->shape)) return Bad();
      } else {
        return path_ + ": bad .npy header: unexpected key '" + key + "'";
      }
      if (!Take(',') && Peek() != '}') return Bad();
    }
    if (Peek() != '\0') return Bad();
    if (!has_type || !has_order || !has_shape) return path_ + ": bad .npy header: needs descr, fortran_order and shape";
    return {};
  }

 private:
  Error Bad() const { return path_ + ": bad .npy header at its character " + std::to_string(at_); }

  char Peek() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool Take(char c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }

  bool TakeWord(const char* word) {
    Peek();
    if (text_.compare(at_, std::strlen(word), word) != 0) return false;
    at_ += std::strlen(word);
    return true;
  }

  bool TakeString(std::string* value) {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return false;
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string::npos) return false;
    *value = text_.substr(at_ + 1, end - at_ - 1);
    for (char& c : *value) {
      if (!std::isprint(static_cast<unsigned char>(c))) c = '?';  // it is quoted in one-line messages
    }
    at_ = end + 1;
    return true;
  }

  Error TakeType(NpyType* type) {
    if (Peek() == '[') return path_ + ": dtype: structured arrays are not read";
    std::string name;
    if (!TakeString(&name)) return Bad();
    if (name.size() == 3 && name[0] == '>') return path_ + ": dtype '" + name + "': only little-endian arrays are read";
    const bool known = name.size() == 3 && std::strchr("<|=", name[0]) && std::strchr("fiu", name[1]) &&
                       std::strchr("1248", name[2]) && name.substr(1) != "f1";
    if (!known) return path_ + ": dtype '" + name + "': must be one of f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8";
    *type = {name[1], name[2] - '0'};
    return {};
  }

  bool TakeShape(std::vector<int64_t>* shape) {
    shape->clear();
    if (!Take('(')) return false;
    while (!Take(')')) {
      if (!std::isdigit(static_cast<unsigned char>(Peek())) || shape->size() == kMaxAxes) return false;
      int64_t size = 0;
      for (; std::isdigit(static_cast<unsigned char>(Peek())); ++at_) {
        if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, text_[at_] - '0', &size)) {
          return false;
        }
      }
      Take('L');  // Python 2 wrote long integers so
      shape->push_back(size);
      if (!Take(',') && Peek() != ')') return false;
    }
    return true;
  }

  const std::string& path_;
  const std::string& text_;
  size_t at_ = 0;
};

}  // namespace

std::string ShapeName(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

size_t NpyArray::Bytes() const {
  int64_t bytes = 0;
  ByteCount(type, shape, &bytes);
  return static_cast<size_t>(bytes);
}

Error NpyArray::Allocate(const std::string& path) {
  int64_t bytes;
  if (!ByteCount(type, shape, &bytes)) {
    return path + ": shape " + ShapeName(shape) + " of " + type.Name() + ": more bytes than fit 64 bits";
  }
  data.reset(new (std::nothrow) std::byte[static_cast<size_t>(bytes)]);
  if (!data) return path + ": no memory for " + std::to_string(bytes) + " bytes";
  return {};
}

Error ReadNpy(const std::string& path, NpyArray* array) {
  InputFile file;
  if (Error error = file.Open(path)) return error;
  unsigned char preamble[kPreambleBytes + 4];
  const size_t shortest = kPreambleBytes + 2;
  if (file.size() < static_cast<int64_t>(shortest))
    return path + ": not a .npy file: " + std::to_string(file.size()) + " bytes";
  if (Error error = file.Read(preamble, shortest)) return error;
  if (std::memcmp(preamble, "\x93NUMPY", 6) != 0) return path + ": not a .npy file: wrong first bytes";
  const int major = preamble[6], minor = preamble[7];
  if (major < 1 || major > 3 || minor != 0) {
    return path + ": .npy version " + std::to_string(major) + "." + std::to_string(minor) +
           ": only 1.0, 2.0 and 3.0 are read";
  }
  size_t length = preamble[8] | static_cast<size_t>(preamble[9]) << 8;
  size_t before_data = shortest;
  if (major > 1) {  // the length has four bytes
    if (Error error = file.Read(preamble + shortest, 2)) return error;
    length |= static_cast<size_t>(preamble[10]) << 16 | static_cast<size_t>(preamble[11]) << 24;
    before_data += 2;
  }
  before_data += length;
  if (static_cast<int64_t>(before_data) > file.size()) return path + ": truncated within its header";
  if (length > kMaxHeaderBytes) return path + ": bad .npy header: " + std::to_string(length) + " bytes long";

  std::string header(length, '\0');
  if (Error error = file.Read(header.data(), length)) return error;
  if (Error error = HeaderParser(path, header).Parse(array)) return error;

  const int64_t available = file.size() - static_cast<int64_t>(before_data);
  int64_t bytes;
  const bool fits = ByteCount(array->type, array->shape, &bytes);
  if (!fits || bytes != available) {
    return path + ": holds " + std::to_string(available) + " bytes of data, but shape " + ShapeName(array->shape) +
           " of " + array->type.Name() + " needs " + (fits ? std::to_string(bytes) : "more than fit 64 bits");
  }
  if (Error error = array->Allocate(path)) return error;
  return file.Read(array->data.get(), array->Bytes());
}

Error WriteNpy(const NpyArray& array, OutputFile* file) {
  const std::string order = array.type.bytes == 1 ? "|" : "<";
  std::string header = "{'descr': '" + order + array.type.Name() +
                       "', 'fortran_order': False, 'shape': " + ShapeName(array.shape) + ", }";
  // The data starts at a multiple of 64, as NumPy writes it, so that the file can be mapped.
  const size_t preamble = kPreambleBytes + 2;
  header.append(63 - (preamble + header.size()) % 64, ' ');
  header += '\n';
  const char start[preamble] = {'\x93',
                                'N',
                                'U',
                                'M',
                                'P',
                                'Y',
                                1,
                                0,
                                static_cast<char>(header.size() & 0xFF),
                                static_cast<char>(header.size() >> 8)};
  if (Error error = file->Write(start, preamble)) return error;
  if (Error error = file->Write(header.data(), header.size())) return error;
  return file->Write(array.data.get(), array.Bytes());
}

}  // namespace peakpool::tools
