#!/bin/sh
# Takes out of a virtual environment what no run of perwatt reads: slim.sh VENV amd64|arm64
#
# Wheels bring headers, Cython sources, their own tests, Arrow's clients for remote stores, and the symbol tables of what
# was compiled; together a fifth of the image. Bytecode stays: a container that may not write would compile it anew at
# every start.
set -eu
venv=$1
case $2 in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) echo "$2 is not an architecture of ours; expected amd64 or arm64." >&2; exit 1 ;;
esac
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
# The symbols that a debugger would show; what the loader needs is kept. Only libraries as their linker wrote them: those
# that auditwheel has patched (NumPy's and FAISS's OpenBLAS) can come out of strip unloadable.
for package in httptools pyarrow tantivy tokenizers uvloop; do
  find "$site/$package" -name '*.so*' -type f -exec "$machine-linux-gnu-strip" --strip-unneeded {} +
done
