// SPDX-License-Identifier: Apache-2.0
#include "src/shape.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

#include "src/describe.h"
#include "src/element.h"
#include "src/error.h"
#include "src/half.h"

namespace peakpool {
namespace {

// What offsets and indices count: elements of a tensor with its padding. No address space holds more, and in bytes they
// fit 64 bits with room for small multiples.
constexpr int64_t kMostElements = int64_t{1} << 56;

bool AddOverflows(int64_t a, int64_t b, int64_t* sum) { return __builtin_add_overflow(a, b, sum); }
bool MultiplyOverflows(int64_t a, int64_t b, int64_t* product) { return __builtin_mul_overflow(a, b, product); }

peakpool_status CheckEnum(const char* name, int32_t value, int32_t last) {
  if (value >= 0 && value <= last) return PEAKPOOL_OK;
  return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = %d: must be 0 to %d", name, value, last);
}

peakpool_status CheckSize(const char* name, int axis, const char* field, int64_t value, int64_t least) {
  if (value < least) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s[%d]%s = %" PRId64 ": must be >= %" PRId64, name, axis, field, value,
                least);
  }
  if (value <= kMostSize) return PEAKPOOL_OK;
  return Fail(PEAKPOOL_SIZE_OVERFLOW, "%s[%d]%s = %" PRId64 ": must be <= %" PRId64, name, axis, field, value,
              kMostSize);
}

peakpool_status CheckHeader(const peakpool_problem& p) {
  if (p.struct_size != sizeof(peakpool_problem)) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "struct_size = %zu: this library knows %zu; use peakpool_problem_init()",
                p.struct_size, sizeof(peakpool_problem));
  }
  if (peakpool_status s = CheckDomains(p.type, p.layout, p.rank)) return s;
  if (peakpool_status s = CheckEnum("rounding", p.rounding, PEAKPOOL_ADAPTIVE)) return s;
  if (peakpool_status s = CheckEnum("index_format", p.index_format, PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64)) return s;
  if (peakpool_status s = CheckEnum("algorithm", p.algorithm, PEAKPOOL_IM2COL)) return s;
  if (p.flags & ~static_cast<uint32_t>(PEAKPOOL_ALLOW_EMPTY | PEAKPOOL_ACCUMULATE | PEAKPOOL_CLAMP)) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "flags = 0x%x: unknown bits", p.flags);
  }
  if (p.reserved != 0) return Fail(PEAKPOOL_INVALID_ARGUMENT, "reserved = %d: must be 0", p.reserved);
  if (p.batch < 0) return Fail(PEAKPOOL_INVALID_ARGUMENT, "batch = %" PRId64 ": must be >= 0", p.batch);
  if (p.channels < 0) return Fail(PEAKPOOL_INVALID_ARGUMENT, "channels = %" PRId64 ": must be >= 0", p.channels);
  return PEAKPOOL_OK;
}

peakpool_status CheckAxisParameters(const peakpool_problem& p, int a) {
  if (peakpool_status s = CheckSize("input", a, "", p.input[a], 1)) return s;
  if (peakpool_status s = CheckSize("kernel", a, "", p.kernel[a], 1)) return s;
  if (peakpool_status s = CheckSize("stride", a, "", p.stride[a], 1)) return s;
  if (peakpool_status s = CheckSize("dilation", a, "", p.dilation[a], 1)) return s;
  if (peakpool_status s = CheckSize("padding", a, ".before", p.padding[a].before, 0)) return s;
  return CheckSize("padding", a, ".after", p.padding[a].after, 0);
}

// (kernel - 1) * dilation + 1.
peakpool_status EffectiveKernel(const peakpool_problem& p, int a, int64_t* effective) {
  if (MultiplyOverflows(p.kernel[a] - 1, p.dilation[a], effective) || *effective >= kMostSize) {
    return Fail(PEAKPOOL_SIZE_OVERFLOW,
                "kernel[%d] = %" PRId64 " with dilation[%d] = %" PRId64 ": the effective kernel must be <= %" PRId64, a,
                p.kernel[a], a, p.dilation[a], kMostSize);
  }
  ++*effective;
  return PEAKPOOL_OK;
}

int64_t PaddedInput(const peakpool_problem& p, int a) { return p.padding[a].before + p.input[a] + p.padding[a].after; }

