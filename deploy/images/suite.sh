#!/usr/bin/env bash
# The Python test suite inside the image `test` of an architecture: suite.sh ARCH [FILE...]. Each file has a container
# of its own, and as many run at once as there are processors ($JOBS).
#
# What cannot be borne under emulation is named, with the reason, in deploy/images/emulated.txt, and runs like all else
# where ARCH is this machine's; what needs PyTorch is named in without-torch.txt. A file has an hour ($LIMIT_S seconds);
# one that needs longer has failed. A log of each is kept in $STORE/suite-ARCH.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh
arch=${1:?usage: suite.sh ARCH [FILE...]}
shift
[ $# -gt 0 ] || set -- tests/test_*.py
logs=$STORE/suite-$arch
mkdir -p "$logs"
count() { sed -n "\$s/.*\b\([0-9][0-9]*\) $1.*/\1/p" "$2"; }
lists=(deploy/images/without-torch.txt)
[ "$arch" = "$(dpkg --print-architecture)" ] || lists+=(deploy/images/emulated.txt)

# Under emulation one test may take twenty times as long as natively, and is given it; servers of tests serve int8, as
# float32 costs ten times as much there. Each process keeps to one thread of arithmetic, as in `make test`, where tests
# run side by side as well. Browsers are not in the image.
settings=(--env PYTHONPATH=/src)
for variable in OMP OPENBLAS MKL RAYON; do settings+=(--env "${variable}_NUM_THREADS=1"); done
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
  settings+=(--env PERWATT_TEST_PATIENCE=20 --env PERWATT_TEST_PRECISION=int8)
fi
run_file() { # name of a test file
  local name=$1 status=0 without container=perwatt-suite-$arch-$1 log=$logs/$1.log
  mapfile -t without < <(sed -n "s|^\($name\)\(::[^ ]*\).*|--deselect=tests/\1.py\2|p" "${lists[@]}")
  timeout "${LIMIT_S:-3600}" podman run --rm --replace --name "$container" --arch "$arch" --pull=never \
    --network host --tmpfs /tmp:rw,exec --env QEMU_CPU="$QEMU_CPU" --env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    "${settings[@]}" --volume "$PWD/tests:/src/tests:ro" "localhost/perwatt-test:$arch" \
    -q -o timeout=3000 "${without[@]}" "tests/$name.py" > "$log" 2>&1 || status=$?
  [ $status -ne 124 ] || podman rm --force --time 1 "$container" >/dev/null
  echo $status > "$log.status"
  case $status in
    0) lap "$name: $(tail -1 "$log")" ;;
    124) lap "$name: FAILED, its time was over, see $log" ;;
    *) lap "$name: FAILED with status $status, see $log" ;;
  esac
}

left_out=0 chosen=()
for file in "$@"; do
  name=$(basename "$file" .py)
  if reason=$(grep -h "^$name\( \|\$\)" "${lists[@]}"); then
    echo "left out: $reason"
    left_out=$((left_out + 1))
    continue
  fi
  rm -f "$logs/$name.log" "$logs/$name.log.status"
  chosen+=("$name")
done
for name in "${chosen[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do wait -n || true; done
  run_file "$name" &
done
wait

failed=() passed=0 skipped=0
for name in "${chosen[@]}"; do
  log=$logs/$name.log
  [ "$(cat "$log.status" 2>/dev/null)" = 0 ] || failed+=("$name")
  passed=$((passed + $(count passed "$log" | grep . || echo 0)))
  skipped=$((skipped + $(count skipped "$log" | grep . || echo 0)))
done
echo "$arch: $passed tests passed, $skipped were skipped, ${#failed[@]} files failed, $left_out files were left out"
if [ ${#failed[@]} -gt 0 ]; then
  echo "These failed: ${failed[*]}" >&2
  exit 1
fi
