// SPDX-License-Identifier: Apache-2.0
// peakpool: max pooling on CPUs. The stable C99 ABI; <peakpool/peakpool.hpp> wraps it for C++17.
//
// A *problem* describes one pooling geometry. A *plan* is an immutable, validated problem with its kernels chosen; any
// number of threads may execute one plan at once. Executing allocates nothing. Tensors, of indices too, are aligned to
// their elements; others are refused.
//
//   peakpool_problem problem;
//   peakpool_parse("f32 nchw 1x64x112x112 k3 s2 p1 window-u8", &problem);
//   peakpool_plan* plan;
//   if (peakpool_plan_create(&problem, &plan) != PEAKPOOL_OK) puts(peakpool_last_error());
//   peakpool_forward(plan, x, y, index, NULL);
//   peakpool_plan_destroy(plan);
//
// What every path promises, whatever the type, layout, target, executor and number of threads:
// - y is the greatest in-range tap of the window; ties go to the first tap in row-major (depth, height, width) order.
// - NaN is greater than everything and all NaNs are equal: any NaN makes the output NaN, and the first one is its
// index.
// - A zero result is +0 and a NaN result is the canonical quiet NaN, so the same input gives the same output bits
//   everywhere.
// - Padding is virtual: never selected, never indexed. Negative infinity and integer minima are ordinary values.
// - No byte outside the tensors is read or written.
// No function throws, aborts or prints. Those that can fail return a status; unless it is PEAKPOOL_OK,
// peakpool_last_error() then holds one line that names the parameter and its value.
#ifndef PEAKPOOL_PEAKPOOL_H_
#define PEAKPOOL_PEAKPOOL_H_

#include <stddef.h>
#include <stdint.h>

#if defined(PEAKPOOL_SHARED) && defined(__GNUC__)
#define PEAKPOOL_API __attribute__((visibility("default")))
#else
#define PEAKPOOL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PEAKPOOL_ABI_VERSION 1
#define PEAKPOOL_MAX_RANK 3

typedef enum peakpool_status {
  PEAKPOOL_OK = 0,
  PEAKPOOL_INVALID_ARGUMENT = 1,  // a parameter outside its domain
  PEAKPOOL_UNSUPPORTED = 2,       // well formed, but not available in this build or version
  // A size beyond 2^40 along an axis: a parameter, the padded input, or the inputs from the first window's begin to the
  // last one's end; a tensor of more than 2^56 elements, padding included; with a plane or tensor index format a window
  // of 2^32 taps.
  PEAKPOOL_SIZE_OVERFLOW = 3,
  PEAKPOOL_EMPTY_WINDOW = 4,   // a window lies wholly in the padding and allow_empty is not set
  PEAKPOOL_INVALID_INDEX = 5,  // backward, unpool or conversion met an index outside its window or plane
  PEAKPOOL_OUT_OF_MEMORY = 6   // the plan, pyramid or stream could not be allocated
} peakpool_status;

typedef enum peakpool_type {
  PEAKPOOL_F32 = 0,
  PEAKPOOL_F64 = 1,
  PEAKPOOL_F16 = 2,   // IEEE binary16
  PEAKPOOL_BF16 = 3,  // the upper half of an f32
  PEAKPOOL_I8 = 4,
  PEAKPOOL_U8 = 5,
  PEAKPOOL_I16 = 6,
  PEAKPOOL_U16 = 7,
  PEAKPOOL_I32 = 8,
  PEAKPOOL_U32 = 9,
  PEAKPOOL_I64 = 10,
  PEAKPOOL_U64 = 11
} peakpool_type;

typedef enum peakpool_layout {
  PEAKPOOL_CHANNELS_FIRST = 0,  // N, C, spatial: NCW, NCHW, NCDHW
  PEAKPOOL_CHANNELS_LAST = 1    // N, spatial, C: NWC, NHWC, NDHWC
} peakpool_layout;

