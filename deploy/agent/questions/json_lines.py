"""Lines of an access log that are JSON, as some proxies write them: in the form of other access logs."""

import json
from datetime import datetime
from typing import Any


def readable(line: str) -> tuple[float, int, str] | None:
    """(epoch seconds, syslog's level, `ADDRESS "REQUEST" STATUS BYTES SECONDS s, "REFERER" "BROWSER" ID`).

    ADDRESS is who connected. If that is another proxy, whom it names comes last: `, for "X-Forwarded-For"`.
    None for a line that is none of a request, or cut off.
    """
    try:
        found = json.loads(line)
        when = datetime.fromisoformat(found["ts"]).timestamp()
        asked, status = found["request"], int(found["status"])
        sent, got = asked.get("headers", {}), found.get("resp_headers", {})
        request = quoted(f"{asked['method']} {asked['uri']} {asked['proto']}")
        parts = [
            f"{asked['remote_ip']} {request} {status} {found['size']} {found['duration']:.3f} s,",
            *(quoted(first(sent, name)) for name in ("Referer", "User-Agent")),
            first(got, "X-Request-Id"),
        ]
        if "X-Forwarded-For" in sent:
            parts[-1] += f", for {quoted(first(sent, 'X-Forwarded-For'))}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return when, 3 if status >= 500 else 6, " ".join(parts)


def first(headers: dict[str, Any], name: str) -> str:
    values = headers.get(name) or ["-"]
    return str(values[0])


def quoted(text: str) -> str:
    """With its control characters and quotes escaped, so that a visitor cannot write a line of his own."""
    return json.dumps(text, ensure_ascii=False)
