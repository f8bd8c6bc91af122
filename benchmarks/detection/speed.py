"""What a score costs where it is served: windows a second of exported graphs, in ONNX Runtime, on one thread."""

from __future__ import annotations

import time

import numpy as np
import onnxruntime

from monitor.config import Training
from monitor.model.export import to_onnx
from monitor.model.training import Series, train

FEATURES, ROWS = 38, 2000
BATCH = 256
REPEATS = 40


def windows_a_second(settings: Training) -> float:
    """Of `FEATURES` features, in batches of `BATCH`; the fastest of some repeats, for other work only adds."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(ROWS, 8)) @ rng.normal(size=(8, FEATURES)) + rng.normal(size=(ROWS, FEATURES))).astype(
        np.float32
    )
    names = [f"f{number}" for number in range(FEATURES)]
    quick = settings.model_copy(update={"epochs": 1, "device": "cpu"})
    trained = train([Series("s", np.arange(ROWS, dtype=np.float64), rows)], names, {}, quick, source="benchmark")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = to_onnx(trained.scorer, settings.window)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    windows = np.stack([rows[start : start + settings.window] for start in range(BATCH)])
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        session.run(None, {"windows": windows})
        spent.append(time.perf_counter() - started)
    return BATCH / min(spent)
