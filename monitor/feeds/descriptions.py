"""What the features of `monitor feed` are called, their units, and what they mean: its contract."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from monitor import config
from monitor.feeds.damped import GROUPS, PARTS, names
from monitor.feeds.flows import CATEGORIES, NUMBERS
from monitor.feeds.hosts import NUMBERS as OF_HOSTS
from monitor.feeds.joining import Joiner


@dataclass(frozen=True, slots=True)
class Description:
    name: str
    unit: str  # empty: a pure number, or a category
    meaning: str
    category: bool = False


_OF = {
    "host": "that the packet's source (MAC and IP) sent",
    "channel": "from the packet's source to its target address",
    "jitter": "from the packet's source to its target address",
    "socket": "of the packet's connection, in its direction",
}
_WHAT = {
    "weight": "number of packets",
    "mean": "mean size of packets",
    "deviation": "standard deviation of the size of packets",
    "magnitude": "root of the summed squares of the mean sizes of packets, both ways,",
    "radius": "root of the summed squares of the variances of the size of packets, both ways,",
    "covariance": "covariance of the size of packets, both ways,",
    "correlation": "correlation of the size of packets, both ways, -1 to 1,",
}
_WHAT_OF_GAPS = {
    "weight": "number of gaps between packets",
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
    "flow.forward_size_deviation": ("B", "standard deviation of the size of the packets, forward"),
    "flow.backward_size_mean": ("B", "mean size of the packets, backward; 0 without any"),
    "flow.backward_size_deviation": ("B", "standard deviation of the size of the packets, backward"),
    "flow.size_min": ("B", "size of the smallest packet"),
    "flow.size_max": ("B", "size of the largest packet"),
    "flow.gap_mean": ("s", "mean time between a packet and the one before, of both directions; 0 for one packet"),
    "flow.gap_deviation": ("s", "standard deviation of the time between a packet and the one before"),
    "flow.gap_max": ("s", "longest time between a packet and the one before"),
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
    "flow.target_port": ("", "port of the other side: its number below 1024, else user, dynamic or none"),
    "flow.end": ("", "why it is reported: closed, idle, active, evicted or stopped"),
}


_HOST = {
    "host.sent_packets": ("packets/s", "packets sent a second"),
    "host.sent_bytes": ("B/s", "bytes sent a second; on the wire"),
    "host.received_packets": ("packets/s", "packets received a second"),
    "host.received_bytes": ("B/s", "bytes received a second; on the wire"),
    "host.sent_size": ("B", "mean size of the packets sent; 0 without any"),
    "host.received_size": ("B", "mean size of the packets received; 0 without any"),
    "host.targets": ("hosts/s", "distinct hosts that it sends to a second"),
    "host.sources": ("hosts/s", "distinct hosts that send to it a second"),
    "host.target_ports": ("ports/s", "distinct destination ports a second; of TCP and UDP, without answers"),
    "host.connections_begun": ("1/s", "TCP connections begun a second; SYN without ACK"),
    "host.connections_asked": ("1/s", "TCP connections asked of it a second; SYN without ACK"),
    "host.resets_sent": ("packets/s", "TCP resets sent a second"),
    "host.resets_received": ("packets/s", "TCP resets received a second"),
    "host.questions": ("packets/s", "DNS questions a second; packets to port 53"),
    "host.question_size": ("B", "mean size of its DNS questions; 0 without any"),
    "host.icmp": ("packets/s", "ICMP messages sent a second"),
    "host.arp": ("packets/s", "ARP messages sent a second"),
    "host.macs": ("", "distinct MAC addresses that send as it; 1 where nothing is sent"),
}


def of_capture(feed: config.Feed) -> tuple[Description, ...]:
    """The features of a capture's vectors, in their order."""
    match feed.vectors:
        case "packets":
            return of_packets(feed.decays)
        case "flows":
            return of_flows()
        case "hosts":
            return of_hosts()


def made_by(feed: config.Feed, features: Sequence[str]) -> bool:
    """Whether `monitor feed` with these settings gives all of these features: then rows of them are taken for its."""
    names = Joiner(feed.join).names if feed.join.sensors else tuple(one.name for one in of_capture(feed))
    return set(features) <= set(names)


def differences(trained: config.Feed, now: config.Feed) -> tuple[str, ...]:
    """Settings that make other features of the same capture or sensors, as `join.interval: 30, in training 60`."""
    if now.join.sensors or trained.join.sensors:
        sections = [("join", trained.join.model_dump(), now.join.model_dump())]
    elif now.vectors == "packets":
        sections = []  # the names of the features say all of it
    else:
        sections = [(now.vectors, getattr(trained, now.vectors).model_dump(), getattr(now, now.vectors).model_dump())]
    return tuple(
        f"{section}.{name}: {_plain(is_now[name])}, in training {_plain(was[name])}"
        for section, was, is_now in sections
        for name in was
        if name != "stream" and was[name] != is_now[name]
    )


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)


def of_packets(decays: Sequence[float]) -> tuple[Description, ...]:
    """The features of packet vectors, in their order."""
    result = []
    parts = [(decay, *part) for decay in decays for part in PARTS]
    for name, (decay, group, statistic) in zip(names(decays), parts, strict=True):
        result.append(Description(name, _unit(group, statistic), _meaning(group, statistic, decay)))
    return tuple(result)


def of_flows() -> tuple[Description, ...]:
    """The features of flow vectors, in their order."""
    return tuple(Description(name, *_FLOW[name], name in CATEGORIES) for name in (*NUMBERS, *CATEGORIES))


def of_hosts() -> tuple[Description, ...]:
    """The features of vectors of hosts, in their order."""
    return tuple(Description(name, *_HOST[name]) for name in OF_HOSTS)


def units(features: Sequence[str]) -> dict[str, str]:
    """Units of features that all have names which only `monitor feed` gives; nothing where one has another name."""
    return {name: unit for name, (unit, _) in _known(features).items() if unit}


def meanings(features: Sequence[str]) -> dict[str, str]:
    """The same of their meanings."""
    return {name: meaning for name, (_, meaning) in _known(features).items()}


def _known(features: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each, or nothing."""
    known = {**_FLOW, **_HOST}
    for name in features:
        group, dot, rest = name.partition(".")
        statistic, at, rate = rest.partition("@")
        if dot and at and group in GROUPS and (group, statistic) in PARTS:
            with suppress(ValueError, ZeroDivisionError):
                known[name] = (_unit(group, statistic), _meaning(group, statistic, float(rate)))
    return {name: known[name] for name in features} if all(name in known for name in features) else {}


def _meaning(group: str, statistic: str, decay: float) -> str:
    what = (_WHAT_OF_GAPS if group == "jitter" else _WHAT)[statistic]
    return f"{what} {_OF[group]} (half-life {1 / decay:.3g} s)"


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
