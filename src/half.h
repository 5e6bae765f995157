// SPDX-License-Identifier: Apache-2.0
// Rounding to the 16-bit floats, to nearest even, of one number at a time.
#ifndef PEAKPOOL_SRC_HALF_H_
#define PEAKPOOL_SRC_HALF_H_

#include <cmath>
#include <cstdint>

namespace peakpool {

// Rounds to `mantissa` explicit bits with the least exponent `least` (of normal numbers) and gives sign, exponent and
// mantissa as an IEEE-like 16-bit pattern; beyond the greatest finite number, infinity. Not for NaN.
inline uint16_t RoundToBits(double value, int mantissa, int least) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  const int infinity = (1 << (15 - mantissa)) - 1;
  if (magnitude == 0) return sign;
  if (std::isinf(magnitude)) return static_cast<uint16_t>(sign | infinity << mantissa);
  int exponent;
  std::frexp(magnitude, &exponent);
  const int scale = (exponent - 1 > least ? exponent - 1 : least) - mantissa;
  // Units of the last place, at most 2^(mantissa + 1) of them: the carry into the exponent comes by itself.
  const long units = std::lrint(std::ldexp(magnitude, -scale));
  const long bits = units + (static_cast<long>(scale + mantissa - least) << mantissa);
  const long most = static_cast<long>(infinity) << mantissa;
  return static_cast<uint16_t>(sign | (bits < most ? bits : most));
}

inline uint16_t RoundToF16(double value) { return RoundToBits(value, 10, -14); }
inline uint16_t RoundToBf16(double value) { return RoundToBits(value, 7, -126); }

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_HALF_H_
