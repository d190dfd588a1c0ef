#!/bin/sh
# Installs what the build stage needs to make a wheel for $1 (amd64 or arm64) on whatever Debian this is: the native
# compiler, or the one that crosses with the target's Python headers beside our own.
set -eu
target=$1
own=$(dpkg --print-architecture)
packages="ca-certificates python3 python3-dev python3-venv"
if [ "$target" = "$own" ]; then
  packages="$packages g++"
else
  case $target in
    arm64) triplet=aarch64-linux-gnu ;;
    amd64) triplet=x86-64-linux-gnu ;;
    *) echo "No compiler is known for $target; expected amd64 or arm64." >&2; exit 1 ;;
  esac
  dpkg --add-architecture "$target"
  packages="$packages g++-$triplet libpython3-dev:$target"
fi
apt-get update
# shellcheck disable=SC2086 # a list of words
apt-get install -y --no-install-recommends $packages
rm -rf /var/lib/apt/lists/*
