"""Facts come from the kernel's files, laid out here for machines that we do not have; emulation is found out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from loadtest_servers import http_server

from loadtest.machine import imds
from loadtest.machine.cpu import microarchitecture
from loadtest.machine.emulation import signs
from loadtest.machine.facts import read_machine

ICE_LAKE = (
    "processor\t: {n}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\nmodel name\t: Xeon 8375C\n"
    "stepping\t: 6\nflags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni hypervisor\n\n"
)
GRAVITON4 = (
    "processor\t: {n}\nBogoMIPS\t: 2000.00\nFeatures\t: fp asimd asimddp i8mm sve sve2 bf16\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd4f\n\n"
)


def lay(root: Path, files: dict[str, object]) -> Path:
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def x86_tree(root: Path) -> Path:
    """Two cores with two threads each, in a container with limits."""
    files: dict[str, object] = {
        "proc/cpuinfo": "".join(ICE_LAKE.format(n=n) for n in range(4)),
        "proc/meminfo": "MemTotal:       16000000 kB",
        "proc/sys/kernel/osrelease": "6.8.0-aws",
        "etc/os-release": 'NAME=x\nPRETTY_NAME="Debian 12"',
        "etc/machine-id": "abc",
        "sys/class/dmi/id/sys_vendor": "Amazon EC2",
        "sys/fs/cgroup/cpu.max": "150000 100000",
        "sys/fs/cgroup/memory.max": 1073741824,
        "sys/devices/system/node/node0/x": "",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        ".dockerenv": "",
    }
    for n in range(4):
        base = f"sys/devices/system/cpu/cpu{n}/topology"
        files |= {
            f"{base}/physical_package_id": 0,
            f"{base}/core_id": n % 2,
            f"{base}/core_cpus_list": f"{n % 2},{n % 2 + 2}",
        }
    for n, (level, kind, size) in enumerate([(1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "1280K")]):
        base = f"sys/devices/system/cpu/cpu0/cache/index{n}"
        files |= {f"{base}/level": level, f"{base}/type": kind, f"{base}/size": size}
    return lay(root, files)


def test_an_x86_virtual_machine(tmp_path: Path) -> None:
    facts = read_machine(x86_tree(tmp_path), ask_imds=False, machine="x86_64")
    assert facts.microarchitecture == "Ice Lake"
    assert (facts.threads, facts.cores, facts.threads_per_core, facts.sockets, facts.numa_nodes) == (4, 2, 2, 1, 1)
    assert facts.caches == {"L1d": "48K", "L1i": "32K", "L2": "1280K"}
    assert facts.isa == ["sse4_2", "avx2", "avx512f", "avx512_vnni"]
    assert (facts.cgroup_cpus, facts.cgroup_memory_bytes) == (1.5, 1 << 30)
    assert facts.virtualisation == "virtual (Amazon EC2)"
    assert (facts.governor, facts.kernel, facts.operating_system) == ("performance", "6.8.0-aws", "Debian 12")
    assert facts.container == "container (digest not told)"
    assert facts.emulated == []


def test_a_graviton_is_told_by_its_part_number(tmp_path: Path) -> None:
    root = lay(tmp_path, {"proc/cpuinfo": "".join(GRAVITON4.format(n=n) for n in range(8))})
    facts = read_machine(root, ask_imds=False, machine="aarch64")
    assert facts.microarchitecture == "Neoverse V2"
    assert facts.isa == ["asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"]
    assert facts.cores is None
    assert facts.emulated == []


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ({"CPU implementer": "0x41", "CPU part": "0xd0c"}, "Neoverse N1"),
        ({"CPU implementer": "0x41", "CPU part": "0xd40"}, "Neoverse V1"),
        ({"CPU implementer": "0xc0", "CPU part": "0xd40"}, "unknown"),
        ({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "85", "stepping": "7"}, "Cascade Lake"),
        ({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "85", "stepping": "4"}, "Skylake"),
        ({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "173"}, "Granite Rapids"),
        ({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "1"}, "unknown"),
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1"}, "EPYC Milan"),
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "17"}, "EPYC Genoa/Bergamo"),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2"}, "EPYC Turin"),
        ({}, "unknown"),
    ],
)
def test_microarchitectures_are_told_by_numbers_and_never_guessed(block: dict[str, str], name: str) -> None:
    assert microarchitecture(block) == name


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        # version 2: the group of a service, below a slice that is tighter
        (
            {
                "proc/self/cgroup": "0::/app.slice/perwatt.service",
                "sys/fs/cgroup/app.slice/cpu.max": "200000 100000",
                "sys/fs/cgroup/app.slice/perwatt.service/cpu.max": "400000 100000",
                "sys/fs/cgroup/app.slice/perwatt.service/memory.max": 2 << 30,
                "sys/fs/cgroup/app.slice/memory.max": "max",
            },
            2.0,
            2 << 30,
        ),
        # version 1, on the host
        (
            {
                "proc/self/cgroup": "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": 250000,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": 1 << 29,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            },
            2.5,
            1 << 29,
        ),
        # version 1, in a container: the path is the host's, the mount's top is the container's group
        (
            {
                "proc/self/cgroup": "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50000,
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 1 << 28,
            },
            0.5,
            1 << 28,
        ),
        # version 1 without limits, beside an empty version 2 (hybrid)
        (
            {
                "proc/self/cgroup": "4:cpu:/\n9:memory:/\n0::/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            },
            None,
            None,
        ),
        ({"sys/fs/cgroup/cpu.max": "garbage", "sys/fs/cgroup/memory.max": ""}, None, None),
    ],
)
def test_limits_are_the_tightest_of_either_version(
    tmp_path: Path, files: dict[str, object], cpus: float | None, memory: int | None
) -> None:
    facts = read_machine(lay(tmp_path, files), ask_imds=False)
    assert (facts.cgroup_cpus, facts.cgroup_memory_bytes) == (cpus, memory)


HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("files", "told", "says"),
    [
        ({}, "", None),
        ({".dockerenv": ""}, "sha256:77", "sha256:77"),
        ({".dockerenv": ""}, "", "container (digest not told)"),
        ({"run/.containerenv": ""}, "", "container (digest not told)"),
        ({"run/.containerenv": f'engine="podman-5"\nimageid="{HASH}"'}, "", f"image id sha256:{HASH}"),
        (
            {"proc/self/mountinfo": f"500 400 8:1 /var/lib/docker/containers/{HASH}/hostname /etc/hostname rw - ext4"},
            "",
            f"container {HASH[:12]} (digest not told)",
        ),
    ],
)
def test_a_container_is_told_by_digest_or_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, object], told: str, says: str | None
) -> None:
    monkeypatch.setenv("PERWATT_IMAGE_DIGEST", told)
    assert read_machine(lay(tmp_path, files), ask_imds=False).container == says


def test_the_builds_that_do_the_arithmetic_are_asked_themselves() -> None:
    """What FAISS and each OpenBLAS say of themselves here is in the record, and on a laid-out machine nothing is."""
    import faiss
    import numpy as np

    found = read_machine(ask_imds=False).libraries
    assert found["numpy"].startswith(np.__version__)
    assert found["FAISS"].endswith(faiss.get_compile_options().strip())
    blas = {name: build for name, build in found.items() if name in ("BLAS of numpy", "BLAS of faiss")}
    assert len(blas) == 2
    assert all("kernels " in build and build.endswith(" threads") for build in blas.values()), blas


def test_libraries_of_a_laid_out_machine_are_not_those_of_this_one(tmp_path: Path) -> None:
    assert read_machine(tmp_path, ask_imds=False).libraries == {}


def test_an_empty_machine_has_no_facts_and_no_crash(tmp_path: Path) -> None:
    facts = read_machine(tmp_path, ask_imds=False)
    assert (facts.microarchitecture, facts.cores, facts.memory_bytes, facts.caches) == ("unknown", None, None, {})


def test_this_machine_can_be_read() -> None:
    facts = read_machine(ask_imds=False)
    assert facts.threads >= 1
    assert facts.cpus_allowed == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "machine", "says"),
    [
        ({"proc/cpuinfo": ICE_LAKE.format(n=0)}, "aarch64", "the kernel's CPU is Xeon"),
        ({"proc/cpuinfo": GRAVITON4.format(n=0)}, "x86_64", "an Arm one"),
        ({"proc/cpuinfo": "processor: 0\nmodel name: VirtualApple @ 2.50GHz\n"}, "x86_64", "an Arm one"),
        ({"proc/cpuinfo": "processor: 0\nmodel name: QEMU TCG CPU version 2.5+\n"}, "x86_64", "calls itself"),
        ({"proc/1/cmdline": "/usr/bin/qemu-aarch64-static\0/bin/sh"}, "aarch64", "process 1 runs under qemu-aarch64"),
        (
            {
                "sys/class/dmi/id/sys_vendor": "QEMU",
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
            },
            "x86_64",
            "emulated without KVM",
        ),
        (
            {  # as qemu 10 answers in user mode
                "proc/cpuinfo": GRAVITON4.format(n=0),
                "proc/1/cmdline": "/usr/bin/python3",
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc kvm-clock",
            },
            "aarch64",
            "keeps time with kvm-clock, which is an x86 machine's",
        ),
        (
            {
                "proc/cpuinfo": ICE_LAKE.format(n=0),
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "arch_sys_counter",
            },
            "x86_64",
            "keeps time with arch_sys_counter, which is an Arm machine's",
        ),
    ],
)
def test_emulation_is_found_out(tmp_path: Path, files: dict[str, object], machine: str, says: str) -> None:
    assert any(says in sign for sign in signs(lay(tmp_path, files), machine))


def test_hardware_virtualisation_is_not_emulation(tmp_path: Path) -> None:
    clocks = "sys/devices/system/clocksource/clocksource0/available_clocksource"
    root = lay(tmp_path, {"sys/class/dmi/id/sys_vendor": "QEMU", clocks: "kvm-clock tsc"})
    lay(root, {"proc/cpuinfo": ICE_LAKE.format(n=0), "proc/1/cmdline": "/usr/bin/qemu-system-x86_64\0-smp"})
    assert signs(root, "x86_64") == []


def test_a_graviton_keeps_its_own_time(tmp_path: Path) -> None:
    clocks = "sys/devices/system/clocksource/clocksource0/available_clocksource"
    root = lay(tmp_path, {"proc/cpuinfo": GRAVITON4.format(n=0), clocks: "arch_sys_counter"})
    assert signs(root, "aarch64") == []


def metadata(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    if method == "PUT" and path == "/latest/api/token":
        return (200, "token-7") if headers.get("x-aws-ec2-metadata-token-ttl-seconds") else (400, "")
    if headers.get("x-aws-ec2-metadata-token") != "token-7":
        return 401, "version 2 wants a token"
    return 200, {"/latest/meta-data/instance-type": "c8g.2xlarge", "/latest/meta-data/placement/region": "eu-west-1"}[
        path
    ]


def test_the_instance_type_is_asked_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PERWATT_NO_IMDS", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    with http_server(metadata) as url:
        assert imds.instance(url, 5) == {"instance_type": "c8g.2xlarge", "region": "eu-west-1"}
        monkeypatch.setenv("PERWATT_NO_IMDS", "1")
        assert imds.instance(url, 5) == {}
    monkeypatch.delenv("PERWATT_NO_IMDS")
    assert imds.instance("http://127.0.0.1:1", 0.2) == {}
