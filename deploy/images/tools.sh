#!/usr/bin/env bash
# Installs what builds and runs images of both architectures on Debian or Ubuntu without an engine, and registers the
# emulator unless $ARCHITECTURES names this machine's alone. ONNX Runtime crashes under qemu 7.2, Debian 12's own, so at least 8 is asked for, from backports there.
set -euo pipefail
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
emulator_version() { qemu-aarch64-static --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p'; }

packages=()
for pair in buildah:buildah podman:podman runc:runc skopeo:skopeo mmdebstrap:mmdebstrap arch-test:arch-test; do
  command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
done
own=$(dpkg --print-architecture)
emulator=$(emulator_version)
[ "${ARCHITECTURES:-}" != "$own" ] || emulator=none
if [ ${#packages[@]} -gt 0 ] || { [ "${emulator:=0}" != none ] && [ "$emulator" -lt 8 ]; }; then
  "${as_root[@]}" apt-get update -qq
fi
if [ ${#packages[@]} -gt 0 ]; then
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi
if [ "${emulator:=0}" != none ] && [ "$emulator" -lt 8 ]; then
  from=()
  if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
    awk 'BEGIN { RS = "" } /Suites: bookworm / { sub(/Suites: [^\n]*/, "Suites: bookworm-backports"); print; exit }' \
      /etc/apt/sources.list.d/debian.sources | "${as_root[@]}" tee /etc/apt/sources.list.d/backports.sources >/dev/null
    "${as_root[@]}" apt-get update -qq
    from=(-t bookworm-backports)
  fi
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${from[@]}" qemu-user-static
fi

[ "$emulator" != none ] || exit 0
# Nothing registers the emulator where no init runs.
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || "${as_root[@]}" mount -t binfmt_misc binfmt_misc $formats
foreign=qemu-aarch64
[ "$(uname -m)" = aarch64 ] && foreign=qemu-x86_64
[ -e $formats/$foreign ] || "${as_root[@]}" /usr/lib/systemd/systemd-binfmt
if [ ! -e $formats/$foreign ]; then
  echo "The kernel runs no foreign programs: $formats/$foreign is missing. Is binfmt_misc in the kernel?" >&2
  exit 1
fi
