#!/usr/bin/env bash
# Builds the images of this machine's architecture, once for a commit, and puts them into the registry under their digests:
# stage.sh OUT
#
# OUT gets a line a role, "serve REGISTRY/perwatt-serve@sha256:…". Those bytes are measured, and those that were measured
# are promoted (deploy/ci/promote.sh): nothing is built a second time. A commit that is there already is not built anew.
# Docker builds; where none answers, or $PERWATT_ENGINE is podman, `make images` has built. $REGISTRY, $REGISTRY_USER and $REGISTRY_TOKEN: see
# deploy/ci/perwatt.sh.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
out=$(realpath -m "${1:?usage: stage.sh OUT}")
cd "$top"
needs_registry
commit=${GITHUB_SHA:-$(git rev-parse HEAD)} arch=$(dpkg --print-architecture)
roles="serve loadtest"
digest() { skopeo inspect --raw "${tls[@]}" "docker://$1" 2>/dev/null | sha256sum | cut -d ' ' -f 1; }

there=yes
for role in $roles; do
  skopeo inspect --raw "${tls[@]}" "docker://${REGISTRY}perwatt-$role:$commit-$arch" >/dev/null 2>&1 || there=""
done
if [ -z "$there" ]; then
  if [ "$engine" = docker ] && docker info >/dev/null 2>&1; then
    REVISION=$commit TAG=$commit docker buildx bake --file deploy/docker-bake.hcl --load local
    built() { echo "docker-daemon:perwatt-$1:$commit"; }
  else
    # shellcheck source=deploy/images/engine.sh
    . deploy/images/engine.sh
    built() { echo "containers-storage:localhost/perwatt-$1:$arch"; }
  fi
  for role in $roles; do
    skopeo copy --quiet --format oci "${destination_tls[@]}" "$(built "$role")" \
      "docker://${REGISTRY}perwatt-$role:$commit-$arch"
  done
fi
mkdir -p "$(dirname "$out")"
for role in $roles; do
  echo "$role ${REGISTRY}perwatt-$role@sha256:$(digest "${REGISTRY}perwatt-$role:$commit-$arch")"
done > "$out"
cat "$out"
