// SPDX-License-Identifier: Apache-2.0
#include "tools/random_problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace peakpool::tools {
namespace {

constexpr int64_t kMaxWork = 100000;     // taps in all
constexpr int64_t kMaxElements = 40000;  // of x

// The shapes that fused kernels take: one small square window, one stride, at stride 1 perhaps taps apart.
void DrawSmallWindow(Random* random, peakpool_problem* p) {
  const int64_t kernel = random->Between(2, 3), stride = random->Between(1, 2);
  const int64_t dilation = stride == 1 && random->OneIn(4) ? random->Between(2, random->OneIn(4) ? 90 : 9) : 1;
  const bool padded = random->OneIn(2), centred = random->OneIn(2);
  for (int a = 0; a < p->rank; ++a) {
    p->kernel[a] = kernel;
    p->stride[a] = stride;
    p->dilation[a] = dilation;
    if (!padded) continue;
    p->padding[a] = {random->Between(0, dilation), random->Between(0, dilation)};
    if (centred) p->padding[a] = {dilation, (kernel - 2) * dilation};
  }
}

// The length of an axis that has one window.
int64_t LeastInput(const peakpool_problem& p, int a) {
  const int64_t reach = (p.kernel[a] - 1) * p.dilation[a] + 1;
  return std::max<int64_t>(1, reach - p.padding[a].before - p.padding[a].after);
}

// Planes of one element to several vectors each way, every remainder.
void DrawFusedProblem(Random* random, peakpool_problem* p) {
  DrawSmallWindow(random, p);
  const int64_t largest = random->OneIn(2) ? 12 : 70;
  for (int a = 0; a < p->rank; ++a) {
    p->input[a] = std::max(LeastInput(*p, a), random->Between(1, largest));
  }
  if (p->input[0] * p->input[1] <= 600) return;
  p->batch = std::min<int64_t>(p->batch, 1);  // rather a whole large plane than a part of many
  p->channels = std::min<int64_t>(p->channels, random->Between(1, 4));
}

// The same windows in any type and rank, on inputs of up to several vectors of the narrowest type.
void DrawSmallProblem(Random* random, peakpool_problem* p) {
  DrawSmallWindow(random, p);
  for (int a = 0; a < p->rank; ++a) p->input[a] = LeastInput(*p, a) + random->Between(0, random->OneIn(4) ? 150 : 40);
}

void DrawAnyWindow(Random* random, peakpool_problem* p) {
  // Along every axis at once: tap numbers that take all eight bits, windows that share no input.
  const bool wide = random->OneIn(8), apart = random->OneIn(4);
  for (int a = 0; a < p->rank; ++a) {
    p->kernel[a] = random->Between(1, wide || random->OneIn(8) ? 20 : 5);
    p->stride[a] = apart || random->OneIn(4) ? p->kernel[a] : random->Between(1, random->OneIn(8) ? 9 : 4);
    p->dilation[a] = random->OneIn(3) ? random->Between(1, 4) : 1;
    const int64_t reach = (p->kernel[a] - 1) * p->dilation[a] + 1;
    // Pads beyond the window make empty windows.
    const int64_t most = random->OneIn(8) ? reach + 2 : reach / 2;
    p->padding[a] = {random->Between(0, most), random->Between(0, most)};
    p->input[a] = LeastInput(*p, a) + random->Between(0, random->OneIn(4) ? 100 : 20);
  }
}

// One window of more taps than 16 bits number, most of them in the padding.
void DrawHugeWindow(Random* random, peakpool_problem* p) {
  p->kernel[0] = random->Between(65000, 70000);
  p->stride[0] = random->Between(1, 1000);
  p->input[0] = random->Between(1, 2000);
  p->padding[0].before = random->Between(0, p->kernel[0] - 1);
  p->padding[0].after = p->kernel[0] - 1;
}

// Halves the largest size until the problem is small enough.
void Shrink(peakpool_problem* p) {
  for (;;) {
    peakpool_problem lenient = *p;  // what may be refused later counts, too
    lenient.rounding = PEAKPOOL_CEIL;
    lenient.flags |= PEAKPOOL_ALLOW_EMPTY;
    lenient.index_format = PEAKPOOL_INDEX_NONE;
    int64_t output[PEAKPOOL_MAX_RANK];
    // If not, whoever makes a plan of it finds out why; here the input is what counts.
    const bool has_output = peakpool_output_size(&lenient, output) == PEAKPOOL_OK;
    double elements = static_cast<double>(p->batch) * static_cast<double>(p->channels), work = elements;
    int64_t* largest = p->batch > p->channels ? &p->batch : &p->channels;
    for (int a = 0; a < p->rank; ++a) {
      elements *= static_cast<double>(p->input[a]);
      if (has_output) work *= static_cast<double>(output[a]) * static_cast<double>(p->kernel[a]);
      if (p->input[a] > *largest) largest = &p->input[a];
    }
    if ((elements <= kMaxElements && work <= kMaxWork) || *largest <= 1) return;
    *largest /= 2;
  }
}

int64_t Span(const peakpool_problem& p, const int64_t* spatial, const peakpool_strides& strides) {
  if (p.batch == 0 || p.channels == 0) return 0;
  int64_t last = (p.batch - 1) * strides.batch + (p.channels - 1) * strides.channel;
  for (int a = 0; a < p.rank; ++a) {
    if (spatial[a] == 0) return 0;
    last += (spatial[a] - 1) * strides.spatial[a];
  }
  return last + 1;
}

int MantissaBits(int32_t type) {
  return type == PEAKPOOL_F64 ? 52 : type == PEAKPOOL_F32 ? 23 : type == PEAKPOOL_F16 ? 10 : 7;
}

bool IsFloat(int32_t type) { return type <= PEAKPOOL_BF16; }

// The bits of a floating-point type nearest to zero from `value`, which is 0 or within the normal range.
uint64_t FloatBits(int32_t type, double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const int width = static_cast<int>(ElementBytes(type)) * 8, mantissa = MantissaBits(type);
  const int exponent_bits = width - 1 - mantissa;
  const uint64_t sign = bits >> 63 << (width - 1);
  if (value == 0) return sign;
  const int64_t exponent = static_cast<int64_t>(bits >> 52 & 0x7FF) - 1023 + (int64_t{1} << (exponent_bits - 1)) - 1;
  return sign | static_cast<uint64_t>(exponent) << mantissa | (bits & ((uint64_t{1} << 52) - 1)) >> (52 - mantissa);
}

// The type's least value, which padding must not be taken for.
uint64_t LowestBits(int32_t type) {
  const int width = static_cast<int>(ElementBytes(type)) * 8, mantissa = MantissaBits(type);
  const uint64_t sign = uint64_t{1} << (width - 1);
  if (IsFloat(type)) return sign | ((uint64_t{1} << (width - 1 - mantissa)) - 1) << mantissa;
  return type % 2 == PEAKPOOL_I8 % 2 ? sign : 0;
}

uint64_t SpecialFloat(int32_t type, Random* random) {
  const int width = static_cast<int>(ElementBytes(type)) * 8, mantissa = MantissaBits(type);
  const uint64_t sign = random->Next() % 2 << (width - 1);
  const uint64_t quiet = uint64_t{1} << (mantissa - 1);
  const uint64_t infinity = ((uint64_t{1} << (width - 1 - mantissa)) - 1) << mantissa;
  switch (random->Between(0, 6)) {
    case 0: return sign;                                                  // zero
    case 1: return sign | infinity;                                       //
    case 2: return sign | infinity | quiet;                               // the canonical NaN, or its negative
    case 3: return sign | infinity | quiet | random->Next() % quiet;      // a quiet NaN with a payload
    case 4: return sign | infinity | (1 + random->Next() % (quiet - 1));  // a signalling NaN
    case 5: return sign | 1;                                              // subnormal
    default: return sign | (infinity - 1);                                // the largest finite value
  }
}

// Makes some problems views into larger tensors.
void DrawViews(Random* random, peakpool_problem* p) {
  int64_t output[PEAKPOOL_MAX_RANK];
  if (!random->OneIn(4) || peakpool_output_size(p, output) != PEAKPOOL_OK) return;
  if (random->OneIn(2)) p->input_strides = RandomStrides(random, *p, p->input);
  if (random->OneIn(2)) p->output_strides = RandomStrides(random, *p, output);
}

// Axes of one element may have any stride.
void LoosenStrides(Random* random, const peakpool_problem& p, const int64_t* spatial, peakpool_strides* strides) {
  const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
  const auto loosen = [random](int64_t size, int64_t* stride) {
    if (size <= 1 && random->OneIn(2)) *stride = random->OneIn(2) ? 0 : random->Between(0, INT64_MAX);
  };
  if ((last ? strides->channel : strides->spatial[p.rank - 1]) == 0) return;  // none are given
  loosen(p.batch, &strides->batch);
  if (!last) loosen(p.channels, &strides->channel);
  for (int a = 0; a < p.rank - (last ? 0 : 1); ++a) loosen(spatial[a], &strides->spatial[a]);
}

// One output along a depth with a stride.
void DrawSingleDepth(Random* random, peakpool_problem* p) {
  p->kernel[0] = random->Between(1, 3);
  p->stride[0] = random->Between(2, 6);
  p->dilation[0] = 1;
  p->padding[0] = {random->Between(0, p->kernel[0] / 2), random->Between(0, p->kernel[0] / 2)};
  p->input[0] = LeastInput(*p, 0) + random->Between(0, p->stride[0] - 1);
}

// Windows that reach further along the depth than tables of its slices may, over small planes.
void DrawDeepWindow(Random* random, peakpool_problem* p) {
  p->batch = std::min<int64_t>(p->batch, 1);
  p->channels = std::min(p->channels, random->Between(1, 3));
  for (int a = 0; a < p->rank; ++a) {
    p->kernel[a] = random->Between(1, 2);
    p->stride[a] = p->dilation[a] = 1;
    p->padding[a] = {0, 0};
    p->input[a] = random->Between(p->kernel[a], 3);
  }
  const int64_t reach = random->Between(400, 900);
  const bool dilated = random->OneIn(2);
  p->kernel[0] = dilated ? random->Between(2, 9) : reach;
  p->dilation[0] = reach / p->kernel[0];
  if (!dilated) p->kernel[1] = p->kernel[2] = 1;
  p->stride[0] = random->Between(1, 3);
  if (random->OneIn(2)) p->padding[0] = {random->Between(0, reach / 2), random->Between(0, reach / 2)};
  p->input[0] = LeastInput(*p, 0) + random->Between(0, dilated ? 30 : 3);
}

// A wide kernel along one axis, with vectors of padding.
void DrawWidePadding(Random* random, peakpool_problem* p) {
  const int a = static_cast<int>(random->Between(0, p->rank - 1));
  p->kernel[a] = random->Between(20, 90);
  p->stride[a] = random->OneIn(2) ? 1 : random->Between(1, 4);
  p->dilation[a] = 1;
  p->padding[a] = {random->Between(17, p->kernel[a] - 1), random->Between(0, p->kernel[a] - 1)};
  p->input[a] = LeastInput(*p, a) + random->Between(0, 60);
}

// N, D, C, H, W in memory: a view of images whose depth is an axis outside of their channels.
peakpool_strides DepthOutsideChannels(const peakpool_problem& p, const int64_t* spatial) {
  peakpool_strides strides = {0, spatial[1] * spatial[2], {0, spatial[2], 1}};
  strides.spatial[0] = strides.channel * std::max<int64_t>(p.channels, 1);
  strides.batch = strides.spatial[0] * spatial[0];
  return strides;
}

// What RandomProblem() seldom or never comes to.
void DrawRarity(Random* random, peakpool_problem* p) {
  p->input_strides = p->output_strides = {};
  p->rounding = static_cast<int32_t>(random->Between(PEAKPOOL_FLOOR, PEAKPOOL_CEIL));
  if (p->rank == 3 && random->OneIn(2)) {
    if (random->OneIn(4)) {
      DrawDeepWindow(random, p);
    } else {
      DrawSingleDepth(random, p);
    }
  } else if (p->rank != 3 || random->OneIn(4)) {
    DrawWidePadding(random, p);
  }
  Shrink(p);
  int64_t output[PEAKPOOL_MAX_RANK];
  if (p->rank != 3 || p->layout != PEAKPOOL_CHANNELS_FIRST || random->OneIn(3)) return;
  if (peakpool_output_size(p, output) != PEAKPOOL_OK) return;
  if (!random->OneIn(3)) p->input_strides = DepthOutsideChannels(*p, p->input);
  if (!random->OneIn(3)) p->output_strides = DepthOutsideChannels(*p, output);
}

// Bounds among the values that RandomValues() draws, or beyond them.
void DrawClamp(Random* random, peakpool_problem* p) {
  p->flags |= PEAKPOOL_CLAMP;
  if (IsFloat(p->type)) {
    const double infinity = HUGE_VAL, bounds[] = {-infinity, -1.25, -0.1, -0.0, 0.0, 0.1, 0.5, 6, infinity};
    int64_t lower = random->Between(0, 8), upper = random->Between(0, 8);
    if (lower > upper) std::swap(lower, upper);
    p->clamp_lower.real = bounds[lower];
    p->clamp_upper.real = bounds[upper];
    return;
  }
  const int64_t top = int64_t{1} << (8 * ElementBytes(p->type) - 2);  // of any integer type's positive range
  const bool is_signed = p->type % 2 == PEAKPOOL_I8 % 2;
  const int64_t lowest = is_signed ? -top : 0, wide = random->OneIn(3) ? top : 5;
  int64_t lower = random->Between(std::max(lowest, -wide), wide),
          upper = random->Between(std::max(lowest, -wide), wide);
  if (lower > upper) std::swap(lower, upper);
  p->clamp_lower.integer = lower;  // the same bits as natural
  p->clamp_upper.integer = upper;
}

}  // namespace

