// SPDX-License-Identifier: Apache-2.0
// Every kernel of every type's table on every target this machine runs, called directly: lines of 1 element to
// 4 vectors + 3, unmapped memory on either side of every tensor, lines split at random, against the naive loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "hwy/targets.h"
#include "src/kernels/kernels.h"
#include "tests/guard.h"
#include "tests/naive.h"
#include "tests/pooling.h"
#include "tests/targets.h"

namespace peakpool::tests {
namespace {

struct Table {
  const char* name;
  int32_t type;
  const Kernels* (*kernels)(int64_t targets);
};
#define PEAKPOOL_TABLE(Name, Element) {#Name, PEAKPOOL_##Name, Name##Kernels},
const Table kTables[] = {PEAKPOOL_FOR_EACH_TYPE(PEAKPOOL_TABLE)};
#undef PEAKPOOL_TABLE

// The types with kernels for wide windows.
std::vector<Table> TablesWithWideWindows() {
  std::vector<Table> tables;
  for (const Table& table : kTables) {
    const Kernels* kernels = table.kernels(hwy::SupportedTargets());
    if (kernels != nullptr && kernels->wide_channels_last != nullptr) tables.push_back(table);
  }
  return tables;
}

// The types with window kernels of their own, for channels-last at least; the others take the separable one.
std::vector<Table> TablesWithWindows() {
  std::vector<Table> tables;
  for (const Table& table : kTables) {
    const Kernels* kernels = table.kernels(hwy::SupportedTargets());
    if (kernels != nullptr && kernels->window_channels_last != nullptr) tables.push_back(table);
  }
  return tables;
}

void PrintTo(const Table& table, std::ostream* out) { *out << table.name; }

// Each type's tables, one per target.
std::vector<const Kernels*> KernelsOf(const Table& table) {
  std::vector<const Kernels*> result;
  for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    const Kernels* kernels = table.kernels(target);
    if (kernels != nullptr && kernels->target == target) result.push_back(kernels);
  }
  return result;
}

Geometry GeometryOf(const peakpool_problem& p) {
  Geometry g;
  g.batch = p.batch;
  g.channels = p.channels;
  g.channels_last = p.layout == PEAKPOOL_CHANNELS_LAST;
  g.input = {p.input_strides.batch, p.input_strides.channel, {0, 0, 0}};
  g.output = {p.output_strides.batch, p.output_strides.channel, {0, 0, 0}};
  for (int i = 0; i < 3; ++i) {
    const int a = i - (3 - p.rank);
    g.axis[i] = {1, 1, 1, 1, 1, 0};
    if (a < 0) continue;
    g.axis[i] = {p.input[a], p.output[a], p.kernel[a], p.stride[a], p.dilation[a], p.padding[a].before};
    g.input.axis[i] = p.input_strides.spatial[a];
    g.output.axis[i] = p.output_strides.spatial[a];
  }
  return g;
}

// Strides with gaps: between rows, planes and batches, and between pixels of channels-last.
void AddGaps(peakpool_problem* p) {
  for (peakpool_strides* s : {&p->input_strides, &p->output_strides}) {
    const int64_t* size = s == &p->input_strides ? p->input : p->output;
    int64_t step = 1;
    const auto take = [&](int64_t count, int64_t* stride) {
      *stride = step;
      step = step * count + (count > 1 ? 3 : 1);
    };
    if (p->layout == PEAKPOOL_CHANNELS_LAST) take(p->channels, &s->channel);
    for (int a = p->rank - 1; a >= 0; --a) take(size[a], &s->spatial[a]);
    if (p->layout == PEAKPOOL_CHANNELS_FIRST) take(p->channels, &s->channel);
    take(p->batch, &s->batch);
  }
}

// Calls run(begin, end) over [0, lines), in up to three parts, the last one first.
template <class Run>
void InParts(int64_t lines, Random* random, Run run) {
  const auto draw = [&](int64_t below) { return static_cast<int64_t>((*random)() % static_cast<uint64_t>(below)); };
  const int64_t first = draw(lines + 1), second = first + draw(lines - first + 1);
  if (second < lines) run(second, lines);
  if (first < second) run(first, second);
  if (0 < first) run(int64_t{0}, first);
}

class Kernel : public ::testing::TestWithParam<Table> {
 protected:
  void SetUp() override {
    if (!HasVectors()) GTEST_SKIP() << "this machine runs no vector target of this build";
  }

