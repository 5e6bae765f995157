// SPDX-License-Identifier: Apache-2.0
#include "bench/task.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tools/sizes.h"

namespace peakpool_bench {
namespace {

using peakpool::tools::ElementBytes;
using peakpool::tools::IndexBytes;

constexpr size_t kPage = 4096;

uint16_t HalfFromFloat(float value) {  // normal halves and zero only
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude < 0x38800000) return 0;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (magnitude - 0x38000000) >> 13);
}

double FloatFromHalf(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

template <class T>
double At(const void* data, size_t i) {
  return static_cast<double>(static_cast<const T*>(data)[i]);
}

double Value(int32_t type, const void* data, size_t i) {
  switch (type) {
    case PEAKPOOL_F32: return At<float>(data, i);
    case PEAKPOOL_F64: return At<double>(data, i);
    case PEAKPOOL_F16: return FloatFromHalf(static_cast<const uint16_t*>(data)[i]);
    case PEAKPOOL_BF16: {
      const uint32_t bits = uint32_t{static_cast<const uint16_t*>(data)[i]} << 16;
      float value;
      std::memcpy(&value, &bits, 4);
      return value;
    }
    case PEAKPOOL_I8: return At<int8_t>(data, i);
    case PEAKPOOL_U8: return At<uint8_t>(data, i);
    case PEAKPOOL_I16: return At<int16_t>(data, i);
    case PEAKPOOL_U16: return At<uint16_t>(data, i);
    case PEAKPOOL_I32: return At<int32_t>(data, i);
    case PEAKPOOL_U32: return At<uint32_t>(data, i);
    case PEAKPOOL_I64: return At<int64_t>(data, i);
    default: return At<uint64_t>(data, i);
  }
}

class Random {
 public:
  uint64_t Next() {  // xorshift64
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  uint64_t state_ = 88172645463325252;
};

void StoreFloat(int32_t type, float value, void* data, size_t i) {
  switch (type) {
    case PEAKPOOL_F32: static_cast<float*>(data)[i] = value; break;
    case PEAKPOOL_F64: static_cast<double*>(data)[i] = value; break;
    case PEAKPOOL_F16: static_cast<uint16_t*>(data)[i] = HalfFromFloat(value); break;
    default: {
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(bits >> 16);
    }
  }
}

void Fill(int32_t type, size_t n, bool small_integers, void* data) {
  Random random;
  if (type > PEAKPOOL_BF16) {
    for (size_t i = 0; i < n * ElementBytes(type); ++i)
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(random.Next());
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    const int64_t draw = static_cast<int64_t>(random.Next() >> 40);  // 24 bits
    StoreFloat(type,
               small_integers ? static_cast<float>(draw % 17 - 8) : static_cast<float>(draw - (1 << 23)) / (1 << 23),
               data, i);
  }
}

}  // namespace

const char* TypeName(int32_t type) {
  static const char* const kNames[] = {"f32", "f64", "f16", "bf16", "i8",  "u8",
                                       "i16", "u16", "i32", "u32",  "i64", "u64"};
  return kNames[type];
}

const char* ModeName(Mode mode) {
  return mode == Mode::kForward ? "forward" : mode == Mode::kForwardIndices ? "forward+indices" : "backward";
}

Buffer::Buffer(size_t bytes, size_t offset) : offset_(offset) {
  const size_t size = (bytes + offset + kStreamAlignment + kPage - 1) / kPage * kPage;
  storage_.reset(static_cast<uint8_t*>(std::aligned_alloc(kPage, size)));
  if (storage_) std::memset(storage_.get(), 1, size);
}

void Buffer::Free::operator()(uint8_t* storage) const { std::free(storage); }

bool Task::Prepare(peakpool_problem problem, Mode mode, int threads, std::string* error) {
  mode_ = mode;
  threads_ = threads;
  executor_ = threads == 1 ? peakpool_serial_executor() : peakpool_default_executor();
  if (threads > 1 && (executor_->threads == 1 || std::thread::hardware_concurrency() < 2)) {
    *error = "only one thread: peakpool was built without oneTBB, or the machine has one core";
    return false;
  }
  if (mode != Mode::kForward && problem.index_format == PEAKPOOL_INDEX_NONE) {
    int64_t taps = 1;
    for (int axis = 0; axis < problem.rank; ++axis) taps *= problem.kernel[axis];
    problem.index_format = taps <= 255 ? PEAKPOOL_INDEX_WINDOW_U8 : PEAKPOOL_INDEX_WINDOW_U16;
  }
  if (peakpool_plan_create(&problem, &plan_) != PEAKPOOL_OK) {
    *error = peakpool_last_error();
    return false;
  }
  problem_ = *peakpool_plan_problem(plan_);
  problem_.target = problem.target;  // which a plan does not keep
  const size_t size = ElementBytes(problem_.type);
  const size_t inputs = InputElements(problem_), outputs = OutputElements(problem_);
  x_ = Buffer(inputs * size, 0);
  y_ = Buffer(outputs * size, 1024);
  index_ = Buffer(outputs * IndexBytes(problem_.index_format), 2048);
  if (mode == Mode::kBackward) {
    dy_ = Buffer(outputs * size, 3072);
    dx_ = Buffer(inputs * size, 512);
  }
  if (!x_.data() || !y_.data() || !index_.data() || (mode == Mode::kBackward && (!dy_.data() || !dx_.data()))) {
    *error = "out of memory";
    return false;
  }
  Fill(problem_.type, inputs, false, x_.data());
  if (mode == Mode::kBackward) {
    Fill(problem_.type, outputs, true, dy_.data());
    if (peakpool_forward(plan_, x_.data(), y_.data(), index_.data(), executor_) != PEAKPOOL_OK) {
      *error = peakpool_last_error();
      return false;
    }
  }
  if (Execute() != PEAKPOOL_OK) {
    *error = peakpool_last_error();
    return false;
  }
  return true;
}

peakpool_status Task::Execute() const {
  if (mode_ == Mode::kBackward) return peakpool_backward(plan_, dy_.data(), index_.data(), dx_.data(), executor_);
  return peakpool_forward(plan_, x_.data(), y_.data(), mode_ == Mode::kForward ? nullptr : index_.data(), executor_);
}

void Task::RunOurs(void* context) { static_cast<const Task*>(context)->Execute(); }

Side Task::Ours() { return {"peakpool", RunOurs, this}; }

Streams Task::TaskStreams() const {
  const size_t size = ElementBytes(problem_.type);
  const size_t x = InputElements(problem_) * size, y = OutputElements(problem_) * size;
  const size_t index = OutputElements(problem_) * IndexBytes(problem_.index_format);
  if (mode_ == Mode::kBackward) return {{dy_.data(), index_.data()}, {dx_.data(), nullptr}, {y, index}, {x, 0}};
  return {{x_.data(), nullptr}, {y_.data(), index_.data()}, {x, 0}, {y, index}};
}

size_t Task::Bytes() const {
  const Streams s = TaskStreams();
  return s.in_bytes[0] + s.in_bytes[1] + s.out_bytes[0] + s.out_bytes[1];
}

std::string Task::ForwardAlgorithm() const {
  static const std::string kStart = "forward: ";
  std::string text(4096, '\0');
  text.resize(std::min(text.size() - 1, peakpool_explain(plan_, &text[0], text.size())));
  const size_t begin = text.find(kStart) + kStart.size();
  text = text.substr(begin, text.find('\n', begin) - begin);
  return text.substr(0, text.rfind("; "));  // without the tasks of a default executor
}

void Task::RunStreams(void* context) {
  const StreamRun* run = static_cast<const StreamRun*>(context);
  if (run->executor == nullptr) {
    run->loop.run(run->streams);
    return;
  }
  run->executor->parallel_for(
      run->executor->context, 2,
      [](void* part_context, int64_t i) {
        const StreamRun* part = static_cast<const StreamRun*>(part_context);
        part->loop.run(Part(part->streams, i, 2));
      },
      context);
}

std::vector<Side> Task::SpeedOfLight() {
  const std::vector<StreamLoop> loops = StreamLoops(problem_.target);
  const Streams streams = TaskStreams();
  stream_runs_.clear();
  for (const StreamLoop& loop : loops) stream_runs_.push_back({streams, loop, nullptr});
  for (const StreamLoop& loop : loops) {
    if (threads_ > 1) stream_runs_.push_back({streams, loop, executor_});
  }
  std::vector<Side> sides;
  for (StreamRun& run : stream_runs_) {
    sides.push_back({std::string(run.loop.name) + (run.executor == nullptr ? "" : "x2"), RunStreams, &run});
  }
  return sides;
}

int64_t Task::Tap(size_t i) const {
  if (problem_.index_format == PEAKPOOL_INDEX_WINDOW_U8) return index_.data()[i];
  return reinterpret_cast<const uint16_t*>(index_.data())[i];
}

std::string Task::Compare(const Peer& peer, void* handle) const {
  const void* theirs = peer.result(handle);
  const void* ours = mode_ == Mode::kBackward ? dx_.data() : y_.data();
  const size_t n = mode_ == Mode::kBackward ? InputElements(problem_) : OutputElements(problem_);
  if (std::memcmp(ours, theirs, n * ElementBytes(problem_.type)) != 0) {
    for (size_t i = 0; i < n; ++i) {
      const double a = Value(problem_.type, ours, i), b = Value(problem_.type, theirs, i);
      if (!(a == b)) {
        return "differs at element " + std::to_string(i) + ": " + std::to_string(b) + ", ours " + std::to_string(a);
      }
    }
  }
  if (mode_ == Mode::kForwardIndices) {
    std::vector<int64_t> plane(n);
    peer.indices(handle, plane.data());
    for (size_t i = 0; i < n; ++i) {
      const int64_t position = problem_.index_format == PEAKPOOL_INDEX_PLANE_I64
                                   ? reinterpret_cast<const int64_t*>(index_.data())[i]
                                   : PlanePosition(problem_, i, Tap(i));
      if (plane[i] != position) {
        return "differs at index " + std::to_string(i) + ": " + std::to_string(plane[i]) + ", ours " +
               std::to_string(position);
      }
    }
  }
  return "";
}

}  // namespace peakpool_bench
