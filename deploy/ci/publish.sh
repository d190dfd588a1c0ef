#!/usr/bin/env bash
# Pushes the images of both architectures, with provenance and a bill of materials: publish.sh TAG
# Needs $REGISTRY (with a slash at its end), $REGISTRY_USER and $REGISTRY_TOKEN.
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:?usage: publish.sh TAG}
: "${REGISTRY:?the registry and its path, such as ghcr.io/you/}" "${REGISTRY_USER:?}" "${REGISTRY_TOKEN:?}"
export REGISTRY=${REGISTRY,,} TAG=$tag VERSION=${tag#v} REVISION=${GITHUB_SHA:-$(git rev-parse HEAD)}
docker login --username "$REGISTRY_USER" --password-stdin "${REGISTRY%%/*}" <<<"$REGISTRY_TOKEN"
trap 'docker logout "${REGISTRY%%/*}"' EXIT
# The default builder cannot hold two platforms; the build stage crosses, and only the last steps are emulated.
docker run --privileged --rm tonistiigi/binfmt --install arm64
docker buildx create --name perwatt-publish --use
docker buildx bake --file deploy/docker-bake.hcl --push
docker buildx imagetools inspect "${REGISTRY}perwatt-serve:$TAG"
