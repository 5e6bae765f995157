// SPDX-License-Identifier: Apache-2.0
#include "bench/speed_of_light.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/speed_of_light.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef PEAKPOOL_BENCH_SPEED_OF_LIGHT_ONCE
#define PEAKPOOL_BENCH_SPEED_OF_LIGHT_ONCE
namespace peakpool_bench {

struct TargetLoops {
  int64_t target;
  std::vector<StreamLoop> loops;
};

// Each target's copy of this file adds itself before main() starts.
inline std::vector<TargetLoops>& AllLoops() {
  static std::vector<TargetLoops> all;
  return all;
}

}  // namespace peakpool_bench
#endif

HWY_BEFORE_NAMESPACE();
namespace peakpool_bench {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<uint32_t>;
using V = hn::Vec<D>;

// An OR per load is the cheapest use of a loaded vector. Eight accumulators: two loads per cycle are reached with four.
template <size_t kAhead>
HWY_INLINE void Read(D d, const uint32_t* HWY_RESTRICT from, size_t n, V& a0, V& a1, V& a2, V& a3, V& a4, V& a5, V& a6,
                     V& a7) {
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 8 <= n; i += 8, from += 8 * lanes) {
    if (kAhead != 0) {
      for (size_t line = 0; line < 8 * lanes; line += 16) hwy::Prefetch(from + kAhead / 4 + line);
    }
    a0 = hn::Or(a0, hn::Load(d, from));
    a1 = hn::Or(a1, hn::Load(d, from + lanes));
    a2 = hn::Or(a2, hn::Load(d, from + 2 * lanes));
    a3 = hn::Or(a3, hn::Load(d, from + 3 * lanes));
    a4 = hn::Or(a4, hn::Load(d, from + 4 * lanes));
    a5 = hn::Or(a5, hn::Load(d, from + 5 * lanes));
    a6 = hn::Or(a6, hn::Load(d, from + 6 * lanes));
    a7 = hn::Or(a7, hn::Load(d, from + 7 * lanes));
  }
  for (; i < n; ++i, from += lanes) a0 = hn::Or(a0, hn::Load(d, from));
}

template <bool kNonTemporal>
HWY_INLINE void Put(D d, V v, uint32_t* HWY_RESTRICT to) {
  if (kNonTemporal) {
    hn::Stream(v, d, to);
  } else {
    hn::Store(v, d, to);
  }
}

template <bool kNonTemporal>
HWY_INLINE void Write(D d, uint32_t* HWY_RESTRICT to, size_t n, V a0, V a1, V a2, V a3) {
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 <= n; i += 4, to += 4 * lanes) {
    Put<kNonTemporal>(d, a0, to);
    Put<kNonTemporal>(d, a1, to + lanes);
    Put<kNonTemporal>(d, a2, to + 2 * lanes);
    Put<kNonTemporal>(d, a3, to + 3 * lanes);
  }
  for (; i < n; ++i, to += lanes) Put<kNonTemporal>(d, a0, to);
}

