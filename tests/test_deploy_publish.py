"""A release is published under the tag that the chart asks for, and what that lacks is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ci_scripts import CI, run, without

pytest_plugins = ["ci_scripts_fixtures"]


def test_without_an_engine_the_images_are_refused_in_a_sentence(bare: str, tmp_path: Path) -> None:
    ran = run(bare, "images.sh", tmp_path / "images.tar")
    assert ran.returncode == 1
    assert "images.sh needs a Docker engine with buildx, and none answers here. 'make images'" in ran.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "expected the registry and its path"),
        ({"REGISTRY": "oci:somewhere"}, "expected a slash at its end"),
        ({"REGISTRY": "registry.example.org/me/"}, "expected who publishes to registry.example.org/me/"),
        ({"REGISTRY": "oci:out/", "PERWATT_IMAGES": "/nonexistent"}, "There is no /nonexistent/oci-serve to publish"),
    ],
)
def test_publishing_says_what_it_lacks(given: dict[str, str], says: str, bare: str, tmp_path: Path) -> None:
    if given.get("REGISTRY") == "oci:out/":
        given = {**given, "REGISTRY": f"oci:{tmp_path}/out/"}
    ran = run(bare, "publish.sh", f"v{chart_tag()}", **given)
    assert ran.returncode == 1
    assert says in ran.stderr


REGISTRY = {"REGISTRY": "registry.example.org/Me/", "REGISTRY_USER": "me", "REGISTRY_TOKEN": "secret"}
RECORDER = """#!/bin/sh
echo "{name} $* TAG=$TAG VERSION=$VERSION" >> {asked}
[ "$2" != --raw ] || echo '{{"manifests": [{{"platform": {{"architecture": "amd64"}}}},
  {{"platform": {{"architecture": "arm64"}}}}]}}'
"""


def recorders(tmp_path: Path, *names: str) -> tuple[str, Path]:
    """A PATH on which these programs only write down what they are asked, and the file."""
    path, asked = without(tmp_path, "docker", "gh", "skopeo"), tmp_path / "asked"
    asked.touch()
    for name in names:
        program = tmp_path / "bin" / name
        program.write_text(RECORDER.format(name=name, asked=asked))
        program.chmod(0o755)
    return path, asked


def chart_tag() -> str:
    [found] = re.findall(r'^appVersion: "(.*)"$', (CI.parent / "helm/perwatt/Chart.yaml").read_text(), re.MULTILINE)
    return found


def test_what_was_built_here_is_copied_under_the_tag_that_the_chart_asks_for(tmp_path: Path) -> None:
    path, asked = recorders(tmp_path, "docker", "skopeo")
    images = tmp_path / "images"
    for role in ("serve", "loadtest"):
        (images / f"oci-{role}").mkdir(parents=True)
        (images / f"oci-{role}" / "index.json").write_text("{}")
    given = {**REGISTRY, "PERWATT_IMAGES": str(images)}
    ran = run(path, "publish.sh", f"v{chart_tag()}", **given)
    assert ran.returncode == 0, ran.stderr
    copied = [line.split()[-3] for line in asked.read_text().splitlines() if line.startswith("skopeo copy")]
    assert copied == [
        f"docker://registry.example.org/me/perwatt-{role}:{chart_tag()}" for role in ("serve", "loadtest")
    ]


def test_a_registry_gets_no_tag_but_the_version(tmp_path: Path) -> None:
    path, asked = recorders(tmp_path, "docker", "skopeo")
    ran = run(path, "publish.sh", "v9.9.9", **REGISTRY)
    assert ran.returncode == 1
    assert f"The tag is v9.9.9, and these sources are version {chart_tag()}" in ran.stderr
    assert asked.read_text() == ""


SERVED = "registry.example.org/me/perwatt-serve@sha256:"


@pytest.mark.parametrize(
    ("measured", "tag", "says"),
    [
        ([], None, "measured:\nnothing"),
        (["a"], None, f"measured:\n{SERVED}{'a' * 64}\nstaged:\n{SERVED}{'a' * 64}\n{SERVED}{'b' * 64}"),
        (["a", "c"], None, "What was measured is not what would be published."),
        (["a", "b"], "v9.9.9", "The tag is v9.9.9, and these sources are version"),
        (["a", "b"], None, "expected who publishes to registry.example.org/me/"),
    ],
)
def test_only_what_was_measured_is_promoted(
    measured: list[str], tag: str | None, says: str, bare: str, tmp_path: Path
) -> None:
    """Before anything is asked of a registry; `make test-release` promotes into a real one."""
    for number, digest in enumerate(measured):
        (tmp_path / f"amd64-{number}.image").write_text(f"{SERVED}{digest * 64}\n")
    for digest in "ab":
        (tmp_path / digest).write_text(f"serve {SERVED}{digest * 64}\n")
    ran = run(
        bare, "promote.sh", tag or f"v{chart_tag()}", tmp_path, tmp_path / "out", tmp_path / "a", tmp_path / "b",
        REGISTRY="registry.example.org/me/",
    )  # fmt: skip
    assert ran.returncode == 1
    assert says in ran.stderr


def test_a_release_that_cannot_be_asked_for_is_not_taken_for_none(bare: str, tmp_path: Path) -> None:
    ran = run(bare, "baseline.sh", tmp_path / "baseline")
    assert ran.returncode == 1
    assert "needs gh" in ran.stderr
    gh = tmp_path / "bin" / "gh"
    for said, status in (("release not found", 0), ("To get started with GitHub CLI, please run:  gh auth login", 1)):
        gh.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        gh.chmod(0o755)
        ran = run(bare, "baseline.sh", tmp_path / "baseline")
        assert ran.returncode == status, ran.stdout + ran.stderr
        assert said in ran.stderr or "there is no release" in ran.stdout