  int64_t Draw(int64_t low, int64_t high) {
    EXPECT_LE(low, high);
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  // `times`: as the first images of a tensor that is so many times as large; without NaNs, for which other kernels may
  // read more of it.
  void CheckForward(const char* name, ForwardKernel kernel, const peakpool_problem& p, int64_t times = 1) {
    const bool finite = times != 1 || ++checks_ % 3 != 0;
    const Bytes x = RandomElements(p.type, InputBytes(p), finite ? Fill::kFiniteTies : Fill::kTies, &random_);
    CheckForwardOf(x, name, kernel, p, times);
  }
  void CheckForwardOf(const Bytes& x, const char* name, ForwardKernel kernel, const peakpool_problem& p,
                      int64_t times = 1) {
    Geometry geometry = GeometryOf(p);
    const int64_t lines = geometry.OutputLines();
    geometry.batch *= times;
    const Forward expected = RunNaiveForward(p, x);
    const Bytes y_before = Untouched(expected.y.size()), taps_before = Untouched(expected.index.size());
    for (Side side : kSides) {
      for (bool with_taps : {false, true}) {
        NoteRunning(name, p);
        const uint8_t* input = x_.Copy(x.data(), x.size(), side);
        uint8_t* y = y_.Copy(y_before.data(), y_before.size(), side);
        uint8_t* taps = with_taps ? taps_.Copy(taps_before.data(), taps_before.size(), side) : nullptr;
        const int tap_bytes = static_cast<int>(IndexBytes(p.index_format));
        InParts(lines, &random_, [&](int64_t begin, int64_t end) {
          kernel({&geometry, input, y, {taps, tap_bytes, geometry.output, 0}, begin, end, scratch_});
        });
        Same(Bytes(y, y + y_before.size()), expected.y, ElementBytes(p.type), name, with_taps ? "y with taps" : "y", p);
        if (with_taps) {
          Same(Bytes(taps, taps + taps_before.size()), expected.index, static_cast<size_t>(tap_bytes), name, "taps", p);
        }
        if (HasFailure()) return;
      }
    }
  }

  void CheckBackward(const char* name, BackwardKernel kernel, const peakpool_problem& p, int64_t times = 1) {
    Geometry geometry = GeometryOf(p);
    const int64_t lines = geometry.InputLines();
    geometry.batch *= times;
    const Bytes x = RandomElements(p.type, InputBytes(p), Fill::kTies, &random_);
    const Bytes taps_data = RunNaiveForward(p, x).index;
    const Bytes dy_data = RandomGradients(p.type, OutputBytes(p), &random_);
    for (bool accumulate : {false, true}) {
      peakpool_problem problem = p;
      if (accumulate) problem.flags |= PEAKPOOL_ACCUMULATE;
      const Bytes dx_before = accumulate ? RandomGradients(p.type, InputBytes(p), &random_) : Untouched(InputBytes(p));
      const Bytes expected = RunNaiveBackward(problem, dy_data, taps_data, dx_before);
      for (Side side : kSides) {
        NoteRunning(name, p);
        const uint8_t* dy = x_.Copy(dy_data.data(), dy_data.size(), side);
        uint8_t* dx = y_.Copy(dx_before.data(), dx_before.size(), side);
        uint8_t* taps = taps_.Copy(taps_data.data(), taps_data.size(), side);
        InParts(lines, &random_, [&](int64_t begin, int64_t end) {
          kernel({&geometry, dy, {taps, 1, geometry.output, 0}, dx, accumulate, begin, end, scratch_});
        });
        Same(Bytes(dx, dx + dx_before.size()), expected, ElementBytes(p.type), name,
             accumulate ? "accumulated dx" : "dx", p);
        if (HasFailure()) return;
      }
    }
  }

  // Calls visit(kernels, target) with a trace of the target.
  template <class Visit>
  void ForEachTarget(Visit visit) {
    const std::vector<const Kernels*> targets = KernelsOf(GetParam());
    ASSERT_FALSE(targets.empty());
    for (const Kernels* kernels : targets) {
      SCOPED_TRACE(hwy::TargetName(kernels->target));
      visit(*kernels);
      if (HasFatalFailure() || HasNonfatalFailure()) return;
    }
  }

  peakpool_problem Problem(int32_t layout, int64_t n, int64_t c, int64_t h, int64_t w, int32_t index_format) {
    peakpool_problem p;
    EXPECT_EQ(peakpool_problem_init(&p, GetParam().type, layout, 2), PEAKPOOL_OK);
    p.batch = n;
    p.channels = c;
    p.input[0] = h;
    p.input[1] = w;
    p.index_format = index_format;
    return p;
  }

  Random random_{12};

 private:
  void Same(const Bytes& actual, const Bytes& expected, size_t bytes, const char* kernel, const char* tensor,
            const peakpool_problem& p) {
    EXPECT_TRUE(SameBytes(actual, expected, bytes)) << kernel << ", " << tensor << "; " << Described(p);
  }

  GuardedBuffer x_, y_, taps_;
  alignas(64) unsigned char scratch_[kScratchBytes];
  uint64_t checks_ = 0;
};

class WindowKernel : public Kernel {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WindowKernel);

struct Window {
  int64_t kernel, stride, before, after;
};
// The pairs that have code of their own, each with no, one-sided and full padding.
const Window kWindows[] = {{2, 2, 0, 0}, {2, 2, 1, 1}, {2, 2, 0, 1}, {2, 1, 0, 0}, {2, 1, 0, 1},
                           {2, 1, 1, 1}, {3, 2, 0, 0}, {3, 2, 1, 1}, {3, 2, 0, 1}, {3, 2, 0, 2},
                           {3, 2, 2, 2}, {3, 1, 0, 0}, {3, 1, 1, 1}, {3, 1, 0, 2}};

// False where some window is empty, or there is none.
bool SetWindow(peakpool_problem* p, const Window& window, bool gaps) {
  for (int a = 0; a < p->rank; ++a) {
    p->kernel[a] = window.kernel;
    p->stride[a] = window.stride;
    p->padding[a] = {window.before, window.after};
  }
  Resolve(p);
  for (int a = 0; a < p->rank; ++a) {
    if (p->output[a] < 1 || window.before >= window.kernel) return false;
    if ((p->output[a] - 1) * window.stride - window.before >= p->input[a]) return false;
  }
  if (gaps) AddGaps(p);
  return true;
}

// Line widths (channels-first) or channels (channels-last) from 1 to so many vectors + 3, on planes of a few rows.
template <class Visit>
void ForEachLineLength(size_t lanes, int64_t vectors, Visit visit) {
  const int64_t most = vectors * static_cast<int64_t>(lanes) + 3;
  for (int64_t length = 1; length <= most; ++length) visit(length);
}

TEST_P(WindowKernel, SmallWindowsChannelsFirst) {
  ForEachTarget([&](const Kernels& kernels) {
    size_t turn = 0;
    for (const Window& window : kWindows) {
      // Lines of up to eight vectors are strips side by side.
      ForEachLineLength(kernels.lanes, 8, [&](int64_t width) {
        if (HasFailure()) return;
        ++turn;
        peakpool_problem p =
            Problem(PEAKPOOL_CHANNELS_FIRST, 1, 2, 1 + static_cast<int64_t>(turn % 6), width, PEAKPOOL_INDEX_WINDOW_U8);
        if (!SetWindow(&p, window, turn % 4 == 0)) return;
        if (kernels.window_channels_first != nullptr)
          CheckForward("window_channels_first", kernels.window_channels_first, p);
        if (kernels.gather_channels_first != nullptr) {
          CheckBackward("gather_channels_first", kernels.gather_channels_first, p);
        }
      });
    }
  });
}

TEST_P(WindowKernel, SmallWindowsChannelsLast) {
  ForEachTarget([&](const Kernels& kernels) {
    size_t turn = 0;
    for (const Window& window : kWindows) {
      ForEachLineLength(kernels.lanes, 4, [&](int64_t channels) {
        if (HasFailure()) return;
        ++turn;
        peakpool_problem p = Problem(PEAKPOOL_CHANNELS_LAST, 1, channels, 1 + static_cast<int64_t>(turn % 6),
                                     1 + static_cast<int64_t>(turn % 7), PEAKPOOL_INDEX_WINDOW_U8);
        if (!SetWindow(&p, window, turn % 4 == 0)) return;
        if (kernels.window_channels_last != nullptr)
          CheckForward("window_channels_last", kernels.window_channels_last, p);
        if (kernels.gather_channels_last != nullptr) {
          CheckBackward("gather_channels_last", kernels.gather_channels_last, p);
        }
      });
    }
  });
}

// Tensors beyond the caches have stores of their own, where y is in whole vectors.
TEST_P(WindowKernel, SmallWindowsOverFarTensors) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_last == nullptr) return;
    for (const Window& window : kWindows) {
      for (int turn = 0; turn < 12; ++turn) {
        const int64_t channels = static_cast<int64_t>(kernels.lanes) * Draw(1, 4) + (turn % 4 == 0);
        peakpool_problem p = Problem(PEAKPOOL_CHANNELS_LAST, Draw(1, 2), channels, Draw(1, 40), Draw(1, 9),
                                     turn % 3 == 0 ? PEAKPOOL_INDEX_WINDOW_U16 : PEAKPOOL_INDEX_WINDOW_U8);
        if (!SetWindow(&p, window, turn % 4 == 1)) continue;
        CheckForward("window_channels_last", kernels.window_channels_last, p, 1 << 20);
        if (HasFailure()) return;
      }
    }
  });
}

