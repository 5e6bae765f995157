// SPDX-License-Identifier: Apache-2.0
// Backward of windows that do not overlap: each gradient moves to one place, nothing is added up, so that elements move
// as integers and 16-bit floats are never widened.
//
// Accepts u8 taps, kernels and strides of any size, padding and gaps between windows, dilation 1, no empty window.
// Channels-last it takes vectors of channels and does not accumulate. Channels-first, vectors of windows are spread
// over dx: lane tables name each lane's window and tap. Where windows are large, storing one gradient after the other
// into zeroed lines is faster; accumulation takes that way, too.
#if defined(PEAKPOOL_SRC_KERNELS_GATHER_APART_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_GATHER_APART_INL_H_
#undef PEAKPOOL_SRC_KERNELS_GATHER_APART_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_GATHER_APART_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/half.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slice_walk.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace apart {

// Elements of an integer's width: what makes them canonical and, one by one, adds them up.
template <class I>
struct Element {
  I inf, nan;
  void (*add)(const I* from, I* to);
  void (*canonical)(int64_t count, I* elements);

  // What a sum of 0 and the one gradient is.
  I One(I bits) const {
    if ((bits & hwy::LimitsMax<I>()) > inf) return nan;
    return bits == hwy::LimitsMin<I>() ? I{0} : bits;
  }
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V One(D d, V bits) const {
    const V magnitude = hn::And(bits, hn::Set(d, hwy::LimitsMax<I>()));
    return hn::IfThenElse(hn::Gt(magnitude, hn::Set(d, inf)), hn::Set(d, nan),
                          hn::IfThenZeroElse(hn::Eq(bits, hn::Set(d, hwy::LimitsMin<I>())), bits));
  }
};

template <class T>
using Bits = KeyLane<T>;
template <class T>
Element<Bits<T>> ElementOf() {
  using I = Bits<T>;
  return {FloatBits<T>::kInf, FloatBits<T>::kNan,
          [](const I* from, I* to) {
            T a, b;
            std::memcpy(&a, to, sizeof(T));
            std::memcpy(&b, from, sizeof(T));
            if constexpr (sizeof(T) == 2) {
              Round(ToFloat(a) + ToFloat(b), &a);
            } else {
              a += b;
            }
            std::memcpy(to, &a, sizeof(T));
          },
          [](int64_t count, I* elements) { SumLanes<T>::CanonicalRun(count, reinterpret_cast<T*>(elements)); }};
}

// Output o covers inputs [o * Step - pad_before, ...) alone.
inline int64_t Step(const Axis& axis) {
  return axis.output == 1 ? HWY_MAX(axis.stride, axis.input + axis.pad_before) : axis.stride;
}

// Copies tap numbers as those within the slice of the windows' depth that begins with `base`; what lies in another
// slice becomes no tap's number.
inline HWY_NOINLINE void RebaseTaps(const uint8_t* HWY_RESTRICT from, int64_t count, int64_t base,
                                    uint8_t* HWY_RESTRICT to) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(from[i] - base);
}

// `size` inputs of an axis from `begin` on, `step` apart, and the windows that touch them, as if that were all. The
// step is 1 or the dilation.
inline Axis Part(const Axis& axis, int64_t begin, int64_t size, int64_t step, int64_t* first) {
  Axis part = axis;
  const int64_t at = begin + axis.pad_before;
  *first = axis.FirstTouching(begin);
  if (step != 1) *first += (at - *first) % step;
  const int64_t end = axis.TouchingEnd(begin + (size - 1) * step + 1);
  part.input = size;
  part.output = HWY_MAX(end - *first + step - 1, int64_t{0}) / step;
  part.pad_before = (at - *first * axis.stride) / step;
  part.dilation = axis.dilation / step;
  return part;
}

// Rows of windows, each of which covers Step() rows of dx.
template <class I>
class WindowRows {
 public:
  // Of a call with so many rows of windows one after the other.
  [[gnu::cold]] WindowRows(const Element<I>& element, const Axis& height, const Axis& width, int64_t count,
                           bool accumulate, void* scratch, bool far = false)
      : element_(element),
        input_(width.input),
        output_(width.output),
        kernel_h_(height.kernel),
        kernel_w_(width.kernel),
        step_(Step(width)),
        pad_(width.pad_before),
        rows_(HWY_MIN(Step(height), height.input + height.pad_before)),
        accumulate_(accumulate),
        far_(far && width.input >= 256),
        scratch_(scratch) {
    narrow_ = output_ <= kWindows();
    bunch_ = narrow_ ? HWY_MAX(HWY_MIN(kWindows() / output_, count), int64_t{1}) : 1;
    size_ = narrow_ ? bunch_ * rows_ * input_ : step_ * kWindows();
    spreads_ = !accumulate && size_ * 4 * static_cast<int64_t>(sizeof(I)) <= static_cast<int64_t>(kScratchBytes) &&
               step_ * rows_ * static_cast<int64_t>(sizeof(I)) <= kMostBytes;
    names_ = static_cast<I*>(scratch) + Padded();
    buffer_ = names_ + Padded();
    if (spreads_) {
      MakeTables();
    } else {
      MakeCoordinates();
    }
  }

