"""The captures of the laboratory through all methods -> docs/traffic.md; what is measured already is kept.

python -m benchmarks.traffic.report --data build/traffic [--seeds 3] [--kinds packets,flows,hosts] [--page-only]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.detection.baselines import MaxZ, PcaError, Rule
from benchmarks.detection.method import Method
from benchmarks.detection.ours import RECIPE, Ours
from benchmarks.detection.results import Result, Store, digest, run
from benchmarks.traffic.kitnet import KitNet
from benchmarks.traffic.laboratory import Label, read_labels
from benchmarks.traffic.measuring import ALERTS, Laboratory, names
from benchmarks.traffic.vectors import KINDS, Kind
from monitor.config import Training
from monitor.errors import MonitorError, UsageError

RESULTS = Path("build/traffic-results")
PAGE = Path("docs/traffic.md")
TEXT = Path(__file__).with_name("page.md")
QUANTILE = 0.9999
"""Of held-out normal rows, the threshold of every method."""
_RULE = Rule(quantile=QUANTILE, held_back=0.25)
_LINEAR = RECIPE.model_copy(update={"quantile": QUANTILE, "wandering": "level"})
_CODE = ("kitnet.py", "measuring.py", "vectors.py")


def methods(kind: Kind) -> tuple[tuple[Method, bool], ...]:
    """With whether a seed changes anything. Packets are many: two epochs of them are more steps than ten of flows."""
    network = Training(detector="autoencoder", window=10, quantile=QUANTILE, epochs=2 if kind == "packets" else 10)
    return (
        (MaxZ(_RULE), False),
        (PcaError(_RULE), False),
        (KitNet(_RULE.held_back, QUANTILE), True),
        (Ours(_LINEAR, "ours, linear"), False),
        (Ours(network, "ours, LSTM"), True),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traffic.report", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("build/traffic"), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="for what draws (default: %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written (default: %(default)s)")
    parser.add_argument("--page-only", action="store_true", help="write it from the results there are")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if missing := [part for part in ("normal", "calm", "attacks") if not _capture(options.data, part).exists()]:
            raise UsageError(f"{options.data} has no {missing[0]}.pcap", "Make it: python -m benchmarks.traffic")
        store = Store(options.results)
        if not options.page_only:
            measure(options.data, [kind for kind in KINDS if kind in options.kinds.split(",")], options.seeds, store)
        options.page.write_text(page(options.data, store), encoding="utf-8")
    except MonitorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(folder: Path, kinds: Sequence[Kind], seeds: int, store: Store) -> None:
    """One seed of all, then the next, so that the page has every row early."""
    loaded: dict[Kind, Laboratory] = {}
    for seed in range(seeds):
        for kind in kinds:
            for method, drawn in methods(kind):
                of = _digest(folder, method)
                if (seed and not drawn) or store.get(kind, method.name, of, seed):
                    continue
                laboratory = loaded.setdefault(kind, loaded.get(kind) or Laboratory.load(folder, kind))
                result = run(laboratory, method, seed)
                store.put(kind, method.name, of, seed, result)
                print(f"{kind}  {method.name}  seed {seed}  {result.seconds:.0f} s", flush=True)


def page(folder: Path, store: Store) -> str:
    """The page: the words of page.md, and the tables."""
    text = TEXT.read_text(encoding="utf-8")
    text = text.replace("{{labels}}", _labels(read_labels(folder / "labels.csv")))
    for kind in KINDS:
        rows = {
            method.name: found
            for method, _ in methods(kind)
            if (found := store.seeds(kind, method.name, _digest(folder, method)))
        }
        text = text.replace(f"{{{{table {kind}}}}}", table(rows) if rows else "Not measured.")
    return text.replace("{{machine}}", f"{os.cpu_count()} cores of a machine that other work shared")


def table(rows: dict[str, list[Result]]) -> str:
    """A row for each method: alerts a day, then of each attack AUC and time to detection."""
    attacks = names(list(next(iter(rows.values()))[0].figures))
    out = [["", ALERTS, *attacks, "seeds", "fit s"], ["---", *["---:"] * (len(attacks) + 3)]]
    for name, results in rows.items():
        cells = [
            f"{_mean([r.figures[f'{attack}: AUC'] for r in results], 3)}; "
            f"{_delay([r.figures[f'{attack}: delay'] for r in results])}"
            for attack in attacks
        ]
        fitting = np.mean([result.fit_seconds for result in results])
        alerts = _mean([result.figures[ALERTS] for result in results], 0)
        out.append([name.replace("|", r"\|"), alerts, *cells, str(len(results)), f"{fitting:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in out)


def _mean(values: Sequence[float], digits: int) -> str:
    if np.isnan(values).any():
        return "-"
    spread = f"{np.std(values):.{digits}f}"
    return f"{np.mean(values):,.{digits}f}" + (f" ± {spread}" if float(spread) > 0 else "")


def _delay(values: Sequence[float]) -> str:
    """The mean over the seeds that flagged it, and how many those are where it is not all."""
    found = [value for value in values if not np.isnan(value)]
    if not found:
        return "never"
    several = f" ({len(found)} of {len(values)})" if len(found) < len(values) else ""
    return f"{np.mean(found):.1f} s{several}"


def _labels(labels: Sequence[Label]) -> str:
    rows = [["attack", "lasted", "attacker", "victim"], ["---", "---:", "---", "---"]]
    rows += [[one.attack, f"{one.end - one.begin:.0f} s", one.attacker, one.victim] for one in labels]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _digest(folder: Path, method: Method) -> str:
    found = hashlib.sha256((folder / "labels.csv").read_bytes())
    for name in _CODE:
        found.update(Path(__file__).with_name(name).read_bytes())
    return digest(method, found.hexdigest())


def _capture(folder: Path, part: str) -> Path:
    return folder / f"{part}.pcap"


if __name__ == "__main__":
    sys.exit(main())
