"""Laws of the networks: what an encoder and a decoder are, whatever is inside."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monitor.model import networks
from monitor.model.architecture import Architecture
from monitor.model.networks.convolutional import Convolution, doubled
from tests.networks.made import NETWORKS, RECURRENT, card, windows

torch.set_num_threads(1)


class Whole(nn.Module):
    """An encoder and a decoder behind it."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = networks.encoder(architecture, architecture.window, architecture.code)
        self.decoder = networks.decoder(architecture, architecture.window, architecture.channels)

    def forward(self, z: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(z))
        return reconstruction


@settings(deadline=None, max_examples=60)
@given(
    network=st.sampled_from(NETWORKS),
    window=st.integers(1, 40),
    channels=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    code=st.integers(1, 12),
    kernel=st.integers(1, 50),
    horizon=st.integers(1, 40),
)
def test_any_sizes_can_be_built_and_keep_the_shapes(
    network: str, window: int, channels: int, hidden: list[int], code: int, kernel: int, horizon: int
) -> None:
    architecture = card(
        network=network, window=window, channels=channels, hidden=tuple(hidden), code=code, kernel=kernel
    )
    net = Whole(architecture).eval()
    assert net.encoder(windows(2, window, channels)).shape == (2, code)
    assert net(windows(2, window, channels)).shape == (2, window, channels)
    ahead = networks.decoder(architecture, horizon, channels + 1, forwards=True)
    assert ahead(torch.zeros(2, code)).shape == (2, horizon, channels + 1)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("code", [1, 2, 4])
def test_no_more_independent_directions_leave_the_decoder_than_the_code_has(network: str, code: int) -> None:
    """The bottleneck: around any window, the reconstruction moves in at most C directions, and in each of them."""
    net = Whole(card(network=network, code=code, hidden=(24,))).double()
    jacobian = torch.autograd.functional.jacobian(net, windows(1).double())  # type: ignore[no-untyped-call]
    assert torch.linalg.matrix_rank(jacobian.reshape(18, 18), rtol=1e-9) == code


@pytest.mark.parametrize("network", NETWORKS)
def test_windows_with_one_code_have_one_reconstruction_also_while_training(network: str) -> None:
    """The decoder sees nothing of what it should reconstruct."""
    net = Whole(card(network=network)).train()
    last = [module for module in net.encoder.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()  # every code is the bias
    first, second = net(windows())[:2]
    assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_code_reads_every_event_of_every_channel(network: str) -> None:
    net = Whole(card(network=network, hidden=(24,), kernel=6))
    z = windows(1).requires_grad_()
    net.encoder(z).abs().sum().backward()
    assert z.grad is not None
    assert (z.grad != 0).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_every_weight_gets_a_gradient(network: str) -> None:
    net = Whole(card(network=network, hidden=(12, 9), dropout=0.1)).train()
    (net(windows(40)) - windows(40)).square().mean().backward()
    assert [name for name, one in net.named_parameters() if one.grad is None or one.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("network", NETWORKS)
def test_dropout_only_while_training(network: str) -> None:
    net = Whole(card(network=network, hidden=(5, 5), dropout=0.5)).eval()
    assert torch.equal(net(windows()), net(windows()))
    net.train()
    assert not torch.equal(net.encoder(windows()), net.encoder(windows()))
    assert not torch.equal(net.decoder(torch.ones(4, 2)), net.decoder(torch.ones(4, 2)))


@pytest.mark.parametrize("network", NETWORKS)
def test_no_dropout_is_none(network: str) -> None:
    net = Whole(card(network=network, hidden=(5, 5))).train()
    assert torch.equal(net(windows()), net(windows()))


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_have_the_nodes_asked_for_and_the_decoder_s_are_reversed(network: str) -> None:
    a = card(network=network, hidden=(11, 7), code=4)
    wide, narrow = networks.encoder(a, 6, 4), networks.encoder(card(network=network, hidden=(11, 7), code=5), 6, 5)
    grown = sum(one.numel() for one in narrow.parameters()) - sum(one.numel() for one in wide.parameters())
    into_code = {"conv": 2 * 7, "dense": 7}.get(network, 7)  # of 6 events two halvings leave two
    assert grown == into_code + 1
    outputs = [module for module in networks.decoder(a, 6, 3).modules() if isinstance(module, nn.Linear)]
    behind = {"conv": 3 * 11, "conv_lstm": 3 * 11}.get(network, 11)  # a kernel of 3
    assert outputs[-1].in_features == behind


@pytest.mark.parametrize("network", RECURRENT)
@pytest.mark.parametrize("forwards", [False, True])
def test_a_recurrent_decoder_begins_with_the_event_nearest_to_what_was_encoded(network: str, forwards: bool) -> None:
    """A longer window has the same of these events from the same code: the last ones, or the first that follow."""
    code = torch.randn(3, 2, generator=torch.Generator().manual_seed(2))
    made = []
    for window in (4, 9):
        torch.manual_seed(0)
        decoder = networks.decoder(card(network=network, hidden=(5,)), window, 3, forwards=forwards)
        made.append(decoder(code))
    near, far = (made[1][:, :4], made[1][:, -4:]) if forwards else (made[1][:, -4:], made[1][:, :4])
    assert torch.allclose(near, made[0], atol=1e-6)
    assert not torch.allclose(far, made[0], atol=1e-3)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(1, 20),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    kernel=st.integers(1, 25),
    stride=st.integers(1, 3),
)
def test_a_convolution_is_torch_s_own(steps: int, inputs: int, outputs: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    ours = Convolution(steps, inputs, outputs, kernel, stride)
    weight = ours.linear.weight.reshape(outputs, kernel, inputs).transpose(1, 2)  # (outputs, inputs, K)
    x = windows(3, steps, inputs)
    around = ((kernel - 1) // 2, kernel)  # more behind than is needed: cut off below
    padded = nn.functional.pad(x.transpose(1, 2), around)
    theirs = nn.functional.conv1d(padded, weight, ours.linear.bias, stride).transpose(1, 2)
    assert torch.allclose(ours(x), theirs[:, : -(-steps // stride)], atol=1e-5)


def test_doubled_steps_stand_twice_and_the_odd_one_is_cut_off() -> None:
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert doubled(x, 6).flatten().tolist() == [1, 1, 2, 2, 3, 3]
    assert doubled(x, 5).flatten().tolist() == [1, 1, 2, 2, 3]


def test_a_dense_network_without_hidden_layers_is_linear() -> None:
    net = Whole(card(network="dense", hidden=())).double()
    z = windows(3).double()
    there, back = net(z), net(2 * z) - net(z)
    assert torch.allclose(back, there - net(torch.zeros_like(z)))
