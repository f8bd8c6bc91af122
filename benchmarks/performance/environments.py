"""Environments of their own: of the peers, of a serving pod, of the sampling profiler. Made once, then kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.performance.bench import console
from benchmarks.performance.processes import ROOT

REQUIREMENTS = ROOT / "benchmarks" / "peers" / "requirements.txt"
PROFILER = "py-spy==0.4.3"


def peers(folder: Path) -> Path:
    """The interpreter that runs benchmarks/peers (about 5 GB, nearly all of it PyTorch)."""
    return _made(folder / "peers", ["-r", str(REQUIREMENTS)], REQUIREMENTS.read_text(encoding="utf-8"))


def serving(folder: Path) -> Path:
    """The interpreter of an environment that has the project as a serving pod has it: no extra."""
    return _made(folder / "serving", [str(ROOT), "-c", str(ROOT / "constraints.txt")], "")


def profiler(folder: Path) -> Path:
    """py-spy."""
    return _made(folder / "tools", [PROFILER], PROFILER).with_name("py-spy")


def _made(place: Path, packages: Sequence[str], content: str) -> Path:
    """Installs unless the same was installed there before; where `content` is empty, always anew."""
    python, stamp = place / "bin" / "python", place / "installed"
    digest = hashlib.sha256(content.encode()).hexdigest()
    if content and stamp.exists() and stamp.read_text(encoding="ascii") == digest:
        return python
    console.print(f"installing {' '.join(Path(one).name for one in packages)} into {place}", markup=False)
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"pip could not install {' '.join(packages)} into {place} (code {done.returncode})")
    stamp.write_text(digest, encoding="ascii")
    return python
