"""One process of the fuzzer: `python -m tests.fuzz.child TARGET MODEL FINDINGS LIBFUZZER-ARGUMENTS...`.

What a check raises is written down and does not end the run. What ends the process itself (a signal, a time-out, memory
without end) libFuzzer tells, and the parent counts it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import traceback
from pathlib import Path

import atheris

MOST_WRITTEN = 2000  # findings of one process


def main() -> None:
    name, model, findings, *arguments = sys.argv[1:]
    include = ["monitor", "tests.fuzz"] + (["ruamel.yaml"] if name == "config" else [])
    with atheris.instrument_imports(include=include):
        target = importlib.import_module("tests.fuzz.targets").targets(Path(model))[name]
    folder = Path(findings)
    written = 0

    def one(data: bytes) -> None:
        nonlocal written
        try:
            target.check(data)
        except Exception as error:
            written += 1
            if written <= MOST_WRITTEN:
                write(folder, data, error)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def write(folder: Path, data: bytes, error: Exception) -> None:
    """The input, once for each place and message; and a line for each finding."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind = "wrong" if type(error).__name__ == "WrongError" else "crash"
    told = f"{type(error).__name__}: {error}"[:300]
    place = hashlib.sha256(f"{frame.filename}:{frame.lineno}:{told[:40]}".encode(errors="replace")).hexdigest()[:12]
    file = folder / f"{kind}-{place}"
    if not file.exists():
        file.write_bytes(data)
        told_whole = "".join(traceback.format_exception(error))[-4000:]
        file.with_suffix(".txt").write_text(told_whole, encoding="utf-8", errors="replace")
    with (folder / "findings.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"kind": kind, "input": file.name, "told": told}) + "\n")


if __name__ == "__main__":
    main()
