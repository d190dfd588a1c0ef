#!/usr/bin/env bash
# The images `serve` and `loadtest` of this machine's architecture, as `make images` builds them.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
export ARCHITECTURES=$arch
deploy/images/base.sh
deploy/images/build.sh serve loadtest
rm -rf "$proof/made"
make_index
echo "serve and loadtest were built for $arch, and serve embedded and built an index"
