// SPDX-License-Identifier: Apache-2.0
// Drives the kernel of short lines at stride 2: which outputs share a vector is written down once per call, as steps
// that all planes share. Vectors load and store beyond their lines, and what one spoils the next one mends; what would
// touch a byte outside the run of planes is done in scratch.
//
// Against kernels that share rows between two lines but leave lanes idle at the end of each: 35x35 takes 0.68 of the
// time on AVX2 (with tap numbers 0.72, AVX-512 0.64), 13x13 0.72, 56x56 of 2x2 0.7 to 0.87. Offsets in tables, loaded
// one by one: 1.2 to 1.4 times as long.
#include "src/kernels/packed.h"

#include <algorithm>
#include <cstring>

#include "src/kernels/slice_walk.h"

namespace peakpool {
namespace {

class PackedRun {
 public:
  PackedRun(const ForwardCall& call, int64_t lanes, const PackedKernels& kernels, ForwardKernel separable)
      : call_(call),
        kernels_(kernels),
        separable_(separable),
        g_(*call.geometry),
        width_(g_.axis[kWidth]),
        height_(g_.axis[kHeight]),
        n_(lanes),
        gap_(width_.kernel - 2),
        with_taps_(call.taps.base != nullptr) {
    char* at = static_cast<char*>(call.scratch);
    const auto take = [&at](int64_t bytes) {
      char* const taken = at;
      at += (bytes + 63) / 64 * 64;
      return taken;
    };
    tables_ = take(PackedStep::kMostTables * PackedTablesSize(n_));
    ramp_ = reinterpret_cast<int32_t*>(take(2 * n_ * static_cast<int64_t>(sizeof(int32_t))));
    steps_ = reinterpret_cast<uint64_t*>(take(kMostSteps * sizeof(uint64_t)));
    edge_steps_ = reinterpret_cast<uint64_t*>(take(kMostSteps * sizeof(uint64_t)));
    x_copy_ = reinterpret_cast<float*>(take(kMostEdge * sizeof(float)));
    y_copy_ = reinterpret_cast<float*>(take(kMostEdge / 4 * sizeof(float)));
    taps_copy_ = reinterpret_cast<uint8_t*>(take(kMostEdge / 4));
    const int64_t columns = width_.stride * width_.output;
    const bool dense = g_.input.axis[kHeight] == width_.input && g_.output.axis[kHeight] == width_.output &&
                       (!with_taps_ || call.taps.strides.axis[kHeight] == width_.output);
    fits_ = at - static_cast<char*>(call.scratch) <= call.scratch_bytes && dense && width_.pad_before == 0 &&
            height_.pad_before == 0 && columns <= width_.input && width_.input <= kMostEdge / 16 &&
            2 * width_.input * (n_ / width_.output + 4) + 4 * n_ <= kMostEdge &&
            height_.Begin(height_.output - 1) < height_.input && height_.input * width_.input <= 0xFFFF;
    clamped_ = columns + gap_ > width_.input;
  }

  // True if done; false if there is no room for the steps: what was done has to be done again.
  bool Run() {
    if (!fits_) return false;
    for (SliceWalk walk(call_, separable_); walk.Next();) {
      at_ = {static_cast<const float*>(call_.x) + walk.x,
             static_cast<float*>(call_.y) + walk.y,
             with_taps_ ? static_cast<uint8_t*>(call_.taps.base) + walk.taps : nullptr,
             1,
             g_.input.channel,
             g_.output.channel,
             with_taps_ ? call_.taps.strides.channel : 0};
      for (int64_t p = 0; p < walk.planes;) {
        if (!Prepare(walk.oh, walk.stop)) return false;
        // How far the first plane's loads and stores may go.
        room_ = {walk.x_end - walk.x - p * g_.input.channel, walk.y_end - walk.y - p * g_.output.channel,
                 with_taps_ ? walk.taps_end - walk.taps - p * call_.taps.strides.channel : walk.y_end};
        at_.planes = std::min(kMostPlanes, walk.planes - p);
        while (at_.planes > 0 && !Inside(walk.stop, at_.planes - 1)) --at_.planes;
        bool nan;
        if (at_.planes > 0) {
          nan = Pool(walk.oh, code_);
        } else {
          at_.planes = 1;
          nan = EdgePlane(walk.oh, walk.stop);
        }
        if (nan) {
          walk.Redo(p, at_.planes);
          made_[0] = made_[1] = begin_ = stop_ = 0;  // both live in the call's scratch
        }
        at_.x += at_.planes * at_.x_step;
        at_.y += at_.planes * at_.y_step;
        if (with_taps_) at_.taps += at_.planes * at_.taps_step;
        p += at_.planes;
      }
    }
    return true;
  }

 private:
  static constexpr int64_t kMostLanes = 16, kMostSteps = 1024, kMostSegments = 8, kMostEdge = 4096;

