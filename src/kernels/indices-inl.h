// SPDX-License-Identifier: Apache-2.0
// Indices of any format in 32-bit lanes: checks them, takes them apart into window taps and numbers those anew. Knows
// neither formats nor geometries: both come as bases and steps, see TranslateCall. Also what gradients need around
// their sums: widening and rounding of whole rows.
#if defined(PEAKPOOL_SRC_KERNELS_INDICES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_INDICES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_INDICES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_INDICES_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/index_kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace indices {

using D32 = hn::ScalableTag<uint32_t>;
using DI32 = hn::RebindToSigned<D32>;
using DF32 = hn::RebindToFloat<D32>;
using V32 = hn::Vec<D32>;
using VI32 = hn::Vec<DI32>;
constexpr uint32_t kAllOnes = UINT32_MAX;

HWY_INLINE VI32 Signed(V32 v) { return hn::BitCast(DI32(), v); }

// The lower halves of indices of kBytes each; lanes of `foreign` where the upper half is not `high`, lanes of `ones`
// where the whole index is all ones.
template <size_t kBytes, class M = hn::Mask<DI32>>
HWY_INLINE V32 LoadIndices(const uint8_t* HWY_RESTRICT from, uint32_t high, M& foreign, M& ones) {
  const D32 d;
  const DI32 di;
  if constexpr (kBytes < 4) {
    using TI = std::conditional_t<kBytes == 1, uint8_t, uint16_t>;
    const hn::Rebind<TI, D32> dn;
    const V32 v = hn::PromoteTo(d, hn::LoadU(dn, reinterpret_cast<const TI*>(from)));
    foreign = hn::MaskFromVec(hn::Zero(di));
    ones = hn::Eq(Signed(v), hn::Set(di, std::numeric_limits<TI>::max()));
    return v;
  } else if constexpr (kBytes == 4) {
    const V32 v = hn::LoadU(d, reinterpret_cast<const uint32_t*>(from));
    foreign = hn::MaskFromVec(hn::Zero(di));
    ones = hn::Eq(Signed(v), hn::Set(di, -1));
    return v;
  } else {
    const uint32_t* words = reinterpret_cast<const uint32_t*>(from);
    const V32 first = hn::LoadU(d, words), second = hn::LoadU(d, words + hn::Lanes(d));
    const V32 v = EvenLanes(d, first, second), upper = OddLanes(d, first, second);
    foreign = hn::Not(hn::Eq(Signed(upper), Signed(hn::Set(d, high))));
    ones = hn::Eq(Signed(hn::And(v, upper)), hn::Set(di, -1));
    return v;
  }
}

// v / step. Floats divide exactly below 2^21: the quotient before it is rounded down is at least 0.5 / step from any
// other, and what rounds here errs by less. Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lower
// mantissa bits; Highway's conversion takes four more operations to saturate. Beyond, the quotient (below 2^21 itself)
// is at most one off.
HWY_INLINE VI32 Quotient(VI32 v, float reciprocal) {
  const DI32 di;
  const DF32 df;
  const auto scaled = hn::MulAdd(hn::ConvertTo(df, v), hn::Set(df, reciprocal), hn::Set(df, 0.5f * reciprocal - 0.5f));
  return hn::Sub(hn::BitCast(di, hn::Add(scaled, hn::Set(df, 12582912.0f))), hn::Set(di, 0x4B400000));
}

// rest / step, and what is left of rest.
HWY_INLINE VI32 Divide(const TranslateCall::Digit& digit, bool beyond, VI32& rest) {
  const DI32 di;
  const VI32 step = hn::Set(di, static_cast<int32_t>(digit.step));
  VI32 quotient = Quotient(rest, digit.reciprocal);
  rest = hn::Sub(rest, hn::Mul(quotient, step));
  if (HWY_UNLIKELY(beyond)) {
    const VI32 low = hn::BroadcastSignBit(rest);  // -1 where the quotient is one too great
    quotient = hn::Add(quotient, low);
    rest = hn::Add(rest, hn::And(low, step));
    const VI32 high = hn::VecFromMask(di, hn::Not(hn::Lt(rest, step)));  // -1 where it is one too small
    quotient = hn::Sub(quotient, high);
    rest = hn::Sub(rest, hn::And(high, step));
  }
  return quotient;
}

HWY_INLINE VI32 MostOf(const TranslateCall::Digit& digit, int64_t at) {
  const DI32 di;
  return digit.varies ? hn::LoadU(di, digit.most + at) : hn::Set(di, *digit.most);
}

