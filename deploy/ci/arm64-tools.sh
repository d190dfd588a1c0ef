#!/usr/bin/env bash
# Installs what `make test-arm64` needs on Debian: two cross compilers and an emulator of the user-mode kind that
# knows neoverse-v1 and neoverse-n2 (QEMU 8; Debian 12 has 7.2, and 10 in its backports).
set -euo pipefail
knows_neoverse() { [[ $(qemu-aarch64-static -cpu help 2>/dev/null) == *neoverse-n2* ]]; }
needed=()
command -v aarch64-linux-gnu-g++ >/dev/null || needed+=(g++-aarch64-linux-gnu)
command -v clang++ >/dev/null || needed+=(clang)
knows_neoverse || needed+=(qemu-user-static)
[ ${#needed[@]} -eq 0 ] && exit 0
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${needed[@]}"
knows_neoverse && exit 0
# The mirror that the system is set up with, and its backports. A comment may name another one.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
  sed 's/#.*//' | grep -oE 'https?://[^ ]+' | grep -v security | head -1)
echo "deb $mirror $codename-backports main" | "${as_root[@]}" tee /etc/apt/sources.list.d/backports.list >/dev/null
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends -t "$codename-backports" qemu-user-static
knows_neoverse || { echo "$(qemu-aarch64-static --version | head -1) does not know neoverse-n2; QEMU 8 is needed"; exit 1; }
