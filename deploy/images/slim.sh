#!/bin/sh
# Takes out of a virtual environment what no run of perwatt reads: slim.sh VENV
#
# Wheels bring headers, Cython sources, their own tests, and Arrow's clients for remote stores; together a sixth of the
# image. Bytecode stays: a container that may not write would compile it anew at every start.
set -eu
venv=$1
site=$(echo "$venv"/lib/python3.*/site-packages)
find "$site" -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
  \( -path '*/numpy/*' -o -path '*/pyarrow/*' -o -path '*/onnx/*' -o -path '*/onnxruntime/*' \) -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.c' -o -name '*.h' \
  -o -name '*.hpp' -o -name '*.a' \) -delete
# Remote files and RPC; index/ and embed/ use local files, Parquet and IPC.
rm -rf "$site"/pyarrow/include "$site"/pyarrow/src "$site"/onnxruntime/transformers \
  "$site"/pyarrow/*arrow*_flight* "$site"/pyarrow/_flight* "$site"/pyarrow/libarrow_s3* "$site"/pyarrow/_s3fs* \
  "$site"/pyarrow/_pyarrow_cpp_tests*
# Wheels cannot hold links: the library is there under three names, of which only the one with the ABI is loaded.
rm -f "$site"/pyarrow/libarrow_python.so "$site"/pyarrow/libarrow_python.so.*.*.*
