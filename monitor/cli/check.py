"""`monitor check`: everything that can be known to be wrong before the service runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor import detector
from monitor.assembly import assemble
from monitor.cli import config_option, create_command
from monitor.cli.topics import as_table
from monitor.config import Settings, loading
from monitor.errors import MonitorError
from monitor.kafka.connect import check_options
from monitor.kafka.topics import Topics, refuse, refuse_settings


@click.command(epilog="Example: monitor check -c monitor.yaml")
@config_option
@click.option("--offline", is_flag=True, help="Only the file and the artefact; ask no broker.")
def check(config: Path | None, offline: bool) -> None:
    """Validate configuration, artefact, brokers, topics and rights.

    Prints the effective settings, where each comes from, and what was found. Secrets are shown as ********. All checks
    are made even if one fails. Exit code 2 for a bad configuration or artefact, 1 for Kafka.
    """
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    loaded = loading.load_with_origins(config)
    console.print(_settings_table(loaded))
    settings = loaded.settings
    failures = [fault for fault in (_try(console, "artefact", lambda: _artefact(settings)),) if fault]
    if not offline:
        fault = _try(console, "kafka", lambda: _kafka(console, settings, create_command(config)))
        failures += [fault] if fault else []
    if failures:
        raise max(failures, key=lambda fault: fault.exit_code)
    if offline:
        console.print("[green]ok[/green]: configuration and artefact fit; no broker was asked")
    else:
        console.print("[green]ok[/green]: monitor run can start with this configuration")


def _try(console: Console, what: str, step: Callable[[], str]) -> MonitorError | None:
    try:
        console.print(f"[green]ok[/green]    {what}: {escape(step())}")
    except MonitorError as error:
        console.print(f"[red]wrong[/red] {what}: {escape(error.message)}")
        for line in error.hint.splitlines():
            console.print(f"      {line.strip()}", style="dim", markup=False, soft_wrap=True)  # a command stays whole
        return error
    return None


def _settings_table(loaded: loading.Loaded) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for path, value, source in loading.describe(loaded.settings, loaded.origins):
        table.add_row(path, escape(value), escape(source), style="dim" if source == "default" else "")
    return table


def _artefact(settings: Settings) -> str:
    model = detector.load(settings.model.path, settings.model, settings.events.features)
    model.warm()
    pipeline = assemble(settings, model)
    manifest = model.manifest
    shape = f"{manifest.architecture.network}, window {manifest.architecture.window}, {len(manifest.features)} features"
    return f"{settings.model.path}: {shape}, threshold {pipeline.threshold:.4g}, digest {manifest.digest[:12]}"


def _kafka(console: Console, settings: Settings, create: str) -> str:
    check_options(settings.kafka)
    with Topics(settings.kafka, settings.topics, settings.outputs) as client:
        states = client.inspect()
        console.print(as_table(states))
        refuse(states, settings.kafka, create)
        problem = client.group_problem()
        if problem:
            raise MonitorError(problem, "Give this user READ on the group.")
        refuse_settings(client, settings.kafka, settings.delivery)
        if settings.delivery == "exactly_once" and (fault := client.known_fault()):
            console.print(f"[yellow]note[/yellow]  kafka: {fault}; see docs/reliability.md", soft_wrap=True)
    can = "transactions can be used" if settings.delivery == "exactly_once" else "no transactions are asked for"
    found = f"{len(states)} topics"
    return f"{settings.kafka.bootstrap_servers}: {found} and group {settings.kafka.group!r} can be used; {can}"
