// SPDX-License-Identifier: Apache-2.0
// Windows of 3x3 at stride 2 over lines of bytes, channels-first, with AVX-512: down strips of a plane that are one
// vector wide. Each output's first two columns, or with padding its last two, are one 16-bit lane; its third is a byte
// of the lane beside. With tap numbers, the rows meet in bytes under masks, then the columns in 16-bit lanes: the key
// above a code, the greater the earlier the tap is. Loads and stores are masked, so that nothing is copied and lines
// may lie apart. (strided.cc's steps: 56x56 and 112x112 take 1.5 times as long, with indices 1.7. Codes of the first
// row made in each line: with indices 1.4.)
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_BYTES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_BYTES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_BYTES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_BYTES_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class L>
constexpr bool kHasByteStrips =
    sizeof(typename L::Lane) == 1 && kHasLookup<int16_t>&& kWholeCacheLine<hn::ScalableTag<int16_t>>;

// Tables for one kind of strip, see StripKind.
struct ByteStripTables {
  static constexpr int64_t kLanes = 32;
  int16_t third[kLanes];       // lanes of pairs, then of those whose lower byte is the upper one, in which it lies
  int16_t third_code[kLanes];  // what turns its code there into its own
  uint64_t loaded;             // bits of bytes
  uint32_t stored;             // bits of outputs
};

struct ByteStripsCall : StripPlanes {
  const ByteStripTables* tables;
  int64_t strips, strip, pad;  // strips per line; outputs from one strip to the next
  bool far;                    // see PrefetchPays
};

// Pools lines of some planes, of which `first` is the first row of the first window.
template <class L, bool kTaps, class T = typename L::Element>
HWY_NOINLINE void PoolByteStrips(L lanes, const ByteStripsCall& in, int64_t planes, int64_t first, int64_t lines,
                                 const T* plane_x, T* plane_y, uint8_t* plane_taps) {
  const hn::ScalableTag<T> d;
  const hn::Repartition<int16_t, decltype(d)> d16;
  const hn::RebindToUnsigned<decltype(d16)> du16;
  using V = hn::Vec<decltype(d)>;
  using V16 = hn::Vec<decltype(d16)>;
  const auto upper = [=](V16 v) HWY_ATTR { return hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(du16, v))); };
  const V none = lanes.FromKey(d, hn::Set(d, hwy::LimitsMin<T>()));
  const V16 high = hn::Set(d16, static_cast<int16_t>(0xFF00)), eight = hn::Set(d16, 8);
  // Codes of the last row: 2 minus the column, of the even and of the odd bytes.
  const V code2 = hn::BitCast(d, hn::Set(d16, in.pad != 0 ? 0x0001 : 0x0102));
  const auto above = [=](int row) HWY_ATTR { return hn::Add(code2, hn::Set(d, static_cast<T>(3 * row))); };
  const V code1 = above(1), code_above = above(2);
  const int64_t x_pitch = in.x_pitch, last = in.last;
  for (int64_t s = 0; planes > 0;) {
    const ByteStripTables& at = in.tables[StripKind(s, in.strips)];
    const V16 third = hn::LoadU(d16, at.third), third_code = hn::LoadU(d16, at.third_code);
    const auto loaded = MaskOfBits(d, at.loaded);
    const auto stored = MaskOfBits(d16, at.stored);
    const int64_t from = s == 0 ? 0 : s * in.strip - in.pad;
    const int64_t prefetched = in.far && s == 0 ? 2 * x_pitch : 0;
    const T* const x = plane_x + 2 * from;
    T* y = plane_y + from;
    uint8_t* taps = plane_taps + (kTaps ? from : 0);
    const auto row_at = [&](int64_t r) HWY_ATTR { return x + HWY_MIN(HWY_MAX(r, 0), last) * x_pitch; };
    const auto load = [=](const T* p)
                          PEAKPOOL_INLINED { return InRegister(lanes.ToKey(d, LoadSome(d, none, loaded, p))); };
    int64_t r = first;
    V above0 = load(row_at(r));
    // A row clamped at the top is named by the first one.
    V code0 = above(2 + static_cast<int>(HWY_MIN(r, 0)));
    for (int64_t line = 0; line < lines; ++line, r += 2, y += in.y_pitch) {
      const T *x1 = x + (r + 1) * x_pitch, *x2 = x1 + x_pitch;
      if (HWY_UNLIKELY(r < 0 || r + 2 > last)) x1 = row_at(r + 1), x2 = row_at(r + 2);
      PrefetchRowAhead(x1, prefetched);
      const V v1 = load(x1), v2 = load(x2);
      V16 best;
      if constexpr (kTaps) {
        V code = hn::IfThenElse(hn::Gt(v1, above0), code1, code0);
        code0 = code_above;
        const V two = hn::Max(above0, v1);
        code = hn::IfThenElse(hn::Gt(v2, two), code2, code);
        const V16 v = hn::BitCast(d16, hn::Max(two, v2)), codes = hn::BitCast(d16, code);
        const V16 even = hn::Or(hn::ShiftLeft<8>(v), hn::AndNot(high, codes));
        const V16 odd = hn::Or(hn::And(v, high), upper(codes));
        best = hn::Max(hn::Max(even, odd), hn::Add(LookupTwo(d16, even, odd, third), third_code));
        StoreSomeBytes(d16, hn::Sub(eight, best), stored, taps);
        taps += in.taps_pitch;
        best = upper(best);
      } else {
        const V v = hn::Max(hn::Max(above0, v1), v2);
        const V16 even = hn::BitCast(d16, v), odd = upper(even);
        const V beside = hn::BitCast(d, LookupTwo(d16, even, odd, third));
        best = hn::BitCast(d16, hn::Max(hn::Max(v, hn::BitCast(d, odd)), beside));
      }
      StoreSomeBytes(d16, hn::BitCast(d16, lanes.FromKey(d, hn::BitCast(d, best))), stored,
                     reinterpret_cast<uint8_t*>(y));
      above0 = v2;
    }
    if (++s == in.strips) {
      s = 0;
      --planes;
      plane_x += in.x_plane;
      plane_y += in.y_plane;
      if (kTaps) plane_taps += in.taps_plane;
    }
  }
}

