#!/usr/bin/env bash
# The images of this machine's architecture, by Docker, as a tar that another machine can load: images.sh OUT.tar
# Where there is no Docker, `make images` builds both architectures with buildah.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
out=$(realpath -m "${1:?usage: images.sh OUT.tar}")
cd "$top"
needs_docker images.sh "'make images' builds both architectures with buildah, into .perwatt/images."
export REVISION=${GITHUB_SHA:-$(git rev-parse HEAD)} TAG=${PERWATT_TAG:-local}
docker buildx bake --file deploy/docker-bake.hcl --load local
docker save --output "$out" "perwatt-serve:$TAG" "perwatt-loadtest:$TAG"
docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' 'perwatt-*'