HWY_INLINE V32 AddDigit(const TranslateCall::Digit& digit, VI32 q, V32 value) {
  return hn::Add(value, hn::BitCast(D32(), hn::Mul(q, hn::Set(DI32(), static_cast<int32_t>(digit.to_step)))));
}

// Windows of two axes without dilation, none of them empty, in planes of ordinary size: a digit to divide for and one
// that is what is left.
HWY_INLINE bool IsPlain(const TranslateCall& call) {
  return call.digits == 2 && call.digit[1].step == 1 && !call.beyond && !call.has_empty;
}

template <class M = hn::Mask<DI32>>
HWY_INLINE V32 LoadAnyIndices(int bytes, const uint8_t* HWY_RESTRICT from, uint32_t high, M& foreign, M& ones) {
  switch (bytes) {
    case 1: return LoadIndices<1>(from, high, foreign, ones);
    case 2: return LoadIndices<2>(from, high, foreign, ones);
    case 4: return LoadIndices<4>(from, high, foreign, ones);
    default: return LoadIndices<8>(from, high, foreign, ones);
  }
}

// One vector of outputs from `at` on; returns the lanes of invalid indices. All windows that are not plain share one
// form, whatever the format (kBytes 0).
template <size_t kBytes>
HWY_INLINE hn::Mask<DI32> TranslateVector(const TranslateCall& call, const uint8_t* HWY_RESTRICT from, int64_t at,
                                          uint32_t* HWY_RESTRICT to) {
  const D32 d;
  const DI32 di;
  hn::Mask<DI32> invalid, ones;
  V32 index;
  if constexpr (kBytes == 0) {
    index = LoadAnyIndices(call.from_bytes, from, call.from_high, invalid, ones);
  } else {
    index = LoadIndices<kBytes>(from, call.from_high, invalid, ones);
  }
  const V32 base = hn::Add(hn::LoadU(d, call.from_base + at), hn::Set(d, call.from_add));
  V32 value = hn::Add(hn::LoadU(d, call.to_base + at), hn::Set(d, call.to_add));
  // Whatever is too great becomes the limit, which is no tap: its first digit is too great.
  VI32 rest = Signed(hn::Min(hn::Sub(index, base), hn::Set(d, call.limit)));
  if constexpr (kBytes > 0) {
    const VI32 q = Divide(call.digit[0], false, rest);
    const auto beside = hn::Or(hn::Gt(q, MostOf(call.digit[0], at)), hn::Gt(rest, MostOf(call.digit[1], at)));
    invalid = kBytes == 8 ? hn::Or(invalid, beside) : beside;
    value = AddDigit(call.digit[1], rest, AddDigit(call.digit[0], q, value));
    hn::StoreU(hn::IfThenElse(hn::RebindMask(d, invalid), hn::Set(d, kAllOnes), value), d, to);
    return invalid;
  }
  auto empty = hn::MaskFromVec(hn::Zero(di));
  for (int k = 0; k < call.digits; ++k) {
    const TranslateCall::Digit& digit = call.digit[k];
    VI32 q = rest;
    if (digit.step == 1) {
      rest = hn::Zero(di);
    } else {
      q = Divide(digit, call.beyond, rest);
    }
    const VI32 most = MostOf(digit, at);
    invalid = hn::Or(invalid, hn::Gt(q, most));
    if (call.has_empty) empty = hn::Or(empty, hn::Lt(most, hn::Zero(di)));
    value = AddDigit(digit, q, value);
  }
  invalid = hn::Or(invalid, hn::Not(hn::Eq(rest, hn::Zero(di))));
  // What is invalid, and the mark of an empty window, comes out as all ones.
  const auto none = hn::Or(invalid, empty);
  hn::StoreU(hn::IfThenElse(hn::RebindMask(d, none), hn::Set(d, kAllOnes), value), d, to);
  if (call.has_empty) invalid = hn::Or(hn::AndNot(empty, invalid), hn::AndNot(ones, empty));
  return invalid;
}

// Calls vector(indices, at, to) for each vector of outputs from `at` on; it returns the lanes of invalid indices. True
// if none is.
template <class Vector>
HWY_INLINE bool TranslateRun(const void* from, int64_t step, int64_t count, uint32_t* HWY_RESTRICT to, Vector vector) {
  const DI32 di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(di));
  const uint8_t* in = static_cast<const uint8_t*>(from);
  uint32_t* out = to;
  HWY_ALIGN uint8_t few[8 * hn::MaxLanes(D32())];
  HWY_ALIGN uint32_t translated[hn::MaxLanes(D32())];
  if (count < lanes) {
    std::memset(few, 0, sizeof(few));
    std::memcpy(few, in, static_cast<size_t>(count * step));
    in = few;
    out = translated;
  }
  auto invalid = hn::MaskFromVec(hn::Zero(di));
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t at = HWY_MAX(HWY_MIN(i, count - lanes), int64_t{0});
    invalid = hn::Or(invalid, vector(in + at * step, at, out + at));
  }
  if (count >= lanes) return hn::AllFalse(di, invalid);
  std::memcpy(to, translated, static_cast<size_t>(count) * sizeof(*to));
  return hn::AllFalse(di, hn::And(invalid, hn::FirstN(di, static_cast<size_t>(count))));
}

