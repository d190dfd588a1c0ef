#!/usr/bin/env bash
# The run of CI that measured a commit, as "run=NUMBER" for a workflow's outputs: measured.sh COMMIT
# Exit status 1: there is none that passed; a release waits for it, since it publishes what was measured and builds nothing.
set -euo pipefail
commit=${1:?usage: measured.sh COMMIT}
run=$(gh run list --workflow ci.yaml --commit "$commit" --event push --status success --limit 1 --json databaseId \
  --jq '.[].databaseId')
if [ -z "$run" ]; then
  echo "No run of ci on main has measured $commit and passed. Wait for it, or repeat it, and then this job." >&2
  exit 1
fi
echo "run=$run"
