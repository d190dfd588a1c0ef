# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: an image builder and runner without a daemon, with all its state in one folder.
#
# buildah's chroot isolation needs no namespaces, and containers run in the host's network with limits that an
# unprivileged virtual machine may set. QEMU_CPU is a named core on purpose: the emulator's "max" has SME, whose OpenBLAS
# kernels raise false floating-point warnings there. Neoverse N1 is Graviton2, without SVE, which QEMU 10 emulates so slowly
# that NumPy and the C library cost two to four times as much on a Neoverse V1.
STORE=${PERWATT_IMAGES:-$PWD/.perwatt/images}
export CONTAINERS_CONF=$STORE/containers.conf CONTAINERS_STORAGE_CONF=$STORE/storage.conf BUILDAH_ISOLATION=chroot
export QEMU_CPU=${QEMU_CPU:-neoverse-n1}
ARCHITECTURES=${ARCHITECTURES:-amd64 arm64}
BASE=localhost/perwatt-base
mkdir -p "$STORE"
cat > "$CONTAINERS_CONF" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$STORE" "$STORE" \
  > "$CONTAINERS_STORAGE_CONF"

started=$SECONDS
lap() { echo "[$((SECONDS - started)) s] $*"; }
