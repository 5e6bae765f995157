// SPDX-License-Identifier: Apache-2.0
// Pooling row by row: input rows go in, output rows come out as soon as they are complete.
#ifndef PEAKPOOL_SRC_STREAM_H_
#define PEAKPOOL_SRC_STREAM_H_

#include "src/plan.h"

struct peakpool_stream {
  peakpool_plan* plan;  // of the whole problem
  peakpool::Shape row;  // of one row of every (n, c), of the input and of the output
  unsigned char* rows;  // the input rows that windows to come still need, dense, of every (n, c)
  // One output row of every (n, c), dense, while its window taps await conversion to another index format.
  unsigned char* pooled;
  unsigned char* taps;
  int64_t capacity;        // rows that fit
  int64_t first, count;    // the input rows held
  int64_t next_input;      // rows pushed so far
  int64_t next_output;     // rows pulled so far
  peakpool::Strides held;  // of `rows`
  peakpool::Strides pooled_strides;
};

namespace peakpool {

[[gnu::cold]] peakpool_status MakeStream(const peakpool_problem& problem, peakpool_stream** stream);
void DestroyStream(peakpool_stream* stream);

// Whether the next output row can be pulled.
bool HasRow(const peakpool_stream& stream);
// Whether the stream takes another row before one is pulled: never while one is ready, so memory stays bounded.
bool TakesRow(const peakpool_stream& stream);

void PushRow(peakpool_stream* stream, const void* row);
void PullRow(peakpool_stream* stream, void* row, void* index, const peakpool_executor& executor);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_STREAM_H_
