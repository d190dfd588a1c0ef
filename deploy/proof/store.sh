#!/usr/bin/env bash
# A server of S3's API beside the pods, and the image that pushes to it, pulls from it and fetches an archive of it. It stays
# for the pods.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
make_index
podman network exists "$network" || podman network create "$network" >/dev/null
podman rm --force --ignore --time 1 perwatt-proof-s3
rm -rf "$proof/s3" && mkdir -p "$proof/s3"
cat > "$proof/s3/s3.json" <<JSON
{"identities": [{"name": "test", "credentials": [{"accessKey": "$KEY", "secretKey": "$SECRET"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
podman run --detach --pull=never --name perwatt-proof-s3 --network "$network" --volume "$tools/venv/bin/weed:/weed:ro" \
  --volume "$proof/s3:/data" "localhost/perwatt-base:$arch" /weed server -dir=/data -filer -s3 -s3.config=/data/s3.json \
  -s3.port=8333 -master.volumeSizeLimitMB=64 -volume.max=10 -master.telemetry=false >/dev/null
address=$(podman inspect --format "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" perwatt-proof-s3)
cat > "$proof/store.env" <<ENV
AWS_ENDPOINT_URL=http://$address:8333
AWS_ACCESS_KEY_ID=$KEY
AWS_SECRET_ACCESS_KEY=$SECRET
AWS_REGION=us-east-1
ENV
stored() {
  podman run --rm --pull=never --no-healthcheck --network "$network" --read-only --tmpfs /tmp --cap-drop all --env-file "$proof/store.env" \
    --volume "$proof/made:/made" "$@"
}
image=localhost/perwatt-serve:$arch
make_bucket() { echo "s3.bucket.create -name $BUCKET" | timeout 20 podman exec -i perwatt-proof-s3 /weed shell; }
until_true 60 make_bucket
until_true 60 stored "$image" push docs "s3://$BUCKET/perwatt" --root /made/indexes
rm -rf "$proof/made/pulled" "$proof/made/fetched"
install -d -o 10001 -g 10001 "$proof/made/pulled" "$proof/made/fetched"
stored "$image" pull docs "s3://$BUCKET/perwatt" --root /made/pulled
stored --entrypoint python3 "$image" -c 'import obstore, sys
from obstore.store import from_url
obstore.put(from_url(sys.argv[1], client_options={"allow_http": True}), "docs.tar", open("/made/docs.tar", "rb"))' "s3://$BUCKET"
sha256=$(sha256sum "$proof/made/docs.tar" | cut -d ' ' -f 1)
stored --entrypoint python3 "$image" -m deploy.jobs.fetch "s3://$BUCKET/docs.tar" "$sha256" /made/fetched
for place in pulled fetched; do stored "$image" verify docs --root "/made/$place"; done
said=$(stored --env AWS_SECRET_ACCESS_KEY=wrong-and-secret --entrypoint python3 "$image" -m deploy.jobs.fetch \
  "s3://$BUCKET/docs.tar" "$sha256" /made/fetched 2>&1) && { echo "a wrong key was let in"; exit 1; }
grep -q 'was refused' <<<"$said"
if grep -q 'wrong-and-secret' <<<"$said"; then echo "the key was shown: $said"; exit 1; fi
echo "an index was pushed to SeaweedFS, pulled and fetched from it, and verified; a wrong key was refused and not shown"
