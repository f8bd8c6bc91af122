"""Grafana's dashboards, made from what is written here: `python -m tests.watching.dashboards` writes the chart's files.

The files are the source for the chart and for deploy/grafana; this module only spares writing the same forty lines of
JSON for each panel. A test holds the files to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "helm/monitor/files/dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Expression and legend of each."""
    kind: str = "timeseries"
    width: int = 8


def lines(title: str, description: str, unit: str, *queries: tuple[str, str], width: int = 8) -> Panel:
    return Panel(title, description, unit, queries, width=width)


def number(title: str, description: str, unit: str, query: str) -> Panel:
    return Panel(title, description, unit, ((query, ""),), "stat", 4)


def rate(name: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({name}{{{JOB}{labels}}}[$__rate_interval]))"


def quantile(q: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({q}, {rate(name + '_bucket', f'{by}le')})"


def over_range(q: float, name: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (increase({name}_bucket{{{JOB}}}[$__range])))"


BOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "overview": (
        "Monitor / Overview",
        (
            number("Members ready", "Members that read their partitions.", "none", f"sum(monitor_ready{{{JOB}}})"),
            number(
                "Open incidents",
                "Anomalies and faults of the data, now.",
                "none",
                f"sum(monitor_open_incidents{{{JOB}}})",
            ),
            number("Streams", "Streams with state.", "none", f"sum(monitor_streams_active{{{JOB}}})"),
            number(
                "Records", "Read per second.", "cps", f"sum(rate(monitor_records_total{{{JOB}}}[$__rate_interval]))"
            ),
            number("Lag", "Records not read yet.", "none", f"sum(monitor_consumer_lag_records{{{JOB}}})"),
            number(
                "Budget burn",
                "Incidents over those the budget allows, last hour; 1 is as planned.",
                "none",
                f"max(monitor_alert_budget_burn_ratio{{{JOB}}})",
            ),
            lines(
                "Throughput",
                "Records read, events decoded and windows scored.",
                "cps",
                (rate("monitor_records_total", "job"), "records"),
                (rate("monitor_events_total", "job"), "events"),
                (rate("monitor_windows_scored_total", "job"), "windows"),
            ),
            lines(
                "Lag by partition",
                "Records between position and end.",
                "none",
                (f"max by (topic, partition) (monitor_consumer_lag_records{{{JOB}}})", "{{topic}} {{partition}}"),
            ),
            lines(
                "Event to alert",
                "From an event's arrival to the acknowledgement of the alert it caused, over the range.",
                "s",
                (
                    over_range(0.5, "monitor_event_to_alert_seconds"),
                    "median",
                ),
                (
                    over_range(0.95, "monitor_event_to_alert_seconds"),
                    "95 %",
                ),
            ),
            lines(
                "Incidents opened",
                "By severity at the opening.",
                "cps",
                (rate("monitor_alerts_total", "severity", ',status="opened"'), "{{severity}}"),
            ),
            lines(
                "Incidents against the budget",
                "Anomalies opened over the range, and what the budget allows.",
                "none",
                (f'sum(increase(monitor_alerts_total{{{JOB},kind="anomaly",status="opened"}}[$__range]))', "opened"),
                (f"sum(increase(monitor_alert_budget_total{{{JOB}}}[$__range]))", "allowed"),
            ),
            lines(
                "Time by stage",
                "Seconds of work per second.",
                "s",
                (rate("monitor_stage_seconds_sum", "stage"), "{{stage}}"),
            ),
        ),
    ),
    "streams": (
        "Monitor / Streams",
        (
            lines(
                "Score against the alert line",
                "Latest score of the worst streams; above 1 is anomalous.",
                "none",
                (f'max by (stream) (monitor_stream_score{{{JOB},stream=~"$stream"}})', "{{stream}}"),
                ("vector(1)", "alert line"),
                width=24,
            ),
            Panel(
                "Worst now",
                "The ten highest scores.",
                "none",
                ((f"topk(10, max by (stream) (monitor_stream_score{{{JOB}}}))", "{{stream}}"),),
                "bargauge",
                12,
            ),
            Panel(
                "Top features",
                "What explained most of the anomalies that opened, over the range.",
                "none",
                (
                    (
                        f"topk(10, sum by (feature) (increase(monitor_incident_features_total{{{JOB}}}[$__range])))",
                        "{{feature}}",
                    ),
                ),
                "bargauge",
                12,
            ),
            lines(
                "Streams",
                "With state, and those whose window is not full yet.",
                "none",
                (f"sum(monitor_streams_active{{{JOB}}})", "active"),
                (f"sum(monitor_streams_warming{{{JOB}}})", "warming"),
                width=12,
            ),
            lines(
                "Come and gone",
                "Streams started and forgotten.",
                "cps",
                (rate("monitor_streams_started_total", "job"), "started"),
                (rate("monitor_streams_evicted_total", "reason"), "{{reason}}"),
                width=12,
            ),
        ),
    ),
    "model": (
        "Monitor / Model and data quality",
        (
            lines(
                "Scores",
                "Quantiles of all scores; 1 is the alert line.",
                "none",
                *((quantile(q, "monitor_score"), f"{q:g}") for q in (0.5, 0.95, 0.999)),
            ),
            lines(
                "Reconstruction error",
                "Quantiles, in units of the model's own on held-out normal rows.",
                "none",
                *((quantile(q, "monitor_reconstruction_error"), f"{q:g}") for q in (0.5, 0.95, 0.999)),
                (f"max(monitor_threshold{{{JOB}}})", "threshold"),
            ),
            lines(
                "Age of the model's knowledge",
                "Since the newest event it learned from.",
                "s",
                (f"time() - min by (instance) (monitor_model_trained_to_timestamp_seconds{{{JOB}}})", "{{instance}}"),
            ),
            lines(
                "Rejected",
                "Records that could not become events.",
                "cps",
                (rate("monitor_rejected_total", "reason"), "{{reason}}"),
            ),
            lines(
                "Faults of the data",
                "Incidents of the data, opened.",
                "cps",
                (rate("monitor_alerts_total", "severity", ',kind="data_quality",status="opened"'), "{{severity}}"),
            ),
            lines(
                "Imputed and unknown",
                "Values that were imputed; categories that training never saw.",
                "cps",
                (rate("monitor_imputed_values_total", "job"), "imputed"),
                (rate("monitor_unknown_categories_total", "job"), "unknown category"),
            ),
            lines(
                "Order of events",
                "Late, doubled, and silences that emptied a window.",
                "cps",
                (rate("monitor_late_events_total", "job"), "late"),
                (rate("monitor_duplicate_events_total", "job"), "doubled"),
                (rate("monitor_gaps_total", "job"), "gaps"),
            ),
            lines(
                "Held back",
                "Anomalous scores that count as normal because of a gate.",
                "cps",
                (rate("monitor_gated_total", "gate"), "{{gate}}"),
            ),
            Panel(
                "Model served",
                "Digest, network and runtime of each member.",
                "none",
                (
                    (
                        f"max by (instance, digest, network, runtime) (monitor_model_info{{{JOB}}})",
                        "{{instance}} {{digest}} {{network}} {{runtime}}",
                    ),
                ),
                "stat",
                8,
            ),
        ),
    ),
    "delivery": (
        "Monitor / Delivery",
        (
            lines(
                "Transactions",
                "By how they ended.",
                "cps",
                (rate("monitor_transactions_total", "result"), "{{result}}"),
            ),
            lines(
                "Failed publishes",
                "By what follows.",
                "cps",
                (rate("monitor_delivery_errors_total", "action"), "{{action}}"),
            ),
            lines(
                "Commits",
                "Offset commits acknowledged.",
                "cps",
                (rate("monitor_commits_total", "instance"), "{{instance}}"),
            ),
            lines(
                "Brokers",
                "Whether they answer; failed talks.",
                "none",
                (f"min by (instance) (monitor_broker_up{{{JOB}}})", "{{instance}} up"),
                (rate("monitor_broker_errors_total", "kind"), "{{kind}}"),
            ),
            lines(
                "Rebalances",
                "Changes of a member's assignment, over the range.",
                "none",
                (f"sum by (instance) (increase(monitor_rebalances_total{{{JOB}}}[$__range]))", "{{instance}}"),
            ),
            lines(
                "Partitions",
                "Assigned, and recovering.",
                "none",
                (f"sum by (instance) (monitor_consumer_partitions{{{JOB}}})", "{{instance}}"),
                (f"sum by (instance) (monitor_partitions_recovering{{{JOB}}})", "{{instance}} recovering"),
            ),
            lines(
                "Recovery left",
                "Records still to be read again.",
                "none",
                (f"sum by (instance) (monitor_recovery_records_left{{{JOB}}})", "{{instance}}"),
            ),
            lines(
                "Recovery time",
                "95 % of the recoveries since the members started: most end before the first scrape.",
                "s",
                (
                    f"histogram_quantile(0.95, sum by (le) (monitor_recovery_seconds_bucket{{{JOB}}}))",
                    "95 %",
                ),
            ),
            lines(
                "Taken over",
                "Partitions by what their windows came from, since the members started.",
                "none",
                (f"sum by (by) (monitor_recovered_partitions_total{{{JOB}}})", "{{by}}"),
            ),
            lines(
                "Lost and short",
                "Records gone before they were read; streams that warm up again; over the range.",
                "none",
                (f"sum(increase(monitor_data_loss_records_total{{{JOB}}}[$__range]))", "lost records"),
                (f"sum(increase(monitor_streams_short_total{{{JOB}}}[$__range]))", "short streams"),
            ),
            lines(
                "Stuck",
                "Partitions that stand still though there is more to read.",
                "none",
                (f"sum(monitor_consumer_partition_stuck{{{JOB}}})", "partitions"),
            ),
            lines(
                "Memory",
                "Resident, per member.",
                "bytes",
                (f"max by (instance) (process_resident_memory_bytes{{{JOB}}})", "{{instance}}"),
            ),
        ),
    ),
}


def dashboard(name: str) -> dict[str, Any]:
    title, panels = BOARDS[name]
    placed, x, y = [], 0, 0
    for number_, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" and panel.width == 4 else 8
        if x + panel.width > 24:
            x, y = 0, y + 8
        placed.append(_panel(number_, panel, {"h": height, "w": panel.width, "x": x, "y": y}))
        x += panel.width
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _variable("job", "Job", "label_values(monitor_build_info, job)"),
    ]
    if name == "streams":
        variables.append(_variable("stream", "Stream", 'label_values(monitor_stream_score{job=~"$job"}, stream)'))
    return {
        "uid": f"monitor-{name}",
        "title": title,
        "tags": ["monitor"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": placed,
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number_: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    return {
        "id": number_,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(65 + i),
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
            }
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def text(name: str) -> str:
    return json.dumps(dashboard(name), indent=2) + "\n"


if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board}.json").write_text(text(board), encoding="utf-8")
