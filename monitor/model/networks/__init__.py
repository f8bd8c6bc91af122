"""The networks, and which one an architecture names."""

from __future__ import annotations

from monitor.model.architecture import Architecture
from monitor.model.networks.coder import Decoder, Encoder
from monitor.model.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from monitor.model.networks.dense import DenseDecoder, DenseEncoder
from monitor.model.networks.mixed import MixedDecoder, MixedEncoder
from monitor.model.networks.recurrent import RecurrentDecoder, RecurrentEncoder

__all__ = ["Decoder", "Encoder", "decoder", "encoder"]


def encoder(architecture: Architecture, window: int, code: int) -> Encoder:
    """An encoder of `window` events to `code` numbers with fresh weights, from torch's global generator."""
    a = architecture
    match a.network:
        case "lstm" | "gru":
            return RecurrentEncoder(a.network, a.channels, a.hidden, code, a.dropout)
        case "conv":
            return ConvolutionalEncoder(window, a.channels, a.hidden, code, a.kernel, a.dropout)
        case "conv_lstm":
            return MixedEncoder(window, a.channels, a.hidden, code, a.kernel, a.dropout)
        case "dense":
            return DenseEncoder(window, a.channels, a.hidden, code, a.dropout)


def decoder(architecture: Architecture, window: int, channels: int, *, forwards: bool = False) -> Decoder:
    """A decoder to `window` events of `channels` each; `forwards` for events that follow what was encoded."""
    a = architecture
    match a.network:
        case "lstm" | "gru":
            return RecurrentDecoder(a.network, window, channels, a.hidden, a.code, a.dropout, forwards)
        case "conv":
            return ConvolutionalDecoder(window, channels, a.hidden, a.code, a.kernel, a.dropout)
        case "conv_lstm":
            return MixedDecoder(window, channels, a.hidden, a.code, a.kernel, a.dropout, forwards)
        case "dense":
            return DenseDecoder(window, channels, a.hidden, a.code, a.dropout)