  // Window rows, all of whose rows follow each other without a gap, as do dy's and taps' own. `base` is the tap number
  // of the window's first row; `readable` elements of dy and taps are there.
  HWY_NOINLINE void Whole(const I* HWY_RESTRICT dy, const uint8_t* HWY_RESTRICT taps, int64_t readable, int64_t base,
                          int64_t count, I* dx) const {
    const int64_t covered = rows_ * input_;
    if (TakesPairs()) {
      Pairs(dy, taps, base, count, dx, input_);
      return;
    }
    if (!spreads_ || !narrow_ || size_ < kLanes()) {
      for (int64_t i = 0; i < count; ++i, dy += output_, taps += output_, readable -= output_, dx += covered) {
        Part(dy, taps, readable, base, 0, rows_, dx, input_);
      }
      return;
    }
    const int64_t windows = bunch_ * output_, size = size_;
    const I* const from = static_cast<const I*>(scratch_);
    const I* const names = names_;
    const Element<I> element = element_;
    // What windows of four elements take: tables that stay in registers save a third.
    const D d;
    const int64_t n = kLanes();
    const bool four = size > 3 * n && size <= 4 * n;
    const V from0 = hn::LoadU(d, from), name0 = hn::LoadU(d, names);
    V from1 = from0, from2 = from0, from3 = from0, name1 = name0, name2 = name0, name3 = name0;
    if (four) {
      from1 = hn::LoadU(d, from + n);
      name1 = hn::LoadU(d, names + n);
      from2 = hn::LoadU(d, from + 2 * n);
      name2 = hn::LoadU(d, names + 2 * n);
      from3 = hn::LoadU(d, from + size - n);
      name3 = hn::LoadU(d, names + size - n);
    }
    for (; count >= bunch_; count -= bunch_) {
      if (HWY_UNLIKELY(readable < kWindows())) break;
      const V gradients = LoadWindows(element, dy), numbers = LoadTaps(taps, base);
      if (HWY_LIKELY(four)) {
        Place(gradients, numbers, from0, name0, dx);
        Place(gradients, numbers, from1, name1, dx + n);
        Place(gradients, numbers, from2, name2, dx + 2 * n);
        Place(gradients, numbers, from3, name3, dx + size - n);
      } else {
        Spread(gradients, numbers, from, names, size, dx);
      }
      dy += windows;
      taps += windows;
      readable -= windows;
      dx += size;
    }
    for (; count > 0; count -= HWY_MIN(count, bunch_)) {
      const int64_t rest = HWY_MIN(count, bunch_);
      SpreadNarrow(dy, taps, HWY_MIN(readable, rest * output_), base, buffer_);
      std::memcpy(dx, buffer_, static_cast<size_t>(rest * covered) * sizeof(I));
      dy += rest * output_;
      taps += rest * output_;
      readable -= rest * output_;
      dx += rest * covered;
    }
  }

  // Rows that no window covers.
  void None(int64_t rows, I* dx, int64_t pitch) const {
    for (int64_t r = 0; r < rows; ++r) {
      if (accumulate_) {
        element_.canonical(input_, dx + r * pitch);
      } else {
        std::memset(dx + r * pitch, 0, static_cast<size_t>(input_) * sizeof(I));
      }
    }
  }

  // Rows [first, first + rows) that one window row covers, `pitch` apart.
  HWY_NOINLINE void Part(const I* HWY_RESTRICT dy, const uint8_t* HWY_RESTRICT taps, int64_t readable, int64_t base,
                         int64_t first, int64_t rows, I* dx, int64_t pitch) const {
    if (!spreads_) {
      Scatter(dy, taps, base, first, rows, dx, pitch);
    } else if (narrow_) {
      SpreadNarrow(dy, taps, readable, base, buffer_);
      for (int64_t r = 0; r < rows; ++r) Copy(buffer_ + (first + r) * input_, input_, dx + r * pitch);
    } else if (TakesPairs() && rows == 2) {
      Pairs(dy, taps, base, 1, dx, pitch);
    } else {
      SpreadWide(dy, taps, base, first, rows, dx, pitch);
    }
  }

 private:
  using D = hn::ScalableTag<I>;
  using V = hn::Vec<D>;
  using DW = hn::CappedTag<I, kHasLookup<I> ? hn::MaxLanes(D()) : 16 / sizeof(I)>;
  // Of a window, above which zeroing its elements and storing one of them is faster than spreading.
  static constexpr int64_t kMostBytes = 64;
  static constexpr I kNever = -1000;  // no tap, whichever number is taken off it

  static int64_t kLanes() { return static_cast<int64_t>(hn::Lanes(D())); }
  // Windows to a vector: as many as lookups reach.
  static int64_t kWindows() { return static_cast<int64_t>(hn::Lanes(DW())); }

