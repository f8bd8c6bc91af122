"""`monitor topics`: what must exist, what exists, and the difference made."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from monitor.cli import config_option, create_command
from monitor.config import loading
from monitor.errors import MonitorError
from monitor.kafka.connect import check_options
from monitor.kafka.topics import Topics, TopicState


@click.command(epilog="Example: monitor topics --create -c monitor.yaml")
@config_option
@click.option("--create", is_flag=True, help="Create the missing ones as the configuration says.")
def topics(config: Path | None, create: bool) -> None:
    """Show the topics (input, alerts, dead letters, state, outputs), or create them.

    The one for state is compacted and gets as many partitions as the input has. Topics that exist are never changed.
    Exit code 1 when one is missing or cannot be used as it is.
    """
    settings = loading.load(config)
    check_options(settings.kafka)
    with Topics(settings.kafka, settings.topics, settings.outputs) as client:
        states = client.inspect()
        missing = [state for state in states if state.missing]
        if create and missing:
            client.create(missing)
            states = client.inspect()
    Console(width=None if Console().is_terminal else 120).print(as_table(states))
    wrong = [state for state in states if state.missing or state.problem]
    if wrong:
        names = ", ".join(state.spec.name for state in wrong)
        hints = dict.fromkeys(state.hint(create_command(config)) for state in wrong)
        raise MonitorError(f"{settings.kafka.bootstrap_servers}: cannot run with {names} as it is", "\n  ".join(hints))


def as_table(states: list[TopicState]) -> Table:
    """Purpose, name, shape and state of each topic."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("purpose", "topic", "partitions", "replication", "cleanup", "state"):
        table.add_column(column, justify="right" if column in {"partitions", "replication"} else "left")
    read = next((state.partitions for state in states if state.purpose == "input"), None)
    for state in states:
        table.add_row(
            state.purpose,
            state.spec.name,
            "-" if state.missing else str(state.partitions),
            "-" if state.missing else str(state.replication),
            state.cleanup or "-",
            f"[red]{state.problem}[/red]" if state.problem else f"[green]ok[/green]{_differences(state, read)}",
        )
    return table


def _differences(state: TopicState, read: int | None) -> str:
    """Where an existing topic is not of the configured shape, or that for state not of the input's (`read` partitions).

    Worth knowing, and never an error: the state of a partition has its place however many there are.
    """
    spec = state.spec
    found = ""
    if state.purpose == "state":
        found += f", the input has {read} partitions" if read and state.partitions != read else ""
    elif state.partitions != spec.partitions:
        found += f", {spec.partitions} partitions configured"
    if spec.replication not in (-1, state.replication):
        found += f", replication {spec.replication} configured"
    return found
