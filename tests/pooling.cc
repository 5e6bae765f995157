// SPDX-License-Identifier: Apache-2.0
#include "tests/pooling.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>

#include "tests/guard.h"
#include "tests/naive.h"

namespace peakpool::tests {
namespace {

size_t Extent(const peakpool_problem& p, const int64_t* spatial, const peakpool_strides& strides) {
  if (p.batch == 0 || p.channels == 0) return 0;
  int64_t extent = 1 + (p.batch - 1) * strides.batch + (p.channels - 1) * strides.channel;
  for (int a = 0; a < p.rank; ++a) extent += (spatial[a] - 1) * strides.spatial[a];
  return static_cast<size_t>(extent);
}

template <class T>
void Put(Bytes* bytes, size_t i, T value) {
  std::memcpy(bytes->data() + i * sizeof(T), &value, sizeof(T));
}

template <class T>
T Special(uint64_t bits, bool nan) {
  using Limits = std::numeric_limits<T>;
  if constexpr (Limits::has_infinity) {
    switch (bits % (nan ? 6 : 4)) {
      case 0: return T{0};
      case 1: return -T{0};
      case 2: return Limits::infinity();
      case 3: return -Limits::infinity();
      case 4: return Limits::quiet_NaN();
      default: return -Limits::quiet_NaN();
    }
  } else {
    return bits % 2 == 0 ? Limits::min() : Limits::max();
  }
}

// One draw in eight is special; the rest are -2 to 2 in steps of a half (integers: 0 to 8).
template <class T>
T Tie(bool nan, Random* random) {
  const uint64_t bits = (*random)();
  if (bits % 8 == 0) return Special<T>(bits >> 8, nan);
  const int step = static_cast<int>((bits >> 8) % 9);
  return std::is_floating_point<T>::value ? static_cast<T>((step - 4) * 0.5) : static_cast<T>(step);
}

template <class T>
void FillTies(Bytes* bytes, bool nan, Random* random) {
  for (size_t i = 0; i < bytes->size() / sizeof(T); ++i) Put(bytes, i, Tie<T>(nan, random));
}

void FillHalfTies(int32_t type, Bytes* bytes, bool nan, Random* random) {
  for (size_t i = 0; i < bytes->size() / 2; ++i) {
    const double value = Tie<double>(nan, random);
    uint16_t bits = ToHalf(type, value);
    // Payloads and the sign of NaN must not matter.
    if (value != value) bits = static_cast<uint16_t>(bits | ((*random)() & 0x8001));
    Put(bytes, i, bits);
  }
}

GuardedBuffer* Slot(int i) {
  static GuardedBuffer slots[3];
  return &slots[i];
}

Bytes Taken(const uint8_t* data, size_t bytes) { return bytes == 0 ? Bytes() : Bytes(data, data + bytes); }

// Calls run(inputs, output) with guarded copies, at both edges on alternating calls. The output is copied back.
template <class Run>
peakpool_status OnGuardedCopies(std::initializer_list<const Bytes*> inputs, Bytes* output, Run run) {
  static Side side = Side::kStart;
  side = side == Side::kEnd ? Side::kStart : Side::kEnd;
  const uint8_t* in[2] = {};
  int count = 0;
  for (const Bytes* bytes : inputs) {
    in[count] = Slot(count)->Copy(bytes->data(), bytes->size(), side);
    ++count;
  }
  uint8_t* out = Slot(2)->Copy(output->data(), output->size(), side);
  const peakpool_status status = run(in, out);
  *output = Taken(out, output->size());
  for (int i = 0; i < count; ++i) {
    const Bytes& before = **(inputs.begin() + i);
    EXPECT_TRUE(before.empty() || std::memcmp(in[i], before.data(), before.size()) == 0) << "an input was changed";
  }
  return status;
}

void Expect(peakpool_status status, const Plan& plan) {
  EXPECT_EQ(status, PEAKPOOL_OK) << peakpool_last_error() << "; " << Described(plan.problem());
}

}  // namespace

peakpool_problem Parsed(const std::string& text) {
  peakpool_problem problem;
  const peakpool_status status = peakpool_parse(text.c_str(), &problem);
  EXPECT_EQ(status, PEAKPOOL_OK) << text << ": " << peakpool_last_error();
  return problem;
}

std::string Described(const peakpool_problem& problem) {
  char text[512];
  const size_t length = peakpool_describe(&problem, text, sizeof(text));
  EXPECT_GT(length, 0u);
  EXPECT_LT(length, sizeof(text));
  return text;
}

Plan::Plan(const peakpool_problem& problem) {
  status_ = peakpool_plan_create(&problem, &plan_);
  if (status_ != PEAKPOOL_OK) error_ = peakpool_last_error();
}

size_t InputBytes(const peakpool_problem& p) { return Extent(p, p.input, p.input_strides) * ElementBytes(p.type); }
size_t OutputBytes(const peakpool_problem& p) { return Extent(p, p.output, p.output_strides) * ElementBytes(p.type); }
size_t IndexTensorBytes(const peakpool_problem& p) {
  return Extent(p, p.output, p.output_strides) * IndexBytes(p.index_format);
}

Bytes RandomElements(int32_t type, size_t bytes, Fill fill, Random* random) {
  Bytes result(bytes);
  if (fill == Fill::kBits) {
    for (uint8_t& byte : result) byte = static_cast<uint8_t>((*random)());
    return result;
  }
  const bool nan = fill == Fill::kTies;
  switch (type) {
    case PEAKPOOL_F32: FillTies<float>(&result, nan, random); break;
    case PEAKPOOL_F64: FillTies<double>(&result, nan, random); break;
    case PEAKPOOL_F16:
    case PEAKPOOL_BF16: FillHalfTies(type, &result, nan, random); break;
    case PEAKPOOL_I8: FillTies<int8_t>(&result, nan, random); break;
    case PEAKPOOL_U8: FillTies<uint8_t>(&result, nan, random); break;
    case PEAKPOOL_I16: FillTies<int16_t>(&result, nan, random); break;
    case PEAKPOOL_U16: FillTies<uint16_t>(&result, nan, random); break;
    case PEAKPOOL_I32: FillTies<int32_t>(&result, nan, random); break;
    case PEAKPOOL_U32: FillTies<uint32_t>(&result, nan, random); break;
    case PEAKPOOL_I64: FillTies<int64_t>(&result, nan, random); break;
    default: FillTies<uint64_t>(&result, nan, random); break;
  }
  return result;
}

Bytes LowestElements(int32_t type, size_t bytes) {
  const size_t size = ElementBytes(type);
  uint64_t bits = 0;
  switch (type) {
    case PEAKPOOL_F32: bits = 0xFF800000; break;
    case PEAKPOOL_F64: bits = 0xFFF0000000000000; break;
    case PEAKPOOL_F16: bits = 0xFC00; break;
    case PEAKPOOL_BF16: bits = 0xFF80; break;
    case PEAKPOOL_I8:
    case PEAKPOOL_I16:
    case PEAKPOOL_I32:
    case PEAKPOOL_I64: bits = uint64_t{1} << (8 * size - 1); break;
    default: break;
  }
  Bytes result(bytes);
  for (size_t i = 0; i < bytes; ++i) result[i] = static_cast<uint8_t>(bits >> (i % size * 8));
  return result;
}

Bytes RandomGradients(int32_t type, size_t bytes, Random* random, bool specials) {
  Bytes result(bytes);
  specials = specials && (*random)() % 2 == 0;
  const auto draw = [&] {  // magnitudes over four decades: every rounding differs
    if (specials && (*random)() % 128 == 0) return Special<double>((*random)(), true);
    const double mantissa = static_cast<double>((*random)() >> 11) * 0x1p-52 - 1.0;
    return mantissa * std::ldexp(1.0, static_cast<int>((*random)() % 14) - 7);
  };
  switch (type) {
    case PEAKPOOL_F32:
      for (size_t i = 0; i < bytes / 4; ++i) Put(&result, i, static_cast<float>(draw()));
      break;
    case PEAKPOOL_F64:
      for (size_t i = 0; i < bytes / 8; ++i) Put(&result, i, draw());
      break;
    default:
      for (size_t i = 0; i < bytes / 2; ++i) Put(&result, i, ToHalf(type, draw()));
      break;
  }
  return result;
}

#ifdef PEAKPOOL_TESTS_ASAN
void NoteRunning(const char*, const peakpool_problem&) {}  // the sanitizer reports by itself
#else
void NoteRunning(const char* what, const peakpool_problem& problem) {
  static const char* running_what;
  static peakpool_problem running_problem;
  static const bool installed = [] {
    std::signal(SIGSEGV, [](int signal) {
      // Not async-signal-safe, but the process is lost anyway.
      std::fprintf(stderr, "touched memory outside the tensors: %s; %s\n", running_what,
                   Described(running_problem).c_str());
      std::signal(signal, SIG_DFL);
      std::raise(signal);
    });
    return true;
  }();
  static_cast<void>(installed);
  running_what = what;
  running_problem = problem;
}
#endif

Bytes Untouched(size_t bytes) {
  Bytes result(bytes);
  for (size_t i = 0; i < bytes; ++i) result[i] = static_cast<uint8_t>(0x35 + i % 13);
  return result;
}

Forward RunForward(const Plan& plan, const Bytes& x, bool with_index, const peakpool_executor* executor) {
  const peakpool_problem& p = plan.problem();
  const Bytes y_before = Untouched(OutputBytes(p));
  const Bytes index_before = Untouched(with_index ? IndexTensorBytes(p) : 0);
  // Both edges of every tensor, on alternating calls.
  static Side side = Side::kStart;
  side = side == Side::kEnd ? Side::kStart : Side::kEnd;
  const uint8_t* input = Slot(0)->Copy(x.data(), x.size(), side);
  uint8_t* y = Slot(1)->Copy(y_before.data(), y_before.size(), side);
  uint8_t* index = with_index ? Slot(2)->Copy(index_before.data(), index_before.size(), side) : nullptr;
  NoteRunning(with_index ? "forward with index" : "forward", p);
  Expect(peakpool_forward(plan.get(), input, y, index, executor), plan);
  EXPECT_TRUE(x.empty() || std::memcmp(input, x.data(), x.size()) == 0) << "the input was changed";
  return {Taken(y, y_before.size()), Taken(index, index_before.size())};
}

Forward RunNaiveForward(const peakpool_problem& p, const Bytes& x) {
  Forward result = {Untouched(OutputBytes(p)), Untouched(IndexTensorBytes(p))};
  NaiveForward(p, x.data(), result.y.data(), p.index_format == PEAKPOOL_INDEX_NONE ? nullptr : result.index.data());
  return result;
}

Bytes RunBackward(const Plan& plan, const Bytes& dy, const Bytes& index, const Bytes& dx_before,
                  const peakpool_executor* executor) {
  Bytes dx = dx_before;
  Expect(TryBackward(plan, dy, index, &dx, executor), plan);
  return dx;
}

Bytes RunNaiveBackward(const peakpool_problem& p, const Bytes& dy, const Bytes& index, const Bytes& dx) {
  Bytes result = dx;
  NaiveBackward(p, dy.data(), index.data(), result.data());
  return result;
}

peakpool_status TryBackward(const Plan& plan, const Bytes& dy, const Bytes& index, Bytes* dx,
                            const peakpool_executor* executor) {
  NoteRunning("backward", plan.problem());
  return OnGuardedCopies({&dy, &index}, dx, [&](const uint8_t* const* in, uint8_t* out) {
    return peakpool_backward(plan.get(), in[0], in[1], out, executor);
  });
}

peakpool_status TryUnpool(const Plan& plan, const Bytes& y, const Bytes& index, Bytes* x,
                          const peakpool_executor* executor) {
  NoteRunning("unpool", plan.problem());
  return OnGuardedCopies({&y, &index}, x, [&](const uint8_t* const* in, uint8_t* out) {
    return peakpool_unpool(plan.get(), in[0], in[1], out, executor);
  });
}

peakpool_status TryConvert(const Plan& plan, int32_t from_format, const Bytes& from, int32_t to_format, Bytes* to,
                           const peakpool_executor* executor) {
  NoteRunning("convert_indices", plan.problem());
  return OnGuardedCopies({&from}, to, [&](const uint8_t* const* in, uint8_t* out) {
    return peakpool_convert_indices(plan.get(), from_format, in[0], to_format, out, executor);
  });
}

Bytes RandomIndices(const peakpool_problem& p, const Bytes& good, Garbage garbage, Random* random) {
  const size_t bytes = IndexBytes(p.index_format), count = IndexTensorBytes(p) / bytes;
  Bytes result = garbage == Garbage::kOneBad ? good : Bytes(count * bytes);
  uint64_t taps = 1, positions = 1;
  for (int a = 0; a < p.rank; ++a) {
    taps *= static_cast<uint64_t>(p.kernel[a]);
    positions *= static_cast<uint64_t>(p.input[a]);
  }
  if (p.index_format >= PEAKPOOL_INDEX_TENSOR_I64) positions *= static_cast<uint64_t>(p.batch * p.channels);
  const uint64_t range = (p.index_format <= PEAKPOOL_INDEX_WINDOW_U32 ? taps : positions) + 4;
  const auto put = [&](size_t at, uint64_t value) { std::memcpy(result.data() + at * bytes, &value, bytes); };
  switch (garbage) {
    case Garbage::kBytes:
      for (uint8_t& byte : result) byte = static_cast<uint8_t>((*random)());
      break;
    case Garbage::kSmall:
      for (size_t i = 0; i < count; ++i) put(i, (*random)() % range - 2);
      break;
    case Garbage::kOneBad:
      if (count != 0) put((*random)() % count, (*random)() % range - 2);
      break;
  }
  return result;
}

::testing::AssertionResult SameBytes(const Bytes& actual, const Bytes& expected, size_t element_bytes) {
  if (actual == expected) return ::testing::AssertionSuccess();
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " bytes, expected " << expected.size();
  }
  const auto hex = [&](const Bytes& bytes, size_t element) {
    std::string text = "0x";
    for (size_t b = element_bytes; b-- > 0;) {
      char digits[3];
      std::snprintf(digits, sizeof(digits), "%02x", bytes[element * element_bytes + b]);
      text += digits;
    }
    return text;
  };
  size_t differing = 0, first = 0;
  for (size_t i = 0; i < actual.size() / element_bytes; ++i) {
    const size_t at = i * element_bytes;
    if (std::memcmp(actual.data() + at, expected.data() + at, element_bytes) == 0) continue;
    if (differing++ == 0) first = i;
  }
  return ::testing::AssertionFailure() << differing << " of " << actual.size() / element_bytes
                                       << " elements differ, first at offset " << first << ": " << hex(actual, first)
                                       << ", expected " << hex(expected, first);
}