typedef enum peakpool_rounding {
  PEAKPOOL_FLOOR = 0,
  PEAKPOOL_CEIL = 1,      // a last window that would start beyond input + leading padding is dropped (PyTorch, ONNX 22)
  PEAKPOOL_EXACT = 2,     // refuse a size that the stride does not divide
  PEAKPOOL_EXPLICIT = 3,  // problem.output holds the output size
  // problem.output holds the output size and output o pools [floor(o * input / output), ceil((o + 1) * input / output))
  // of each axis (PyTorch's adaptive pooling); kernel, stride, dilation and padding are not read. Window indices count
  // taps in a window of the largest size, which peakpool_plan_problem() reports as the kernel.
  PEAKPOOL_ADAPTIVE = 4
} peakpool_rounding;

// What an index says. Indices are logical positions, whatever the memory layout. An empty window's index is -1 (all
// ones in the unsigned formats).
typedef enum peakpool_index_format {
  PEAKPOOL_INDEX_NONE = 0,
  PEAKPOOL_INDEX_WINDOW_U8 = 1,   // row-major tap number within the window; up to 255 taps, 256 without allow_empty
  PEAKPOOL_INDEX_WINDOW_U16 = 2,  // the same, up to 65535 (65536) taps
  PEAKPOOL_INDEX_WINDOW_U32 = 3,
  PEAKPOOL_INDEX_PLANE_I32 = 4,           // flat over the spatial axes of one (n, c)
  PEAKPOOL_INDEX_PLANE_I64 = 5,           // the same (PyTorch)
  PEAKPOOL_INDEX_TENSOR_I64 = 6,          // flat over N, C, spatial (ONNX, storage_order 0)
  PEAKPOOL_INDEX_TENSOR_COLMAJOR_I64 = 7  // the same, spatial axes in column-major order (ONNX, storage_order 1)
} peakpool_index_format;

typedef enum peakpool_algorithm {
  PEAKPOOL_AUTO = 0,   // the fastest eligible kernels
  PEAKPOOL_IM2COL = 1  // the plain scalar reference: im2col, argmax, col2im
} peakpool_algorithm;

enum {
  PEAKPOOL_ALLOW_EMPTY = 1,  // empty windows give -inf (integer minimum) and index -1 instead of a refusal
  PEAKPOOL_ACCUMULATE = 2,   // backward adds to dx instead of overwriting it
  PEAKPOOL_CLAMP = 4         // forward bounds each output by clamp_lower and clamp_upper (ReLU: 0 and infinity)
};

// A number in the arithmetic of the problem's type: floating point, signed or unsigned.
typedef union peakpool_scalar {
  double real;  // rounded to the type, for f16 and bf16 through f32
  int64_t integer;
  uint64_t natural;
} peakpool_scalar;

typedef struct peakpool_padding {
  int64_t before, after;
} peakpool_padding;

// Distances in elements between neighbours along each axis. The contiguous axis (the last spatial axis of
// channels-first, the channel of channels-last) must have stride 1. All zero means dense.
typedef struct peakpool_strides {
  int64_t batch, channel, spatial[PEAKPOOL_MAX_RANK];
} peakpool_strides;

