// SPDX-License-Identifier: Apache-2.0
// Every index kernel on every target this machine runs, against scalar twins: runs of 1 output to 4 vectors + 3,
// unmapped memory on either side, valid indices and garbage.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "hwy/targets.h"
#include "src/half.h"
#include "src/kernels/index_kernels.h"
#include "tests/guard.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

constexpr int64_t kMost = 4 * 16 + 3;  // of 32-bit lanes on the targets with the longest fixed vectors
constexpr int64_t kTable = kMost + kIndexLanes;

class IndexKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasVectors()) GTEST_SKIP() << "this machine runs no vector target of this build";
  }
  // Calls visit(kernels) for each target.
  template <class Visit>
  void ForEachTarget(Visit visit) {
    int targets = 0;
    for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
      const int64_t target = rest & -rest;
      const IndexKernels* kernels = IndexKernelsFor(target);
      if (kernels == nullptr || kernels->target != target) continue;
      SCOPED_TRACE(hwy::TargetName(target));
      ++targets;
      visit(*kernels);
    }
    EXPECT_GT(targets, 0);
  }
  uint32_t Draw(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  Random random_{31};
  GuardedBuffer in_, out_, also_;
};

// A call with its tables, and the twin.
struct Case {
  TranslateCall call;
  uint32_t from_base[kTable], to_base[kTable];
  int32_t most[3][kTable];

  // The index of some tap of output i, or of none in an empty window.
  uint64_t Tap(int64_t i, Random* random) const {
    uint64_t index = call.from_base[i] + call.from_add;
    for (int k = 0; k < call.digits; ++k) {
      const TranslateCall::Digit& digit = call.digit[k];
      const int32_t last = digit.most[digit.varies ? i : 0];
      if (last < 0) return UINT64_MAX;
      index += (*random)() % static_cast<uint64_t>(last + 1) * digit.step;
    }
    return uint64_t{call.from_high} << 32 | (index & UINT32_MAX);
  }
  bool Translate(int64_t i, uint64_t index, uint32_t* to) const {
    const uint64_t ones = call.from_bytes == 8 ? UINT64_MAX : (uint64_t{1} << (8 * call.from_bytes)) - 1;
    uint32_t rest = static_cast<uint32_t>(index) - (call.from_base[i] + call.from_add);
    bool valid = call.from_bytes < 8 || index >> 32 == call.from_high;
    *to = call.to_base[i] + call.to_add;
    for (int k = 0; k < call.digits; ++k) {
      const TranslateCall::Digit& digit = call.digit[k];
      const int32_t last = digit.most[digit.varies ? i : 0];
      if (last < 0) {
        *to = UINT32_MAX;
        return index == ones;
      }
      valid = valid && rest / digit.step <= static_cast<uint32_t>(last);
      *to += rest / digit.step * digit.to_step;
      rest %= digit.step;
    }
    valid = valid && rest == 0;
    if (!valid) *to = UINT32_MAX;
    return valid;
  }
};

