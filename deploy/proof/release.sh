#!/usr/bin/env bash
# A release on one machine: the images are staged in a registry on the loopback, measured by digest, promoted without being
# built, signed with a throw-away key, and compared. What was not measured must be refused.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
exec > >(tee "$proof/release.log") 2>&1
buildah inspect --type image "localhost/perwatt-loadtest:$arch" >/dev/null 2>&1 || deploy/proof/images.sh
make_index
out=$proof/release port=${PROOF_REGISTRY_PORT:-18421}
rm -rf "$out" && mkdir -p "$out/registry"
cat > "$out/registry.yaml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $out/registry}}
http: {addr: 127.0.0.1:$port}
YAML
docker-registry serve "$out/registry.yaml" > "$out/registry.log" 2>&1 &
registry=$!
trap 'kill $registry; wait $registry 2>/dev/null || true' EXIT
until_true 30 ask "http://127.0.0.1:$port/v2/"
export REGISTRY=127.0.0.1:$port/me/ PERWATT_ENGINE=podman
digests=$out/digests/$arch
deploy/ci/stage.sh "$digests"
deploy/ci/stage.sh "$digests" | diff - "$digests" # the same, not built again

# The images come from the registry by digest, as on another machine.
export PERWATT_DIGESTS=$digests
sed 's/.* //' "$digests" | xargs -n 1 podman pull --quiet --tls-verify=false
deploy/ci/index.sh "$out/index.tar" python:json
KNEE_OPTIONS="--slo-p99-ms 200 --recall 0.5 --no-curve --start-rate 20 --search-s 2 --confirm-s 8 --level-s 2 --warmup 1 \
  --limit-rate 80 --allow-interference" PORT=$((port + 1)) deploy/ci/trial.sh "$out/index.tar" "$arch" 1 "$out/runs/$arch-1.json"
deploy/ci/promote.sh "v$version" "$out/runs" "$out/published" "$digests"
deploy/ci/promote.sh "v$version" "$out/runs" "$out/again" "$digests" >/dev/null # published once, and the same is fine
openssl ecparam -genkey -name prime256v1 -noout -out "$out/throw-away.pem"
PERWATT_SIGNING_KEY=$out/throw-away.pem deploy/ci/sign.sh "$out/published/published" "$out/signatures"

# What anybody pulls under the version is what was measured.
pulled=$(podman pull --quiet --tls-verify=false "${REGISTRY}perwatt-serve:$version")
measured=$(podman image inspect --format '{{.Id}}' "$(sed -n 's/^serve //p' "$digests")")
[ "$pulled" = "$measured" ]
grep -q "image: $(sed -n 's/^serve //p' "$out/published/published")" <<<"$(helm template demo "$out/published/perwatt-$version.tgz")"

sed 's/sha256:../sha256:00/' "$digests" > "$out/unmeasured"
if deploy/ci/promote.sh "v$version" "$out/runs" "$out/refused" "$out/unmeasured" 2> "$out/refused.log"; then
  echo "an image that nobody measured was published"
  exit 1
fi
grep -q 'What was measured is not what would be published' "$out/refused.log"
echo "staged, measured as $(cut -d @ -f 2 "$out/runs/$arch-1.image"), promoted under $version without being built, signed by openssl;" \
  "what was not measured was refused"
