#!/usr/bin/env bash
# Starts the image `serve` of both architectures and holds them against each other; see deploy/images/try_images.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh
exec python3 deploy/images/try_images.py "$STORE"
