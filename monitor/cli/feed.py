"""`monitor feed`: captures, interfaces, tables and sensors -> events on the input topic, or on standard output."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from monitor.cli import INTERRUPTED, config_option, create_command
from monitor.cli.feeding import Display, InputTopic, Passes, Sink, StandardOutput, Told, drive, rate
from monitor.cli.stopping import stopping
from monitor.config import Settings, loading
from monitor.errors import MonitorError, UsageError
from monitor.feeds import descriptions, sources
from monitor.feeds.columns import expand
from monitor.feeds.files import Mapping
from monitor.feeds.interface import Interface
from monitor.feeds.joining import Joiner
from monitor.feeds.pacing import Pace
from monitor.kafka.connect import check_options
from monitor.kafka.feed import Feed
from monitor.kafka.topics import Topics
from monitor.model.manifest import Manifest

_EXAMPLES = """\b
Example: monitor feed capture.pcapng -c monitor.yaml
         tcpdump -U -w - | monitor feed - --vectors flows --stdout"""
_KINDS = "packets, flows or hosts; else feed.vectors."


@click.command(epilog=_EXAMPLES)
@click.argument("patterns", nargs=-1, metavar="[FILES|-]...")
@config_option
@click.option("--interface", metavar="NAME", help="Listen there instead; needs CAP_NET_RAW.")
@click.option("--stdout", is_flag=True, help="NDJSON on standard output; no Kafka.")
@click.option("--vectors", type=click.Choice(["packets", "flows", "hosts"]), metavar="KIND", help=_KINDS)
@click.option("--stream", type=click.Choice(["host", "channel"]), help="Whose stream; else feed.stream.")
@click.option("--pace", default="max", metavar="P", help="max (default), recorded, or a factor: 10.")
@click.option("--now", is_flag=True, help="Shift times: the first event is now.")
@click.option("--loop", is_flag=True, help="Over and over, later each time.")
@click.option("--from", "begin", type=click.IntRange(min=0), default=0, metavar="N", help="Go on at event N.")
@click.option("--stream-column", metavar="NAME", help="Where it is not called stream.")
@click.option("--time-column", metavar="NAME", help="Where it is not called time.")
@click.option("--features", metavar="A,B", help="Columns to send; else all numeric ones.")
@click.option("--ignore", metavar="A,B", help="Columns to leave out.")
@click.option("--describe", is_flag=True, help="Print the features: name, unit, meaning.")
@click.option("--json", "as_json", is_flag=True, help="With --describe: as JSON.")
def feed(
    patterns: tuple[str, ...],
    config: Path | None,
    interface: str | None,
    stdout: bool,
    vectors: str | None,
    stream: str | None,
    pace: str,
    now: bool,
    loop: bool,
    begin: int,
    stream_column: str | None,
    time_column: str | None,
    features: str | None,
    ignore: str | None,
    describe: bool,
    as_json: bool,
) -> None:
    """Send captures, packets, sensors or tables as events to the input topic."""
    given = {name: value for name, value in (("vectors", vectors), ("stream", stream)) if value}
    settings = loading.load(config, overrides={"feed": given} if given else None)
    if describe:
        _describe(settings, as_json=as_json)
        return
    live = interface is not None or patterns == ("-",)
    _check(patterns, interface, live=live, loop=loop, begin=begin, as_json=as_json)
    mapping = Mapping(
        stream_column,
        time_column,
        _names(features) if features is not None else _wanted(settings),
        _names(ignore or ""),
        category=settings.training.is_category,
    )
    for difference in _trained_otherwise(settings):
        click.echo(f"note: the model in {settings.model.path} was trained with other settings: {difference}", err=True)
    told = Told()
    wish = _Wish()
    with ExitStack() as stack:
        stop = stack.enter_context(stopping(wish))
        source = _source(stack, patterns, interface, mapping, settings, stop)
        sink: Sink = StandardOutput()
        if not stdout:
            codec = settings.events.codec
            if codec == "float32":
                raise UsageError(
                    "events.codec is float32, which has times of whole milliseconds, and no names",
                    "Feed into a topic of json or msgpack.",
                )
            _check_topic(settings, config)  # a topic that is missing is told before anything is read
            sink = InputTopic(stack.enter_context(Feed(settings.kafka, large=True)), settings.topics.input.name, codec)
        display = stack.enter_context(Display(source))
        wish.told = display.stopping
        try:
            drive(
                iter(Passes(source, loop=loop, now=time.time() if now else None)),
                sink,
                Pace.parse(pace),
                told,
                begin=begin,
                stop=stop,
                progress=display,
            )
        except BaseException as error:
            if not isinstance(error, BrokenPipeError):
                stack.close()
                _report(source, told, settings, stdout=stdout, resumable=not live)
            raise
        interrupted = stop()
    _report(source, told, settings, stdout=stdout, resumable=not live and interrupted)
    if interrupted and not live:
        click.get_current_context().exit(INTERRUPTED)
    if not told.next and not interrupted:
        raise MonitorError("there was nothing to send", "See the notes above; what is accepted: monitor feed --help")


class _Wish:
    """What to say when a signal comes; there is a display only later."""

    def __init__(self) -> None:
        self.told: Any = None

    def __call__(self) -> None:
        if self.told is not None:
            self.told()


def _check(
    patterns: tuple[str, ...],
    interface: str | None,
    *,
    live: bool,
    loop: bool,
    begin: int,
    as_json: bool,
) -> None:
    if interface is not None and patterns:
        raise UsageError(f"--interface and a file ({patterns[0]})", "Feed one of them.")
    if interface is None and not patterns:
        raise UsageError("nothing to feed", "Name files, - for standard input, or --interface NAME.")
    if "-" in patterns and len(patterns) > 1:
        raise UsageError("standard input and files", "Feed one of them.")
    for flag, value in (("--loop", loop), ("--from", begin)):
        if value and live:
            raise UsageError(f"{flag} is for files", "What has passed on a pipe or an interface cannot be read again.")
    if as_json:
        raise UsageError("--json is for --describe", "Events are JSON anyway: --stdout prints them.")


def _check_topic(settings: Settings, config: Path | None) -> None:
    check_options(settings.kafka)
    with Topics(settings.kafka, settings.topics) as topics:
        state = next(state for state in topics.inspect() if state.purpose == "input")
    if state.missing:
        where = settings.kafka.bootstrap_servers
        raise MonitorError(f"topic {state.spec.name!r} does not exist on {where}", state.hint(create_command(config)))


def _trained_otherwise(settings: Settings) -> tuple[str, ...]:
    """Where the configuration names a model that learned from a feed: what of the feed has changed since."""
    try:
        manifest = Manifest.model_validate_json((settings.model.path / "manifest.json").read_bytes())
    except (OSError, ValueError):  # there is none yet: these rows may be what it will learn from
        return ()
    return () if manifest.feed is None else descriptions.differences(manifest.feed, settings.feed)


def _wanted(settings: Settings) -> tuple[str, ...] | None:
    """The columns that the configuration says are sent; with joined sensors the columns are theirs."""
    if settings.events.features is None or settings.feed.join.sensors:
        return None
    return tuple(settings.events.features)


def _source(
    stack: ExitStack,
    patterns: tuple[str, ...],
    interface: str | None,
    mapping: Mapping,
    settings: Settings,
    stop: sources.Stop,
) -> sources.Source:
    if interface is not None:
        opened = Interface(interface)
        stack.callback(opened.close)
        return sources.LiveInterface(opened, settings.feed, stop)
    if patterns == ("-",):
        return sources.of_pipe(sys.stdin.fileno(), mapping, settings.feed, stop)
    return sources.of_files(expand(patterns), mapping, settings.feed)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _report(source: sources.Source, told: Told, settings: Settings, *, stdout: bool, resumable: bool) -> None:
    for line in (*source.tally.lines(), *source.notes()):
        click.echo(f"note: {line}", err=True)
    where = "standard output" if stdout else settings.topics.input.name
    skipped = f", {told.skipped:,} passed over" if told.skipped else ""
    click.echo(f"sent {told.sent:,} events to {where}{skipped}, {rate(told)}", err=True)
    if resumable and told.next:
        click.echo(f"to go on: the same command with --from {told.next}", err=True)


def _describe(settings: Settings, *, as_json: bool) -> None:
    feed = settings.feed
    if feed.join.sensors:
        found = descriptions.of_sensors(Joiner(feed.join).names, feed.join)
    else:
        found = descriptions.of_capture(feed)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("feature", "unit", "meaning"):
        table.add_column(heading, no_wrap=heading != "meaning")
    for one in found:
        table.add_row(one.name, "category" if one.category else one.unit or "-", one.meaning)
    Console(width=None if Console().is_terminal else 150, highlight=False).print(table)