// True if done.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardByteStrips(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  constexpr int64_t n = ByteStripTables::kLanes;
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  const int64_t pad = w.pad_before;
  if (g.axis[kDepth].kernel != 1 || w.kernel != 3 || pad < 0 || pad > 1 || h.pad_before < 0 || h.pad_before > 2 ||
      2 * (w.output - 1) >= w.input) {
    return false;
  }
  const bool one = w.output < n || (w.output == n && (pad == 1 || w.input <= 2 * n));
  const int64_t strip = one ? n : n - 1, strips = (w.output + strip - 1) / strip;
  // Of longer lines, values are faster one line after the other (224x224 of 12.8 MB would take 1.15 times as long).
  if (strips > (with_taps ? 9 : 3) || 2 * w.output <= n * strips) return false;
  ByteStripTables tables[3] = {};
  const ByteStripsCall in = {StripPlanes(call), tables, strips, strip, pad, PrefetchPays(g, 1)};
  for (int64_t kind = 0; kind < 3; ++kind) {
    ByteStripTables& to = tables[kind];
    const int64_t s = StripOfKind(kind, strips);
    if (s < 0) continue;
    const int64_t first = s * strip, from = s == 0 ? 0 : first - pad;
    for (int64_t i = 0; i < n; ++i) {
      to.third[i] = static_cast<int16_t>(pad == 0 ? HWY_MIN(i + 1, n - 1) : n + HWY_MAX(i - 1, 0));
      // One left of the plane is the window's last column once more.
      to.third_code[i] = pad == 0 ? -2 : i == 0 ? 0 : 2;
      if (from + i >= first && from + i < HWY_MIN(first + strip, w.output)) to.stored |= uint32_t{1} << i;
    }
    for (int64_t i = 0; i < 2 * n && 2 * from + i < w.input; ++i) to.loaded |= uint64_t{1} << i;
  }
  const auto pool = with_taps ? &PoolByteStrips<L, true> : &PoolByteStrips<L, false>;
  for (SliceWalk walk(call, separable); walk.Next();) {
    T* const y = static_cast<T*>(call.y) + walk.y + walk.oh * in.y_pitch;
    uint8_t* const taps =
        with_taps ? static_cast<uint8_t*>(call.taps.base) + walk.taps + walk.oh * in.taps_pitch : nullptr;
    pool(lanes, in, walk.planes, h.Begin(walk.oh), walk.stop - walk.oh, static_cast<const T*>(call.x) + walk.x, y,
         taps);
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_BYTES_INL_H_
