# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh
arch=$(dpkg --print-architecture)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
proof=${PERWATT_PROOF:-$PWD/.perwatt/proof}
tools=$proof/tools
network=perwatt-proof
export PATH=$tools/bin:$tools/venv/bin:$PATH
KEY=AKIATESTONLY SECRET=a-secret-that-no-log-shows BUCKET=backups
mkdir -p "$proof"

not_run() { # WHY
  echo "$*"
  exit 77
}

# as_perwatt ARGS…: the command of the image, with $proof/made at /made.
as_perwatt() {
  podman run --rm --pull=never --no-healthcheck --network none --read-only --tmpfs /tmp --cap-drop all --volume "$proof/made:/made" \
    "localhost/perwatt-serve:$arch" "$@"
}

# An index `docs` of a few modules' documents, its vectors, and its archive; made once.
make_index() {
  [ ! -f "$proof/made/docs.tar" ] || return 0
  rm -rf "$proof/made"
  install -d -o 10001 -g 10001 "$proof"/made/{vectors,indexes,documents,runs}
  as_perwatt embed python:json python:csv python:gzip --out /made/vectors/docs --quiet
  as_perwatt build /made/vectors/docs --index docs --root /made/indexes
  tar -cf "$proof/made/docs.tar" -C "$proof/made/indexes" docs
}

# until_true SECONDS WHAT…: repeats a command, once a second, until it succeeds.
until_true() {
  local left=$1
  shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then
      echo "never came true: $*" >&2
      return 1
    fi
    sleep 1
  done
}

# ask URL [BODY]: without proxies.
ask() { curl -fsS --noproxy '*' --max-time 20 ${2:+-H 'content-type: application/json' --data "$2"} "$1"; }
search='{"text": "read a file of comma separated values", "k": 3}'
