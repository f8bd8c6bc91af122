"""`python -m tests.e2e`: plays the scenarios on a cluster and says of each ok, FAILED or SKIP; 1 where one failed.

It knows a kubeconfig, the name of an image, how to bring it to the nodes, and an address of this machine that pods can
reach (a real Apache Kafka is started there). It works in two namespaces of its own, which it removes; it drains and
uncordons nodes: for a cluster to test on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from tests.deploy.rendering import ROOT
from tests.deploy.tools import find
from tests.e2e import report, results, scenarios
from tests.e2e.scenario import SCENARIOS, Played, Scenario, Skipped
from tests.e2e.stage import Given, Stage

KEPT = ROOT / "build" / "e2e"


def main() -> int:
    assert scenarios.__all__  # imported: the list is filled
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed
    arguments = _parse()
    if arguments.list:
        print("\n".join(f"{one.name:24}{one.title}" for one in SCENARIOS))
        return 0
    chosen = [one for one in SCENARIOS if not arguments.only or one.name in arguments.only]
    shutil.rmtree(arguments.keep, ignore_errors=True)
    with Stage(_given(arguments), arguments.keep) as stage:
        told = report.versions(stage.cluster)
        print(told, flush=True)
        played = []
        for one in chosen:
            played.append(play(one, stage))
            if arguments.write:
                report.write(results.keep(played[-1:], arguments.date, told))
    words = [one.word for one in played]
    if "FAILED" not in words:
        shutil.rmtree(arguments.keep, ignore_errors=True)
    print(f"{words.count('ok')} ok, {words.count('FAILED')} failed, {words.count('SKIP')} skipped", flush=True)
    return 1 if "FAILED" in words else 0


def play(one: Scenario, stage: Stage) -> Played:
    begun = time.monotonic()
    try:
        word, told = "ok", one.play(stage)
    except Skipped as why:
        word, told = "SKIP", str(why)
    except Exception as error:  # the others are played all the same
        word, told = "FAILED", "".join(traceback.format_exception(error, limit=-3))
    played = Played(one, word, told, time.monotonic() - begun)
    shown = "\n        ".join(told.strip().splitlines())
    print(f"{word:8}{one.name}: {one.title} ({played.seconds:.0f} s)\n        {shown}", flush=True)
    return played


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=__doc__)
    environment = os.environ
    parser.add_argument("--kubeconfig", default=environment.get("KUBECONFIG"), help="default: $KUBECONFIG")
    parser.add_argument(
        "--image", default=environment.get("MONITOR_E2E_IMAGE"), help="name:tag; default: $MONITOR_E2E_IMAGE"
    )
    parser.add_argument(
        "--load",
        default=environment.get("MONITOR_E2E_LOAD", ""),
        help="command that brings it to the nodes, {image} for its name, such as 'kind load docker-image {image}'; "
        "default: $MONITOR_E2E_LOAD, or none",
    )
    parser.add_argument(
        "--kafka-host",
        default=environment.get("MONITOR_E2E_KAFKA_HOST"),
        help="address of this machine as pods see it; default: $MONITOR_E2E_KAFKA_HOST",
    )
    parser.add_argument("--only", action="append", choices=[one.name for one in SCENARIOS], help="may be repeated")
    parser.add_argument("--write", action="store_true", help="write docs/kubernetes.md")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="what the page says of when it was")
    parser.add_argument("--keep", type=Path, default=KEPT, help="folder for what a failed scenario leaves: build/e2e")
    parser.add_argument("--list", action="store_true", help="name the scenarios, and end")
    return parser.parse_args()


def _given(arguments: argparse.Namespace) -> Given:
    for name in ("kubeconfig", "image", "kafka_host"):
        if not getattr(arguments, name):
            sys.exit(f"--{name.replace('_', '-')} is needed; see python -m tests.e2e --help")
    tools = {}
    for name in ("kubectl", "helm4"):
        found = find(name)
        if found is None:
            sys.exit(f"no {name} on PATH or in the cache: python -m tests.deploy.tools")
        tools[name] = found
    return Given(
        Path(arguments.kubeconfig).resolve(),
        arguments.image,
        arguments.kafka_host,
        tools["kubectl"],
        tools["helm4"],
        arguments.load,
    )


if __name__ == "__main__":
    sys.exit(main())
