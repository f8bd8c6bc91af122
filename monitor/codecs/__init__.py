"""What a record's value is written in: bytes -> stream, time and features, by one codec for the whole topic."""

from __future__ import annotations

from collections.abc import Sequence

from monitor import config
from monitor.codecs.codec import Codec
from monitor.codecs.float32 import Float32Codec
from monitor.codecs.json import JsonCodec
from monitor.codecs.layout import Layout
from monitor.codecs.messagepack import MessagePackCodec

__all__ = ["Codec", "Layout", "codec"]


def codec(features: Sequence[str], categories: Sequence[str], rules: config.Events) -> Codec:
    """The one that `events.codec` names. Raises `ConfigError` where it cannot carry these features."""
    layout = Layout.of(features, categories)
    match rules.codec:
        case "json":
            return JsonCodec(layout, rules)
        case "msgpack":
            return MessagePackCodec(layout, rules)
        case "float32":
            return Float32Codec(layout, rules)