peakpool_strides RandomStrides(Random* random, const peakpool_problem& p, const int64_t* spatial) {
  peakpool_strides strides = {};
  struct {
    int64_t size, *stride;
  } axes[PEAKPOOL_MAX_RANK + 2];
  int count = 0;
  const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
  if (last) axes[count++] = {p.channels, &strides.channel};
  for (int a = p.rank - 1; a >= 0; --a) axes[count++] = {spatial[a], &strides.spatial[a]};
  if (!last) axes[count++] = {p.channels, &strides.channel};
  axes[count++] = {p.batch, &strides.batch};
  if (random->OneIn(3)) std::swap(axes[random->Between(1, count - 1)], axes[random->Between(1, count - 1)]);
  int64_t stride = 1;
  for (int i = 0; i < count; ++i) {
    *axes[i].stride = stride;
    stride *= std::max<int64_t>(1, axes[i].size);
    if (random->OneIn(2)) stride += random->Between(1, 5);
  }
  return strides;
}

peakpool_problem RandomProblem(Random* random) {
  const bool fused = random->Between(1, 5) <= 2, small = !fused && random->OneIn(3);
  const bool huge = !fused && !small && random->OneIn(300);
  const int rank = huge ? 1 : fused || random->OneIn(3) ? 2 : static_cast<int>(random->Between(1, 3));
  const bool f32 = fused || random->OneIn(4);  // most kernels take it
  const auto type = static_cast<int32_t>(f32 ? int64_t{PEAKPOOL_F32} : random->Between(PEAKPOOL_F32, PEAKPOOL_U64));
  const auto layout = random->OneIn(2) ? PEAKPOOL_CHANNELS_FIRST : PEAKPOOL_CHANNELS_LAST;
  peakpool_problem p;
  peakpool_problem_init(&p, type, layout, rank);
  p.batch = random->OneIn(30) ? 0 : random->Between(1, random->OneIn(8) ? 300 : 3);
  p.channels = random->OneIn(30) ? 0 : random->OneIn(2) ? random->Between(1, 4) : random->Between(1, 100);
  if (fused) {
    DrawFusedProblem(random, &p);
  } else if (small) {
    DrawSmallProblem(random, &p);
  } else if (huge) {
    DrawHugeWindow(random, &p);
  } else {
    DrawAnyWindow(random, &p);
  }
  if (rank == 3 && random->OneIn(4)) {  // slices of the depth by themselves
    p.kernel[0] = p.stride[0] = 1;
    p.padding[0] = {0, 0};
  }
  p.rounding = static_cast<int32_t>(random->Between(PEAKPOOL_FLOOR, PEAKPOOL_EXACT));
  // Half of the indices are the compact ones that training uses.
  p.index_format = random->OneIn(2)
                       ? int32_t{PEAKPOOL_INDEX_WINDOW_U8}
                       : static_cast<int32_t>(random->Between(PEAKPOOL_INDEX_NONE, PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64));
  if (random->OneIn(4)) p.flags |= PEAKPOOL_ALLOW_EMPTY;
  if (random->OneIn(4)) p.flags |= PEAKPOOL_ACCUMULATE;
  Shrink(&p);
  int64_t output[PEAKPOOL_MAX_RANK];
  if (random->OneIn(10)) {
    (random->OneIn(2) ? peakpool_pad_same_upper : peakpool_pad_same_lower)(&p);
  } else if (random->OneIn(10) && peakpool_output_size(&p, output) == PEAKPOOL_OK) {
    p.rounding = PEAKPOOL_EXPLICIT;
    for (int a = 0; a < rank; ++a) p.output[a] = std::max<int64_t>(1, output[a] - random->Between(0, 2));
  }
  DrawViews(random, &p);
  return p;
}

