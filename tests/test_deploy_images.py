"""The Dockerfile and the bake file, without building: linted, agreeing with each other and with the repository."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from late import Late

hcl2 = Late("hcl2")
TOP = Path(__file__).parents[1]
DOCKERFILE = (TOP / "deploy" / "Dockerfile").read_text()
STAGES = re.findall(r"^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--config", TOP / ".hadolint.yaml", "-"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_dockerfile_is_clean() -> None:
    said = hadolint(DOCKERFILE)
    assert (said.returncode, said.stdout) == (0, "")
    assert hadolint(DOCKERFILE + "RUN cd /tmp && sudo ls\n").returncode != 0


def of_stage(name: str) -> str:
    """The instructions of a stage and of those that it is made from."""
    base = {stage: base for base, stage in STAGES}[name]
    [body] = re.findall(rf"^FROM .* AS {name}$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return (of_stage(base) if base in [stage for _, stage in STAGES] else "") + str(body)


def test_what_serves_has_no_compiler_no_shell_commands_and_no_root() -> None:
    serve = of_stage("serve")
    installed = re.findall(r"apt-get install [^&]*?--no-install-recommends ([^\\&]*)", serve)
    assert [each.split() for each in installed] == [["ca-certificates", "libgomp1", "python3"]]
    assert re.findall(r"^USER (\S+)", serve, re.MULTILINE)[-1] == "10001"
    for instruction in ("ENTRYPOINT", "CMD", r"HEALTHCHECK [^\[]*CMD"):
        assert re.search(rf"^{instruction} \[\"", serve, re.MULTILINE), f"{instruction} would need a shell"
    assert "loadtest.txt" not in serve
    assert "torch" not in (TOP / "deploy/locks/serve.txt").read_text()


def test_where_packages_and_images_come_from_is_the_machines_affair() -> None:
    """No address but of schemas, in other people's metadata, of examples and within a network; no image by host."""
    known = {"json-schema.org", "www.w3.org", "github.com", "feross.org", "www.patreon.com"}
    known |= {"example.org", "localhost", "collector", "prometheus", "demo-perwatt"}
    known |= {f"shard-{number}-{server}" for number in range(3) for server in "ab"}
    files = [
        path
        for folder in ("deploy", ".github", ".ci")
        for path in (TOP / folder).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    ]
    named: dict[str, str] = {}
    images: dict[str, str] = {}
    files = [path for path in files if path.name != "claims.toml"]  # where others published what they claim
    for path in [*files, TOP / "Makefile", TOP / "pyproject.toml"]:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        named |= dict.fromkeys(re.findall(r"https?://([a-z][\w.-]*\w)", text), str(path))
        images |= dict.fromkeys(re.findall(r"(?:image:|FROM|BASE[:=]-?)[ \"]*([\w.-]+\.[\w.-]+)/", text), str(path))
    assert {host: path for host, path in named.items() if host not in known} == {}
    assert images == {}
    assert len(files) > 100


def test_what_is_copied_exists() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (TOP / source).exists(), source


def test_whoever_makes_the_root_read_only_leaves_tmp_writable() -> None:
    """Opening a generation makes a folder there; so says every command that is written down or run."""
    files = [path for folder in ("deploy", ".github") for path in (TOP / folder).rglob("*") if path.is_file()]
    found = [
        (str(path.relative_to(TOP)), line)
        for path in [*files, *TOP.glob("*.md"), *TOP.glob("*/*.md")]
        if path.suffix in ("", ".md", ".py", ".sh", ".yaml")
        for line in path.read_text().splitlines()
        if re.search(r"--read-only(?![-\w])", line)
    ]
    assert {path for path, _ in found} >= {
        "deploy/Dockerfile",
        "deploy/cloud/GRAVITON.md",
        "deploy/images/try_images.py",
    }
    assert [(path, line) for path, line in found if not re.search(r'--tmpfs"?,? "?/tmp\b', line)] == []


