// SPDX-License-Identifier: Apache-2.0
// The text behind peakpool_last_error(): one line per thread, naming the parameter and its value.
#ifndef PEAKPOOL_SRC_ERROR_H_
#define PEAKPOOL_SRC_ERROR_H_

#include "peakpool/peakpool.h"

namespace peakpool {

// Records the formatted line for this thread and returns status.
__attribute__((format(printf, 2, 3))) peakpool_status Fail(peakpool_status status, const char* format, ...);
const char* LastError();

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_ERROR_H_