  static void Copy(const I* from, int64_t count, I* to) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(I));
  }
  int64_t Padded() const { return size_ + kLanes(); }

  // For each element of dx, its window among those loaded, and its tap there.
  [[gnu::cold]] void MakeTables() {
    I* from = static_cast<I*>(scratch_);
    I* name = names_;
    const auto add = [&](int64_t window, int64_t tap, bool exists) {
      const I lane = exists ? static_cast<I>(window) : I{0};
      *from++ = kHasLookup<I> ? lane : static_cast<I>(lane * 0x0202 + 0x0100);  // of its bytes
      *name++ = exists ? static_cast<I>(tap) : kNever;
    };
    if (!narrow_) {
      for (int64_t window = 0; window < kWindows(); ++window) {
        for (int64_t tap = 0; tap < step_; ++tap) add(window, tap, tap < kernel_w_);
      }
      return;
    }
    for (int64_t line = 0; line < bunch_; ++line) {
      for (int64_t row = 0; row < rows_; ++row) {
        int64_t window = line * output_, tap = pad_;
        for (; tap >= step_; tap -= step_) ++window;
        for (int64_t w = 0; w < input_; ++w) {
          add(window, row * kernel_w_ + tap, window < (line + 1) * output_ && tap < kernel_w_ && row < kernel_h_);
          if (++tap == step_) tap = 0, ++window;
        }
      }
    }
    for (int64_t i = size_; i < kLanes(); ++i) add(0, 0, false);
  }
  [[gnu::cold]] void MakeCoordinates() {
    uint8_t* const coordinates = static_cast<uint8_t*>(scratch_);
    const int64_t taps = HWY_MIN(kernel_h_ * kernel_w_, int64_t{256});
    for (int64_t tap = 0, row = 0, column = 0; tap < taps; ++tap) {
      coordinates[2 * tap] = static_cast<uint8_t>(row);
      coordinates[2 * tap + 1] = static_cast<uint8_t>(column);
      if (++column == kernel_w_) column = 0, ++row;
    }
  }

  // The same windows in every block that a lookup reaches.
  static HWY_INLINE V Everywhere(hn::Vec<DW> v) {
    if constexpr (kHasLookup<I>) {
      return v;
    } else {
      HWY_ALIGN I windows[16 / sizeof(I)];
      hn::Store(v, DW(), windows);
      return hn::LoadDup128(D(), windows);
    }
  }
  static HWY_INLINE V LoadWindows(const Element<I>& element, const I* HWY_RESTRICT dy) {
    return Everywhere(element.One(DW(), hn::LoadU(DW(), dy)));
  }
  // Less the number of the first.
  static HWY_INLINE V LoadTaps(const uint8_t* HWY_RESTRICT taps, int64_t base) {
    return Everywhere(hn::Sub(LoadNumbers(DW(), taps), hn::Set(DW(), static_cast<I>(base))));
  }
  template <class DI>
  static HWY_INLINE hn::Vec<DI> LoadNumbers(DI d, const uint8_t* HWY_RESTRICT taps) {
    const auto bytes = hn::LoadU(hn::Rebind<uint8_t, DI>(), taps);
    if constexpr (sizeof(I) == 8) {
      return hn::PromoteTo(d, hn::PromoteTo(hn::Rebind<int32_t, DI>(), bytes));
    } else {
      return hn::PromoteTo(d, bytes);
    }
  }
  static HWY_INLINE V Lookup(V v, V from) {
    const D d;
    if constexpr (kHasLookup<I>) {
      return LookupLanes(d, v, from);
    } else {
      return hn::TableLookupBytes(v, from);
    }
  }

  static HWY_INLINE void Place(V dy, V taps, V from, V name, I* HWY_RESTRICT to) {
    const auto chosen = hn::Eq(Lookup(taps, from), name);
    hn::StoreU(hn::IfThenElseZero(chosen, Lookup(dy, from)), D(), to);
  }
  static HWY_INLINE void Spread(V dy, V taps, const I* HWY_RESTRICT from, const I* HWY_RESTRICT names, int64_t size,
                                I* HWY_RESTRICT to) {
    const D d;
    const auto spread = [&](int64_t at) PEAKPOOL_INLINED {
      Place(dy, taps, hn::LoadU(d, from + at), hn::LoadU(d, names + at), to + at);
    };
    const int64_t n = kLanes();
    for (int64_t at = 0; at < size - n; at += n) spread(at);
    spread(HWY_MAX(size - n, int64_t{0}));
  }
  // All rows of up to as many window rows as vectors hold.
  void SpreadNarrow(const I* dy, const uint8_t* taps, int64_t readable, int64_t base, I* to) const {
    HWY_ALIGN I few[hn::MaxLanes(D())] = {};
    HWY_ALIGN uint8_t few_taps[hn::MaxLanes(D())] = {};
    if (readable < kWindows()) {
      Copy(dy, readable, few);
      std::memcpy(few_taps, taps, static_cast<size_t>(readable));
      dy = few;
      taps = few_taps;
    }
    Spread(LoadWindows(element_, dy), LoadTaps(taps, base), static_cast<const I*>(scratch_), names_, size_, to);
  }

  // Rows of 2x2 windows, which take half the time of other windows.
  bool TakesPairs() const {
    return spreads_ && !narrow_ && output_ >= kLanes() && step_ == 2 && kernel_w_ == 2 && rows_ == 2 &&
           kernel_h_ == 2 && pad_ == 0 && 2 * output_ <= input_;
  }
  // One line of a window row's, around the caches where it is a whole cache line.
  HWY_INLINE void FarLine(const I* HWY_RESTRICT dy, const uint8_t* HWY_RESTRICT taps, int64_t base,
                          I* HWY_RESTRICT dx) const {
    if constexpr (kHasStreamPairs<D>) {
      const D d;
      const int64_t windows = kLanes(), output = output_;
      const Element<I> element = element_;
      const V tap0 = hn::Set(d, static_cast<I>(base)), tap1 = hn::Set(d, static_cast<I>(base + 1));
      const auto pair = [&](int64_t at, auto store) HWY_ATTR {
        const V gradients = element.One(d, hn::LoadU(d, dy + at)), numbers = LoadNumbers(d, taps + at);
        store(hn::IfThenElseZero(hn::Eq(numbers, tap0), gradients),
              hn::IfThenElseZero(hn::Eq(numbers, tap1), gradients), dx + 2 * at);
      };
      // No other store may touch cache lines written so: each would wait for memory (rows of 56: 200 times as long).
      HWY_ALIGN I few[2 * hn::MaxLanes(D())];
      const auto keep = [&](V even, V odd, I*) HWY_ATTR { StorePairs(d, even, odd, few); };
      constexpr int64_t kLineElements = 64 / sizeof(I);
      const int64_t head = -static_cast<int64_t>(reinterpret_cast<uintptr_t>(dx) / sizeof(I)) & (kLineElements - 1);
      int64_t at = head / 2;
      if (head != 0) {
        pair(0, keep);
        std::memcpy(dx, few, static_cast<size_t>(head) * sizeof(I));
      }
      for (; at + windows <= output; at += windows) {
        pair(at, [&](V even, V odd, I* to) HWY_ATTR { StreamPairs(d, even, odd, to); });
      }
      if (at < output) {
        pair(output - windows, keep);
        const int64_t rest = 2 * (output - at);
        std::memcpy(dx + 2 * at, few + 2 * windows - rest, static_cast<size_t>(rest) * sizeof(I));
      }
    }
  }
  HWY_NOINLINE void Pairs(const I* HWY_RESTRICT dy, const uint8_t* HWY_RESTRICT taps, int64_t base, int64_t count,
                          I* HWY_RESTRICT dx, int64_t pitch) const {
    const D d;
    const int64_t windows = kLanes(), output = output_, rest = input_ - 2 * output;
    const Element<I> element = element_;
    const V tap0 = hn::Set(d, static_cast<I>(base)), tap1 = hn::Set(d, static_cast<I>(base + 1));
    const V tap2 = hn::Set(d, static_cast<I>(base + 2)), tap3 = hn::Set(d, static_cast<I>(base + 3));
    for (int64_t i = 0; i < count; ++i, dy += output, taps += output, dx += 2 * pitch) {
      if (far_) {
        FarLine(dy, taps, base, dx);
        FarLine(dy, taps, base + 2, dx + pitch);
      }
      for (int64_t block = far_ ? output : 0; block < output; block += windows) {
        block = HWY_MIN(block, output - windows);
        const V gradients = element.One(d, hn::LoadU(d, dy + block)), numbers = LoadNumbers(d, taps + block);
        StorePairs(d, hn::IfThenElseZero(hn::Eq(numbers, tap0), gradients),
                   hn::IfThenElseZero(hn::Eq(numbers, tap1), gradients), dx + 2 * block);
        StorePairs(d, hn::IfThenElseZero(hn::Eq(numbers, tap2), gradients),
                   hn::IfThenElseZero(hn::Eq(numbers, tap3), gradients), dx + pitch + 2 * block);
      }
      if (HWY_UNLIKELY(rest > 0)) {
        for (int64_t r = 0; r < 2; ++r) {
          std::memset(dx + r * pitch + 2 * output, 0, static_cast<size_t>(rest) * sizeof(I));
        }
      }
    }
  }

  HWY_INLINE void SpreadWide(const I* HWY_RESTRICT dy, const uint8_t* HWY_RESTRICT taps, int64_t base, int64_t first,
                             int64_t rows, I* HWY_RESTRICT dx, int64_t pitch) const {
    const D d;
    const int64_t windows = kWindows(), covered = HWY_MIN(output_ * step_ - pad_, input_);
    const int64_t kept = HWY_MAX(HWY_MIN(kernel_h_ - first, rows), int64_t{0});
    const Element<I> element = element_;
    for (int64_t block = 0; block < output_; block += windows) {
      block = HWY_MIN(block, output_ - windows);
      const V gradients = LoadWindows(element, dy + block);
      V numbers = LoadTaps(taps + block, base + first * kernel_w_);
      const int64_t left = block * step_ - pad_, begin = HWY_MAX(left, int64_t{0});
      const int64_t end = HWY_MIN(left + size_, input_);
      // What a vector of few windows stores beyond them is overwritten by the next.
      const bool direct = end - begin == size_ && begin + HWY_MAX(size_, kLanes()) <= input_;
      I* HWY_RESTRICT row = dx + begin;
      for (int64_t r = 0; r < kept; ++r, row += pitch) {
        I* HWY_RESTRICT to = direct ? row : buffer_;
        Spread(gradients, numbers, static_cast<const I*>(scratch_), names_, size_, to);
        if (HWY_UNLIKELY(!direct) && begin < end) Copy(buffer_ + (begin - left), end - begin, row);
        numbers = hn::Sub(numbers, hn::Set(d, static_cast<I>(kernel_w_)));
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t done = r < kept ? covered : 0;
      if (done < input_) std::memset(dx + r * pitch + done, 0, static_cast<size_t>(input_ - done) * sizeof(I));
    }
  }

  // Gradient after gradient.
  HWY_INLINE void Scatter(const I* HWY_RESTRICT dy, const uint8_t* HWY_RESTRICT taps, int64_t base, int64_t first,
                          int64_t rows, I* HWY_RESTRICT dx, int64_t pitch) const {
    const uint8_t* HWY_RESTRICT coordinates = static_cast<const uint8_t*>(scratch_);
    const uint64_t most_taps = static_cast<uint64_t>(HWY_MIN(kernel_h_ * kernel_w_, int64_t{256}));
    if (!accumulate_) None(rows, dx, pitch);
    for (int64_t o = 0, left = -pad_; o < output_; ++o, left += step_) {
      const uint64_t tap = static_cast<uint64_t>(taps[o] - base);
      if (HWY_UNLIKELY(tap >= most_taps)) continue;
      const int64_t r = coordinates[2 * tap] - first, w = left + coordinates[2 * tap + 1];
      if (static_cast<uint64_t>(r) >= static_cast<uint64_t>(rows) ||
          static_cast<uint64_t>(w) >= static_cast<uint64_t>(input_)) {
        continue;
      }
      if (accumulate_) {
        element_.add(dy + o, dx + r * pitch + w);
      } else {
        dx[r * pitch + w] = element_.One(dy[o]);
      }
    }
    if (accumulate_) None(rows, dx, pitch);
  }

  const Element<I> element_;
  const int64_t input_, output_, kernel_h_, kernel_w_, step_, pad_, rows_;
  const bool accumulate_, far_;
  void* const scratch_;
  bool narrow_;    // a window row fits a vector
  bool spreads_;   // else gradient after gradient
  int64_t bunch_;  // window rows to a vector
  int64_t size_;   // elements of dx that a vector of windows covers
  // The scratch begins with the windows of these; then come their taps, then room for as many.
  I *names_, *buffer_;
};

