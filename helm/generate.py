"""Writes the chart's values.schema.json and README.md: from helm/schema.yaml, the service's settings and values.yaml.

`python helm/generate.py`; tests/deploy/test_chart_reference.py fails when they have drifted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from monitor.cli.schema import config_schema

HERE = Path(__file__).parent
CHART = HERE / "monitor"
SET_BY_CHART = {
    "Model": ("path",),
    "Kafka": ("instance_id",),
    "Tls": ("ca_file", "certificate_file", "key_file", "key_password", "key_password_file"),
    "Sasl": ("password", "password_file"),
    "Recovery": ("state_dir",),
    "Forward": ("ca_file", "bearer_token", "bearer_token_file", "username", "password", "password_file"),
}
"""Settings that come from other values, or must not be in a ConfigMap: `config` does not have them."""
MARK = "<!-- values: written by helm/generate.py from helm/schema.yaml and values.yaml -->"

Node = dict[str, Any]


def schema() -> Node:
    source = _read(HERE / "schema.yaml")
    definitions = {name: _closed(node) for name, node in source.pop("$defs").items()}
    properties = {name: _closed(node) for name, node in source.items()}
    properties["config"], settings = _config()
    properties["global"] = {"type": "object", "description": "What a parent chart shares with all; not used."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart monitor",
        "type": "object",
        "additionalProperties": False,
        "properties": dict(sorted(properties.items())),
        "required": ["config"],
        "$defs": definitions | settings,
    }


def _config() -> tuple[Node, Node]:
    """The service's settings as a part of the values, and what that refers to."""
    whole = config_schema()
    definitions: Node = whole["$defs"]
    for name, keys in SET_BY_CHART.items():
        for key in keys:
            del definitions[name]["properties"][key]  # a KeyError: the settings have changed, and so must this
    kafka = definitions["Kafka"]["properties"]
    kafka["bootstrap_servers"] |= {"minLength": 1}
    definitions["Kafka"]["required"] = ["bootstrap_servers"]
    definitions["Web"]["properties"]["port"]["minimum"] = 1  # the probes must know it
    text = json.dumps({key: whole[key] for key in ("type", "properties", "additionalProperties")})
    config = json.loads(text.replace("#/$defs/", "#/$defs/config"))
    config |= {"required": ["kafka"], "description": "The service's own configuration: docs/configuration.md."}
    definitions = json.loads(json.dumps(definitions).replace("#/$defs/", "#/$defs/config"))
    return config, {f"config{name}": node for name, node in definitions.items()}


def _closed(node: Node) -> Node:
    """In draft 7 nothing beside a $ref counts, so a description goes around it."""
    if "$ref" in node and len(node) > 1:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {**rest, "allOf": [{"$ref": node["$ref"]}]}
    if "properties" not in node:
        return node
    inner = {name: _closed(child) for name, child in node["properties"].items()}
    return {**node, "type": "object", "additionalProperties": False, "properties": inner}


def readme() -> str:
    """The README with its table written anew."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(MARK)
    _, _, tail = rest.partition("<!-- end of values -->")
    rows = "\n".join(f"| `{key}` | {f'`{value}`' if value else ''} | {text} |" for key, value, text in described())
    table = f"| value | default | meaning |\n|---|---|---|\n{rows}"
    return f"{head}{MARK}\n\n{table}\n\n<!-- end of values -->{tail}"


def described() -> Iterator[tuple[str, str, str]]:
    """Every value, as values.yaml has them: path, default, meaning. One without a meaning is an error."""
    whole = schema()
    values = _read(CHART / "values.yaml")

    def walk(value: Any, node: Node, path: str) -> Iterator[tuple[str, str, str]]:
        target = _target(node, whole)
        meaning = node.get("description") or target.get("description")
        if not meaning:
            raise SystemExit(f"helm/schema.yaml: {path} has no description")
        children = target.get("properties") if path != "config" else None
        if children is None:
            yield path, json.dumps(value).replace("|", r"\|"), re.sub(r"\s+", " ", meaning).replace("|", r"\|")
            return
        if set(children) != set(value):
            differing = ", ".join(sorted(set(children) ^ set(value)))
            if any(name in value and name not in children for name in value) or path not in {"resources"}:
                raise SystemExit(f"{path}: values.yaml and helm/schema.yaml differ in {differing}")
        yield path, "", meaning
        for name in value:
            yield from walk(value[name], children[name], f"{path}.{name}")

    missing = set(whole["properties"]) ^ set(values) - {"global"}
    if missing - {"global"}:
        raise SystemExit(f"values.yaml and helm/schema.yaml differ in {', '.join(sorted(missing))}")
    for name, value in values.items():
        yield from walk(value, whole["properties"][name], name)


def _target(node: Node, whole: Node) -> Node:
    reference = node.get("$ref") or next((one["$ref"] for one in node.get("allOf", ()) if "$ref" in one), None)
    return whole["$defs"][reference.removeprefix("#/$defs/")] if reference else node


def _read(path: Path) -> Node:
    document: Node = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return document


def schema_text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(schema_text(), encoding="utf-8")
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
