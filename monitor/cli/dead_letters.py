"""`monitor replay --dead-letters`: what was set aside is shown, taken out for correction, and fed back."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.batch import RawRecord, Reason
from monitor.config import Settings
from monitor.dead_letters import DeadLetter, SentBack, from_line, marker, parse, to_line
from monitor.errors import MonitorError, UsageError
from monitor.events import Decoder
from monitor.kafka import history
from monitor.kafka.connect import check_options
from monitor.kafka.feed import Feed
from monitor.kafka.reader import wait_for_open_transactions
from monitor.model import artefact

_TOGETHER = 2_000  # letters of one transaction
_KEY_PICKS = -1


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant."""

    reason: str | None = None
    since: float | None = None  # when it was rejected, s since the Unix epoch

    def __post_init__(self) -> None:
        known = [reason.value for reason in Reason]
        if self.reason is not None and self.reason not in known:
            raise UsageError(f"--reason {self.reason}: no such reason", f"One of {', '.join(known)}.")


@dataclass(slots=True)
class _Tally:
    """Letters by reason: how many, the newest, and what it says."""

    counts: Counter[str] = field(default_factory=Counter)
    newest: dict[str, int] = field(default_factory=dict)  # ms since the Unix epoch
    example: dict[str, str] = field(default_factory=dict)

    def add(self, letter: DeadLetter, reason: str, detail: str) -> None:
        self.counts[reason] += 1
        if letter.rejected_at >= self.newest.get(reason, -1):
            self.newest[reason] = letter.rejected_at
            source = letter.record
            self.example[reason] = f"{source.topic}/{source.partition}/{source.offset}: {detail}{_cut(letter)}"

    def show(self) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("reason")
        table.add_column("letters", justify="right")
        table.add_column("newest (UTC)", no_wrap=True)
        table.add_column("newest one, topic/partition/offset it came from")
        for reason, count in self.counts.most_common():
            moment = datetime.fromtimestamp(self.newest[reason] / 1000, UTC)
            table.add_row(reason, str(count), f"{moment:%Y-%m-%d %H:%M:%S}", Text(self.example[reason]))
        Console(width=None if Console().is_terminal else 120, highlight=False).print(table)


def show(settings: Settings, choice: Choice) -> None:
    """A table by reason of those that were not sent back yet."""
    check_options(settings.kafka)
    sent, tally = _sent_back(settings, choice), _Tally()
    for batch in _letters(settings, choice, sent):
        for letter in batch:
            tally.add(letter, letter.reason, letter.detail)
    before = f"; {sent.count} more were sent back" if sent.count else ""
    click.echo(f"{tally.counts.total()} dead letters in {settings.topics.dead_letters.name}{before}")
    if tally.counts:
        tally.show()
        click.echo("next: --send sends back those that are events now; --export FILE, correct, --send --from FILE")


def export(settings: Settings, choice: Choice, target: Path) -> None:
    """Those that were not sent back yet as NDJSON, into a new file or to standard output (-)."""
    check_options(settings.kafka)
    sent, count = _sent_back(settings, choice), 0
    with _new_file(target) as file:
        for batch in _letters(settings, choice, sent):
            file.writelines(to_line(letter) for letter in batch)
            count += len(batch)
    click.echo(f"{count} dead letters written to {target}; correct them, then: --send --from {target}", err=True)