// Windows that follow each other in memory, each with `size` elements of dx of its own.
template <class I>
[[gnu::cold]] void OneAxis(const Element<I>& element, const I* dy, const uint8_t* taps, int64_t kernel, int64_t size,
                           int64_t windows, I* dx, const BackwardCall& call) {
  // Large ones a few at a time, so that their zeros are still in L1.
  const int64_t bytes = size * static_cast<int64_t>(sizeof(I)), most = bytes < 64 ? windows : HWY_MAX(16384 / bytes, 1);
  for (int64_t step; windows > 0; windows -= step, dy += step, taps += step, dx += step * size) {
    step = HWY_MIN(windows, most);
    if (bytes >= 64 && !call.accumulate) {
      // Zeros, and one gradient after the other: a window's tap numbers are where its elements are.
      std::memset(dx, 0, static_cast<size_t>(step * bytes));
      for (int64_t o = 0; o < step; ++o) {
        if (HWY_LIKELY(taps[o] < kernel)) dx[o * size + taps[o]] = element.One(dy[o]);
      }
      continue;
    }
    const Axis height = {1, 1, 1, 1, 1, 0};
    if (!call.accumulate) {
      // As rows of one window each, as many as vectors hold. (As one row: 1.4 times as long.)
      const Axis width = {size, 1, kernel, size, 1, 0};
      WindowRows<I>(element, height, width, step, false, call.scratch).Whole(dy, taps, step, 0, step, dx);
      continue;
    }
    const Axis width = {step * size, step, kernel, size, 1, 0};
    WindowRows<I>(element, height, width, 1, true, call.scratch).Part(dy, taps, step, 0, 0, 1, dx, step * size);
  }
}

