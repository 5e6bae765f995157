// SPDX-License-Identifier: Apache-2.0
// Streams: row by row, bit for bit what the whole-tensor call gives, every row between unmapped pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string>
#include <vector>

#include "tests/guard.h"
#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

class Stream {
 public:
  explicit Stream(const peakpool_problem& problem) : status_(peakpool_stream_create(&problem, &stream_)) {}
  ~Stream() { peakpool_stream_destroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  explicit operator bool() const { return stream_ != nullptr; }
  peakpool_stream* get() const { return stream_; }
  peakpool_status status() const { return status_; }

 private:
  peakpool_stream* stream_ = nullptr;
  peakpool_status status_;
};

// Elements from the first to the last of one row of every (n, c).
size_t RowExtent(const peakpool_problem& p, const peakpool_strides& strides, int64_t width) {
  if (p.batch == 0 || p.channels == 0) return 0;
  return static_cast<size_t>(1 + (p.batch - 1) * strides.batch + (p.channels - 1) * strides.channel +
                             (width - 1) * strides.spatial[1]);
}

// Pushes and pulls a whole tensor. A row is pulled as soon as it is ready, and it must be ready as soon as the input
// rows that its window covers were pushed.
Forward RunStream(const Plan& whole, const Stream& stream, const Bytes& x, bool with_index, Side side,
                  const peakpool_executor* executor = nullptr) {
  static GuardedBuffer input, output, indices;
  const peakpool_problem& p = whole.problem();
  const size_t bytes = ElementBytes(p.type), index_bytes = IndexBytes(p.index_format);
  Forward result = {Untouched(OutputBytes(p)), Untouched(with_index ? IndexTensorBytes(p) : 0)};
  const size_t in_extent = RowExtent(p, p.input_strides, p.input[1]);
  const size_t out_extent = RowExtent(p, p.output_strides, p.output[1]);
  int64_t pulled = 0;
  const auto pull_ready = [&](int64_t pushed) {
    while (peakpool_stream_ready(stream.get())) {
      ASSERT_LT(pulled, p.output[0]);
      uint8_t* y = result.y.data() + static_cast<size_t>(pulled * p.output_strides.spatial[0]) * bytes;
      uint8_t* index = result.index.data() + static_cast<size_t>(pulled * p.output_strides.spatial[0]) * index_bytes;
      uint8_t* row = output.Copy(y, out_extent * bytes, side);
      uint8_t* index_row = with_index ? indices.Copy(index, out_extent * index_bytes, side) : nullptr;
      NoteRunning("stream pull", p);
      ASSERT_EQ(peakpool_stream_pull(stream.get(), row, index_row, executor), PEAKPOOL_OK) << peakpool_last_error();
      if (out_extent != 0) std::memcpy(y, row, out_extent * bytes);
      if (with_index && out_extent != 0) std::memcpy(index, index_row, out_extent * index_bytes);
      ++pulled;
    }
    if (p.rounding == PEAKPOOL_ADAPTIVE || pulled == p.output[0]) return;
    const int64_t last = pulled * p.stride[0] - p.padding[0].before + (p.kernel[0] - 1) * p.dilation[0];
    EXPECT_LT(pushed, std::min(last + 1, p.input[0])) << "row " << pulled << " is complete but not ready";
  };
  pull_ready(0);
  for (int64_t h = 0; h < p.input[0]; ++h) {
    const uint8_t* from = x.data() + static_cast<size_t>(h * p.input_strides.spatial[0]) * bytes;
    const uint8_t* row = input.Copy(from, in_extent * bytes, side);
    NoteRunning("stream push", p);
    EXPECT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK) << peakpool_last_error();
    std::memset(const_cast<uint8_t*>(row), 0x5A, in_extent * bytes);  // copied, so it may be overwritten
    pull_ready(h + 1);
    if (::testing::Test::HasFailure()) return result;
  }
  EXPECT_EQ(pulled, p.output[0]) << "rows that never got ready";
  return result;
}

