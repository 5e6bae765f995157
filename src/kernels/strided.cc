// SPDX-License-Identifier: Apache-2.0
// Drives the kernel of windows of 2 or 3 columns at stride 2, channels-first: a pair of vectors is filled with the
// columns of as many lines as fit, and its even and odd lanes are the windows' taps.
//
// Where what is loaded and stored is written down once per call, as code that all planes share. All clamping of rows is
// in it, so that the kernel knows neither edges nor how many lines share a vector. Columns outside the rows are loaded
// all the same (they are the neighbouring rows') and bounded by limits per lane; stores are ascending and whole, so
// that what one spoils behind its line the next one mends. What would touch a byte outside the run of planes is done in
// scratch.
#include "src/kernels/strided.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "src/kernels/slice_walk.h"

namespace peakpool {
namespace {

class StridedRun {
 public:
  StridedRun(const ForwardCall& call, const StridedLanes& lanes, ForwardKernel separable)
      : call_(call),
        lanes_(lanes),
        separable_(separable),
        g_(*call.geometry),
        depth_(g_.axis[kDepth]),
        width_(g_.axis[kWidth]),
        height_(g_.axis[kHeight]),
        n_(lanes.count),
        size_(lanes.size),
        with_taps_(call.taps.base != nullptr) {
    const int64_t columns = 2 * width_.output + (width_.kernel == 3 ? 2 : 0);
    loads_ = 2;
    units_ = lines_ = columns <= n_ && n_ >= 4 ? 2 : 1;
    kernel_ = lanes.whole;
    if (lanes.blocks != nullptr && columns <= n_ / 2) {
      kernel_ = lanes.blocks;
      loads_ = units_ = 2 * n_ * size_ / kStridedBlock;
      lines_ = columns * size_ <= kStridedBlock ? loads_ : loads_ / 2;
    }
    loads_per_line_ = loads_ / lines_;
    load_lanes_ = 2 * n_ / loads_;
    strip_ = n_ / lines_ - (width_.kernel == 3 ? 1 : 0);
    strips_ = (width_.output + strip_ - 1) / strip_;
    rows_ = depth_.kernel * height_.kernel;
    segment_code_ = units_ + 2 + rows_ * loads_;
    dense_ = g_.input.axis[kHeight] == width_.input && g_.output.axis[kHeight] == width_.output &&
             (!with_taps_ || call.taps.strides.axis[kHeight] == width_.output) &&
             (depth_.kernel == 1 || g_.input.axis[kDepth] == height_.input * width_.input);
    dense_planes_ = g_.input.channel == depth_.input * height_.input * width_.input;
    // Windows that do not overlap do not see where one plane ends and the next begins.
    stackable_ = dense_ && dense_planes_ && depth_.input == 1 && height_.kernel == height_.stride &&
                 height_.pad_before == 0 && height_.input == height_.stride * height_.output &&
                 g_.output.channel == height_.output * width_.output &&
                 (!with_taps_ || call.taps.strides.channel == g_.output.channel);
    // Scratch: tables of the first, of middle and of last strips, and of the rows of the first, of second and of other
    // lines; copies of what a step stores and loads; code of all of a plane, and of part of one.
    char* at = static_cast<char*>(call.scratch);
    const auto take = [&at](int64_t bytes) {
      char* const taken = at;
      at += (bytes + 63) / 64 * 64;
      return taken;
    };
    const int64_t vector = n_ * size_;
    tables_ = take(kKinds * (kTables + 2 * rows_) * vector);
    y_copy_ = take(kMostUnits * vector);
    taps_copy_ = take((kMostUnits + 1) * n_);
    x_copy_ = take(2 * rows_ * vector);
    const int64_t code = kMostSegments * segment_code_ * static_cast<int64_t>(sizeof(int32_t));
    code_ = reinterpret_cast<int32_t*>(take(code));
    part_ = reinterpret_cast<int32_t*>(take(code));
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 4;
    fits_ = at - static_cast<char*>(call.scratch) <= call.scratch_bytes &&
            16 * height_.input * g_.input.axis[kHeight] + (rows_ > height_.kernel ? 3 * g_.input.axis[kDepth] : 0) <
                kMost &&
            height_.output * g_.output.axis[kHeight] < kMost / 16;
  }
  bool fits() const { return fits_; }

