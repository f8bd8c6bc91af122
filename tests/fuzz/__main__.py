"""`make fuzz`: every target under a coverage-guided fuzzer until it has seen its share of inputs; goes on where it was.

All it makes is in build/fuzz: per target the corpus, the findings and the count. What is to be published is in
tests/fuzz/counts.json, which is committed. It runs in child processes, each with a bounded number of inputs and bounded
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.fuzz.keeping import keep, kept
from tests.fuzz.target import ROOT, Target
from tests.fuzz.targets import NAMES, targets

BUILD = ROOT / "build" / "fuzz"
COUNTS = Path(__file__).with_name("counts.json")
LONGEST = {"events": 4096, "checkpoint": 4096, "state": 4096, "config": 1024, "artefact": 4096}  # bytes of an input
MEMORY = 2048  # MiB of a child
SLOWEST = 20  # s for one input: more is a finding
SPARE = 100  # inputs more than asked for, so that what libFuzzer tries of its own accord at a start does not count
_LINE = re.compile(rb"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_MODEL = (
    "import sys; from pathlib import Path; from tests.models import tiny_artefact; tiny_artefact(Path(sys.argv[1]), "
)
_MODEL += "features=('a', 'b'), window=2, hidden=2, code=1, epochs=1)"


@dataclass
class State:
    """How far a target is. Executions are inputs that were tried, the corpus read again at a start not among them."""

    executions: int = 0
    children: int = 0
    died: int = 0  # children that a signal, a time-out or their memory ended
    corpus: int = 0
    coverage: int = 0  # branches, as libFuzzer counts them
    seconds: float = 0.0

    @staticmethod
    def of(folder: Path) -> State:
        path = folder / "state.json"
        return State(**json.loads(path.read_text())) if path.exists() else State()

    def save(self, folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps(asdict(self)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", choices=[*NAMES, []], help="default: all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="per target, those of earlier runs included")
    parser.add_argument("--chunk", type=int, default=50_000, help="inputs of one child process")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    parser.add_argument("--keep", action="store_true", help="only write the best of the corpus to tests/fuzz/corpus")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the child ends as after Ctrl+C
    names = asked.target or list(NAMES)
    every = targets(model())
    if asked.keep:
        for name in names:
            print(keep(every[name], BUILD / name / "corpus"))
        return 0
    for name in names:
        folder = BUILD / name
        if asked.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            fuzz(every[name], folder, asked.inputs, asked.chunk)
        except KeyboardInterrupt:
            print("stopped; run it again to go on")
            break
    publish(names)
    print(table())
    return 1 if any(sum(found(BUILD / name).values()) or State.of(BUILD / name).died for name in names) else 0


def model() -> Path:
    """A folder with a small trained model; made by another process, because this one needs no torch."""
    folder = BUILD / "model"
    if not (folder / "manifest.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", _MODEL, str(folder)], cwd=ROOT, check=True)
    return folder


def fuzz(target: Target, folder: Path, inputs: int, chunk: int) -> None:
    corpus, findings = folder / "corpus", folder / "findings"
    if not corpus.exists():
        corpus.mkdir(parents=True)
        for number, seed in enumerate([*target.seeds(), *kept(target.name)]):
            (corpus / f"seed-{number}").write_bytes(seed)
    findings.mkdir(exist_ok=True)
    words = folder / "words.dict"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words if len(word) <= 64)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    state = State.of(folder)
    while state.executions < inputs:
        begun = time.monotonic()
        runs = min(chunk, inputs - state.executions) + SPARE
        before = state.executions
        code = child(target.name, folder, state, runs)
        state.children += 1
        state.died += code != 0
        if state.executions == before:
            raise RuntimeError(f"{target.name}: the fuzzer tries nothing; see {folder / 'child.log'}")
        state.seconds += time.monotonic() - begun
        state.save(folder)
        told = " ".join(f"{count} {kind}," for kind, count in sorted(found(folder).items())) or "no findings,"
        print(
            f"{target.name}: {state.executions:,} inputs, {told} {state.died} died, corpus {state.corpus}, "
            f"coverage {state.coverage}, {state.executions / state.seconds:.0f} inputs/s",
            flush=True,
        )


def child(name: str, folder: Path, state: State, runs: int) -> int:
    """Runs one process and adds what it did to the state; its exit code."""
    again = len(list((folder / "corpus").iterdir()))
    arguments = [
        f"-runs={again + runs}",
        f"-seed={1 + state.children}",
        f"-max_len={LONGEST[name]}",
        f"-rss_limit_mb={MEMORY}",
        f"-timeout={SLOWEST}",
        f"-dict={folder / 'words.dict'}",
        f"-artifact_prefix={folder / 'findings'}/",
        str(folder / "corpus"),
    ]
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(model()), str(folder / "findings"), *arguments]
    started = 0
    last = 0
    with tempfile.TemporaryDirectory(prefix="monitor-fuzz-") as scratch, (folder / "child.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, env=environment(scratch))
        assert process.stderr is not None
        try:
            for line in process.stderr:
                log.write(line)
                if match := _LINE.match(line):
                    last = int(match[1])
                    started = last if match[2] == b"INITED" and state.children else started
                    state.coverage, state.corpus = int(match[3]), int(match[5])
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        finally:
            state.executions += max(0, last - started)
            state.save(folder)
        return process.wait()


def environment(scratch: str) -> dict[str, str]:
    """Of a child: its temporary files are removed with the folder."""
    return {**os.environ, "TMPDIR": scratch, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


def found(folder: Path) -> dict[str, int]:
    """Findings by kind."""
    path = folder / "findings" / "findings.jsonl"
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()] if path.exists() else []
    return {kind: kinds.count(kind) for kind in set(kinds)}


def publish(names: list[str]) -> None:
    """Takes the counts of these targets over where they have seen no fewer inputs than those that are published."""
    counts = json.loads(COUNTS.read_text())
    for name in names:
        findings, state = found(BUILD / name), State.of(BUILD / name)
        if state.executions >= counts.get(name, {}).get("inputs", 0):
            counts[name] = {
                "inputs": state.executions,
                "crashes": findings.get("crash", 0) + state.died,
                "wrong": findings.get("wrong", 0),
                "corpus": state.corpus,
                "branches": state.coverage,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
            }
    COUNTS.write_text(json.dumps({name: counts[name] for name in NAMES if name in counts}, indent=1) + "\n")


def table() -> str:
    """Markdown, of what is published."""
    lines = [
        "| target | inputs | crashes | wrong answers | corpus | branches | date |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['inputs']:,} | {row['crashes']} | {row['wrong']} | {row['corpus']} | {row['branches']} "
        f"| {row['date']} |"
        for name, row in json.loads(COUNTS.read_text()).items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