template <size_t kBytes>
bool TranslateBytes(const TranslateCall& caller, const void* from, int64_t count, uint32_t* HWY_RESTRICT to) {
  const TranslateCall call = caller;  // which stores to `to` cannot change
  const auto vector = [&](const uint8_t* in, int64_t at, uint32_t* out)
                          PEAKPOOL_INLINED { return TranslateVector<kBytes>(call, in, at, out); };
  return TranslateRun(from, kBytes == 0 ? call.from_bytes : static_cast<int64_t>(kBytes), count, to, vector);
}

// Where nothing has to be checked. Fields are read one by one: a vector of them would wait for the caller's stores.
inline void NumberTaps(const TranslateCall& call, const void* from, int64_t count, uint32_t* HWY_RESTRICT to) {
  const D32 d;
  const DI32 di;
  const int bytes = call.from_bytes, last = call.digits - 1;
  const uint32_t* const base = call.to_base;
  const V32 add = hn::Set(d, call.to_add);
  const float reciprocal0 = call.digit[0].reciprocal, reciprocal1 = call.digit[1].reciprocal;
  const auto to_step = [&](int k) HWY_ATTR { return hn::Set(di, static_cast<int32_t>(call.digit[k].to_step)); };
  const VI32 to_step0 = to_step(0), to_step1 = to_step(1), to_last = to_step(HWY_MAX(last, 0));
  TranslateRun(from, bytes, count, to, [&](const uint8_t* in, int64_t at, uint32_t* out) PEAKPOOL_INLINED {
    hn::Mask<DI32> foreign, ones;
    const VI32 taps = Signed(LoadAnyIndices(bytes, in, 0, foreign, ones));
    VI32 value = Signed(hn::Add(hn::LoadU(d, base + at), add));
    if (last >= 0) value = hn::Add(value, hn::Mul(taps, to_last));
    if (last >= 1) value = hn::Add(value, hn::Mul(Quotient(taps, reciprocal0), to_step0));
    if (last >= 2) value = hn::Add(value, hn::Mul(Quotient(taps, reciprocal1), to_step1));
    hn::StoreU(hn::BitCast(d, value), d, out);
    return hn::MaskFromVec(hn::Zero(di));
  });
}

// (One for windows of three axes as well saved 3-D pooling with indices of positions 8 % of its time, for 6 KB.)
inline bool Translate(const TranslateCall& call, const void* from, int64_t count, uint32_t* to) {
  if constexpr (kHasWindowKernels) {
    if (IsPlain(call)) {
      switch (call.from_bytes) {
        case 1: return TranslateBytes<1>(call, from, count, to);
        case 2: return TranslateBytes<2>(call, from, count, to);
        case 4: return TranslateBytes<4>(call, from, count, to);
        default: return TranslateBytes<8>(call, from, count, to);
      }
    }
  }
  return TranslateBytes<0>(call, from, count, to);
}

