#!/usr/bin/env bash
# The compose file by podman-compose: embed and build, serve, a load test of three seconds beside it; then the same
# documents in three shards behind the router, of whose servers one is killed.
#
# Health checks run on systemd's timers in podman, and are asked for by hand here.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
work=$proof/compose
rm -rf "$work" && mkdir -p "$work"/{documents,vectors,indexes,runs}
chown -R 1000:1000 "$work"
for number in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "{\"id\": \"n$number\", \"title\": \"Bread $number\", \"text\": \"Rye bread rises over night.\"}"; done \
  > "$work/documents/documents.jsonl"
echo '{"text": "bread"}' > "$work/queries.jsonl"
export PERWATT_SERVE_IMAGE=localhost/perwatt-serve:$arch PERWATT_LOADTEST_IMAGE=localhost/perwatt-loadtest:$arch
export DOCUMENTS=$work/documents VECTORS=$work/vectors INDEXES=$work/indexes RUNS=$work/runs QUERIES=$work/queries.jsonl
export PORT=${PROOF_PORT:-18411} ROUTER_PORT=${PROOF_ROUTER_PORT:-18412} PWD
file=deploy/compose/compose.yaml
compose() { podman-compose --file $file "$@"; }
trap 'compose --profile rebuild --profile loadtest --profile shards down --timeout 5 >/dev/null 2>&1 || true' EXIT
# podman-compose does not always wait for what must have ended before, so each is asked for in its turn.
for step in embed build; do compose --profile rebuild run --rm --no-deps $step; done
compose up --detach serve
until_true 60 ask "http://127.0.0.1:$PORT/readyz"
grep -q '"n[0-9]*"' <<<"$(ask "http://127.0.0.1:$PORT/v1/indexes/docs/search" '{"text": "bread", "k": 3}')"
serve=$(podman ps --filter name=perwatt_serve --format '{{.Names}}')
podman healthcheck run "$serve"
status=0
compose --profile loadtest run --rm --no-deps loadtest loadtest run --url http://127.0.0.1:8000 --index docs \
  --queries /queries.jsonl --rate 10 --duration 3 --recall-queries 1 --no-calibrate --out /runs/run.json || status=$?
[ "$status" = 0 ] || [ "$status" = 3 ]
[ -f "$work/runs/run.json" ]
compose --profile rebuild --profile loadtest down --timeout 5

export INDEX=parts
compose --profile rebuild run --rm --no-deps build build /vectors/docs --index parts --root /indexes --shards 3
# podman-compose starts nobody by a profile whose name it is not given.
compose --profile shards up --detach shard-0-a shard-0-b shard-1-a shard-1-b shard-2-a shard-2-b router
until_true 120 ask "http://127.0.0.1:$ROUTER_PORT/readyz"
routed() { # of three shards all have answered, with a document of theirs
  local answer
  answer=$(ask "http://127.0.0.1:$ROUTER_PORT/v1/indexes/parts/search" '{"text": "bread", "k": 12}')
  grep -q '"shards":3,"answered":3' <<<"$answer" && grep -q '"n[0-9]*"' <<<"$answer"
}
routed
podman kill "$(podman ps --filter name=perwatt_shard-1-a --format '{{.Names}}')"
for _ in 1 2 3 4 5 6 7 8 9 10; do routed; done
said="exit status $status of the load test, 3 means measured and not believed"
echo "podman-compose embedded, built, served and loaded it ($said); a router over three shards lost a server and no answer"
