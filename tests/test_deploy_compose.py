"""The compose file, what Prometheus asks and what the dashboard shows: well-formed, and about what there really is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import check_jsonschema
import httpx
import jsonschema
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.command import STEPS

pytest_plugins = ["serving_fixtures"]

FOLDER = Path(__file__).parents[1] / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/perwatt.json").read_text())
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [*SHOWN, *(rule["expr"] for rule in ALERTS if "perwatt_" in rule["expr"])]
SHARDS = [name for name in COMPOSE["services"] if name.startswith("shard-")]
OURS = ("serve", "embed", "build", "loadtest", "router", *SHARDS)


def schema(name: str) -> dict[str, Any]:
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return content


def test_the_compose_file_follows_the_specification() -> None:
    jsonschema.validate(COMPOSE, schema("compose-spec"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**COMPOSE, "services": {"serve": {"imagge": "x"}}}, schema("compose-spec"))


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_read_only_and_without_privileges(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]  # where opening a generation makes a folder
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["command"][0] in STEPS


def test_who_serves_is_who_built() -> None:
    """An index and a file of keys may be for their owner's eyes only."""
    assert {COMPOSE["services"][name]["user"] for name in OURS} == {"${RUN_AS:-1000:1000}"}


def test_every_port_is_the_loopbacks() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_generator_has_cpus_of_its_own() -> None:
    assert COMPOSE["services"]["serve"]["cpuset"] != COMPOSE["services"]["loadtest"]["cpuset"]


def test_options_exist() -> None:
    from embed.cli import embed
    from index.cli import build
    from loadtest.cli.load import knee
    from service.cli.route import route
    from service.cli.serve import serve

    commands = {"serve": serve, "embed": embed, "build": build, "loadtest": knee, "router": route}
    for name, command in (commands | dict.fromkeys(SHARDS, serve)).items():
        known = {option for parameter in command.params for option in parameter.opts}
        given = {word.split("=")[0] for word in COMPOSE["services"][name]["command"] if word.startswith("--")}
        assert given <= known, name


def test_loading_may_take_as_long_everywhere() -> None:
    """A container that is called unhealthy while it loads is replaced by one that begins anew."""
    top = FOLDER.parent
    [image] = re.findall(r"--start-period=(\S+)", (top / "Dockerfile").read_text())
    chart = (top / "helm/perwatt/templates/_serving.tpl").read_text()
    [period, failures] = re.findall(
        r"startupProbe:.*?periodSeconds: (\d+)\s+failureThreshold: (\d+)", chart, re.DOTALL
    )[0]
    seconds = int(period) * int(failures)
    assert image == COMPOSE["services"]["serve"]["healthcheck"]["start_period"] == f"{seconds}s" == "600s"


def test_the_router_asks_two_servers_of_each_shard() -> None:
    """Each of them reads the folder of its shard, and waits as long to be ready as the one service does."""
    services = COMPOSE["services"]
    asked = [word.removeprefix("--shard=") for word in services["router"]["command"] if word.startswith("--shard=")]
    hosts = [[url.removeprefix("http://").removesuffix(":8000") for url in each.split(",")] for each in asked]
    assert sorted(name for each in hosts for name in each) == sorted(SHARDS) == sorted(services["router"]["depends_on"])
    for number, each in enumerate(hosts):
        assert len(each) == 2
        for name in each:
            assert f"--root=/indexes/${{INDEX:-docs}}.shards/{number}-of-{len(hosts)}" in services[name]["command"]
            assert (
                services[name]["healthcheck"] == services["router"]["healthcheck"] == services["serve"]["healthcheck"]
            )
            assert services[name]["profiles"] == services["router"]["profiles"] == ["shards"]
            assert "ports" not in services[name]


def test_a_build_with_filters_is_the_build_that_there_is_and_more() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    written = re.findall(r"^# .* run --rm build (build .*)$", text, re.MULTILINE)
    command = [word.replace("${INDEX:-docs}", "docs") for word in COMPOSE["services"]["build"]["command"]]
    more = ["--filterable", "kind"], ["--shards", "3"]
    assert [each.split() for each in written] == [[*command, *each] for each in more]


def test_prometheus_asks_the_service_where_it_listens() -> None:
    [job] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    [static] = job["static_configs"]
    host, port = static["targets"][0].split(":")
    assert host in COMPOSE["services"]
    assert COMPOSE["services"][host]["ports"][0].endswith(f":{port}")
    assert job["metrics_path"] == "/metrics"


def test_prometheus_finds_the_key_that_it_is_given() -> None:
    """Nothing is mounted where there are no keys; Prometheus would not scrape with a file that is missing."""
    [job] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    mounted = [each for each in COMPOSE["services"]["prometheus"]["volumes"] if isinstance(each, dict)]
    assert [(each["target"], each["source"]) for each in mounted] == [
        (job["authorization"]["credentials_file"], "${METRICS_KEY:-/dev/null}")
    ]


def test_a_service_without_keys_does_not_mind_an_empty_one(server: Any) -> None:
    """What Prometheus sends that has read an empty file."""
    with server.client() as client:
        assert client.get("/metrics", headers={"authorization": "Bearer"}).status_code == 200


def test_the_load_test_has_the_key_that_it_is_given() -> None:
    """By its name alone, so that there is none where none is given: an empty one would be sent."""
    assert COMPOSE["services"]["loadtest"]["environment"] == ["PERWATT_KEY"]


def test_paths_that_are_written_down_do_not_depend_on_where_the_file_lies() -> None:
    """Compose takes ./keys for a file beside compose.yaml, not beside whoever gives the command."""
    text = (FOLDER / "compose.yaml").read_text()
    written = re.findall(r"^#.*?\b(?:KEYS|METRICS_KEY)=(\S*?)[ .\n]", text, re.MULTILINE)
    assert len(written) == 2
    assert all(path.startswith('"$PWD/') for path in written), written


def test_grafana_finds_its_dashboard_and_the_dashboard_its_source() -> None:
    [source] = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"].removeprefix("http://").split(":")[0] in COMPOSE["services"]
    [provider] = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/perwatt.yaml").read_text())["providers"]
    mounted = [each.split(":")[1] for each in COMPOSE["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.fixture(scope="module")
def measured(server: Any) -> dict[str, set[str]]:
    """Label names by sample name, of a server that has answered a search."""
    with server.client() as client:
        answer: httpx.Response = client.post("/v1/indexes/docs/search", json={"text": "espresso", "k": 1})
        assert answer.status_code == 200
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        if family.type == "gauge":
            found.setdefault(
                family.name, set()
            )  # of what is told only where the operator gave a price, or a counter is
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    found["perwatt_shard_replicas"] = {"index", "shard"}  # a router's; test_service_routing.py sees it there
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_the_dashboard_and_the_alerts_ask_for_is_measured(expression: str, measured: dict[str, set[str]]) -> None:
    names = re.findall(r"\bperwatt_\w+", expression)
    assert names
    assert set(names) <= set(measured)
    labels = set().union(*(measured[name] for name in names))
    asked = set(re.findall(r"(\w+)=~?\"", expression))
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        asked |= {label.strip() for label in grouping.split(",")}
    assert asked - {"job"} <= labels  # which Prometheus adds


def test_prometheus_finds_the_rules_that_it_is_given() -> None:
    [file] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["rule_files"]
    [job] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert f"./{Path(file).name}:{file}:ro" in COMPOSE["services"]["prometheus"]["volumes"]
    assert all(f'job="{job["job_name"]}"' in rule["expr"] for rule in ALERTS)
