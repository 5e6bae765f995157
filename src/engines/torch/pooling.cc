// SPDX-License-Identifier: Apache-2.0
#include "src/engines/torch/pooling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <climits>
#include <string>
#include <type_traits>
#include <vector>

namespace peakpool_torch {
namespace {

void ParallelFor(void*, int64_t count, void (*task)(void* context, int64_t i), void* context) {
  at::parallel_for(0, count, 1, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) task(context, i);
  });
}

// PyTorch's own threads, as many as it would use here itself.
peakpool_executor TorchThreads() {
  return {sizeof(peakpool_executor), ParallelFor, nullptr, at::in_parallel_region() ? 1 : at::get_num_threads()};
}

bool ElementType(at::ScalarType scalar, Types types, int32_t* type) {
  switch (scalar) {
    case at::kFloat: *type = PEAKPOOL_F32; return true;
    case at::kDouble: *type = PEAKPOOL_F64; return true;
    case at::kBFloat16: *type = PEAKPOOL_BF16; return types != Types::kF32F64;
    case at::kHalf: *type = PEAKPOOL_F16; break;
    case at::kChar: *type = PEAKPOOL_I8; break;
    case at::kByte: *type = PEAKPOOL_U8; break;
    case at::kShort: *type = PEAKPOOL_I16; break;
    case at::kInt: *type = PEAKPOOL_I32; break;
    case at::kLong: *type = PEAKPOOL_I64; break;
    default: return false;
  }
  return types == Types::kAny;
}

bool IsNaN(float x) { return x != x; }
bool IsNaN(double x) { return x != x; }
bool IsNaN(at::Half x) { return (x.x & 0x7FFF) > 0x7C00; }
bool IsNaN(at::BFloat16 x) { return (x.x & 0x7FFF) > 0x7F80; }

// The compiler makes vectors of it: no exit from the loop, and 16 results as wide as the elements (117 us become 18 for
// 400,000 floats, Zen 5, g++ 12).
template <class T>
bool HasNaN(const T* x, int64_t count) {
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
  Bits found[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int j = 0; j < 16; ++j) found[j] |= IsNaN(x[i + j]) ? ~Bits{0} : Bits{0};
  }
  Bits any = 0;
  for (const Bits bits : found) any |= bits;
  for (; i < count; ++i) any |= IsNaN(x[i]);
  return any != 0;
}

// The last NaN in the window of output element i (in memory order): its position in the plane, or its tap number.
template <class T>
int64_t LastNaN(const peakpool_problem& p, const T* x, int64_t i) {
  const auto take = [&i](int64_t size) {
    const int64_t position = i % size;
    i /= size;
    return position;
  };
  int64_t c = p.layout == PEAKPOOL_CHANNELS_LAST ? take(p.channels) : 0;
  struct Taps {  // a missing axis has the one tap 0
    int64_t begin = 0, count = 1, step = 1, size = 1, stride = 0, kernel = 1;
    bool Contains(int64_t tap) const { return begin + tap * step >= 0 && begin + tap * step < size; }
  } taps[PEAKPOOL_MAX_RANK];
  for (int a = p.rank - 1; a >= 0; --a) {
    const int64_t o = take(p.output[a]), size = p.input[a], stride = p.input_strides.spatial[a];
    Taps& t = taps[a + PEAKPOOL_MAX_RANK - p.rank];
    if (p.rounding == PEAKPOOL_ADAPTIVE) {
      const int64_t begin = o * size / p.output[a], end = ((o + 1) * size + p.output[a] - 1) / p.output[a];
      t = {begin, end - begin, 1, size, stride, p.kernel[a]};
    } else {
      t = {o * p.stride[a] - p.padding[a].before, p.kernel[a], p.dilation[a], size, stride, p.kernel[a]};
    }
  }
  if (p.layout == PEAKPOOL_CHANNELS_FIRST) c = take(p.channels);
  x += i * p.input_strides.batch + c * p.input_strides.channel;
  const bool in_window = p.index_format == PEAKPOOL_INDEX_WINDOW_U8;
  int64_t last = -1;
  for (int64_t d = 0; d < taps[0].count; ++d) {
    for (int64_t h = 0; h < taps[1].count; ++h) {
      for (int64_t w = 0; w < taps[2].count; ++w) {
        if (!taps[0].Contains(d) || !taps[1].Contains(h) || !taps[2].Contains(w)) continue;
        const int64_t tap[] = {d, h, w};
        int64_t offset = 0, number = 0;
        for (int a = 0; a < 3; ++a) {
          const int64_t position = taps[a].begin + tap[a] * taps[a].step;
          offset += position * taps[a].stride;
          number = in_window ? number * taps[a].kernel + tap[a] : number * taps[a].size + position;
        }
        if (IsNaN(x[offset])) last = number;
      }
    }
  }
  return last;
}

