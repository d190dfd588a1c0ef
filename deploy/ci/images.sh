#!/usr/bin/env bash
# The images of this machine's architecture, by Docker, as a tar that another machine can load: images.sh OUT.tar
# Where there is no Docker, `make images` builds both architectures with buildah.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: images.sh OUT.tar}
export REVISION=${GITHUB_SHA:-$(git rev-parse HEAD)} TAG=${PERWATT_TAG:-local}
docker buildx bake --file deploy/docker-bake.hcl --load local
docker save --output "$out" "perwatt-serve:$TAG" "perwatt-loadtest:$TAG"
docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' 'perwatt-*'
