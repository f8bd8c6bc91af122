"""`monitor demo`: the whole program once, on real data and a real Kafka."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from monitor.demo.cut import Cut
from monitor.demo.packets import Packets
from monitor.demo.story import PACE, Story
from monitor.errors import MonitorError


@click.command(epilog="Example: monitor demo --keep")
@click.option(
    "--bootstrap",
    envvar=["MONITOR_KAFKA__BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP"],
    metavar="HOST:PORT",
    help="A Kafka that runs; also $KAFKA_BOOTSTRAP. Else one is started.",
)
@click.option("--keep", is_flag=True, help="Leave it up to look at, until Ctrl+C.")
@click.option("--packets", is_flag=True, help="A capture of a network instead.")
@click.option("--pace", type=click.FloatRange(10, 100_000), default=PACE, show_default=True, help="Records a second.")
def demo(bootstrap: str | None, packets: bool, keep: bool, pace: float) -> None:
    """See it work: real Kafka, real data, a minute or two.

    Trains on the normal part of a real data set, runs the service on a real Kafka, feeds it the labelled part, stops it
    and compares the incidents in the alert topic with the labels. Exit code 1 when it falls short of the promise.
    With --packets the same of a capture of a small network, through `monitor feed`.

    Writes into the cache folder only ($MONITOR_CACHE, else ~/.cache/monitor). Afterwards nothing runs and nothing but
    Kafka's program files stays; with --keep the demo's own files do, until the next one.
    """
    cut = Cut()
    cut.install()
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 100)
    try:
        stage = (
            Packets(console, bootstrap, keep=keep, cut=cut)
            if packets
            else Story(console, bootstrap, pace, keep=keep, cut=cut)
        )
        stage.tell()
    except MonitorError:
        cut.check()  # what a signal broke is no failure
        raise
