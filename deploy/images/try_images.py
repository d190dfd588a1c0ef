"""Starts the image `serve` of both architectures on the same index and holds their answers against each other.

    python3 deploy/images/try_images.py STORE

The index is built by the amd64 image, in its own container; then every container serves those very bytes: with a
read-only root but for /tmp, without privileges, without network but its loopback, and with the shells taken away. Each
must become ready and healthy, say which kernels it runs, give the same hits, and end with status 0 when it is asked to.
The arm64 image runs on two emulated cores, of Graviton3 (with SMMLA and wide SVE) and Graviton2 (without), which read
the model in different packings. Then an image of each is baked with an index of vectors in fp32 and the model that made
them, and serves with nothing mounted. The image `loadtest` measures the service, and refuses to where it is emulated.
Emulated time says nothing about a processor, so nothing else is timed.

Runs on the host's Python with nothing installed; podman and the images come from the scripts beside this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CORPUS = ("json", "csv", "gzip", "argparse", "shutil", "tempfile")
QUERIES = ("compress bytes in memory", "parse command line arguments", "read a csv file with a header", "delete a tree")
UID = 10001
# Of a cosine. The architectures' int8 encoders round differently: they agree with fp32 within a cosine of 0.999, which
# moves a score by less than this.
LARGEST_SCORE_DIFFERENCE = 1e-2
LARGEST_SUM_DIFFERENCE = 1e-6  # of a cosine in float32, summed in another order
READY_CHECKS = 300  # a second apart; counted, not timed, so that a machine that was stopped meanwhile gives it as long
PAGE_BYTES = 1 << 16


class ImageCase(NamedTuple):
    arch: str
    processor: str
    isa: str  # the walk's kernels that this processor must choose; empty: whatever the host has
    image: str = "serve"


CASES = (
    ImageCase("amd64", "", ""),
    ImageCase("arm64", "neoverse-v1", "sve256"),
    ImageCase("arm64", "neoverse-n1", "neondot"),
)
# As the documents say it: podman alone would make /run and /var/tmp writable too.
READ_ONLY = ("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp")
BAKED = tuple(case._replace(image="baked") for case in CASES[:2])
MODEL = "minilm-of-our-own"

# Runs inside the container, which has no network; prints one JSON object.
CLIENT = """
import http.client, json, sys
asked = json.loads(sys.argv[1])
def call(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=120)
    connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
