#!/usr/bin/env bash
# The base of the images by its digest, as "base=debian:bookworm-slim@sha256:…" for a workflow's outputs. What a tag names
# changes; a commit's images of both architectures stand on one list, and their labels say which.
set -euo pipefail
cd "$(dirname "$0")/../.."
base=$(sed -n 's/^ARG BASE=//p' deploy/Dockerfile)
digest=$(skopeo inspect --raw "docker://$base" | sha256sum | cut -d ' ' -f 1)
echo "base=$base@sha256:$digest"