const char* const kGeometries[] = {
    "nchw 2x3x9x11 k3 s2 p1",
    "nchw 1x2x8x40 k2 s2",
    "nchw 1x1x7x9 k3 s1 p1",
    "nchw 1x2x5x70 k2 s1",
    "nchw 1x2x13x9 k2 s5",
    "nchw 1x2x13x9 k1x3 s4x1",
    "nchw 1x2x12x9 k3 s3 p2:1x1:2 ceil",
    "nchw 1x2x15x8 k3 s2 p1 d3",
    "nchw 1x2x15x8 k2x3 s1x2 d4x1",
    "nchw 1x2x4x5 k9 s1 p8",
    "nchw 1x2x6x6 k6",
    "nchw 1x2x30x6 k13 s1 p6",
    "nchw 1x2x30x9 k16x17 s3x1 p4",
    "nchw 1x2x3x3 k2 s1 p3 allow-empty",
    "nchw 1x2x4x3 k2 s3 p3:2x2:3 d2 allow-empty",
    "nchw 1x2x9x9 k3 s2 o3x2",
    "nchw 1x2x9x9 k3 s2 o9x2 allow-empty",
    "nchw 2x2x4x5 k2 s1 xs=60x30x6x1 ys=40x13x4x1",
    "nhwc 2x3x9x11 k3 s2 p1",
    "nhwc 1x19x8x7 k2 s2",
    "nhwc 1x1x7x9 k3 s1 p1",
    "nhwc 1x2x13x9 k2 s5",
    "nhwc 2x3x12x9 k3 s3 p2:1x1:2 ceil",
    "nhwc 1x5x15x8 k3 s2 p1 d3",
    "nhwc 1x5x30x6 k13 s1 p6",
    "nhwc 1x2x4x3 k2 s3 p3:2x2:3 d2 allow-empty",
    "nhwc 2x2x4x5 k2 s1 xs=200x1x40x5 ys=90x1x20x3",
    // Rows outermost: a row of every (n, c) is one dense block.
    "nchw 2x3x6x8 k3 s1 p1 xs=24x8x48x1 ys=24x8x48x1",
    "nhwc 2x3x6x8 k3 s2 p1 xs=24x1x48x3 ys=12x1x24x3",
    "nchw 0x3x5x6 k3",
    "nhwc 2x0x5x6 k3",
    "nhwc 3x0x5x4 k3x2 s1x4 p1:1x1:0 ys=5x1x1x0",
    "nchw 1x2x9x7 a3x1",
    "nchw 1x2x7x9 a3x4",
    "nhwc 1x3x10x9 a4x2",
    "nchw 1x2x3x2 a7x5",
};

class Streams : public ::testing::TestWithParam<const char*> {};

TEST_P(Streams, EqualTheWholeTensorCall) {
  Random random(61);
  for (const char* type : {"f32", "bf16", "u8", "i64"}) {
    for (peakpool_problem problem : InEveryFormat(Parsed(std::string(type) + " " + GetParam()))) {
      std::vector<std::string> targets = Targets();
      targets.push_back("im2col");
      for (const std::string& target : targets) {
        problem.algorithm = target == "im2col" ? PEAKPOOL_IM2COL : PEAKPOOL_AUTO;
        problem.target = target == "im2col" ? nullptr : target.c_str();
        SCOPED_TRACE(Described(problem) + " on " + target);
        peakpool_problem reference = problem;
        reference.algorithm = PEAKPOOL_IM2COL;
        const Plan whole(reference);
        ASSERT_TRUE(whole) << whole.error();
        const peakpool_problem& p = whole.problem();
        const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random);
        const Forward expected = RunForward(whole, x, true);
        for (Side side : kSides) {
          const Stream stream(problem), values(problem);
          ASSERT_TRUE(stream && values) << peakpool_last_error();
          const Forward actual = RunStream(whole, stream, x, true, side);
          EXPECT_TRUE(SameBytes(actual.y, expected.y, ElementBytes(p.type)));
          EXPECT_TRUE(SameBytes(actual.index, expected.index, IndexBytes(p.index_format)));
          EXPECT_TRUE(SameBytes(RunStream(whole, values, x, false, side).y, expected.y, ElementBytes(p.type)))
              << "without index";
          if (HasFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Geometry, Streams, ::testing::ValuesIn(kGeometries),
                         [](const ::testing::TestParamInfo<const char*>& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

TEST(StreamExecutors, GiveTheSameBytes) {
  Random random(62);
  for (const char* text : {"f32 nchw 1x1x20x90000 k3 s2 p1 window-u8", "f32 nhwc 1x67x20x900 k3 s1 p1 plane-i64"}) {
    const peakpool_problem problem = Parsed(text);
    const Plan whole(problem);
    ASSERT_TRUE(whole) << whole.error();
    const peakpool_problem& p = whole.problem();
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kFiniteTies, &random);
    const Stream serial_stream(problem);
    const Forward serial = RunStream(whole, serial_stream, x, true, Side::kEnd, peakpool_serial_executor());
    for (const NamedExecutor& named : Executors()) {
      const Stream stream(problem);
      const Forward actual = RunStream(whole, stream, x, true, Side::kEnd, named.get());
      EXPECT_TRUE(SameBytes(actual.y, serial.y, ElementBytes(p.type))) << text << ", " << named.name;
      EXPECT_TRUE(SameBytes(actual.index, serial.index, IndexBytes(p.index_format))) << text << ", " << named.name;
    }
  }
}

void ExpectRefused(peakpool_status status, const std::string& says) {
  EXPECT_EQ(status, PEAKPOOL_INVALID_ARGUMENT) << says;
  EXPECT_NE(std::string(peakpool_last_error()).find(says), std::string::npos)
      << "\"" << peakpool_last_error() << "\" does not say " << says;
}

TEST(StreamErrors, PushAndPullInTurn) {
  const Stream stream(Parsed("f32 nchw 1x1x5x4 k2 window-u8"));
  ASSERT_TRUE(stream) << peakpool_last_error();
  const float row[4] = {};
  float y[2];
  uint8_t index[2];
  EXPECT_EQ(peakpool_stream_ready(stream.get()), 0);
  ExpectRefused(peakpool_stream_pull(stream.get(), y, index, nullptr), "row 0");
  EXPECT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK);
  ExpectRefused(peakpool_stream_pull(stream.get(), y, index, nullptr), "row 0");
  EXPECT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK);
  EXPECT_EQ(peakpool_stream_ready(stream.get()), 1);
  ExpectRefused(peakpool_stream_push(stream.get(), row), "row 2");
  // Refusals change nothing.
  ExpectRefused(peakpool_stream_pull(stream.get(), nullptr, index, nullptr), "row");
  EXPECT_EQ(peakpool_stream_ready(stream.get()), 1);
  EXPECT_EQ(peakpool_stream_pull(stream.get(), y, index, nullptr), PEAKPOOL_OK);
  EXPECT_EQ(peakpool_stream_ready(stream.get()), 0);
  ExpectRefused(peakpool_stream_push(stream.get(), nullptr), "row");
  EXPECT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK);
  EXPECT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK);
  EXPECT_EQ(peakpool_stream_pull(stream.get(), y, nullptr, nullptr), PEAKPOOL_OK);
  EXPECT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK) << "the last row, which no window reads";
  ExpectRefused(peakpool_stream_push(stream.get(), row), "row 5");
  ExpectRefused(peakpool_stream_pull(stream.get(), y, index, nullptr), "row 2");
  EXPECT_EQ(peakpool_stream_ready(stream.get()), 0);
}

