# shellcheck shell=bash
# Sourced: `perwatt_of ROLE FOLDER ARGS…` runs the command of the image perwatt-ROLE with FOLDER mounted at its own path,
# or, where no $PERWATT_TAG names an image, that of the checkout. So the steps run on a runner with an engine and on any
# machine with `make setup`.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

perwatt_of() {
  local role=$1 folder=$2
  shift 2
  if [ -n "${PERWATT_TAG:-}" ]; then
    docker run --rm --network host --user "$(id -u):$(id -g)" --read-only --tmpfs /tmp --cap-drop all \
      ${PERWATT_CPUS:+--cpuset-cpus "$PERWATT_CPUS"} --volume "$folder:$folder" --workdir "$folder" \
      --env PERWATT_NO_IMDS=1 ${PERWATT_NAME:+--name "$PERWATT_NAME"} "perwatt-$role:$PERWATT_TAG" "$@"
  else
    (cd "$folder" && exec ${PERWATT_CPUS:+taskset -c "$PERWATT_CPUS"} "${PERWATT_COMMAND:-$top/.venv/bin/perwatt}" "$@")
  fi
}

# needs_docker WHAT INSTEAD: ends the script with a sentence where no engine with buildx answers.
needs_docker() {
  if ! docker info >/dev/null 2>&1 || ! docker buildx version >/dev/null 2>&1; then
    echo "$1 needs a Docker engine with buildx, and none answers here. $2" >&2
    exit 1
  fi
}
