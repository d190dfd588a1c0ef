#!/usr/bin/env bash
# Builds the targets given (default: serve loadtest) for both architectures and joins each pair in a manifest list:
# build.sh [TARGET...]
#
# serve and loadtest are also kept as an OCI layout, $STORE/oci-TARGET, and as archives that a machine can load,
# $STORE/archives/TARGET-ARCH.tar. The target baked takes the folders $INDEXES and $MODELS, see deploy/Dockerfile.
#
# The build stage takes the base of this machine, the run stage that of the target. Where packages come from is this
# machine's affair and reaches the build as secrets: UV_CONFIG_FILE if it is set, and the authorities of SSL_CERT_FILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh

[ $# -gt 0 ] || set -- serve loadtest
mkdir -p "$STORE/archives"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
own=$(dpkg --print-architecture)
secrets=()
[ -z "${UV_CONFIG_FILE:-}" ] || secrets+=(--secret "id=index,src=$UV_CONFIG_FILE")
[ -z "${SSL_CERT_FILE:-}" ] || secrets+=(--secret "id=certificates,src=$SSL_CERT_FILE")

contexts=()
[ -z "${INDEXES:-}" ] || contexts+=(--build-context "indexes=$(realpath "$INDEXES")")
[ -z "${MODELS:-}" ] || contexts+=(--build-context "models=$(realpath "$MODELS")")

# buildah 1.28 takes the base of every stage for the target's platform, whatever --platform=$BUILDPLATFORM says; so the
# base of this machine is also kept under the label of the other. BuildKit picks it by itself.
build_base() { # architecture of the target
  [ "$1" = "$own" ] && { echo "$BASE:$own"; return; }
  local name=$BASE:$own-labelled-$1
  if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
    local container
    container=$(buildah from --pull-never --arch "$own" "$BASE:$own")
    buildah config --arch "$1" "$container"
    buildah commit --quiet --rm "$container" "$name" >/dev/null
  fi
  echo "$name"
}

for target in "$@"; do
  kept=""
  case $target in serve | loadtest) kept=yes ;; esac
  list=localhost/perwatt-$target:$version
  buildah manifest rm "$list" >/dev/null 2>&1 || true
  buildah manifest create "$list" >/dev/null
  for arch in $ARCHITECTURES; do
    log=$STORE/build-$target-$arch.log
    if ! buildah build --layers --pull=never --format docker --platform "linux/$arch" --target "$target" \
      --build-arg BASE="$BASE:$arch" --build-arg BUILD_BASE="$(build_base "$arch")" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
      "${secrets[@]}" "${contexts[@]}" --tag "localhost/perwatt-$target:$arch" --file deploy/Dockerfile . > "$log" 2>&1; then
      tail -40 "$log" >&2
      echo "The image $target of $arch was not built; the whole log is $log" >&2
      exit 1
    fi
    buildah manifest add "$list" "localhost/perwatt-$target:$arch" >/dev/null
    if [ -n "$kept" ]; then
      archive=$STORE/archives/$target-$arch.tar
      rm -f "$archive"
      buildah push --quiet "localhost/perwatt-$target:$arch" "docker-archive:$archive:perwatt-$target:$version" >/dev/null
    fi
    lap "image $target, $arch: $(buildah images --format '{{.Size}}' "localhost/perwatt-$target:$arch")"
  done
  [ -n "$kept" ] || continue
  rm -rf "$STORE/oci-$target"
  buildah manifest push --quiet --all --format oci "$list" "oci:$STORE/oci-$target:$version" >/dev/null 2>&1
  lap "manifest list $list"
done
