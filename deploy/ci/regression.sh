#!/usr/bin/env bash
# Is this slower than the last release? regression.sh RUNS BASELINE-RUNS ARM [MARGIN]
#
# Compares the arm's records with those kept with the release; one that may not be believed is left out on either side,
# with its reason as a warning and in the run's summary. Exit status: 0 not slower or cannot tell (said as a warning: too
# few runs, or too much noise), 1 slower, 3 no record of the arm may be believed, or they cannot be compared. No baseline
# at all is the first release.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
usage="usage: regression.sh RUNS BASELINE-RUNS ARM [MARGIN]"
runs=$(realpath "${1:?$usage}") baseline=$(realpath -m "${2:?$usage}") arm=${3:?$usage} allowed=${4:-5%}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new" "$work/old"
cp "$runs"/"$arm"-[0-9]*.json "$work/new/" 2>/dev/null || true
cp "$baseline"/"$arm"-[0-9]*.json "$work/old/" 2>/dev/null || true

left_out() { # takes away the records that the comparison said may not be believed, and says why; false if there is none
  local line record any=""
  while IFS= read -r line; do
    record=${line%% may not be believed: *}
    rm "$work/$record"
    any=yes line="$record may not be believed and is left out of the comparison of $arm: ${line#*: }"
    echo "::warning::$line"
    echo "- $line" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
  done < <(sed -n 's/^  \(.* may not be believed: \)/\1/p' "$work/said")
  [ -n "$any" ]
}

status=3
while [ "$status" = 3 ]; do
  if [ -z "$(ls "$work/new")" ]; then
    echo "$runs has no record of $arm that may be believed, so its speed is unknown. Repeat the load test." >&2
    exit 3
  fi
  if [ -z "$(ls "$work/old")" ]; then
    echo "::notice::There are no runs of a release to compare $arm with: nothing is gated."
    exit 0
  fi
  status=0
  perwatt_of loadtest "$work" compare new --unpaired old --margin "$allowed" | tee "$work/said" || status=$?
  if [ "$status" = 3 ]; then left_out || exit 3; fi
done
# What a pull request shows: verdict, stages that became slower with their interval, and what changed.
perwatt_of loadtest "$work" report new --unpaired old --margin "$allowed" --markdown release.md
cat "$work/release.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
case $status in
  2) echo "::warning::Whether $arm became slower than the last release cannot be told from these runs." ;;
  0) ;;
  *) exit "$status" ;;
esac