TEST_F(IndexKernel, TranslatesWhatIsValidAndNothingElse) {
  ForEachTarget([&](const IndexKernels& kernels) {
    for (int round = 0; round < 4000 && !HasFailure(); ++round) {
      Case c = {};
      TranslateCall& call = c.call;
      call.from_bytes = 1 << round % 4;
      call.has_empty = Draw(4) == 0;
      call.digits = static_cast<int>(Draw(4));
      // Innermost last: each step holds the digits after it, with something to spare.
      const uint32_t sizes = call.from_bytes == 1 ? 5 : call.from_bytes == 2 ? 30 : Draw(2) != 0 ? 100 : 1000;
      uint64_t span = 1;
      uint32_t size[3];
      for (int k = call.digits - 1; k >= 0; --k) {
        size[k] = 1 + Draw(sizes);
        const bool last = k == call.digits - 1;
        const uint32_t step = static_cast<uint32_t>(last ? 1 + Draw(2) : span + Draw(2) * Draw(sizes));
        call.digit[k] = {step, static_cast<uint32_t>(random_()), 1.0f / static_cast<float>(step), Draw(2) != 0,
                         c.most[k]};
        span = uint64_t{size[k]} * step;
      }
      if (span > INT32_MAX) continue;
      call.limit = static_cast<uint32_t>(span);
      call.beyond = span >= 1 << 21;
      const uint64_t room = call.from_bytes == 1 ? 256 : call.from_bytes == 2 ? 65536 : UINT32_MAX;
      if (span >= room) continue;
      for (int64_t i = 0; i < kTable; ++i) {
        c.from_base[i] = Draw(static_cast<uint32_t>(room - span)) / 2;
        c.to_base[i] = static_cast<uint32_t>(random_());
        for (int k = 0; k < call.digits; ++k) {
          c.most[k][i] = static_cast<int32_t>(Draw(size[k]));
          if (call.has_empty && Draw(5) == 0) c.most[k][i] = -1;
        }
      }
      call.from_base = c.from_base;
      call.from_add = Draw(static_cast<uint32_t>(room - span)) / 2;
      call.to_base = c.to_base;
      call.to_add = static_cast<uint32_t>(random_());
      call.from_high = call.from_bytes == 8 ? Draw(3) : 0;

      const int64_t count = 1 + round % kMost;
      const size_t bytes = static_cast<size_t>(call.from_bytes);
      const bool garbage = Draw(2) != 0;
      Bytes indices(static_cast<size_t>(count) * bytes);
      std::vector<uint32_t> expected(static_cast<size_t>(count));
      bool valid = true;
      for (int64_t i = 0; i < count; ++i) {
        uint64_t index = c.Tap(i, &random_);
        if (garbage && Draw(4) == 0) index = Draw(2) != 0 ? random_() : index + Draw(3) - 1;
        std::memcpy(indices.data() + static_cast<size_t>(i) * bytes, &index, bytes);
        uint64_t stored = 0;
        std::memcpy(&stored, &index, bytes);
        valid = c.Translate(i, stored, &expected[static_cast<size_t>(i)]) && valid;
      }
      for (Side side : kSides) {
        const uint8_t* from = in_.Copy(indices.data(), indices.size(), side);
        uint32_t* to = reinterpret_cast<uint32_t*>(out_.Place(static_cast<size_t>(count) * sizeof(uint32_t), side));
        EXPECT_EQ(kernels.translate(call, from, count, to), valid) << "round " << round;
        EXPECT_EQ(std::vector<uint32_t>(to, to + count), expected) << "round " << round;
      }
    }
  });
}

TEST_F(IndexKernel, NarrowsToEveryWidth) {
  ForEachTarget([&](const IndexKernels& kernels) {
    for (int64_t count = 1; count <= kMost; ++count) {
      std::vector<uint32_t> numbers(static_cast<size_t>(count));
      for (uint32_t& number : numbers)
        number = Draw(4) == 0 ? UINT32_MAX : static_cast<uint32_t>(random_() >> Draw(40));
      const size_t from_bytes = numbers.size() * sizeof(uint32_t);
      for (int bytes : {1, 2, 4, 8}) {
        Bytes expected;
        for (uint32_t number : numbers) {
          const uint64_t wide = number == UINT32_MAX ? UINT64_MAX : uint64_t{5} << 32 | number;
          const uint8_t* first = reinterpret_cast<const uint8_t*>(&wide);
          expected.insert(expected.end(), first, first + bytes);
        }
        for (Side side : kSides) {
          const void* from = in_.Copy(numbers.data(), from_bytes, side);
          uint8_t* to = out_.Place(expected.size(), side);
          kernels.narrow(static_cast<const uint32_t*>(from), count, bytes, 5, to);
          ASSERT_EQ(Bytes(to, to + expected.size()), expected) << count << " of " << bytes << " bytes";
        }
      }
    }
  });
}

TEST_F(IndexKernel, ValidatesTapsByTheirBits) {
  ForEachTarget([&](const IndexKernels& kernels) {
    alignas(16) uint8_t bits[32];
    for (int round = 0; round < 3000; ++round) {
      const uint32_t end = 1 + Draw(32);
      for (uint8_t& bit : bits) bit = static_cast<uint8_t>(1u << Draw(7) | 1u << Draw(7));
      const size_t count = 1 + Draw(4 * 64 + 3);
      const uint8_t also = static_cast<uint8_t>(Draw(4) != 0 ? 0xFF : 0xFF ^ 1u << Draw(8));
      Bytes taps(count), allowed(count);
      for (size_t i = 0; i < count; ++i) {
        taps[i] = static_cast<uint8_t>(Draw(end));
        allowed[i] = static_cast<uint8_t>(bits[taps[i]] | random_());
      }
      bool valid = true;
      if (Draw(2) != 0) taps[Draw(static_cast<uint32_t>(count))] = static_cast<uint8_t>(random_());
      for (size_t i = 0; i < count; ++i) {
        valid = valid && taps[i] < end && (bits[taps[i] & 31] & ~(allowed[i] & also)) == 0;
      }
      for (Side side : kSides) {
        const uint8_t* from = in_.Copy(taps.data(), count, side);
        const uint8_t* may = also_.Copy(allowed.data(), count, side);
        ASSERT_EQ(kernels.validate_taps(from, static_cast<int64_t>(count), may, also, bits, end), valid) << count;
      }
    }
  });
}

