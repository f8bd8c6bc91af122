"""What is wrong is refused, and what ran before goes on running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.e2e.release import Release, released
from tests.e2e.scenario import scenario
from tests.e2e.stage import PASSWORD, Stage, artefact
from tests.e2e.waiting import SLOWNESS, until

_NOWHERE = {"repository": "localhost/no-such-image", "tag": "1"}
_SHORT = round(20 * SLOWNESS)  # s; check.deadlineSeconds for what never starts


def image_of(pod: Any) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def goes_on(release: Release) -> None:
    """Records are committed now."""
    before = release.consumed()
    until(lambda: release.consumed() > before, 30, "records to be committed")


@scenario("an image that is nowhere, under load: the check stops it before a pod is replaced")
def wrong_image(stage: Stage) -> str:
    with released(stage, "image", values={"check": {"deadlineSeconds": _SHORT}}) as release:

        def upgrade() -> str:
            before = release.uids()
            begun = time.monotonic()
            said = release.refused("--rollback-on-failure", image=_NOWHERE)
            assert release.uids() == before, f"a pod was replaced: {said}"
            assert release.ready() == 2, "a pod is not ready"
            return f"refused after {time.monotonic() - begun:.0f} s"

        return release.under_load(upgrade)


@scenario("the same without the check, under load: the other pod serves, and helm rolls back")
def wrong_image_unchecked(stage: Stage) -> str:
    with released(stage, "unchecked") as release:

        def upgrade() -> str:
            right = image_of(release.pod(0))
            release.refused("--no-hooks", wait=round(10 * SLOWNESS), image=_NOWHERE)
            images = [image_of(pod) for pod in release.pods()]
            assert sorted(image == right for image in images) == [False, True], images
            assert release.ready() == 1, f"{release.ready()} pods ready"
            goes_on(release)
            release.rollback()
            release.wait_ready(2)
            release.refused("--no-hooks", "--rollback-on-failure", wait=round(10 * SLOWNESS), image=_NOWHERE)
            release.wait_ready(2)
            assert {image_of(pod) for pod in release.pods()} == {right}
            return "one pod replaced and waiting, the other served; rolled back by hand, and by helm itself"

        return release.under_load(upgrade)


@scenario("a memory limit below what the service needs, under load: one pod fails, the other serves, helm rolls back")
def wrong_limit(stage: Stage) -> str:
    with released(stage, "limit") as release:
        tight = {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}

        def upgrade() -> str:
            before = release.uids()
            release.refused("--rollback-on-failure", wait=round(15 * SLOWNESS), resources=tight)
            release.wait_ready(2)
            after = release.uids()
            kept = [name for name, uid in after.items() if before[name] == uid]
            assert len(kept) == 1, f"{len(kept)} pods were left alone"
            return f"{kept[0]} was left alone"

        return release.under_load(upgrade)


def _bad(release: Release) -> Iterator[tuple[str, dict[str, Any], str, bool]]:
    """What, the values, what must be said, and whether a pod cannot even start."""
    config = release.values["config"]
    volume = release.values["model"]["volume"]["configMap"]

    def with_config(section: str, **settings: Any) -> dict[str, Any]:
        return {"config": {**config, section: {**config.get(section, {}), **settings}}}

    yield "unknown value", {"replicaz": 2}, "replicaz", False
    yield "wrong type", {"replicas": "two"}, "/replicas", False
    yield "unknown setting", with_config("kafka", grup="x"), "grup", False
    yield "setting out of range", with_config("windows", idle_timeout=-1), "/config/windows/idle_timeout", False
    yield "two settings at odds", with_config("kafka", session_timeout=90), "session_timeout must not exceed", False
    yield (
        "features that differ from the artefact's",
        with_config("events", features=["a", "b", "d"]),
        "does not fit",
        False,
    )
    yield (
        "a topic that is missing",
        with_config("topics", input={"name": "no-such-topic", "partitions": 3}) | {"topics": {"create": False}},
        "does not exist",
        False,
    )
    yield "no artefact", {"model": {"path": "model", "volume": {"emptyDir": {}}}}, "there is no model folder", False
    damaged = {"path": "model", "volume": {"configMap": {**volume, "name": "damaged"}}}
    yield "a damaged artefact", {"model": damaged}, "SHA-256 differs", False
    nowhere = {"path": "model", "volume": {"configMap": {**volume, "name": "nowhere"}}}
    yield "an artefact's volume that is missing", {"model": nowhere}, 'configmap "nowhere" not found', True
    stranger = {"mechanism": "PLAIN", "username": "stranger"}
    stranger_values = with_config("kafka", sasl=stranger, bootstrap_servers=release.stage.for_strangers)
    stranger_values["topics"] = {"create": False}
    nobody = {"sasl": {"secret": {"name": "nobody"}}}
    yield "a secret that is missing", stranger_values | nobody, 'secret "nobody" not found', True
    yield "no rights on a topic", stranger_values | {"sasl": {"secret": {"name": "stranger"}}}, "lacks", False


def _secret(name: str, password: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}}


@scenario("bad values, settings, artefacts and topics: each refused with its reason before a pod is replaced")
def bad_input(stage: Stage) -> str:
    with released(stage, "bad", replicas=1, values={"check": {"deadlineSeconds": round(60 * SLOWNESS)}}) as release:
        stage.cluster.apply(artefact("damaged", stage.model, damage=b"x"), _secret("stranger", PASSWORD))
        before = release.uids()
        refused = []
        for what, values, words, never_starts in _bad(release):
            more: dict[str, Any] = {"check": {"deadlineSeconds": _SHORT}} if never_starts else {}
            said = release.refused(**values, **more)
            if never_starts:
                said += "".join(event["message"] for event in stage.cluster.get("events")["items"])
            assert words in said, f"{what}: not {words!r} in {said}"
            assert release.uids() == before, f"{what}: the pod was replaced"
            refused.append(what)
        assert not any(release.restarts().values())
        release.feeder.start()
        return f"{len(refused)} refused: {', '.join(refused)}; {release.finish()}"
