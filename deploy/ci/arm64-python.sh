#!/usr/bin/env bash
# An arm64 Python with index/ and the encoder's kernels in it, for an emulator, made on a machine that is not one: arm64-python.sh VENV
#
# Needs no root, no chroot and nothing registered with the kernel: Debian's arm64 packages are unpacked into build/arm64/root
# and the emulator looks there first (QEMU's -L). The wheels are those of deploy/locks; the kernels are cross-compiled
# against that Python, and so are the two check programs, which need none. What is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$(realpath "${1:?usage: arm64-python.sh VENV}")
here=$PWD/build/arm64 python=$PWD/build/arm64/python
root=$here/root site=$here/site
mkdir -p "$here"

if [ ! -e "$root/done" ]; then
  apt=$here/apt
  rm -rf "$root" "$apt"
  mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial"
  : > "$apt/status"
  # This machine's sources, as a machine of the other architecture with nothing installed would read them.
  cat > "$apt/apt.conf" << SETTINGS
APT::Architecture "arm64";
APT::Architectures "arm64";
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
SETTINGS
  export APT_CONFIG=$apt/apt.conf
  apt-get -qq update
  apt-get -qq -y --download-only install python3 libpython3-dev libstdc++6 libgomp1
  for package in "$apt"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  rm -rf "$apt"
  touch "$root/done"
fi

# Named to itself as this script and not as what it starts, so that a test can start another one.
cat > "$python" << WRAPPER
#!/bin/sh
export PYTHONHOME=/usr PYTHONPATH="$site" PYTHONPYCACHEPREFIX="$here/bytecode" QEMU_CPU="\${QEMU_CPU:-neoverse-n1}"
exec qemu-aarch64-static -L "$root" -0 "$python" "$root/usr/bin/python3" "\$@"
WRAPPER
chmod +x "$python"

if [ ! -e "$site/done" ] || [ "$site/done" -ot deploy/locks/test.txt ] || [ "$site/done" -ot deploy/locks/serve.txt ]; then
  rm -rf "$site"
  mkdir -p "$site"
  # What index/ and its tests import, at the versions and with the hashes of the locks.
  awk -v names=" numpy faiss-cpu pyarrow msgspec tantivy loky cloudpickle click filelock tqdm \
      pytest pytest-timeout iniconfig packaging pluggy pygments hypothesis sortedcontainers " \
    '/^[a-z0-9]/ { name = $1; sub(/[=[].*/, "", name); wanted = index(names, " " name " ") && !seen[$1]++ }
     wanted { print }' deploy/locks/serve.txt deploy/locks/test.txt > "$here/requirements.txt"
  pip=$("$venv/bin/python" -c 'import pip; print(*pip.__path__)')
  "$python" "$pip" install --quiet --no-deps --require-hashes --only-binary :all: --no-compile --root-user-action ignore --target "$site" \
    --requirement "$here/requirements.txt"
  touch "$site/done"
fi

include=$(echo "$root"/usr/include/python3.*)
export PATH=$venv/bin:$PATH
cmake -S native -B "$here/kernels" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CXX_FLAGS="-idirafter $root/usr/include" \
  -DCMAKE_EXE_LINKER_FLAGS=-static -DPython_EXECUTABLE="$python" -DPython_INCLUDE_DIR="$include" \
  -Dnanobind_DIR="$("$venv/bin/python" -m nanobind --cmake_dir)" > "$here/cmake.log" || { cat "$here/cmake.log"; exit 1; }
cmake --build "$here/kernels" -j "$(nproc)" -t _native _encoder_native kernels_check encoder_check > "$here/build.log" ||
  { cat "$here/build.log"; exit 1; }
for package in index embed; do
  rm -rf "${site:?}/$package"
  cp -r "$package" "$site"
  cp "$here/kernels/$package"/_native.cpython-*.so "$site/$package/kernels"
done
