"""Laws of the chart: whatever variant is rendered, by whatever Helm, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from monitor.config import loading
from tests.deploy.rendering import CHART, SMALLEST, VARIANTS, Object, RefusedError, objects, of_kind, pods, render
from tests.deploy.tools import SCHEMAS, schemas, tool

HELMS = ("helm4", "helm3")
CUSTOM = ("ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication")

variants = pytest.mark.parametrize("values", VARIANTS, ids=lambda path: path.stem.removesuffix("-values"))


def rendered(values: Path, *sets: str) -> list[Object]:
    return objects(render(tool("helm4"), values, *sets))


@pytest.mark.parametrize("helm", HELMS)
@variants
def test_every_variant_passes_the_linter(helm: str, values: Path) -> None:
    command = [str(tool(helm)), "lint", "--strict", str(CHART), "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@variants
def test_helm_3_and_4_render_the_same(values: Path) -> None:
    assert objects(render(tool("helm3"), values)) == objects(render(tool("helm4"), values))


@pytest.mark.parametrize("version", SCHEMAS)
def test_every_variant_fits_the_schemas_of_kubernetes(version: str) -> None:
    number, helm = version.removeprefix("v"), tool("helm4")
    manifests = "\n".join(render(helm, values, kube_version=number) for values in VARIANTS)
    location = f"{schemas()}/{{{{.NormalizedKubernetesVersion}}}}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = [str(tool("kubeconform")), "-strict", "-summary", "-kubernetes-version", number]
    command += ["-skip", ",".join(CUSTOM), "-schema-location", location]
    done = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@variants
def test_the_service_reads_what_the_chart_writes(values: Path, tmp_path: Path) -> None:
    """The configuration and the variables of every pod, as `monitor check` reads them."""
    found = rendered(values)
    for one, pod in pods(found):
        (source,) = (volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "config")
        (config,) = (each for each in found if each["kind"] == "ConfigMap" and each["metadata"]["name"] == source)
        file = tmp_path / f"{one['metadata']['name']}.yaml"
        file.write_text(config["data"]["monitor.yaml"])
        variables = pod["containers"][0]["env"]
        loading.load(file, environ={each["name"]: each.get("value", "text") for each in variables})


@variants
def test_pods_are_restricted(values: Path) -> None:
    """What Pod Security's profile `restricted` asks for, and a root that cannot be written."""
    for one, pod in pods(rendered(values)):
        name = one["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        ours = [each for each in (*pod["containers"], *pod.get("initContainers", ())) if each["name"] != "fetch"]
        for container in ours:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


@variants
def test_services_select_the_serving_pods_alone(values: Path) -> None:
    found = rendered(values)
    selectors = [one["spec"]["selector"] for one in found if one["kind"] == "Service"]
    for one in found:
        if one["kind"] in {"StatefulSet", "Deployment", "Job"}:
            labels = one["spec"]["template"]["metadata"]["labels"]
            selected = all(selector.items() <= labels.items() for selector in selectors)
            assert selected == (one["kind"] == "StatefulSet"), one["metadata"]["name"]


@variants
def test_what_is_mounted_is_a_volume_and_the_other_way_round(values: Path) -> None:
    for one, pod in pods(rendered(values)):
        claims = one["spec"].get("volumeClaimTemplates", ()) if one["kind"] == "StatefulSet" else ()
        containers = (*pod["containers"], *pod.get("initContainers", ()))
        mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts", ())}
        volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in claims}
        assert mounted == volumes, one["metadata"]["name"]


@variants
def test_no_secret_is_made(values: Path) -> None:
    assert not [one for one in rendered(values) if one["kind"] == "Secret"]


def template_of(found: list[Object]) -> Any:
    return of_kind(found, "StatefulSet")["spec"]["template"]


def test_a_change_of_the_configuration_replaces_the_pods() -> None:
    before = template_of(rendered(SMALLEST))
    after = template_of(rendered(SMALLEST, 'config.events.missing="impute"'))
    same = template_of(rendered(SMALLEST, "replicas=3"))
    assert before != after
    assert before == same


def test_null_takes_a_value_away() -> None:
    found = rendered(SMALLEST, "config.events.max_age=null")
    assert "max_age: null" in of_kind(found, "ConfigMap", "pumps-monitor")["data"]["monitor.yaml"]