peakpool_status OutputSize(const peakpool_problem& p, int a, int64_t* output) {
  int64_t effective;
  if (peakpool_status s = EffectiveKernel(p, a, &effective)) return s;
  const int64_t padded = PaddedInput(p, a);
  if (padded > kMostSize) {
    return Fail(PEAKPOOL_SIZE_OVERFLOW,
                "padding[%d] = %" PRId64 ":%" PRId64 ": the padded input is %" PRId64 ", must be <= %" PRId64, a,
                p.padding[a].before, p.padding[a].after, padded, kMostSize);
  }
  if (p.rounding == PEAKPOOL_EXPLICIT || p.rounding == PEAKPOOL_ADAPTIVE) {
    if (peakpool_status s = CheckSize("output", a, "", p.output[a], 1)) return s;
    *output = p.output[a];
    return PEAKPOOL_OK;
  }
  const int64_t room = padded - effective;  // how far the first window can move; both terms are >= 1
  int64_t steps = room / p.stride[a];
  if (p.rounding == PEAKPOOL_CEIL) {
    if (room > 0 && room % p.stride[a] != 0) ++steps;
    if (room < 0 && -room >= p.stride[a]) steps = -1;  // truncation towards zero already is the ceiling otherwise
    // A last window that starts beyond input and leading padding would hold no element.
    if (steps > 0 && steps > (p.input[a] + p.padding[a].before - 1) / p.stride[a]) --steps;
  } else if (room < 0) {
    steps = -1;
  }
  if (steps < 0) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT,
                "kernel[%d] = %" PRId64 " (%" PRId64 " with dilation): exceeds the padded input of %" PRId64, a,
                p.kernel[a], effective, padded);
  }
  if (p.rounding == PEAKPOOL_EXACT && room % p.stride[a] != 0) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT,
                "stride[%d] = %" PRId64 ": does not divide padded input - kernel = %" PRId64 " (rounding is exact)", a,
                p.stride[a], room);
  }
  *output = steps + 1;
  return PEAKPOOL_OK;
}

// The kernel and stride that adaptive pooling amounts to; where the output does not divide the input, windows differ in
// size and the kernel is the largest.
peakpool_status ResolveAdaptive(peakpool_problem* p, int a, bool* unequal) {
  if (peakpool_status s = CheckSize("input", a, "", p->input[a], 1)) return s;
  if (peakpool_status s = CheckSize("output", a, "", p->output[a], 1)) return s;
  // Windows begin and end at multiples of the input's size over the output's.
  if (p->output[a] > kMostElements / p->input[a]) {
    return Fail(PEAKPOOL_SIZE_OVERFLOW,
                "output[%d] = %" PRId64 ": adaptive, must be <= %" PRId64 " for the input of %" PRId64, a, p->output[a],
                kMostElements / p->input[a], p->input[a]);
  }
  p->dilation[a] = 1;
  p->padding[a] = {0, 0};
  *unequal = p->input[a] % p->output[a] != 0;
  if (*unequal) {
    // A window spans the quotient, one more for a remainder, and one more where it begins late in an element, which the
    // positions modulo the common divisor allow only for remainders above it.
    const int64_t remainder = p->input[a] % p->output[a];
    p->kernel[a] = p->input[a] / p->output[a] + (remainder > std::gcd(remainder, p->output[a]) ? 2 : 1);
    p->stride[a] = 1;
  } else {
    p->kernel[a] = p->stride[a] = p->input[a] / p->output[a];
  }
  return PEAKPOOL_OK;
}

// From the first window's begin to the last one's end.
int64_t Reach(const Axis& axis) { return (axis.output - 1) * axis.stride + axis.EffectiveKernel(); }

peakpool_status CheckReach(int a, const Axis& axis) {
  if (axis.adaptive) return PEAKPOOL_OK;  // no window reaches beyond the input
  int64_t begin;
  if (!MultiplyOverflows(axis.output - 1, axis.stride, &begin) && begin <= kMostSize && Reach(axis) <= kMostSize) {
    return PEAKPOOL_OK;
  }
  return Fail(PEAKPOOL_SIZE_OVERFLOW,
              "output[%d] = %" PRId64 " with stride[%d] = %" PRId64 ": the last window must end within %" PRId64, a,
              axis.output, a, axis.stride, kMostSize);
}

