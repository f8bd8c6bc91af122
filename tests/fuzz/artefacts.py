"""Hostile model folders. The first byte of an input chooses what is done to a good one with the rest."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from monitor import config, detector
from monitor.errors import ArtefactError
from monitor.events import Decoder
from monitor.model.artefact import FILES, GRAPH, MANIFEST, WEIGHTS
from tests.fuzz.target import demand, scratch


@dataclass(frozen=True, slots=True)
class GoodArtefact:
    """A really trained artefact, whose files are damaged one at a time in a folder of their own."""

    files: dict[str, bytes]

    @staticmethod
    def of(folder: Path) -> GoodArtefact:
        return GoodArtefact({name: (folder / name).read_bytes() for name in (MANIFEST, *FILES)})

    def damaged(self, data: bytes) -> dict[str, bytes | None]:
        """The files of the input; None is a folder in a file's place, and one that lacks is not there."""
        files: dict[str, bytes | None] = dict(self.files)
        how, body = (data[0] % 7, data[1:]) if data else (0, b"")
        if how == 0:
            files[MANIFEST] = body
        elif how == 1:
            files[MANIFEST] = self._edited(body)
        elif how in (2, 3):
            files[GRAPH if how == 2 else WEIGHTS] = body
        elif how in (4, 5):
            name = GRAPH if how == 4 else WEIGHTS
            content = self.files[name]
            place = int.from_bytes(body[:2], "little") % (len(content) + 1)
            files[name] = content[:place] + body[2:] + content[place + len(body[2:]) :]
        else:
            for name, kind in zip((MANIFEST, *FILES), (*body[:3], 3, 3, 3), strict=False):
                if kind % 4 == 0:
                    del files[name]
                elif kind % 4 < 3:
                    files[name] = b"" if kind % 4 == 1 else None
        return files

    def _edited(self, body: bytes) -> bytes:
        """Lines of `path.to.member=JSON` put into the good manifest; a value that is no JSON deletes the member."""
        tree: Any = json.loads(self.files[MANIFEST])
        for line in body.split(b"\n")[:8]:
            path, _, text = line.partition(b"=")
            *way, last = path.decode(errors="replace").split(".")
            place = tree
            with suppress(KeyError, IndexError, TypeError, ValueError, RecursionError):
                for part in way:
                    place = place[int(part)] if isinstance(place, list) else place[part]
                key: Any = int(last) if isinstance(place, list) else last
                try:
                    place[key] = json.loads(text)
                except (ValueError, RecursionError):
                    del place[key]
        return json.dumps(tree).encode()


@contextmanager
def _watched_runtime(seen: list[bytes]) -> Iterator[None]:
    """Tells what ONNX Runtime is given. It still does its work."""
    real = onnxruntime.InferenceSession

    def session(graph: bytes, *arguments: Any, **options: Any) -> Any:
        seen.append(graph)
        return real(graph, *arguments, **options)

    onnxruntime.InferenceSession = session
    try:
        yield
    finally:
        onnxruntime.InferenceSession = real


def _place(folder: Path, files: dict[str, bytes | None]) -> None:
    for name in (MANIFEST, *FILES):
        path = folder / name
        if path.exists() and stat.S_ISDIR(path.stat().st_mode):
            path.rmdir()
        path.unlink(missing_ok=True)
        if name in files:
            content = files[name]
            path.mkdir() if content is None else path.write_bytes(content)


def checker(good: GoodArtefact) -> Callable[[bytes], bool]:
    """A damaged artefact is told as ArtefactError, and a graph that is not the manifest's is never parsed."""
    folder = scratch() / "model"
    folder.mkdir(exist_ok=True)

    def check(data: bytes) -> bool:
        files = good.damaged(data)
        _place(folder, files)
        given: list[bytes] = []
        try:
            with _watched_runtime(given):
                loaded = detector.load(folder, config.Model())
        except ArtefactError as error:
            demand(str(error).encode(errors="surrogateescape"), "no message")
            demand(len(error.message) < 10_000, "a message without end")
            demand(all(graph == good.files[GRAPH] for graph in given), "ONNX Runtime was given a damaged graph")
            return False
        manifest = loaded.manifest
        demand(given == [good.files[GRAPH]], "ONNX Runtime was given a damaged graph")
        for name in FILES:
            content = files.get(name) or b""
            demand(hashlib.sha256(content).hexdigest() == manifest.files[name], f"{name} is not the manifest's")
        _hold_manifest(json.loads(files[MANIFEST] or b""), manifest.model_dump(mode="json"), "manifest")
        demand(all(isfinite(feature.mean) for feature in manifest.features), "a mean that imputes NaN")
        demand(len(manifest.digest) == 64, "the digest is none")
        names = manifest.feature_names
        demand(len(set(names)) == len(names), "two features of one name")
        Decoder(names, config.Events())
        window = np.zeros((1, manifest.architecture.window, len(manifest.features)), np.float32)
        demand(np.isfinite(loaded.score(window).error).all(), "a score that is none")
        return True

    return check


def _hold_manifest(given: Any, taken: Any, place: str) -> None:
    """Everything that was given is there as it was given; what was not given has a default."""
    if isinstance(given, dict):
        demand(isinstance(taken, dict), place)
        for name, value in given.items():
            demand(name in taken, f"{place}.{name} was dropped")
            _hold_manifest(value, taken[name], f"{place}.{name}")
    elif isinstance(given, list):
        demand(isinstance(taken, list) and len(taken) == len(given), place)
        for number, value in enumerate(given):
            _hold_manifest(value, taken[number], f"{place}.{number}")
    else:
        same = taken == given and isinstance(taken, bool) == isinstance(given, bool)
        demand(same or (given != given and taken != taken), f"{place} is {given!r} and was taken for {taken!r}")


def seeds(good: GoodArtefact) -> list[bytes]:
    edits = [
        b"features.0.name=\"b\"", b"features.0.mean=NaN", b"calibration.threshold=1e999", b"architecture.window=-1",
        b'features.0.scale="1"', b"features=[]\narchitecture.channels=0", b"format_version=3", b"files={}", b"metrics=",
        b'training.source="\\ud800"', b"calibration.quantile=true", b"features.1.unit=null",
        b"scoring.spans.0=\"last\"", b"scoring.last=9", b"scoring.units=[[0,1]]", b"features.0.change=\"rate\"",
        b"features.1.categories=[\"a\",\"b\"]",
    ]  # fmt: skip
    return [
        b"\x00" + good.files[MANIFEST],
        *(b"\x01" + edit for edit in edits),
        b"\x02" + good.files[GRAPH][:200],
        b"\x03" + good.files[WEIGHTS][:200],
        b"\x04\x00\x00\x08",
        b"\x05\x08\x00{}",
        *(b"\x06" + bytes([first, second, third]) for first in range(3) for second in (1, 2) for third in (0, 3)),
    ]


WORDS = [
    *b"features architecture calibration training metrics libraries files .0. .1. .name= .mean= .scale=".split(),
    *b".window= .hidden= .threshold= .quantile= format_version= scoring .units= .spans .last= .change= .clip=".split(),
    *b".log1p= .categories= =NaN =1e999 =-1 =0 =1.5".split(),
    *b'="" =null =true =[] ={} ="\\ud800" ="a" ="1.5" { } [ ] " , : \\ \xff 1e400 -Infinity \xff\xfe'.split(),
    *b'"weights.safetensors" "model.onnx" \xef\xbb\xbf'.split(),
    b"\n",
]
