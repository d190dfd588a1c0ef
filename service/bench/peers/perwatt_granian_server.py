"""perwatt's application under Granian instead of uvicorn."""

from __future__ import annotations

import sys
from pathlib import Path

from service.bench.peers.perwatt_asgi_server import application
from service.bench.peers.under_granian import serve

if __name__ == "__main__":
    serve(application(Path(sys.argv[1])), int(sys.argv[2]))