void RandomVariant(Random* random, peakpool_problem* problem) {
  peakpool_problem& p = *problem;
  if (random->OneIn(8)) {
    for (int a = 0; a < p.rank; ++a) {
      p.kernel[a] = p.stride[a] = p.dilation[a] = 1;
      p.padding[a] = {0, 0};
    }
    Shrink(&p);  // what the windows before did not take
    p.rounding = PEAKPOOL_ADAPTIVE;
    const bool divides = random->OneIn(3);  // then the windows are equal, and kernels take them
    for (int a = 0; a < p.rank; ++a) {
      p.output[a] = divides ? (p.input[a] + 4) / 5 : random->Between(1, p.input[a] + random->Between(0, 3));
      if (divides) p.input[a] = p.output[a] * random->Between(1, 5);
    }
    p.input_strides = p.output_strides = {};
    DrawViews(random, &p);
  } else if (random->OneIn(8)) {
    DrawRarity(random, &p);
  }
  int64_t output[PEAKPOOL_MAX_RANK];
  if (random->OneIn(2) && peakpool_output_size(&p, output) == PEAKPOOL_OK) {
    LoosenStrides(random, p, p.input, &p.input_strides);
    LoosenStrides(random, p, output, &p.output_strides);
  }
  if (random->OneIn(6)) DrawClamp(random, &p);
}