// Whether dx is far. 2x2 over 64x572x572 takes 2.0 ms instead of 3.4 channels-last, 2x2x2 over 128x16x56x56 0.47
// instead of 0.69, 3x3 s2 over 32x64x112x112 4.1 instead of 5.8.
inline bool WritesAroundCaches(const BackwardCall& call, size_t element) {
  const Geometry& g = *call.geometry;
  const int64_t line = g.axis[kWidth].input * (g.channels_last ? g.channels : 1);
  return !call.accumulate && g.InputLines() * line * static_cast<int64_t>(element) >= kFarBytes;
}

template <class I>
[[gnu::cold]] void ChannelsFirst(const BackwardCall& call, const Element<I>& element) {
  const Geometry& g = *call.geometry;
  const Axis &depth = g.axis[kDepth], &height = g.axis[kHeight], &width = g.axis[kWidth];
  const Strides& tap_strides = call.taps.strides;
  const I* const dy = static_cast<const I*>(call.dy);
  const uint8_t* const taps = static_cast<const uint8_t*>(call.taps.base) - call.taps.origin;
  I* const dx = static_cast<I*>(call.dx);
  const Dense dense_output = HWY_MIN(DenseExtent(g, g.output, true), DenseExtent(g, tap_strides, true));
  const int64_t step = height.output == 1 ? height.input : height.stride;
  // Lines begin at pairs of elements of a cache line.
  const Strides& s = g.input;
  const bool far = kHasStreamPairs<hn::ScalableTag<I>> && WritesAroundCaches(call, sizeof(I)) &&
                   ((s.batch | s.channel | s.axis[kDepth] | s.axis[kHeight]) & 1) == 0 &&
                   reinterpret_cast<uintptr_t>(dx) % (2 * sizeof(I)) == 0;
  if (depth.input == 1 && depth.output == 1 && depth.kernel == 1 && height.pad_before == 0 &&
      height.input == height.output * step && dense_output == kTensor && DenseExtent(g, g.input, false) == kTensor &&
      call.begin % step == 0 && call.end % step == 0) {
    // No plane ends before its last window: as if all were one.
    const int64_t first = call.begin / step * width.output, rows = (call.end - call.begin) / step;
    I* const to = dx + call.begin * width.input;
    const bool lines = height.kernel == 1 && step == 1 && width.input == width.output * Step(width);
    if (width.pad_before == 0 && (lines || (width.output == 1 && width.kernel == width.input))) {
      OneAxis(element, dy + first, taps + first, height.kernel * width.kernel, step * width.input / width.output,
              rows * width.output, to, call);
    } else {
      WindowRows<I>(element, height, width, rows, call.accumulate, call.scratch, far)
          .Whole(dy + first, taps + first, rows * width.output, 0, rows, to);
    }
    if (far) hwy::FlushStream();
    return;
  }
  const WindowRows<I> windows(element, height, width, 1, call.accumulate, call.scratch, far);
  const int64_t pitch = g.input.axis[kHeight];
  for (int64_t line = call.begin, end; line < call.end; line = end) {
    const int64_t slice = line / height.input, plane = slice / depth.input, n = plane / g.channels;
    const int64_t c = plane - n * g.channels, d = slice - plane * depth.input;
    const int64_t at_d = d + depth.pad_before, od = at_d / Step(depth), tap_d = at_d - od * Step(depth);
    end = HWY_MIN((slice + 1) * height.input, call.end);
    const int64_t h_begin = line - slice * height.input, h_end = end - slice * height.input;
    const I* const dy_slice = dy + n * g.output.batch + c * g.output.channel + od * g.output.axis[kDepth];
    const uint8_t* const taps_slice =
        taps + n * tap_strides.batch + c * tap_strides.channel + od * tap_strides.axis[kDepth];
    I* const dx_slice = dx + n * g.input.batch + c * g.input.channel + d * g.input.axis[kDepth];
    const int64_t output_rows = od < depth.output && tap_d < depth.kernel ? height.output : 0;
    const int64_t base = tap_d * height.kernel * width.kernel;
    const int64_t oh_end = HWY_MIN((h_end - 1 + height.pad_before) / Step(height) + 1, output_rows);
    for (int64_t h = h_begin, rows; h < h_end; h += rows) {
      const int64_t oh = (h + height.pad_before) / Step(height), first = h + height.pad_before - oh * Step(height);
      rows = HWY_MIN(Step(height) - first, h_end - h);
      I* const to = dx_slice + h * pitch;
      if (oh >= oh_end) {
        windows.None(rows, to, pitch);
      } else {
        const int64_t readable = dense_output == kLine ? width.output : (oh_end - oh) * width.output;
        const I* const dy_row = dy_slice + oh * g.output.axis[kHeight];
        const uint8_t* const taps_row = taps_slice + oh * tap_strides.axis[kHeight];
        if (first == 0 && rows == height.stride && pitch == width.input && dense_output != kLine &&
            height.output != 1) {
          const int64_t count = HWY_MIN((h_end - h) / rows, oh_end - oh);
          windows.Whole(dy_row, taps_row, readable, base, count, to);
          rows *= count;
        } else {
          windows.Part(dy_row, taps_row, readable, base, first, rows, to, pitch);
        }
      }
    }
  }
  if (far) hwy::FlushStream();
}

