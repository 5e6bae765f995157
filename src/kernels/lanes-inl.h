// SPDX-License-Identifier: Apache-2.0
// How an element type is compared in vector lanes, of few kinds for all types: WindowLanes for the kernels that map in
// every load, MakeKeyMap for the engines that map elements once and work on keys from then on.
#if defined(PEAKPOOL_SRC_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_LANES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_LANES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_LANES_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "src/element.h"
#include "src/kernels/compat-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Bit patterns of +inf and of the canonical quiet NaN, as the signed integer of the type's width.
template <class T>
struct FloatBits;
template <>
struct FloatBits<float> {
  static constexpr int32_t kInf = 0x7F800000, kNan = 0x7FC00000;
};
template <>
struct FloatBits<double> {
  static constexpr int64_t kInf = 0x7FF0000000000000, kNan = 0x7FF8000000000000;
};
template <>
struct FloatBits<F16> {
  static constexpr int16_t kInf = 0x7C00, kNan = 0x7E00;
};
template <>
struct FloatBits<BF16> {
  static constexpr int16_t kInf = 0x7F80, kNan = 0x7FC0;
};

template <class T>
constexpr bool kIsFloatElement =
    std::is_floating_point<T>::value || std::is_same<T, F16>::value || std::is_same<T, BF16>::value;

// The signed integer of an element's width.
template <class T>
using KeyLane = hwy::SignedFromSize<sizeof(T)>;

// The kinds of lanes that kernels are compiled for. An object of a kind knows the element type by run-time
// constants, so that one instantiation serves all types of a width; kernels hold it by value, lest stores be thought to
// change it. Load and Broadcast (every lane is *p) give lanes whose order is the contract's, Store gives canonical
// elements back.

