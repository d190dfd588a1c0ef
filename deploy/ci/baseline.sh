#!/usr/bin/env bash
# The run records that the last release kept, into a folder; none if there is no release: baseline.sh OUT
set -euo pipefail
out=${1:?usage: baseline.sh OUT}
mkdir -p "$out"
if ! gh release download --pattern runs.tar --dir "$out"; then
  echo "::notice::The last release has no runs.tar, or there is no release."
  exit 0
fi
tar -xf "$out/runs.tar" -C "$out"