// The same of gradients.
TEST_P(WindowKernel, GradientsOfFarTensors) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.gather_channels_first == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (const Window& window : kWindows) {
      for (int turn = 0; turn < 12; ++turn) {
        const bool last = turn % 2 == 0;
        const int64_t channels = last ? lanes * Draw(1, 4) + (turn % 4 == 0) : Draw(1, 4);
        const int64_t width = last ? Draw(1, 9) : turn % 3 == 0 ? lanes * Draw(1, 6) : Draw(1, 6 * lanes);
        peakpool_problem p = Problem(last ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), channels,
                                     Draw(1, 20), width, PEAKPOOL_INDEX_WINDOW_U8);
        if (!SetWindow(&p, window, turn % 4 == 1)) continue;
        CheckBackward(last ? "gather_channels_last" : "gather_channels_first",
                      last ? kernels.gather_channels_last : kernels.gather_channels_first, p, 1 << 20);
        if (HasFailure()) return;
      }
    }
  });
}

// Small channel counts with long rows: pixels may share vectors.
TEST_P(WindowKernel, SmallWindowsOverFewChannels) {
  ForEachTarget([&](const Kernels& kernels) {
    for (const Window& window : kWindows) {
      for (int64_t channels : {1, 2, 3, 4, 5, 8}) {
        for (int64_t width : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 70}) {
          if (HasFailure()) return;
          peakpool_problem p = Problem(PEAKPOOL_CHANNELS_LAST, 2, channels, 5, width, PEAKPOOL_INDEX_WINDOW_U8);
          if (!SetWindow(&p, window, false)) continue;
          if (kernels.window_channels_last != nullptr)
            CheckForward("window_channels_last", kernels.window_channels_last, p);
          if (kernels.gather_channels_last != nullptr) {
            CheckBackward("gather_channels_last", kernels.gather_channels_last, p);
          }
        }
      }
    }
  });
}

// Windows of stride 1 whose taps lie apart.
TEST_P(WindowKernel, SmallWindowsWithDilation) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_last == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int64_t channels : {lanes, lanes + 3, 3 * lanes}) {
      for (int64_t kernel : {2, 3}) {
        for (int64_t dilation = 1; dilation <= 9; ++dilation) {
          for (int64_t size = 3; size < 12; size += 2) {
            if (HasFailure()) return;
            peakpool_problem p =
                Problem(PEAKPOOL_CHANNELS_LAST, 1, channels, 14 - size, size, PEAKPOOL_INDEX_WINDOW_U8);
            for (int a = 0; a < 2; ++a) {
              p.kernel[a] = kernel;
              p.dilation[a] = a == 0 ? (dilation + 2) / 3 : (dilation - 1) % 3 + 1;
              const int64_t before = p.dilation[a] * (kernel - 1) / 2;
              p.padding[a] = {before, (size / 2 + a) % 2 == 0 ? before : 0};
            }
            Resolve(&p);
            if (p.output[0] < 1 || p.output[1] < 1 || HasEmptyWindow(p)) continue;
            if (size % 4 == 1) AddGaps(&p);
            CheckForward("window_channels_last", kernels.window_channels_last, p);
          }
        }
      }
    }
  });
}

// Windows of any size that share no input, channels-last: some take several passes, some are their whole plane.
TEST_P(WindowKernel, WindowsApart) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_last == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 300 && !HasFailure(); ++i) {
      const int64_t channels = i % 50 == 0 ? 2500 : i % 5 == 0 ? Draw(1, lanes) : lanes + Draw(0, 3 * lanes);
      peakpool_problem p =
          Problem(PEAKPOOL_CHANNELS_LAST, Draw(1, 2), channels, Draw(1, 12), Draw(1, 20), PEAKPOOL_INDEX_WINDOW_U8);
      // Names of taps take all eight bits.
      const bool large = i % 4 == 1;
      for (int a = 0; a < 2 && large; ++a) p.input[a] = Draw(10, 16);
      for (int a = 0; a < 2; ++a) {
        const bool whole = large || Draw(0, 2) == 0;
        p.kernel[a] = whole ? p.input[a] : Draw(1, std::min<int64_t>(p.input[a], 16));
        p.stride[a] = p.kernel[a] + Draw(0, 2);
        if (!whole) p.padding[a] = {Draw(0, p.kernel[a] / 2), Draw(0, p.kernel[a] / 2)};
      }
      if (p.kernel[0] * p.kernel[1] > 255) p.index_format = PEAKPOOL_INDEX_WINDOW_U16;
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 4) == 0) AddGaps(&p);
      CheckForward("window_channels_last", kernels.window_channels_last, p);
    }
  });
}

