"""Monitoring: the chain from a datagram to a panel and an alert, with a real service and a real Prometheus.

Only statsd_exporter and Grafana are stood in for: `exporter.py` and `mapping.py` of `tests/support/monitoring/` read
the mapping, and Prometheus is asked what the dashboard asks.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psutil
import pytest
import yaml

from api.errors import PROBLEMS
from api.settings import Settings
from api.telemetry import metrics
from models.errors import StoreError
from tests.support.monitoring.exporter import Exporter
from tests.support.monitoring.mapping import MAPPING, MappingError, read_rules, target_of
from tests.support.monitoring.monitored import (
    DASHBOARD,
    JOB,
    MONITORING,
    PROMETHEUS,
    Watched,
    expressions,
    filled,
    watched,
    work,
)
from tests.support.monitoring.plots import PLOTS, Run, drawn, series_of
from tests.support.servers.services import eventually, need


ROOT = Path(__file__).parent.parent.parent
RULES = read_rules(MAPPING.read_text())
DOCUMENT = yaml.safe_load(MAPPING.read_text())
RUNBOOK = (MONITORING / "README.md").read_text()
GUIDE = (ROOT / "docs" / "monitoring.md").read_text()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRIC_NAME = re.compile(r"\b(?:flaskvstore|http)_[a-z0-9_]+\b")
RECORDED_NAME = re.compile(r"\bjob:\w+:\w+\b")
# Gunicorn sends it if it is told to, which nothing here does.
NOT_SENT = {"gunicorn.backlog"}
# The name is from the project's first README; promtool would like another suffix.
LINT = 'http_response_code counter metrics should have "_total" suffix\n'


def rules_of(file: str) -> list[dict[str, Any]]:
    """Give the rules of a file of Prometheus."""
    document = yaml.safe_load((PROMETHEUS / file).read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


RECORDED = rules_of("rules.yml")
ALERTS = rules_of("alerts.yml")


def promtool(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    binary = shutil.which("promtool")
    need(binary, "promtool, which comes with Debian's prometheus")
    assert binary
    return subprocess.run([binary, *arguments], input=given, capture_output=True, text=True, check=False, timeout=60)


def mapping(*rules: str, defaults: str = "") -> str:
    """Write a mapping, its rules in YAML's flow style."""
    return "\n".join([f"defaults: {{{defaults}}}", "mappings:", *(f"  - {{{rule}}}" for rule in rules)])


def exposed(text: str, *datagrams: bytes) -> list[str]:
    """Give what becomes of datagrams, without help and types."""
    exporter = Exporter(read_rules(text))
    for datagram in datagrams:
        exporter.receive(datagram)
    assert exporter.errors == []
    return [line for line in exporter.exposition().splitlines() if not line.startswith("#")]


class TestMappingLanguage:
    """Our reading of the language, where statsd_exporter is particular, and where we are stricter than it."""

    @pytest.mark.parametrize(
        "rule",
        [
            "match: a.*, name: a, matches: b",
            "match: a.*, name: a, timer_type: histogram",
            "match: a.*, name: a, name: b",
            "match: a.*",
            "name: a",
            "match: a.*, name: a-b",
            "match: a.*, name: '1a'",
            "match: a.*, name: a, labels: {a-b: $1}",
            "match: a.*, name: a, labels: {l: $1}",
            "match: a.*, name: a, labels: {label: $2}",
            "match: a.b*, name: a",
            "match: .a, name: a",
            "match: 1.a, name: a",
            "match: a.*, name: a, action: keep",
            "match: a.*, name: a, match_type: prefix",
            "match: a.*, name: a, match_metric_type: timer",
            "match: a.*, name: a, histogram_options: {bounds: [1]}",
            "match: a.*, name: a, histogram_options: {buckets: [2, 1]}",
        ],
    )
    def test_what_it_does_not_know_is_an_error(self, rule: str) -> None:
        with pytest.raises(MappingError):
            read_rules(mapping(rule))

    def test_a_key_beside_defaults_and_mappings_is_an_error(self) -> None:
        with pytest.raises(MappingError):
            read_rules("mapping: []")

    @pytest.mark.parametrize(
        ("match", "name", "matches"),
        [
            ("a.*.c", "a.b.c", True),
            ("a.*.c", "a.b.b.c", False),
            ("a.*.c", "x.a.b.c", False),
            ("a.*.c", "a.b.c.d", False),
            ("a.*", "a", False),
            ("a.b", "aXb", False),
        ],
    )
    def test_a_star_is_one_part(self, match: str, name: str, matches: bool) -> None:
        rules = read_rules(mapping(f"match: '{match}', name: found"))

        assert (target_of(rules, name, "counter").name == "found") == matches

    def test_the_first_match_wins_and_globs_come_before_regexes(self) -> None:
        text = mapping(
            "match: '.', match_type: regex, name: third", "match: a.*, name: first", "match: '*.b', name: second"
        )

        assert exposed(text, b"a.b:1|c", b"x.b:1|c", b"x.x:1|c") == ["first 1.0", "second 1.0", "third 1.0"]

    def test_captures_fill_names_and_labels(self) -> None:
        text = mapping("match: '*.*.x', name: '${1}_total', labels: {what: 'a $2'}")

        assert exposed(text, b"first.second.x:1|c") == ['first_total{what="a second"} 1.0']

    def test_a_rule_may_be_for_one_type_of_metric(self) -> None:
        text = mapping("match: a.b, name: gauge, match_metric_type: gauge", "match: a.b, name: other")

        assert exposed(text, b"a.b:1|c\na.b:2|g") == ["gauge 2.0", "other 1.0"]

    def test_what_matches_nothing_keeps_its_name(self) -> None:
        assert exposed(mapping("match: a.b, name: c"), b"a-b.c:1|c") == ["a_b_c 1.0"]


