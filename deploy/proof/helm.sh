#!/usr/bin/env bash
# The chart by the real helm, and what it renders with everything switched on; the rules of both kinds by promtool.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
chart=deploy/helm/perwatt
helm lint --strict --quiet "$chart"
everything=deploy/proof/everything.yaml
helm lint --strict --quiet "$chart" --values $everything
helm template demo "$chart" > "$proof/small.yaml"
helm template demo "$chart" --namespace search --values $everything > "$proof/everything.yaml"
helm package "$chart" --destination "$proof" >/dev/null
helm template demo "$proof/perwatt-$(sed -n 's/^version: //p' $chart/Chart.yaml).tgz" | diff - "$proof/small.yaml"
python3 deploy/proof/pods.py rules "$proof/everything.yaml" > "$proof/rules.yaml"
promtool check rules "$proof/rules.yaml"
promtool test rules deploy/compose/alerts.test.yaml
echo "linted, rendered with defaults and with everything on ($(grep -c '^kind:' "$proof/everything.yaml") objects)," \
  "packaged, and $(grep -c 'alert:' "$proof/rules.yaml") alerts checked and set off by promtool"