// Windows of stride 2 along the width, over lines of less than a vector to a few: several to a vector, in strips,
// stacked planes, edges clamped on every side.
TEST_P(WindowKernel, StridedLines) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_first == nullptr) return;
    const int64_t lanes = std::max<int64_t>(static_cast<int64_t>(kernels.lanes), 3);
    for (int i = 0; i < 600 && !HasFailure(); ++i) {
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), Draw(1, 40), 1, 1, PEAKPOOL_INDEX_WINDOW_U8);
      p.rank = 3;
      const bool plain = Draw(0, 2) == 0;
      for (int a = 0; a < 3; ++a) {
        const bool row = a == 2;
        p.kernel[a] = plain && a > 0 ? 2 : row ? Draw(2, 3) : Draw(0, 3) == 0 || a == 1 ? Draw(1, 3) : 1;
        p.stride[a] = row || plain ? 2 : Draw(1, 3);
        p.input[a] = row ? Draw(p.kernel[a], Draw(0, 3) == 0 ? 5 * lanes : lanes) : a == 1 ? Draw(1, 20) : Draw(1, 3);
        if (plain) p.input[a] = a == 0 ? 1 : (p.input[a] + 1) / 2 * 2;
        if (!plain) p.padding[a] = {Draw(0, p.kernel[a] - 1), Draw(0, p.kernel[a] - 1)};
        if (p.padding[a].before + p.input[a] + p.padding[a].after < p.kernel[a]) p.input[a] = p.kernel[a];
      }
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 5) == 0) AddGaps(&p);
      CheckForward("window_channels_first", kernels.window_channels_first, p);
    }
  });
}

// Square windows of stride 2 over many planes, of which vectors are packed without regard to where lines end, or lines
// are up to four strips.
TEST_P(WindowKernel, PackedLines) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_first == nullptr) return;
    for (int i = 0; i < 250 && !HasFailure(); ++i) {
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), Draw(16, 40), 1, 1, PEAKPOOL_INDEX_WINDOW_U8);
      p.rank = 2;
      const int64_t kernel = Draw(2, 3);
      for (int a = 0; a < 2; ++a) {
        p.kernel[a] = kernel;
        p.stride[a] = 2;
        p.input[a] = Draw(kernel, Draw(0, 3) == 0 ? 12 : a == 1 ? 130 : 40);
        p.padding[a] = {Draw(0, Draw(0, kernel - 1)), Draw(0, Draw(0, kernel - 1))};
      }
      Resolve(&p);
      if (Draw(0, 3) == 0) {  // columns behind the last window
        p.rounding = PEAKPOOL_EXPLICIT;
        p.output[1] = Draw(1, p.output[1]);
      }
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 5) == 0) AddGaps(&p);
      CheckForward("window_channels_first", kernels.window_channels_first, p);
      CheckForwardOf(LowestElements(p.type, InputBytes(p)), "window_channels_first", kernels.window_channels_first, p);
    }
  });
}

// Windows around each input, over planes that follow each other closely or not, small ones, and ones of many blocks;
// taps may lie apart, as far as beyond the plane.
TEST_P(WindowKernel, CentredWindows) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_first == nullptr) return;
    for (int i = 0; i < 400 && !HasFailure(); ++i) {
      const bool large = i % 20 == 0;
      const int64_t most = large ? 150 : Draw(1, 40);
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), large ? 1 : Draw(1, 30), Draw(1, most),
                                   Draw(1, most), PEAKPOOL_INDEX_WINDOW_U8);
      const bool square = Draw(0, 1);
      for (int a = 0; a < 2; ++a) {
        p.kernel[a] = square ? 3 : Draw(0, 3) == 0 ? 5 : Draw(1, 3);
        p.dilation[a] = a == 1 && square ? p.dilation[0] : Draw(0, 1) ? 1 : Draw(1, 4);
        const int64_t before = p.kernel[a] == 2 ? Draw(0, 1) : p.kernel[a] / 2;
        p.padding[a] = {before * p.dilation[a], (p.kernel[a] - 1 - before) * p.dilation[a]};
      }
      Resolve(&p);
      if (Draw(0, 4) == 0) AddGaps(&p);
      CheckForward("window_channels_first", kernels.window_channels_first, p);
    }
  });
}

// Each axis with a window of its own. Channels-first: 2 or 3 wide with stride 1 or 2, up to 3 high and deep, without
// dilation; channels-last: up to 3 on every axis, with any stride and dilation.
TEST_P(WindowKernel, SmallWindowsOfEveryShape) {
  ForEachTarget([&](const Kernels& kernels) {
    for (int i = 0; i < 3000 && !HasFailure(); ++i) {
      const bool last = i % 2 != 0;
      peakpool_problem p = Parsed(last ? "f32 ndhwc 1x1x1x1x1 k1 window-u8" : "f32 ncdhw 1x1x1x1x1 k1 window-u8");
      p.type = GetParam().type;
      p.batch = Draw(1, 2);
      const int64_t most = 3 * static_cast<int64_t>(kernels.lanes);
      p.channels = last ? Draw(1, Draw(0, 1) ? most : 5) : Draw(1, 3);
      bool legal = true;
      for (int a = 0; a < 3; ++a) {
        const bool row = !last && a == 2;
        p.kernel[a] = row ? Draw(2, 3) : Draw(1, 3);
        p.stride[a] = row ? Draw(1, 2) : Draw(1, 4);
        p.dilation[a] = last && i % 4 != 1 ? Draw(1, 3) : 1;
        const int64_t reach = (p.kernel[a] - 1) * p.dilation[a] + 1;
        p.padding[a] = {Draw(0, reach - 1), Draw(0, reach - 1)};
        p.input[a] = Draw(1, row && Draw(0, 1) ? 2 * most : 7);
        legal &= p.padding[a].before + p.input[a] + p.padding[a].after >= reach;
      }
      if (!legal) continue;
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 2) == 0) AddGaps(&p);
      if (last && kernels.window_channels_last != nullptr) {
        CheckForward("window_channels_last", kernels.window_channels_last, p);
      }
      const bool dilated = p.dilation[0] != 1 || p.dilation[1] != 1 || p.dilation[2] != 1;
      const bool rounds_twice = ElementBytes(p.type) == 2 && p.kernel[0] > p.stride[0];
      const bool strided = p.stride[1] != 1 || p.stride[2] != 1 || p.kernel[0] != 1 || p.stride[0] != 1;
      if (last && kernels.gather_channels_last != nullptr && !(dilated && strided) && !rounds_twice) {
        CheckBackward("gather_channels_last", kernels.gather_channels_last, p);
      }
      if (!last && kernels.window_channels_first != nullptr) {
        CheckForward("window_channels_first", kernels.window_channels_first, p);
      }
    }
  });
}

