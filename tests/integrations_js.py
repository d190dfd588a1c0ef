"""The JavaScript client in Node, and what TypeScript makes of its types.

`make test-integrations` runs this file, where `node` and `npm` are; `make test` runs the same program in Chromium.
"""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

from client_programs import CLIENT, PROGRAM, check
from patience import patient
from serving import Server

from deploy.client.__main__ import pack

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]

TYPESCRIPT = "typescript@5.9.3"
TSC = [
    "node_modules/.bin/tsc",
    "--strict",
    "--noEmit",
    "--module",
    "nodenext",
    "--target",
    "es2022",
    "--lib",
    "es2022,dom",
]
TYPED = """
import { Client, ProblemError, type Hit, type SearchRequest } from "perwatt-client";

const client = new Client("http://127.0.0.1:8000", { key: "pw_…", retries: { times: 1 } });
const answer = await client.search<{ title: string }>("docs", { text: "volcano", vector: null, mode: "hybrid" });
const title: string = answer.hits[0].payload.title;
const loose: unknown = (await client.search("docs", { vector: new Float32Array(8) })).hits[0].payload["title"];
await client.put("docs", [{ id: "n1", vector: [1, 2], payload: { title } }], { signal: AbortSignal.timeout(9) });
const recent = { field: "year", gte: 2020, lt: 2024 };
await client.delete("docs", { filter: { and: [recent, { not: { field: "tags", eq: "x" } }] } });
const vectors: Float32Array[] = await client.embed(["a"], { kind: "query" });
try {
  await client.rollback("docs", { etag: "e" });
} catch (error) {
  if (error instanceof ProblemError && error.code === "precondition-failed") console.log(error.status, loose, vectors);
}
const asked: SearchRequest = { text: "volcano", k: 3 };
const hit: Hit = (await client.search("docs", asked)).hits[0];
// @ts-expect-error: a misspelt field
await client.search("docs", { text: "volcano", efort: 3 });
// @ts-expect-error: no such mode
await client.search("docs", { text: "volcano", mode: "fast" });
// @ts-expect-error: no such code
if (new ProblemError().code === "nonsense") console.log(hit);
"""


def node(code: str, folder: Path) -> str:
    script = folder / "main.mjs"
    script.write_text(code)
    done = subprocess.run(["node", script], capture_output=True, text=True, timeout=patient(60), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_application_in_node_searches_writes_and_gets_errors_it_can_switch_over(
    writable: Server, tmp_path: Path
) -> None:
    code = f"""
        import * as perwatt from "{CLIENT / "perwatt.js"}";
        import {{ program }} from "{PROGRAM}";
        console.log(JSON.stringify(await program(perwatt, "{writable.url}")));
    """
    check(json.loads(node(code, tmp_path)))


def test_in_node_a_change_is_tried_again_where_nobody_was_there_to_make_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"""
        import {{ Client }} from "{CLIENT / "perwatt.js"}";
        let sent = 0;
        const counted = (...asked) => (sent++, fetch(...asked));
        const client = new Client("http://127.0.0.1:{port}", {{ retries: {{ firstMs: 1 }}, fetch: counted }});
        const error = await client.rollback("docs").catch((error) => error);
        console.log(JSON.stringify([error.name, error.message, sent]));
    """
    name, message, sent = json.loads(node(code, tmp_path))
    assert (name, sent) == ("UnreachableError", 4)
    assert message.startswith(f"http://127.0.0.1:{port} did not answer: connect ECONNREFUSED")


def test_what_npm_installs_is_typed_for_a_strict_program(tmp_path: Path) -> None:
    (tmp_path / "main.mts").write_text(TYPED)
    (tmp_path / "package.json").write_text('{"private": true}')
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run([*npm, pack(tmp_path), TYPESCRIPT], cwd=tmp_path, timeout=patient(120), check=True)
    checked = subprocess.run(
        [*TSC, "main.mts"], cwd=tmp_path, capture_output=True, text=True, timeout=patient(120), check=False
    )
    assert checked.returncode == 0, checked.stdout