constexpr int64_t kNaNGrain = 32768;  // elements a thread looks at, PyTorch's grain for simple loops

// peakpool's index of a NaN is the first one in the window, PyTorch's the last.
template <class T, class Index>
void TakeLastNaN(const peakpool_problem& p, const T* x, const T* y, Index* index) {
  int64_t elements = p.batch * p.channels;
  for (int a = 0; a < p.rank; ++a) elements *= p.output[a];
  at::parallel_for(0, elements, kNaNGrain, [&](int64_t begin, int64_t end) {
    constexpr int64_t kBlock = 512;
    for (; begin < end; begin += kBlock) {
      const int64_t block_end = std::min(begin + kBlock, end);
      if (!HasNaN(y + begin, block_end - begin)) continue;
      for (int64_t i = begin; i < block_end; ++i) {
        if (IsNaN(y[i])) index[i] = static_cast<Index>(LastNaN(p, x, i));
      }
    }
  });
}

template <class T>
void TakeLastNaN(const peakpool_problem& p, const at::Tensor& x, const at::Tensor& y, const at::Tensor& index) {
  const T *from = x.data_ptr<T>(), *to = y.data_ptr<T>();
  if (p.index_format == PEAKPOOL_INDEX_WINDOW_U8) {
    TakeLastNaN(p, from, to, index.data_ptr<uint8_t>());
  } else {
    TakeLastNaN(p, from, to, index.data_ptr<int64_t>());
  }
}

void TakeLastNaNs(const peakpool_problem& p, const at::Tensor& x, const at::Tensor& y, const at::Tensor& index) {
  switch (p.type) {
    case PEAKPOOL_F32: TakeLastNaN<float>(p, x, y, index); break;
    case PEAKPOOL_F64: TakeLastNaN<double>(p, x, y, index); break;
    case PEAKPOOL_F16: TakeLastNaN<at::Half>(p, x, y, index); break;
    case PEAKPOOL_BF16: TakeLastNaN<at::BFloat16>(p, x, y, index); break;
  }
}

peakpool_index_format IndexFormatOf(const at::Tensor& index) {
  return index.scalar_type() == at::kByte ? PEAKPOOL_INDEX_WINDOW_U8 : PEAKPOOL_INDEX_PLANE_I64;
}

// The strides of x where peakpool can read it as it lies.
bool SetStrides(const at::Tensor& x, bool batched, const peakpool_problem& p, peakpool_strides* strides) {
  const at::IntArrayRef given = x.strides();
  const int first = batched ? 2 : 1;
  strides->batch = batched ? given[0] : 0;
  strides->channel = given[first - 1];
  for (int a = 0; a < p.rank; ++a) strides->spatial[a] = given[first + a];
  const bool last = p.layout == PEAKPOOL_CHANNELS_LAST;
  int64_t& innermost = last ? strides->channel : strides->spatial[p.rank - 1];
  // PyTorch gives any stride to an axis of one element.
  if ((last ? p.channels : p.input[p.rank - 1]) == 1) innermost = 1;
  return innermost == 1;
}

}  // namespace

at::MemoryFormat FormatOf(const at::Tensor& x, int rank) {
  return rank == 2 ? x.suggest_memory_format() : at::MemoryFormat::Contiguous;
}

