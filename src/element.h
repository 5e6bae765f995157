// SPDX-License-Identifier: Apache-2.0
// The element types as C++ types. The 16-bit floats are storage only: whoever computes converts.
#ifndef PEAKPOOL_SRC_ELEMENT_H_
#define PEAKPOOL_SRC_ELEMENT_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "peakpool/peakpool.h"

namespace peakpool {

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

// Calls visit(T{}) with the C++ type of a peakpool_type.
template <class Visit>
auto VisitType(int32_t type, Visit visit) {
  switch (type) {
    case PEAKPOOL_F64: return visit(double{});
    case PEAKPOOL_F16: return visit(F16{});
    case PEAKPOOL_BF16: return visit(BF16{});
    case PEAKPOOL_I8: return visit(int8_t{});
    case PEAKPOOL_U8: return visit(uint8_t{});
    case PEAKPOOL_I16: return visit(int16_t{});
    case PEAKPOOL_U16: return visit(uint16_t{});
    case PEAKPOOL_I32: return visit(int32_t{});
    case PEAKPOOL_U32: return visit(uint32_t{});
    case PEAKPOOL_I64: return visit(int64_t{});
    case PEAKPOOL_U64: return visit(uint64_t{});
    default: return visit(float{});
  }
}

inline bool IsFloat(int32_t type) { return type <= PEAKPOOL_BF16; }

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_ELEMENT_H_
