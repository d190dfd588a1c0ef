#!/usr/bin/env bash
# Every part, a line each: run.sh [PART…]. Logs are in .perwatt/proof. Exit status 1: a part failed.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
[ "$(id -u)" = 0 ] || { echo "make test-deploy installs packages and makes networks, so it runs as root." >&2; exit 1; }
[ $# -gt 0 ] || set -- tools images helm store pods compose prometheus workflows
failed=0
for part in "$@"; do
  started=$SECONDS status=0
  "deploy/proof/$part.sh" > "$proof/$part.log" 2>&1 || status=$?
  said=$(tail -n 1 "$proof/$part.log")
  case $status in
    0) echo "done      $part: $said [$((SECONDS - started)) s]" ;;
    77) echo "not run   $part, because $said" ;;
    *)
      tail -n 30 "$proof/$part.log" >&2
      echo "FAILED    $part; its log is $proof/$part.log"
      failed=1
      ;;
  esac
done
podman rm --force --ignore --time 1 perwatt-proof-s3 >/dev/null 2>&1 || true
while read -r line; do echo "not run   $line"; done < deploy/proof/never.txt
exit $failed
