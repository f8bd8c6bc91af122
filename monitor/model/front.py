"""Between the events' features and the network's channels: part of the graph, so that nothing is done twice.

Letters: B windows of a batch, T events of a window, F features, G channels. A number is one channel: clipped, then its
signed logarithm, then its change since the event before, each where asked for, then shifted and scaled. A category is
one channel for each of its values: 1 or 0, so an unknown value is all zeros.

Where rates are asked for, a window has one more column than features: the seconds since the event before. Of a
window's first event it is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from monitor.model.elementary import expm1, log1p
from monitor.model.manifest import Feature, timed

LIMIT = 1e4
"""Standardised values are cut off here: beyond it an error says nothing more, and float32 sums could overflow."""
SHORTEST = 1e-9
"""Seconds between two events by which a rate is divided at the least."""
END = torch.finfo(torch.float32).max


class Front(nn.Module):
    """Windows (B, T, F) in source units <-> channels (B, T, G) in standardised units."""

    shift: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    log: Tensor
    change: Tensor
    rate: Tensor

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        self.features = tuple(features)
        self.inputs = len(features)  # F
        self.channels = sum(max(1, len(feature.categories)) for feature in features)  # G
        self.timed = timed(features)
        self._numbers = [place for place, feature in enumerate(features) if not feature.categories]
        numbers = [features[place] for place in self._numbers]
        clips = [feature.clip or (-END, END) for feature in numbers]
        columns: dict[str, Sequence[float]] = {  # (numbers,) each
            "shift": [feature.shift for feature in numbers],
            "scale": [feature.scale for feature in numbers],
            "low": [low for low, _ in clips],
            "high": [high for _, high in clips],
        }
        choices: dict[str, Sequence[bool]] = {
            "log": [feature.log1p for feature in numbers],
            "change": [feature.change != "none" for feature in numbers],
            "rate": [feature.change == "rate" for feature in numbers],
        }
        for name, values in columns.items():
            column = torch.tensor(values, dtype=torch.float64).clamp(-END, END)
            self.register_buffer(name, column.to(torch.float32), persistent=False)
        for name, chosen in choices.items():
            self.register_buffer(name, torch.tensor(chosen, dtype=torch.bool), persistent=False)
        self._clips = any(feature.clip for feature in numbers)
        self._changes = any(choices["change"])
        self._runs = _runs(choices["log"])
        self._logs = any(choices["log"])

    @property
    def columns(self) -> int:
        """Of a window: the features, and the seconds since the event before where rates need them."""
        return self.inputs + self.timed

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, T, F) in source units -> (B, T, G), finite for every finite input."""
        numbers = self._numbers_of(windows)  # (B, T, numbers)
        value = self._level(numbers)
        if self._changes:
            value = torch.where(self.change, self._change(value, windows), value)
        z = ((value - self.shift) / self.scale).clamp(-LIMIT, LIMIT)  # (B, T, numbers)
        return self._beside(z, [self._one_hot(windows, place) for place in self._categories()])

    def restore(self, z: Tensor, windows: Tensor) -> Tensor:
        """Channels (B, G) of the closing event -> its features (B, F), source units; of a category, the likeliest.

        A change is added to what was observed before it; or to zero, where the observed counter was reset.
        """
        places = self.places()
        numbers = z if self._only_numbers else z[:, [places[number][0] for number in self._numbers]]
        value = (numbers * self.scale + self.shift).clamp(-END, END)  # (B, numbers)
        if self._changes:
            value = torch.where(self.change, self._changed(value, windows), value)
        if self._logs:
            value = torch.where(self.log, torch.sign(value) * expm1(value.abs()), value)
        value = value.clamp(-END, END)
        likeliest = [z[:, slice(*places[place])].argmax(1, keepdim=True).to(z.dtype) for place in self._categories()]
        return self._beside(value, likeliest)  # (B, F)

    def recover(self, z: Tensor, seconds: float) -> Tensor:
        """Channels (B, T, G) of whole windows -> their events (B, T, F), source units; of a category, the likeliest.

        Of a feature read as a change the channels do not tell the level: it begins at the mean of the fitting rows.
        `seconds` lie between two events.
        """
        places = self.places()
        numbers = z if self._only_numbers else z[..., [places[number][0] for number in self._numbers]]
        value = numbers * self.scale + self.shift  # (B, T, numbers)
        if self._changes:
            means = torch.tensor([self.features[place].mean for place in self._numbers], dtype=value.dtype)
            step = torch.where(self.rate, value * seconds, value)[:, 1:].cumsum(1)
            start = self._level(means.expand(len(z), 1, -1))  # (B, 1, numbers)
            value = torch.where(self.change, torch.cat([start, start + step], 1), value)
        value = value.clamp(-END, END)
        if self._logs:
            value = torch.where(self.log, torch.sign(value) * expm1(value.abs()), value).clamp(-END, END)
        likeliest = [z[..., slice(*places[place])].argmax(-1, keepdim=True).to(z.dtype) for place in self._categories()]
        return self._beside(value, likeliest)

    def per_feature(self, channels: Tensor) -> Tensor:
        """(B, G) -> (B, F): a category's is the mean of its channels'."""
        if self._only_numbers:
            return channels
        parts = []
        for begin, end in self.places():
            # Added one by one: a runtime's own reduction may round by the shape of the batch.
            total = channels[:, begin]
            for channel in range(begin + 1, end):
                total = total + channels[:, channel]
            parts.append(total / (end - begin))
        return torch.stack(parts, dim=1)

    def places(self) -> list[tuple[int, int]]:
        """First channel, and the one behind the last, of every feature."""
        places = []
        at = 0
        for feature in self.features:
            width = max(1, len(feature.categories))
            places.append((at, at + width))
            at += width
        return places

    @property
    def _only_numbers(self) -> bool:
        return len(self._numbers) == self.inputs

    def _categories(self) -> list[int]:
        return [place for place, feature in enumerate(self.features) if feature.categories]

    def _numbers_of(self, windows: Tensor) -> Tensor:
        if self._only_numbers:
            return windows[..., : self.inputs] if self.timed else windows
        runs = _runs([not feature.categories for feature in self.features])
        several = [windows[..., begin:end] for number, begin, end in runs if number]
        return torch.cat(several, dim=-1) if several else windows[..., :0]

    def _level(self, numbers: Tensor) -> Tensor:
        if self._clips:
            numbers = torch.minimum(torch.maximum(numbers, self.low), self.high)
        return self._logarithms(numbers) if self._logs else numbers

    def _logarithms(self, numbers: Tensor) -> Tensor:
        """Of those that are to be read so, and of no others: it is dear."""
        # By slices of neighbours: a runtime takes single columns out one by one.
        level = torch.cat([numbers[..., begin:end] for log, begin, end in self._runs if log], dim=-1)
        level = torch.sign(level) * log1p(level.abs())
        parts, at = [], 0
        for log, begin, end in self._runs:
            parts.append(level[..., at : at + end - begin] if log else numbers[..., begin:end])
            at += (end - begin) * log
        return torch.cat(parts, dim=-1)

    def _change(self, value: Tensor, windows: Tensor) -> Tensor:
        """(B, T, numbers) what changed since the event before; nothing is known of the first event: no change."""
        before = torch.cat([value[:, :1], value[:, :-1]], dim=1)
        change = value - before
        if not self.timed:
            return change
        # A counter that fell was reset, and has counted from zero since; as Prometheus has it.
        counted = torch.where(value < before, value, change)
        seconds = windows[:, 1:, self.inputs :].clamp(min=SHORTEST)  # (B, T-1, 1)
        rate = torch.cat([torch.zeros_like(change[:, :1]), counted[:, 1:] / seconds], dim=1)
        return torch.where(self.rate, rate, change)

    def _changed(self, change: Tensor, windows: Tensor) -> Tensor:
        """(B, numbers) the closing event's level, from its change since the event before."""
        level = self._level(self._numbers_of(windows)[:, -2:])  # (B, 2, numbers)
        before = level[:, 0]
        if not self.timed:
            return before + change
        counted = change * windows[:, -1, self.inputs :].clamp(min=SHORTEST)
        counted = torch.where(level[:, 1] < before, counted, before + counted)
        return torch.where(self.rate, counted, before + change)

    def _one_hot(self, windows: Tensor, place: int) -> Tensor:
        codes = torch.arange(len(self.features[place].categories), dtype=windows.dtype, device=windows.device)
        return (windows[..., place : place + 1] == codes).to(windows.dtype)

    def _beside(self, numbers: Tensor, categories: Sequence[Tensor]) -> Tensor:
        """What belongs to the numbers (..., numbers) and to each category (..., any), in the order of the features."""
        if self._only_numbers:
            return numbers
        given, parts, at = iter(categories), [], 0
        for is_category, several in groupby(self.features, key=lambda feature: bool(feature.categories)):
            count = len(list(several))
            if is_category:
                parts += [next(given) for _ in range(count)]
            else:
                parts.append(numbers[..., at : at + count])
                at += count
        return torch.cat(parts, dim=-1)


def _runs(choices: Sequence[bool]) -> list[tuple[bool, int, int]]:
    """Each run of equal choices: what they are, where it begins, and the place behind it."""
    runs, begin = [], 0
    for choice, several in groupby(choices):
        end = begin + len(list(several))
        runs.append((choice, begin, end))
        begin = end
    return runs
