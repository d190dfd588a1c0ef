#!/usr/bin/env bash
# The report of an experiment: compare.sh RUNS OUT BASELINE CANDIDATE [REPLICA]
#
# RUNS is a folder of records. OUT gets the records, report.html, report.md and report.json; on a CI runner the Markdown is also the
# run's summary. Exit status: 0 unless no report could be made; the verdict is the report's first line, and
# `perwatt compare` gives it as a status to whoever wants to stop on it.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
usage="usage: compare.sh RUNS OUT BASELINE CANDIDATE [REPLICA]"
runs=$(realpath "${1:?$usage}") out=$(realpath -m "${2:?$usage}")
mkdir -p "$out/runs"
cp "$runs"/*.json "$out/runs/"
perwatt_of loadtest "$out" report runs --baseline "${3:?$usage}" --candidate "${4:?$usage}" ${5:+--replica "$5"} \
  --html report.html --markdown report.md --json report.json
cat "$out/report.md" >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
