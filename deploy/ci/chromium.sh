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
  # The shell draws the same pages for a third of the work: it is a Chromium without the windows around them.
  for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
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

on_debian() {
  command -v apt-get >/dev/null && grep -q '^ID=debian' /etc/os-release 2>/dev/null
}

install() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$1"
}

found=$(find_one || true)
# Where packages may be added without a word, as in a container, a slow browser that is there is no reason to keep it.
if [ "$(id -u)" = 0 ] && on_debian && [ -z "${PERWATT_CHROMIUM:-}" ] && [[ "$found" != *headless-shell ]]; then
  install chromium-headless-shell >&2 || true
  found=$(find_one || true)
fi
if [ -z "$found" ]; then
  if on_debian; then
    install chromium-headless-shell >&2 || install chromium >&2 || true
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
