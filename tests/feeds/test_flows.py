"""Flows: each packet is in one vector, whatever the batches; time-outs are the packets' own time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.feeds.flows import NUMBERS, Flows, port
from monitor.feeds.packets import ACK, FIN, PSH, RST, SYN, Packets
from monitor.feeds.vectors import Vectors
from tests.feeds.made import packets

S = 10**9


def flagged(rows: list[tuple[int, int, int, int, int, int, int]]) -> Packets:
    """Packets from (time in ns, host, other, port, other port, size, flags)."""
    return replace(packets([row[:6] for row in rows]), flags=np.array([row[6] for row in rows], np.uint8))


def told(vectors: Vectors, row: int = 0) -> dict[str, object]:
    return dict(zip(NUMBERS, vectors.values[row].tolist(), strict=True)) | {n: c[row] for n, c in vectors.text.items()}


CONVERSATION = flagged(
    [
        (1 * S, 1, 2, 50_000, 80, 60, SYN),
        (2 * S, 2, 1, 80, 50_000, 60, SYN | ACK),
        (4 * S, 1, 2, 50_000, 80, 540, ACK | PSH),
        (5 * S, 2, 1, 80, 50_000, 1500, ACK | FIN),
        (6 * S, 1, 2, 50_000, 80, 60, ACK | FIN),
        (7 * S, 2, 1, 80, 50_000, 60, ACK),
        (50 * S, 3, 3, 1, 1, 60, 0),
    ]
)


def test_a_conversation_is_one_vector_from_its_first_packet_to_its_last() -> None:
    flows = Flows("channel", 60, 15, 10)
    found = flows.update(CONVERSATION)
    assert (list(found.stream), found.time.tolist()) == (["10.0.0.1>10.0.0.2"], [7 + 15])
    assert told(found) == pytest.approx(
        {
            "flow.duration": 6,
            "flow.forward_packets": 3,
            "flow.backward_packets": 3,
            "flow.forward_bytes": 660,
            "flow.backward_bytes": 1620,
            "flow.forward_size_mean": 220,
            "flow.forward_size_deviation": np.std([60, 540, 60]),
            "flow.backward_size_mean": 540,
            "flow.backward_size_deviation": np.std([60, 1500, 60]),
            "flow.size_min": 60,
            "flow.size_max": 1500,
            "flow.gap_mean": 1.2,
            "flow.gap_deviation": 0.4,
            "flow.gap_max": 2,
            "flow.fin": 2,
            "flow.syn": 2,
            "flow.rst": 0,
            "flow.psh": 1,
            "flow.ack": 5,
            "flow.urg": 0,
            "flow.backward_packet_share": 0.5,
            "flow.backward_byte_share": 1620 / 2280,
            "flow.packet_rate": 1,
            "flow.byte_rate": 380,
            "flow.protocol": "tcp",
            "flow.source_port": "dynamic",
            "flow.target_port": "80",
            "flow.end": "closed",
        }
    )


def test_a_long_flow_is_told_each_active_time_out_in_its_own_direction() -> None:
    rows = [(n * S, *((1, 2, 80, 444) if n % 2 else (2, 1, 444, 80)), 100, 0) for n in range(1, 26)]
    flows = Flows("host", 10, 15, 10)
    found, rest = flows.update(flagged(rows)), flows.end()
    assert [*found.text["flow.end"], *rest.text["flow.end"]] == ["active", "active", "stopped"]
    assert found.time.tolist() == [11, 21]
    assert found.values[:, 1:3].tolist() == [[5, 5], [5, 5]]  # both begin with the host that began the flow
    assert set(found.stream) == {"10.0.0.1"}


def test_a_reset_ends_a_flow_and_a_new_connection_of_the_same_ports_is_another() -> None:
    there, back = (1, 2, 50_000, 80), (2, 1, 80, 50_000)
    rows = [(1 * S, *there, 60, SYN), (2 * S, *back, 60, RST | ACK), (3 * S, *there, 60, SYN), (4 * S, *back, 60, ACK)]
    flows = Flows("host", 60, 15, 10)
    assert flows.update(flagged(rows)).text["flow.end"] == ["closed"]
    assert flows.end().text["flow.end"] == ["stopped"]


def test_beyond_the_most_flows_the_longest_silent_is_told_early() -> None:
    flows = Flows("host", 60, 15, 3)
    found = flows.update(flagged([(n * S, 1, n, 80, 444, 60, 0) for n in range(1, 6)]))
    assert list(found.text["flow.end"]) == ["evicted", "evicted"]
    assert flows.evicted == 2


row = st.tuples(
    st.sampled_from((0, 10**6, S, 4 * S, 20 * S)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(((50_000, 80), (80, 50_000), (53, 53))),
    st.integers(40, 1500),
    st.sampled_from((0, SYN, ACK, SYN | ACK, FIN | ACK, RST)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(row, min_size=1, max_size=60), st.integers(1, 9), st.sampled_from((1, 2, 100)))
def test_batches_do_not_matter_and_no_packet_is_lost_or_doubled(rows: list, cut: int, most: int) -> None:  # type: ignore[type-arg]
    time, made = S, []
    for step, host, other, ports, size, flags in rows:
        time += step
        made.append((time, host, other, *ports, size, flags))
    whole, parts = Flows("host", 10, 5, most), Flows("host", 10, 5, most)
    at_once = [whole.update(flagged(made)), whole.end()]
    bit_by_bit = [parts.update(flagged(made[n : n + cut])) for n in range(0, len(made), cut)] + [parts.end()]

    def all_of(found: list[Vectors]) -> list[object]:
        return [
            (v.stream[n], v.time[n], v.values[n].tobytes(), tuple(c[n] for c in v.text.values()))
            for v in found
            for n in range(len(v))
        ]

    assert all_of(at_once) == all_of(bit_by_bit)
    assert sum(v.values[:, 1:3].sum() for v in at_once) == len(rows)
    assert sum(v.values[:, 3:5].sum() for v in at_once) == sum(r[4] for r in rows)
    times: dict[str, float] = {}
    for v in at_once:
        for stream, moment in zip(v.stream, v.time.tolist(), strict=True):
            assert moment > times.get(stream, -1)
            times[stream] = moment


def test_a_port_is_a_category_of_few() -> None:
    assert [port(n) for n in (0, 22, 1023, 1024, 49_151, 49_152, 65_535)] == [
        "none", "22", "1023", "user", "user", "dynamic", "dynamic",
    ]  # fmt: skip
    assert len(Counter(port(n) for n in range(65_536))) == 1026
