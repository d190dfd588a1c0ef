#!/usr/bin/env bash
# The figures beside the peers, measured anew on this machine; what the README shows stays: peers.sh OUT
# Quality needs judged collections in $PERWATT_DATA and is left out without them.
set -euo pipefail
out=$(realpath -m "${1:?usage: peers.sh OUT}")
cd "$(dirname "$0")/../.."
make setup-test .perwatt/indexes/python-stdlib/current
.venv/bin/python -m deploy.figures measure embedding index ${PERWATT_DATA:+quality}
mkdir -p "$out"
cp deploy/figures/*.json "$out/"
.venv/bin/perwatt info --json > "$out/machine.json"
git diff --stat -- deploy/figures >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}" || true
