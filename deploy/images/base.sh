#!/usr/bin/env bash
# The base of both architectures, as $BASE:amd64 and $BASE:arm64: $PERWATT_BASE (debian:bookworm-slim, a short name, which
# registries.conf(5) of this machine resolves) where a registry can be reached, else its equal, made from Debian's
# packages. Made once; `make clean` forgets it.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh

published=${PERWATT_BASE:-debian:bookworm-slim}
mirror=$(awk '$1 == "URIs:" && $2 ~ /\/debian$/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
for arch in $ARCHITECTURES; do
  buildah inspect --type image "$BASE:$arch" >/dev/null 2>&1 && continue
  if timeout 60 buildah pull --quiet --arch "$arch" "$published" >/dev/null 2>&1; then
    buildah tag "$published" "$BASE:$arch"
    lap "base of $arch: $published"
    continue
  fi
  scratch=$(mktemp -d -p /dev/shm perwatt-base.XXXXXX)
  trap 'rm -rf --one-file-system "$scratch"' EXIT
  # shellcheck disable=SC2016 # mmdebstrap expands it
  # What debian:bookworm-slim leaves out: documentation, manuals, translations, and all of Perl but perl-base, which comes
  # with the package that merges /usr afterwards; the hook merges it before.
  # In a mount namespace of its own: what it mounts, this machine's /dev/shm among it, is gone with it even if it is
  # killed, and deleting $scratch then reaches nothing else.
  TMPDIR=$scratch unshare --mount mmdebstrap --quiet --mode=root --arch="$arch" --variant=minbase \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/archives/*.deb "$1"/var/cache/apt/*.bin' \
    bookworm "$scratch/base.tar" ${mirror:+"$mirror"}
  container=$(buildah from --arch "$arch" scratch)
  buildah add --quiet "$container" "$scratch/base.tar" / >/dev/null
  buildah config --arch "$arch" --os linux --cmd bash \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit --quiet --rm "$container" "$BASE:$arch" >/dev/null
  rm -rf --one-file-system "$scratch"
  lap "base of $arch: made from packages"
done
