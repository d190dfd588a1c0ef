#!/usr/bin/env bash
# Copies the images that `make images` built on this machine to a registry of one's own, both architectures under one tag:
# publish.sh TAG. A release does not come this way: deploy/ci/promote.sh publishes what was measured.
#
# Version 0.1.0 is published as perwatt-serve:0.1.0, which is what the chart of that version asks for; TAG may have a v
# before it. A registry gets no other tag than the version of these sources; a folder takes any.
#
# $REGISTRY is a registry and a path, with a slash at its end, and $REGISTRY_USER and $REGISTRY_TOKEN let one in; or it is
# oci:FOLDER/, a folder of OCI layouts, for machines without a network.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
cd "$top"
tag=${1:?usage: publish.sh TAG}
tag=${tag#v}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
: "${REGISTRY:?expected the registry and its path, registry.example.org/you/, or oci:FOLDER/}"
case $REGISTRY in
  */) ;;
  *) echo "REGISTRY is $REGISTRY, expected a slash at its end." >&2; exit 1 ;;
esac

copied() { # from the layout of `make images`: copied ROLE DESTINATION
  local layout=${PERWATT_IMAGES:-.perwatt/images}/oci-$1
  if [ ! -f "$layout/index.json" ]; then
    echo "There is no $layout to publish. 'make images' builds it." >&2
    exit 1
  fi
  skopeo copy --quiet --all "oci:$layout:$version" "$2"
  platforms=$(skopeo inspect --raw "$2" | python3 -c 'import json, sys
print(*sorted(each["platform"]["architecture"] for each in json.load(sys.stdin)["manifests"]))')
  echo "$2: $platforms"
  [ "$platforms" = "amd64 arm64" ] || { echo "$2 has $platforms, expected amd64 and arm64." >&2; exit 1; }
}

if [[ $REGISTRY == oci:* ]]; then
  mkdir -p "${REGISTRY#oci:}"
  for role in serve loadtest; do copied $role "${REGISTRY}perwatt-$role:$tag"; done
  exit 0
fi
if [ "$tag" != "$version" ]; then
  echo "The tag is $1, and these sources are version $version (pyproject.toml), expected the tag v$version. Tag the commit" \
    "that has the version, or set the version first: pyproject.toml, docker-bake.hcl and Chart.yaml." >&2
  exit 1
fi
needs_registry
for role in serve loadtest; do copied $role "docker://${REGISTRY}perwatt-$role:$tag"; done