TEST_P(WindowKernel, GradientsOfDilatedWindows) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.gather_channels_first == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 150 && !HasFailure(); ++i) {
      const bool last = i % 2 == 0;
      peakpool_problem p = Problem(last ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST, Draw(1, 2),
                                   last ? Draw(1, 3 * lanes) : Draw(1, 9), 1, 1, PEAKPOOL_INDEX_WINDOW_U8);
      p.kernel[0] = p.kernel[1] = Draw(2, 3);
      bool legal = true;
      for (int a = 0; a < 2; ++a) {
        p.dilation[a] = Draw(1, 8);
        const int64_t reach = (p.kernel[a] - 1) * p.dilation[a];
        p.padding[a] = {Draw(0, reach), Draw(0, reach)};
        p.input[a] = Draw(1, a == 1 && !last ? 5 * lanes : 20);
        legal &= p.padding[a].before + p.input[a] + p.padding[a].after > reach;
      }
      if (!legal) continue;
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 2) == 0) AddGaps(&p);
      CheckBackward(last ? "gather_channels_last" : "gather_channels_first",
                    last ? kernels.gather_channels_last : kernels.gather_channels_first, p);
    }
  });
}

// Gradients of windows that overlap along the depth as well.
TEST_P(WindowKernel, GradientsOfWindowsWithADepth) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.gather_channels_last == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 200 && !HasFailure(); ++i) {
      peakpool_problem p = Parsed("f32 ndhwc 1x1x1x1x1 k1 window-u8");
      p.type = GetParam().type;
      p.batch = Draw(1, 2);
      p.channels = Draw(1, 3 * lanes);
      const int64_t kernel = Draw(2, 3), stride = kernel == 2 ? 1 : Draw(1, 2);
      bool legal = true;
      for (int a = 0; a < 3; ++a) {
        p.kernel[a] = a == 0 ? Draw(1, 3) : kernel;
        p.stride[a] = a == 0 ? Draw(1, 3) : stride;
        p.padding[a] = {Draw(0, p.kernel[a] - 1), Draw(0, p.kernel[a] - 1)};
        p.input[a] = Draw(1, 9);
        legal &= p.padding[a].before + p.input[a] + p.padding[a].after >= p.kernel[a];
      }
      if (!legal) continue;
      Resolve(&p);
      if (HasEmptyWindow(p) || (ElementBytes(p.type) == 2 && p.kernel[0] > p.stride[0])) continue;
      if (Draw(0, 2) == 0) AddGaps(&p);
      CheckBackward("gather_channels_last", kernels.gather_channels_last, p);
    }
  });
}

// Gradients of windows that do not overlap: of any size, with gaps, and with one window to an axis.
TEST_P(WindowKernel, GradientsOfWindowsApart) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.gather_channels_first == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 1500 && !HasFailure(); ++i) {
      const bool last = i % 3 == 0;
      peakpool_problem p = Problem(last ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), 1, 1, 1,
                                   PEAKPOOL_INDEX_WINDOW_U8);
      p.rank = 3;
      p.channels = last ? Draw(1, 3 * lanes) : Draw(1, 9);
      bool legal = true;
      for (int a = 0; a < 3; ++a) {
        const bool row = !last && a == 2, plain = Draw(0, 1);
        p.kernel[a] = a == 0 && plain ? 1 : Draw(0, 2) == 0 ? Draw(1, 9) : Draw(1, 3);
        if (a != 0 && plain) p.kernel[a] = 2;
        p.stride[a] = p.kernel[a] + (plain ? 0 : Draw(0, 2));
        p.input[a] = Draw(1, row && Draw(0, 1) ? 5 * lanes : 7);
        if (a == 0 && plain) p.input[a] = 1;
        if (plain && Draw(0, 1)) p.input[a] = (p.input[a] + p.stride[a] - 1) / p.stride[a] * p.stride[a];
        p.padding[a] =
            plain ? peakpool_padding{0, 0} : peakpool_padding{Draw(0, p.kernel[a] - 1), Draw(0, p.kernel[a] - 1)};
        if (Draw(0, 5) == 0) p.kernel[a] = p.input[a], p.stride[a] = 1, p.padding[a] = {0, 0};
        legal &= p.padding[a].before + p.input[a] + p.padding[a].after >= p.kernel[a];
      }
      if (!legal || p.kernel[0] * p.kernel[1] * p.kernel[2] > 256) continue;
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 2) == 0) AddGaps(&p);
      CheckBackward(last ? "gather_channels_last" : "gather_channels_first",
                    last ? kernels.gather_channels_last : kernels.gather_channels_first, p);
    }
  });
}

class WideKernel : public Kernel {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WideKernel);

// Windows of 1 to 20 taps on either axis, with strides, and planes and channels around multiples of the block sizes.
TEST_P(WideKernel, WideWindowsOfEveryShape) {
  ForEachTarget([&](const Kernels& kernels) {
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 1200 && !HasFailure(); ++i) {
      const bool last = i % 2 != 0;
      const ForwardKernel kernel = last ? kernels.wide_channels_last : kernels.wide_channels_first;
      if (kernel == nullptr) continue;
      const int64_t most = Draw(0, 1) ? 9 : 3 * lanes;
      const int32_t formats[] = {PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_WINDOW_U16, PEAKPOOL_INDEX_WINDOW_U32};
      peakpool_problem p = Problem(last ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST, Draw(1, 2),
                                   Draw(1, last ? 5 * lanes : 4), 1, 1, PEAKPOOL_INDEX_WINDOW_U32);
      bool legal = true;
      for (int a = 0; a < 2; ++a) {
        p.kernel[a] = Draw(0, 4) == 0 ? Draw(1, 3) : Draw(4, Draw(0, 2) == 0 ? 20 : 9);
        if (a == 1 && Draw(0, 1)) p.kernel[1] = p.kernel[0];
        p.stride[a] = Draw(0, 1) ? 1 : Draw(1, p.kernel[a] + 1);
        p.padding[a] = {Draw(0, p.kernel[a] - 1), Draw(0, p.kernel[a] - 1)};
        p.input[a] = Draw(1, a == 1 && !last ? most : 24);
        if (Draw(0, 9) == 0) p.kernel[a] = p.input[a], p.padding[a] = {0, 0};
        legal &= p.padding[a].before + p.input[a] + p.padding[a].after >= p.kernel[a];
      }
      if (!legal) continue;
      p.index_format = p.kernel[0] * p.kernel[1] <= 256 ? formats[Draw(0, 2)] : formats[Draw(1, 2)];
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 2) == 0) AddGaps(&p);
      CheckForward(last ? "wide_channels_last" : "wide_channels_first", kernel, p);
    }
  });
}

