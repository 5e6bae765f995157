#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone, under the strictest flags its users may have: header_test.sh INCLUDE_DIR COMPILER...
# C headers as C99 and C++17, C++ headers as C++17, without exceptions and RTTI.
set -u
include=$1
shift
checked=0
failed=0
check() {  # HEADER FLAGS...
  header=$1
  shift
  if printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
      "$@" -pedantic -Wall -Wextra -Werror -I "$include" -fsyntax-only -; then
    checked=$((checked + 1))
  else
    echo "not self-contained: $header with $*"
    failed=$((failed + 1))
  fi
}
for path in "$include"/peakpool/*.h "$include"/peakpool/*.hpp; do
  header=peakpool/${path##*/}
  case $header in
    peakpool/tbb.hpp)
      # Needs oneTBB, whose own headers do not promise to live without exceptions.
      echo '#include <tbb/task_arena.h>' | "$@" -x c++ -std=c++17 -fsyntax-only - 2>/dev/null || {
        echo "skipped: $header, no oneTBB"
        continue
      }
      check "$header" "$@" -x c++ -std=c++17 ;;
    *.hpp) check "$header" "$@" -x c++ -std=c++17 -fno-exceptions -fno-rtti ;;
    *)
      check "$header" "$@" -x c -std=c99
      check "$header" "$@" -x c++ -std=c++17 -fno-exceptions -fno-rtti ;;
  esac
done
echo "$checked passed, $failed failed"
[ "$checked" -gt 0 ] && [ "$failed" -eq 0 ]
