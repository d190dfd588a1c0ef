"""The floor under Granian instead of uvicorn."""

from __future__ import annotations

import sys

from service.bench.peers.bare_server import bare
from service.bench.peers.under_granian import serve

if __name__ == "__main__":
    serve(bare(), int(sys.argv[2]))
