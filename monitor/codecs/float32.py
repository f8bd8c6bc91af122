"""Raw numbers: 4 x F bytes, little-endian IEEE 754 float32, in the order of the model's features.

The record's key names the stream, its timestamp is the time. NaN is a value that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monitor import config
from monitor.batch import Float32, Reason
from monitor.codecs.codec import Codec, Policies, Read, refuse
from monitor.codecs.layout import Layout
from monitor.errors import ConfigError

_TYPE = np.dtype("<f4")


class Float32Codec(Codec):
    """Nothing is taken apart before a whole batch is there."""

    def __init__(self, layout: Layout, rules: config.Events) -> None:
        """Raises `ConfigError` for a model that also reads categories."""
        super().__init__(layout, rules)
        if layout.categories:
            raise ConfigError(
                f"events.codec is float32, but {', '.join(layout.category_names[:8])} of the model's features are text",
                "Choose json or msgpack, or train a model without categories.",
            )
        self._bytes = _TYPE.itemsize * len(layout.features)
        self._policies = Policies(rules)

    def read(self, value: bytes | None) -> Read:
        if value is None or len(value) != self._bytes:
            value = self.sized(value)
            features = len(self._layout.features)
            refuse(Reason.NOT_AN_EVENT, f"{len(value)} bytes, {features} features as float32 have {self._bytes}")
        return None, None, value

    def numbers(self, rows: Sequence[Any]) -> Float32:
        flat = np.frombuffer(b"".join(rows), _TYPE)
        return flat.reshape(len(rows), len(self._layout.features)).astype(np.float32)

    def categories(self, rows: Sequence[Any]) -> Sequence[Sequence[Any]]:  # noqa: ARG002  there are none
        return ()

    def look_again(self, value: bytes) -> None:
        for place in np.flatnonzero(np.isnan(np.frombuffer(value, _TYPE))).tolist():
            self._policies.missing(self._layout.features[place])