// Products by reciprocals instead of floats, and no tables of what a window lacks: positions outside the plane show.
inline bool Place(const PlaceCall& caller, const void* taps, int64_t count, uint32_t* HWY_RESTRICT to) {
  const PlaceCall call = caller;  // which stores to `to` cannot change
  const hn::ScalableTag<uint16_t> d;
  const hn::Half<decltype(d)> dh;
  const D32 d32;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count < lanes) return false;
  V most_tap = hn::Zero(d), most_slice = most_tap, most_row = most_tap, most_column = most_tap;
  const V first_row = hn::Set(d, call.row);
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t at = HWY_MIN(i, count - lanes);
    V tap;
    if (call.tap_bytes == 1) {
      tap = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint8_t, decltype(d)>(), static_cast<const uint8_t*>(taps) + at));
    } else {
      tap = hn::LoadU(d, static_cast<const uint16_t*>(taps) + at);
    }
    most_tap = hn::Max(most_tap, tap);
    V position = hn::Set(d, static_cast<uint16_t>(-call.origin));
    if (call.deep) {
      V slice = hn::MulHigh(tap, hn::Set(d, call.slice_reciprocal));
      tap = hn::Sub(tap, hn::Mul(slice, hn::Set(d, call.slice_taps)));
      slice = hn::Add(slice, hn::Set(d, call.slice));
      most_slice = hn::Max(most_slice, slice);
      position = hn::Add(position, hn::Mul(slice, hn::Set(d, static_cast<uint16_t>(call.height * call.width))));
    }
    V row = hn::MulHigh(tap, hn::Set(d, call.row_reciprocal));
    V column = hn::Sub(tap, hn::Mul(row, hn::Set(d, call.row_taps)));
    row = hn::Add(row, first_row);
    column = hn::Add(column, hn::Set(d, call.column));
    if (!call.alike) {
      row = hn::Add(row, hn::LoadU(d, call.rows + at));
      column = hn::Add(column, hn::LoadU(d, call.columns + at));
    }
    most_row = hn::Max(most_row, row);
    most_column = hn::Max(most_column, column);
    position = hn::Add(position, hn::Add(hn::Mul(row, hn::Set(d, call.width)), column));
    V32 lower = hn::PromoteTo(d32, hn::LowerHalf(dh, position)), upper = hn::PromoteTo(d32, UpperLanes(dh, position));
    if (call.pitch != 1) {
      lower = hn::Add(hn::Mul(lower, hn::Set(d32, call.pitch)), hn::LoadU(d32, call.channels + at));
      upper = hn::Add(hn::Mul(upper, hn::Set(d32, call.pitch)), hn::LoadU(d32, call.channels + at + lanes / 2));
    }
    hn::StoreU(hn::Add(lower, hn::Set(d32, call.add)), d32, to + at);
    hn::StoreU(hn::Add(upper, hn::Set(d32, call.add)), d32, to + at + lanes / 2);
  }
  const auto within = [&](V most, int64_t size) HWY_ATTR {
    const V last = hn::Set(d, static_cast<uint16_t>(size - 1));
    return hn::AllTrue(d, hn::Eq(hn::Max(most, last), last));
  };
  return within(most_tap, call.taps) && within(most_slice, call.depth) && within(most_row, call.height) &&
         within(most_column, call.width);
}

// Calls store(at) for each vector of `count` elements; what a vector does not fill is left to `rest(at)`, one by one.
template <class Store, class Rest>
HWY_INLINE void ForEachVector(int64_t lanes, int64_t count, Store store, Rest rest) {
  if (count < lanes) {
    for (int64_t i = 0; i < count; ++i) rest(i);
    return;
  }
  for (int64_t i = 0; i < count; i += lanes) store(HWY_MIN(i, count - lanes));
}

inline void Narrow(const uint32_t* HWY_RESTRICT from, int64_t count, int bytes, uint32_t high, void* to) {
  const D32 d;
  const DI32 di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (bytes == 1) {
    uint8_t* HWY_RESTRICT out = static_cast<uint8_t*>(to);
    const hn::Rebind<uint8_t, D32> d8;
    ForEachVector(
        lanes, count,
        [&](int64_t at) HWY_ATTR {
          const V32 v = hn::And(hn::LoadU(d, from + at), hn::Set(d, 0xFF));
          hn::StoreU(hn::DemoteTo(d8, Signed(v)), d8, out + at);
        },
        [&](int64_t at) { out[at] = static_cast<uint8_t>(from[at]); });
  } else if (bytes == 2) {
    uint16_t* HWY_RESTRICT out = static_cast<uint16_t*>(to);
    const hn::Rebind<uint16_t, D32> d16;
    ForEachVector(
        lanes, count,
        [&](int64_t at) HWY_ATTR {
          const V32 v = hn::And(hn::LoadU(d, from + at), hn::Set(d, 0xFFFF));
          hn::StoreU(hn::DemoteTo(d16, Signed(v)), d16, out + at);
        },
        [&](int64_t at) { out[at] = static_cast<uint16_t>(from[at]); });
  } else if (bytes == 4) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(*from));
  } else {
    uint32_t* HWY_RESTRICT out = static_cast<uint32_t*>(to);
    const DF32 df;
    ForEachVector(
        lanes, count,
        [&](int64_t at) HWY_ATTR {
          const V32 v = hn::LoadU(d, from + at);
          const auto ones = hn::Eq(Signed(v), hn::Set(di, -1));
          const V32 upper = hn::IfThenElse(hn::RebindMask(d, ones), v, hn::Set(d, high));
          StorePairs(df, hn::BitCast(df, v), hn::BitCast(df, upper), reinterpret_cast<float*>(out + 2 * at));
        },
        [&](int64_t at) {
          out[2 * at] = from[at];
          out[2 * at + 1] = from[at] == kAllOnes ? kAllOnes : high;
        });
  }
}