// One pooling problem. Start from peakpool_problem_init() or peakpool_parse(), never from uninitialised memory.
// Per-axis arrays hold `rank` entries, outermost spatial axis first (depth, height, width).
typedef struct peakpool_problem {
  size_t struct_size;                           // sizeof(peakpool_problem) of the caller's header
  int32_t type;                                 // peakpool_type
  int32_t layout;                               // peakpool_layout
  int32_t rank;                                 // number of spatial axes, 1 to 3
  int32_t rounding;                             // peakpool_rounding
  int32_t index_format;                         // peakpool_index_format
  int32_t algorithm;                            // peakpool_algorithm
  uint32_t flags;                               // PEAKPOOL_ALLOW_EMPTY | PEAKPOOL_ACCUMULATE | PEAKPOOL_CLAMP
  int32_t reserved;                             // 0
  int64_t batch, channels;                      // >= 0; 0 is a legal no-op
  int64_t input[PEAKPOOL_MAX_RANK];             // >= 1
  int64_t kernel[PEAKPOOL_MAX_RANK];            // >= 1
  int64_t stride[PEAKPOOL_MAX_RANK];            // >= 1
  int64_t dilation[PEAKPOOL_MAX_RANK];          // >= 1
  peakpool_padding padding[PEAKPOOL_MAX_RANK];  // >= 0
  int64_t output[PEAKPOOL_MAX_RANK];            // read only with PEAKPOOL_EXPLICIT and PEAKPOOL_ADAPTIVE
  peakpool_strides input_strides;               // of x and dx
  peakpool_strides output_strides;              // of y, dy and the indices
  // With PEAKPOOL_CLAMP: lower <= upper, neither NaN. NaN outputs stay NaN; indices and gradients are not affected.
  peakpool_scalar clamp_lower, clamp_upper;
  // NULL: the best this machine runs; else one of peakpool_target_name(), or "none": no vectors. Not kept by the plan.
  const char* target;
} peakpool_problem;

// Runs task(task_context, i) once for each i in [0, count), in any order and on any threads, and returns when all are
// done. Called at most once per execution, or per level of a pyramid, and only when there is more than one task.
typedef void (*peakpool_parallel_for)(void* context, int64_t count, void (*task)(void* task_context, int64_t i),
                                      void* task_context);

// Who runs the tasks. peakpool starts no thread when the caller brings an executor.
typedef struct peakpool_executor {
  size_t struct_size;  // sizeof(peakpool_executor)
  peakpool_parallel_for parallel_for;
  void* context;    // passed through
  int32_t threads;  // how many tasks can run at once; 1 runs everything inline
} peakpool_executor;

typedef struct peakpool_plan peakpool_plan;

// Sets struct_size, the given fields (a peakpool_type and a peakpool_layout), and the defaults: batch, channels, input,
// kernel, stride and dilation 1, padding 0, floor, no index, dense, best target. Errors: INVALID_ARGUMENT for a null
// problem, unknown type or layout, or a rank outside 1 to 3. Thread-safe.
PEAKPOOL_API peakpool_status peakpool_problem_init(peakpool_problem* problem, int32_t type, int32_t layout,
                                                   int32_t rank);

// Reads the describe grammar, for example "f32 nchw 1x64x112x112 k3 s2 p1 ceil window-u8":
//   TYPE LAYOUT NxCxSPATIAL kK [sS] [pP] [dD] [floor|ceil|exact|oO] [INDEX-FORMAT] [allow-empty] [accumulate] [im2col]
//   with aO in place of kK, sS, pP and dD for adaptive pooling to the output size O, and then
//   [clamp=LOWER:UPPER] [xs=STRIDES] [ys=STRIDES]
// TYPE is f32, f64, f16, bf16, i8, u8, i16, u16, i32, u32, i64 or u64; LAYOUT ncw, nchw or ncdhw, or channels-last nwc,
// nhwc or ndhwc; INDEX-FORMAT no-index, window-u8, window-u16, window-u32, plane-i32, plane-i64, tensor-i64 or
// tensor-colmajor-i64. im2col is the algorithm PEAKPOOL_IM2COL.
// Sizes are always in the order N, C, spatial. One value means every axis; several are joined by x, leading and
// trailing padding by a colon (p0:1x2:3). The stride defaults to the kernel. Errors: INVALID_ARGUMENT naming the token.
// Thread-safe.
PEAKPOOL_API peakpool_status peakpool_parse(const char* text, peakpool_problem* problem);

// Writes the problem in that grammar into buffer, always null-terminated when size > 0. Returns the length without the
// terminator, as snprintf does; 0 for a problem that is not well formed. Thread-safe.
PEAKPOOL_API size_t peakpool_describe(const peakpool_problem* problem, char* buffer, size_t size);

