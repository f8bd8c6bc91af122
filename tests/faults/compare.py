"""What a reader of the alert topic saw against what it should have seen: per stream, in order, as bytes. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

Stream = tuple[int, str]  # input partition, stream


@dataclass(frozen=True, slots=True)
class Difference:
    """Counts of messages; all of them zero is equality."""

    lost: int = 0
    doubled: int = 0
    different: int = 0  # of the same id, with other bytes; or of an id that should not be there
    order: int = 0  # streams whose messages came in another order

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def __add__(self, other: Difference) -> Difference:
        return Difference(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name)} {field.name}" for field in fields(self))


def by_stream(values: Iterable[bytes]) -> dict[Stream, list[bytes]]:
    """Alerts in the order in which they stand in the topic -> of each stream, in that order."""
    found: dict[Stream, list[bytes]] = {}
    for value in values:
        alert = json.loads(value)
        found.setdefault((alert["evidence"]["partition"], alert["stream"]), []).append(value)
    return found


def compare(
    expected: Mapping[Stream, Sequence[bytes]], got: Mapping[Stream, Sequence[bytes]], *, repeats: bool = False
) -> Difference:
    """`repeats`: what at-least-once delivery promises. A repeat of an id, with the same bytes, is then left out."""
    total = Difference()
    for stream in sorted(expected.keys() | got.keys()):
        wanted, seen = list(expected.get(stream, ())), list(got.get(stream, ()))
        if repeats:
            seen = list(dict.fromkeys(seen))
        total += _compare_one(wanted, seen)
    return total


def _compare_one(wanted: Sequence[bytes], seen: Sequence[bytes]) -> Difference:
    if wanted == seen:
        return Difference()
    ids, wanted_ids = [_id(value) for value in seen], [_id(value) for value in wanted]
    bytes_of = dict(zip(wanted_ids, wanted, strict=True))
    different = sum(bytes_of.get(name) != value for name, value in zip(ids, seen, strict=True))
    doubled = sum(number - 1 for number in Counter(ids).values())
    lost = len(bytes_of.keys() - set(ids))
    kept = [name for name in dict.fromkeys(ids) if name in bytes_of]
    order = kept != [name for name in wanted_ids if name in set(kept)]
    return Difference(lost, doubled, different, int(order))


def compare_counted(expected: Counter[Hashable], got: Counter[Hashable], *, repeats: bool = False) -> Difference:
    """The same for things without an order, such as dead letters by what they say of themselves."""
    lost = sum((expected - got).values())
    more = got - expected
    doubled = 0 if repeats else sum(number for thing, number in more.items() if thing in expected)
    different = sum(number for thing, number in more.items() if thing not in expected)
    return Difference(lost, doubled, different)


def _id(value: bytes) -> str:
    return str(json.loads(value)["id"])