// Offsets and indices count positions in the padding, too, and beyond it where windows reach further.
peakpool_status CheckExtent(const Shape& shape) {
  const peakpool_problem& p = shape.problem;
  const Geometry& g = shape.geometry;
  int64_t elements;
  bool overflow = MultiplyOverflows(std::max<int64_t>(p.batch, 1), std::max<int64_t>(p.channels, 1), &elements);
  for (int a = 0; a < p.rank; ++a) {
    const int i = a + PEAKPOOL_MAX_RANK - p.rank;
    const int64_t size = std::max(PaddedInput(p, a), Reach(g.axis[i]));
    int64_t offset;
    if (overflow || MultiplyOverflows(elements, size, &elements) || elements > kMostElements) {
      return Fail(PEAKPOOL_SIZE_OVERFLOW,
                  "input[%d] = %" PRId64 ": %" PRId64
                  " with padding and as far as windows reach, which makes over %" PRId64 " elements in all",
                  a, p.input[a], size, kMostElements);
    }
    if (MultiplyOverflows(size, g.input.axis[i], &offset) || offset > kMostElements) {
      return Fail(PEAKPOOL_SIZE_OVERFLOW,
                  "input_strides.spatial[%d] = %" PRId64
                  ": with padding and as far as windows reach the axis is %" PRId64 " long, which spans over %" PRId64
                  " elements",
                  a, g.input.axis[i], size, kMostElements);
    }
  }
  return PEAKPOOL_OK;
}

// The first empty window of the axis, or -1.
int64_t FindEmptyWindow(const Axis& axis) {
  if (axis.IsEmpty(0)) return 0;
  const int64_t last = axis.output - 1;
  // From begin >= 0 on, windows are empty exactly when they begin at or beyond the input.
  if (axis.Begin(last) >= axis.input) return (axis.input + axis.pad_before + axis.stride - 1) / axis.stride;
  // Before that, taps can straddle an input shorter than the dilation.
  if (axis.input < axis.dilation) {
    for (int64_t o = 1; o <= last && axis.Begin(o) < 0; ++o) {
      if (axis.IsEmpty(o)) return o;
    }
  }
  return -1;
}

// One tensor: dense strides where none are given, else checks that no two elements share an address.
peakpool_status ResolveStrides(const char* name, const peakpool_problem& p, const int64_t* spatial,
                               peakpool_strides* strides, int64_t* extent) {
  struct Dimension {
    int64_t size, stride;
    const char* label;
  };
  static const char* const kSpatialLabels[] = {"spatial[0]", "spatial[1]", "spatial[2]"};
  Dimension dimensions[PEAKPOOL_MAX_RANK + 2];  // innermost first
  int64_t* targets[PEAKPOOL_MAX_RANK + 2];
  int count = 0;
  auto add = [&](int64_t size, int64_t* stride, const char* label) {
    dimensions[count] = {size, *stride, label};
    targets[count++] = stride;
  };
  const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
  if (last) add(p.channels, &strides->channel, "channel");
  for (int a = p.rank - 1; a >= 0; --a) add(spatial[a], &strides->spatial[a], kSpatialLabels[a]);
  if (!last) add(p.channels, &strides->channel, "channel");
  add(p.batch, &strides->batch, "batch");

  const bool empty = p.batch == 0 || p.channels == 0;
  if (!AreGiven(*strides, p.rank)) {
    int64_t stride = 1;
    for (int i = 0; i < count; ++i) {
      *targets[i] = stride;
      if (MultiplyOverflows(stride, std::max<int64_t>(dimensions[i].size, 1), &stride)) {
        return Fail(PEAKPOOL_SIZE_OVERFLOW, "%s: the tensor exceeds 64 bits (%s = %" PRId64 ")", name,
                    dimensions[i].label, dimensions[i].size);
      }
    }
    *extent = stride;
  } else {
    if (dimensions[0].stride != 1) {
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s_strides.%s = %" PRId64 ": the innermost axis must have stride 1", name,
                  dimensions[0].label, dimensions[0].stride);
    }
    for (int i = 0; i < count; ++i) {
      if (dimensions[i].stride < 0 || (dimensions[i].stride == 0 && dimensions[i].size > 1)) {
        return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s_strides.%s = %" PRId64 ": must be >= 1", name, dimensions[i].label,
                    dimensions[i].stride);
      }
    }
    for (int i = 1; i < count; ++i) {  // insertion sort by stride: at most five
      for (int j = i; j > 0 && dimensions[j].stride < dimensions[j - 1].stride; --j) {
        std::swap(dimensions[j], dimensions[j - 1]);
      }
    }
    *extent = 1;
    for (int i = 0; i < count; ++i) {
      if (dimensions[i].size <= 1) continue;
      if (dimensions[i].stride < *extent) {
        return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s_strides.%s = %" PRId64 ": elements overlap, must be >= %" PRId64,
                    name, dimensions[i].label, dimensions[i].stride, *extent);
      }
      int64_t span;
      if (MultiplyOverflows(dimensions[i].size - 1, dimensions[i].stride, &span) ||
          AddOverflows(*extent, span, extent)) {
        return Fail(PEAKPOOL_SIZE_OVERFLOW, "%s_strides.%s = %" PRId64 ": the tensor exceeds 64 bits", name,
                    dimensions[i].label, dimensions[i].stride);
      }
    }
  }
  if (*extent > kMostElements) {
    return Fail(PEAKPOOL_SIZE_OVERFLOW, "%s: the tensor spans %" PRId64 " elements, must be <= %" PRId64, name, *extent,
                kMostElements);
  }
  if (empty) *extent = 0;
  return PEAKPOOL_OK;
}

