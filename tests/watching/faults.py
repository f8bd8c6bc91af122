"""A fault for each alert: the series that show it, and when it must fire; promtool's test files are made from these."""

from __future__ import annotations

from dataclasses import dataclass

M = 'job="monitor",instance="a"'
F = 'job="forward",instance="b"'
P = f'{M},topic="events",partition="0"'
ALIVE = {f"up{{{M}}}": "1x9999", f'monitor_build_info{{{M},version="1"}}': "1x9999"}


@dataclass(frozen=True, slots=True)
class Fault:
    """Series, a sample a minute, of something wrong from minute 60 on."""

    alert: str
    series: dict[str, str]
    quiet_until: str
    """It must not fire yet."""
    fires_by: str
    """It must fire."""


FAULTS = (
    Fault("MonitorDown", {f"up{{{M}}}": "1x60 0x600", f"monitor_build_info{{{M}}}": "1x60"}, "62m", "64m"),
    Fault("MonitorAbsent", {f"monitor_build_info{{{M}}}": "1x60"}, "62m", "75m"),
    Fault("MonitorNotReady", {f"monitor_ready{{{M}}}": "1x60 0x600"}, "70m", "72m"),
    Fault("MonitorBrokersAway", {f"monitor_broker_up{{{M}}}": "1x60 0x600"}, "65m", "67m"),
    Fault("MonitorPartitionStuck", {f"monitor_consumer_partition_stuck{{{P}}}": "0x60 1x600"}, "65m", "67m"),
    Fault(
        "MonitorLagging",
        {
            f"monitor_consumer_lag_records{{{P}}}": "20x60 600+600x600",
            f"monitor_consumer_position_offset{{{P}}}": "0+600x600",
        },
        "70m",
        "80m",
    ),
    Fault(
        "MonitorLagging",  # nothing moves at all
        {f"monitor_consumer_lag_records{{{P}}}": "0x60 10x600", f"monitor_consumer_position_offset{{{P}}}": "600x700"},
        "70m",
        "80m",
    ),
    Fault(
        "MonitorDeadLetters",
        {
            f"monitor_records_total{{{M}}}": "0+600x600",
            f'monitor_rejected_total{{{M},reason="not_json"}}': "0x60 0+100x600",
        },
        "70m",
        "95m",
    ),
    Fault("MonitorDataLoss", {f"monitor_data_loss_records_total{{{M}}}": "0x60 500x600"}, "60m", "62m"),
    Fault(
        "MonitorDataLoss",  # lost at the start: the counter is above 0 when it is seen first
        {f"monitor_data_loss_records_total{{{M}}}": "_x60 500x600"},
        "59m",
        "62m",
    ),
    Fault(
        "MonitorBudgetBurnFast",
        {
            f"monitor_alert_budget_total{{{M}}}": "0+0.0069444x900",
            f'monitor_alerts_total{{{M},kind="anomaly",status="opened",severity="major"}}': "0x400 0+1x500",
        },
        "400m",
        "450m",
    ),
    Fault(
        "MonitorBudgetBurnSlow",
        {
            f"monitor_alert_budget_total{{{M}}}": "0+0.0069444x9000",
            f'monitor_alerts_total{{{M},kind="anomaly",status="opened",severity="major"}}': "0x60 0+0.03x8940",
        },
        "65m",
        "5000m",
    ),
    Fault(
        "MonitorNoEvents",
        {
            f"monitor_records_total{{{M}}}": "0+600x60 36000x600",
            f"monitor_consumer_partitions{{{M}}}": "1x700",
            f"monitor_consumer_lag_records{{{P}}}": "0x700",
        },
        "85m",
        "95m",
    ),
    Fault(
        "MonitorModelOld",
        {f"monitor_model_trained_to_timestamp_seconds{{{M}}}": "-7775000x600"},  # 90 days before minute 17
        "30m",
        "90m",
    ),
    Fault(
        "MonitorTransactionsFailing",
        {
            f'monitor_transactions_total{{{M},result="committed"}}': "0+60x600",
            f'monitor_transactions_total{{{M},result="failed"}}': "0x60 0+20x600",
        },
        "70m",
        "95m",
    ),
    Fault(
        "MonitorRestarts",
        {f"process_start_time_seconds{{{M}}}": "0x60 3600x9 4200x9 4800x600", **ALIVE},
        "75m",
        "81m",
    ),
    Fault(
        "MonitorForwardDown",
        {f"up{{{F}}}": "1x60 0x600", f'monitor_forward_build_info{{{F},version="1"}}': "1x60"},
        "65m",
        "67m",
    ),
    Fault("MonitorForwardFailing", {f"monitor_forward_ready{{{F}}}": "1x60 0x600"}, "65m", "67m"),
    Fault(
        "MonitorForwardRefused", {f'monitor_forward_alerts_total{{{F},result="refused"}}': "0x60 1x600"}, "60m", "62m"
    ),
    Fault(
        "MonitorMemory",
        {
            f"process_resident_memory_bytes{{{M}}}": "500x60 950x600",
            f"monitor_memory_limit_bytes{{{M}}}": "1000x700",
        },
        "75m",
        "78m",
    ),
)