// More rows, columns, taps and channels than one block holds.
TEST_P(WideKernel, WideWindowsBeyondOneBlock) {
  ForEachTarget([&](const Kernels& kernels) {
    for (const char* geometry :
         {"nhwc 1x18x40x12 k31x13 s1 p15x6", "nhwc 2x33x60x3 k40x2 s1 p20x1", "nhwc 1x70x6x150 k2x70 s1 p0x35",
          "nhwc 1x64x5x900 k4 s2", "nhwc 1x16x1300x1 k1100x1 s40x1 p90x0", "nhwc 1x16x1200x1 k1100x1 s1",
          "nhwc 1x16x2x1100 k2x600 s1x4 p1x300", "nhwc 1x150x13x13 k13 s1 p6", "nchw 1x2x70x40 k31 s1 p15",
          "nchw 1x2x20x300 k9x65 s1 p4x30", "nchw 5x3x7x7 k7 s7", "nchw 1x1x1200x20 k1100x4 s1",
          "nchw 1x1x3x5000 k4 s4", "nchw 1x2x50x130 k5x4 s2x3 p2", "nchw 1x2x150x200 k5x7 s1 p4x3",
          "nchw 1x3x12x190 k9x33 s1 p8x20", "nchw 1x2x150x200 k4 s1 p2:1", "nhwc 1x40x60x130 k4 s1 p1:2"}) {
      peakpool_problem p = Parsed("f32 " + std::string(geometry) + " window-u32");
      p.type = GetParam().type;
      const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
      const ForwardKernel kernel = last ? kernels.wide_channels_last : kernels.wide_channels_first;
      if (kernel == nullptr) continue;
      Resolve(&p);
      CheckForward(last ? "wide_channels_last" : "wide_channels_first", kernel, p);
      if (HasFailure()) return;
    }
  });
}

// Rows of more than a vector, of planes that fill vectors side by side.
TEST_P(WideKernel, WideWindowsOfManyPlanes) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.wide_channels_first == nullptr) return;
    const int64_t lanes = std::min<int64_t>(static_cast<int64_t>(kernels.lanes), 16);
    for (int i = 0; i < 60 && !HasFailure(); ++i) {
      const int32_t formats[] = {PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_WINDOW_U16};
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), lanes + Draw(-1, lanes + 2), Draw(1, 21),
                                   Draw(lanes + 1, lanes + 10), formats[Draw(0, 2)]);
      for (int a = 0; a < 2; ++a) {
        const int64_t most = std::min<int64_t>(p.input[a], 16);
        p.kernel[a] = Draw(0, 5) == 0 ? 1 : std::min(Draw(5, 16), most);
        p.padding[a] = {Draw(0, p.kernel[a] - 1), Draw(0, p.kernel[a] - 1)};
      }
      Resolve(&p);
      if (HasEmptyWindow(p) || p.kernel[0] * p.kernel[1] > 256) continue;
      if (Draw(0, 5) == 0) AddGaps(&p);
      CheckForward("wide_channels_first", kernels.wide_channels_first, p);
    }
  });
}

// 5x5 centred along the width, as networks pool: rows of several strips, planes and parts of planes that begin and end
// anywhere, and more of them than are pooled at once.
TEST_P(WideKernel, CentredWindowsOfFive) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.wide_channels_first == nullptr) return;
    for (int i = 0; i < 500 && !HasFailure(); ++i) {
      const bool large = i % 50 == 0;
      const int64_t channels = Draw(1, large ? 90 : 6), width = Draw(1, i % 2 != 0 ? 17 : large ? 300 : 60);
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), channels, Draw(1, large ? 40 : 15), width,
                                   PEAKPOOL_INDEX_WINDOW_U8);
      for (int a = 0; a < 2; ++a) {
        p.kernel[a] = 5;
        p.padding[a] = a == 1 ? peakpool_padding{2, Draw(0, 2)} : peakpool_padding{Draw(0, 4), Draw(0, 4)};
      }
      if (p.input[0] + p.padding[0].before + p.padding[0].after < 5) continue;
      if (p.input[1] + p.padding[1].before + p.padding[1].after < 5) continue;
      Resolve(&p);
      if (HasEmptyWindow(p)) continue;
      if (Draw(0, 2) == 0) AddGaps(&p);
      CheckForward("wide_channels_first", kernels.wide_channels_first, p);
    }
  });
}

// Kernels whose lanes track NaN see one wherever it is.
TEST_P(WideKernel, WideWindowsSeeEveryNan) {
  if (GetParam().type != PEAKPOOL_F32) return;
  ForEachTarget([&](const Kernels& kernels) {
    for (const char* geometry : {"nchw 1x16x5x17 k5 s1 p2", "nchw 1x30x6x35 k5 s1 p2", "nchw 1x1x7x40 k7x5 s1 p3x2",
                                 "nchw 1x1x9x6 k5 s1 p2", "nhwc 1x16x5x9 k5 s1 p2", "nhwc 1x16x7x8 k7x8 s1 p3x7",
                                 "nhwc 1x16x6x9 k5x4 s1 p2x1", "nhwc 1x16x1x30 k1x9 s1 p0x1"}) {
      peakpool_problem p = Parsed("f32 " + std::string(geometry) + " window-u8");
      const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
      const ForwardKernel kernel = last ? kernels.wide_channels_last : kernels.wide_channels_first;
      if (kernel == nullptr) continue;
      Resolve(&p);
      const Bytes finite = RandomElements(p.type, InputBytes(p), Fill::kFiniteTies, &random_);
      const size_t pixels = static_cast<size_t>(p.input[0] * p.input[1]), channels = static_cast<size_t>(p.channels);
      for (size_t i = 0; i < pixels && !HasFailure(); ++i) {
        const size_t c = i % channels;
        const float nan = std::numeric_limits<float>::quiet_NaN();
        Bytes x = finite;
        std::memcpy(x.data() + (last ? i * channels + c : c * pixels + i) * sizeof(nan), &nan, sizeof(nan));
        CheckForwardOf(x, last ? "wide_channels_last" : "wide_channels_first", kernel, p);
      }
    }
  });
}

