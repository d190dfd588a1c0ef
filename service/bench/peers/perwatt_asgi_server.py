"""perwatt's application under plain uvicorn: without the fast path and the protocol that shows slow callers out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def application(folder: Path) -> Any:
    from service.processes import native_threads
    from service.settings import Settings

    native_threads.pin(1)
    from service.http.app import create_app
    from service.processes import loading

    process = loading.load(Settings(names=("bench",), root=folder / "indexes"))
    return create_app(process.state, process.auth, process.spans)


def main(folder: Path, port: int) -> None:
    import uvicorn

    app = application(folder)
    print("ready", flush=True)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