class TestExporter:
    """Our reading of datagrams."""

    def test_a_counter_is_added_up_and_a_sampled_one_counts_for_all(self) -> None:
        assert exposed(mapping(), b"a:1|c\na:2|c|@0.5", b"a:1|c|@1.0") == ["a 6.0"]

    def test_a_gauge_is_set_or_moved(self) -> None:
        assert exposed(mapping(), b"a:5|g", b"a:+3|g", b"a:-1|g") == ["a 7.0"]

    def test_a_timer_in_milliseconds_is_a_histogram_in_seconds(self) -> None:
        text = mapping(
            "match: a.b, name: c", defaults="observer_type: histogram, histogram_options: {buckets: [0.1, 1]}"
        )

        lines = exposed(text, b"a.b:100|ms", b"a.b:100.5|ms", b"a.b:2|h")

        assert lines == [
            'c_bucket{le="0.1"} 1',
            'c_bucket{le="1"} 2',
            'c_bucket{le="+Inf"} 3',
            "c_sum 2.2005",
            "c_count 3",
        ]

    @pytest.mark.parametrize("line", [b"a", b"a:", b"a:1", b"a:x|c", b"a:1|s", b"a:-1|c", b"a:1|c|@0.1|x"])
    def test_a_line_that_cannot_be_read_is_noted_and_counts_for_nothing(self, line: bytes) -> None:
        exporter = Exporter([])

        exporter.receive(line)

        assert len(exporter.errors) == 1
        assert exporter.exposition() == ""

    def test_a_name_cannot_be_two_types(self) -> None:
        exporter = Exporter([])

        exporter.receive(b"a:1|c\na:1|g")

        assert exporter.errors


class TestMapping:
    def test_it_has_the_rule_of_the_first_readme_to_the_letter(self) -> None:
        assert """\
  - match: flaskvstore.gunicorn.request.status.*
    help: "http response code"
    name: "http_response_code"
    labels:
      status: "$1"
      job: "flaskvstore_gunicorn_response_code"
""" in MAPPING.read_text()

    def test_its_rules_are_the_names_that_the_code_sends_with_their_parts_as_labels(self) -> None:
        names = [
            metrics.REQUEST,
            metrics.RECEIVED_BYTES,
            metrics.SENT_BYTES,
            metrics.STORE_DURATION,
            metrics.STORE_FAILURE,
            metrics.POOL_WAIT,
            metrics.WATCH,
            metrics.WATCHER_SECONDS,
            metrics.WATCH_EVENTS,
            metrics.WATCH_RESETS,
            metrics.WATCH_DELAY,
        ]
        prefix = Settings().statsd_prefix
        expected = {
            f"{prefix}.{re.sub('{[a-z]+}', '*', name)}": {
                label: f"${number}" for number, label in enumerate(re.findall("{([a-z]+)}", name), 1)
            }
            for name in names
        }

        found = {
            rule["match"]: rule.get("labels", {})
            for rule in DOCUMENT["mappings"]
            if "gunicorn" not in rule["match"] and rule.get("action") != "drop"
        }

        assert found == expected

    def test_its_rules_are_the_names_that_gunicorn_sends(self) -> None:
        modules = ("arbiter.py", "instrument/statsd.py")
        source = "".join((files("gunicorn") / module).read_text() for module in modules)
        names = set(re.findall(r'"(gunicorn\.(?:log|request|requests|workers|backlog)\b[\w.%]*)"', source)) - NOT_SENT

        used = [
            next(rule.match for rule in RULES if rule.apply(f"flaskvstore.{name.replace('%d', '200')}", "counter"))
            for name in names
        ]

        assert set(used) == {rule.match for rule in RULES if ".gunicorn." in rule.match}

    @pytest.mark.parametrize("name", ["flaskvstore.other", "flaskvstore.request.key.GET", "elsewhere.requests", "x"])
    def test_what_nobody_knows_is_dropped(self, name: str) -> None:
        assert target_of(RULES, name, "counter").is_dropped

    def test_buckets_reach_from_half_a_millisecond_to_ten_seconds(self) -> None:
        buckets = RULES[0].buckets

        assert (buckets[0], buckets[-1]) == (0.0005, 10)


