// SPDX-License-Identifier: Apache-2.0
#include "tools/image.h"

#include <cairo.h>
#include <turbojpeg.h>

#include <cstring>

#include "tools/files.h"

namespace peakpool::tools {
namespace {

Error ReadJpeg(const std::string& path, const std::vector<unsigned char>& file, Image* image) {
  tjhandle decoder = tjInitDecompress();
  if (!decoder) return path + ": cannot start the JPEG decoder";
  int width = 0, height = 0, subsampling, colours;
  Error error;
  if (tjDecompressHeader3(decoder, file.data(), file.size(), &width, &height, &subsampling, &colours) != 0) {
    error = path + ": bad JPEG: " + tjGetErrorStr2(decoder);
  } else if (width < 1 || height < 1) {
    error = path + ": bad JPEG: truncated";  // libjpeg-turbo only warns
  } else if (width > kMaxImageSide || height > kMaxImageSide) {
    error = path + ": " + std::to_string(width) + " x " + std::to_string(height) + " pixels: sides must be at most " +
            std::to_string(kMaxImageSide);
  } else {
    *image = Image(width, height);
    // A warning (a truncated file, for example) fails too: half a picture is no input.
    if (tjDecompress2(decoder, file.data(), file.size(), image->rgb.data(), width, 0, height, TJPF_RGB, 0) != 0) {
      error = path + ": bad JPEG: " + tjGetErrorStr2(decoder);
    }
  }
  tjDestroy(decoder);
  return error;
}

struct Reader {
  const std::vector<unsigned char>& file;
  size_t at;
};

cairo_status_t ReadBytes(void* context, unsigned char* data, unsigned int length) {
  auto* reader = static_cast<Reader*>(context);
  if (length > reader->file.size() - reader->at) return CAIRO_STATUS_READ_ERROR;
  std::memcpy(data, reader->file.data() + reader->at, length);
  reader->at += length;
  return CAIRO_STATUS_SUCCESS;
}

Error ReadPng(const std::string& path, const std::vector<unsigned char>& file, Image* image) {
  Reader reader{file, 0};
  cairo_surface_t* png = cairo_image_surface_create_from_png_stream(ReadBytes, &reader);
  const int width = cairo_image_surface_get_width(png), height = cairo_image_surface_get_height(png);
  cairo_status_t status = cairo_surface_status(png);
  if (status == CAIRO_STATUS_SUCCESS) {
    // Drawing on white resolves transparency and cairo's several pixel formats at once.
    cairo_surface_t* flat = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    cairo_t* cairo = cairo_create(flat);
    cairo_set_source_rgb(cairo, 1, 1, 1);
    cairo_paint(cairo);
    cairo_set_source_surface(cairo, png, 0, 0);
    cairo_paint(cairo);
    status = cairo_status(cairo);
    cairo_destroy(cairo);
    cairo_surface_flush(flat);
    if (status == CAIRO_STATUS_SUCCESS) {
      *image = Image(width, height);
      const unsigned char* const pixels = cairo_image_surface_get_data(flat);
      const size_t row = static_cast<size_t>(cairo_image_surface_get_stride(flat));
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
          uint32_t pixel;
          std::memcpy(&pixel, pixels + static_cast<size_t>(y) * row + size_t{4} * x, 4);
          uint8_t* const rgb = image->Pixel(x, y);
          rgb[0] = static_cast<uint8_t>(pixel >> 16);
          rgb[1] = static_cast<uint8_t>(pixel >> 8);
          rgb[2] = static_cast<uint8_t>(pixel);
        }
      }
    }
    cairo_surface_destroy(flat);
  }
  cairo_surface_destroy(png);
  if (status == CAIRO_STATUS_READ_ERROR) return path + ": bad PNG: truncated";
  // cairo reports most of libpng's errors as lack of memory.
  if (status == CAIRO_STATUS_NO_MEMORY) return path + ": bad PNG: damaged, or too large for the memory";
  if (status != CAIRO_STATUS_SUCCESS) return path + ": bad PNG: " + cairo_status_to_string(status);
  return {};
}

}  // namespace

Error ReadImage(const std::string& path, Image* image) {
  InputFile input;
  if (Error error = input.Open(path)) return error;
  std::vector<unsigned char> file(static_cast<size_t>(input.size()));
  if (Error error = input.Read(file.data(), file.size())) return error;
  const auto starts_with = [&](const char* bytes, size_t count) {
    return file.size() >= count && std::memcmp(file.data(), bytes, count) == 0;
  };
  if (starts_with("\x89PNG\r\n\x1a\n", 8)) return ReadPng(path, file, image);
  if (starts_with("\xFF\xD8\xFF", 3)) return ReadJpeg(path, file, image);
  return path + ": neither PNG nor JPEG";
}

}  // namespace peakpool::tools
