// SPDX-License-Identifier: Apache-2.0
#include "tools/sheet.h"

#include <cairo.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace peakpool::tools {
namespace {

constexpr int kPanelSide = 640;  // the longest side a whole picture is drawn with
constexpr int kMinColumn = 384;  // wide enough for the captions
constexpr int kMargin = 28, kGap = 24;
constexpr int kTitleHeight = 64, kCaptionHeight = 50;

cairo_status_t WriteBytes(void* context, const unsigned char* data, unsigned int length) {
  auto* writer = static_cast<std::pair<OutputFile*, Error>*>(context);
  writer->second = writer->first->Write(data, length);
  return writer->second ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

struct Rectangle {
  int x, y, width, height;
};

cairo_surface_t* MakeSurface(const Image& image) {
  cairo_surface_t* surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, image.width, image.height);
  if (cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) return surface;
  unsigned char* const pixels = cairo_image_surface_get_data(surface);
  const size_t row = static_cast<size_t>(cairo_image_surface_get_stride(surface));
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const uint8_t* const rgb = image.Pixel(x, y);
      const uint32_t pixel = uint32_t{rgb[0]} << 16 | uint32_t{rgb[1]} << 8 | rgb[2];
      std::memcpy(pixels + static_cast<size_t>(y) * row + size_t{4} * x, &pixel, 4);
    }
  }
  cairo_surface_mark_dirty(surface);
  return surface;
}

