#!/bin/sh
# Installs hash-locked requirements, or a wheel, into a virtual environment that may be for another architecture:
# install.sh VENV native|amd64|arm64 LOCK|WHEEL|FOLDER-OF-WHEELS...
#
# uv rather than pip: it evaluates the locks' markers for the target, where pip takes the machine it runs on. uv itself
# comes by pip, by hash. Nothing is resolved (--no-deps) and nothing is built (--only-binary).
set -eu
venv=$1 platform=$2
shift 2
uv=/opt/uv
[ -s /run/secrets/certificates ] && export SSL_CERT_FILE=/run/secrets/certificates PIP_CERT=/run/secrets/certificates
[ -s /run/secrets/index ] && export UV_CONFIG_FILE=/run/secrets/index
if [ ! -x $uv/bin/uv ]; then
  python3 -m venv $uv
  $uv/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes -r deploy/locks/image.txt
fi
arguments="--python $venv/bin/python --no-deps --only-binary :all: --no-cache --link-mode copy --compile-bytecode"
case $platform in
  native) ;;
  # Debian 12 has glibc 2.36.
  amd64) arguments="$arguments --python-platform x86_64-manylinux_2_36" ;;
  arm64) arguments="$arguments --python-platform aarch64-manylinux_2_36" ;;
  *) echo "$platform is not an architecture of ours; expected native, amd64 or arm64." >&2; exit 1 ;;
esac
hashed=""
for what in "$@"; do
  if [ -d "$what" ]; then
    found=$(find "$what" -name '*.whl')
    [ -n "$found" ] || exit 0
    arguments="$arguments $found"
    continue
  fi
  case $what in
    *.whl) arguments="$arguments $what" ;;
    *) arguments="$arguments -r $what" hashed=--require-hashes ;;
  esac
done
# shellcheck disable=SC2086 # a list of words, none with spaces
exec $uv/bin/uv pip install --quiet $hashed $arguments
