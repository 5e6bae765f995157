// SPDX-License-Identifier: Apache-2.0
#include <xnnpack.h>

#include <limits>

#include "bench/start/start.h"

int main() {
  static float y[kOutput * kOutput * kChannels + XNN_EXTRA_BYTES / sizeof(float)];
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  xnn_operator_t op = nullptr;
  if (xnn_initialize(nullptr) != xnn_status_success ||
      xnn_create_max_pooling2d_nhwc_f32(0, 0, 0, 0, 2, 2, 2, 2, 1, 1, kChannels, kChannels, kChannels, -kInfinity,
                                        kInfinity, 0, &op) != xnn_status_success ||
      xnn_setup_max_pooling2d_nhwc_f32(op, 1, kInput, kInput, Input(), y, nullptr) != xnn_status_success ||
      xnn_run_operator(op, nullptr) != xnn_status_success) {
    return 1;
  }
  return Done(y);
}