// Pads for TensorFlow's and ONNX's auto_pad, written to problem->padding together with rounding = PEAKPOOL_EXPLICIT and
// the output size ceil(input / stride). The total pad is clamped at 0; the odd element goes after (upper) or before
// (lower). Errors: as peakpool_plan_create for the fields read. Thread-safe.
PEAKPOOL_API peakpool_status peakpool_pad_same_upper(peakpool_problem* problem);
PEAKPOOL_API peakpool_status peakpool_pad_same_lower(peakpool_problem* problem);

// The spatial size of y, `rank` entries. Errors: as peakpool_plan_create. Thread-safe.
PEAKPOOL_API peakpool_status peakpool_output_size(const peakpool_problem* problem, int64_t* output);

// Validates the problem and chooses its kernels. On success *plan must be given to peakpool_plan_destroy(); on failure
// it is set to NULL. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, EMPTY_WINDOW, UNSUPPORTED, OUT_OF_MEMORY. Thread-safe.
PEAKPOOL_API peakpool_status peakpool_plan_create(const peakpool_problem* problem, peakpool_plan** plan);
// NULL is allowed. Thread-safe for a plan that no other call uses.
PEAKPOOL_API void peakpool_plan_destroy(peakpool_plan* plan);

// The problem as resolved: output size and strides filled in. Valid as long as the plan; NULL for NULL. Thread-safe.
PEAKPOOL_API const peakpool_problem* peakpool_plan_problem(const peakpool_plan* plan);

// A short text: algorithms and why, target, split, bytes moved, why faster kernels were not eligible. Writes and
// returns as peakpool_describe. Thread-safe.
PEAKPOOL_API size_t peakpool_explain(const peakpool_plan* plan, char* buffer, size_t size);

// y[n, c, o] = max of x over the window of o. index may be NULL (values only); otherwise the problem names its format,
// and it has y's shape and strides. The tensors must not share an element; they may take turns in one buffer, as its
// channel ranges, rows or columns do. executor NULL means the default: oneTBB in the current arena, or serial where
// peakpool was built without it. Errors: INVALID_ARGUMENT. Thread-safe for distinct outputs.
PEAKPOOL_API peakpool_status peakpool_forward(const peakpool_plan* plan, const void* x, void* y, void* index,
                                              const peakpool_executor* executor);

// dx[index[o]] += dy[o], over a dx that is zeroed first unless PEAKPOOL_ACCUMULATE is set. f32, f64, f16 and bf16; the
// 16-bit types sum in f32 and round once. Sums run in ascending output position, hence the same bits for any number of
// threads. Errors: INVALID_ARGUMENT; UNSUPPORTED for an integer type or a problem without index format; INVALID_INDEX
// for an index outside its window (dx is then unspecified, nothing outside dx is touched). A NaN in dx is the
// canonical quiet one afterwards, also one that nothing was added to. Thread-safe for distinct dx.
PEAKPOOL_API peakpool_status peakpool_backward(const peakpool_plan* plan, const void* dy, const void* index, void* dx,
                                               const peakpool_executor* executor);

// The reverse of forward: x is zero except x[index[o]] = y[o], moved bit for bit, any type. Of several outputs that
// name one position the last in row-major order wins, for any number of threads. A plane or tensor index may name any
// position of its own (n, c) plane, a window index any in-range tap of its own window; the indices of empty windows are
// skipped. Errors: as peakpool_backward, but no type is unsupported. Thread-safe for distinct x.
PEAKPOOL_API peakpool_status peakpool_unpool(const peakpool_plan* plan, const void* y, const void* index, void* x,
                                             const peakpool_executor* executor);

// Rewrites a whole index tensor (y's shape and strides) from one peakpool_index_format to another; the plan's own index
// format does not matter. from and to must not share a byte. Errors: INVALID_ARGUMENT, also for a format that cannot
// hold the range; INVALID_INDEX for an index that is out of range or that the other format cannot express (no tap of
// its own window); its place then holds -1. Thread-safe for distinct `to`.
PEAKPOOL_API peakpool_status peakpool_convert_indices(const peakpool_plan* plan, int32_t from_format, const void* from,
                                                      int32_t to_format, void* to, const peakpool_executor* executor);

