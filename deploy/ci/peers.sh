#!/usr/bin/env bash
# The figures beside the peers, measured anew on this machine; what the README shows stays: peers.sh OUT [NAME...]
# NAME is a measurement of deploy/figures/measurements.py, by default encode, index, kernels and ann; quality too where $PERWATT_DATA
# has judged collections.
set -euo pipefail
out=$(realpath -m "${1:?usage: peers.sh OUT [NAME...]}")
shift
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- encode index kernels ann ${PERWATT_DATA:+quality}
make setup-peers .perwatt/indexes/python-stdlib/current
.venv/bin/python -m deploy.figures measure "$@"
mkdir -p "$out"
for name in "$@"; do
  # Of what is kept by make of processor, every one; this machine's was written just now.
  cp $(compgen -G "deploy/figures/$name.json" || compgen -G "deploy/figures/$name.*.json") "$out/"
done
.venv/bin/perwatt info --json > "$out/machine.json"
git diff --stat -- deploy/figures >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}" || true
