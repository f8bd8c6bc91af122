"""The status page: a `Status` as one HTML document, without scripts and without anything from elsewhere. Pure.

Stream names, reject details and file names come from outside. Markup is made only by `tag`, which escapes every
child that is not markup itself, so text cannot become markup by being forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from monitor import __version__
from monitor.status import Status
from monitor.web import panels
from monitor.web.markup import THIN, Html, duration, join, moment, tag

REFRESH_SECONDS = 5
NO_STATUS = "The service has not reported yet: it is loading the model or waiting for the brokers."

STYLE = resources.files("monitor.web").joinpath("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def render(status: Status | None, stuck: str | None = None) -> str:
    """The whole document. `stuck`: why the loop does not turn, if so; the status is as old as that then."""
    body = _waiting(stuck) if status is None else _page(status, stuck)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=str(REFRESH_SECONDS)),
        tag("title", "monitor" if status is None else f"monitor \u00b7 {status.group}"),
        tag("style", Html(STYLE)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def facts(status: Status) -> dict[str, Any]:
    """The same facts for programs: plain values that JSON can hold; a number that is not finite becomes null."""
    plain: dict[str, Any] = _plain({**asdict(status), "model": status.model.model_dump(mode="json")})
    plain["model"]["digest"] = status.model.digest
    plain["ready"] = status.ready
    for partition, values in zip(status.partitions, plain["partitions"], strict=True):
        values["lag"] = partition.lag
        values["state"] = partition.state
    return plain


def reasons(status: Status | None, stuck: str | None) -> tuple[str, ...]:
    """Why the service is not ready, for people; empty means it is."""
    if status is None:
        return (stuck,) if stuck else (NO_STATUS,)
    return ((stuck,) if stuck else ()) + status.reasons


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _waiting(stuck: str | None) -> Html:
    return join(
        (
            tag("header", tag("h1", "monitor"), tag("span", "Starting", class_="badge warn")),
            _reasons(reasons(None, stuck)),
            _footer(),
        )
    )


def _page(status: Status, stuck: str | None) -> Html:
    return join(
        (
            _header(status, stuck),
            _stopped(status.stopped),
            _reasons([text for text in reasons(status, stuck) if text != status.stopped]),
            panels.tiles(status),
            tag(
                "div",
                tag("div", panels.open_incidents(status), panels.worst_streams(status), panels.last_rejects(status)),
                tag(
                    "div",
                    panels.model_card(status.model, status.threshold),
                    panels.assignment(status),
                    panels.shared_names(status),
                    panels.warming_streams(status),
                ),
                class_="columns",
            ),
            _footer(),
        )
    )


def _header(status: Status, stuck: str | None) -> Html:
    if stuck is not None:
        badge = tag("span", "Stuck", class_="badge critical")
    elif status.stopped:
        badge = tag("span", "Stopped", class_="badge critical")
    elif status.ready:
        badge = tag("span", "Ready", class_="badge good")
    else:
        badge = tag(
            "span", "Not ready" if status.state == "running" else status.state.capitalize(), class_="badge warn"
        )
    return tag(
        "header",
        tag("h1", "monitor"),
        badge,
        tag("span", status.group, class_="quiet", title="consumer group"),
        tag(
            "span",
            f"{moment(status.now)}{THIN}UTC \u00b7 up {duration(status.now - status.started_at)}",
            class_="when quiet small",
        ),
    )


def _stopped(why: str) -> Html:
    if not why:
        return Html()
    return tag("p", tag("strong", "It has stopped reading. "), why, class_="reasons stopped")


def _reasons(texts: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", text) for text in texts), class_="reasons") if texts else Html()


def _footer() -> Html:
    links = [tag("a", path, href=path) for path in ("/metrics", "/status.json", "/readyz", "/livez")]
    return tag("footer", *links, tag("span", f"monitor {__version__}, renewed every {REFRESH_SECONDS} s"))
