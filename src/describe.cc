// SPDX-License-Identifier: Apache-2.0
#include "src/describe.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "src/element.h"
#include "src/error.h"
#include "src/shape.h"
#include "src/text.h"

namespace peakpool {
namespace {

constexpr const char* kTypeNames[] = {"f32", "f64", "f16", "bf16", "i8",  "u8",
                                      "i16", "u16", "i32", "u32",  "i64", "u64"};
constexpr const char* kLayoutNames[2][PEAKPOOL_MAX_RANK] = {{"ncw", "nchw", "ncdhw"}, {"nwc", "nhwc", "ndhwc"}};
constexpr const char* kIndexNames[] = {"no-index",  "window-u8", "window-u16", "window-u32",
                                       "plane-i32", "plane-i64", "tensor-i64", "tensor-colmajor-i64"};
constexpr const char* kRoundingNames[] = {"floor", "ceil", "exact"};

template <int count>
int Find(const char* const (&names)[count], const char* token) {
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(names[i], token) == 0) return i;
  }
  return -1;
}

// Reads one number and moves *text past it; false if there is none or it does not fit.
bool ReadNumber(const char** text, int64_t* value) {
  if ((**text < '0' || **text > '9') && **text != '-') return false;
  char* end;
  errno = 0;
  *value = std::strtoll(*text, &end, 10);
  *text = end;
  return errno == 0;
}

// Reads "1x2x3" (at most `most` numbers) from text; the number of values, or 0 if malformed. With `after`, each value
// may be "before:after"; without the colon both are the same.
int ReadSizes(const char* text, int most, int64_t* values, int64_t* after = nullptr) {
  for (int count = 0; count < most; ++text) {
    if (!ReadNumber(&text, &values[count])) return 0;
    if (after != nullptr) {
      after[count] = values[count];
      if (*text == ':') {
        ++text;
        if (!ReadNumber(&text, &after[count])) return 0;
      }
    }
    ++count;
    if (*text == '\0') return count;
    if (*text != 'x') return 0;
  }
  return 0;
}

// One value for every axis, or one per axis.
bool ReadAxes(const char* text, int rank, int64_t* values, int64_t* after = nullptr) {
  const int count = ReadSizes(text, rank, values, after);
  if (count == 1) {
    for (int a = 1; a < rank; ++a) {
      values[a] = values[0];
      if (after != nullptr) after[a] = after[0];
    }
  }
  return count == 1 || count == rank;
}

bool ReadStrides(const char* text, int rank, peakpool_strides* strides) {
  int64_t values[PEAKPOOL_MAX_RANK + 2] = {};
  if (ReadSizes(text, rank + 2, values) != rank + 2) return false;
  strides->batch = values[0];
  strides->channel = values[1];
  for (int a = 0; a < rank; ++a) strides->spatial[a] = values[2 + a];
  return true;
}

// "lower:upper" in the arithmetic of the type.
bool ReadClamp(const char* text, peakpool_problem* p) {
  peakpool_scalar* const bounds[] = {&p->clamp_lower, &p->clamp_upper};
  for (int i = 0; i < 2; ++i) {
    char* end;
    errno = 0;
    if (IsFloat(p->type)) {
      bounds[i]->real = std::strtod(text, &end);
    } else if (IsSigned(p->type)) {
      bounds[i]->integer = std::strtoll(text, &end, 10);
    } else {
      if (*text == '-') return false;
      bounds[i]->natural = std::strtoull(text, &end, 10);
    }
    if (end == text || errno != 0 || *end != (i == 0 ? ':' : '\0')) return false;
    text = end + 1;
  }
  p->flags |= PEAKPOOL_CLAMP;
  return true;
}

void WriteClamp(Text* text, const peakpool_problem& p) {
  if (IsFloat(p.type)) {
    text->Add(" clamp=%.17g:%.17g", p.clamp_lower.real, p.clamp_upper.real);
  } else if (IsSigned(p.type)) {
    text->Add(" clamp=%lld:%lld", static_cast<long long>(p.clamp_lower.integer),
              static_cast<long long>(p.clamp_upper.integer));
  } else {
    text->Add(" clamp=%llu:%llu", static_cast<unsigned long long>(p.clamp_lower.natural),
              static_cast<unsigned long long>(p.clamp_upper.natural));
  }
}

