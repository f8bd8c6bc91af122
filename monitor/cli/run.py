"""`monitor run`: wires the parts of one member and lets it serve until a signal."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType

import click
from prometheus_client import CollectorRegistry

from monitor import detector, logs, memory_limit
from monitor.assembly import assemble
from monitor.cli import config_option, create_command
from monitor.cli.failing import failures_logged
from monitor.config import Settings, loading
from monitor.health import Health
from monitor.kafka.connect import check_options
from monitor.kafka.sink import KafkaSink
from monitor.kafka.source import KafkaSource
from monitor.kafka.topics import require
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.service import Ends, Service
from monitor.snapshot_file import Identity
from monitor.snapshots import Snapshots
from monitor.web.server import Web

log = logs.get("run")


@click.command(epilog="Example: monitor run -c monitor.yaml")
@config_option
def run(config: Path | None) -> None:
    """Serve: read events, publish incidents, export metrics, until SIGTERM or SIGINT.

    Goes on where the group stopped, with windows and open incidents as they were. The first signal finishes the batch
    in hand, commits and leaves the group; a second one ends at once. Brokers that are away are waited for. Probes,
    metrics and the status page are on web.port.
    """
    settings = loading.load(config)
    as_json = logs.configure(settings.log.format, settings.log.level)
    with failures_logged(log, as_json=as_json):
        serve(settings, str(config) if config else "")


def serve(settings: Settings, config_name: str) -> None:
    """Runs one member until it is told to stop."""
    check_options(settings.kafka)
    model = detector.load(settings.model.path, settings.model, settings.events.features)
    model.warm()
    manifest = model.manifest
    pipeline = assemble(settings, model, time.perf_counter)
    health = Health(settings.web.stuck_after, time.monotonic)
    registry = CollectorRegistry()
    metrics = Metrics(registry, manifest, settings)
    metrics.model_loaded(time.time())
    metrics.memory_limited(memory_limit.read())
    web = Web(settings.web.host, settings.web.port, registry, lambda: health.status, health.stuck)
    create = create_command(config_name)

    def connect() -> Ends:
        require(settings.kafka, settings.topics, create, settings.delivery, settings.outputs)
        source = KafkaSource(settings.kafka, settings.topics, settings.recovery)
        sink = KafkaSink(settings.kafka, settings.topics, settings.delivery, source, settings.outputs)
        try:
            sink.open()
        except BaseException:  # another attempt makes a new source
            source.close()
            raise
        folder = settings.recovery.state_dir
        if folder is None:
            return Ends(source, sink)
        return Ends(source, sink, lambda: _snapshots(folder, settings, pipeline, source.topic_id))

    service = Service(settings, manifest, pipeline, connect, metrics, health)
    _stop_on_signals(service)
    web.start()
    log.info(
        "started",
        model=manifest.digest[:12],
        network=manifest.architecture.network,
        window=manifest.architecture.window,
        features=len(manifest.features),
        threshold=pipeline.threshold,
        runtime=settings.model.runtime,
        config=settings.digest()[:12],
        http=f"http://{settings.web.host}:{web.port}",
    )
    try:
        service.run()
    finally:
        web.close()


def _snapshots(folder: Path, settings: Settings, pipeline: Pipeline, topic_id: str) -> Snapshots:
    identity = Identity(
        settings.topics.input.name,
        topic_id,
        settings.kafka.group,
        pipeline.features,
        pipeline.store.window,
        pipeline.store.columns,
    )
    return Snapshots(folder, identity, settings.recovery.max_replay)


def _stop_on_signals(service: Service) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, _end_at_once)
        service.stop()
        log.info("stopping", signal=signal.Signals(number).name)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    # Nothing to tidy: what is not committed is read again.
    os._exit(128 + number)