// In turns of kChunk vectors of the longest stream: first the inputs' share, then the outputs'.
template <size_t kChunk, bool kNonTemporal, size_t kAhead>
void Loop(const Streams& s) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const size_t size = lanes * sizeof(uint32_t);
  const size_t r0 = (s.in_bytes[0] + size - 1) / size, r1 = (s.in_bytes[1] + size - 1) / size;
  const size_t w0 = (s.out_bytes[0] + size - 1) / size, w1 = (s.out_bytes[1] + size - 1) / size;
  const size_t steps = std::max(std::max(r0, r1), std::max(w0, w1)) / kChunk;
  const size_t r0s = steps ? r0 / steps : 0, r1s = steps ? r1 / steps : 0;
  const size_t w0s = steps ? w0 / steps : 0, w1s = steps ? w1 / steps : 0;
  const uint32_t* HWY_RESTRICT in0 = reinterpret_cast<const uint32_t*>(s.in[0]);
  const uint32_t* HWY_RESTRICT in1 = reinterpret_cast<const uint32_t*>(s.in[1]);
  uint32_t* HWY_RESTRICT out0 = reinterpret_cast<uint32_t*>(s.out[0]);
  uint32_t* HWY_RESTRICT out1 = reinterpret_cast<uint32_t*>(s.out[1]);
  // Not zero: Zen 5 writes lines of zeros with non-temporal stores at 90 GB/s, any others at 44.
  V a0 = hn::Set(d, 0x3F800001), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
  for (size_t step = 0; step < steps; ++step) {
    Read<kAhead>(d, in0, r0s, a0, a1, a2, a3, a4, a5, a6, a7);
    if (r1s != 0) Read<0>(d, in1, r1s, a0, a1, a2, a3, a4, a5, a6, a7);
    Write<kNonTemporal>(d, out0, w0s, a0, a1, a2, a3);
    if (w1s != 0) Write<kNonTemporal>(d, out1, w1s, a4, a5, a6, a7);
    in0 += r0s * lanes;
    in1 += r1s * lanes;
    out0 += w0s * lanes;
    out1 += w1s * lanes;
  }
  Read<0>(d, in0, r0 - steps * r0s, a0, a1, a2, a3, a4, a5, a6, a7);
  Read<0>(d, in1, r1 - steps * r1s, a0, a1, a2, a3, a4, a5, a6, a7);
  a0 = hn::Or(hn::Or(hn::Or(a0, a1), hn::Or(a2, a3)), hn::Or(hn::Or(a4, a5), hn::Or(a6, a7)));
  Write<kNonTemporal>(d, out0, w0 - steps * w0s, a0, a0, a0, a0);
  Write<kNonTemporal>(d, out1, w1 - steps * w1s, a0, a0, a0, a0);
  // Every load is used, so that none is optimised away.
  if (w0 != 0) hn::Store(a0, d, reinterpret_cast<uint32_t*>(s.out[0]) + (w0 - 1) * lanes);
  if (kNonTemporal) hwy::FlushStream();
}

const bool kAdded = [] {
  AllLoops().push_back({HWY_TARGET,
                        {{"16", Loop<16, false, 0>},
                         {"64", Loop<64, false, 0>},
                         {"256", Loop<256, false, 0>},
                         {"64p", Loop<64, false, 4096>},
                         {"16nt", Loop<16, true, 0>},
                         {"64nt", Loop<64, true, 0>},
                         {"64ntp", Loop<64, true, 4096>}}});
  return true;
}();

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace peakpool_bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace peakpool_bench {

std::vector<StreamLoop> StreamLoops(const char* target) {
  const TargetLoops* best = nullptr;
  for (const TargetLoops& candidate : AllLoops()) {
    if ((candidate.target & hwy::SupportedTargets()) == 0) continue;
    if (target != nullptr && std::strcmp(target, hwy::TargetName(candidate.target)) != 0) continue;
    // Highway numbers its targets so that a better one has a lower bit.
    if (best == nullptr || candidate.target < best->target) best = &candidate;
  }
  return best == nullptr ? std::vector<StreamLoop>() : best->loops;
}

Streams Part(const Streams& streams, size_t i, size_t n) {
  const auto cut = [n](size_t bytes, size_t part) {
    return part == n ? bytes : bytes * part / n / kStreamAlignment * kStreamAlignment;
  };
  Streams part = streams;
  for (int k = 0; k < 2; ++k) {
    part.in[k] += cut(streams.in_bytes[k], i);
    part.in_bytes[k] = cut(streams.in_bytes[k], i + 1) - cut(streams.in_bytes[k], i);
    part.out[k] += cut(streams.out_bytes[k], i);
    part.out_bytes[k] = cut(streams.out_bytes[k], i + 1) - cut(streams.out_bytes[k], i);
  }
  return part;
}

}  // namespace peakpool_bench
#endif  // HWY_ONCE
