#!/usr/bin/env bash
# What helm renders, in podman on a bridge of its own: a pod that fetches its index from S3 with the credentials of a secret;
# and one that serves a volume, beside the rebuild's pod, whose generation it must turn to without a restart.
#
# podman has pods, secrets and volumes. What it lacks (deployments' replicas, services, probes by systemd) is left out.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
[ "$(podman inspect --format "{{.State.Running}}" perwatt-proof-s3 2>/dev/null)" = true ] || not_run "the store of the part store is not running"
make_index
image="image.repository=localhost/perwatt-serve,image.tag=$arch,image.pullPolicy=Never"
replace() { podman kube play --replace --network "$network" "$@"; }
container() { podman ps --all --filter "name=$1.*-$2\$" --format '{{.Names}}'; }
address_of() { podman inspect --format "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" "$(podman pod inspect --format '{{.InfraContainerID}}' "$1")"; }
cleared() {
  podman pod ls --format '{{.Name}}' | { grep ^demo || true; } | xargs -r podman pod rm --force --time 1 >/dev/null 2>&1
  podman volume ls --format '{{.Name}}' | { grep ^demo || true; } | xargs -r podman volume rm --force >/dev/null 2>&1
}
told() { # what every container of a failed part said
  [ "$?" = 0 ] || podman ps --all --filter name=demo --format '{{.Names}}' | while read -r each; do
    echo "$each:"
    podman logs "$each" 2>&1 | tail -n 5
  done
  cleared
}
trap told EXIT
cleared

# A secret's data as Kubernetes would hold it; podman 4 reads variables from that alone.
podman secret rm store >/dev/null 2>&1 || true
kubectl create secret generic store --from-env-file="$proof/store.env" --dry-run=client --output json |
  python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["data"]))' | podman secret create store - >/dev/null
sha256=$(sha256sum "$proof/made/docs.tar" | cut -d ' ' -f 1)
helm template demo-fetch deploy/helm/perwatt --set "$image" --set serve.drainSeconds=0 \
  --set indexes.source=fetch,indexes.fetch.secret=store \
  --set "indexes.fetch.archives[0].name=docs,indexes.fetch.archives[0].url=s3://$BUCKET/docs.tar,indexes.fetch.archives[0].sha256=$sha256" \
  > "$proof/fetch.yaml"
if grep -q "$SECRET" "$proof/fetch.yaml"; then echo "the manifest shows a secret"; exit 1; fi
python3 deploy/proof/pods.py serve "$proof/fetch.yaml" > "$proof/fetch-pod.yaml"
replace "$proof/fetch-pod.yaml"
there=http://$(address_of demo-fetch-perwatt):8000
until_true 60 ask "$there/readyz"
grep -q '"hits":\[{' <<<"$(ask "$there/v1/indexes/docs/search" "$search")"
shown=$(podman inspect --format '{{.Config.Cmd}} {{.Args}}' demo-fetch-perwatt-fetch-docs demo-fetch-perwatt-serve)
if grep -q "$SECRET" <<<"$shown"; then echo "an argument shows a secret"; exit 1; fi

# The volume, as a claim that the chart makes, with the index in it before the pod starts.
podman volume rm --force perwatt-indexes perwatt-documents perwatt-vectors >/dev/null
for name in indexes documents vectors; do
  podman volume create "perwatt-$name" >/dev/null
  chown 10001:10001 "$(podman volume inspect --format '{{.Mountpoint}}' "perwatt-$name")"
done
cp -a "$proof/made/indexes/docs" "$(podman volume inspect --format '{{.Mountpoint}}' perwatt-indexes)/"
documents=$(podman volume inspect --format '{{.Mountpoint}}' perwatt-documents)
for number in $(seq 30); do echo "{\"id\": \"n$number\", \"title\": \"Bread $number\", \"text\": \"Rye bread rises over night.\"}"; done \
  > "$documents/documents.jsonl"
helm template demo deploy/helm/perwatt --set "$image" --set serve.drainSeconds=0,rebuild.enabled=true,test.index=docs \
  --set rebuild.documents.path=documents.jsonl > "$proof/volume.yaml"
python3 deploy/proof/pods.py serve "$proof/volume.yaml" > "$proof/serve-pod.yaml"
python3 deploy/proof/pods.py rebuild "$proof/volume.yaml" > "$proof/rebuild-pod.yaml"
python3 deploy/proof/pods.py test "$proof/volume.yaml" > "$proof/test-pod.yaml"
replace "$proof/serve-pod.yaml"
here=http://$(address_of demo-perwatt):8000
until_true 60 ask "$here/readyz"
generation() { ask "$here/v1/indexes/docs" | python3 -c 'import json, sys; print(json.load(sys.stdin)["generation"])'; }
before=$(generation)
serving=$(container demo-perwatt serve)
started=$(podman inspect --format '{{.State.StartedAt}}' "$serving")
replace "$proof/rebuild-pod.yaml"
ended=$(podman wait "$(container demo-perwatt-rebuild build)")
podman logs "$(container demo-perwatt-rebuild build)"
[ "$ended" = 0 ]
moved() { [ "$(generation)" != "$before" ] && grep -q '"n[0-9]*"' <<<"$(ask "$here/v1/indexes/docs/search" "$search")"; }
until_true 20 moved
[ "$(podman inspect --format '{{.State.StartedAt}}' "$serving")" = "$started" ]
podman exec "$serving" sh -c 'test ! -e /var/run/secrets/kubernetes.io'

# `helm test`, by the service's name on that network.
sed -i "s#http://demo-perwatt:80#$here#g" "$proof/test-pod.yaml"
replace "$proof/test-pod.yaml"
[ "$(podman wait "$(container demo-perwatt-test search)")" = 0 ]
grep -q Bread <<<"$(podman logs "$(container demo-perwatt-test search)" 2>&1)"
echo "a pod fetched its index from S3 and answered; a rebuild's pod made a generation that the serving pod turned to in place;" \
  "the pod of helm test searched. Left out: $(python3 deploy/proof/pods.py serve "$proof/volume.yaml" 2>&1 >/dev/null | wc -l) probes"
