#!/usr/bin/env bash
# One index for all machines, made once: index.sh OUT.tar [CORPUS]. The archive holds indexes/docs and vectors, whose
# titles are the questions of the load test. Its hash is printed. CORPUS: a file or folder of documents, or what else
# `perwatt embed` takes; the standard library's pages by default.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
out=$(realpath -m "${1:?usage: index.sh OUT.tar [CORPUS]}")
corpus=${2:-python:stdlib}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
# The steps see this folder alone, from within it or mounted in a container.
if [ -e "$corpus" ]; then
  corpus=$(realpath "$corpus")
  mkdir "$work/corpus"
  cp -rL "$corpus" "$work/corpus/"
  corpus=$work/corpus/$(basename "$corpus")
fi

perwatt_of serve "$work" embed "$corpus" --out "$work/vectors"
perwatt_of serve "$work" build "$work/vectors" --index docs --root "$work/indexes"
perwatt_of serve "$work" verify docs --root "$work/indexes"
mkdir -p "$(dirname "$out")"
# The same bytes from the same files, whoever packs them; and readable by the service, which is nobody's user there.
tar --mode=u=rwX,go=rX --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$out" -C "$work" indexes/docs vectors
sha256sum "$out"
