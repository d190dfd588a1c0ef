#!/usr/bin/env bash
# One index for all machines, made once: index.sh OUT.tar [CORPUS]. The archive holds indexes/docs and vectors, whose
# titles are the questions of the load test. Its hash is printed.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
out=$(realpath -m "${1:?usage: index.sh OUT.tar [CORPUS]}")
corpus=${2:-python:stdlib}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

perwatt_of serve "$work" embed "$corpus" --out "$work/vectors"
perwatt_of serve "$work" build "$work/vectors" --index docs --root "$work/indexes"
perwatt_of serve "$work" verify docs --root "$work/indexes"
mkdir -p "$(dirname "$out")"
# The same bytes from the same files, whoever packs them.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$out" -C "$work" indexes/docs vectors
sha256sum "$out"
