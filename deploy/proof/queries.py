"""Asks Prometheus what the dashboard and the rules ask: queries.py URL DASHBOARD

Every query of a panel must be answered, and those of what a service has after a search with a series; every rule must
have been evaluated without an error.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any


def get(url: str, **asked: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}?{urllib.parse.urlencode(asked)}", timeout=20) as answer:
        said = json.load(answer)
    if said["status"] != "success":
        raise SystemExit(f"{url} with {asked} was answered {said}")
    return said["data"]


def main(url: str, dashboard: str) -> None:
    panels = json.loads(Path(dashboard).read_text())["panels"]
    queries = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    empty = []
    for title, expression in queries:
        found = get(f"{url}/api/v1/query", query=expression.replace("$__rate_interval", "1m").replace("$__range", "1m"))
        if not found["result"]:
            empty.append(title)
    rules = [rule for group in get(f"{url}/api/v1/rules")["groups"] for rule in group["rules"]]
    broken = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    if broken or not rules:
        raise SystemExit(f"rules that were not evaluated: {broken or 'all'}")
    if len(empty) > len(queries) // 2:
        raise SystemExit(f"{len(empty)} of {len(queries)} queries found nothing: {empty}")
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    print(
        f"{len(queries)} queries of the dashboard answered (nothing for {', '.join(sorted(set(empty))) or 'none'}), "
        f"{len(rules)} rules evaluated, firing: {', '.join(firing) or 'none'}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
