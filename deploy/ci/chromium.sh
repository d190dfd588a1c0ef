#!/usr/bin/env bash
# Prints the path of a Chromium that the page tests can drive, installing one first if there is none: chromium.sh VENV
set -euo pipefail
venv=${1:?usage: chromium.sh VENV}

find_one() {
  if [ -n "${PERWATT_CHROMIUM:-}" ]; then
    echo "$PERWATT_CHROMIUM"
    return
  fi
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    # Ubuntu's chromium-browser is a script that asks for a snap; only a browser that answers counts.
    if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  "$venv/bin/python" - <<'PY'
from playwright.sync_api import sync_playwright
import pathlib, sys
with sync_playwright() as playwright:
    path = playwright.chromium.executable_path
print(path) if pathlib.Path(path).exists() else sys.exit(1)
PY
}

found=$(find_one || true)
if [ -z "$found" ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  if command -v apt-get >/dev/null && grep -q '^ID=debian' /etc/os-release 2>/dev/null; then
    { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium; } >&2 || true
  else
    "$venv/bin/playwright" install chromium >&2 || true
  fi
  found=$(find_one || true)
fi
if [ -z "$found" ]; then
  echo "No Chromium was found and none could be installed. Install one and set PERWATT_CHROMIUM to its path." >&2
  exit 1
fi
echo "$found"
