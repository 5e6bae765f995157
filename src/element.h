// SPDX-License-Identifier: Apache-2.0
// The element types as C++ types. The 16-bit floats are storage only: whoever computes converts.
#ifndef PEAKPOOL_SRC_ELEMENT_H_
#define PEAKPOOL_SRC_ELEMENT_H_

#include <cstdint>
#include <type_traits>

#include "peakpool/peakpool.h"

namespace peakpool {

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

// The manifest of element types: the suffix of the peakpool_type, and the C++ type.
#define PEAKPOOL_FOR_EACH_TYPE(X) \
  X(F32, float)                   \
  X(F64, double)                  \
  X(F16, F16)                     \
  X(BF16, BF16)                   \
  X(I8, int8_t)                   \
  X(U8, uint8_t)                  \
  X(I16, int16_t)                 \
  X(U16, uint16_t)                \
  X(I32, int32_t)                 \
  X(U32, uint32_t)                \
  X(I64, int64_t)                 \
  X(U64, uint64_t)

// Calls visit(T{}) with the C++ type of a peakpool_type.
template <class Visit>
auto VisitType(int32_t type, Visit visit) {
  switch (type) {
#define PEAKPOOL_VISIT(Name, Element) \
  case PEAKPOOL_##Name: return visit(Element{});
    PEAKPOOL_FOR_EACH_TYPE(PEAKPOOL_VISIT)
#undef PEAKPOOL_VISIT
    default: return visit(float{});
  }
}

inline bool IsFloat(int32_t type) { return type <= PEAKPOOL_BF16; }
// Of the integers.
inline bool IsSigned(int32_t type) {
  return VisitType(type, [](auto element) { return std::is_signed<decltype(element)>::value; });
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_ELEMENT_H_
