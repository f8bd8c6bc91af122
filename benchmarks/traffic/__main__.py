"""Captures with labels from a laboratory of network namespaces on this machine; needs root and Debian's programs.

python -m benchmarks.traffic --out build/traffic [--normal 480] [--calm 300] [--gap 25] [--only 'port scan,SYN flood']
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.traffic import laboratory, network
from benchmarks.traffic.attacks import ATTACKS
from benchmarks.traffic.laboratory import Plan
from monitor.errors import MonitorError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; 2 where rights, a program or a name are missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    names = [attack.name for attack in ATTACKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traffic", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/traffic"), help="folder (default: %(default)s)")
    parser.add_argument("--normal", type=float, default=480, help="seconds to train on (default: %(default)s)")
    parser.add_argument("--calm", type=float, default=300, help="seconds more without attacks (default: %(default)s)")
    parser.add_argument("--gap", type=float, default=25, help="seconds before each attack (default: %(default)s)")
    parser.add_argument("--only", default=",".join(names), help="attacks, in order (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what the clients do (default: %(default)s)")
    options = parser.parse_args(given)
    try:
        wanted = [name for name in options.only.split(",") if name]
        if unknown := [name for name in wanted if name not in names]:
            raise UsageError(f"no attack is called {unknown[0]!r}", f"There are: {', '.join(names)}.")
        attacks = [next(attack for attack in ATTACKS if attack.name == name) for name in wanted]
        plan = Plan(options.normal, options.calm, options.gap, attacks)
        network.check()
        if not network.inside():
            return network.enter(given, plan.longest)
        laboratory.run(plan, options.out, options.seed, lambda text: print(text, flush=True))
    except MonitorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
