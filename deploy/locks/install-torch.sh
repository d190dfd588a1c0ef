#!/usr/bin/env bash
# Installs the CPU build of PyTorch into a virtual environment: install-torch.sh VENV
#
# On Linux a plain `pip install torch` takes the CUDA build and gigabytes of its libraries, which a product for CPUs must
# not do. The CPU build carries the local version "+cpu". pip finds it where one of its configured indexes or folders
# offers it; elsewhere uv is asked, which knows the PyTorch project's own CPU index by name. Neither way can end in CUDA.
set -euo pipefail
venv=${1:?usage: install-torch.sh VENV}
version=2.13.0
uv=0.13.9

if "$venv/bin/python" -c "import torch, sys; sys.exit(torch.__version__.split('+')[0] != '$version')" 2>/dev/null; then
  exit 0
fi
if [ "$(uname -s)" = Linux ] && "$venv/bin/pip" install --quiet --no-compile --no-deps "torch==$version+cpu" 2>/dev/null; then
  exit 0
fi
"$venv/bin/pip" install --quiet "uv==$uv"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --torch-backend cpu "torch==$version"
