"""It is installed, and works; it is replaced, moved and killed under load, and the alerts are the same."""

from __future__ import annotations

import re
import signal

from tests.e2e.release import released
from tests.e2e.scenario import scenario
from tests.e2e.stage import Stage
from tests.e2e.waiting import until

ROLLED = {"example.com/roll": "2"}  # a pod annotation: another template, the same service


def metric(page: str, name: str) -> float:
    """Sum over a family's series."""
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE))


@scenario("install: topics by a job, the artefact mounted, ready; events in, alerts out, metrics and probes answer")
def install(stage: Stage) -> str:
    with released(stage, "install", replicas=2) as release:
        for number in range(2):
            assert release.http(number, "/livez"), "no answer"
            assert '"ready":true' in release.http(number, "/readyz").replace(" ", "")
        release.feeder.start()
        told = release.finish()
        pages = [release.http(number, "/metrics") for number in range(2)]
        read = sum(metric(page, "monitor_records_total") for page in pages)
        fed = sum(release.feeder.ends.values())
        assert read >= fed, f"monitor_records_total says {read:.0f} of {fed} records"  # more where a partition moved
        return f"{told}; metrics count {read:.0f} records"


@scenario("rolling upgrade under load")
def rolling_upgrade(stage: Stage) -> str:
    with released(stage, "upgrade") as release:
        before = release.uids()

        def roll() -> str:
            release.upgrade(podAnnotations=ROLLED)
            assert not set(before.values()) & set(release.uids().values()), "a pod was not replaced"
            return "2 pods replaced"

        return release.under_load(roll)


@scenario("rollback under load, after an upgrade that was well")
def rollback(stage: Stage) -> str:
    with released(stage, "rollback") as release:
        release.upgrade(podAnnotations=ROLLED)
        before = release.uids()

        def back() -> str:
            release.rollback()
            assert not set(before.values()) & set(release.uids().values()), "a pod was not replaced"
            assert not any(ROLLED.keys() & pod["metadata"]["annotations"].keys() for pod in release.pods())
            return "2 pods replaced"

        return release.under_load(back)


@scenario("kill -9 of each member in turn, under load")
def kill(stage: Stage) -> str:
    with released(stage, "kill") as release:

        def strike() -> str:
            for number in range(2):
                before = sum(release.restarts().values())
                stage.hand.signal(release.pod(number), signal.SIGKILL)
                until(lambda: sum(release.restarts().values()) > before, 60, "the container to be restarted")  # noqa: B023
                release.wait_ready(2)
            return "2 containers killed and restarted"

        return release.under_load(strike)