// Lines of up to a few vectors under windows whose taps lie up to more than a vector apart.
TEST_P(Kernel, LongLinesOfDilatedWindows) {
  ForEachTarget([&](const Kernels& kernels) {
    for (int i = 0; i < 120 && !HasFailure(); ++i) {
      const int64_t dilation = Draw(1, i % 4 == 0 ? 100 : 9), least = 2 * dilation + 1;
      peakpool_problem p =
          Problem(PEAKPOOL_CHANNELS_FIRST, 1, Draw(1, 3), Draw(1, 12),
                  Draw(least, least + 4 * static_cast<int64_t>(kernels.lanes)), PEAKPOOL_INDEX_WINDOW_U8);
      for (int a = 0; a < 2; ++a) {
        p.kernel[a] = 3;
        p.dilation[a] = a == 0 && i % 8 == 0 ? Draw(1, 2) : dilation;  // or no rows but the middle one are in range
        p.padding[a] = {p.dilation[a], p.dilation[a]};
      }
      if (Draw(0, 2) == 0) p.padding[1] = {Draw(0, dilation), Draw(0, dilation)};
      Resolve(&p);
      if (Draw(0, 4) == 0) AddGaps(&p);
      CheckForward("separable", kernels.separable, p);
      CheckForwardOf(LowestElements(p.type, InputBytes(p)), "separable", kernels.separable, p);
      if (kernels.window_channels_first == nullptr) continue;
      CheckForward("window_channels_first", kernels.window_channels_first, p);
      CheckForwardOf(LowestElements(p.type, InputBytes(p)), "window_channels_first", kernels.window_channels_first, p);
    }
  });
}

TEST_P(Kernel, SeparableTakesEveryWindow) {
  const Window windows[] = {{1, 1, 0, 0}, {1, 3, 0, 0}, {2, 2, 1, 0}, {3, 1, 1, 1}, {3, 2, 1, 1}, {3, 4, 2, 1},
                            {4, 3, 1, 2}, {5, 1, 2, 2}, {7, 2, 3, 3}, {9, 1, 4, 4}, {13, 1, 6, 6}};
  ForEachTarget([&](const Kernels& kernels) {
    size_t turn = 0;
    for (const Window& window : windows) {
      ForEachLineLength(kernels.lanes, 4, [&](int64_t length) {
        if (HasFailure()) return;
        ++turn;
        const int32_t layout = turn % 2 == 0 ? PEAKPOOL_CHANNELS_FIRST : PEAKPOOL_CHANNELS_LAST;
        const bool last = layout == PEAKPOOL_CHANNELS_LAST;
        const int64_t rows = 1 + static_cast<int64_t>(turn % 8), few = 1 + static_cast<int64_t>(turn % 5);
        const int32_t formats[] = {PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_WINDOW_U16, PEAKPOOL_INDEX_WINDOW_U32};
        peakpool_problem p = Problem(layout, 1, last ? length : few, rows, last ? few : length, formats[turn % 3]);
        p.dilation[0] = 1 + static_cast<int64_t>(turn % 3);
        p.dilation[1] = 1 + static_cast<int64_t>(turn / 3 % 2);
        if (!SetWindow(&p, window, turn % 5 == 0)) return;
        CheckForward("separable", kernels.separable, p);
      });
    }
  });
}

// With forms of their own: windows of few rows, dilated along the depth, and of whole images.
TEST_P(Kernel, SeparableTakesWindowsWithDepth) {
  ForEachTarget([&](const Kernels& kernels) {
    for (int i = 0; i < 120; ++i) {
      const int32_t layout = Draw(0, 3) == 0 ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST;
      const bool last = layout == PEAKPOOL_CHANNELS_LAST, global = i % 5 == 0;
      const int64_t most = 2 * static_cast<int64_t>(kernels.lanes) + 3;
      peakpool_problem p = Problem(layout, Draw(1, 2), last ? Draw(1, most) : Draw(1, 3), 1, 1,
                                   Draw(0, 1) ? PEAKPOOL_INDEX_WINDOW_U8 : PEAKPOOL_INDEX_WINDOW_U16);
      p.rank = 3;
      for (int a = 0; a < 3; ++a) {
        p.input[a] = a == 0 ? Draw(1, 14) : a == 1 ? Draw(1, 9) : Draw(1, last || global ? 9 : most);
        p.kernel[a] = global ? (p.input[a] = std::min<int64_t>(p.input[a], 6)) : Draw(1, 3);
        p.stride[a] = Draw(1, 3);
        p.dilation[a] = global ? 1 : Draw(1, 3);
        const int64_t reach = (p.kernel[a] - 1) * p.dilation[a];
        p.padding[a] = {0, 0};
        if (!global) p.padding[a] = {Draw(0, reach), Draw(0, reach)};
        p.input[a] = std::max(p.input[a], reach + 1);
      }
      Resolve(&p);
      if (Draw(0, 3) == 0) AddGaps(&p);
      CheckForward("separable", kernels.separable, p);
      if (HasFailure()) return;
    }
  });
}

// Windows with a depth whose slices are pooled first: lines of a vector of outputs or more, at stride 2.
TEST_P(Kernel, WindowsWithDepthOfLongLines) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_first == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 24; ++i) {
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), Draw(1, 3), 1, 1, PEAKPOOL_INDEX_WINDOW_U8);
      p.rank = 3;
      for (int a = 0; a < 3; ++a) {
        p.kernel[a] = Draw(2, 3);
        p.stride[a] = a == 0 ? Draw(1, 3) : 2;
        p.dilation[a] = 1;
        p.padding[a] = {Draw(0, 1), Draw(0, 1)};
        p.input[a] = a == 0   ? Draw(3, 14)
                     : a == 1 ? Draw(3, i < 4 ? 60 : 24)
                              : Draw(2 * lanes, i < 4 ? 4 * lanes : 5 * lanes);
      }
      Resolve(&p);
      if (Draw(0, 3) == 0) AddGaps(&p);
      CheckForward("window_channels_first", kernels.window_channels_first, p);
      if (HasFailure()) return;
    }
  });
}