bool ReadToken(const char* token, peakpool_problem* p, bool* has_kernel, bool* has_stride) {
  const int rank = p->rank;
  if (int rounding = Find(kRoundingNames, token); rounding >= 0) {
    p->rounding = rounding;
    return true;
  }
  if (int format = Find(kIndexNames, token); format >= 0) {
    p->index_format = format;
    return true;
  }
  if (std::strcmp(token, "allow-empty") == 0) return p->flags |= PEAKPOOL_ALLOW_EMPTY, true;
  if (std::strcmp(token, "accumulate") == 0) return p->flags |= PEAKPOOL_ACCUMULATE, true;
  if (std::strcmp(token, "im2col") == 0) return p->algorithm = PEAKPOOL_IM2COL, true;
  if (std::strncmp(token, "clamp=", 6) == 0) return ReadClamp(token + 6, p);
  if (std::strncmp(token, "xs=", 3) == 0) return ReadStrides(token + 3, rank, &p->input_strides);
  if (std::strncmp(token, "ys=", 3) == 0) return ReadStrides(token + 3, rank, &p->output_strides);
  switch (token[0]) {
    case 'k': return *has_kernel = true, ReadAxes(token + 1, rank, p->kernel);
    case 's': return *has_stride = true, ReadAxes(token + 1, rank, p->stride);
    case 'd': return ReadAxes(token + 1, rank, p->dilation);
    case 'a': return *has_kernel = true, p->rounding = PEAKPOOL_ADAPTIVE, ReadAxes(token + 1, rank, p->output);
    case 'o': return p->rounding = PEAKPOOL_EXPLICIT, ReadAxes(token + 1, rank, p->output);
    case 'p': {
      int64_t before[PEAKPOOL_MAX_RANK] = {}, after[PEAKPOOL_MAX_RANK] = {};
      if (!ReadAxes(token + 1, rank, before, after)) return false;
      for (int a = 0; a < rank; ++a) p->padding[a] = {before[a], after[a]};
      return true;
    }
    default: return false;
  }
}

void WriteSizes(Text* text, const char* prefix, const int64_t* values, int rank) {
  bool same = true;
  for (int a = 1; a < rank; ++a) same &= values[a] == values[0];
  text->Add(" %s", prefix);
  for (int a = 0; a < (same ? 1 : rank); ++a) text->Add(a == 0 ? "%lld" : "x%lld", static_cast<long long>(values[a]));
}

void WriteStrides(Text* text, const char* prefix, const peakpool_strides& strides, int rank) {
  if (!AreGiven(strides, rank)) return;
  text->Add(" %s%lldx%lld", prefix, static_cast<long long>(strides.batch), static_cast<long long>(strides.channel));
  for (int a = 0; a < rank; ++a) text->Add("x%lld", static_cast<long long>(strides.spatial[a]));
}

}  // namespace

const char* TypeName(int32_t type) { return kTypeNames[type]; }
const char* IndexFormatName(int32_t index_format) { return kIndexNames[index_format]; }