bool Pooling::SetShape(const at::Tensor& like, at::IntArrayRef sizes, int rank, Types types) {
  const int64_t dimensions = static_cast<int64_t>(sizes.size());
  batched_ = dimensions == rank + 2;
  if ((!batched_ && dimensions != rank + 1) || like.layout() != at::kStrided || like.has_names()) return false;
  int32_t type;
  if (!ElementType(like.scalar_type(), types, &type)) return false;
  const bool last = format_ != at::MemoryFormat::Contiguous;
  peakpool_problem_init(&problem_, static_cast<peakpool_type>(type),
                        last ? PEAKPOOL_CHANNELS_LAST : PEAKPOOL_CHANNELS_FIRST, rank);
  // PyTorch gives negative infinity where no tap is in range, which dilation allows it.
  problem_.flags = PEAKPOOL_ALLOW_EMPTY;
  if (batched_) {
    problem_.batch = sizes[0];
    sizes = sizes.slice(1);
  }
  problem_.channels = sizes[0];
  std::copy(sizes.begin() + 1, sizes.end(), problem_.input);
  return std::find(sizes.begin(), sizes.end(), 0) == sizes.end();
}

bool Pooling::SetWindow(const Window& window) {
  const size_t rank = static_cast<size_t>(problem_.rank);
  for (at::IntArrayRef values : {window.kernel, window.stride, window.padding, window.dilation}) {
    if (values.size() != 1 && values.size() != rank && (values.data() != window.stride.data() || !values.empty())) {
      return false;
    }
  }
  const auto value = [](at::IntArrayRef values, size_t axis) { return values[values.size() == 1 ? 0 : axis]; };
  for (size_t a = 0; a < rank; ++a) {
    const int64_t kernel = value(window.kernel, a), padding = value(window.padding, a);
    const int64_t stride = window.stride.empty() ? kernel : value(window.stride, a);
    const int64_t dilation = value(window.dilation, a);
    for (int64_t number : {kernel, stride, dilation}) {
      if (number < 1 || number > INT_MAX) return false;
    }
    if (padding < 0 || padding > kernel / 2) return false;
    problem_.kernel[a] = kernel;
    problem_.stride[a] = stride;
    problem_.dilation[a] = dilation;
    problem_.padding[a] = {padding, padding};
  }
  problem_.rounding = window.ceil_mode ? PEAKPOOL_CEIL : PEAKPOOL_FLOOR;
  return peakpool_output_size(&problem_, problem_.output) == PEAKPOOL_OK;
}

Pooling::Pooling(const at::Tensor& like, at::IntArrayRef sizes, int rank, at::MemoryFormat format, Types types,
                 const Window& window)
    : format_(format) {
  taken_ = SetShape(like, sizes, rank, types) && SetWindow(window);
}

Pooling::Pooling(const at::Tensor& like, at::IntArrayRef sizes, int rank, at::MemoryFormat format, Types types,
                 at::IntArrayRef output_size)
    : format_(format) {
  taken_ = SetShape(like, sizes, rank, types) && output_size.size() == static_cast<size_t>(rank);
  if (!taken_) return;
  problem_.rounding = PEAKPOOL_ADAPTIVE;
  std::copy(output_size.begin(), output_size.end(), problem_.output);
  taken_ = *std::min_element(output_size.begin(), output_size.end()) >= 1;
}

at::DimVector Pooling::Sizes(const int64_t* spatial) const {
  at::DimVector sizes;
  if (batched_) sizes.push_back(problem_.batch);
  sizes.push_back(problem_.channels);
  sizes.append(spatial, spatial + problem_.rank);
  return sizes;
}

bool Pooling::TapsFitBytes() const {
  peakpool_problem problem = problem_;
  problem.index_format = PEAKPOOL_INDEX_WINDOW_U8;
  return peakpool_output_size(&problem, problem.output) == PEAKPOOL_OK;
}

at::Tensor Pooling::NewOutput(at::TensorOptions options) const {
  return at::empty(Sizes(problem_.output), options, format_);
}

at::Tensor Pooling::NewInput(at::TensorOptions options) const {
  return at::empty(Sizes(problem_.input), options, format_);
}

bool Pooling::IsOutput(const at::Tensor& y, at::ScalarType type) const {
  return y.layout() == at::kStrided && !y.has_names() && y.scalar_type() == type &&
         y.sizes() == at::IntArrayRef(Sizes(problem_.output)) && y.is_contiguous(format_);
}

bool Pooling::IsInput(const at::Tensor& x, at::ScalarType type) const {
  return x.layout() == at::kStrided && !x.has_names() && x.scalar_type() == type &&
         x.sizes() == at::IntArrayRef(Sizes(problem_.input)) && x.is_contiguous(format_);
}

peakpool::Plan Pooling::PlanFor(const at::Tensor& index) const {
  peakpool_problem problem = problem_;
  problem.index_format = IndexFormatOf(index);
  return peakpool::Plan(problem);
}

