"""An alert as a webhook takes it: a CloudEvent over HTTP in binary mode, the body as it stands in the topic. Pure.

CloudEvents 1.0, HTTP protocol binding. `ce-id` is the alert's id: a repeat has the same.
"""

from __future__ import annotations

from urllib.parse import quote

from monitor.alerts import Alert

_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def headers(alert: Alert) -> dict[str, str]:
    """Content-Type and the ce- headers. What is not printable ASCII is percent-encoded, as the binding has it."""
    found = {}
    for name, value in alert.headers():
        text = value.decode()
        if name.startswith("ce_"):
            found["ce-" + name.removeprefix("ce_")] = quote(text, safe=_PLAIN)
        else:
            found["Content-Type"] = text
    return found
