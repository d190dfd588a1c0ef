#!/usr/bin/env bash
# The Python test suite inside the image `test` of an architecture, file by file: suite.sh ARCH [FILE...]
#
# Files whose tests cannot be borne under emulation are named, with the reason, in deploy/images/emulated.txt; they run
# like all others where ARCH is this machine's. A log of each file is kept in $STORE/suite-ARCH.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh
arch=${1:?usage: suite.sh ARCH [FILE...]}
shift
[ $# -gt 0 ] || set -- tests/test_*.py
logs=$STORE/suite-$arch
mkdir -p "$logs"
failed=()
for file in "$@"; do
  name=$(basename "$file" .py)
  if [ "$arch" != "$(dpkg --print-architecture)" ] && reason=$(grep "^$name  *" deploy/images/emulated.txt); then
    echo "left out: $reason"
    continue
  fi
  # One test may take twenty times as long as natively. Compilers and browsers are not in the image.
  if podman run --rm --arch "$arch" --pull=never --network host --tmpfs /tmp:rw,exec --env QEMU_CPU="$QEMU_CPU" \
    --env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    --volume "$PWD/tests:/src/tests:ro" "localhost/perwatt-test:$arch" -q -o timeout=3000 "tests/$name.py" \
    > "$logs/$name.log" 2>&1; then
    lap "$name: $(tail -1 "$logs/$name.log")"
  else
    lap "$name: FAILED, see $logs/$name.log"
    failed+=("$name")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "${#failed[@]} files failed: ${failed[*]}" >&2
  exit 1
fi