found = {"version": call("GET", "/version"), "index": call("GET", "/v1/indexes/library")}
found["text"] = [call("POST", "/v1/indexes/library/search", {"text": text, "k": 10}) for text in asked]
first = found["text"][0][1]["hits"][0]["id"]
found["similar"] = call("POST", "/v1/indexes/library/search", {"id": first, "k": 10})
print(json.dumps(found))
"""


def podman(*arguments: object, check: bool = True) -> str:
    ran = subprocess.run(["podman", *map(str, arguments)], capture_output=True, text=True, check=False)
    if check and ran.returncode:
        raise SystemExit(f"podman {arguments[0]} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {what}")


def build_indexes(folder: Path) -> None:
    """Embeds some of the standard library and builds an index of it, with the amd64 image; and into `folder`/baked one
    in fp32, with a copy of the model under another name.
    """
    if folder.exists():
        shutil.rmtree(folder)
    for name in ("vectors", "indexes", "cache", "baked/indexes", "baked/models"):
        (folder / name).mkdir(parents=True)
        shutil.chown(folder / name, UID, UID)
    run: list[object] = ["run", "--rm", "--arch", "amd64", "--pull=never", "--network", "none", *READ_ONLY]
    run += ["--cap-drop", "all", "--volume", f"{folder}:/here"]
    image = "localhost/perwatt-serve:amd64"
    corpus = [f"python:{name}" for name in CORPUS]
    podman(*run, image, "embed", *corpus, "--out", "/here/vectors/library", "--quiet")
    podman(*run, image, "build", "/here/vectors/library", "--index", "library", "--root", "/here/indexes")
    model = f"/here/baked/models/{MODEL}"
    copy = (
        "import shutil, sys; from embed.models.folder import find_model; "
        "shutil.copytree(find_model().path, sys.argv[1])"
    )
    podman(*run, "--entrypoint", "python3", image, "-c", copy, model)
    run += ["--env", "PERWATT_CACHE=/here/cache"]
    podman(*run, image, "embed", *corpus, "--out", "/here/vectors/own", "--quiet", "--model", model,
           "--precision", "fp32")  # fmt: skip
    podman(*run, image, "build", "/here/vectors/own", "--index", "library", "--root", "/here/baked/indexes")


def image_facts(arch: str) -> None:
    """What the image says of itself, and what is and is not in it."""
    [image] = json.loads(podman("image", "inspect", f"localhost/perwatt-serve:{arch}"))
    expect(image["Architecture"] == arch, f"the image of {arch} says it is {image['Architecture']}")
    expect(image["User"] == str(UID), f"it runs as {image['User']!r}")
    expect(image["Labels"]["org.opencontainers.image.revision"] != "unknown", "it does not say its revision")
    mounted = Path(podman("image", "mount", f"localhost/perwatt-serve:{arch}").strip())
    try:
        names = {path.name for folder in ("usr/bin", "opt/perwatt/bin") for path in (mounted / folder).iterdir()}
        expect(not names & {"gcc", "g++", "c++", "cc", "ld", "make", "pip", "pip3"}, f"{arch} has a compiler or pip")
        authorities = mounted / "etc/ssl/certs/ca-certificates.crt"
        expect(authorities.is_file() and authorities.stat().st_size > 0, f"{arch} trusts no server over https")
        [site] = (mounted / "opt/perwatt/lib").glob("python3.*/site-packages")
        expect(not (site / "torch").exists(), f"{arch} has torch")
        libraries = [path for path in site.rglob("*.so*") if path.is_file()]
        small = [str(path.relative_to(site)) for path in libraries if least_alignment(path) < PAGE_BYTES]
        if arch == "arm64":
            expect(len(libraries) > 50, f"only {len(libraries)} libraries were found")
            expect(not small, f"these libraries cannot be loaded where pages have 64 KiB: {small}")
    finally:
        podman("image", "unmount", f"localhost/perwatt-serve:{arch}")
    print(
        f"{arch}: {image['Size'] / 1e6:.0f} MB, {len(libraries)} libraries, "
        f"{len(libraries) - len(small)} fit pages of 64 KiB"
    )


def least_alignment(path: Path) -> int:
    """Bytes to which the loadable segments of a 64-bit ELF file are aligned, the least of them."""
    content = path.read_bytes()
    if content[:5] != b"\x7fELF\x02":
        return PAGE_BYTES
    start = int.from_bytes(content[32:40], "little")
    size, count = (int.from_bytes(content[at : at + 2], "little") for at in (54, 56))
    headers = [content[start + i * size : start + (i + 1) * size] for i in range(count)]
    aligned = [int.from_bytes(header[48:56], "little") for header in headers if header[:4] == b"\x01\0\0\0"]
    return min(aligned, default=PAGE_BYTES)


@contextlib.contextmanager
def served(case: ImageCase, indexes: Path | None) -> Iterator[str]:
    """The name of a container of `case` that is ready; afterwards it is asked to end, and has to do so gracefully.

    indexes: mounted; None where they are in the image.
    """
    name = f"perwatt-try-{case.image}-{case.arch}-{case.processor or 'native'}"
    podman("rm", "--force", "--ignore", "--time", "1", name)
    [image] = json.loads(podman("image", "inspect", f"localhost/perwatt-{case.image}:{case.arch}"))
    command = [] if indexes else [*image["Config"]["Cmd"], "--model", f"/models/{MODEL}"]
    shells = [argument for shell in ("bash", "dash") for argument in ("--volume", f"/dev/null:/usr/bin/{shell}:ro")]
    podman(
        "run", "--detach", "--name", name, "--arch", case.arch, "--pull=never", "--no-healthcheck",
        "--network", "none", *READ_ONLY, "--cap-drop", "all", "--security-opt", "no-new-privileges", *shells,
        *(("--env", f"QEMU_CPU={case.processor}") if case.processor else ()),
        *(("--volume", f"{indexes}:/indexes:ro") if indexes else ()),
        f"localhost/perwatt-{case.image}:{case.arch}", *command,
    )  # fmt: skip
    try:
        healthy = image["Healthcheck"]["Test"]
        expect(healthy[0] == "CMD", f"the health check is {healthy[0]}, expected CMD, which needs no shell")
        checks = 0
        while subprocess.run(["podman", "exec", name, *healthy[1:]], capture_output=True, check=False).returncode:
            running = podman("inspect", "--format", "{{.State.Running}}", name).strip() == "true"
            checks += 1
            expect(running and checks < READY_CHECKS, f"{name} did not become ready:\n{podman('logs', name)}")
            time.sleep(1)
        yield name
        podman("stop", "--time", "120", name)
        status = podman("inspect", "--format", "{{.State.ExitCode}}", name).strip()
        expect(status == "0", f"{name} ended with {status} after SIGTERM:\n{podman('logs', name)}")
    finally:
        podman("rm", "--force", "--ignore", "--time", "1", name)


def answers(case: ImageCase, indexes: Path | None) -> dict[str, Any]:
    """What a container of `case` answers; it is started and stopped here."""
    with served(case, indexes) as name:
        found: dict[str, Any] = json.loads(podman("exec", name, "python3", "-IS", "-c", CLIENT, json.dumps(QUERIES)))
    for status, content in (found["version"], found["index"], found["similar"], *found["text"]):
        expect(status == 200, f"{name} answered {status}: {content}")
    kernels = found["version"][1]["kernels"]
    print(f"{name}: kernels {kernels['arch']} {kernels['isa']}, generation {found['index'][1]['generation']}")
    expect(case.isa in ("", kernels["isa"]), f"{name} runs the unit {kernels['isa']}, expected {case.isa}")
    return found


def load_tests(folder: Path) -> None:
    """The image `loadtest` of this machine's architecture measures a service; the other's refuses to, and says why."""
    runs = folder / "runs"
    runs.mkdir(exist_ok=True)
    shutil.chown(runs, UID, UID)
    own = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    with served(ImageCase(own, "", ""), folder / "indexes") as name:
        for arch in ("amd64", "arm64"):
            (runs / f"{arch}.json").unlink(missing_ok=True)
            run = ["podman", "run", "--rm", "--arch", arch, "--pull=never", "--network", f"container:{name}",
                   *READ_ONLY, "--cap-drop", "all", "--volume", f"{folder}:/here:ro",
                   "--volume", f"{runs}:/runs", f"localhost/perwatt-loadtest:{arch}"]  # fmt: skip
            said = subprocess.run([*run, "loadtest", "--help"], capture_output=True, text=True, check=False)
            expect(said.returncode == 0 and "\n  knee " in said.stdout, f"{arch}: loadtest --help:\n{said.stderr}")
            run += ["loadtest", "run", "--index", "library", "--queries", "/here/vectors/library", "--rate", "20"]
            run += ["--duration", "3", "--recall-queries", "20", "--no-calibrate", "--out", f"/runs/{arch}.json"]
            said = subprocess.run(run, capture_output=True, text=True, check=False)
            if arch == own:
                # 3: measured, and not to be believed, on a machine as busy as one that builds images.
                expect(
                    said.returncode in (0, 3), f"the load test of {arch} ended with {said.returncode}:\n{said.stderr}"
                )
                kind = json.loads((runs / f"{arch}.json").read_text())["kind"]
                expect(kind == "run", f"the record is of the kind {kind!r}")
            else:
                refused = said.returncode == 3 and "this machine is emulated" in said.stderr
                expect(refused, f"the load test of {arch} ended with {said.returncode}:\n{said.stderr}")
                expect(not (runs / f"{arch}.json").exists(), f"there is a record of {arch}, which is emulated")
    print(f"loadtest: {own} measured the service, the other refused, since it is emulated")


def same(one: dict[str, Any], other: dict[str, Any], cases: str) -> None:
    """Both gave the same hits from the same generation, in the same order but for scores that are equal."""
    expect(one["index"][1]["generation"] == other["index"][1]["generation"], f"{cases} serve different generations")
    for (_, here), (_, there) in zip([*one["text"], one["similar"]], [*other["text"], other["similar"]], strict=True):
        ours, theirs = here["hits"], there["hits"]
        expect(len(ours) == len(theirs) == 10, f"{cases} found {len(ours)} and {len(theirs)} hits")
        known_there = {hit["id"] for hit in theirs}
        for place, (hit, hit_there) in enumerate(zip(ours, theirs, strict=True)):
            close = abs(hit["score"] - hit_there["score"]) <= LARGEST_SCORE_DIFFERENCE
            expect(close, f"{cases}: place {place} scored {hit['score']} and {hit_there['score']}")
            known = hit["id"] in known_there or abs(hit["score"] - theirs[-1]["score"]) <= LARGEST_SCORE_DIFFERENCE
            expect(known, f"{cases}: only one found {hit['id']} with score {hit['score']}")
    best = [[answer["hits"][0]["id"] for _, answer in found["text"]] for found in (one, other)]
    expect(best[0] == best[1], f"{cases} disagree about the best hit: {best}")
    alike = [[hit["id"] for hit in found["similar"][1]["hits"]] for found in (one, other)]
    expect(alike[0] == alike[1], f"{cases} differ where no text is encoded: {alike}")
    scores = [[hit["score"] for hit in found["similar"][1]["hits"]] for found in (one, other)]
    largest = max(abs(ours - theirs) for ours, theirs in zip(*scores, strict=True))
    expect(largest <= LARGEST_SUM_DIFFERENCE, f"{cases} differ by {largest} in the score of one vector by another")


def main(store: str) -> None:
    folder = Path(store).resolve() / "try"
    for arch in ("amd64", "arm64"):
        image_facts(arch)
    build_indexes(folder)
    bake = {**os.environ, "INDEXES": str(folder / "baked" / "indexes"), "MODELS": str(folder / "baked" / "models")}
    subprocess.run([Path(__file__).with_name("build.sh"), "baked"], env=bake, check=True)
    for cases in (CASES, BAKED):
        found = [answers(case, None if case.image == "baked" else folder / "indexes") for case in cases]
        (folder / f"{cases[0].image}.json").write_text(
            json.dumps([[case._asdict(), each] for case, each in zip(cases, found, strict=True)])
        )
        for case, other in zip(cases[1:], found[1:], strict=True):
            same(found[0], other, f"amd64 and {case.arch} ({case.processor})")
        gave = f"{len(cases)} containers gave the same hits to {len(QUERIES) + 1} searches"
        print(f"{cases[0].image}: {gave} and ended gracefully")
    load_tests(folder)


if __name__ == "__main__":
    main(sys.argv[1])
