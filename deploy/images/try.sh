#!/usr/bin/env bash
# Starts the images of both architectures and holds them against each other (see deploy/images/try_images.py), and
# publishes them into a folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/images/engine.sh
. deploy/images/engine.sh
python3 deploy/images/try_images.py "$STORE"
rm -rf "$STORE/published"
REGISTRY=oci:$STORE/published/ PERWATT_IMAGES=$STORE deploy/ci/publish.sh test
