# shellcheck shell=bash disable=SC2034
# Sourced: `perwatt_of ROLE FOLDER ARGS…` runs the command of the image perwatt-ROLE with FOLDER mounted at its own path,
# or, where neither $PERWATT_DIGESTS (the file of deploy/ci/stage.sh) nor $PERWATT_TAG names one, that of the checkout. So
# the steps run on a runner with an engine ($PERWATT_ENGINE, docker by default) and on any machine with `make setup`.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
engine=${PERWATT_ENGINE:-docker}

image_of() { # ROLE: by its digest where there are digests; nothing where there is no image
  if [ -n "${PERWATT_DIGESTS:-}" ]; then
    sed -n "s/^$1 //p" "$PERWATT_DIGESTS"
  elif [ -n "${PERWATT_TAG:-}" ]; then
    echo "perwatt-$1:$PERWATT_TAG"
  fi
}

perwatt_of() {
  local role=$1 folder=$2 image
  shift 2
  image=$(image_of "$role")
  if [ -n "$image" ]; then
    "$engine" run --rm --network host --user "$(id -u):$(id -g)" --read-only --tmpfs /tmp --cap-drop all \
      ${PERWATT_CPUS:+--cpuset-cpus "$PERWATT_CPUS"} --volume "$folder:$folder" --workdir "$folder" \
      --env PERWATT_NO_IMDS=1 ${PERWATT_NAME:+--name "$PERWATT_NAME"} "$image" "$@"
  else
    (cd "$folder" && exec ${PERWATT_CPUS:+taskset -c "$PERWATT_CPUS"} "${PERWATT_COMMAND:-$top/.venv/bin/perwatt}" "$@")
  fi
}

# needs_registry: lets us into $REGISTRY, a registry and a path with a slash at its end. One on the loopback asks for
# nothing, and has no certificate.
needs_registry() {
  : "${REGISTRY:?expected the registry and its path, registry.example.org/you/}"
  case $REGISTRY in
    */) ;;
    *) echo "REGISTRY is $REGISTRY, expected a slash at its end." >&2; exit 1 ;;
  esac
  export REGISTRY=${REGISTRY,,}
  local host=${REGISTRY%%/*}
  case $host in
    127.0.0.1:* | localhost:*) tls=(--tls-verify=false) destination_tls=(--dest-tls-verify=false); return ;;
  esac
  tls=() destination_tls=()
  : "${REGISTRY_USER:?expected who publishes to $REGISTRY}" "${REGISTRY_TOKEN:?expected a token of $REGISTRY_USER}"
  local login
  for login in skopeo docker; do
    command -v $login >/dev/null || continue
    $login login --username "$REGISTRY_USER" --password-stdin "$host" <<<"$REGISTRY_TOKEN" >/dev/null
  done
}

# needs_docker WHAT INSTEAD: ends the script with a sentence where no engine with buildx answers.
needs_docker() {
  if ! docker info >/dev/null 2>&1 || ! docker buildx version >/dev/null 2>&1; then
    echo "$1 needs a Docker engine with buildx, and none answers here. $2" >&2
    exit 1
  fi
}