bool Pooling::Forward(const at::Tensor& x, const at::Tensor& y, const at::Tensor& index) const {
  peakpool_problem problem = problem_;
  if (index.defined()) problem.index_format = IndexFormatOf(index);
  // Not readable where elements lie apart, as in x[..., ::2]; no plan where they overlap, as in x.expand().
  const bool dense = x.is_contiguous(format_);
  const bool readable = dense || SetStrides(x, batched_, problem, &problem.input_strides);
  const peakpool::Plan plan = readable ? peakpool::Plan(problem) : peakpool::Plan();
  if (!plan) return !dense && Forward(x.contiguous(format_), y, index);
  RECORD_FUNCTION("peakpool::forward", std::vector<c10::IValue>({x}));
  if (y.numel() == 0) return true;
  const peakpool_executor threads = TorchThreads();
  if (plan.forward(x.data_ptr(), y.data_ptr(), index.defined() ? index.data_ptr() : nullptr, &threads) != PEAKPOOL_OK) {
    return false;
  }
  if (index.defined()) TakeLastNaNs(plan.problem(), x, y, index);
  return true;
}

bool Pooling::Backward(const at::Tensor& dy, const at::Tensor& index, const at::Tensor& dx) const {
  if (dy.scalar_type() != dx.scalar_type() || dy.sizes() != at::IntArrayRef(Sizes(problem_.output)) ||
      index.sizes() != dy.sizes() || (index.scalar_type() != at::kLong && index.scalar_type() != at::kByte)) {
    return false;
  }
  RECORD_FUNCTION("peakpool::backward", std::vector<c10::IValue>({dy, index}));
  const peakpool::Plan plan = PlanFor(index);
  if (!plan) return false;
  if (dx.numel() == 0) return true;
  const at::Tensor dense_dy = dy.contiguous(format_), dense_index = index.contiguous(format_);
  const peakpool_executor threads = TorchThreads();
  const peakpool_status status = plan.backward(dense_dy.data_ptr(), dense_index.data_ptr(), dx.data_ptr(), &threads);
  if (status != PEAKPOOL_INVALID_INDEX) return status == PEAKPOOL_OK;
  // PyTorch adds at any index, also one that is in no window; outside the plane it writes outside of dx.
  const std::string error = peakpool_last_error();
  int64_t plane = 1;
  for (int a = 0; a < problem_.rank; ++a) plane *= problem_.input[a];
  const auto range = at::aminmax(dense_index);
  const int64_t least = problem_.rounding == PEAKPOOL_ADAPTIVE ? 0 : -1;
  TORCH_CHECK_INDEX(index.scalar_type() == at::kLong && std::get<0>(range).item<int64_t>() >= least &&
                        std::get<1>(range).item<int64_t>() < plane,
                    "max pooling backward: ", error);
  return false;
}

bool Pooling::Unpool(const at::Tensor& y, const at::Tensor& index, const at::Tensor& x) const {
  if (index.scalar_type() != at::kLong || index.sizes() != y.sizes()) return false;
  RECORD_FUNCTION("peakpool::unpool", std::vector<c10::IValue>({y, index}));
  const peakpool::Plan plan = PlanFor(index);
  if (!plan) return false;
  if (x.numel() == 0) return true;
  const at::Tensor dense_y = y.contiguous(format_), dense_index = index.contiguous(format_);
  const peakpool_executor threads = TorchThreads();
  return plan.unpool(dense_y.data_ptr(), dense_index.data_ptr(), x.data_ptr(), &threads) == PEAKPOOL_OK;
}

at::Tensor Pooling::PlaneIndex(const at::Tensor& index) const {
  const at::Tensor dense = index.contiguous(format_), plane = NewOutput(index.options().dtype(at::kLong));
  const peakpool::Plan plan = PlanFor(index);
  const peakpool_executor threads = TorchThreads();
  TORCH_CHECK_INDEX(plan && plan.convert_indices(PEAKPOOL_INDEX_WINDOW_U8, dense.data_ptr(), PEAKPOOL_INDEX_PLANE_I64,
                                                 plane.data_ptr(), &threads) == PEAKPOOL_OK,
                    "peakpool: ", peakpool_last_error());
  return plane;
}

}  // namespace peakpool_torch
