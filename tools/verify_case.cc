// SPDX-License-Identifier: Apache-2.0
#include "tools/verify_case.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "tools/problem_flags.h"
#include "tools/rows.h"

namespace peakpool::tools {
namespace {

// Claims some threads and runs the tasks last first: what tasks must not share shows, the same way every time.
void RunBackwards(void*, int64_t count, void (*task)(void* task_context, int64_t i), void* task_context) {
  for (int64_t i = count; i-- > 0;) task(task_context, i);
}

const peakpool_executor* Serial() { return peakpool_serial_executor(); }

int64_t Positions(const peakpool_problem& p, const int64_t* spatial) {
  int64_t positions = 1;
  for (int a = 0; a < p.rank; ++a) positions *= spatial[a];
  return positions;
}

// Of the row-major position in the (n, c) plane of this number.
size_t Offset(const peakpool_problem& p, const int64_t* spatial, const peakpool_strides& strides, int64_t plane,
              int64_t position) {
  int64_t offset = plane / p.channels * strides.batch + plane % p.channels * strides.channel;
  for (int a = p.rank - 1; a >= 0; --a) {
    offset += position % spatial[a] * strides.spatial[a];
    position /= spatial[a];
  }
  return static_cast<size_t>(offset);
}

size_t InputOffset(const peakpool_problem& p, int64_t plane, int64_t position) {
  return Offset(p, p.input, p.input_strides, plane, position);
}
size_t OutputOffset(const peakpool_problem& p, int64_t plane, int64_t position) {
  return Offset(p, p.output, p.output_strides, plane, position);
}

// An index that lies in no window and no plane, whatever the output, if the format can hold one.
bool DrawInvalidIndex(const peakpool_problem& p, Random* random, uint64_t* index) {
  const int64_t plane = Positions(p, p.input), tensor = plane * p.batch * p.channels;
  if (p.index_format >= PEAKPOOL_INDEX_PLANE_I32) {
    const int64_t beyond = p.index_format <= PEAKPOOL_INDEX_PLANE_I64 ? plane : tensor;
    *index =
        static_cast<uint64_t>(random->OneIn(2) ? beyond + random->Between(0, 1000) : -2 - random->Between(0, 1000));
    return true;
  }
  const int64_t taps = Positions(p, p.kernel);
  const int64_t all_ones = (int64_t{1} << (8 * IndexBytes(p.index_format))) - 1;  // may mark an empty window
  if (taps >= all_ones) return false;
  *index = static_cast<uint64_t>(random->Between(taps, std::min(all_ones - 1, taps + 1000)));
  return true;
}

}  // namespace

std::string Reproduction(const peakpool_problem& problem, uint64_t seed) {
  return "peakpool verify --problem \"" + Describe(problem) + "\" --seed " + std::to_string(seed);
}

Case::Case(const peakpool_problem& problem, const Plan& reference, uint64_t seed, Outcome* outcome)
    : reference_(reference),
      resolved_(reference.problem()),
      problem_(problem),
      seed_(seed),
      outcome_(outcome),
      random_(seed),
      element_(ElementBytes(problem.type)),
      index_element_(IndexBytes(problem.index_format)),
      inputs_(static_cast<size_t>(InputSpan(resolved_))),
      outputs_(static_cast<size_t>(OutputSpan(resolved_))),
      offset_(element_ * static_cast<size_t>(random_.Between(0, 7))),
      backwards_{sizeof(peakpool_executor), RunBackwards, nullptr, static_cast<int32_t>(random_.Between(2, 8))},
      x_(InputBytes(), offset_),
      y_(OutputBytes(), offset_),
      index_(outputs_ * index_element_, 8),
      dy_(OutputBytes(), offset_),
      start_(InputBytes(), offset_) {
  const peakpool_executor* const executors[] = {Serial(), peakpool_default_executor(), &backwards_};
  executor_ = executors[random_.Between(0, 2)];
  RandomValues(problem_.type, &random_, static_cast<int64_t>(inputs_), x_.data());
  if (has_backward()) {
    RandomGradients(problem_.type, &random_, static_cast<int64_t>(outputs_), dy_.data());
    if (problem_.flags & PEAKPOOL_ACCUMULATE) {
      RandomGradients(problem_.type, &random_, static_cast<int64_t>(inputs_), start_.data());
    }
  }
  dx_ = start_;
  target_ = "im2col";
  Expect("forward", reference_.forward(x_.data(), y_.data(), has_index() ? index_.data() : nullptr, Serial()));
  if (has_backward()) Expect("backward", reference_.backward(dy_.data(), index_.data(), dx_.data(), Serial()));
  if (!y_.GuardsIntact() || !index_.GuardsIntact() || !dx_.GuardsIntact()) Mismatch("wrote outside a tensor");
  if (has_index() && outputs_ != 0) Corrupt();
  if (random_.OneIn(4)) DrawLevels();
}

void Case::Run(const std::vector<std::string>& targets) {
  ++outcome_->forward;
  outcome_->backward += has_backward();
  outcome_->corrupt += surely_invalid_;
  outcome_->stream += problem_.rank == 2;
  outcome_->pyramid += !levels_.kernels.empty();
  for (const std::string& target : targets) {
    target_ = target;
    problem_.target = target_.c_str();
    const Plan plan(problem_);
    if (!plan) {
      Mismatch(std::string("refused what im2col takes: ") + plan.error());
      continue;
    }
    CheckForward(plan);
    if (has_backward()) CheckBackward(plan);
    if (problem_.rank == 2) CheckStream();
    if (!levels_.kernels.empty()) CheckPyramid();
    if (has_index() && outputs_ != 0) CheckCorrupted(plan);
  }
  problem_.target = nullptr;
  if (!has_index()) return;
  // These have no kernels of their own.
  target_ = "scalar";
  const Plan plan(problem_);
  if (!plan) return;
  CheckUnpool(plan);
  CheckConversion(plan);
}

// Ruins some indices: any bits, then one that is wrong wherever it stands.
void Case::Corrupt() {
  corrupted_ = index_;
  const int64_t planes = resolved_.batch * resolved_.channels, outputs = Positions(resolved_, resolved_.output);
  const auto ruin = [&](uint64_t bits) {
    const size_t at = OutputOffset(resolved_, random_.Between(0, planes - 1), random_.Between(0, outputs - 1));
    std::memcpy(static_cast<char*>(corrupted_.data()) + at * index_element_, &bits, index_element_);  // little-endian
  };
  const int64_t taps = Positions(resolved_, resolved_.kernel);
  for (int64_t i = random_.Between(0, 3); i > 0; --i) {
    ruin(random_.OneIn(2) ? random_.Next() : static_cast<uint64_t>(random_.Between(-2, 2 * taps)));
  }
  uint64_t invalid;
  surely_invalid_ = !random_.OneIn(4) && DrawInvalidIndex(resolved_, &random_, &invalid);
  if (surely_invalid_) ruin(invalid);
  if (!has_backward()) return;
  Guarded dx(InputBytes(), offset_);
  corrupted_status_ = reference_.backward(dy_.data(), corrupted_.data(), dx.data(), Serial());
  if (surely_invalid_) Expect("backward of a corrupted index", corrupted_status_, PEAKPOOL_INVALID_INDEX);
  CompareOutside("dx of a corrupted index", &dx);
}

// A pyramid over x, its y dense or with gaps, and what separate plans make of it.
void Case::DrawLevels() {
  constexpr double kMaxTaps = 300000;  // of the largest level, in all
  const double elements =
      static_cast<double>(Positions(resolved_, resolved_.input) * resolved_.batch * resolved_.channels);
  int64_t kernel = random_.OneIn(3) ? -1 : 1;  // before the first step of 2
  for (int64_t levels = random_.Between(1, 4); levels > 0; --levels) {
    kernel += 2 * random_.Between(1, 3);
    double taps = elements;
    for (int a = 0; a < problem_.rank; ++a) taps *= static_cast<double>(kernel);
    if (taps > kMaxTaps && !levels_.kernels.empty()) break;
    levels_.kernels.push_back(kernel);
  }
  const int64_t levels = static_cast<int64_t>(levels_.kernels.size());
  peakpool_problem level = problem_;
  level.algorithm = PEAKPOOL_IM2COL;
  level.rounding = PEAKPOOL_FLOOR;
  level.index_format = PEAKPOOL_INDEX_NONE;
  level.flags = 0;
  for (int a = 0; a < level.rank; ++a) {
    level.kernel[a] = level.stride[a] = level.dilation[a] = 1;
    level.padding[a] = {0, 0};
  }
  levels_.whole = level;
  levels_.whole.channels *= levels;
  levels_.whole.input_strides = levels_.whole.output_strides = {};
  if (random_.OneIn(2)) levels_.whole.output_strides = RandomStrides(&random_, levels_.whole, level.input);
  const Plan whole(levels_.whole);
  if (!Expect("the plan of a pyramid's y", whole.status())) return;
  pyramid_y_ = Guarded(static_cast<size_t>(OutputSpan(whole.problem())) * element_, offset_);
  level.output_strides = whole.problem().output_strides;
  for (int64_t i = 0; i < levels; ++i) {
    for (int a = 0; a < level.rank; ++a) {
      level.kernel[a] = levels_.kernels[static_cast<size_t>(i)];
      level.padding[a] = {level.kernel[a] / 2, level.kernel[a] / 2};
    }
    const Plan plan(level);
    const int64_t at = i * problem_.channels * level.output_strides.channel * static_cast<int64_t>(element_);
    if (!Expect("the plan of a pyramid's level", plan.status())) return;
    Expect("a pyramid's level", plan.forward(x_.data(), static_cast<char*>(pyramid_y_.data()) + at, nullptr, Serial()));
  }
  levels_.whole.output_strides = level.output_strides;
}

void Case::CheckForward(const Plan& plan) {
  Guarded x = x_, values(OutputBytes(), offset_);
  Expect("forward", plan.forward(x.data(), values.data(), nullptr, executor_));
  Compare("y without indices", values, y_, element_);
  if (has_index()) {
    Guarded with_indices(OutputBytes(), offset_), taps(outputs_ * index_element_, 8);
    Expect("forward", plan.forward(x.data(), with_indices.data(), taps.data(), executor_));
    Compare("y with indices", with_indices, y_, element_);
    Compare("an index", taps, index_, index_element_);
  }
  Compare("the input was written to and", x, x_, element_);
}

void Case::CheckBackward(const Plan& plan) {
  Guarded dx = start_;
  Expect("backward", plan.backward(dy_.data(), index_.data(), dx.data(), executor_));
  Compare("dx", dx, dx_, element_);
}

void Case::CheckStream() {
  Guarded y(OutputBytes(), offset_), index(outputs_ * index_element_, 8);
  void* const indices = has_index() ? index.data() : nullptr;
  Expect("stream", ForwardByRows(problem_, resolved_, x_.data(), y.data(), indices, executor_));
  Compare("y of a stream", y, y_, element_);
  if (has_index()) Compare("an index of a stream", index, index_, index_element_);
}

void Case::CheckPyramid() {
  peakpool_problem problem = problem_;
  problem.output_strides = levels_.whole.output_strides;
  peakpool_pyramid* created;
  const peakpool_status made =
      peakpool_pyramid_create(&problem, levels_.kernels.data(), static_cast<int32_t>(levels_.kernels.size()), &created);
  if (!Expect("making a pyramid", made)) return;
  const std::unique_ptr<peakpool_pyramid, decltype(&peakpool_pyramid_destroy)> pyramid(created,
                                                                                       peakpool_pyramid_destroy);
  Guarded y = pyramid_y_;
  Expect("pyramid", peakpool_pyramid_forward(pyramid.get(), x_.data(), y.data(), executor_));
  Compare("y of a pyramid", y, pyramid_y_, element_);
}

// Against a plain loop over the positions that the reference gives: any of the plane where the format can name them.
void Case::CheckUnpool(const Plan& plan) {
  ++outcome_->unpool;
  const int32_t position_formats[] = {PEAKPOOL_INDEX_PLANE_I64, problem_.index_format};
  peakpool_problem problem = problem_;
  problem.algorithm = PEAKPOOL_IM2COL;
  problem.index_format = position_formats[0];
  const Plan by_position(problem);
  if (!Expect("the plan of plane indices", by_position.status())) return;
  Guarded values(OutputBytes(), offset_), positions(outputs_ * sizeof(int64_t), 8);
  Expect("forward", by_position.forward(x_.data(), values.data(), positions.data(), Serial()));
  Guarded expected(InputBytes(), offset_), found(InputBytes(), offset_), index = index_;
  const int64_t planes = resolved_.batch * resolved_.channels, outputs = Positions(resolved_, resolved_.output);
  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t i = 0; i < Positions(resolved_, resolved_.input); ++i) {
      std::memset(static_cast<char*>(expected.data()) + InputOffset(resolved_, plane, i) * element_, 0, element_);
    }
    for (int64_t o = 0; o < outputs; ++o) {
      const size_t from = OutputOffset(resolved_, plane, o);
      int64_t position;
      std::memcpy(&position, static_cast<char*>(positions.data()) + from * sizeof(position), sizeof(position));
      if (position < 0) continue;  // an empty window
      std::memcpy(static_cast<char*>(expected.data()) + InputOffset(resolved_, plane, position) * element_,
                  static_cast<char*>(y_.data()) + from * element_, element_);
    }
  }
  Expect("unpool", plan.unpool(y_.data(), index.data(), found.data(), executor_));
  Compare("x of unpool", found, expected, element_);
}

