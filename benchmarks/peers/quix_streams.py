"""Anomalies in a topic, with Quix Streams and torch called for each message.

python quix_streams.py BOOTSTRAP TOPIC ALERTS GROUP MODEL
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autoencoder import load
from quixstreams import Application


def main(bootstrap: str, topic: str, alerts: str, group: str, folder: str) -> None:
    model, names, threshold = load(Path(folder))
    windows: defaultdict[str, deque[list[float]]] = defaultdict(lambda: deque(maxlen=model.window))

    def score(event: dict[str, Any]) -> dict[str, Any] | None:
        features = event["features"]
        window = windows[event["stream"]]
        window.append([features[name] for name in names])
        if len(window) < model.window:
            return None
        array = np.array(window, dtype=np.float32)
        with torch.inference_mode():
            error = model(torch.from_numpy(array).unsqueeze(0)).item()
        if error <= threshold:
            return None
        return {"stream": event["stream"], "time": event["time"], "score": error / threshold}

    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        commit_every=2000,  # the default, every five seconds, is too coarse to time a minute by
        loglevel="WARNING",
    )
    source, found = app.topic(topic, value_deserializer="json"), app.topic(alerts, value_serializer="json")
    app.dataframe(source).apply(score).filter(lambda alert: alert is not None).to_topic(found)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
