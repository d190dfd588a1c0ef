#!/usr/bin/env bash
# Writes the lock files beside this script from pyproject.toml: every version and hash, for every platform and Python we
# support. `make lock` runs it; needs uv.
#
# PyTorch and what its CUDA build would bring are left out: which build is right is decided at install time by
# deploy/locks/install-torch.sh, and a hash would pin the wrong one. So is pip, which httpie asks for and every environment has.
set -euo pipefail
cd "$(dirname "$0")/../.."

compile() { # output file, then what to compile
  local out=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
    --custom-compile-command "make lock" --output-file "deploy/locks/$out" "$@"
}

cuda=()
for name in torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-{cublas,cuda-cccl,cuda-cupti,cuda-nvrtc,cuda-runtime,cudnn-cu13,cufft,cufile,curand,cusolver,cusparse,cusparselt-cu13,nccl-cu13,nvjitlink,nvshmem-cu13,nvtx}; do
  cuda+=(--no-emit-package "$name")
done

compile serve.txt pyproject.toml
compile onnx.txt --extra onnx pyproject.toml
compile otel.txt --extra otel pyproject.toml
compile stores.txt --extra stores pyproject.toml
compile test.txt "${cuda[@]}" --no-emit-package pip --extra torch --extra loadtest --extra otel --extra stores --extra langchain --extra mcp --extra pages --group dev pyproject.toml
compile integrations.txt "${cuda[@]}" --constraints deploy/locks/test.txt --group integrations
compile ray.txt --constraints deploy/locks/test.txt deploy/locks/ray.in
compile loadtest.txt --extra loadtest pyproject.toml
compile peers.txt --extra peers pyproject.toml
compile build.txt deploy/locks/build.in
compile model.txt --no-deps deploy/locks/model.in
compile chroma.txt --no-deps deploy/locks/chroma.in
compile wheels.txt deploy/locks/wheels.in
compile proof.txt --no-deps deploy/locks/proof.in
compile image.txt deploy/locks/image.in