def test_the_autoscaler_owns_the_number_of_members_and_stops_at_the_partitions() -> None:
    found = rendered(CHART / "ci" / "cpu-autoscaling-values.yaml")
    assert "replicas" not in of_kind(found, "StatefulSet")["spec"]
    assert of_kind(found, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 12


def test_keda_asks_for_the_group_and_topic_of_the_service() -> None:
    found = rendered(CHART / "ci" / "keda-values.yaml")
    (trigger,) = of_kind(found, "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"] == {
        "bootstrapServers": "kafka:9093",
        "consumerGroup": "pumps",
        "topic": "events",
        "lagThreshold": "50000",
        "offsetResetPolicy": "earliest",
        "allowIdleConsumers": "false",
        "tls": "enable",
        "sasl": "scram_sha256",
    }


def test_a_job_that_fails_before_an_upgrade_shows_its_log() -> None:
    """Else helm says no more than BackoffLimitExceeded."""
    jobs = [one for one in objects(render(tool("helm4"), SMALLEST, "topics.create=true")) if one["kind"] == "Job"]
    policies = [job["metadata"]["annotations"].get("helm.sh/hook-output-log-policy") for job in jobs]
    assert policies == ["hook-failed", "hook-failed"]


@pytest.mark.parametrize(
    ("url", "port"), [("http://a", 80), ("https://a/x", 443), ("http://a:9093", 9093), ("https://[::1]:9094/x", 9094)]
)
def test_the_network_policy_lets_alerts_out_to_the_port_of_their_receiver(url: str, port: int) -> None:
    found = rendered(CHART / "ci" / "forward-values.yaml", f'config.forward.url="{url}"')
    rules = of_kind(found, "NetworkPolicy")["spec"]["egress"]
    assert {"ports": [{"port": port, "protocol": "TCP"}]} in rules


def test_those_who_forward_are_scraped_and_are_no_members_of_the_service() -> None:
    found = rendered(CHART / "ci" / "forward-values.yaml")
    labels = of_kind(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind(found, "PodMonitor")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert not of_kind(found, "StatefulSet")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert not of_kind(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_grace_of_a_pod_outlasts_a_publish() -> None:
    pod = template_of(rendered(SMALLEST, "config.kafka.publish_timeout=40.5"))["spec"]
    assert pod["terminationGracePeriodSeconds"] == 56


def test_rules_and_dashboards_are_what_lies_in_files(tmp_path: Path) -> None:
    empty = shutil.copytree(CHART, tmp_path / "empty", ignore=shutil.ignore_patterns("rules", "dashboards"))
    watched = CHART / "ci" / "watched-values.yaml"
    kinds = [one["kind"] for one in objects(render(tool("helm4"), watched, chart=empty))]
    assert "PrometheusRule" not in kinds
    chart = shutil.copytree(empty, tmp_path / "filled")
    (chart / "files" / "rules").mkdir()
    (chart / "files" / "dashboards").mkdir()
    rule = "groups: [{name: g, rules: [{alert: A, expr: up == 0, annotations: {summary: '{{ $labels.pod }}'}}]}]\n"
    (chart / "files" / "rules" / "a.yaml").write_text(rule)
    (chart / "files" / "rules" / "b.yaml").write_text(rule.replace("name: g", "name: h"))
    dashboard = json.dumps({"title": "T", "legend": "{{pod}}"}, indent=2)
    (chart / "files" / "dashboards" / "overview.json").write_text(dashboard)
    found = objects(render(tool("helm4"), watched, chart=chart))
    groups = of_kind(found, "PrometheusRule")["spec"]["groups"]
    assert [group["name"] for group in groups] == ["g", "h"]
    assert groups[0]["rules"][0]["annotations"]["summary"] == "{{ $labels.pod }}"
    assert of_kind(found, "ConfigMap", "-dashboard-overview")["data"]["overview.json"] == dashboard


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("replica=2", "replica"),
        ('replicas="two"', "replicas"),
        ('config.kafka.bootstrap_server="kafka:9092"', "bootstrap_server"),
        ('config.kafka.bootstrap_servers=""', "bootstrap_servers"),
        ("config.kafka.poll_records=0", "poll_records"),
        ('config.kafka.instance_id="me"', "instance_id"),
        ('config.kafka.sasl.password="secret"', "password"),
        ('config.forward.bearer_token="secret"', "bearer_token"),
        ('config.model.path="/elsewhere"', "path"),
        ('config.events.missing="ignore"', "missing"),
        ("config.web.port=0", "port"),
        ('image.digest="sha256:12"', "digest"),
        ('model.path="../x"', "path"),
        ("service.port=99999", "port"),
        ('state.enabled="yes"', "state/enabled"),
        ('state.whenDeleted="Keep"', "whenDeleted"),
        ('autoscaling.kind="memory"', "kind"),
        ('serviceMonitor.interval="3x"', "interval"),
        ('startupProbe.httpGet={"path": "/"}', "httpGet"),
        ('extraEnv={"A": "b"}', "extraEnv"),
        ('retrain.compare.measure="f1"', "measure"),
    ],
)
@pytest.mark.parametrize("helm", HELMS)
def test_a_bad_value_is_refused_by_its_path(helm: str, given: str, path: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(tool(helm), SMALLEST, given)
    said = str(refused.value).replace(".", "/")
    assert all(part in said for part in path.split("/")), said
    assert said.strip().count("\n") < 12


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("model.volume={}",), "model: give exactly one of"),
        (('model.image.repository="m"',), "2 are given"),
        (('config.kafka.sasl.mechanism="PLAIN"',), "sasl.secret.name: config.kafka.sasl.mechanism is PLAIN"),
        (('sasl.secret.name="s"',), "config.kafka.sasl.mechanism: sasl.secret.name is given"),
        (('tls.caSecret.name="ca"',), "config.kafka.tls.enabled: "),
        (('autoscaling.kind="cpu"', "autoscaling.maxReplicas=7"), "autoscaling.maxReplicas: 7 is more than"),
        (('autoscaling.kind="cpu"', "autoscaling.minReplicas=7"), "autoscaling.minReplicas: 7 is more than"),
        (("serviceMonitor.enabled=true", "podMonitor.enabled=true"), "podMonitor.enabled: "),
        (("forward.enabled=true",), "config.forward.url: forward.enabled is true"),
        (
            ("forward.enabled=true", 'config.forward.url="http://a"', 'forward.secret.name="s"'),
            "forward.secret: give its name",
        ),
        (
            (
                "forward.enabled=true",
                'config.forward.url="http://a"',
                'forward.secret={"name": "s", "usernameKey": "u"}',
            ),
            "forward.secret: give usernameKey and passwordKey",
        ),
        (("retrain.enabled=true", "retrain.fromTopic=false"), "retrain.files: "),
        (("retrain.enabled=true", 'retrain.compare.labels="l.csv"'), "retrain.compare: give files and labels"),
        (("retrain.enabled=true", 'model.volume={"configMap": {"name": "m"}}'), "model.volume: retrain.enabled"),
    ],
)
def test_values_that_contradict_each_other_are_refused(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(RefusedError, match="execution error") as refused:
        render(tool("helm4"), SMALLEST, *given)
    assert said in str(refused.value)
