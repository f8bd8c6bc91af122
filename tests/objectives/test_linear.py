"""The linear autoencoder with a squared loss is principal component analysis."""

from __future__ import annotations

import torch

from monitor.model import objectives
from tests.networks.made import card

torch.set_num_threads(1)


def test_the_linear_autoencoder_spans_the_principal_subspace() -> None:
    """Baldi & Hornik (1989): every minimum is the projection on it, so the reconstructions agree as well."""
    torch.manual_seed(0)
    window, channels, code = 3, 2, 2
    basis = torch.linalg.qr(torch.randn(6, 6)).Q * torch.tensor([2.0, 1.5, 0.5, 0.4, 0.3, 0.2])
    x = (torch.randn(200, 6) @ basis.T).double()
    x = x - x.mean(0)
    model = objectives.build(card(network="dense", window=window, channels=channels, hidden=(), code=code)).double()
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_change=0)
    z = x.reshape(-1, window, channels)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = model.loss(z, 1)
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    components = torch.linalg.svd(x, full_matrices=False).Vh[:code]  # (C, 6)
    for name, weight in (
        ("decoder", model.get_parameter("decoder.layers.0.weight").T),
        ("encoder", model.get_parameter("bottleneck.encoder.layers.0.weight")),
    ):
        spanned = torch.linalg.qr(weight.detach().T).Q  # (6, C)
        cosines = torch.linalg.svdvals(components @ spanned)  # of the principal angles
        assert (cosines > 1 - 1e-6).all(), name
    projected = x @ components.T @ components
    assert torch.allclose(model.reconstruct(z).reshape(-1, 6), projected, atol=1e-3)
