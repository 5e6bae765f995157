// SPDX-License-Identifier: Apache-2.0
#include <dnnl.hpp>

#include "bench/start/start.h"

int main() {
  static float y[kOutput * kOutput * kChannels];
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto f32 = dnnl::memory::data_type::f32;
  const auto nhwc = dnnl::memory::format_tag::nhwc;
  const dnnl::memory::desc x_desc({1, kChannels, kInput, kInput}, f32, nhwc);
  const dnnl::memory::desc y_desc({1, kChannels, kOutput, kOutput}, f32, nhwc);
  const dnnl::memory::dims two = {2, 2}, zero = {0, 0};
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm = dnnl::algorithm::pooling_max;
#if DNNL_VERSION_MAJOR >= 3
  using Pooling = dnnl::pooling_forward;
  const Pooling::primitive_desc desc(engine, kind, algorithm, x_desc, y_desc, two, two, zero, zero, zero);
#else
  using Pooling = dnnl::pooling_v2_forward;
  const Pooling::primitive_desc desc({kind, algorithm, x_desc, y_desc, two, two, zero, zero, zero}, engine);
#endif
  Pooling(desc).execute(stream, {{DNNL_ARG_SRC, dnnl::memory(x_desc, engine, const_cast<float *>(Input()))},
                                 {DNNL_ARG_DST, dnnl::memory(y_desc, engine, y)}});
  stream.wait();
  return Done(y);
}