// The channels of windows of more taps are zeroed and stored one by one. (f32: 126 taps take 0.8 times as long as by
// vectors of all pixels, 0.65 on AVX2; 49 taps of 2048 channels 1.15 times, 1.6 on AVX2.)
constexpr int64_t kMostSpreadTaps = 64;

// Where columns [first, end) of a window's `rows` lines are from the first one's pixel on, by the tap numbers from
// `base` on; -1: not in these lines.
[[gnu::cold]] inline HWY_NOINLINE void FindOffsets(int64_t base, int64_t kernel, int64_t rows, int64_t first,
                                                   int64_t end, int64_t line_pitch, int64_t pitch, int64_t* offsets) {
  std::fill_n(offsets, 256, int64_t{-1});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = first; k < end; ++k) {
      const int64_t tap = base + r * kernel + k;
      if (tap < 256) offsets[tap] = r * line_pitch + (k - first) * pitch;
    }
  }
}

// ChannelsLastLines for such windows.
template <class I>
HWY_NOINLINE void LargeWindows(const Element<I>& element, const Axis& width, int64_t channels, const I* dy,
                               int64_t dy_pitch, const uint8_t* taps, int64_t taps_pitch, int64_t windows, int64_t base,
                               int64_t rows, I* lines, int64_t line_pitch, int64_t pitch) {
  int64_t offsets[256];
  int64_t offsets_first = -1, offsets_end = -1, done = 0;
  for (int64_t o = 0; o <= windows; ++o) {
    // The last one is what no window covers.
    const int64_t left = o < windows ? o * Step(width) - width.pad_before : width.input;
    const int64_t begin = HWY_MAX(left, int64_t{0}), end = HWY_MIN(left + width.kernel, width.input);
    const int64_t first = begin - left;
    if (o < windows && (first != offsets_first || end - left != offsets_end)) {
      offsets_first = first;
      offsets_end = end - left;
      FindOffsets(base, width.kernel, rows, first, offsets_end, line_pitch, pitch, offsets);
    }
    // So many channels at a time that their zeros are still in L1.
    const int64_t bytes = HWY_MAX(rows * (end - done) * static_cast<int64_t>(sizeof(I)), int64_t{1});
    const int64_t step = HWY_MAX(49152 / bytes, int64_t{128});
    for (int64_t c = 0, stop; c < channels; c = stop) {
      stop = HWY_MIN(c + step, channels);
      const bool dense = stop - c == pitch;  // pixels follow each other
      const int64_t runs = dense ? HWY_MIN(end - done, int64_t{1}) : end - done;
      const int64_t run = dense ? (end - done) * pitch : stop - c;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < runs; ++i) {
          std::memset(lines + r * line_pitch + (done + i) * pitch + c, 0, static_cast<size_t>(run) * sizeof(I));
        }
      }
      if (o == windows) continue;
      I* HWY_RESTRICT to = lines + begin * pitch;
      const I* HWY_RESTRICT from = dy + o * dy_pitch;
      const uint8_t* HWY_RESTRICT names = taps + o * taps_pitch;
      for (int64_t i = c; i < stop; ++i) {
        const int64_t offset = offsets[names[i]];
        if (HWY_LIKELY(offset >= 0)) to[offset + i] = element.One(from[i]);
      }
    }
    done = HWY_MAX(done, end);
  }
}

