#!/bin/sh
# Wheels of packages that publish none for an architecture, built from their hashed source: sources.sh ARCH LOCK OUT
#
# OUT gets those wheels and lock.txt, which is LOCK without them. Each is a C extension of one module, for which telling
# setuptools the compiler is all that crossing takes.
set -eu
target=$1 lock=$2 out=$3
case $target in
  arm64) packages="hdrhistogram" machine=aarch64 ;;
  *) packages="" machine=x86_64 ;;
esac
mkdir -p "$out/wheels"
cp "$lock" "$out/lock.txt"
[ -s /run/secrets/certificates ] && export PIP_CERT=/run/secrets/certificates
version=$(python3 -c 'import sys; print("%d%d" % sys.version_info[:2])')
if [ "$target" != "$(dpkg --print-architecture)" ]; then
  export CC="$machine-linux-gnu-gcc" LDSHARED="$machine-linux-gnu-gcc -shared"
  export _PYTHON_HOST_PLATFORM="linux-$machine" SETUPTOOLS_EXT_SUFFIX=".cpython-$version-$machine-linux-gnu.so"
fi
for package in $packages; do
  # Its line and those that go on from it.
  awk -v name="$package==" 'index($0, name) == 1 { on = 1 } on { print } !/\\$/ { on = 0 }' "$lock" > "$out/$package.txt"
  [ -s "$out/$package.txt" ] || continue
  awk -v name="$package==" 'index($0, name) == 1 { on = 1 } !on { print } !/\\$/ { on = 0 }' "$out/lock.txt" > "$out/rest.txt"
  mv "$out/rest.txt" "$out/lock.txt"
  /opt/uv/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --no-binary :all: --require-hashes \
    --wheel-dir "$out/wheels" -r "$out/$package.txt"
done