TEST(StreamErrors, Arguments) {
  for (const char* text : {"f32 ncw 1x1x8 k2", "f32 ncdhw 1x1x4x4x4 k2"}) {
    EXPECT_EQ(Stream(Parsed(text)).status(), PEAKPOOL_UNSUPPORTED) << text;
    EXPECT_NE(std::string(peakpool_last_error()).find("rank"), std::string::npos) << peakpool_last_error();
  }
  peakpool_problem problem = Parsed("f32 nchw 1x1x4x4 k2");
  peakpool_stream* stream = reinterpret_cast<peakpool_stream*>(&problem);
  ExpectRefused(peakpool_stream_create(nullptr, &stream), "problem");
  EXPECT_EQ(stream, nullptr);
  ExpectRefused(peakpool_stream_create(&problem, nullptr), "stream");
  problem.stride[0] = 0;
  ExpectRefused(peakpool_stream_create(&problem, &stream), "stride[0]");
  EXPECT_EQ(peakpool_stream_ready(nullptr), 0);
  float row[4] = {}, y[2];
  uint8_t index[2];
  ExpectRefused(peakpool_stream_push(nullptr, row), "stream");
  ExpectRefused(peakpool_stream_pull(nullptr, y, nullptr, nullptr), "stream");
  const Stream values(Parsed("f32 nchw 1x1x4x4 k1x2 s1x2"));
  ASSERT_EQ(peakpool_stream_push(values.get(), row), PEAKPOOL_OK);
  ExpectRefused(peakpool_stream_pull(values.get(), y, index, nullptr), "index");
  peakpool_executor executor = *peakpool_serial_executor();
  executor.struct_size = 3;
  ExpectRefused(peakpool_stream_pull(values.get(), y, nullptr, &executor), "struct_size");
  EXPECT_EQ(peakpool_stream_pull(values.get(), y, nullptr, nullptr), PEAKPOOL_OK) << peakpool_last_error();
  peakpool_stream_destroy(nullptr);
}

TEST(StreamErrors, AlignmentAndOverlap) {
  const Stream stream(Parsed("f32 nchw 1x2x1x4 k1 plane-i32 xs=8x4x8x1 ys=16x8x16x1"));
  ASSERT_TRUE(stream) << peakpool_last_error();
  float row[8] = {}, y[17];
  int32_t index[17];
  const auto odd = [](void* p) { return static_cast<void*>(static_cast<char*>(p) + 2); };
  ExpectRefused(peakpool_stream_push(stream.get(), odd(row)), "row");
  ASSERT_EQ(peakpool_stream_push(stream.get(), row), PEAKPOOL_OK) << peakpool_last_error();
  ExpectRefused(peakpool_stream_pull(stream.get(), odd(y), index, nullptr), "row");
  ExpectRefused(peakpool_stream_pull(stream.get(), y, odd(index), nullptr), "index");
  ExpectRefused(peakpool_stream_pull(stream.get(), y, y, nullptr), "overlaps");
  ExpectRefused(peakpool_stream_pull(stream.get(), y, y + 11, nullptr), "overlaps");
  ASSERT_EQ(peakpool_stream_ready(stream.get()), 1) << "refusals change nothing";
  EXPECT_EQ(peakpool_stream_pull(stream.get(), y, y + 4, nullptr), PEAKPOOL_OK) << "in turn: " << peakpool_last_error();
}

}  // namespace
}  // namespace peakpool::tests
