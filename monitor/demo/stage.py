"""What every demo has: numbered chapters, commands as they would be typed, a service that ends with it."""

from __future__ import annotations

import re
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from monitor.batch import Record
from monitor.config import Settings
from monitor.demo import child, place
from monitor.demo.broker import broker, near, short
from monitor.demo.cut import Cut
from monitor.demo.watch import Watch
from monitor.errors import MonitorError
from monitor.kafka import history
from monitor.kafka.remove import remove
from monitor.local_kafka import free_ports

_LINE = 96
_READY_TIMEOUT = 60.0  # s


class Stage(ABC):
    """One run. `tell` returns when all is well, and raises MonitorError when a promise was not kept."""

    extra = ""
    """Sections of the configuration that are this demo's own."""

    def __init__(self, console: Console, named: str | None, *, keep: bool, cut: Cut) -> None:
        self._console = console
        self._named = named
        self._keep = keep
        self._cut = cut
        self._step = 0
        self._begun = time.monotonic()

    def tell(self) -> None:
        try:
            with ExitStack() as stack:
                self._tell(stack)
        except (KeyboardInterrupt, SystemExit):
            self._say("stopped, and everything with it")
            raise

    @abstractmethod
    def _tell(self, stack: ExitStack) -> None:
        """The chapters; what is on the stack is ended with the run."""

    def _prepare(self, stack: ExitStack) -> tuple[Path, Settings]:
        """The first two chapters: Kafka, and the topics. The folder, where the configuration is `monitor.yaml` and the
        model goes to `model`, and the settings.
        """
        folder = stack.enter_context(place.folder(keep=self._keep))
        self._chapter("Kafka")
        bootstrap = stack.enter_context(broker(self._named, folder / "kafka", self._say))
        config = folder / "monitor.yaml"
        text = place.configuration(bootstrap, uuid.uuid4().hex[:6], folder / "model", free_ports(1)[0])
        config.write_text(text + self.extra, encoding="utf-8")
        settings = place.load(config)
        if self._named and not self._keep:
            stack.callback(self._clear, settings)
        self._chapter("Topics for events, alerts, dead letters and state")
        self._run(folder, "topics", "--create", "-c", config)
        return folder, settings

    def _serve(self, stack: ExitStack, folder: Path, settings: Settings) -> tuple[child.Service, Watch]:
        self._chapter("The service, as a process of its own")
        watch = Watch(settings.web.port)
        service = self._start(folder / "monitor.yaml", folder / "service.log", watch)
        stack.callback(service.stop)
        return service, watch

    def _end(self, fault: str, settings: Settings, folder: Path, watch: Watch, service: child.Service) -> None:
        """Where it is to be kept, it is, until Ctrl+C. Raises MonitorError for a fault."""
        if self._keep:
            if fault:
                self._say(f"[red]{escape(fault)}[/red]")
            self._stay(settings, folder / "monitor.yaml", watch, service)
        if fault:
            raise MonitorError(fault, "Run it again with --keep to look at it.")

    def _start(self, config: Path, log: Path, watch: Watch) -> child.Service:
        self._command("run", "-c", config, "&")
        service = child.Service(config, log)
        try:
            waited = watch.wait_ready(_READY_TIMEOUT, service.require_running)
        except BaseException:
            service.stop()
            raise
        self._say(f"process {service.pid}, ready after {waited:.1f} s; log: {short(log)}")
        self._say(f"status page: {watch.url}/   metrics: {watch.url}/metrics")
        return service

    def _stop(self, service: child.Service) -> None:
        self._command("kill", "-TERM", str(service.pid), program="")
        begun = time.monotonic()
        code = service.stop()
        if code:
            raise MonitorError(f"the service ended with exit code {code} after SIGTERM, not 0", service.tail())
        self._say(f"exit code 0 after {time.monotonic() - begun:.1f} s")

    def _stay(self, settings: Settings, config: Path, watch: Watch, service: child.Service) -> None:
        """Until Ctrl+C; then the service is stopped in order."""
        self._chapter("Still up")
        self._say(f"Kafka at {settings.kafka.bootstrap_servers}, the service as process {service.pid}")
        self._say(f"status page {watch.url}/   metrics {watch.url}/metrics   files {short(config.parent)}")
        self._say("look at it with, for example:")
        self._command("alerts", "--all", "-c", config)
        self._say("[bold]Ctrl+C stops everything[/bold]")
        try:
            while True:
                service.require_running()
                time.sleep(0.5)
        except KeyboardInterrupt:
            self._cut.forget()
            self._stop(service)
        self._say(f"The files stay in {short(config.parent)} until the next demo.")
        if self._named:
            self._say(f"On {self._named} stay the topics {', '.join(names(settings))}.")

    def _clear(self, settings: Settings) -> None:
        """Takes the run's topics from a broker that is not its own."""
        try:
            remove(settings.kafka, names(settings), settings.kafka.group)
        except MonitorError as error:
            self._say(
                f"[yellow]not removed from {self._named}[/yellow]: "
                f"{', '.join(names(settings))}: {escape(error.message)}"
            )

    def _chapter(self, title: str) -> None:
        self._cut.check()
        self._step += 1
        self._console.print(f"\n[bold]{self._step}. {title}[/bold]")

    def _run(self, folder: Path, *arguments: str | Path, output: Path | None = None) -> None:
        """A command as it would be typed; with `output`, what it prints goes there."""
        self._command(*arguments, *((">", output) if output else ()))
        typed = (str(near(argument)) if isinstance(argument, Path) else argument for argument in arguments)
        child.call(folder, *typed, output=output)

    def _command(self, *arguments: str | Path, program: str = "monitor") -> None:
        typed = [short(argument) if isinstance(argument, Path) else argument for argument in arguments]
        line = " ".join([*([program] if program else []), *typed])
        if len(line) > _LINE:  # continued as a shell takes it
            line = re.sub(r" (--out|-c|>) ", r" \\\n      \1 ", line)
        self._say("$ " + escape(line))

    def _say(self, text: str) -> None:
        self._console.print(text)


def names(settings: Settings) -> list[str]:
    topics = settings.topics
    return [topics.input.name, topics.alerts.name, topics.dead_letters.name, topics.state.name]


def held(settings: Settings, topic: str) -> list[Record]:
    return [record for batch in history.read(settings.kafka, topic) for record in batch]


def header(record: Record, name: str) -> str:
    """What the service says of a dead letter: `reason`, `detail`."""
    return next((value.decode() for key, value in record.headers if key == f"monitor-{name}" and value), "")