  void Run() {
    WriteTables();
    for (SliceWalk walk(call_, separable_); walk.Next();) {
      StridedPlanes at = {static_cast<const char*>(call_.x) + walk.x * size_,
                          static_cast<char*>(call_.y) + walk.y * size_,
                          with_taps_ ? static_cast<uint8_t*>(call_.taps.base) + walk.taps : nullptr,
                          1,
                          g_.input.channel,
                          g_.output.channel,
                          with_taps_ ? call_.taps.strides.channel : 0};
      const bool tall = stackable_ && walk.planes > 1;
      int64_t planes = 1;
      for (int64_t p = 0; p < walk.planes; p += planes) {
        if (tall) {
          planes = std::min(kMostPlanes, walk.planes - p);
          height_.input = planes * g_.axis[kHeight].input;
          walk.stop = planes * height_.output;
        }
        Prepare(walk);
        at.planes = 0;
        while (at.planes < (tall ? 1 : kMostPlanes) && p + at.planes < walk.planes &&
               Inside(walk, p + at.planes, 0, groups_)) {
          ++at.planes;
        }
        if (!tall) planes = std::max<int64_t>(at.planes, 1);
        bool nan = false;
        if (at.planes > 0) {
          nan = kernel_(lanes_.lanes, all_, at);
        } else {
          at.planes = 1;
          nan = EdgePlane(walk, p, at);
        }
        if (nan) {
          walk.Redo(p, planes);
          WriteTables();  // both live in the call's scratch
          written_ = false;
        }
        at.x += planes * at.x_step * size_;
        at.y += planes * at.y_step * size_;
        if (with_taps_) at.taps += planes * at.taps_step;
      }
      height_.input = g_.axis[kHeight].input;
    }
  }

 private:
  static constexpr int64_t kKinds = 3, kTables = StridedCode::kTables, kMostUnits = 8, kMostRows = 9, kMostSegments = 7;

  int64_t Line(const SliceWalk& walk, int64_t group, int64_t i) const {
    return std::min(walk.oh + group * lines_ + i, walk.stop - 1);
  }

  // The row of tap j of a line, and the slice of tap k from the first one, clamped.
  int64_t Row(int64_t line, int64_t j) const {
    const int64_t row = line * height_.stride - height_.pad_before + j;
    return std::min(std::max<int64_t>(row, 0), height_.input - 1);
  }
  int64_t Slice(const SliceWalk& walk, int64_t k) const {
    const int64_t begin = depth_.Begin(walk.od);
    return std::min(std::max<int64_t>(begin + k, 0), depth_.input - 1) - std::max<int64_t>(begin, 0);
  }

  // Calls use(i, slice, row, column) for each load of a step, in the code's order.
  template <class Use>
  void ForEachLoad(const SliceWalk& walk, int64_t group, int64_t strip, const Use& use) const {
    const int64_t column = 2 * strip * strip_ - width_.pad_before;
    int64_t i = 0;
    for (int64_t k = 0; k < depth_.kernel; ++k) {
      const int64_t z = Slice(walk, k);
      for (int64_t j = 0; j < height_.kernel; ++j) {
        for (int64_t l = 0; l < lines_; ++l) {
          const int64_t row = Row(Line(walk, group, l), j);
          for (int64_t part = 0; part < loads_per_line_; ++part) use(i++, z, row, column + part * load_lanes_);
        }
      }
    }
  }
  // The same for each unit that is stored: use(i, line, column).
  template <class Use>
  void ForEachUnit(const SliceWalk& walk, int64_t group, int64_t strip, const Use& use) const {
    const int64_t per_line = units_ / lines_, lanes = n_ / units_;
    int64_t i = 0;
    for (int64_t l = 0; l < lines_; ++l) {
      for (int64_t part = 0; part < per_line; ++part) {
        use(i++, Line(walk, group, l), strip * strip_ + part * lanes);
      }
    }
  }

