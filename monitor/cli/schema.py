"""`monitor schema`: the contracts, as JSON Schema, as AsyncAPI, and the configuration as a page to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from monitor import alerts, events, outputs
from monitor.cli import asyncapi as asyncapi_document
from monitor.cli import config_option, reference
from monitor.config import Settings, loading
from monitor.model.manifest import Manifest

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@click.command(epilog="Example: monitor schema alert > alert.schema.json")
@click.argument(
    "contract",
    required=False,
    type=click.Choice(["event", "alert", "score", "denoised", "latent", "config", "manifest"]),
)
@click.option("--asyncapi", is_flag=True, help="All channels as an AsyncAPI 3.0 document; topics as configured.")
@click.option("--markdown", is_flag=True, help="With config: a reference to read instead of a JSON Schema.")
@config_option
def schema(contract: str | None, asyncapi: bool, markdown: bool, config: Path | None) -> None:
    """Print a contract as JSON Schema.

    event: what the service reads. alert: what it publishes. score, denoised, latent: its optional outputs. config: its
    configuration file. manifest: the model card in an artefact.
    """
    if asyncapi == (contract is not None):
        raise click.UsageError(f"Give one of {', '.join(SCHEMAS)}, or --asyncapi.")
    if markdown and contract != "config":
        raise click.UsageError("--markdown goes with config.")
    if markdown:
        click.echo(reference.markdown(), nl=False)
        return
    # Only AsyncAPI needs the configuration: a broken one keeps nobody from reading its schema.
    document = SCHEMAS[contract]() if contract else asyncapi_document.document(loading.load(config))
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def config_schema() -> dict[str, Any]:
    """JSON Schema of the file. Nothing in it is required, because every key has a default."""
    return {"$schema": JSON_SCHEMA, **_optional(Settings.model_json_schema())}


def manifest_schema() -> dict[str, Any]:
    """JSON Schema of an artefact's `manifest.json`."""
    return {"$schema": JSON_SCHEMA, **Manifest.model_json_schema()}


def _optional(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _optional(value) for name, value in node.items() if name != "required"}
    return [_optional(item) for item in node] if isinstance(node, list) else node


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "event": events.json_schema,
    "alert": alerts.json_schema,
    "score": lambda: outputs.json_schema("scores"),
    "denoised": lambda: outputs.json_schema("denoised"),
    "latent": lambda: outputs.json_schema("latent"),
    "config": config_schema,
    "manifest": manifest_schema,
}