std::vector<peakpool_problem> InEveryFormat(peakpool_problem problem) {
  std::vector<peakpool_problem> problems;
  for (int32_t format = PEAKPOOL_INDEX_WINDOW_U8; format < kIndexFormats; ++format) {
    problem.index_format = format;
    const Plan plan(problem);
    if (plan || plan.error().find("index_format") == std::string::npos) problems.push_back(problem);
  }
  return problems;
}

peakpool_executor ReverseExecutor(int threads) {
  return {sizeof(peakpool_executor),
          [](void*, int64_t count, void (*task)(void*, int64_t), void* context) {
            for (int64_t i = count; i-- > 0;) task(context, i);
          },
          nullptr, threads};
}

peakpool_executor ShuffledExecutor(int threads) {
  return {sizeof(peakpool_executor),
          [](void*, int64_t count, void (*task)(void*, int64_t), void* context) {
            std::vector<int64_t> order(static_cast<size_t>(count));
            std::iota(order.begin(), order.end(), int64_t{0});
            static Random random(7);
            std::shuffle(order.begin(), order.end(), random);
            for (int64_t i : order) task(context, i);
          },
          nullptr, threads};
}

peakpool_executor ThreadExecutor(int threads) {
  static const int kThreads[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};  // addresses to hand through as context
  return {sizeof(peakpool_executor),
          [](void* threads_context, int64_t count, void (*task)(void*, int64_t), void* context) {
            std::atomic<int64_t> next{0};
            std::vector<std::thread> workers;
            for (int t = 0; t < *static_cast<const int*>(threads_context); ++t) {
              workers.emplace_back([&] {
                for (int64_t i; (i = next.fetch_add(1)) < count;) task(context, i);
              });
            }
            for (std::thread& worker : workers) worker.join();
          },
          const_cast<int*>(&kThreads[threads]), threads};
}

std::vector<NamedExecutor> Executors() {
  return {{"default", {}, true},
          {"reverse, 2 threads", ReverseExecutor(2)},
          {"reverse, 7 threads", ReverseExecutor(7)},
          {"shuffled, 3 threads", ShuffledExecutor(3)},
          {"shuffled, 64 threads", ShuffledExecutor(64)},
          {"std::thread, 2 threads", ThreadExecutor(2)},
          {"std::thread, 5 threads", ThreadExecutor(5)}};
}

}  // namespace peakpool::tests
