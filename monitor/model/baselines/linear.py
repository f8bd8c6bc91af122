"""What the linear baselines share: a product that a runtime cannot round by the size of the batch."""

from __future__ import annotations

from torch import Tensor

from monitor.model.reconstructor import Reconstructor

BLOCK = 64
"""Most terms of a sum that a runtime is given."""


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """The matrix product of x (..., G) and a matrix (G, C), both float64.

    In blocks of terms, added one by one: measured, ONNX Runtime on two threads cuts a sum over more than 128 terms by
    the shape of the batch, and a lone window gets other last bits than the same window in company. In float64, because
    what is left of large values that nearly cancel would be float32's rounding, which no two runtimes share.
    """
    total = x[..., :BLOCK] @ matrix[:BLOCK]
    for start in range(BLOCK, matrix.shape[0], BLOCK):
        total = total + x[..., start : start + BLOCK] @ matrix[start : start + BLOCK]
    return total


class Baseline(Reconstructor):
    """The error is the squared difference from what was expected."""

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        difference = reconstruction - z
        return difference * difference