template <class T, class Sum>
void CheckSums(const IndexKernels& kernels, int32_t type, const std::vector<Sum>& sums) {
  GuardedBuffer in, out;
  std::vector<T> expected(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    if constexpr (std::is_floating_point<T>::value) {
      expected[i] = std::isnan(sums[i]) ? std::numeric_limits<T>::quiet_NaN() : sums[i];
    } else {
      Round(sums[i], &expected[i]);
    }
  }
  for (size_t count = 1; count <= sums.size(); count = count < kMost ? count + 1 : count * 2) {
    const void* from = in.Copy(sums.data(), count * sizeof(Sum));
    uint8_t* to = out.Place(count * sizeof(T));
    kernels.store_sums[type](from, static_cast<int64_t>(count), to);
    ASSERT_EQ(std::memcmp(to, expected.data(), count * sizeof(T)), 0) << count;
    // Back again.
    std::vector<Sum> wide(count);
    for (size_t i = 0; i < count; ++i) wide[i] = ToFloat(expected[i]);
    const uint8_t* narrow = in.Copy(expected.data(), count * sizeof(T));
    uint8_t* back = out.Place(count * sizeof(Sum));
    kernels.load_sums[type](narrow, static_cast<int64_t>(count), back);
    ASSERT_EQ(std::memcmp(back, wide.data(), count * sizeof(Sum)), 0) << count;
  }
}

template <class T>
void CheckFinite(const IndexKernels& kernels, int32_t type) {
  GuardedBuffer in;
  for (size_t count = 1; count <= kMost; ++count) {
    std::vector<T> values(count, std::numeric_limits<T>::max());
    EXPECT_TRUE(kernels.all_finite[type](in.Copy(values.data(), count * sizeof(T)), static_cast<int64_t>(count)));
    for (size_t i = 0; i < count; ++i) {
      const T of[] = {std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::infinity()};
      values[i] = of[i % 2];
      EXPECT_FALSE(kernels.all_finite[type](in.Copy(values.data(), count * sizeof(T)), static_cast<int64_t>(count)));
      values[i] = T{1};
    }
  }
}

TEST_F(IndexKernel, FindsWhatIsNotFinite) {
  ForEachTarget([&](const IndexKernels& kernels) {
    CheckFinite<float>(kernels, PEAKPOOL_F32);
    CheckFinite<double>(kernels, PEAKPOOL_F64);
  });
}

TEST_F(IndexKernel, SumsRoundToNearestEvenAndNaNsAreCanonical) {
  std::vector<float> sums(1 << 16);
  std::vector<double> doubles(1 << 12);
  for (size_t i = 0; i < sums.size(); ++i) {
    uint32_t bits = static_cast<uint32_t>(random_());
    if (i % 4 == 0) bits = (bits & 0x80007FFF) | 0x38000000 | (bits & 0x0F800000);  // about ties of f16
    std::memcpy(&sums[i], &bits, sizeof(bits));
  }
  for (double& sum : doubles) {
    const uint64_t bits = Draw(8) == 0 ? random_() | 0x7FF0000000000000 : random_();
    std::memcpy(&sum, &bits, sizeof(bits));
  }
  ForEachTarget([&](const IndexKernels& kernels) {
    CheckSums<float>(kernels, PEAKPOOL_F32, sums);
    CheckSums<double>(kernels, PEAKPOOL_F64, doubles);
    CheckSums<F16>(kernels, PEAKPOOL_F16, sums);
    CheckSums<BF16>(kernels, PEAKPOOL_BF16, sums);
  });
}

}  // namespace
}  // namespace peakpool::tests