// As given, but for axes of one element, of which callers may say anything: they follow the next inner axis.
Strides KernelStrides(const peakpool_problem& p, const int64_t* spatial, const peakpool_strides& strides) {
  Strides result = {strides.batch, strides.channel, {0, 0, 0}};
  for (int a = 0; a < p.rank; ++a) result.axis[a + PEAKPOOL_MAX_RANK - p.rank] = strides.spatial[a];
  int64_t next = 1;
  const auto settle = [&next](int64_t size, int64_t* stride) {
    if (size <= 1) *stride = next;
    next = *stride * std::max<int64_t>(size, 1);
  };
  const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
  if (last) settle(p.channels, &result.channel);
  for (int a = p.rank - 1; a >= 0; --a) settle(spatial[a], &result.axis[a + PEAKPOOL_MAX_RANK - p.rank]);
  if (!last) settle(p.channels, &result.channel);
  settle(p.batch, &result.batch);
  return result;
}

peakpool_status CheckIndexFormat(const Shape& shape) {
  const peakpool_problem& p = shape.problem;
  const int64_t taps = shape.geometry.Taps();
  int64_t plane = 1;
  for (int a = 0; a < p.rank; ++a) plane *= p.input[a];
  // An empty window's index is all ones, which must not be a tap.
  const int64_t reserved = shape.has_empty_window ? 1 : 0;
  auto check_taps = [&](int64_t capacity, const char* name) {
    if (taps <= capacity - reserved) return PEAKPOOL_OK;
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "index_format = %s: holds %" PRId64 " taps, the window has %" PRId64, name,
                capacity - reserved, taps);
  };
  switch (p.index_format) {
    case PEAKPOOL_INDEX_NONE: return PEAKPOOL_OK;
    case PEAKPOOL_INDEX_WINDOW_U8: return check_taps(int64_t{1} << 8, "window-u8");
    case PEAKPOOL_INDEX_WINDOW_U16: return check_taps(int64_t{1} << 16, "window-u16");
    case PEAKPOOL_INDEX_WINDOW_U32: return check_taps(int64_t{1} << 32, "window-u32");
    case PEAKPOOL_INDEX_PLANE_I32:
      if (plane > INT32_MAX) {
        return Fail(PEAKPOOL_INVALID_ARGUMENT, "index_format = plane-i32: holds %d positions, the plane has %" PRId64,
                    INT32_MAX, plane);
      }
      break;
    default: break;
  }
  // Positions are made of tap numbers, which kernels have in 32 bits.
  if (taps <= UINT32_MAX) return PEAKPOOL_OK;
  return Fail(PEAKPOOL_SIZE_OVERFLOW,
              "index_format = %s: takes windows of up to %" PRId64 " taps, kernel[0] = %" PRId64
              " makes one of %" PRId64,
              IndexFormatName(p.index_format), int64_t{UINT32_MAX}, p.kernel[0], taps);
}

