"""The optional outputs on a real broker: topics that are made and checked, and each message once, whoever is killed."""

from __future__ import annotations

from functools import partial

from monitor import detector
from monitor.assembly import assemble
from monitor.batch import OutputName
from monitor.config import loading
from monitor.outputs import OUTPUTS
from tests.integration.conftest import MakeDeployment
from tests.integration.running import Deployment, Monitor, records, rows

KILLS = 3
BETWEEN = 120  # events that a member publishes before it is killed


def names(deployment: Deployment) -> dict[OutputName, str]:
    return {output: f"{deployment.kafka.group}.{output}" for output in OUTPUTS}


def published(deployment: Deployment) -> dict[OutputName, list[tuple[bytes, bytes]]]:
    """Key and value of each message as a `read_committed` reader has them."""
    return {
        output: [(record.key, record.value) for record in deployment.read(topic)]
        for output, topic in names(deployment).items()
    }


def undisturbed(deployment: Deployment) -> dict[OutputName, list[tuple[bytes, bytes]]]:
    settings = loading.load(deployment.file)
    pipeline = assemble(settings, detector.load(settings.model.path, settings.model))
    outcome = pipeline.process(deployment.read(deployment.topics.input.name))
    return {output: [(one.key, one.value) for one in found] for output, found in outcome.outputs.items()}


def _published_some(member: Monitor) -> bool:
    return member.metric("monitor_outputs_total", output="latent") >= BETWEEN


def test_members_that_are_killed_publish_every_score_denoised_event_and_code_once(deploy: MakeDeployment) -> None:
    """Amid transactions of seven events: what was left open is never seen, what was committed comes no second time."""
    deployment = deploy()
    deployment.write(
        outputs={"partitions": 1, **dict[str, str](names(deployment).items())},
        kafka={"instance_id": "only", "poll_records": 7},
    )
    assert deployment.start("topics", "--create").ends() == 0
    check = deployment.start("check")
    assert check.ends() == 0, check.tail()
    assert "7 topics" in check.log
    values = rows(2000, anomalies=(600, 1500))
    deployment.put(records("pump", values))
    for _ in range(KILLS):
        member = deployment.serve()
        member.until(partial(_published_some, member), "some outputs")
        member.kill()
    last = deployment.serve()
    last.until(lambda: last.places()[0]["position"] == len(values), "the end of the input")
    last.until(lambda: len(deployment.read(names(deployment)["latent"])) >= len(values) - 7, "the last transaction")
    found = published(deployment)
    assert found == undisturbed(deployment)
    assert [len(found[output]) for output in OUTPUTS] == [len(values) - 7] * 3
    assert deployment.alert_values() == deployment.undisturbed()


def test_a_topic_of_an_output_that_is_not_there_is_named_with_the_command_that_makes_it(deployment: Deployment) -> None:
    deployment.write(outputs={"scores": f"{deployment.kafka.group}.scores"})
    service = deployment.start("run")
    assert service.ends() == 1
    assert f"topic '{deployment.kafka.group}.scores' (outputs.scores) does not exist" in service.log
    assert "monitor topics --create" in service.log
