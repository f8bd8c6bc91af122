"""`monitor forward`: wires one member that sends alerts on, and lets it run until a signal."""

from __future__ import annotations

import time
from pathlib import Path

import click
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from monitor import logs
from monitor.cli import config_option
from monitor.cli.failing import failures_logged
from monitor.cli.stopping import stopping
from monitor.collectors import Families
from monitor.config import Settings, loading
from monitor.forward.forwarder import Forwarder
from monitor.forward.metrics import PREFIX, ForwardMetrics
from monitor.forward.receiver import receiver
from monitor.health import Health
from monitor.kafka.connect import check_options
from monitor.kafka.subscription import Subscription
from monitor.web.server import Probes

log = logs.get("forward")


@click.command(epilog="Example: monitor forward -c monitor.yaml --url http://alertmanager:9093")
@config_option
@click.option("--to", type=click.Choice(["alertmanager", "webhook"]), help="What listens there; forward.to.")
@click.option("--url", help="Its address; forward.url.")
def forward(config: Path | None, to: str | None, url: str | None) -> None:
    """Send alerts on to Alertmanager or a webhook, until SIGTERM or SIGINT.

    In order per stream, and at least once: what the receiver has answered is committed, in a consumer group of its own.
    While the receiver is away it waits, and loses nothing. An incident is one alert of Alertmanager's, which ends when
    the incident closes. A webhook gets each alert as published, with the headers of a CloudEvent. Probes and metrics
    are on web.port.
    """
    overrides = {"forward": {"to": to, "url": url}}
    flags = {"forward.to": "--to", "forward.url": "--url"}
    settings = loading.load_with_origins(config, overrides=overrides, flags=flags).settings
    as_json = logs.configure(settings.log.format, settings.log.level)
    with failures_logged(log, as_json=as_json):
        serve(settings)


def serve(settings: Settings) -> None:
    """Runs one member until it is told to stop."""
    check_options(settings.kafka)
    target = receiver(settings.forward)
    topic = settings.topics.alerts.name
    group = settings.forward.group or f"{settings.kafka.group}.forward"
    registry = CollectorRegistry()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as the service does
    metrics = ForwardMetrics(Families(PREFIX, registry))
    ProcessCollector(registry=registry)
    health = Health(settings.web.stuck_after, time.monotonic)

    def connect() -> Subscription:
        return Subscription(settings.kafka, topic, group, settings.forward.start_at)

    forwarder = Forwarder(settings.forward, topic, connect, target, metrics, health)

    def stop() -> None:
        forwarder.stop()
        log.info("stopping")

    web = Probes(
        settings.web.host, settings.web.port, registry, lambda: (forwarder.state, forwarder.reasons), health.stuck
    )
    with stopping(stop):
        web.start()
        log.info(
            "started",
            to=settings.forward.to,
            url=target.where,
            topic=topic,
            group=group,
            http=f"http://{settings.web.host}:{web.port}",
        )
        try:
            forwarder.run()
        finally:
            web.close()
