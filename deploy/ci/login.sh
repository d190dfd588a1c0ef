#!/usr/bin/env bash
# Lets this machine into $REGISTRY as $REGISTRY_USER with $REGISTRY_TOKEN, to pull and push images.
set -euo pipefail
# shellcheck source=deploy/ci/perwatt.sh
. "$(dirname "$0")/perwatt.sh"
needs_registry