// Of a window of many pixels, `columns` of them in each of `rows` lines: four at a time. (All pixels of a vector are as
// many lines of a cache's few sets where pitches are powers of two: 7x7 over 2048 channels took 1.15 times as long, 1.5
// times on AVX2. Windows of 9 pixels or fewer take 1.2 times as long this way.)
template <class I>
HWY_NOINLINE void ManyPixels(const Element<I>& element, int64_t columns, int64_t rows, int64_t channels,
                             const I* HWY_RESTRICT from, const uint8_t* HWY_RESTRICT names, int base, int64_t kernel,
                             I* lines, int64_t line_pitch, int64_t pitch) {
  const hn::ScalableTag<I> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = rows * columns - 1;
  constexpr int64_t kOnes = 4096 / sizeof(I);
  HWY_ALIGN I ones[kOnes];
  for (int64_t first = 0, count; first < channels; first += count) {
    first = HWY_MIN(first, channels - n);
    count = HWY_MIN(channels - first, kOnes);
    for (int64_t c = 0; c < count; c += n) {
      c = HWY_MIN(c, count - n);
      hn::StoreU(element.One(d, hn::LoadU(d, from + first + c)), d, ones + c);
    }
    for (int64_t pixel = 0, r = 0, k = 0; pixel <= last; pixel += 4) {
      I* to[4];
      int tap[4];
      for (int64_t i = 0; i < 4; ++i) {
        to[i] = lines + r * line_pitch + k * pitch + first;
        tap[i] = base + static_cast<int>(r * kernel + k);
        if (pixel + i >= last) continue;  // the last one again
        if (++k == columns) k = 0, ++r;
      }
      I *const to0 = to[0], *const to1 = to[1], *const to2 = to[2], *const to3 = to[3];
      const auto tap0 = SetTap(d, tap[0]), tap1 = SetTap(d, tap[1]), tap2 = SetTap(d, tap[2]), tap3 = SetTap(d, tap[3]);
      for (int64_t c = 0; c < count; c += n) {
        c = HWY_MIN(c, count - n);
        const auto gradient = hn::LoadU(d, ones + c);
        const auto taps_here = LoadTaps(d, names + first + c);
        hn::StoreU(hn::IfThenElseZero(TapsEqual(d, taps_here, tap0), gradient), d, to0 + c);
        hn::StoreU(hn::IfThenElseZero(TapsEqual(d, taps_here, tap1), gradient), d, to1 + c);
        hn::StoreU(hn::IfThenElseZero(TapsEqual(d, taps_here, tap2), gradient), d, to2 + c);
        hn::StoreU(hn::IfThenElseZero(TapsEqual(d, taps_here, tap3), gradient), d, to3 + c);
      }
    }
  }
}