int64_t InputSpan(const peakpool_problem& resolved) { return Span(resolved, resolved.input, resolved.input_strides); }
int64_t OutputSpan(const peakpool_problem& resolved) {
  return Span(resolved, resolved.output, resolved.output_strides);
}

void RandomValues(int32_t type, Random* random, int64_t count, void* values) {
  const size_t bytes = ElementBytes(type);
  const int64_t distinct = random->OneIn(2) ? 4 : 100;
  const int64_t kind = random->Between(0, 8);
  const int64_t special = int64_t{1} << random->Between(1, 7);  // one value in so many
  const uint64_t constant = IsFloat(type) ? SpecialFloat(type, random) : random->Next();
  for (int64_t i = 0; i < count; ++i) {
    int64_t small = random->Between(-distinct, distinct);
    uint64_t bits;
    if (kind == 0) {
      bits = constant;  // every window a tie, perhaps of NaNs or infinities
    } else if (kind == 8) {
      bits = LowestBits(type);
    } else if (kind == 1 && !IsFloat(type)) {
      bits = random->Next();
    } else if (kind == 2 && !IsFloat(type)) {
      const uint64_t sign = uint64_t{1} << (8 * bytes - 1);  // near the ends of signed and unsigned ranges
      bits = (random->OneIn(2) ? sign : 0) + static_cast<uint64_t>(random->Between(-2, 2));
    } else if ((kind == 3 || kind == 4) && IsFloat(type) && random->OneIn(special)) {
      bits = SpecialFloat(type, random);
    } else {
      if (kind == 5) small = i % 100;   // the last tap of a row wins
      if (kind == 6) small = -i % 100;  // the first one
      bits = IsFloat(type) ? FloatBits(type, static_cast<double>(small) / 4) : static_cast<uint64_t>(small);
    }
    std::memcpy(static_cast<char*>(values) + static_cast<size_t>(i) * bytes, &bits, bytes);  // little-endian
  }
}

void RandomGradients(int32_t type, Random* random, int64_t count, void* values) {
  const size_t bytes = ElementBytes(type);
  const bool specials = random->OneIn(4);
  const int width = static_cast<int>(bytes) * 8;
  for (int64_t i = 0; i < count; ++i) {
    const double magnitude =
        std::ldexp(static_cast<double>(random->Between(1, 1000)), -static_cast<int>(random->Between(0, 12)));
    uint64_t bits = FloatBits(type, random->OneIn(2) ? -magnitude : magnitude);
    if (random->OneIn(10)) bits = random->Next() % 2 << (width - 1);
    if (specials && random->OneIn(20)) bits = SpecialFloat(type, random);
    std::memcpy(static_cast<char*>(values) + static_cast<size_t>(i) * bytes, &bits, bytes);
  }
}

}  // namespace peakpool::tools