  // Whether all that groups of lines [begin, end) load and store lies in the run around the plane. Later groups begin
  // and end later.
  bool Inside(const SliceWalk& walk, int64_t p, int64_t begin, int64_t end) const {
    if (!dense_) return false;
    int64_t load_begin = 0, load_end = 0, store_end = 0;
    if (begin == 0 && end == groups_) {
      load_begin = load_begin_, load_end = load_end_, store_end = store_end_;
    } else {
      Bound(walk, begin, end, load_begin, load_end, store_end);
    }
    return (load_begin >= 0 || (p > 0 && dense_planes_)) && walk.x + p * g_.input.channel + load_end <= walk.x_end &&
           walk.y + p * g_.output.channel + store_end <= walk.y_end &&
           (!with_taps_ || walk.taps + p * call_.taps.strides.channel + store_end <= walk.taps_end);
  }
  void Bound(const SliceWalk& walk, int64_t begin, int64_t end, int64_t& load_begin, int64_t& load_end,
             int64_t& store_end) const {
    const int64_t first = Line(walk, begin, 0), last = Line(walk, end - 1, lines_ - 1), strip = (strips_ - 1) * strip_;
    load_begin = Row(first, 0) * g_.input.axis[kHeight] - width_.pad_before;
    load_end = Slice(walk, depth_.kernel - 1) * g_.input.axis[kDepth] +
               Row(last, height_.kernel - 1) * g_.input.axis[kHeight] + 2 * strip - width_.pad_before +
               load_lanes_ * loads_per_line_;
    // The first of two halves is stored with the second.
    store_end = last * g_.output.axis[kHeight] + strip + (loads_ > 2 ? load_lanes_ * loads_per_line_ / 2 : n_);
  }

  // Writes the code for the lines of a slice, unless it is there.
  void Prepare(const SliceWalk& walk) {
    const int64_t begin = depth_.Begin(walk.od), before = std::max<int64_t>(-begin, 0),
                  after = std::max<int64_t>(begin + depth_.kernel - depth_.input, 0);
    if (written_ && oh_ == walk.oh && stop_ == walk.stop && before_ == before && after_ == after) return;
    written_ = true;
    oh_ = walk.oh, stop_ = walk.stop, before_ = before, after_ = after;
    groups_ = (walk.stop - walk.oh + lines_ - 1) / lines_;
    if (with_taps_) WriteNumbers(walk);
    all_ = Write(walk, 0, groups_, code_);
    Bound(walk, 0, groups_, load_begin_, load_end_, store_end_);
  }

  StridedCode Code(const int32_t* code, int64_t segments) const {
    return {code,
            segments,
            strips_,
            rows_,
            units_,
            lines_ * height_.stride * g_.input.axis[kHeight],
            lines_ * g_.output.axis[kHeight],
            strip_,
            width_.kernel == 3,
            strips_ > 1 && PrefetchPays(g_, size_),
            tables_,
            {limited_[0], limited_[1], limited_[2]},
            reinterpret_cast<uint8_t*>(taps_copy_)};
  }

  StridedCode Write(const SliceWalk& walk, int64_t begin, int64_t end, int32_t* code) const {
    int64_t segments = 0;
    const int32_t* const first = code;
    for (int64_t group = begin; group < end; ++segments) {
      // Groups that no edge clamps differ by where they begin.
      const int64_t line = walk.oh + group * lines_;
      int64_t times = 1;
      if (height_.Begin(line) >= 0) {
        const int64_t last = std::min(
            walk.stop - 1, (height_.input - height_.kernel + height_.pad_before) / height_.stride);  // not clamped
        times = std::max<int64_t>(std::min(end - group, (last + 1 - line) / lines_), 1);
      }
      WriteSegment(walk, group, times, code);
      code += segment_code_;
      group += times;
    }
    return Code(first, segments);
  }

  void WriteSegment(const SliceWalk& walk, int64_t group, int64_t times, int32_t* code) const {
    *code++ = static_cast<int32_t>(times);
    ForEachUnit(walk, group, 0, [&](int64_t i, int64_t line, int64_t column) {
      code[i] = static_cast<int32_t>(line * g_.output.axis[kHeight] + column);
    });
    code += units_;
    const int64_t lines = height_.Begin(walk.oh + group * lines_) >= 0 ? kKinds - 1 : group;
    *code++ = static_cast<int32_t>((kKinds * kTables + lines * 2 * rows_) * n_);
    ForEachLoad(walk, group, 0, [&](int64_t i, int64_t slice, int64_t row, int64_t column) {
      code[i] = static_cast<int32_t>(slice * g_.input.axis[kDepth] + row * g_.input.axis[kHeight] + column);
    });
  }

