"""`perwatt info` tells what the encoder runs on, what a model would, and of the machine what reports say of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.info import info
from embed.kernels import units
from index import machine
from loadtest.analysis.reading import Reading
from loadtest.cli.load import loadtest
from loadtest.machine import Machine, in_words, read_machine
from loadtest.record.objective import Objective
from loadtest.record.run_record import Label, Record
from loadtest.report.machines import machine_section
from loadtest.report.page import Table


def told(*arguments: str) -> str:
    done = CliRunner().invoke(info, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_names_the_unit_of_search_and_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_ISA", "scalar")
    facts = json.loads(told("--json"))
    assert facts["encoder"]["isa"] == "scalar"
    assert facts["encoder"]["units"] == units()
    assert facts["kernels"]["isa"] in facts["kernels"]["units"]
    assert told().count("in use; this machine can run") == 2


def test_a_model_of_another_shape_is_said_to_fall_back(make_model: Callable[..., Path]) -> None:
    model = json.loads(told("--json", "--model", str(make_model("distilbert", "mean_sqrt_len_tokens"))))["model"]
    assert (model["native"], model["precision"], model["int8_mean_cosine"]) == (False, "fp32", None)
    text = " ".join(told("--model", str(make_model())).split())
    assert "runs on ONNX Runtime" in text
    assert "its heads are 12 wide, and (32, 64) are supported" in text


def test_the_default_model_is_told_with_its_cosine() -> None:
    text = " ".join(told("--model", "all-MiniLM-L6-v2").split())
    assert "all-MiniLM-L6-v2 runs on perwatt's own kernels" in text
    assert "int8 unless told otherwise: in int8 its vectors have a mean cosine of 0.99" in text


def test_info_loadtest_machine_and_the_report_say_the_same_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")
    lines = told().splitlines()
    width = len(re.match(r"Architecture +", lines[0])[0])  # type: ignore[index]
    rows = {line[:width].rstrip(): line[width:] for line in lines}
    said = CliRunner().invoke(loadtest, ["machine"]).output
    here = read_machine()
    [table] = [part for part in machine_section([Reading(record_of(here))]).parts if isinstance(part, Table)]
    assert [name for name, _ in table.rows][:7] == [
        "Architecture", "CPU", "Cores", "Memory", "Limits (cgroup)", "May use", "Container",
    ]  # fmt: skip
    for name, value in table.rows:
        assert rows[name] == value
        assert re.search(rf"^{re.escape(name)} +{re.escape(value)}$", said, re.M)
    facts = json.loads(told("--json"))
    assert facts["machine"] == json.loads(CliRunner().invoke(loadtest, ["machine", "--json"]).output)
    assert (facts["cores"], facts["memory_bytes"]) == (here.usable_cpus, here.usable_memory_bytes)


def record_of(machine: Machine) -> Record:
    return Record(kind="run", created_at="", perwatt="", label=Label(), objective=Objective(), server=machine)


HALF, ONE_GIB = "50000 100000", 1 << 30


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({"proc/self/cgroup": "0::/\n"}, None, None),
        ({"sys/fs/cgroup/cpu.max": HALF, "sys/fs/cgroup/memory.max": ONE_GIB}, 1, ONE_GIB),
        # the group of a service, below a slice that is tighter
        (
            {
                "proc/self/cgroup": "0::/app.slice/perwatt.service\n",
                "sys/fs/cgroup/app.slice/cpu.max": HALF,
                "sys/fs/cgroup/app.slice/memory.max": ONE_GIB,
                "sys/fs/cgroup/app.slice/perwatt.service/cpu.max": "6400000 100000",
                "sys/fs/cgroup/app.slice/perwatt.service/memory.max": "max",
            },
            1,
            ONE_GIB,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": 100000,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": ONE_GIB,
            },
            1,
            ONE_GIB,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/\n4:cpu:/\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            },
            None,
            None,
        ),
    ],
)
def test_a_build_goes_by_the_limits_that_the_report_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, object], cpus: int | None, memory: int | None
) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name, content in {**files, "proc/meminfo": f"MemTotal: {total // 1024} kB\n"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(content))
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path / "sys/fs/cgroup")
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    stated = read_machine(tmp_path, ask_imds=False)
    assert machine.cores() == stated.usable_cpus == (cpus or len(os.sched_getaffinity(0)))
    assert machine.memory_limit_bytes() == stated.usable_memory_bytes == (memory or total)
    rows = dict(in_words(stated))
    assert rows["May use"].startswith(f"{stated.usable_cpus} CPU")
    assert (rows["Limits (cgroup)"] == "none") == (memory is None)
