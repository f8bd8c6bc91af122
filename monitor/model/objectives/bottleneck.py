"""The encoder with all that keeps its code from being a copy: damaged input, sparsity, contraction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monitor.config.objectives import Denoising
from monitor.model import networks
from monitor.model.architecture import Architecture

_EPSILON = 1e-6


class Bottleneck(nn.Module):
    """`code` numbers from `window` events. The three can be combined; letters as in `networks.coder`."""

    def __init__(self, architecture: Architecture, window: int, code: int) -> None:
        super().__init__()
        self.encoder = networks.encoder(architecture, window, code)
        self._denoising = architecture.denoising
        self._sparsity = architecture.sparsity
        self._contraction = architecture.contraction

    def forward(self, z: Tensor) -> Tensor:
        """Windows (B, T, G) -> codes (B, C), each from 0 to 1 where a mean activation is aimed at."""
        code: Tensor = self.encoder(z)
        return code.sigmoid() if self._sparsity.penalty == "kl" else code

    def learn(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Windows (B, T, G) -> codes (B, C) of what is left of them, and the penalty () on these."""
        seen = corrupted(z, self._denoising)
        if self._contraction.weight:
            seen = seen.detach().requires_grad_()
            with torch.backends.cudnn.flags(enabled=False):  # its recurrences cannot be differentiated twice
                code: Tensor = self(seen)
            penalty = self._contraction.weight * jacobian_norm(code, seen, self._contraction.projections).mean()
        else:
            code = self(seen)
            penalty = code.new_zeros(())
        match self._sparsity.penalty:
            case "l1":
                penalty = penalty + self._sparsity.weight * code.abs().sum(1).mean()
            case "kl":
                penalty = penalty + self._sparsity.weight * activation_divergence(code, self._sparsity.target)
            case "none":
                pass
        return code, penalty


def corrupted(z: Tensor, denoising: Denoising) -> Tensor:
    """Windows with Gaussian noise, and a share of their values set to 0: what is normal there is the mean.

    Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders" (2008), and "Stacked
    Denoising Autoencoders" (2010).
    """
    if denoising.noise:
        z = z + denoising.noise * torch.randn_like(z)
    if denoising.mask:
        z = torch.where(torch.rand_like(z) < denoising.mask, 0.0, z)
    return z


def activation_divergence(activation: Tensor, target: float) -> Tensor:
    """Activations (B, C) from 0 to 1 -> the sum over units of KL(target || mean activation in the batch), ().

    Ng, "Sparse Autoencoder" (2011); Lee et al., "Sparse Deep Belief Net Model for Visual Area V2" (2008).
    """
    mean = activation.mean(0).clamp(_EPSILON, 1 - _EPSILON)  # (C,)
    on, off = target * (target / mean).log(), (1 - target) * ((1 - target) / (1 - mean)).log()
    return (on + off).sum()


def jacobian_norm(code: Tensor, z: Tensor, projections: int) -> Tensor:
    """The squared Frobenius norm (B,) of the Jacobian of codes (B, C) with respect to their windows z (B, T, G).

    Rifai et al., "Contractive Auto-Encoders: Explicit Invariance During Feature Extraction" (2011). `projections` is
    the number of random signs u (C,) of which |J' u|^2 is averaged, which has the norm as its mean (Hutchinson, "A
    Stochastic Estimator of the Trace", 1989); 0 computes it row by row. The decoder is not tied to the encoder as
    there and could make up for a code that only became small: a penalty on the weights (optimiser adamw) keeps it
    from that.
    """
    if projections:
        weights = [torch.randint_like(code, 2) * 2 - 1 for _ in range(projections)]
    else:
        weights = [row.expand_as(code) for row in torch.eye(code.shape[1], dtype=code.dtype, device=code.device)]
    total = code.new_zeros(len(code))
    for weight in weights:
        (gradient,) = torch.autograd.grad(code, z, weight, create_graph=True)  # (B, T, G)
        total = total + gradient.square().sum((1, 2))
    return total / max(1, projections)
