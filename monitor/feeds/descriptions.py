"""What the features of `monitor feed` are called, their units, and what they mean: its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor import config
from monitor.feeds.damped import GROUPS, PARTS, names
from monitor.feeds.flows import CATEGORIES, NUMBERS


@dataclass(frozen=True, slots=True)
class Description:
    name: str
    unit: str  # empty: a pure number, or a category
    meaning: str
    category: bool = False


_OF = {
    "host": "sent by the packet's source (MAC and IP)",
    "channel": "from its source to its target address",
    "jitter": "from its source to its target address",
    "socket": "of its connection, in its direction",
}
_WHAT = {
    "weight": "how many packets",
    "mean": "mean size of packets",
    "deviation": "standard deviation of the size of packets",
    "magnitude": "root of the summed squares of the mean sizes, both ways,",
    "radius": "root of the summed squares of the variances, both ways,",
    "covariance": "covariance of the sizes, both ways,",
    "correlation": "correlation of the sizes, both ways, -1 to 1,",
}
_WHAT_OF_GAPS = {
    "weight": "how many gaps between packets",
    "mean": "mean gap between packets",
    "deviation": "standard deviation of the gap between packets",
}
_UNIT = {
    "weight": "packets",
    "mean": "B",
    "deviation": "B",
    "magnitude": "B",
    "radius": "B2",
    "covariance": "B2",
    "correlation": "",
}
_FLOW = {
    "flow.duration": ("s", "time from the first to the last packet"),
    "flow.forward_packets": ("packets", "packets in the direction of the flow's first packet"),
    "flow.backward_packets": ("packets", "packets in the other direction"),
    "flow.forward_bytes": ("B", "bytes on the wire, forward"),
    "flow.backward_bytes": ("B", "bytes on the wire, backward"),
    "flow.forward_size_mean": ("B", "mean size of the packets, forward; 0 without any"),
    "flow.forward_size_deviation": ("B", "standard deviation of that"),
    "flow.backward_size_mean": ("B", "mean size of the packets, backward; 0 without any"),
    "flow.backward_size_deviation": ("B", "standard deviation of that"),
    "flow.size_min": ("B", "size of the smallest packet"),
    "flow.size_max": ("B", "size of the largest packet"),
    "flow.gap_mean": ("s", "mean time between a packet and the one before, of both directions; 0 for one packet"),
    "flow.gap_deviation": ("s", "standard deviation of that"),
    "flow.gap_max": ("s", "longest such time"),
    "flow.fin": ("packets", "packets with TCP's FIN"),
    "flow.syn": ("packets", "packets with TCP's SYN"),
    "flow.rst": ("packets", "packets with TCP's RST"),
    "flow.psh": ("packets", "packets with TCP's PSH"),
    "flow.ack": ("packets", "packets with TCP's ACK"),
    "flow.urg": ("packets", "packets with TCP's URG"),
    "flow.backward_packet_share": ("", "share of the packets that went backward, 0 to 1"),
    "flow.backward_byte_share": ("", "share of the bytes that went backward, 0 to 1"),
    "flow.packet_rate": ("packets/s", "packets over the duration, of at least a millisecond"),
    "flow.byte_rate": ("B/s", "bytes over the duration, of at least a millisecond"),
    "flow.protocol": ("", "tcp, udp, icmp, icmp6, sctp, arp, other, or IP's number"),
    "flow.source_port": ("", "port of whoever sent first: its number below 1024, else user, dynamic or none"),
    "flow.target_port": ("", "port of the other side, likewise"),
    "flow.end": ("", "why it is reported: closed, idle, active, evicted or stopped"),
}


def of_packets(decays: Sequence[float]) -> tuple[Description, ...]:
    """The features of packet vectors, in their order."""
    result = []
    parts = [(decay, *part) for decay in decays for part in PARTS]
    for name, (decay, group, statistic) in zip(names(decays), parts, strict=True):
        what = (_WHAT_OF_GAPS if group == "jitter" else _WHAT)[statistic]
        half = f"half-life {1 / decay:g} s"
        result.append(Description(name, _unit(group, statistic), f"{what} {_OF[group]}; {half}"))
    return tuple(result)


def of_flows() -> tuple[Description, ...]:
    """The features of flow vectors, in their order."""
    return tuple(Description(name, *_FLOW[name], name in CATEGORIES) for name in (*NUMBERS, *CATEGORIES))


def units(features: Sequence[str]) -> dict[str, str]:
    """Units of features that all have names which only `monitor feed` gives; nothing where one has another name."""
    known: dict[str, str] = {name: unit for name, (unit, _) in _FLOW.items()}
    for name in features:
        group, dot, rest = name.partition(".")
        statistic, at, _ = rest.partition("@")
        if dot and at and group in GROUPS and (group, statistic) in PARTS:
            known[name] = _unit(group, statistic)
    if any(name not in known for name in features):
        return {}
    return {name: known[name] for name in features if known[name]}


def _unit(group: str, statistic: str) -> str:
    if group == "jitter":
        return "gaps" if statistic == "weight" else "s"
    return _UNIT[statistic]


def of_sensors(features: Sequence[str], join: config.Join) -> tuple[Description, ...]:
    """The features of joined sensors; their units are the sensors' own."""
    what = {
        "last": "last value at the end of",
        "mean": "mean within",
        "minimum": "smallest value within",
        "maximum": "largest value within",
    }
    return tuple(
        Description(name, "", f"{what[name.rpartition('.')[2]]} {join.interval:g} s: {name.rpartition('.')[0]}")
        for name in features
    )
