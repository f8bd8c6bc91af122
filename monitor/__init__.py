"""Streaming anomaly monitoring: records -> Batch -> Windows -> Scores -> Alerts, one way, once per event.

`kafka` reads, publishes and recovers, `pipeline` (pure) turns records into an outcome, `service` is the loop around
both. What an outcome holds and the places it came from are one transaction; a partition that comes from elsewhere is
read again (`resume`, `checkpoint`) until its windows are what they were.
"""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheels for Linux store a device id and a telemetry database in the home folder when imported.
# Only this variable comes before that; its API comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
