#!/usr/bin/env bash
# Publishes what was measured under a version: promote.sh TAG RUNS OUT DIGESTS…
#
# DIGESTS are the files of deploy/ci/stage.sh, one an architecture; RUNS is a folder of records, beside each of which
# *.image says which image was measured. An image that no record names, or a record of another image, stops it. The
# version is a list of those very digests, so nothing is built, copied or emulated here, and what is pulled is compared
# with what was measured. The chart goes with it, to REGISTRY/charts, with the digest of that list as its image.
#
# OUT/published gets a line for each, "serve REGISTRY/perwatt-serve@sha256:…", for deploy/ci/sign.sh. A version is
# published once; again with the same digests is fine.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
usage="usage: promote.sh TAG RUNS OUT DIGESTS…"
tag=${1:?$usage} runs=$(realpath "${2:?$usage}") out=$(realpath -m "${3:?$usage}")
shift 3
[ $# -gt 0 ] || { echo "$usage" >&2; exit 1; }
digests=$(cat "$@")
cd "$top"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
if [ "${tag#v}" != "$version" ]; then
  echo "The tag is $tag, and these sources are version $version (pyproject.toml), expected the tag v$version. Tag the commit" \
    "that has the version, or set the version first: pyproject.toml, docker-bake.hcl and Chart.yaml." >&2
  exit 1
fi

measured=$({ cat "$runs"/*.image 2>/dev/null || true; } | sort -u)
staged=$(sed -n 's/^serve //p' <<<"$digests" | sort -u)
if [ "$measured" != "$staged" ]; then
  printf 'What was measured is not what would be published.\nmeasured:\n%s\nstaged:\n%s\n' "${measured:-nothing}" "$staged" >&2
  exit 1
fi

needs_registry
mkdir -p "$out"
: > "$out/published"
digest_of() { sed -n 's/.*@//p' | sort; }
held() { # what a list in the registry has, a digest a line; nothing where there is no such list
  skopeo inspect --raw "${tls[@]}" "docker://$1" 2>/dev/null |
    python3 -c 'import json, sys; print(*sorted(each["digest"] for each in json.load(sys.stdin)["manifests"]), sep="\n")' 2>/dev/null || true
}
for role in serve loadtest; do
  list=${REGISTRY}perwatt-$role:$version
  mapfile -t images < <(sed -n "s/^$role //p" <<<"$digests")
  wanted=$(printf '%s\n' "${images[@]}" | digest_of)
  present=$(held "$list")
  if [ -z "$present" ]; then
    local_list=localhost/perwatt-promoted-$role:$version
    buildah manifest rm "$local_list" >/dev/null 2>&1 || true
    buildah manifest create "$local_list" >/dev/null
    for image in "${images[@]}"; do
      buildah manifest add "${tls[@]}" "$local_list" "docker://$image" >/dev/null
    done
    buildah manifest push --quiet --all --format oci "${tls[@]}" "$local_list" "docker://$list" >/dev/null
    buildah manifest rm "$local_list" >/dev/null
    present=$(held "$list")
  fi
  if [ "$present" != "$wanted" ]; then
    printf '%s holds\n%s\nexpected what was measured,\n%s\nA version is published once.\n' "$list" "$present" "$wanted" >&2
    exit 1
  fi
  whole=$(skopeo inspect --raw "${tls[@]}" "docker://$list" | sha256sum | cut -d ' ' -f 1)
  echo "$role ${REGISTRY}perwatt-$role@sha256:$whole" >> "$out/published"
done

# The chart asks for the bytes that were measured, wherever their tag goes.
rm -rf "$out/chart"
cp -r deploy/helm/perwatt "$out/chart"
for role in serve loadtest; do
  image=$(sed -n "s/^$role //p" "$out/published")
  python3 - "$out/chart/values.yaml" "perwatt-$role" "$image" <<'PYTHON'
import pathlib, re, sys

path, repository, image = pathlib.Path(sys.argv[1]), *sys.argv[2:]
name, digest = image.split("@")
text = path.read_text()
pattern = re.compile(rf'(repository: ){repository}(\b.*?digest: )""', re.DOTALL)
text, changed = pattern.subn(rf'\g<1>{name}\g<2>"{digest}"', text, count=1)
if changed != 1:
    raise SystemExit(f"{path} has no image {repository} whose digest could be set")
path.write_text(text)
PYTHON
done
plain=()
[ ${#tls[@]} -eq 0 ] || plain=(--plain-http)
helm package "$out/chart" --destination "$out" >/dev/null
if [ ${#tls[@]} -eq 0 ]; then
  helm registry login --username "$REGISTRY_USER" --password-stdin "${REGISTRY%%/*}" <<<"$REGISTRY_TOKEN"
fi
said=$(helm push "${plain[@]}" "$out/perwatt-$version.tgz" "oci://${REGISTRY}charts" 2>&1) || { echo "$said" >&2; exit 1; }
echo "chart ${REGISTRY}charts/perwatt@$(sed -n 's/^Digest: //p' <<<"$said")" >> "$out/published"
cat "$out/published"