  // A plane at the end of a run: what touches something else, in scratch.
  [[gnu::noinline]] bool EdgePlane(const SliceWalk& walk, int64_t p, const StridedPlanes& at) {
    int64_t begin = 0, end = groups_;
    bool nan = false;
    for (; begin < groups_ && !InsideFront(walk, p, begin); ++begin) nan |= InScratch(walk, begin, at);
    while (end > begin && !Inside(walk, p, end - 1, end)) --end;
    if (begin < end) nan |= kernel_(lanes_.lanes, Write(walk, begin, end, part_), at);
    for (; end < groups_; ++end) nan |= InScratch(walk, end, at);
    return nan;
  }
  bool InsideFront(const SliceWalk& walk, int64_t p, int64_t group) const {
    int64_t load_begin = 0, load_end = 0, store_end = 0;
    Bound(walk, group, group + 1, load_begin, load_end, store_end);
    return dense_ && (load_begin >= 0 || (p > 0 && dense_planes_));
  }

  bool InScratch(const SliceWalk& walk, int64_t group, const StridedPlanes& at) {
    bool nan = false;
    for (int64_t strip = 0; strip < strips_; ++strip) {
      int32_t code[2 + kMostUnits + kMostRows * kMostUnits];
      WriteSegment(walk, group, 1, code);
      const int64_t length = 2 * n_ / loads_;
      char* const y = y_copy_;
      char* const taps = taps_copy_ + n_;
      for (int64_t u = 0; u < units_; ++u) code[1 + u] = static_cast<int32_t>(u * n_);
      ForEachLoad(walk, group, strip, [&](int64_t i, int64_t slice, int64_t row, int64_t column) {
        const int64_t first = std::max<int64_t>(column, 0), stop = std::min(column + length, width_.input);
        memset(x_copy_ + i * length * size_, 0, static_cast<size_t>(length * size_));
        if (first < stop) {
          memcpy(x_copy_ + (i * length + first - column) * size_,
                 at.x + (slice * g_.input.axis[kDepth] + row * g_.input.axis[kHeight] + first) * size_,
                 static_cast<size_t>((stop - first) * size_));
        }
        code[2 + units_ + i] = static_cast<int32_t>(i * length);
      });
      StridedCode in = Code(code, 1);
      in.steps = 1;
      const int64_t kind = StripKind(strip, strips_);  // has to be the first one's now
      in.tables = tables_ + kind * kTables * n_ * size_;
      in.limited[0] = limited_[kind];
      code[1 + units_] -= static_cast<int32_t>(kind * kTables * n_);
      nan |= kernel_(lanes_.lanes, in, {x_copy_, y, reinterpret_cast<uint8_t*>(taps), 1, 0, 0, 0});
      ForEachUnit(walk, group, strip, [&](int64_t i, int64_t line, int64_t column) {
        const int64_t count = std::min(std::min(n_ / units_, strip_), width_.output - column);
        if (count <= 0) return;
        memcpy(at.y + (line * g_.output.axis[kHeight] + column) * size_, y + i * n_ * size_,
               static_cast<size_t>(count * size_));
        if (with_taps_) {
          memcpy(at.taps + line * call_.taps.strides.axis[kHeight] + column, taps + i * n_, static_cast<size_t>(count));
        }
      });
    }
    return nan;
  }

  // `count` lanes of a value.
  void Fill(char* to, int64_t count, int64_t value) const {
    const size_t lanes = static_cast<size_t>(std::max<int64_t>(count, 0));
    switch (size_) {
      case 1: std::fill_n(reinterpret_cast<int8_t*>(to), lanes, static_cast<int8_t>(value)); return;
      case 2: std::fill_n(reinterpret_cast<int16_t*>(to), lanes, static_cast<int16_t>(value)); return;
      case 4: std::fill_n(reinterpret_cast<int32_t*>(to), lanes, static_cast<int32_t>(value)); return;
      default: std::fill_n(reinterpret_cast<int64_t*>(to), lanes, value);
    }
  }

