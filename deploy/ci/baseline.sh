#!/usr/bin/env bash
# The run records that the last release kept, into a folder; none if there is no release: baseline.sh OUT
# Exit status 1: they could not be asked for, which is not the same as none.
set -euo pipefail
out=${1:?usage: baseline.sh OUT}
mkdir -p "$out"
if ! command -v gh >/dev/null; then
  echo "baseline.sh needs gh, GitHub's command, to find the last release. Put that release's runs into $out by hand." >&2
  exit 1
fi
if ! said=$(gh release download --pattern runs.tar --clobber --dir "$out" 2>&1); then
  # What gh says where there is nothing to fetch; anything else (no login, no network) must not pass for it.
  if grep -qiE 'release not found|no assets match|no assets to download' <<<"$said"; then
    echo "::notice::The last release has no runs.tar, or there is no release."
    exit 0
  fi
  echo "The last release could not be asked for: $said" >&2
  exit 1
fi
tar -xf "$out/runs.tar" -C "$out"