def test_podman_makes_nothing_else_writable_while_the_images_are_tried() -> None:
    tried = (TOP / "deploy/images/try_images.py").read_text()
    assert '"--read-only-tmpfs=false"' in tried
    assert tried.count("*READ_ONLY,") + tried.count("*READ_ONLY]") == tried.count('"--cap-drop"') == 3


def blocks(kind: str) -> dict[str, dict[str, Any]]:
    with (TOP / "deploy" / "docker-bake.hcl").open() as file:
        parsed: dict[str, list[dict[str, Any]]] = hcl2.load(file)
    return {name.strip('"'): body for block in parsed[kind] for name, body in block.items()}


def unquoted(values: list[str]) -> list[str]:
    return [value.strip('"') for value in values]


def test_bake_builds_stages_that_exist_for_both_architectures() -> None:
    targets = blocks("target")
    stages = [stage for _, stage in STAGES]
    for name in unquoted(blocks("group")["default"]["targets"]):
        local, both = unquoted(targets[name]["inherits"])
        assert targets[local]["target"].strip('"') in stages
        assert unquoted(targets[both]["platforms"]) == ["linux/amd64", "linux/arm64"]
        assert unquoted(targets[local]["inherits"]) == ["common"]
    assert (TOP / targets["common"]["dockerfile"].strip('"')).exists()


def test_bake_hands_over_arguments_that_the_dockerfile_takes() -> None:
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    given = blocks("target")["common"]["args"]
    assert set(given) <= declared
    assert set(given.values()) <= set(blocks("variable"))


def test_the_version_is_the_same_everywhere() -> None:
    [version] = re.findall(r'^version = "(.*)"', (TOP / "pyproject.toml").read_text(), re.MULTILINE)
    assert blocks("variable")["VERSION"]["default"].strip('"') == version
    chart = (TOP / "deploy/helm/perwatt/Chart.yaml").read_text()
    assert re.findall(r'^(?:version|appVersion): "?([^"\n]*)"?$', chart, re.MULTILINE) == [version, version]


def test_labels_are_of_the_oci_vocabulary() -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.(\S+?)=", DOCKERFILE))
    assert labels == {"title", "description", "licenses", "version", "revision", "source", "base.name"}


