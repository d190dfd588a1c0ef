#!/usr/bin/env bash
# The Python test suite inside the image `test` of an architecture, file by file: suite.sh ARCH [FILE...]
#
# What cannot be borne under emulation is named, with the reason, in deploy/images/emulated.txt, and runs like all else
# where ARCH is this machine's; what needs PyTorch is named in without-torch.txt. A file has an hour ($LIMIT_S seconds); one
# that needs longer has failed. A log of each is kept in $STORE/suite-ARCH.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh
arch=${1:?usage: suite.sh ARCH [FILE...]}
shift
[ $# -gt 0 ] || set -- tests/test_*.py
logs=$STORE/suite-$arch
mkdir -p "$logs"
failed=() left_out=0 passed=0 skipped=0
count() { sed -n "\$s/.*\\b\\([0-9][0-9]*\\) $1.*/\\1/p" "$2"; }
lists=(deploy/images/without-torch.txt)
[ "$arch" = "$(dpkg --print-architecture)" ] || lists+=(deploy/images/emulated.txt)
for file in "$@"; do
  name=$(basename "$file" .py)
  if reason=$(grep -h "^$name\( \|\$\)" "${lists[@]}"); then
    echo "left out: $reason"
    left_out=$((left_out + 1))
    continue
  fi
  mapfile -t without < <(sed -n "s|^\($name::[^ ]*\).*|--deselect=tests/\1|; s|tests/$name::|tests/$name.py::|p" "${lists[@]}")
  # One test may take twenty times as long as natively. Browsers are not in the image.
  container=perwatt-suite-$arch-$name log=$logs/$name.log
  if timeout "${LIMIT_S:-3600}" podman run --rm --replace --name "$container" --arch "$arch" --pull=never \
    --network host --tmpfs /tmp:rw,exec --env QEMU_CPU="$QEMU_CPU" --env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    --volume "$PWD/tests:/src/tests:ro" "localhost/perwatt-test:$arch" -q -o timeout=3000 "${without[@]}" "tests/$name.py" \
    > "$log" 2>&1; then
    lap "$name: $(tail -1 "$log")"
  else
    status=$?
    [ $status -ne 124 ] || podman rm --force --time 1 "$container" >/dev/null
    lap "$name: FAILED with status $status$([ $status -ne 124 ] || echo ", its time was over"), see $log"
    failed+=("$name")
  fi
  passed=$((passed + $(count passed "$log" | grep . || echo 0)))
  skipped=$((skipped + $(count skipped "$log" | grep . || echo 0)))
done
echo "$arch: $passed tests passed, $skipped were skipped, ${#failed[@]} files failed, $left_out files were left out"
if [ ${#failed[@]} -gt 0 ]; then
  echo "These failed: ${failed[*]}" >&2
  exit 1
fi