// The same channels-last, where neighbouring windows share slices; long lines are pooled in parts.
TEST_P(Kernel, WindowsWithDepthOfManyChannels) {
  ForEachTarget([&](const Kernels& kernels) {
    if (kernels.window_channels_last == nullptr) return;
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 24; ++i) {
      const int64_t stride = Draw(1, 2), channels = i % 8 == 0 ? Draw(9, 11) * lanes + 3 : Draw(lanes, 3 * lanes);
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_LAST, Draw(1, 2), channels, 1, 1, PEAKPOOL_INDEX_WINDOW_U8);
      p.rank = 3;
      for (int a = 0; a < 3; ++a) {
        p.kernel[a] = a == 0 ? Draw(2, 3) : 3;
        p.stride[a] = a == 0 ? Draw(1, p.kernel[a] - 1) : stride;
        p.dilation[a] = 1;
        p.padding[a] = {Draw(0, 1), Draw(0, 1)};
        p.input[a] = a == 0 ? Draw(3, 9) : a == 1 ? Draw(3, 12) : i % 8 == 0 ? Draw(40, 50) : Draw(3, 12);
      }
      Resolve(&p);
      if (Draw(0, 3) == 0) AddGaps(&p);
      CheckForward("window_channels_last", kernels.window_channels_last, p);
      if (HasFailure()) return;
    }
  });
}

// Planes of about one vector to a few, one window each.
TEST_P(Kernel, SeparableTakesWholePlanes) {
  ForEachTarget([&](const Kernels& kernels) {
    const int64_t lanes = static_cast<int64_t>(kernels.lanes);
    for (int i = 0; i < 60; ++i) {
      const int64_t rows = Draw(0, 2) == 0 ? Draw(2, 7) : 1;
      const int64_t columns = std::max<int64_t>(1, Draw(lanes / 4, 3 * lanes + 3) / rows);
      const int64_t channels = i % 10 == 0 ? Draw(250, 262) : Draw(1, 21);
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), channels, rows, columns,
                                   Draw(0, 1) ? PEAKPOOL_INDEX_WINDOW_U8 : PEAKPOOL_INDEX_WINDOW_U16);
      p.kernel[0] = rows;
      p.kernel[1] = columns;
      Resolve(&p);
      if (Draw(0, 3) == 0) AddGaps(&p);
      CheckForward("separable", kernels.separable, p);
      if (HasFailure()) return;
    }
  });
}

// Windows of 4 columns apart, of lines of less than a vector of outputs to a few.
TEST_P(Kernel, SeparableTakesWindowsOfFour) {
  ForEachTarget([&](const Kernels& kernels) {
    for (int i = 0; i < 40; ++i) {
      const int64_t outputs = Draw(1, (Draw(0, 1) ? 3 : 9) * static_cast<int64_t>(kernels.lanes) + 1);
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 2), Draw(1, 3), Draw(1, 4),
                                   4 * outputs + Draw(0, 3), PEAKPOOL_INDEX_WINDOW_U8);
      p.kernel[0] = 1;
      p.stride[0] = Draw(1, 2);
      p.kernel[1] = p.stride[1] = 4;
      Resolve(&p);
      if (Draw(0, 2) == 0) AddGaps(&p);
      CheckForward("separable", kernels.separable, p);
      if (HasFailure()) return;
    }
  });
}

// Planes side by side with a form of their own: tall windows over lines with much padding, lines with one output each,
// and slices apart.
TEST_P(Kernel, SeparableTakesShortLinesOfManyPlanes) {
  ForEachTarget([&](const Kernels& kernels) {
    const int64_t lanes = std::max<int64_t>(6, static_cast<int64_t>(kernels.lanes));
    for (int i = 0; i < 36; ++i) {
      peakpool_problem p = Problem(PEAKPOOL_CHANNELS_FIRST, Draw(1, 3), Draw(2, 30), 1, 1,
                                   Draw(0, 1) ? PEAKPOOL_INDEX_WINDOW_U16 : PEAKPOOL_INDEX_WINDOW_U32);
      p.rank = 3;
      const bool one = i % 2 == 0;
      const int64_t depth = Draw(0, 2) == 0 ? Draw(2, 5) : 1, width = one ? Draw(2, lanes / 3) : Draw(2, lanes + 3);
      p.kernel[0] = depth;
      p.stride[0] = Draw(1, depth + 1);
      p.input[0] = depth == 1 ? 1 : Draw(depth, 9);
      p.kernel[1] = Draw(8, 11);
      p.stride[1] = Draw(1, 9);
      p.input[1] = Draw(11, 20);
      p.kernel[2] = one ? Draw(1, width) : Draw(2, 9);
      p.stride[2] = one ? width : 1;
      p.input[2] = one ? width : std::max(width, p.kernel[2]);
      for (int a = 0; a < 3; ++a) {
        p.dilation[a] = 1;
        p.padding[a] = {0, 0};
      }
      p.padding[1] = {Draw(0, 4), Draw(0, 4)};
      if (!one) p.padding[2] = {p.kernel[2] / 2, p.kernel[2] / 2};
      Resolve(&p);
      if (Draw(0, 3) == 0) AddGaps(&p);
      CheckForward("separable", kernels.separable, p);
      if (HasFailure()) return;
    }
  });
}

// More rows, columns, taps and channels than one tile of scratch holds.
TEST_P(Kernel, SeparableBeyondItsScratch) {
  ForEachTarget([&](const Kernels& kernels) {
    for (const char* geometry : {"nchw 1x1x3x9000 k3 s1 p1", "nchw 1x1x2x20000 k1x700 s1x90 p0x300",
                                 "nchw 1x1x700x5 k600x2 s7x1 p99x1", "nhwc 1x5000x3x3 k2 s1", "nhwc 1x300x9x9 k9 s1 p4",
                                 "nhwc 1x3x4x5000 k2x300 s1x7", "ncdhw 1x1x5x6x300 k4x3x40 s1x2x3 p1x1x9"}) {
      peakpool_problem p = Parsed("f32 " + std::string(geometry) + " window-u32");
      p.type = GetParam().type;
      Resolve(&p);
      CheckForward("separable", kernels.separable, p);
      if (HasFailure()) return;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Type, WindowKernel, ::testing::ValuesIn(TablesWithWindows()),
                         [](const ::testing::TestParamInfo<Table>& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Type, WideKernel, ::testing::ValuesIn(TablesWithWideWindows()),
                         [](const ::testing::TestParamInfo<Table>& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Type, Kernel, ::testing::ValuesIn(kTables),
                         [](const ::testing::TestParamInfo<Table>& info) { return info.param.name; });

}  // namespace
}  // namespace peakpool::tests
