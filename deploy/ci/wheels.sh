#!/usr/bin/env bash
# Wheels of this machine's platform for every Python that is supported, each installed and imported: wheels.sh OUT
#
# cibuildwheel builds those of Linux in the images of manylinux, so it needs a Docker engine there. Which wheels is in
# pyproject.toml.
set -euo pipefail
out=$(python3 -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' "${1:?usage: wheels.sh OUT}")
cd "$(dirname "$0")/../.."
tools=${PERWATT_WHEELS:-.perwatt/wheels}
[ -x "$tools/bin/cibuildwheel" ] || {
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --no-deps --require-hashes -r deploy/locks/wheels.txt
}
"$tools/bin/cibuildwheel" --output-dir "$out"
