"""A member that is told to go, stands still, has no memory left; and brokers that are away."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.e2e.release import Release, released
from tests.e2e.scenario import scenario
from tests.e2e.stage import Stage
from tests.e2e.waiting import SLOWNESS, until

# Probes as the chart has them wait for half a minute; the mechanism is the same.
QUICK: dict[str, Any] = {
    "livenessProbe": {"periodSeconds": 2, "failureThreshold": round(3 * SLOWNESS), "timeoutSeconds": 2},
    "terminationGracePeriodSeconds": 5,
}
_STUCK_AFTER = 6 * SLOWNESS  # s; web.stuck_after
_OUTAGE = 20.0 * SLOWNESS  # s; longer than the probes above wait, and than stuck_after


def last_end(pod: Any) -> Any:
    """How the container that was there before ended."""
    return pod["status"]["containerStatuses"][0].get("lastState", {}).get("terminated")


def restarted(release: Release, number: int) -> Any:
    """The pod once its container has been started anew; it is the same pod."""
    uid = release.pod(number)["metadata"]["uid"]
    until(lambda: last_end(release.pod(number)), 90, "the container to be restarted")
    release.wait_ready(len(release.pods()))
    pod = release.pod(number)
    assert pod["metadata"]["uid"] == uid, "the pod was replaced, not restarted"
    return pod


@scenario("SIGTERM under load: a deleted pod ends in order within its grace period")
def sigterm(stage: Stage) -> str:
    with released(stage, "sigterm") as release:

        def delete() -> str:
            grace = release.pod(1)["spec"]["terminationGracePeriodSeconds"]
            name, log = f"{release.full}-1", release.folder / "deleted.log"
            follow = stage.cluster.start(log, "logs", "--follow", name)
            begun = time.monotonic()
            stage.cluster.kubectl("delete", "pod", name)
            took = time.monotonic() - begun
            follow.wait(30 * SLOWNESS)
            said = log.read_text()
            assert '"stopped"' in said, f"it did not end in order: {said[-1000:]}"
            assert took < grace, f"{took:.1f} s, and {grace} s are its grace period"
            release.wait_ready(2)
            return f"gone in order after {took:.1f} s of {grace}"

        return release.under_load(delete)


@scenario("a frozen member (SIGSTOP) under load: the liveness probe has it restarted")
def frozen(stage: Stage) -> str:
    with released(stage, "frozen", values=QUICK) as release:

        def freeze() -> str:
            begun = time.monotonic()
            stage.hand.signal(release.pod(1), signal.SIGSTOP)
            end = last_end(restarted(release, 1))
            assert end["exitCode"] == 128 + signal.SIGKILL, end
            assert release.restarts()[f"{release.full}-0"] == 0, "the other one was restarted too"
            return f"killed, restarted and ready after {time.monotonic() - begun:.0f} s"

        return release.under_load(freeze)


@scenario("a loop that stands still while HTTP answers: /livez says 503, and the member is restarted")
def stuck_loop(stage: Stage) -> str:
    with released(stage, "stuck", values=QUICK, changes={"web": {"stuck_after": _STUCK_AFTER}}) as release:
        stage.hand.hold_loop(release.pod(1), 120 * SLOWNESS)
        pod = restarted(release, 1)
        events = stage.cluster.get("events", "--field-selector", f"involvedObject.name={pod['metadata']['name']}")
        said = [event["message"] for event in events["items"] if "iveness probe failed" in event["message"]]
        assert any("statuscode: 503" in message for message in said), said
        assert release.restarts()[f"{release.full}-0"] == 0, "the other one was restarted too"
        release.feeder.start()
        return f"{said[0]}; {release.finish()}"


@scenario("brokers away for 20 s under load: members are unready, none is restarted, and they go on by themselves")
def broker_outage(stage: Stage) -> str:
    with released(stage, "outage", values=QUICK, changes={"web": {"stuck_after": _STUCK_AFTER}}) as release:

        def away() -> str:
            before = release.uids()
            stage.kafka.stop()
            try:
                begun = time.monotonic()
                until(lambda: release.ready() == 0, _OUTAGE / SLOWNESS, "the members to be unready")
                unready = time.monotonic() - begun
                time.sleep(max(0.0, _OUTAGE - unready))
            finally:
                stage.kafka.start(60 * SLOWNESS)
            begun = time.monotonic()
            release.wait_ready(2)
            assert release.uids() == before, "a pod was replaced"
            assert not any(release.restarts().values()), release.restarts()
            return f"unready after {unready:.0f} s, ready {time.monotonic() - begun:.0f} s after the broker was back"

        return release.under_load(away)


# Fills what the container may have, page by page, beside the service.
_EAT = """
held = []
while True:
    held.append(bytearray(1 << 20))
"""


@scenario("out of memory at the limit under load: OOMKilled, restarted, nothing lost")
def out_of_memory(stage: Stage) -> str:
    with released(stage, "memory") as release:

        def starve() -> str:
            stage.hand.first_to_die(release.pod(1))
            eater = stage.cluster.start(
                release.folder / "eater.log", "exec", f"{release.full}-1", "--", "python", "-c", _EAT
            )
            end = last_end(restarted(release, 1))
            eater.wait(30 * SLOWNESS)
            assert end["reason"] == "OOMKilled", end
            return "OOMKilled, restarted and ready"

        return release.under_load(starve)
