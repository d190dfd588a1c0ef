#!/usr/bin/env bash
# Every workflow's plan by act; and the job that rehearses a release, run as act runs it on this machine itself, since no
# image of a runner can be had. Jobs that take actions from GitHub are planned and not run.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
planned=0
for file in .github/workflows/*.yaml; do
  planned=$((planned + $(act --list --workflows "$file" 2>/dev/null | tail -n +2 | grep -c .)))
done
[ "$planned" -gt 10 ]
act workflow_dispatch --env PERWATT_IMAGES="$STORE" --env PERWATT_PROOF="$proof" \
  --workflows .github/workflows/rehearsal.yaml --platform ubuntu-24.04=-self-hosted
said=$(tail -n 1 "$proof/release.log")
echo "$planned jobs planned by act, and the rehearsal run by it: $said"
