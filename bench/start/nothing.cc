// SPDX-License-Identifier: Apache-2.0
// What a program costs that pools nothing.
#include "bench/start/start.h"

int main() { return Input() == nullptr || Done(nullptr); }