// The bound as an element; for floats rounded to nearest, for integers only if it fits.
template <class T>
bool ToElement(peakpool_scalar value, unsigned char* bytes) {
  T element;
  if constexpr (std::is_same<T, F16>::value || std::is_same<T, BF16>::value) {
    Round(static_cast<float>(value.real), &element);
  } else if constexpr (std::is_floating_point<T>::value) {
    element = static_cast<T>(value.real);
  } else if constexpr (std::is_signed<T>::value) {
    element = static_cast<T>(value.integer);
    if (element != value.integer) return false;
  } else {
    element = static_cast<T>(value.natural);
    if (element != value.natural) return false;
  }
  std::memcpy(bytes, &element, sizeof(element));
  return true;
}

peakpool_status ResolveClamp(const peakpool_problem& p, Shape* shape) {
  struct Bound {
    const char* name;
    peakpool_scalar value;
    unsigned char* element;
  };
  const Bound bounds[] = {{"clamp_lower", p.clamp_lower, shape->clamp_lower},
                          {"clamp_upper", p.clamp_upper, shape->clamp_upper}};
  const bool real = IsFloat(p.type);
  for (const Bound& b : bounds) {
    if (real && b.value.real != b.value.real)
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = nan: must be a number", b.name);
    const bool fits = VisitType(p.type, [&](auto element) { return ToElement<decltype(element)>(b.value, b.element); });
    if (!fits) {
      return Fail(PEAKPOOL_INVALID_ARGUMENT, "%s = %" PRId64 ": does not fit the type", b.name, b.value.integer);
    }
  }
  const bool ordered = real               ? p.clamp_lower.real <= p.clamp_upper.real
                       : IsSigned(p.type) ? p.clamp_lower.integer <= p.clamp_upper.integer
                                          : p.clamp_lower.natural <= p.clamp_upper.natural;
  if (ordered) return PEAKPOOL_OK;
  if (real) {
    return Fail(PEAKPOOL_INVALID_ARGUMENT, "clamp_lower = %g: must be <= clamp_upper = %g", p.clamp_lower.real,
                p.clamp_upper.real);
  }
  return Fail(PEAKPOOL_INVALID_ARGUMENT, "clamp_lower = %" PRId64 ": must be <= clamp_upper = %" PRId64,
              p.clamp_lower.integer, p.clamp_upper.integer);
}

}  // namespace

int64_t ElementBytes(int32_t type) {
  return VisitType(type, [](auto element) { return static_cast<int64_t>(sizeof(element)); });
}

int64_t IndexBytes(int32_t index_format) {
  static const int64_t kBytes[] = {0, 1, 2, 4, 4, 8, 8, 8};
  return kBytes[index_format];
}

bool AreGiven(const peakpool_strides& strides, int rank) {
  bool given = strides.batch != 0 || strides.channel != 0;
  for (int a = 0; a < rank; ++a) given |= strides.spatial[a] != 0;
  return given;
}

bool IsWindowFormat(int32_t index_format) {
  return index_format >= PEAKPOOL_INDEX_WINDOW_U8 && index_format <= PEAKPOOL_INDEX_WINDOW_U32;
}

peakpool_status CheckDomains(int32_t type, int32_t layout, int32_t rank) {
  if (peakpool_status s = CheckEnum("type", type, PEAKPOOL_U64)) return s;
  if (peakpool_status s = CheckEnum("layout", layout, PEAKPOOL_CHANNELS_LAST)) return s;
  if (rank >= 1 && rank <= PEAKPOOL_MAX_RANK) return PEAKPOOL_OK;
  return Fail(PEAKPOOL_INVALID_ARGUMENT, "rank = %d: must be 1 to %d", rank, PEAKPOOL_MAX_RANK);
}