// Channels-last: `channels` elements of each pixel of `rows` input lines, which the windows of one line, or none,
// cover; `base` is the tap number of their first line's first column. Needs a vector of channels; does not accumulate.
// `far`: see GatherPlane.
template <class I>
HWY_NOINLINE void ChannelsLastLines(const Element<I>& all, const Axis& width, int64_t channels, const I* dy,
                                    int64_t dy_pitch, const uint8_t* taps, int64_t taps_pitch, int64_t windows,
                                    int64_t base, int64_t rows, I* lines, int64_t line_pitch, int64_t pitch, bool far) {
  if (rows * width.kernel > kMostSpreadTaps) {
    LargeWindows(all, width, channels, dy, dy_pitch, taps, taps_pitch, windows, base, rows, lines, line_pitch, pitch);
    return;
  }
  const hn::ScalableTag<I> d;
  const Element<I> element = all;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), step = Step(width);
  const int kernel = static_cast<int>(width.kernel);
  int64_t done = 0;
  const auto zero = [&](int64_t end) {
    for (; done < end; ++done) {
      for (int64_t r = 0; r < rows; ++r) {
        std::memset(lines + r * line_pitch + done * pitch, 0, static_cast<size_t>(channels) * sizeof(I));
      }
    }
  };
  for (int64_t o = 0; o < windows; ++o) {
    const int64_t left = o * step - width.pad_before;
    const int64_t begin = HWY_MAX(left, int64_t{0}), end = HWY_MIN(left + width.kernel, width.input);
    zero(HWY_MIN(begin, width.input));
    const I* HWY_RESTRICT from = dy + o * dy_pitch;
    const uint8_t* HWY_RESTRICT names = taps + o * taps_pitch;
    if (kernel == 2 && rows == 2 && end - begin == 2) {
      // Unrolled, 2x2 takes half the time.
      const int first = static_cast<int>(base);
      const auto tap0 = SetTap(d, first), tap1 = SetTap(d, first + 1), tap2 = SetTap(d, first + 2),
                 tap3 = SetTap(d, first + 3);
      I* HWY_RESTRICT top = lines + begin * pitch;
      I* HWY_RESTRICT bottom = top + line_pitch;
      const auto move = [&](auto store) HWY_ATTR {
        for (int64_t c = 0; c < channels; c += n) {
          c = HWY_MIN(c, channels - n);
          const auto gradient = element.One(d, hn::LoadU(d, from + c));
          const auto tap = LoadTaps(d, names + c);
          store(hn::IfThenElseZero(TapsEqual(d, tap, tap0), gradient), top + c);
          store(hn::IfThenElseZero(TapsEqual(d, tap, tap1), gradient), top + pitch + c);
          store(hn::IfThenElseZero(TapsEqual(d, tap, tap2), gradient), bottom + c);
          store(hn::IfThenElseZero(TapsEqual(d, tap, tap3), gradient), bottom + pitch + c);
        }
      };
      if (far) {
        move([&](hn::Vec<decltype(d)> v, I* to) HWY_ATTR { hn::Stream(v, d, to); });
      } else {
        move([&](hn::Vec<decltype(d)> v, I* to) HWY_ATTR { hn::StoreU(v, d, to); });
      }
      done = HWY_MAX(done, end);
      continue;
    }
    const int64_t columns = end - begin;
    if (rows * columns <= 9) {
      for (int64_t c = 0; c < channels; c += n) {
        c = HWY_MIN(c, channels - n);
        const auto gradient = element.One(d, hn::LoadU(d, from + c));
        const auto tap = LoadTaps(d, names + c);
        I* HWY_RESTRICT line = lines + begin * pitch + c;
        int first = static_cast<int>(base + begin - left);
        for (int64_t r = 0; r < rows; ++r, line += line_pitch, first += kernel) {
          I* HWY_RESTRICT to = line;
          for (int k = 0; k < static_cast<int>(columns); ++k, to += pitch) {
            hn::StoreU(hn::IfThenElseZero(TapIs(d, tap, first + k), gradient), d, to);
          }
        }
      }
      done = HWY_MAX(done, end);
      continue;
    }
    ManyPixels(element, columns, rows, channels, from, names, static_cast<int>(base + begin - left), kernel,
               lines + begin * pitch, line_pitch, pitch);
    done = HWY_MAX(done, end);
  }
  zero(width.input);
}

}  // namespace apart

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_GATHER_APART_INL_H_