// Draws `part` of a surface at (x, y), scaled.
void DrawPart(cairo_t* cairo, cairo_surface_t* surface, const Rectangle& part, double x, double y, double scale) {
  cairo_save(cairo);
  cairo_translate(cairo, x, y);
  cairo_scale(cairo, scale, scale);
  cairo_rectangle(cairo, 0, 0, part.width, part.height);
  cairo_clip(cairo);
  cairo_set_source_surface(cairo, surface, -part.x, -part.y);
  // Enlarged pixels stay squares; a reduced picture is averaged. PAD keeps its rim from fading into the background.
  cairo_pattern_set_filter(cairo_get_source(cairo), scale >= 1 ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
  cairo_pattern_set_extend(cairo_get_source(cairo), CAIRO_EXTEND_PAD);
  cairo_paint(cairo);
  cairo_restore(cairo);
}

// Frames the outlined pixels of `part`, drawn as DrawPart() draws it: a dark pixel among dark ones is hard to see.
void DrawOutlines(cairo_t* cairo, const Sheet::Panel& panel, const Rectangle& part, double x, double y, double scale) {
  constexpr double kLeast = 6;  // smaller pixels would be all frame
  if (panel.outlined.empty() || scale < kLeast) return;
  for (int row = 0; row < part.height; ++row) {
    for (int column = 0; column < part.width; ++column) {
      if (!panel.outlined[static_cast<size_t>(part.y + row) * panel.image.width + part.x + column]) continue;
      cairo_rectangle(cairo, x + column * scale + 0.5, y + row * scale + 0.5, scale - 1, scale - 1);
    }
  }
  cairo_set_source_rgba(cairo, 1, 0.85, 0.1, 0.8);
  cairo_set_line_width(cairo, 1);
  cairo_stroke(cairo);
}

// One line of text with its baseline at y, in smaller type where it would be wider than `width`.
void DrawText(cairo_t* cairo, const std::string& text, double x, double y, double width, double size, bool bold,
              double grey) {
  cairo_select_font_face(cairo, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                         bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(cairo, size);
  cairo_text_extents_t extents;
  cairo_text_extents(cairo, text.c_str(), &extents);
  if (extents.x_advance > width) cairo_set_font_size(cairo, size * width / extents.x_advance);
  cairo_set_source_rgb(cairo, grey, grey, grey);
  cairo_move_to(cairo, x, y);
  cairo_show_text(cairo, text.c_str());
}

// The part of the given size with the most contrast: flat areas show nothing.
Rectangle LiveliestPart(const Image& image, int width, int height, int cell_width, int cell_height) {
  Rectangle best{0, 0, width, height};
  int64_t most = -1;
  // Half-overlapping candidates that start at whole cells, so that no cell is cut.
  const int step_x = std::max(1, width / 2 / cell_width) * cell_width;
  const int step_y = std::max(1, height / 2 / cell_height) * cell_height;
  for (int top = 0; top + height <= image.height; top += step_y) {
    for (int left = 0; left + width <= image.width; left += step_x) {
      int64_t contrast = 0;
      for (int y = top; y < top + height; ++y) {
        for (int x = left + 1; x < left + width; ++x) {
          const uint8_t* const pixel = image.Pixel(x, y);
          contrast +=
              std::abs(pixel[1] - pixel[-2]);  // green, as a stand-in for brightness, against its left neighbour
        }
      }
      if (contrast > most) {
        most = contrast;
        best.x = left;
        best.y = top;
      }
    }
  }
  return best;
}

}  // namespace

Error WriteSheet(const Sheet& sheet, const std::string& path, OutputFile* file) {
  const Image& input = sheet.panels[0].image;
  const int longest = std::max(input.width, input.height);
  double scale = static_cast<double>(kPanelSide) / longest;
  if (scale > 1) scale = std::floor(scale);
  const int panel_width = std::max(1, static_cast<int>(std::lround(input.width * scale)));
  const int panel_height = std::max(1, static_cast<int>(std::lround(input.height * scale)));
  const int column = std::max(panel_width, kMinColumn);

  // The detail shows about 8 cells, at least 64 pixels, across; a picture drawn nearly as large already needs none.
  const int across = std::max(64, 8 * std::max(sheet.cell_width, sheet.cell_height));
  const int zoom = column / std::min(across, column);
  const bool has_detail = zoom >= 2 * scale;
  Rectangle detail{0, 0, 0, 0};
  if (has_detail) {
    detail = LiveliestPart(input, std::min(input.width, column / zoom), std::min(input.height, column * 2 / 3 / zoom),
                           sheet.cell_width, sheet.cell_height);
  }

  const int width = 2 * kMargin + 3 * column + 2 * kGap;
  int height = kMargin + kTitleHeight + kCaptionHeight + panel_height + kMargin;
  const int detail_top = height - kMargin + kGap;
  if (has_detail) height = detail_top + detail.height * zoom + kMargin;

  cairo_surface_t* canvas = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
  cairo_t* cairo = cairo_create(canvas);
  cairo_set_source_rgb(cairo, 0.97, 0.97, 0.97);
  cairo_paint(cairo);
  DrawText(cairo, sheet.title, kMargin, kMargin + 20, width - 2 * kMargin, 24, true, 0.1);
  DrawText(cairo, sheet.subtitle, kMargin, kMargin + 46, width - 2 * kMargin, 15, false, 0.35);
  cairo_status_t status = CAIRO_STATUS_SUCCESS;
  for (int i = 0; i < 3; ++i) {
    const Sheet::Panel& panel = sheet.panels[i];
    const double left = kMargin + i * (column + kGap);
    const double top = kMargin + kTitleHeight + kCaptionHeight;
    DrawText(cairo, panel.heading, left, top - 30, column, 18, true, 0.1);
    DrawText(cairo, panel.caption, left, top - 10, column, 14, false, 0.35);
    cairo_surface_t* const surface = MakeSurface(panel.image);
    if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_status(surface);
    DrawPart(cairo, surface, {0, 0, input.width, input.height}, left, top, scale);
    DrawOutlines(cairo, panel, {0, 0, input.width, input.height}, left, top, scale);
    if (has_detail) {
      // A frame on the whole picture shows where the detail is from.
      cairo_rectangle(cairo, left + detail.x * scale, top + detail.y * scale, detail.width * scale,
                      detail.height * scale);
      cairo_set_source_rgb(cairo, 0, 0, 0);
      cairo_set_line_width(cairo, 4);
      cairo_stroke_preserve(cairo);
      cairo_set_source_rgb(cairo, 1, 0.85, 0.1);
      cairo_set_line_width(cairo, 2);
      cairo_stroke(cairo);
      DrawPart(cairo, surface, detail, left, detail_top, zoom);
      DrawOutlines(cairo, panel, detail, left, detail_top, zoom);
      cairo_rectangle(cairo, left, detail_top, detail.width * zoom, detail.height * zoom);
      cairo_set_source_rgb(cairo, 1, 0.85, 0.1);
      cairo_set_line_width(cairo, 2);
      cairo_stroke(cairo);
    }
    cairo_surface_destroy(surface);
  }
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_status(cairo);
  cairo_destroy(cairo);
  std::pair<OutputFile*, Error> writer{file, {}};
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_write_to_png_stream(canvas, WriteBytes, &writer);
  cairo_surface_destroy(canvas);
  if (writer.second) return writer.second;
  if (status != CAIRO_STATUS_SUCCESS) return path + ": cannot draw: " + cairo_status_to_string(status);
  return {};
}

}  // namespace peakpool::tools
