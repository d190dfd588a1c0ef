#!/usr/bin/env bash
# Looks every locked package up in the public list of known holes: audit.sh [LOCK...]; by default what serving installs.
# pip-audit lives in a folder of its own, so that it is in no lock itself. Exit status 1: a hole; 2: the list could not be
# asked, which is not the same as none.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=${PERWATT_AUDIT:-.perwatt/audit}
[ -x "$tools/bin/pip-audit" ] || {
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --only-binary :all: pip-audit
}
[ $# -gt 0 ] || set -- deploy/locks/{serve,model,onnx,otel,stores,loadtest,image}.txt

for lock in "$@"; do
  said=$("$tools/bin/pip-audit" --disable-pip --require-hashes --progress-spinner off --requirement "$lock" 2>&1) || {
    status=$?
    printf '%s\n%s\n' "$lock:" "$said" >&2
    grep -q "Traceback\|ConnectionError\|ServiceError\|Max retries\|HTTPError" <<<"$said" && exit 2
    exit "$status"
  }
  if grep -q "could not be audited" <<<"$said"; then # pip-audit calls that clean; it is not
    printf '%s: %s packages could not be looked up; was the list reachable?\n' "$lock" \
      "$(grep -c 'could not be audited' <<<"$said")" >&2
    exit 2
  fi
  printf '%s: %s\n' "$lock" "$said"
done