// To every format that can hold the range: what the reference gives in that format.
void Case::CheckConversion(const Plan& plan) {
  ++outcome_->convert;
  const int32_t from = problem_.index_format;
  peakpool_problem problem = problem_;
  problem.algorithm = PEAKPOOL_IM2COL;
  problem.index_format =
      static_cast<int32_t>(random_.Between(PEAKPOOL_INDEX_WINDOW_U8, PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64));
  const Plan wanted(problem);
  const int32_t to = problem.index_format;
  const size_t bytes = IndexBytes(to);
  Guarded values(OutputBytes(), offset_), expected(outputs_ * bytes, 8), found = expected;
  const peakpool_status status = plan.convert_indices(from, index_.data(), to, found.data(), executor_);
  if (!wanted) {
    Expect("converting to a format that cannot hold the range", status, wanted.status());
    return;
  }
  Expect("convert", status);
  Expect("forward", wanted.forward(x_.data(), values.data(), expected.data(), Serial()));
  Compare(("an index converted to " + FormatName(to)).c_str(), found, expected, bytes);
  if (!surely_invalid_) return;
  Guarded ruined(outputs_ * bytes, 8);
  Expect("converting a corrupted index", plan.convert_indices(from, corrupted_.data(), to, ruined.data(), executor_),
         PEAKPOOL_INVALID_INDEX);
  if (!ruined.GuardsIntact()) Mismatch("converting a corrupted index wrote outside the indices");
}

