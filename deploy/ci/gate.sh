#!/usr/bin/env bash
# Is this slower than the last release? gate.sh RUNS BASELINE-RUNS ARM [MAX-REGRESSION]
#
# Compares the arm's records with those kept with the release. Exit status: 0 not slower or cannot tell (said as a
# warning: too few runs, or too much noise), 1 slower, 3 a record is invalid. No baseline at all is the first release.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
usage="usage: gate.sh RUNS BASELINE-RUNS ARM [MAX-REGRESSION]"
runs=$(realpath "${1:?$usage}") baseline=$(realpath -m "${2:?$usage}") arm=${3:?$usage} allowed=${4:-5%}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new" "$work/old"
cp "$runs"/"$arm"-[0-9]*.json "$work/new/"
if ! cp "$baseline"/"$arm"-[0-9]*.json "$work/old/" 2>/dev/null; then
  echo "::notice::There are no runs of a release to compare $arm with: nothing is gated."
  exit 0
fi
status=0
perwatt_of loadtest "$work" gate new --baseline old --max-regression "$allowed" || status=$?
case $status in
  2) echo "::warning::Whether $arm became slower than the last release cannot be told from these runs." ;;
  0) ;;
  *) exit "$status" ;;
esac
