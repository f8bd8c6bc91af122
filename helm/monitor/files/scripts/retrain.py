"""The retraining job: trains beside the model in use, and puts the new one in its place only if it is no worse.

`retrain.py ORDER`, ORDER being JSON (see retrain.yaml of the chart). An artefact is a folder named by its time; the
folder that is served, `path`, becomes a link to one of them, changed in one step. Worse is by a measure of `monitor
evaluate` on labelled files; without those nothing can tell, and a person decides.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ORDERED = "%Y%m%dT%H%M%SZ"


def main() -> int:
    order = json.loads(sys.argv[1])
    models = Path(order["models"])
    served, name = models / order["path"], f"{order['path']}-{time.strftime(ORDERED, time.gmtime())}"
    candidate = models / name
    train(order, candidate)
    if not served.exists():
        say(f"{served}: there was none; {name} is the first")
        place(served, name)
        return 0
    compare = order["compare"]
    if not compare["files"]:
        say(f"{name} is beside the model in use, which stays: without retrain.compare nothing tells which is better")
    else:
        old, new = (measure(compare, folder) for folder in (served, candidate))
        verdict = f"{compare['measure']}: {old:.4f} of the model in use, {new:.4f} of {name}"
        if new < old - compare["tolerance"]:
            say(f"{verdict}: the old one stays")
        else:
            place(served, name)
            say(f"{verdict}: the new one is in its place, for pods that start from now on")
    prune(models, order, served)
    return 0


def train(order: dict[str, Any], candidate: Path) -> None:
    if order["from_topic"]:
        source = ["--from-topic", "--since", str(time.time() - order["days"] * 86400)]
    else:
        source = order["files"]
    run("train", *source, "--out", str(candidate), *order["arguments"])


def measure(compare: dict[str, Any], folder: Path) -> float:
    """A measure of the model's own row in `monitor evaluate --json`; one that is not defined is worth nothing."""
    arguments = ["--labels", compare["labels"], "--model", str(folder), "--json", *compare["arguments"]]
    facts: dict[str, Any] = json.loads(run("evaluate", *compare["files"], *arguments))["overall"]["model"]
    if compare["measure"] not in facts:
        raise SystemExit(f"retrain.compare.measure: {compare['measure']} is none of {', '.join(facts)}")
    return float(facts[compare["measure"]] or 0.0)


def place(served: Path, name: str) -> None:
    """`served` is a link to `name` from now on; a folder that stood there is kept under another name."""
    if served.exists() and not served.is_symlink():
        served.rename(served.with_name(f"{served.name}-first"))
    link = served.with_name(f".{served.name}.new")
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(served)


def prune(models: Path, order: dict[str, Any], served: Path) -> None:
    """The newest `keep` are kept, and the one in use."""
    made = sorted(models.glob(f"{order['path']}-2*Z"))
    for folder in made[: max(0, len(made) - order["keep"])]:
        if folder.resolve() != served.resolve():
            shutil.rmtree(folder)


def run(*arguments: str) -> str:
    """What the command prints; its messages pass through, and its failure is ours."""
    done = subprocess.run([sys.executable, "-m", "monitor", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stdout.write(done.stdout)
        raise SystemExit(done.returncode)
    return done.stdout


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
