// SPDX-License-Identifier: Apache-2.0
// The 16-bit floats one number at a time: to float, which is exact, and back, to nearest even with NaN canonical.
#ifndef PEAKPOOL_SRC_HALF_H_
#define PEAKPOOL_SRC_HALF_H_

#include <cstdint>
#include <cstring>

#include "src/element.h"

namespace peakpool {

inline float ToFloat(F16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16, magnitude = x.bits & 0x7FFF;
  if (magnitude >= 0x7C00 || magnitude < 0x0400) {
    const float value = static_cast<float>(magnitude) * 0x1p-24f;  // zero or subnormal
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bits = sign | (magnitude < 0x0400 ? bits : 0x7F800000 | (magnitude & 0x3FF) << 13);
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return result;
  }
  const uint32_t bits = sign | ((magnitude << 13) + ((127 - 15) << 23));
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
inline float ToFloat(BF16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
inline float ToFloat(float x) { return x; }
inline double ToFloat(double x) { return x; }

inline void Round(float x, BF16* to) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  to->bits = x == x ? static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) : 0x7FC0;
}
inline void Round(float x, F16* to) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  uint32_t rounded;
  if (magnitude > 0x7F800000) {
    to->bits = 0x7E00;
    return;
  } else if (magnitude >= 0x477FF000) {  // halfway beyond the greatest finite one
    rounded = 0x7C00;
  } else if (magnitude >= 0x38800000) {
    rounded = (magnitude - ((127 - 15) << 23) + 0x0FFF + ((magnitude >> 13) & 1)) >> 13;
  } else {
    // Subnormal: adding 0.5 leaves units of 2^-24 in the low mantissa bits, rounded to nearest even.
    float value;
    std::memcpy(&value, &magnitude, sizeof(value));
    value += 0.5f;
    std::memcpy(&rounded, &value, sizeof(rounded));
    rounded -= 0x3F000000;
  }
  to->bits = static_cast<uint16_t>(sign | rounded);
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_HALF_H_