peakpool_status Parse(const char* text, peakpool_problem* problem) {
  char token[256];
  int position = 0;
  bool has_kernel = false, has_stride = false;
  int32_t type = 0;
  for (;; ++position) {
    while (*text == ' ') ++text;
    const size_t length = std::strcspn(text, " ");
    if (length == 0) break;
    if (length >= sizeof(token)) return Fail(PEAKPOOL_INVALID_ARGUMENT, "text: a word of %zu characters", length);
    std::memcpy(token, text, length);
    token[length] = '\0';
    text += length;
    bool valid = false;
    if (position == 0) {
      type = Find(kTypeNames, token);
      valid = type >= 0;
    } else if (position == 1) {
      for (int layout = 0; layout < 2; ++layout) {
        const int rank = Find(kLayoutNames[layout], token) + 1;
        if (rank == 0) continue;
        if (peakpool_status s = peakpool_problem_init(problem, type, layout, rank)) {
          return s;
        }
        valid = true;
      }
    } else if (position == 2) {
      int64_t sizes[PEAKPOOL_MAX_RANK + 2] = {};
      valid = ReadSizes(token, problem->rank + 2, sizes) == problem->rank + 2;
      if (valid) {
        problem->batch = sizes[0];
        problem->channels = sizes[1];
        for (int a = 0; a < problem->rank; ++a) problem->input[a] = sizes[2 + a];
      }
    } else {
      valid = ReadToken(token, problem, &has_kernel, &has_stride);
    }
    if (!valid) {
      static const char* const kExpected[] = {"a type such as f32", "a layout such as nchw or nhwc",
                                              "sizes NxCxSPATIAL that match the layout",
                                              "k, s, p, d, o, a with sizes, a rounding, an index format or a flag"};
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "\"%s\": expected %s", token, kExpected[position < 3 ? position : 3]);
    }
  }
  if (!has_kernel) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "\"%.200s\": expected TYPE LAYOUT NxCxSPATIAL kKERNEL ...",
                position == 0 ? "" : token);
  }
  if (!has_stride) std::memcpy(problem->stride, problem->kernel, sizeof(problem->stride));
  return PEAKPOOL_OK;
}

size_t Describe(const peakpool_problem& p, char* buffer, size_t size) {
  Text text(buffer, size);
  text.Add("%s %s %lldx%lld", kTypeNames[p.type], kLayoutNames[p.layout][p.rank - 1], static_cast<long long>(p.batch),
           static_cast<long long>(p.channels));
  for (int a = 0; a < p.rank; ++a) text.Add("x%lld", static_cast<long long>(p.input[a]));
  const bool adaptive = p.rounding == PEAKPOOL_ADAPTIVE;
  if (adaptive) {
    WriteSizes(&text, "a", p.output, p.rank);
  } else {
    WriteSizes(&text, "k", p.kernel, p.rank);
    WriteSizes(&text, "s", p.stride, p.rank);
  }
  bool padded = false, symmetric = true, same = true, dilated = false;
  for (int a = 0; a < p.rank; ++a) {
    padded |= p.padding[a].before != 0 || p.padding[a].after != 0;
    symmetric &= p.padding[a].before == p.padding[a].after;
    same &= p.padding[a].before == p.padding[0].before && p.padding[a].after == p.padding[0].after;
    dilated |= p.dilation[a] != 1;
  }
  if (padded && !adaptive) {
    text.Add(" p");
    for (int a = 0; a < (same ? 1 : p.rank); ++a) {
      text.Add(a == 0 ? "%lld" : "x%lld", static_cast<long long>(p.padding[a].before));
      if (!symmetric) text.Add(":%lld", static_cast<long long>(p.padding[a].after));
    }
  }
  if (dilated && !adaptive) WriteSizes(&text, "d", p.dilation, p.rank);
  if (p.rounding == PEAKPOOL_EXPLICIT) {
    WriteSizes(&text, "o", p.output, p.rank);
  } else if (p.rounding != PEAKPOOL_FLOOR && !adaptive) {
    text.Add(" %s", kRoundingNames[p.rounding]);
  }
  if (p.index_format != PEAKPOOL_INDEX_NONE) text.Add(" %s", kIndexNames[p.index_format]);
  if (p.flags & PEAKPOOL_ALLOW_EMPTY) text.Add(" allow-empty");
  if (p.flags & PEAKPOOL_ACCUMULATE) text.Add(" accumulate");
  if (p.algorithm == PEAKPOOL_IM2COL) text.Add(" im2col");
  if (p.flags & PEAKPOOL_CLAMP) WriteClamp(&text, p);
  WriteStrides(&text, "xs=", p.input_strides, p.rank);
  WriteStrides(&text, "ys=", p.output_strides, p.rank);
  return text.length();
}

}  // namespace peakpool
