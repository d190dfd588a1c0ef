"""Libraries that tests preload into a process (LD_PRELOAD), compiled once from a C file beside this one."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def library(source: str) -> Path:
    """The library that a file such as `faults.c` becomes."""
    folder = tempfile.mkdtemp(prefix="perwatt-preload-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = Path(folder) / f"{source.removesuffix('.c')}.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(built)]
    subprocess.run([*command, str(Path(__file__).with_name(source)), "-ldl"], check=True)
    return built
