// SPDX-License-Identifier: Apache-2.0
// The picture that `peakpool picture` writes: input, result and selection side by side, whole and in detail.
#ifndef PEAKPOOL_TOOLS_SHEET_H_
#define PEAKPOOL_TOOLS_SHEET_H_

#include <string>
#include <vector>

#include "tools/error.h"
#include "tools/files.h"
#include "tools/image.h"

namespace peakpool::tools {

// Three pictures of one size and their captions, the second line in smaller type.
struct Sheet {
  std::string title, subtitle;
  struct Panel {
    Image image;
    std::vector<bool> outlined;  // pixels to frame where pixels are drawn large enough; empty: none
    std::string heading, caption;
  } panels[3];
  // Sides, in pixels, of the squares that one output pixel is drawn as; the detail shows several of them.
  int cell_width = 1, cell_height = 1;
};

// Writes the sheet as PNG. `path` is what an error names.
Error WriteSheet(const Sheet& sheet, const std::string& path, OutputFile* file);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_SHEET_H_
