#!/usr/bin/env bash
# Prometheus on deploy/compose/prometheus.yaml, with the service's address and the files' places of this machine, until it
# has seen a service that was searched; then every query of the dashboard, and every rule.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
make_index
port=${PROOF_PORT:-18411} own=$((${PROOF_PORT:-18411} + 1))
podman rm --force --ignore --time 1 perwatt-proof-serve
podman run --detach --pull=never --name perwatt-proof-serve --publish "127.0.0.1:$port:8000" --network "$network" \
  --read-only --tmpfs /tmp --cap-drop all --volume "$proof/made/indexes:/indexes:ro" "localhost/perwatt-serve:$arch" >/dev/null
rm -rf "$proof/prometheus" && mkdir -p "$proof/prometheus"
sed -e "s#serve:8000#127.0.0.1:$port#; s#/etc/prometheus/alerts.yaml#$PWD/deploy/compose/alerts.yaml#" \
  -e "s#/etc/prometheus/metrics.key#/dev/null#; s#scrape_interval: 5s#scrape_interval: 1s#; s#evaluation_interval: 15s#evaluation_interval: 2s#" \
  deploy/compose/prometheus.yaml > "$proof/prometheus.yaml"
prometheus --config.file="$proof/prometheus.yaml" --storage.tsdb.path="$proof/prometheus" \
  --web.listen-address="127.0.0.1:$own" > "$proof/prometheus-server.log" 2>&1 &
server=$!
trap 'kill $server; wait $server 2>/dev/null || true; podman rm --force --ignore --time 1 perwatt-proof-serve >/dev/null 2>&1' EXIT
until_true 60 ask "http://127.0.0.1:$port/readyz"
for _ in 1 2 3 4 5 6; do
  ask "http://127.0.0.1:$port/v1/indexes/docs/search" "$search" >/dev/null
  sleep 1
done
scraped() { grep -q '"search"' <<<"$(ask "http://127.0.0.1:$own/api/v1/query?query=perwatt_requests_total")"; }
until_true 30 scraped
sleep 3
python3 deploy/proof/queries.py "http://127.0.0.1:$own" deploy/compose/grafana/dashboards/perwatt.json
