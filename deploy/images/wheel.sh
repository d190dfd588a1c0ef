#!/bin/sh
# Builds the wheel in the current folder for an architecture, natively or by crossing: wheel.sh amd64|arm64 OUT
#
# Crossing needs three things said: to CMake which compiler (a toolchain file), to scikit-build-core how extension
# modules are called there (SETUPTOOLS_EXT_SUFFIX), and to Python which platform the wheel is for.
set -eu
target=$1 out=$2
own=$(dpkg --print-architecture)
if [ "$target" != "$own" ]; then
  case $target in
    arm64) machine=aarch64 ;;
    amd64) machine=x86_64 ;;
  esac
  version=$(/opt/build/bin/python -c 'import sys; print("%d%d" % sys.version_info[:2])')
  export CMAKE_TOOLCHAIN_FILE=/tmp/toolchain.cmake
  cat > $CMAKE_TOOLCHAIN_FILE <<CMAKE
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $machine)
set(CMAKE_CXX_COMPILER $machine-linux-gnu-g++)
CMAKE
  export _PYTHON_HOST_PLATFORM="linux-$machine"
  export SETUPTOOLS_EXT_SUFFIX=".cpython-$version-$machine-linux-gnu.so"
fi
mkdir -p "$out"
export PATH="/opt/build/bin:$PATH"
exec python -c 'import sys; from scikit_build_core.build import build_wheel; print(build_wheel(sys.argv[1]))' "$out"
