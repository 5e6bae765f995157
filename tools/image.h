// SPDX-License-Identifier: Apache-2.0
// Pictures as bytes: reads PNG and JPEG.
#ifndef PEAKPOOL_TOOLS_IMAGE_H_
#define PEAKPOOL_TOOLS_IMAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tools/error.h"

namespace peakpool::tools {

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // height x width x 3

  Image() = default;
  Image(int w, int h) : width(w), height(h), rgb(size_t{3} * static_cast<size_t>(w) * static_cast<size_t>(h)) {}
  uint8_t* Pixel(int x, int y) { return rgb.data() + 3 * (static_cast<size_t>(y) * width + x); }
  const uint8_t* Pixel(int x, int y) const { return rgb.data() + 3 * (static_cast<size_t>(y) * width + x); }
};

constexpr int kMaxImageSide = 32767;  // cairo's limit

// The file's first bytes tell its type, not its name. Transparent pixels are put on white.
Error ReadImage(const std::string& path, Image* image);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_IMAGE_H_
