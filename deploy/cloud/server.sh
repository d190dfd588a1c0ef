# shellcheck shell=bash disable=SC2154
# The machine under test. Set before: image_url image_sha256 index_url index_sha256 log_url; serve=(options)
set -euo pipefail
exec 3>&1 4>&2 > >(tee -a /var/log/perwatt.log) 2>&1
log=$!
# However it ends, this machine serves nobody any more.
# shellcheck disable=SC2317 # called by the trap
report() {
  exec >&3 2>&4
  for _ in {1..50}; do # until tee has written what was said last
    kill -0 "$log" 2> /dev/null || break
    sleep 0.1
  done
  curl -fsS -X PUT --upload-file /var/log/perwatt.log "$log_url" || true
  shutdown -h now
}
trap report EXIT
fetch() { # address, hash, file
  curl -fsS --retry 5 --retry-all-errors --output "$3" "$1"
  echo "$2  $3" | sha256sum --check --quiet
}
work=${PERWATT_WORK:-/srv/perwatt}
mkdir -p "$work/facts"
fetch "$image_url" "$image_sha256" "$work/image.tar"
fetch "$index_url" "$index_sha256" "$work/index.tar"
image=$(docker load --input "$work/image.tar" | sed -n 's/^Loaded image: //p')
tar -xf "$work/index.tar" -C "$work"
confined=(--network host --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges)
# The facts of this machine are in every record; who loads it asks for them at a port of their own.
docker run --rm "${confined[@]}" "$image" loadtest machine --json > "$work/facts/machine.json"
docker run --detach "${confined[@]}" --volume "$work/facts:/facts:ro" --entrypoint python3 "$image" \
  -m http.server 8001 --directory /facts
service=$(docker run --detach --restart no "${confined[@]}" --volume "$work/indexes:/indexes:ro" "$image" \
  serve --root /indexes --host 0.0.0.0 --port 8000 --insecure --workers "$(nproc)" "${serve[@]}")
until curl -fsS --max-time 5 --output /dev/null http://127.0.0.1:8000/readyz; do
  [ "$(docker inspect --format '{{.State.Running}}' "$service")" = true ] || break
  sleep 2
done
# Returns when the service has died, now or under load: what it said last is in the report then. One that lives is ended
# with its machine.
docker wait "$service"
docker logs "$service"
echo "perwatt: the service has ended"
exit 1