  // The limits of columns, and the numbers of taps within a row.
  void WriteTables() {
    const int64_t columns = n_ / lines_;
    for (int64_t kind = 0; kind < kKinds; ++kind) {
      const int64_t strip = kind < 2 ? kind : strips_ - 1;
      if (strip >= strips_ || StripKind(strip, strips_) != kind) continue;
      const int64_t first = strip * strip_, column = 2 * first - width_.pad_before;
      const int64_t outputs = std::min(strip_, width_.output - first);
      limited_[kind] = column < 0 || column + 2 * (outputs - 1) + width_.kernel > width_.input;
      char* table = tables_ + kind * kTables * n_ * size_;
      for (int64_t t = 0; t < 2; ++t, table += n_ * size_) {
        if (!limited_[kind]) continue;
        const int64_t begin = column + t < 0, end = std::min((width_.input - column - t + 1) / 2, columns);
        for (int64_t l = 0; l < lines_; ++l) {
          char* const line = table + l * columns * size_;
          Fill(line, columns, lanes_.least);
          Fill(line + begin * size_, end - begin, lanes_.most);
        }
      }
      for (int64_t t = 0; t < 3 && with_taps_; ++t, table += n_ * size_) {
        // A column left of the row, which ties with the least value, is named by the first one in the row: only output
        // 0 has any. (One right of the row comes last and never wins.)
        Fill(table, n_, t);
        for (int64_t l = 0; l < lines_ && t < -column; ++l) Fill(table + l * columns * size_, 1, -column);
      }
    }
  }

  // The numbers of the rows of a window, in lanes as they are loaded: rows that are clamped at the top are named by the
  // first one. (Those clamped at the bottom never win.) Lines of the first two groups may begin above the plane.
  void WriteNumbers(const SliceWalk& walk) const {
    const int64_t lanes = 2 * n_ / lines_;
    for (int64_t group = 0; group < kKinds; ++group) {
      const bool inner = group == kKinds - 1;
      if (!inner && height_.Begin(Line(walk, group, 0)) >= 0) continue;
      char* table = tables_ + (kKinds * kTables + group * 2 * rows_) * n_ * size_;
      for (int64_t k = 0; k < depth_.kernel; ++k) {
        const int64_t slice = std::max(k, before_) * height_.kernel;
        for (int64_t j = 0; j < height_.kernel; ++j, table += 2 * n_ * size_) {
          Fill(table, 2 * n_, (slice + j) * width_.kernel);
          for (int64_t l = 0; l < lines_ && !inner; ++l) {
            const int64_t begin = height_.Begin(Line(walk, group, l));
            if (j < -begin) Fill(table + l * lanes * size_, lanes, (slice - begin) * width_.kernel);
          }
        }
      }
    }
  }

  const ForwardCall& call_;
  const StridedLanes& lanes_;
  const ForwardKernel separable_;
  const Geometry& g_;
  const Axis &depth_, &width_;
  Axis height_;
  const int64_t n_, size_;
  const bool with_taps_;
  StridedKernel kernel_;
  bool fits_;
  bool dense_, dense_planes_;  // rows, or planes, follow each other: a vector may begin or end in the next one
  bool stackable_;
  int64_t lines_, units_;  // per step
  int64_t loads_;          // per step and row of the window, each of load_lanes_
  int64_t loads_per_line_, load_lanes_;
  int64_t strip_, strips_;  // outputs per step and line, and steps per group of lines
  int64_t rows_, segment_code_;
  char *tables_, *y_copy_, *taps_copy_, *x_copy_;
  int32_t *code_, *part_;
  bool limited_[kKinds] = {};
  // What the code is for, and what it touches.
  bool written_ = false;
  int64_t oh_, stop_, before_, after_, groups_;
  int64_t load_begin_, load_end_, store_end_;
  StridedCode all_;
};

}  // namespace

bool ForwardStrided(const ForwardCall& call, const StridedLanes& lanes, ForwardKernel separable) {
  StridedRun run(call, lanes, separable);
  if (!run.fits()) return false;
  run.Run();
  return true;
}

}  // namespace peakpool