def send(settings: Settings, choice: Choice, edited: Path | None) -> None:
    """Sends back, once, those that are events under the present model and settings; the others are counted."""
    check_options(settings.kafka)
    manifest = artefact.load(settings.model.path, settings.events.features).manifest
    decoder = Decoder(manifest.feature_names, settings.events, manifest.codes)
    topic, target = settings.topics.dead_letters.name, settings.topics.input.name
    if edited is not None:
        for _ in _edited(edited, topic):  # a bad line is told before any is sent
            pass
    done, twice, kept = 0, 0, _Tally()
    # From here on nobody else sends, and what somebody sent before can be read: each letter goes back once.
    with Feed(settings.kafka, f"{settings.kafka.group}.dead-letters") as feed:
        places = feed.partitions(target)
        wait_for_open_transactions(settings.kafka, topic)
        sent = _sent_back(settings, choice)
        for batch in _letters(settings, choice, sent) if edited is None else _edited(edited, topic):
            fresh = []
            for letter in batch:
                if letter.place in sent:
                    twice += 1
                    continue
                fresh.append(letter)
                if edited is not None:
                    sent.add(letter.place)
            good = _events(fresh, decoder, target, kept)
            if good:
                feed.send([*(_addressed(letter, places) for letter in good), *_markers(topic, good)])
            done += len(good)
    click.echo(f"sent back {done} of {done + kept.counts.total()} dead letters to {target}")
    if twice:
        click.echo(f"{twice} were sent back before, and not again")
    if kept.counts:
        click.echo("not sent, because they still are no events:")
        kept.show()
    if done:
        click.echo(
            "note: they keep their time. An event older than its stream's newest one comes too late for its window: it "
            "is counted in monitor_late_events_total and not scored. The topic's retention counts from that time too"
        )
    elif kept.counts:
        raise MonitorError(
            "no dead letter became an event",
            "Take them out with --export FILE, correct key, value and headers, then --send --from FILE; or change the "
            "model or the events.* settings.",
        )


def _events(letters: Sequence[DeadLetter], decoder: Decoder, target: str, kept: _Tally) -> list[DeadLetter]:
    """Those that the service will take; the others go into `kept`."""
    faults = {id(reject.record): reject for reject in decoder.decode([letter.record for letter in letters]).rejects}
    good = []
    for letter in letters:
        fault = faults.get(id(letter.record))
        if letter.record.topic != target:
            kept.add(letter, "another topic", f"topics.input is {target}")
        elif fault is not None:
            kept.add(letter, fault.reason.value, fault.detail)
        else:
            good.append(letter)
    return good


def _addressed(letter: DeadLetter, places: frozenset[int]) -> RawRecord:
    """To the partition it came from, where its stream's window is; by its key where the topic has that no more."""
    record = letter.again()
    return record if record.partition in places else record._replace(partition=_KEY_PICKS)


def _markers(topic: str, letters: Sequence[DeadLetter]) -> list[RawRecord]:
    offsets: dict[int, list[int]] = {}
    for letter in letters:
        offsets.setdefault(letter.place.partition, []).append(letter.place.offset)
    return [marker(topic, partition, sorted(found)) for partition, found in offsets.items()]


def _cut(letter: DeadLetter) -> str:
    parts = " and ".join(letter.cut)
    return f" (its {parts} did not fit into a dead letter: look there)" if letter.cut else ""


def _sent_back(settings: Settings, choice: Choice) -> SentBack:
    """Markers come after what they mark, so those of the letters since then are since then as well."""
    found = SentBack()
    for batch in history.read(settings.kafka, settings.topics.dead_letters.name, since=choice.since):
        for record in batch:
            found.read(record)
    return found


def _letters(settings: Settings, choice: Choice, sent: SentBack) -> Iterator[list[DeadLetter]]:
    """Those that were not sent back, in the order of their partition."""
    for batch in history.read(settings.kafka, settings.topics.dead_letters.name, since=choice.since):
        found = [letter for letter in map(parse, batch) if letter is not None and letter.place not in sent]
        chosen = [letter for letter in found if choice.reason in (None, letter.reason)]
        for begin in range(0, len(chosen), _TOGETHER):
            yield chosen[begin : begin + _TOGETHER]


def _edited(path: Path, topic: str) -> Iterator[list[DeadLetter]]:
    try:
        with path.open("rb") as file:
            lines = ((f"{path}:{number}", line) for number, line in enumerate(file, 1) if line.strip())
            while some := list(islice(lines, _TOGETHER)):
                letters = [from_line(line, where) for where, line in some]
                for (where, _), letter in zip(some, letters, strict=True):
                    if letter.place.topic != topic:
                        raise UsageError(
                            f"{where}: a dead letter of {letter.place.topic}, and topics.dead_letters is {topic}",
                            "Is this the configuration it was exported with?",
                        )
                yield letters
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        file = path.open("xb")
    except FileExistsError:
        raise UsageError(f"{path} exists already", "It may hold corrections: name another, or remove it.") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)  # half of an export looks like a whole one
        raise
