# shellcheck shell=bash disable=SC2154
# The machine that loads. Set before: image_url image_sha256 index_url index_sha256 server prices run_url log_url;
# knee=(options)
set -euo pipefail
exec 3>&1 4>&2 > >(tee -a /var/log/perwatt.log) 2>&1
log=$!
report() {
  status=$?
  echo "perwatt: ended with $status"
  exec >&3 2>&4
  for _ in {1..50}; do # until tee has written what was said last
    kill -0 "$log" 2> /dev/null || break
    sleep 0.1
  done
  curl -fsS -X PUT --upload-file /var/log/perwatt.log "$log_url" || true
  # Only after the log: a record means that the trial is over and both machines may go.
  if [ -s "$work/runs/run.json" ]; then
    curl -fsS -X PUT --upload-file "$work/runs/run.json" "$run_url" || true
  fi
  shutdown -h now
}
work=${PERWATT_WORK:-/srv/perwatt}
trap report EXIT
fetch() { # address, hash, file
  curl -fsS --retry 5 --retry-all-errors --output "$3" "$1"
  echo "$2  $3" | sha256sum --check --quiet
}
mkdir -p "$work/runs"
chmod 777 "$work/runs"
fetch "$image_url" "$image_sha256" "$work/image.tar"
fetch "$index_url" "$index_sha256" "$work/index.tar"
image=$(docker load --input "$work/image.tar" | sed -n 's/^Loaded image: //p')
tar -xf "$work/index.tar" -C "$work"
curl -fsS --retry 300 --retry-delay 2 --retry-all-errors --output /dev/null "http://$server:8000/readyz"
curl -fsS --retry 5 --retry-all-errors --output "$work/machine.json" "http://$server:8001/machine.json"
printf '%s' "$prices" > "$work/prices.csv"
docker run --rm --network host --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges \
  --volume "$work:$work:ro" --volume "$work/runs:/runs" "$image" loadtest knee --url "http://$server:8000" \
  --queries "$work/vectors" --server-facts "$work/machine.json" --prices "$work/prices.csv" \
  --out /runs/run.json --processes "$((($(nproc) + 1) / 2))" "${knee[@]}"