  bool RunKernel(const PackedCode& code, const PackedPlanes& at) const {
    return (code.single ? kernels_.single : kernels_.any)(code, at);
  }
  bool Pool(int64_t begin, const PackedCode& code) const {
    PackedPlanes at = at_;
    at.x += begin * height_.stride * width_.input;
    at.y += begin * width_.output;
    if (with_taps_) at.taps += begin * width_.output;
    return RunKernel(code, at);
  }

  // Whether lines up to `stop` of a plane load and store inside of the run around it.
  bool Inside(int64_t stop, int64_t plane) const {
    const int64_t last_row = std::min((stop - 1) * height_.stride + height_.kernel, height_.input) - 1;
    const int64_t load_end = last_row * width_.input + 2 * width_.output + 2 * n_ + plane * at_.x_step;
    const int64_t store_end = stop * width_.output - 1 + n_;
    return load_end <= room_.x && store_end + plane * at_.y_step <= room_.y &&
           (!with_taps_ || store_end + plane * at_.taps_step <= room_.taps);
  }

  // A plane at the end of a run: its last lines in scratch.
  [[gnu::noinline]] bool EdgePlane(int64_t begin, int64_t stop) {
    int64_t inside = stop;
    while (inside > begin && !Inside(inside, 0)) --inside;
    // The steps that end before.
    PackedSegment segments[kMostSegments];
    PackedCode code = code_;
    int64_t most = (inside - begin) * width_.output, outputs = 0, step = 0;
    code.segments = segments;
    code.count = 0;
    for (int64_t s = 0; s < code_.count && outputs <= most; ++s) {
      PackedSegment& segment = segments[code.count++] = segments_[s];
      const int64_t end = step + segment.steps;
      for (; step < end; ++step) {
        const int64_t next = outputs + PackedStep::Outputs(steps_[step]);
        if (next > most) {
          segment.steps -= end - step;
          most = -1;
          break;
        }
        outputs = next;
      }
    }
    bool nan = outputs > 0 && Pool(begin, code);
    inside = begin + outputs / width_.output;
    if (inside == stop) return nan;
    Write(inside, stop, edge_steps_, segments, code);
    const int64_t first_row = inside * height_.stride;
    const int64_t rows = std::min((stop - 1) * height_.stride + height_.kernel, height_.input) - first_row;
    const int64_t size = rows * width_.input;
    outputs = (stop - inside) * width_.output;
    memcpy(x_copy_, at_.x + first_row * width_.input, static_cast<size_t>(size) * sizeof(float));
    memset(x_copy_ + size, 0, static_cast<size_t>(2 * (width_.output + n_)) * sizeof(float));
    nan |= RunKernel(code, {x_copy_, y_copy_, taps_copy_, 1, 0, 0, 0});
    memcpy(at_.y + inside * width_.output, y_copy_, static_cast<size_t>(outputs) * sizeof(float));
    if (with_taps_) memcpy(at_.taps + inside * width_.output, taps_copy_, static_cast<size_t>(outputs));
    return nan;
  }

  // Writes the steps for lines of a plane, unless they are there.
  bool Prepare(int64_t begin, int64_t stop) {
    if (begin == begin_ && stop == stop_) return true;
    begin_ = begin, stop_ = stop;
    return Write(begin, stop, steps_, segments_, code_);
  }

  // The steps for lines [begin, stop), from the first one's first row on. A vector holds so many pairs of columns, of
  // which windows of 3 leave one behind each run of outputs idle: the last window's third column.
  bool Write(int64_t begin, int64_t stop, uint64_t* steps, PackedSegment* segments, PackedCode& code) {
    const int64_t w = width_.output, row = width_.input, rows = height_.input - begin * height_.stride;
    const auto clamped = [&](int64_t line) { return line * height_.stride + height_.kernel > rows; };
    const bool halves = w + gap_ <= n_ / 2;  // two lines, each in half of a vector
    // Z is worth loading if there are fewer steps by a seventh.
    const bool two_lines = halves || 20 * ((w - 1) / (n_ - gap_) + 1) * (n_ - gap_) > 23 * (w + gap_);
    int64_t count = 0, steps_made = 0;
    bool joins = false, single = true;
    for (int64_t line = 0, o = 0; line < stop - begin;) {
      const int64_t first = std::min(w - o, n_ - gap_);
      int64_t used = halves ? n_ / 2 : first + gap_, second = 0;
      if (two_lines && o + first == w && line + 1 < stop - begin && used + gap_ < n_ && !clamped(line + 1)) {
        second = std::min(w, n_ - used - gap_);
      } else {
        used = n_;
      }
      const int64_t top = line * height_.stride;
      const auto below = [&](int64_t j) { return (std::min(top + j, rows - 1) - top) * row; };
      if (count == 0 || segments[count - 1].row1 != below(1) || segments[count - 1].row2 != below(2)) {
        if (count == kMostSegments) return false;
        segments[count++] = {0, below(1), below(2)};
      }
      const int64_t x = top * row + 2 * o, cut = 2 * used, z = (top + height_.stride) * row - cut;
      PackedStep step = {x, x + n_, x, first + second, n_, 0};
      if (second > 0) step.y = z + n_;
      if (second > 0 && cut < n_) {
        step.z = z;
        step.first_of_z = cut;
      }
      if (second > 0 && cut > n_) step = {x + n_, x, z + n_, first + second, cut - n_, 0};
      if (steps_made == kMostSteps) return false;
      step.tables = Tables(first, second, used, o + first == w);
      steps[steps_made++] = step.Word();
      ++segments[count - 1].steps;
      joins |= step.first_of_z < n_;
      single &= second == 0;
      o += first + second;
      for (; o >= w; o -= w) ++line;
    }
    const int64_t full = n_ - gap_, line_steps = (w - 1) / full + 1, rest = w - (line_steps - 1) * full;
    const int64_t rest_tables = single ? Tables(rest, 0, n_, true) : 0;
    const int64_t full_tables = single && line_steps > 1 ? Tables(full, 0, n_, false) : rest_tables;
    code = {segments,    count,       steps,   joins, single, line_steps, full, rest, height_.stride * row,
            full_tables, rest_tables, tables_, ramp_};
    return true;
  }

