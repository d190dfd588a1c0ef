#!/usr/bin/env bash
# Installs what `make test-arm64` needs on Debian or Ubuntu: a cross compiler and an emulator of the user-mode kind.
set -euo pipefail
needed=()
command -v aarch64-linux-gnu-g++ >/dev/null || needed+=(g++-aarch64-linux-gnu)
command -v qemu-aarch64-static >/dev/null || needed+=(qemu-user-static)
[ ${#needed[@]} -eq 0 ] && exit 0
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${needed[@]}"
