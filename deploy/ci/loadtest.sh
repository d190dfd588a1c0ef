#!/usr/bin/env bash
# One trial of one arm: serves the index of the archive on this machine, finds the knee, writes the record:
# loadtest.sh INDEX.tar ARM BLOCK OUT.json
#
# $SERVE_CPUS and $LOADTEST_CPUS keep service and generator apart (default: the halves of this machine). $KNEE_OPTIONS
# are handed to `perwatt loadtest knee`. Where $PERWATT_DIGESTS names images, OUT.image says which was measured. Exit status 3: the trial was made and may not be believed; the record is there.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
usage="usage: loadtest.sh INDEX.tar ARM BLOCK OUT.json"
archive=$(realpath "${1:?$usage}") arm=${2:?$usage} block=${3:?$usage} out=$(realpath -m "${4:?$usage}")
cpus=$(nproc)
if [ "$cpus" -lt 2 ]; then
  echo "A trial needs two CPUs, one for the service and one for the generator; this machine offers $cpus." >&2
  exit 1
fi
serve_cpus=${SERVE_CPUS:-0-$((cpus / 2 - 1))} loadtest_cpus=${LOADTEST_CPUS:-$((cpus / 2))-$((cpus - 1))}
half=$((cpus / 2))
work=$(mktemp -d)
server=""
# shellcheck disable=SC2317 # called by the trap
finish() {
  if [ -n "$server" ]; then
    [ -z "$(image_of serve)" ] || "$engine" stop "perwatt-trial-$$" >/dev/null 2>&1 || true
    pkill -TERM -P "$server" 2>/dev/null || true
    wait "$server" || true
  fi
  rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
tar -xf "$archive" -C "$work"

PERWATT_CPUS=$serve_cpus PERWATT_NAME="perwatt-trial-$$" \
  perwatt_of serve "$work" serve --root "$work/indexes" --port "${PORT:-8000}" --workers "$half" &
server=$!
url=http://127.0.0.1:${PORT:-8000}
ready=""
for _ in $(seq 300); do
  if curl -fsS -m 2 "$url/readyz" >/dev/null 2>&1; then ready=yes; break; fi
  kill -0 "$server" 2>/dev/null || break
  sleep 0.2
done
if [ -z "$ready" ]; then
  echo "The service was not ready within a minute; its log is above." >&2
  exit 1
fi

image=""
[ -z "${PERWATT_TAG:-}" ] || image=$(docker image inspect --format '{{.Id}}' "perwatt-serve:$PERWATT_TAG")
status=0
# shellcheck disable=SC2086 # a list of options
PERWATT_CPUS=$loadtest_cpus perwatt_of loadtest "$work" loadtest knee --url "$url" --index docs \
  --queries "$work/vectors" --arm "$arm" --block "$block" --experiment "${EXPERIMENT:-ci}" --out "$work/run.json" \
  --processes "$half" --cores-served "$half" ${image:+--image "$image"} \
  ${KNEE_OPTIONS:---slo-p99-ms 20 --recall 0.95} || status=$?
if [ -f "$work/run.json" ]; then
  mkdir -p "$(dirname "$out")"
  cp "$work/run.json" "$out"
  # What was measured, for deploy/ci/promote.sh, which publishes nothing else.
  [ -z "${PERWATT_DIGESTS:-}" ] || image_of serve > "${out%.json}.image"
fi
exit $status