def requests_counted(running: Watched) -> list[float]:
    """Give the number of requests, by the service's count and by both of Gunicorn's."""
    families = running.exporter.exporter.families
    durations = ("flaskvstore_request_duration_seconds", "flaskvstore_watch_duration_seconds")
    histograms = [each for name in durations for each in families[name].histograms.values()]
    counters = [families[name].values for name in ("http_response_code", "flaskvstore_gunicorn_requests_total")]
    return [sum(sum(each.counts) for each in histograms), *(sum(values.values()) for values in counters)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service that has worked, lost a worker, and lost its store."""
    with watched(tmp_path_factory.mktemp("stage"), "--workers", "2") as running:
        work(running.service.port, 3, 0.005)
        parent = psutil.Process(running.service.children()["gunicorn"])
        parent.children()[0].kill()
        running.store.stop()
        work(running.service.port, 3, 0.005)
        yield running


class TestChain:
    """A service under load, its datagrams through the mapping, and a Prometheus that scrapes the outcome."""

    def test_every_line_is_understood_and_none_is_dropped(self, stage: Watched) -> None:
        assert len(stage.exporter.datagrams) > 20
        assert stage.exporter.exporter.errors == []
        assert stage.exporter.exporter.dropped == set()

    def test_every_metric_of_the_mapping_comes_about(self, stage: Watched) -> None:
        mapped = {rule["name"] for rule in DOCUMENT["mappings"] if rule.get("action") != "drop"}

        assert set(stage.exporter.exporter.families) == mapped

    def test_promtool_takes_the_outcome(self, stage: Watched) -> None:
        checked = promtool("check", "metrics", given=stage.exporter.exporter.exposition())

        assert checked.stderr == LINT

    def test_the_service_and_gunicorn_count_the_same_requests(self, stage: Watched) -> None:
        # Each of the three workers may have begun before it knew where to send, and one was killed.
        eventually(lambda: max(requests_counted(stage)) - min(requests_counted(stage)) <= 3)

    @pytest.mark.parametrize(("title", "expression"), expressions())
    def test_every_query_of_the_dashboard_has_data(self, stage: Watched, title: str, expression: str) -> None:
        eventually(lambda: stage.prometheus.values(filled(expression, "1m")))

    def test_the_dashboard_s_variable_finds_the_job(self, stage: Watched) -> None:
        [variable] = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "job"]
        [(metric, label)] = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])

        assert stage.prometheus.get(f"label/{label}/values", **{"match[]": metric}) == [JOB]

    def test_every_rule_can_be_evaluated(self, stage: Watched) -> None:
        rules = [rule for group in stage.prometheus.get("rules")["groups"] for rule in group["rules"]]

        assert len(rules) == len(RECORDED) + len(ALERTS)
        assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}

    @pytest.mark.parametrize(
        ("alert", "state"),
        [
            ("FlaskvstoreGunicornErrors", "firing"),
            ("FlaskvstoreNotReady", "pending"),
            ("FlaskvstoreStoreFails", "pending"),
            ("FlaskvstoreErrorBudgetBurnsFast", "pending"),
        ],
    )
    def test_what_is_wrong_is_noticed(self, stage: Watched, alert: str, state: str) -> None:
        eventually(lambda: stage.prometheus.values(f'ALERTS{{alertname="{alert}",alertstate="{state}"}}'))

    @pytest.mark.parametrize("alert", ["FlaskvstoreNoData", "FlaskvstoreLatencyHigh", "FlaskvstoreWorkersMissing"])
    def test_what_is_right_is_not(self, stage: Watched, alert: str) -> None:
        assert stage.prometheus.values(f'ALERTS{{alertname="{alert}"}}') == []


class TestPrometheus:
    def test_it_has_the_job_of_the_first_readme(self) -> None:
        document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())

        assert document["scrape_configs"] == [
            {"job_name": "flaskvstore_gunicorn", "static_configs": [{"targets": ["statsd-exporter:9102"]}]}
        ]

    def test_promtool_takes_the_configuration_and_the_rules(self) -> None:
        checked = promtool("check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yml")

        assert checked.returncode == 0, checked.stderr
        assert f"{len(RECORDED)} rules found" in checked.stdout
        assert f"{len(ALERTS)} rules found" in checked.stdout

    def test_alerts_fire_when_they_should_and_only_then(self) -> None:
        tested = promtool("test", "rules", PROMETHEUS / "alerts_test.yml")

        assert tested.returncode == 0, tested.stdout

    @pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 1"])
    def test_every_alert_has_a_case_that_fires_and_one_that_does_not(self, tmp_path: Path, expression: str) -> None:
        always_the_same = [{"alert": each["alert"], "expr": expression} for each in ALERTS]
        shutil.copy(PROMETHEUS / "alerts_test.yml", tmp_path)
        # Nothing asks for what is recorded.
        (tmp_path / "rules.yml").write_text("groups: []")
        alerts = {"groups": [{"name": "same", "rules": always_the_same}]}
        (tmp_path / "alerts.yml").write_text(yaml.safe_dump(alerts))

        tested = promtool("test", "rules", tmp_path / "alerts_test.yml")

        assert tested.returncode != 0
        expected = r"exp:\[\]" if expression == "vector(1)" else r"got:\[\]"
        failed = re.findall(rf"alertname: (\w+), time: \w+, \s*(?:exp:\[[^\0]*?\], \s*)?{expected}", tested.stderr)
        assert set(failed) == {each["alert"] for each in ALERTS}

    def test_every_alert_says_how_bad_it_is_and_what_it_means(self) -> None:
        for each in ALERTS:
            assert each["labels"]["severity"] in {"critical", "warning"}
            assert each["annotations"].keys() == {"summary", "description", "runbook_url"}

    def test_every_alert_has_an_entry_in_the_runbook_and_no_other(self) -> None:
        headings = re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)

        assert headings == [each["alert"] for each in ALERTS]
        for each in ALERTS:
            assert each["annotations"]["runbook_url"] == f"monitoring/README.md#{each['alert'].lower()}"

    def test_the_runbook_knows_every_code_with_which_the_store_can_fail_and_no_other(self) -> None:
        codes = {problem.code for error, problem in PROBLEMS.items() if issubclass(error, StoreError)}
        # They have alerts of their own.
        others = {"not_ready", "store_saturated"}

        assert set(re.findall(r"^\| `(\w+)` \|", RUNBOOK, re.MULTILINE)) == codes - others

    def test_every_link_in_the_runbook_leads_somewhere(self) -> None:
        links = re.findall(r"\]\(([^)]+)\)", RUNBOOK)

        anchors = {f"#{each['alert'].lower()}" for each in ALERTS}
        assert [link for link in links if link not in anchors and not (MONITORING / link).exists()] == []

    def test_recorded_names_are_level_metric_and_operation(self) -> None:
        assert all(RECORDED_NAME.fullmatch(each["record"]) for each in RECORDED)


class TestNames:
    """Names in rules, alerts, dashboard and guide are those that are there, in both directions."""

    def test_every_metric_that_is_asked_for_is_exposed(self, stage: Watched) -> None:
        there = set(re.findall(r"^(\w+)[{ ]", stage.exporter.exporter.exposition(), re.MULTILINE))
        asked = [each["expr"] for each in (*RECORDED, *ALERTS)] + [expression for _, expression in expressions()]
        texts = [RECORDED_NAME.sub("", text).replace(f'"{JOB}"', "") for text in asked]

        assert {name for text in texts for name in METRIC_NAME.findall(text)} - there == set()

    def test_every_metric_of_the_mapping_is_on_the_dashboard(self) -> None:
        shown = " ".join(expression for _, expression in expressions())

        mapped = {rule["name"] for rule in DOCUMENT["mappings"] if rule.get("action") != "drop"}
        assert {name for name in mapped if name not in shown} == set()

    def test_every_recorded_name_is_used_and_every_used_one_recorded(self) -> None:
        used = " ".join([*(each["expr"] for each in ALERTS), *(expression for _, expression in expressions())])

        assert set(RECORDED_NAME.findall(used)) == {each["record"] for each in RECORDED}

    def test_every_metric_is_in_the_guide(self) -> None:
        table = set(re.findall(r"^\| `(\w+)`", GUIDE, re.MULTILINE))

        assert table == {rule["name"] for rule in DOCUMENT["mappings"] if rule.get("action") != "drop"}

    def test_every_query_in_the_guide_is_one_of_the_dashboard(self) -> None:
        shown = re.findall(r"^```promql\n(.*?)\n```$", GUIDE, re.MULTILINE | re.DOTALL)

        assert shown
        known = {expression for _, expression in expressions()}
        assert [query for text in shown for query in text.split("\n") if query not in known] == []


class TestPictures:
    def test_the_guide_shows_those_that_are_drawn(self) -> None:
        shown = re.findall(r"^!\[(.+)\]\(images/(.+)\.svg\)$", GUIDE, re.MULTILINE)

        assert shown == [(title, name) for name, title in PLOTS.items()]
        pictures = {path.stem for path in (ROOT / "docs" / "images").iterdir()}
        # The others are of docs/performance.md.
        assert {name for name in pictures if not name.startswith("cost-")} == PLOTS.keys()

    @pytest.mark.parametrize("title", PLOTS.values())
    def test_each_can_be_drawn(self, stage: Watched, title: str) -> None:
        [panel] = [each for each in PANELS if each["title"] == title]
        began = psutil.Process(stage.service.process.pid).create_time()

        def has_data() -> bool:
            now = time.time()
            run = Run(began, now, [((began + now) / 2, "<now>")])
            picture = ET.fromstring(drawn(panel, series_of(stage.prometheus, panel, run), run))  # noqa: S314  # drawn by ourselves
            return len(picture.findall("{*}path") + picture.findall("{*}rect")) > 5

        eventually(has_data)


class TestDashboard:
    """What Grafana's dashboard-linter asks for, and a little more."""

    def test_every_panel_has_a_title_a_unit_and_a_description(self) -> None:
        assert len({panel["title"] for panel in PANELS}) == len(PANELS)
        for panel in PANELS:
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["targets"], panel["title"]

    def test_the_data_source_is_a_variable_everywhere(self) -> None:
        variables = {each["name"]: each["type"] for each in DASHBOARD["templating"]["list"]}
        asking = [*PANELS, *(target for panel in PANELS for target in panel["targets"])]

        assert variables == {"datasource": "datasource", "job": "query"}
        assert all(each["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for each in asking)

    def test_rates_are_over_the_interval_that_grafana_chooses(self) -> None:
        ranges = [
            found for _, text in expressions() for found in re.findall(r"(rate|increase)\([^()]*\[([^]]+)\]", text)
        ]

        assert len(ranges) > 20
        assert {interval for _, interval in ranges} == {"$__rate_interval"}

    def test_every_query_is_for_the_chosen_job(self) -> None:
        for title, expression in expressions():
            selectors = re.findall(r"(?:flaskvstore|http)_\w+(\{[^}]*\})?", RECORDED_NAME.sub("http_x", expression))
            assert selectors, title
            assert all('job=~"$job"' in selector for selector in selectors), (title, expression)

    def test_its_uid_is_fixed_and_its_panels_are_apart(self) -> None:
        cells = [
            (x, y)
            for panel in DASHBOARD["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]

        assert DASHBOARD["uid"] == "flaskvstore"
        assert "id" not in DASHBOARD
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])

    def test_it_is_provisioned_with_its_data_source(self) -> None:
        provisioning = MONITORING / "grafana" / "provisioning"
        [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
        [provider] = yaml.safe_load((provisioning / "dashboards" / "flaskvstore.yml").read_text())["providers"]
        prometheus = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        [chosen] = [each["current"] for each in DASHBOARD["templating"]["list"] if each["name"] == "datasource"]

        assert (source["type"], source["name"], source["uid"]) == ("prometheus", chosen["text"], chosen["value"])
        assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
        assert provider["type"] == "file"
