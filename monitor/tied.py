"""Child processes that do not outlive their parent, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

# Runs before the program, in the same process: asks the kernel to end it when the thread that started it ends (1 is
# PR_SET_PDEATHSIG, Linux only), and ends itself if that has happened already. SIGKILL, since it must also reach a
# stopped process. Done here and not between fork and exec, where Python code is unsafe beside other threads.
_SCRIPT = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
command = sys.argv[3 + int(sys.argv[2]):]
os.environ.update(pair.split("=", 1) for pair in sys.argv[3 : 3 + int(sys.argv[2])])
os.execv(command[0], command)
"""


def tied(command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """The command (a path first), so that its process dies with the thread that starts it; with variables on top."""
    pairs = [f"{name}={value}" for name, value in (environment or {}).items()]
    return [sys.executable, "-I", "-S", "-c", _SCRIPT, str(os.getpid()), str(len(pairs)), *pairs, *command]
