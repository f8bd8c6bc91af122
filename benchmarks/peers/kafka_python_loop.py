"""Anomalies in a topic, with kafka-python and torch: a plain loop.

python kafka_python_loop.py BOOTSTRAP TOPIC ALERTS GROUP MODEL
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
import torch
from autoencoder import load
from kafka import KafkaConsumer, KafkaProducer


def main(bootstrap: str, topic: str, alerts: str, group: str, folder: str) -> None:
    model, names, threshold = load(Path(folder))
    windows: defaultdict[str, deque[list[float]]] = defaultdict(lambda: deque(maxlen=model.window))
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    with torch.inference_mode():
        while True:
            polled = consumer.poll(timeout_ms=200)
            sent = False
            for records in polled.values():
                for record in records:
                    event = json.loads(record.value)
                    features = event["features"]
                    window = windows[event["stream"]]
                    window.append([features[name] for name in names])
                    if len(window) < model.window:
                        continue
                    array = np.array(window, dtype=np.float32)
                    error = model(torch.from_numpy(array).unsqueeze(0)).item()
                    if error > threshold:
                        alert = {"stream": event["stream"], "time": event["time"], "score": error / threshold}
                        producer.send(alerts, key=record.key, value=json.dumps(alert).encode())
                        sent = True
            if sent:
                producer.flush()
            if polled:
                consumer.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