peakpool_status ResolveShape(const peakpool_problem& problem, Shape* shape) {
  if (peakpool_status s = CheckHeader(problem)) return s;
  shape->problem = problem;
  peakpool_problem& p = shape->problem;
  p.target = nullptr;
  Geometry& g = shape->geometry;
  g.batch = p.batch;
  g.channels = p.channels;
  g.channels_last = p.layout == PEAKPOOL_CHANNELS_LAST;
  shape->has_empty_window = false;
  shape->has_padding_tap = false;
  shape->element_bytes = ElementBytes(p.type);
  shape->index_bytes = IndexBytes(p.index_format);
  for (int a = 0; a < PEAKPOOL_MAX_RANK; ++a) g.axis[a] = {1, 1, 1, 1, 1, 0};
  for (int a = 0; a < p.rank; ++a) {
    bool unequal = false;
    if (p.rounding == PEAKPOOL_ADAPTIVE) {
      if (peakpool_status s = ResolveAdaptive(&p, a, &unequal)) return s;
    }
    if (peakpool_status s = CheckAxisParameters(p, a)) return s;
    if (peakpool_status s = OutputSize(p, a, &p.output[a])) return s;
    Axis& axis = g.axis[a + PEAKPOOL_MAX_RANK - p.rank];
    axis = {p.input[a],          p.output[a], p.kernel[a], p.stride[a], p.dilation[a],
            p.padding[a].before, unequal,     p.input[a],  p.output[a]};
    if (peakpool_status s = CheckReach(a, axis)) return s;
    // What no window depends on must not make products large.
    if (axis.kernel == 1) axis.dilation = 1;
    if (axis.output == 1) axis.stride = std::min(axis.stride, std::max(PaddedInput(p, a), axis.EffectiveKernel()));
    const int64_t empty = FindEmptyWindow(axis);
    if (empty >= 0 && !(p.flags & PEAKPOOL_ALLOW_EMPTY)) {
      return Fail(PEAKPOOL_EMPTY_WINDOW,
                  "padding[%d] = %" PRId64 ":%" PRId64 ": window %" PRId64
                  " of spatial axis %d lies wholly in the padding (allow_empty is not set)",
                  a, p.padding[a].before, p.padding[a].after, empty, a);
    }
    shape->has_empty_window |= empty >= 0;
    const int64_t last = axis.output - 1;
    shape->has_padding_tap |= axis.FirstTap(0) > 0 || axis.TapEnd(last) < axis.kernel;
  }
  if (peakpool_status s = ResolveStrides("input", p, p.input, &p.input_strides, &shape->input_extent)) return s;
  if (peakpool_status s = ResolveStrides("output", p, p.output, &p.output_strides, &shape->output_extent)) return s;
  if (p.flags & PEAKPOOL_CLAMP) {
    if (peakpool_status s = ResolveClamp(p, shape)) return s;
  }
  g.input = KernelStrides(p, p.input, p.input_strides);
  g.output = KernelStrides(p, p.output, p.output_strides);
  if (peakpool_status s = CheckExtent(*shape)) return s;
  // One channel with its pixels side by side is the same memory either way; vectors of columns beat vectors of
  // channels.
  if (g.channels == 1 && g.input.axis[kWidth] == 1 && g.output.axis[kWidth] == 1) {
    g.channels_last = false;
    g.input.channel = g.input.batch;  // so that dense planes are seen to lie side by side
    g.output.channel = g.output.batch;
  }
  return CheckIndexFormat(*shape);
}

peakpool_status PadSame(peakpool_problem* problem, bool upper) {
  peakpool_problem& p = *problem;
  if (peakpool_status s = CheckHeader(p)) return s;
  for (int a = 0; a < p.rank; ++a) {
    p.padding[a] = {0, 0};
    if (peakpool_status s = CheckAxisParameters(p, a)) return s;
    int64_t effective;
    if (peakpool_status s = EffectiveKernel(p, a, &effective)) return s;
    const int64_t output = (p.input[a] - 1) / p.stride[a] + 1;
    const int64_t total = std::max<int64_t>((output - 1) * p.stride[a] + effective - p.input[a], 0), half = total / 2;
    p.padding[a] = upper ? peakpool_padding{half, total - half} : peakpool_padding{total - half, half};
    p.output[a] = output;
  }
  p.rounding = PEAKPOOL_EXPLICIT;
  return PEAKPOOL_OK;
}

}  // namespace peakpool