// f32 and f64, by the hardware's maximum. That is right up to the sign of a zero, which Store settles, unless there is
// a NaN: whoever sees one (EitherNan) has the work redone.
template <class T>
struct NativeLanes {
  using Element = T;
  using Lane = T;
  static constexpr bool kTracksNan = true;

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V ToKey(D /*d*/, V bits) {
    return bits;
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Load(D d, const T* HWY_RESTRICT p) {
    return hn::LoadU(d, p);
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Broadcast(D d, const T* HWY_RESTRICT p) {
    return hn::Set(d, *p);
  }
  // -0 becomes +0. Multiply-add, because x86 adds and takes maxima on the same pipes.
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V FromKey(D d, V v) {
    return hn::MulAdd(v, hn::Set(d, T{1}), hn::Zero(d));
  }
  template <class D>
  static HWY_INLINE void Store(D d, hn::Vec<D> v, T* HWY_RESTRICT p) {
    hn::StoreU(FromKey(d, v), d, p);
  }
};

// Integers, signed or not.
template <class I>
struct IntegerLanes {
  using Element = I;
  using Lane = I;
  static constexpr bool kTracksNan = false;
  I flip;  // the sign bit, for unsigned elements

  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V ToKey(D d, V bits) const {
    return hn::Xor(bits, hn::Set(d, flip));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const I* HWY_RESTRICT p) const {
    return ToKey(d, hn::LoadU(d, p));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> Broadcast(D d, const I* HWY_RESTRICT p) const {
    return hn::Set(d, static_cast<I>(*p ^ flip));
  }
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V FromKey(D d, V v) const {
    return ToKey(d, v);
  }
  template <class D>
  HWY_INLINE void Store(D d, hn::Vec<D> v, I* HWY_RESTRICT p) const {
    hn::StoreU(FromKey(d, v), d, p);
  }
};

// All types of a width. Negative floats are sign and magnitude: the sign bit minus bits has their order. Adding `shift`
// then turns the ring of keys until the negative NaNs, below -inf, wrap around to join the positive ones on top, where
// all become `nan`. Unsigned integers need but a shift by half the ring. (Magnitude, sign and NaN each by
// themselves: twice the operations per load.)
template <class I>
struct RingLanes {
  using Element = I;
  using Lane = I;
  static constexpr bool kTracksNan = false;
  I turn;    // bits below it are mirrored, bits from it on shifted
  I mirror;  // minus bits; its own inverse
  I shift;
  I turned;  // where `turn` begins in keys
  I nan;
  I nan_bits;

  template <class T>
  static constexpr RingLanes Of() {
    constexpr I kLeast = hwy::LimitsMin<I>(), kMost = hwy::LimitsMax<I>();
    if constexpr (kIsFloatElement<T>) {
      constexpr I kShift = FloatBits<T>::kInf + kLeast;
      return {0,
              static_cast<I>(kShift ^ kLeast),
              kShift,
              kShift,
              static_cast<I>(kShift + FloatBits<T>::kInf + 1),
              FloatBits<T>::kNan};
    } else {
      constexpr bool kUnsigned = std::is_unsigned<T>::value;
      return {kLeast, 0, kUnsigned ? kLeast : I{0}, kLeast, kMost, kUnsigned ? I{-1} : kMost};
    }
  }

  // Keys of NaNs are the greatest, but not the same: enough where only the maximum matters.
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V ToMaximumKey(D d, V bits) const {
    return hn::IfThenElse(hn::Lt(bits, hn::Set(d, turn)), hn::Sub(hn::Set(d, mirror), bits),
                          hn::Add(bits, hn::Set(d, shift)));
  }
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V ToKey(D d, V bits) const {
    return hn::Min(ToMaximumKey(d, bits), hn::Set(d, nan));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const I* HWY_RESTRICT p) const {
    // g++ otherwise loads for each use, three times: lines that cross cache lines take 1.5 times as long (3x3 s2, f16).
    return ToKey(d, InRegister(hn::LoadU(d, p)));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> Broadcast(D d, const I* HWY_RESTRICT p) const {
    return ToKey(d, hn::Set(d, *p));
  }
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V FromKey(D d, V key) const {
    const V bits = hn::IfThenElse(hn::Lt(key, hn::Set(d, turned)), hn::Sub(hn::Set(d, mirror), key),
                                  hn::Sub(key, hn::Set(d, shift)));
    return hn::IfThenElse(hn::Lt(key, hn::Set(d, nan)), bits, hn::Set(d, nan_bits));
  }
  template <class D>
  HWY_INLINE void Store(D d, hn::Vec<D> key, I* HWY_RESTRICT p) const {
    hn::StoreU(FromKey(d, key), d, p);
  }
};
using HalfLanes = RingLanes<int16_t>;

// The lanes of each element type, and the object of that kind.
template <class T>
using WindowLanes = std::conditional_t<std::is_floating_point<T>::value, NativeLanes<T>,
                                       std::conditional_t<sizeof(T) == 2, HalfLanes, IntegerLanes<KeyLane<T>>>>;
template <class T>
constexpr WindowLanes<T> MakeWindowLanes() {
  if constexpr (std::is_floating_point<T>::value) {
    return {};
  } else if constexpr (sizeof(T) == 2) {
    return HalfLanes::Of<T>();
  } else {
    using I = KeyLane<T>;
    return {std::is_unsigned<T>::value ? hwy::LimitsMin<I>() : I{0}};
  }
}

// The same where floats are keys as well.
template <class T>
constexpr auto MakeKeyMap() {
  if constexpr (sizeof(T) == 1) {
    return MakeWindowLanes<T>();
  } else {
    return RingLanes<KeyLane<T>>::template Of<T>();
  }
}

// Sums of the squares of all vectors looked at: NaN if and only if one of their lanes is. The multiply-add pipes have
// nothing else to do, whereas compares and mask operations compete with the maxima (2x2 over 512x14x14 3.0 -> 2.2 us).
template <class L, class V>
HWY_INLINE void NoteSquare(V v, V& squares) {
  if constexpr (L::kTracksNan) squares = hn::MulAdd(v, v, squares);
}
template <class D>
HWY_INLINE hn::Vec<D> NoSquares(D d) {
  return hn::Set(d, 1);  // never subnormal
}

// How backward sums: f32 and f64 in their own lanes, the 16-bit floats in f32 with one rounding (nearest, ties to even)
// at the end, in integer arithmetic where conversions are not to be had. Store leaves NaNs of f32 and f64 as they are:
// kernels note whether there may be any and have CanonicalRun() visit the line again. (Canonical() in every store costs
// 3x3 s2 and 2x2 up to 40 % channels-first.)
template <class T>
struct SumLanes {
  using Element = T;
  using Lane = std::conditional_t<sizeof(T) == 8, double, float>;

  // With the canonical NaN for any. Store does so by itself for the 16-bit floats.
  template <class D>
  static HWY_INLINE hn::Vec<D> Canonical(D d, hn::Vec<D> v) {
    if constexpr (std::is_floating_point<T>::value) {
      const hn::RebindToSigned<D> di;
      return hn::IfThenElse(hn::IsNaN(v), hn::BitCast(d, hn::Set(di, FloatBits<T>::kNan)), v);
    } else {
      return v;
    }
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Load(D d, const T* HWY_RESTRICT p) {
    if constexpr (std::is_floating_point<T>::value) {
      return hn::LoadU(d, p);
    } else if constexpr (kHasHalfConversions && std::is_same<T, F16>::value) {
      const hn::Rebind<uint16_t, D> d16;
      const hn::Rebind<hwy::float16_t, D> dh;
      return hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p))));
    } else {
      const hn::RebindToUnsigned<D> du;
      const auto bits = hn::PromoteTo(du, hn::LoadU(hn::Rebind<uint16_t, D>(), reinterpret_cast<const uint16_t*>(p)));
      if constexpr (std::is_same<T, BF16>::value) return hn::BitCast(d, hn::ShiftLeft<16>(bits));
      const hn::RebindToSigned<D> di;
      const auto magnitude = hn::And(hn::BitCast(di, bits), hn::Set(di, 0x7FFF));
      const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(du, 0x8000)));
      const auto bias = hn::Set(di, (127 - 15) << 23);
      auto wide = hn::Add(hn::ShiftLeft<13>(magnitude), bias);
      wide = hn::IfThenElse(hn::Gt(magnitude, hn::Set(di, 0x7BFF)), hn::Add(wide, bias), wide);  // inf and NaN
      const auto subnormal = hn::Mul(hn::ConvertTo(d, magnitude), hn::Set(d, 1.0f / (1 << 24)));
      wide = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x0400)), hn::BitCast(di, subnormal), wide);
      return hn::BitCast(d, hn::Or(hn::BitCast(du, wide), sign));
    }
  }
  // kMayBeNan: of the 16-bit floats only, whether a lane may be.
  template <bool kMayBeNan = true, class D>
  static HWY_INLINE void Store(D d, hn::Vec<D> v, T* HWY_RESTRICT p) {
    if constexpr (std::is_floating_point<T>::value) {
      hn::StoreU(v, d, p);
    } else if constexpr (kHasHalfConversions && std::is_same<T, F16>::value) {
      const hn::Rebind<uint16_t, D> d16;
      const hn::Rebind<hwy::float16_t, D> dh;
      const auto nan = hn::BitCast(d, hn::Set(hn::RebindToSigned<D>(), FloatBits<float>::kNan));
      if constexpr (kMayBeNan) v = hn::IfThenElse(hn::IsNaN(v), nan, v);
      const auto half = hn::DemoteTo(dh, v);
      hn::StoreU(hn::BitCast(d16, half), d16, reinterpret_cast<uint16_t*>(p));
    } else if constexpr (std::is_same<T, BF16>::value) {
      // A NaN may overflow into the sign. (Magnitude and sign apart, as below: 1.5 to 2 times as long.)
      const hn::RebindToUnsigned<D> du;
      const hn::Rebind<uint16_t, D> d16;
      uint16_t* const to = reinterpret_cast<uint16_t*>(p);
      const auto bits = hn::BitCast(du, v);
      const auto even = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
      const auto nan = hn::BitCast(du, hn::Set(hn::RebindToSigned<D>(), FloatBits<float>::kNan));
      auto rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7FFF)), even);
      if constexpr (kMayBeNan) rounded = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), nan, rounded);
      if constexpr (kHasLookup<int16_t> && hn::MaxLanes(D()) >= 16) {
        const hn::Repartition<uint16_t, D> words;  // one permutation
        const auto halves = hn::BitCast(words, rounded);
        hn::StoreU(hn::LowerHalf(d16, OddLanes(words, halves, halves)), d16, to);
      } else {
        const hn::RebindToSigned<D> di;
        hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, hn::ShiftRight<16>(rounded))), d16, to);
      }
    } else {
      const hn::RebindToSigned<D> di;
      const auto bits = hn::BitCast(di, v);
      const auto magnitude = hn::And(bits, hn::Set(di, 0x7FFFFFFF));
      const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 0x8000));
      constexpr int kDropped = 13;
      const auto even = hn::And(hn::ShiftRight<kDropped>(magnitude), hn::Set(di, 1));
      auto half = hn::Add(hn::Add(magnitude, even), hn::Set(di, (1 << (kDropped - 1)) - 1));
      half = hn::ShiftRight<kDropped>(hn::Sub(half, hn::Set(di, (127 - 15) << 23)));
      half = hn::Min(half, hn::Set(di, FloatBits<T>::kInf));
      // Subnormal: adding 0.5 leaves units of 2^-24 in the low mantissa bits, rounded to nearest even.
      const auto shifted = hn::BitCast(di, hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f)));
      half =
          hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x38800000)), hn::Sub(shifted, hn::Set(di, 0x3F000000)), half);
      half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(di, 0x7F800000)), hn::Set(di, FloatBits<T>::kNan),
                            hn::Or(half, sign));
      hn::StoreU(hn::DemoteTo(hn::Rebind<uint16_t, D>(), half), hn::Rebind<uint16_t, D>(),
                 reinterpret_cast<uint16_t*>(p));
    }
  }

  // `seen` starts as 0 and becomes NaN once a noted value is NaN or infinite; without such a value no sum is NaN. (An
  // unordered compare of the sums themselves costs 40 to 170 % channels-first, for masks are slow to chain.)
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V NoteNan(D d, V seen, V v) {
    if constexpr (std::is_floating_point<T>::value) {
      return hn::MulAdd(v, hn::Zero(d), seen);
    } else {
      return seen;
    }
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE bool NoNan(D d, V seen) {
    return hn::AllTrue(d, hn::Eq(seen, seen));
  }
  // Makes NaNs among `count` stored sums canonical.
  static HWY_NOINLINE void CanonicalRun(int64_t count, T* HWY_RESTRICT p) {
    const hn::ScalableTag<Lane> d;
    const hn::CappedTag<Lane, 1> d1;
    int64_t i = 0;
    for (const int64_t n = static_cast<int64_t>(hn::Lanes(d)); i + n <= count; i += n) {
      Store(d, Canonical(d, Load(d, p + i)), p + i);
    }
    for (; i < count; ++i) Store(d1, Canonical(d1, Load(d1, p + i)), p + i);
  }
};

