#include "src/kernels/kernels.h"
namespace peakpool { const Kernels* F32Kernels(int64_t) { return nullptr; } }