// Bytes at a time: each tap is looked up as the bits of its row and its column, which must be among those allowed.
template <class D>
bool ValidateRun(D d, const uint8_t* HWY_RESTRICT taps, int64_t count, const uint8_t* HWY_RESTRICT allowed,
                 uint8_t also, const uint8_t* HWY_RESTRICT bits, int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto table = hn::LoadDup128(d, bits), second_table = hn::LoadDup128(d, bits + 16);
  const auto may_also = hn::Set(d, also), last = hn::Set(d, static_cast<uint8_t>(end - 1));
  const bool two = end > 16;
  const auto wrong = [&](const uint8_t* from, const uint8_t* may) HWY_ATTR {
    const auto tap = hn::LoadU(d, from);
    const auto beyond = hn::SaturatedSub(tap, last), place = hn::And(tap, hn::Set(d, 0x0F));
    auto needs = hn::TableLookupBytes(table, place);
    if (two) {
      needs = hn::IfThenElse(hn::TestBit(tap, hn::Set(d, 16)), hn::TableLookupBytes(second_table, place), needs);
    }
    return hn::Or(beyond, hn::AndNot(hn::And(hn::LoadU(d, may), may_also), needs));
  };
  auto all = hn::Zero(d);
  if (count >= lanes) {
    for (int64_t i = 0; i < count; i += lanes) {
      const int64_t at = HWY_MIN(i, count - lanes);
      all = hn::Or(all, wrong(taps + at, allowed + at));
    }
  } else if constexpr (hn::MaxLanes(d) > 16) {
    return ValidateRun(hn::CappedTag<uint8_t, 16>(), taps, count, allowed, also, bits, end);
  } else if (count > 0) {
    HWY_ALIGN uint8_t few[2][hn::MaxLanes(d)];
    // What is not there is like the first.
    std::memset(few[0], taps[0], sizeof(few[0]));
    std::memset(few[1], allowed[0], sizeof(few[1]));
    std::memcpy(few[0], taps, static_cast<size_t>(count));
    std::memcpy(few[1], allowed, static_cast<size_t>(count));
    all = wrong(few[0], few[1]);
  }
  return hn::AllTrue(d, hn::Eq(all, hn::Zero(d)));
}
inline bool ValidateTaps(const uint8_t* HWY_RESTRICT taps, int64_t count, const uint8_t* HWY_RESTRICT allowed,
                         uint8_t also, const uint8_t* HWY_RESTRICT bits, int64_t end) {
  return ValidateRun(hn::ScalableTag<uint8_t>(), taps, count, allowed, also, bits, end);
}

// `count` elements of T as lanes that sum, and back; NaN sums come out canonical.
template <class T>
void LoadSums(const void* from, int64_t count, void* sums) {
  using L = SumLanes<T>;
  using Lane = typename L::Lane;
  const hn::ScalableTag<Lane> d;
  const hn::CappedTag<Lane, 1> d1;
  const T* HWY_RESTRICT in = static_cast<const T*>(from);
  Lane* HWY_RESTRICT out = static_cast<Lane*>(sums);
  ForEachVector(
      static_cast<int64_t>(hn::Lanes(d)), count,
      [&](int64_t at) HWY_ATTR { hn::StoreU(L::Load(d, in + at), d, out + at); },
      [&](int64_t at) HWY_ATTR { hn::StoreU(L::Load(d1, in + at), d1, out + at); });
}

template <class T>
void StoreSums(const void* sums, int64_t count, void* to) {
  using L = SumLanes<T>;
  using Lane = typename L::Lane;
  const hn::ScalableTag<Lane> d;
  const hn::CappedTag<Lane, 1> d1;
  const Lane* in = static_cast<const Lane*>(sums);
  T* out = static_cast<T*>(to);
  ForEachVector(
      static_cast<int64_t>(hn::Lanes(d)), count,
      [&](int64_t at) HWY_ATTR { L::Store(d, L::Canonical(d, hn::LoadU(d, in + at)), out + at); },
      [&](int64_t at) HWY_ATTR { L::Store(d1, L::Canonical(d1, hn::LoadU(d1, in + at)), out + at); });
}

template <class T>
bool AreFinite(const void* values, int64_t count) {
  return AllFinite<hwy::MakeSigned<T>>(values, count, FloatBits<T>::kInf);
}

}  // namespace indices
}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_INDICES_INL_H_