void Case::CheckCorrupted(const Plan& plan) {
  if (has_backward()) {
    Guarded dx(InputBytes(), offset_);
    Expect("backward of a corrupted index", plan.backward(dy_.data(), corrupted_.data(), dx.data(), executor_),
           corrupted_status_);
    CompareOutside("dx of a corrupted index", &dx);
  }
  Guarded x(InputBytes(), offset_);
  const peakpool_status status = plan.unpool(y_.data(), corrupted_.data(), x.data(), executor_);
  if (surely_invalid_) Expect("unpool of a corrupted index", status, PEAKPOOL_INVALID_INDEX);
  CompareOutside("x of a corrupted index", &x);
}

bool Case::Expect(const char* what, peakpool_status status, peakpool_status expected) {
  if (status == expected) return true;
  Mismatch(std::string(what) + ": " + peakpool_status_name(status) + ", should be " + peakpool_status_name(expected) +
           (status == PEAKPOOL_OK ? "" : std::string(": ") + peakpool_last_error()));
  return false;
}

void Case::Compare(const char* what, const Guarded& found, const Guarded& expected, size_t element) {
  int64_t at;
  if (!found.Differs(expected, &at)) return;
  const int64_t size = static_cast<int64_t>(element);
  const int64_t number = (at < 0 ? at - size + 1 : at) / size;
  Mismatch(std::string(what) + " is wrong at element " + std::to_string(number) +
           " in memory: " + found.Hex(number * size, element) + " should be " + expected.Hex(number * size, element));
}

// Outside the elements of x, which may hold anything and are wiped.
void Case::CompareOutside(const char* what, Guarded* x) {
  const int64_t planes = resolved_.batch * resolved_.channels;
  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t i = 0; i < Positions(resolved_, resolved_.input); ++i) {
      x->Wipe(InputOffset(resolved_, plane, i) * element_, element_);
    }
  }
  Compare(what, *x, Guarded(InputBytes(), offset_), element_);
}

// Reports the first of each target: the others follow from it more often than not.
void Case::Mismatch(const std::string& what) {
  if (mismatched_ == target_) return;
  mismatched_ = target_;
  std::string text = target_ + ": " + what + "\n  " + Reproduction(problem_, seed_);
  if (problem_.target != nullptr) text += " --target " + target_;
  outcome_->mismatches.push_back(text);
}

}  // namespace peakpool::tools
