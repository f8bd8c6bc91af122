"""The forward pass alone: windows a second by the size of the batch, in ONNX Runtime and in torch, under the roofline.

The roof is what this core does at most: multiply-adds of a large matrix product, bytes of a copy too large for the
caches. Operations of a window follow from the network; its bytes are those that must come from beyond the caches: the
window itself, and the weights once for each batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.performance.bench import Bench, console
from benchmarks.performance.processes import apart, run
from benchmarks.performance.raw import session
from benchmarks.performance.results import middle
from benchmarks.performance.workload import FEATURES, HIDDEN, WINDOW, rows
from monitor.model import artefact
from monitor.model.artefact import GRAPH
from monitor.model.reference import rebuilt

SIZES = (1, 8, 64, 256, 1024)
CODE = 16
SECONDS = 0.5


def operations() -> int:
    """Floating-point operations of one window: an LSTM layer does 8 H (I + H) a step, a linear one 2 I O."""
    layers = 8 * HIDDEN * (FEATURES + HIDDEN) + 8 * HIDDEN * (CODE + HIDDEN) + 2 * HIDDEN * FEATURES
    return WINDOW * layers + 2 * HIDDEN * CODE


def weights() -> int:
    """Bytes."""
    layers = 4 * HIDDEN * (FEATURES + HIDDEN + 2) + 4 * HIDDEN * (CODE + HIDDEN + 2)
    return 4 * (layers + (HIDDEN + 1) * CODE + (HIDDEN + 1) * FEATURES)


def intensity(batch: int) -> float:
    """Operations for each byte."""
    return operations() / (4 * WINDOW * FEATURES + weights() / batch)


def measure(bench: Bench, _folder: Path) -> dict[str, Any]:
    rounds: list[dict[str, Any]] = []
    for number in range(bench.size.rounds):
        command = [sys.executable, "-m", "benchmarks.performance.parts.forward", str(bench.model)]
        rounds.append(run(command, bench.scratch / "forward.log", apart()))
        told = ", ".join(f"{size}: {rounds[-1]['onnx'][str(size)]:,.0f}" for size in SIZES)
        console.print(f"round {number + 1} of {bench.size.rounds}, windows/s by batch (onnx) {told}", markup=False)
    return {
        "operations": operations(),
        "intensity": {str(size): intensity(size) for size in SIZES},
        "flops": middle([one["flops"] for one in rounds]),
        "bandwidth": middle([one["bandwidth"] for one in rounds]),
        "onnx": {str(size): middle([one["onnx"][str(size)] for one in rounds]) for size in SIZES},
        "torch": {str(size): middle([one["torch"][str(size)] for one in rounds]) for size in SIZES},
    }


def main(model: str) -> None:
    """In a process of its own: all rates of one round as JSON."""
    torch.set_num_threads(1)

    def rate(step: Callable[[], object]) -> float:
        """Times a second."""
        step()
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            step()
            count += 1
        return count / (time.perf_counter() - begun)

    side = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    product, source = torch.from_numpy(side), np.zeros(2**26, np.uint8)
    target = source.copy()
    graph, scorer, table = session(f"{model}/{GRAPH}"), rebuilt(artefact.load(Path(model))), rows()
    outputs = [output.name for output in graph.get_outputs()]
    found: dict[str, Any] = {
        "flops": 2 * 1024**3 * rate(lambda: product @ product),
        "bandwidth": 2 * len(source) * rate(lambda: np.copyto(target, source)),
        "onnx": {},
        "torch": {},
    }
    with torch.inference_mode():
        for size in SIZES:
            batch = np.stack([table[start % 900 : start % 900 + WINDOW] for start in range(size)])
            tensor = torch.from_numpy(batch)

            def by_onnx(batch: Any = batch) -> object:
                return graph.run(outputs, {"windows": batch})

            def by_torch(tensor: Any = tensor) -> object:
                return scorer(tensor)

            found["onnx"][str(size)] = size * rate(by_onnx)
            found["torch"][str(size)] = size * rate(by_torch)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