  // The lanes that EvenMixed has pairs of columns in, and the pairs behind them, for either order of its vectors.
  void MakeOrders() {
    for (int64_t swapped = 0; swapped < 2; ++swapped) {
      for (int64_t pair = 0; pair < 2 * kMostLanes; ++pair) {
        const int64_t k = std::min(pair, n_ - 1), in_vector = 2 * k & (n_ - 1);
        const bool second = (2 * k >= n_) != (swapped == 1);
        order_[swapped][pair] = static_cast<int32_t>(in_vector / 4 * 4 + in_vector % 4 / 2 + (second ? 2 : 0));
        bytes_[swapped][pair] = static_cast<uint8_t>(order_[swapped][pair]);
      }
      for (int64_t k = 0; k < n_; ++k) {
        following_[swapped][order_[swapped][k]] = order_[swapped][std::min(k + 1, n_ - 1)];
      }
    }
    for (int64_t k = 0; k < 2 * n_; ++k) ramp_[k] = k < n_ ? 0 : -1;
  }

  // The number of the tables for `first` outputs from the first pair of columns on, to the end of their line or not,
  // and `second` ones from pair `used`, which the others imply. Copies are as long as the longest vectors: what is
  // spoilt behind them is written next.
  int64_t Tables(int64_t first, int64_t second, int64_t used, bool ends) {
    const int64_t number = first + ((second > 0 ? 2 : 0) + (ends ? 1 : 0)) * (kMostLanes + 1);
    uint64_t& made = made_[number / 64];
    if ((made >> number % 64 & 1) != 0) return number;
    if ((made_[0] | made_[1]) == 0) MakeOrders();
    made |= uint64_t{1} << number % 64;
    const int64_t swapped = second > 0 && 2 * used > n_ ? 1 : 0;
    const int32_t* const lanes = order_[swapped];
    int32_t* const following = reinterpret_cast<int32_t*>(tables_ + number * PackedTablesSize(n_));
    memcpy(following, following_[swapped], sizeof(following_[0]));
    // A column that is none is its own window's first, which wins against it.
    if (clamped_ && ends) following[lanes[first - 1]] = lanes[first - 1];
    if (clamped_ && second == width_.output) following[lanes[used + second - 1]] = lanes[used + second - 1];
    int32_t* const order = following + n_;
    memcpy(order, lanes, kMostLanes * sizeof(*lanes));
    memcpy(order + first, lanes + (second > 0 ? used : 0), kMostLanes * sizeof(*lanes));
    uint8_t* const bytes = reinterpret_cast<uint8_t*>(order + n_);
    memcpy(bytes, bytes_[swapped], kMostLanes);
    memcpy(bytes + first, bytes_[swapped] + (second > 0 ? used : 0), kMostLanes);
    return number;
  }

  const ForwardCall& call_;
  const PackedKernels kernels_;
  const ForwardKernel separable_;
  const Geometry& g_;
  const Axis &width_, &height_;
  const int64_t n_;
  const int64_t gap_;  // pairs of columns behind a line's last output that its window needs
  const bool with_taps_;
  bool fits_;
  bool clamped_;  // a line's last window has no third column
  PackedPlanes at_;
  struct {
    int64_t x, y, taps;
  } room_;
  char* tables_;
  uint64_t *steps_, *edge_steps_;
  float *x_copy_, *y_copy_;
  uint8_t* taps_copy_;
  int32_t* ramp_;
  int32_t order_[2][2 * kMostLanes], following_[2][kMostLanes];
  uint8_t bytes_[2][2 * kMostLanes];
  uint64_t made_[2] = {};  // bits of tables
  PackedSegment segments_[kMostSegments];
  PackedCode code_;
  int64_t begin_ = 0, stop_ = 0;  // the lines that code_ is for
};

}  // namespace

bool ForwardPacked(const ForwardCall& call, int64_t lanes, const PackedKernels& kernels, ForwardKernel separable) {
  return PackedRun(call, lanes, kernels, separable).Run();
}

}  // namespace peakpool
