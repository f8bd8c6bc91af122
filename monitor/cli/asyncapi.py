"""What flows over which topic, as an AsyncAPI 3.0 document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor import __version__, alerts, events, outputs
from monitor.batch import OutputName, Reason
from monitor.config import Settings

_DEAD_LETTER_HEADERS = {
    "reason": {"type": "string", "enum": [reason.value for reason in Reason]},
    "detail": {"type": "string", "description": "One sentence: which feature, which limit."},
    "topic": {"type": "string", "description": "Where the record was read from."},
    "partition": {"type": "string", "pattern": "^[0-9]+$"},
    "offset": {"type": "string", "pattern": "^[0-9]+$"},
    "timestamp": {
        "type": "string",
        "pattern": "^-?[0-9]+$",
        "description": "Milliseconds since the Unix epoch, or -1.",
    },
}
_SUMMARIES: dict[OutputName, str] = {
    "scores": "The score of one event.",
    "denoised": "One event as the model would have it.",
    "latent": "The code of the window that one event closes.",
}
_KEYED_BY_STREAM = {"kafka": {"key": {"type": "string", "description": "The stream."}}}


def document(settings: Settings) -> dict[str, Any]:
    """The channels of input, alerts, dead letters and of the outputs that are on, under these topics' names.

    The topic for state is the service's own.
    """
    topics = settings.topics
    schemas: dict[str, Any] = {}
    event = _embed("Event", events.json_schema(None), schemas)
    alert = _embed("Alert", alerts.json_schema(), schemas)
    headers = {f"monitor-{name}": schema for name, schema in _DEAD_LETTER_HEADERS.items()}
    messages = {
        "event": {
            "summary": "One feature vector of one stream.",
            "contentType": "application/json",
            "bindings": _KEYED_BY_STREAM,
            "payload": event,
        },
        "alert": {
            "summary": "One step of an incident: opened, updated or closed.",
            "contentType": alerts.CONTENT_TYPE,
            "bindings": _KEYED_BY_STREAM,
            "headers": _headers({"ce_id": {"type": "string"}, "ce_type": {"const": alerts.EVENT_TYPE}}),
            "payload": alert,
        },
        "deadLetter": {
            "summary": "A record that was rejected: its own key, bytes and headers, and why. "
            "Without monitor-reason, but with monitor-sent-back: a marker of what was fed back.",
            "contentType": "application/octet-stream",
            "headers": _headers(headers),
        },
    }
    channels = {
        "events": _channel(topics.input.name, "event"),
        "alerts": _channel(topics.alerts.name, "alert"),
        "deadLetters": _channel(topics.dead_letters.name, "deadLetter"),
    }
    operations = {
        "readEvents": _operation("receive", "events"),
        "publishAlerts": _operation("send", "alerts"),
        "publishDeadLetters": _operation("send", "deadLetters"),
    }
    for output, spec in settings.outputs.topics.items():
        messages[output] = {
            "summary": _SUMMARIES[output],
            "contentType": alerts.CONTENT_TYPE,
            "bindings": _KEYED_BY_STREAM,
            "headers": _headers({"ce_id": {"type": "string"}, "ce_type": {"const": outputs.EVENT_TYPES[output]}}),
            "payload": _embed(outputs.MESSAGES[output].__name__, outputs.json_schema(output), schemas),
        }
        channels[output] = _channel(spec.name, output)
        operations[f"publish{output.capitalize()}"] = _operation("send", output)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "monitor",
            "version": __version__,
            "description": "Reads feature vectors from Kafka, publishes incidents.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _channel(address: str, message: str) -> dict[str, Any]:
    return {"address": address, "messages": {message: {"$ref": f"#/components/messages/{message}"}}}


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _headers(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _embed(name: str, schema: Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Puts the schema and its definitions among the document's own, where references can find them."""
    definitions = schema.get("$defs", {})
    for inner, definition in definitions.items():
        schemas[f"{name}{inner}"] = _moved(definition, name)
    schemas[name] = _moved({key: value for key, value in schema.items() if key not in ("$defs", "$schema")}, name)
    return {"$ref": f"#/components/schemas/{name}"}


def _moved(schema: Any, name: str) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: f"#/components/schemas/{name}{value.removeprefix('#/$defs/')}"
            if key == "$ref"
            else _moved(value, name)
            for key, value in schema.items()
        }
    return [_moved(item, name) for item in schema] if isinstance(schema, list) else schema
