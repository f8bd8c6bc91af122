"""Vectors of hosts: what each sent and got in an interval, whatever the batches; each packet counts once each way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.feeds.hosts import NUMBERS, Hosts
from monitor.feeds.packets import ACK, ARP, RST, SYN, Packets
from monitor.feeds.vectors import Vectors
from tests.feeds.made import packets

S = 10**9
PLACE = {name.partition(".")[2]: place for place, name in enumerate(NUMBERS)}


def flagged(rows: list[tuple[int, int, int, int, int, int, int]]) -> Packets:
    """Packets from (time in ns, host, other, port, other port, size, flags)."""
    return replace(packets([row[:6] for row in rows]), flags=np.array([row[6] for row in rows], np.uint8))


def told(vectors: Vectors) -> dict[tuple[str, float], dict[str, float]]:
    """By stream and time: what is not 0."""
    return {
        (stream, time): {name: values[place] for name, place in PLACE.items() if values[place]}
        for stream, time, values in zip(vectors.stream, vectors.time.tolist(), vectors.values.tolist(), strict=True)
    }


def test_a_question_and_its_answer_are_counted_at_both_hosts() -> None:
    hosts = Hosts(2, 10)
    rows = [
        (10 * S, 1, 2, 50_000, 80, 60, SYN),
        (10 * S, 2, 1, 80, 50_000, 40, RST | ACK),
        (11 * S, 1, 3, 50_000, 53, 90, 0),
    ]
    assert not len(hosts.update(flagged(rows)))
    found = told(hosts.update(flagged([(12 * S, 9, 9, 1, 1, 1, 0)])))
    assert found == {
        ("10.0.0.1", 12.0): {
            "sent_packets": 1, "sent_bytes": 75, "received_packets": 0.5, "received_bytes": 20, "sent_size": 75,
            "received_size": 40, "targets": 1, "sources": 0.5, "target_ports": 1, "connections_begun": 0.5,
            "resets_received": 0.5, "questions": 0.5, "question_size": 90, "macs": 1,
        },
        ("10.0.0.2", 12.0): {
            "sent_packets": 0.5, "sent_bytes": 20, "received_packets": 0.5, "received_bytes": 30, "sent_size": 40,
            "received_size": 60, "targets": 0.5, "sources": 0.5, "connections_asked": 0.5, "resets_sent": 0.5,
            "macs": 1,
        },
        ("10.0.0.3", 12.0): {
            "received_packets": 0.5, "received_bytes": 45, "received_size": 90, "sources": 0.5, "macs": 1,
        },
    }  # fmt: skip


def test_a_scan_is_many_destination_ports_and_its_answers_are_none() -> None:
    hosts = Hosts(1, 10)
    rows = []
    for port in range(100, 200, 2):
        rows += [(S, 1, 2, 50_000, port, 60, SYN), (S, 2, 1, port, 50_000, 60, RST | ACK)]
    hosts.update(flagged(rows))
    ends = hosts.end()
    ports = dict(zip(ends.stream, ends.values[:, PLACE["target_ports"]].tolist(), strict=True))
    assert ports == {"10.0.0.1": 50, "10.0.0.2": 0}


def test_an_address_with_two_senders_has_two_macs_and_asking_for_a_host_does_not_make_it_one() -> None:
    hosts = Hosts(1, 10)
    some = flagged([(S, 1, 2, 4, 4, 60, 0), (S, 1, 2, 4, 4, 60, 0), (S, 1, 7, 0, 0, 42, 0)])
    mac = some.mac.copy()
    mac[1, 5] = 99
    hosts.update(replace(some, mac=mac, protocol=np.array([6, 6, ARP])))
    found = told(hosts.end())
    assert {stream for stream, _ in found} == {"10.0.0.1", "10.0.0.2"}
    assert found["10.0.0.1", 2.0]["macs"] == 2
    assert found["10.0.0.1", 2.0]["arp"] == 1


@pytest.mark.parametrize(
    ("family", "address"), [(4, (224, 0, 0, 251)), (4, (255, 255, 255, 255)), (6, (0xFF, 2)), (0, (0xFF,) * 6)]
)
def test_an_address_of_many_is_no_host(family: int, address: tuple[int, ...]) -> None:
    hosts = Hosts(1, 10)
    some = flagged([(S, 1, 2, 4, 4, 60, 0)])
    target = np.zeros((1, 16), np.uint8)
    target[0, : len(address)] = address
    hosts.update(replace(some, target=target, family=np.array([family], np.uint8)))
    assert len(hosts.end()) == 1


def test_beyond_the_most_hosts_the_first_of_the_interval_is_told_early_and_nothing_is_lost() -> None:
    hosts = Hosts(1, 2)
    found = [hosts.update(flagged([(S, n, 1, 50, 4, 60, 0) for n in range(2, 6)])), hosts.end()]
    assert hosts.evicted == 4
    assert sum(v.values[:, PLACE["sent_packets"]].sum() for v in found) == 4


row = st.tuples(
    st.sampled_from((0, 10**6, S // 2, 3 * S)),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(((50_000, 80), (80, 50_000), (50_000, 53))),
    st.integers(40, 1500),
    st.sampled_from((0, SYN, ACK, SYN | ACK, RST)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(row, min_size=1, max_size=60), st.integers(1, 9), st.sampled_from((2, 100)))
def test_batches_do_not_matter_and_no_packet_is_lost_or_doubled(rows: list, cut: int, most: int) -> None:  # type: ignore[type-arg]
    time, made = S, []
    for step, host, other, ports, size, flags in rows:
        time += step
        made.append((time, host, other, *ports, size, flags))
    whole, parts = Hosts(1, most), Hosts(1, most)
    at_once = [whole.update(flagged(made)), whole.end()]
    bit_by_bit = [parts.update(flagged(made[n : n + cut])) for n in range(0, len(made), cut)] + [parts.end()]

    def all_of(found: list[Vectors]) -> list[object]:
        return [(v.stream[n], v.time[n], v.values[n].tobytes()) for v in found for n in range(len(v))]

    assert all_of(at_once) == all_of(bit_by_bit)
    for way in ("sent", "received"):
        assert sum(v.values[:, PLACE[f"{way}_packets"]].sum() for v in at_once) == len(rows)
        total = sum(v.values[:, PLACE[f"{way}_bytes"]].sum() for v in at_once)
        assert total == sum(r[4] for r in rows)
    times: dict[str, float] = {}
    for v in at_once:
        for stream, moment in zip(v.stream, v.time.tolist(), strict=True):
            assert moment > times.get(stream, -1)
            times[stream] = moment