// Several stride-1 windows over one input in one call (spatial pyramid pooling), each level pooled from the one before,
// so that kernels 5, 9, 13 cost three times kernel 5. Cascading one window k is the pyramid k, 2k-1, 3k-2, ... Values
// only.
typedef struct peakpool_pyramid peakpool_pyramid;

// kernels: `levels` (1 to 16) odd, ascending window sizes, the same on every axis, padded by (kernel - 1) / 2 so that
// each level has the input's size; 1 copies the input. Of the problem only type, layout, rank, batch, channels, input,
// target, algorithm and the strides are read; output_strides are those of y, a tensor of levels x channels channels in
// which level i owns the channels [i * channels, (i + 1) * channels). Errors, ownership and thread-safety: as
// peakpool_plan_create.
PEAKPOOL_API peakpool_status peakpool_pyramid_create(const peakpool_problem* problem, const int64_t* kernels,
                                                     int32_t levels, peakpool_pyramid** pyramid);
// As peakpool_plan_destroy: NULL is allowed.
PEAKPOOL_API void peakpool_pyramid_destroy(peakpool_pyramid* pyramid);
// Errors and thread-safety: as peakpool_forward.
PEAKPOOL_API peakpool_status peakpool_pyramid_forward(const peakpool_pyramid* pyramid, const void* x, void* y,
                                                      const peakpool_executor* executor);

// Row by row: input rows are pushed, output rows pulled as soon as they are complete, with memory for twice the
// window's rows. 2-D. Results are bit-identical to the whole-tensor call.
typedef struct peakpool_stream peakpool_stream;

// Errors, ownership and thread-safety: as peakpool_plan_create; UNSUPPORTED for a rank other than 2. A stream itself is
// for one thread at a time.
PEAKPOOL_API peakpool_status peakpool_stream_create(const peakpool_problem* problem, peakpool_stream** stream);
// As peakpool_plan_destroy: NULL is allowed.
PEAKPOOL_API void peakpool_stream_destroy(peakpool_stream* stream);
// 1 while an output row is ready to be pulled, else 0; 0 for NULL.
PEAKPOOL_API int peakpool_stream_ready(const peakpool_stream* stream);
// The next input row: element (n, c, w) at row[n * batch + c * channel + w * spatial[1]] of the input strides, copied.
// Errors: INVALID_ARGUMENT where a ready row must be pulled first, or all rows have been pushed; for a null row, or one
// that is not aligned. A call that fails changes nothing.
PEAKPOOL_API peakpool_status peakpool_stream_push(peakpool_stream* stream, const void* row);
// The next output row, and its indices unless null, by the output strides in the same way. Errors: INVALID_ARGUMENT
// where none is ready; for a null row, indices of a problem without index format, what is not aligned or overlaps, or
// an executor that is not well formed. A call that fails changes nothing.
PEAKPOOL_API peakpool_status peakpool_stream_pull(peakpool_stream* stream, void* row, void* index,
                                                  const peakpool_executor* executor);

// All that follow are thread-safe, and all that they return but the last error is static.
//
// Runs everything on the calling thread.
PEAKPOOL_API const peakpool_executor* peakpool_serial_executor(void);
// oneTBB in the caller's current arena, or the serial executor where peakpool was built without oneTBB.
PEAKPOOL_API const peakpool_executor* peakpool_default_executor(void);

// One line on this thread's last failed call, naming the parameter and its value; "" before any failure. Valid until
// its next failed call.
PEAKPOOL_API const char* peakpool_last_error(void);
PEAKPOOL_API const char* peakpool_status_name(int32_t status);
PEAKPOOL_API const char* peakpool_version(void);  // "0.1.0"
PEAKPOOL_API int peakpool_abi_version(void);
// The instruction-set targets this build contains and this machine runs, best first, or "none" where there are none;
// NULL past the end.
PEAKPOOL_API const char* peakpool_target_name(int i);

#ifdef __cplusplus
}
#endif

#endif  // PEAKPOOL_PEAKPOOL_H_