// The same for code that both 16-bit floats share: which it is the lanes know.
struct HalfFloat {
  uint16_t bits;
};
struct HalfSumLanes {
  using Element = HalfFloat;
  using Lane = float;

  bool f16;

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const HalfFloat* HWY_RESTRICT p) const {
    if (f16) return SumLanes<F16>::Load(d, reinterpret_cast<const F16*>(p));
    return SumLanes<BF16>::Load(d, reinterpret_cast<const BF16*>(p));
  }
  template <class D>
  HWY_INLINE void Store(D d, hn::Vec<D> v, HalfFloat* HWY_RESTRICT p) const {
    if (f16) {
      SumLanes<F16>::Store(d, v, reinterpret_cast<F16*>(p));
    } else {
      SumLanes<BF16>::Store(d, v, reinterpret_cast<BF16*>(p));
    }
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V NoteNan(D /*d*/, V seen, V /*v*/) {
    return seen;
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE bool NoNan(D /*d*/, V /*seen*/) {
    return true;
  }
  static void CanonicalRun(int64_t /*count*/, HalfFloat* /*p*/) {}
};

// And for code of one of them that such code calls, where no sum is NaN.
template <class T>
struct FiniteHalfSumLanes {
  using Element = HalfFloat;

  template <class D>
  static HWY_INLINE hn::Vec<D> Load(D d, const HalfFloat* HWY_RESTRICT p) {
    return SumLanes<T>::Load(d, reinterpret_cast<const T*>(p));
  }
  template <class D>
  static HWY_INLINE void Store(D d, hn::Vec<D> v, HalfFloat* HWY_RESTRICT p) {
    SumLanes<T>::template Store<false>(d, v, reinterpret_cast<T*>(p));
  }
};

// Whether none of `count` floats is NaN or infinite: by their bits as integers but for the sign, of which inf's are
// `inf`.
template <class Bits>
HWY_NOINLINE bool AllFinite(const void* values, int64_t count, Bits inf) {
  const hn::ScalableTag<Bits> d;
  const Bits* HWY_RESTRICT in = static_cast<const Bits*>(values);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto mask = hn::Set(d, hwy::LimitsMax<Bits>());
  const auto magnitude = [&](int64_t at) HWY_ATTR { return hn::And(hn::LoadU(d, in + at), mask); };
  auto greatest = hn::Zero(d), greatest1 = greatest;
  int64_t i = 0;
  bool finite = true;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    greatest = hn::Max(greatest, hn::Max(magnitude(i), magnitude(i + lanes)));
    greatest1 = hn::Max(greatest1, hn::Max(magnitude(i + 2 * lanes), magnitude(i + 3 * lanes)));
  }
  for (; i + lanes <= count; i += lanes) greatest = hn::Max(greatest, magnitude(i));
  for (; i < count; ++i) finite &= (in[i] & hwy::LimitsMax<Bits>()) < inf;
  return finite && hn::AllTrue(d, hn::Lt(hn::Max(greatest, greatest1), hn::Set(d, inf)));
}

template <class T>
HWY_INLINE auto SharedSumLanes() {
  if constexpr (sizeof(T) == 2) {
    return HalfSumLanes{std::is_same<T, F16>::value};
  } else {
    return SumLanes<T>();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_LANES_INL_H_
