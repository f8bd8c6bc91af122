"""The network of the artefact as plain torch: LSTM encoder, code, LSTM decoder that writes the window backwards."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

torch.set_num_threads(1)


class Autoencoder(nn.Module):
    """Windows (B, T, F) in source units -> mean squared error (B,) in standardised units."""

    def __init__(self, window: int, features: int, hidden: int, code: int) -> None:
        super().__init__()
        self.window = window
        self.encoder = nn.LSTM(features, hidden, batch_first=True)
        self.code = nn.Linear(hidden, code)
        self.decoder = nn.LSTM(code, hidden, batch_first=True)
        self.output = nn.Linear(hidden, features)
        self.shift = nn.Buffer(torch.zeros(features))
        self.scale = nn.Buffer(torch.ones(features))

    def forward(self, windows: Tensor) -> Tensor:
        z = (windows - self.shift) / self.scale
        _, (last, _) = self.encoder(z)
        steps = self.code(last[-1]).unsqueeze(1).repeat(1, self.window, 1)  # a copy: faster here than an expanded view
        states, _ = self.decoder(steps)
        error: Tensor = (self.output(states).flip(1) - z).square().mean(dim=(1, 2))
        return error


def load(folder: Path) -> tuple[Autoencoder, list[str], float]:
    """The network with the weights of an artefact of `monitor`, its features' names, and its threshold."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    shape, features = manifest["architecture"], manifest["features"]
    model = Autoencoder(shape["window"], len(features), shape["hidden"][0], shape["code"])
    places = {
        "bottleneck.encoder.recurrence.layers.0": "encoder",
        "bottleneck.encoder.code": "code",
        "decoder.recurrence.layers.0": "decoder",
        "decoder.output": "output",
    }
    state = {
        "shift": torch.tensor([f["shift"] for f in features]),
        "scale": torch.tensor([f["scale"] for f in features]),
    }
    for name, weight in load_file(folder / "weights.safetensors").items():
        place, _, parameter = name.rpartition(".")
        state[f"{places[place]}.{parameter}"] = weight
    model.load_state_dict(state)
    return model.eval(), [f["name"] for f in features], manifest["calibration"]["threshold"]