@pytest.mark.parametrize("script", sorted((TOP / "deploy").rglob("*.sh")), ids=lambda path: str(path.relative_to(TOP)))
def test_scripts_can_be_run_and_stop_at_the_first_error(script: Path) -> None:
    text = script.read_text()
    if "shellcheck shell=bash" in text.partition("\n")[0]:
        return  # sourced by others
    assert script.stat().st_mode & stat.S_IXUSR
    interpreter = text.partition("\n")[0]
    assert interpreter in ("#!/usr/bin/env bash", "#!/bin/sh")
    assert re.search(r"^set -eu", text, re.MULTILINE)
    shell = shutil.which(interpreter.split("/")[-1].split()[-1])
    assert shell
    subprocess.run([shell, "-n", script], check=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache as it lies in the image, which nobody may write to any more."""
    cache = tmp_path_factory.mktemp("cache")
    subprocess.run(
        [sys.executable, "-m", "deploy.images.prepare_model"], cwd=TOP, check=True,
        env={**os.environ, "PERWATT_CACHE": str(cache)},
    )  # fmt: skip
    return cache


def test_the_prepared_model_is_all_that_an_encoder_of_this_machine_needs(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embed import load_encoder

    before = {path.name: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    monkeypatch.setenv("PERWATT_CACHE", str(prepared))
    encoder = load_encoder(threads=1)
    assert encoder.backend.startswith("native")
    assert encoder.encode(["a read-only container"]).shape == (1, encoder.dim)
    encoder.close()
    assert {path.name: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


@pytest.fixture
def baked(tmp_path: Path) -> tuple[Path, Path]:
    """A root with an index of fp32 vectors, and a folder with the model that made them, under a name of its own."""
    import numpy as np

    from embed.models.fingerprint import fingerprint_of
    from embed.models.folder import find_model
    from index import build_generation

    own = tmp_path / "models" / "own"
    own.mkdir(parents=True)
    for path in find_model().path.iterdir():
        (own / path.name).symlink_to(path)
    made_with = fingerprint_of(find_model(own), "fp32").as_dict()
    vectors = np.random.default_rng(1).normal(size=(20, made_with["dim"])).astype(np.float32)
    for name, model in (("bare", None), ("library", made_with)):
        build_generation(
            vectors, [str(row) for row in range(20)], root=tmp_path / "indexes", name=name, model=model, threads=1
        )
    return tmp_path / "indexes", tmp_path / "models"


def bake(indexes: Path, models: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.images.prepare_model", indexes, models], cwd=TOP,
        capture_output=True, text=True, env={**os.environ, "PERWATT_CACHE": str(cache)}, check=False,
    )  # fmt: skip


def test_a_baked_index_finds_its_model_prepared_in_its_precision(
    baked: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embed import load_encoder

    cache = tmp_path / "cache"
    ran = bake(*baked, cache)
    assert ran.returncode == 0, ran.stderr
    before = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*")}
    assert [name for name in before if "fp32" in name]
    monkeypatch.setenv("PERWATT_CACHE", str(cache))
    encoder = load_encoder(baked[1] / "own", precision="fp32", threads=1)
    encoder.close()
    assert {path.name: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_what_is_baked_can_be_read_by_whoever_serves(tmp_path: Path) -> None:
    """Builders copy a folder's files as root's, with the modes that they had; the image runs as somebody else."""
    body = DOCKERFILE.partition("AS baked\n")[2]
    copied = re.findall(r"^COPY --from=(\S+) (\S+) \S+$", body, re.MULTILINE)
    assert copied == [("data", "/indexes"), ("data", "/models")]
    [command] = re.findall(r"^RUN (.*)$", of_stage("data"), re.MULTILINE)
    generation = tmp_path / "indexes" / "docs" / "docs-1"
    generation.mkdir(parents=True)
    secret = generation / "words"
    secret.write_text("x")
    secret.chmod(0o600)
    generation.chmod(0o700)
    subprocess.run(["sh", "-euc", re.sub(r" /(?=indexes|models)", f" {tmp_path}/", command)], check=True)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (secret, generation)] == [0o644, 0o755]
    assert (tmp_path / "models").is_dir(), "a base without models must still be copied from"


def test_an_image_whose_index_lacks_its_model_is_not_baked(baked: tuple[Path, Path], tmp_path: Path) -> None:
    indexes, models = baked
    (models / "own").rename(models / "other")
    ran = bake(indexes, models, tmp_path / "cache")
    assert ran.returncode == 1
    assert "index library were made with own, and the folder of models has other" in ran.stderr
    (models / "other").rename(models / "own")
    weights = models / "own" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    ran = bake(indexes, models, tmp_path / "cache")
    assert ran.returncode == 1
    assert "made with other weights than" in ran.stderr


def test_every_unit_of_this_architecture_finds_its_packing_prepared(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embed.encoders.packed_bert import packed_bert
    from embed.kernels import built, packing
    from embed.models.folder import find_model

    before = sorted(prepared.rglob("*"))
    monkeypatch.setenv("PERWATT_CACHE", str(prepared))
    for unit in built():
        packed_bert(find_model(None), find_model(None).weights_sha256, packing(unit))
    assert sorted(prepared.rglob("*")) == before


@pytest.mark.parametrize("name", ["emulated.txt", "without-torch.txt"])
def test_what_is_left_out_of_an_image_exists(name: str) -> None:
    lines = (TOP / "deploy" / "images" / name).read_text().splitlines()
    for line in lines:
        if line.startswith("#"):
            continue
        place, _, reason = line.partition(" ")
        file, _, test = place.partition("::")
        source = (TOP / "tests" / f"{file}.py").read_text()
        assert not test or f"\ndef {test}(" in source, place
        assert reason.strip() or name == "without-torch.txt", f"{place} is left out for no reason"
