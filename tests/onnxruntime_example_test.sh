#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the README's example on a model that has its shapes: onnxruntime_example_test.sh PYTHON TOOL OPERATOR EXAMPLE
set -eu
python=$1 tool=$2 operator=$(realpath "$3") example=$(realpath "$4")
model=/usr/share/libonnx-testdata/data/node/test_maxpool_2d_default/model.onnx
[ -f $model ] || { echo "skipped: $model is not there (Debian package libonnx-testdata)"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$python" "$tool" $model pooled.onnx
printed=$(LD_LIBRARY_PATH=$(dirname "$operator") "$example")
[ "$printed" = 1 ] || { echo "printed $printed instead of 1"; exit 1; }
