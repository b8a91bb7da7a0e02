"""Releases, history and environment as tables: a row is {column: text, "style", "event": the object for programs}."""

import time
from typing import Any

from .columns import size
from .events import ReleaseRow, ReleaseState

Row = dict[str, Any]
FROM = {"kit": "Ashore", "app": "deploy.toml", "set": "fab env.set"}


def release_rows(found: dict[str, Any]) -> list[Row]:
    """The newest first; failed releases, which are removed, come from the history."""
    gone = {}
    for run in found["history"]:
        if run.get("release") and run["release"] not in found["records"] and run["outcome"] != "ok":
            gone[run["release"]] = run
    rows = []
    for name in sorted({*found["records"], *gone}, reverse=True):
        if name in gone:
            run = gone[name]
            why = run.get("why") or run["outcome"]
            rows.append(release_row(name, "failed", run.get("commit", ""), run, "", f"{run['verb']}: {why}", "red"))
            continue
        record = found["records"][name]
        state: ReleaseState = "current" if name == found["current"] else record["state"] or "unfinished"
        note = record.get("note", "") or ("" if record.get("verb") == "deploy" else record.get("verb", ""))
        if record.get("retiring"):
            note = "; ".join(filter(None, ("still runs: visitors are connected to it", note)))
        style = {"current": "bold green", "good": "", "rolled back": "yellow"}.get(state, "red")
        made = {"who": record.get("by", ""), "started": record.get("at", ""), "python": record.get("python", "")}
        rows.append(release_row(name, state, record.get("commit", ""), made, size(record["size_bytes"]), note, style))
    return rows


def certificate_rows(found: dict[str, Any] | None) -> list[Row]:
    if found is None:
        return []
    style = {"good": "green", "late": "yellow"}.get(found["state"], "red")
    state = found["state"] + (f", rate limited until {found['not_before']} UTC" if found["not_before"] else "")
    row = {"STATE": state, "VALID UNTIL": found["ends"], "FROM": found["issuer"], "RENEWED BY": found["renewed_by"]}
    return [
        row | {"NAMES": ", ".join(found["names"]) or "none", "style": style, "event": {"event": "certificate", **found}}
    ]


def release_row(name: str, state: ReleaseState, commit: str, made: Row, bytes_: str, note: str, style: str) -> Row:
    row: Row = {
        "RELEASE": name,
        "STATE": state,
        "MADE (UTC)": moment(made.get("started", "")),
        "BY": made.get("who", ""),
        "COMMIT": commit or "-",
        "PYTHON": ".".join(made.get("python", "").split(".")[:2]) or "-",
        "SIZE": bytes_ or "-",
        "NOTE": first_line(note),
    }
    event: ReleaseRow = {
        "event": "release",
        "release": name,
        "state": state,
        "commit": commit,
        "made": made.get("started", ""),
        "by": row["BY"],
        "python": made.get("python", ""),
        "size": bytes_,
        "note": note,
    }
    return row | {"style": style, "event": event}


def history_rows(found: list[Row]) -> list[Row]:
    """Oldest first, as a log reads."""
    rows = []
    for run in found:
        asked = f"{run['failed']} of {run['requests']} failed" if "requests" in run else "-"
        what = run.get("note") or run.get("why") or ""
        if run["outcome"] != "ok" and run.get("step"):
            what = f"{run['step']}: {run.get('why', '')}"
        row = {
            "WHEN (UTC)": moment(run.get("started", "")),
            "WHAT": run["verb"],
            "RELEASE": run.get("release") or "-",
            "OUTCOME": run["outcome"],
            "TOOK": f"{run.get('seconds', 0):.1f} s",
            "WHO": run.get("who", ""),
            "FROM": run.get("from") or "-",
            "PROBES": asked,
            "NOTE": first_line(what),
        }
        style = "" if run["outcome"] == "ok" else "red"
        rows.append(row | {"style": style, "event": {"event": "run", **run}})
    return rows


def timer_rows(found: list[Row]) -> list[Row]:
    rows = []
    for timer in found:
        last = timer["last"]
        outcome = "-"
        if last:
            took = last["ended"] - last["began"]
            how = "ok" if last["result"] == "success" else f"failed ({failure(last)})"
            outcome = f"{how}, took {took} s"
        due = moment(timer["next"]) if timer["next"] else "-" if timer["active"] else "stopped"
        row = {
            "TIMER": timer["name"],
            "SCHEDULE": timer["schedule"],
            "NEXT (UTC)": "running now" if timer["running"] else due,
            "LAST (UTC)": moment(last["began"]) if last else "never",
            "OUTCOME": outcome,
            "RELEASE": last.get("release", "-"),
        }
        good = not last or last["result"] == "success"
        style = "" if good and timer["active"] else "red"
        rows.append(row | {"style": style, "event": {"event": "timer", **timer}})
    return rows


def failure(last: Row) -> str:
    """Why a job failed, in words."""
    status = str(last["status"])
    if last["result"] == "exit-code":
        return "it took longer than max_seconds" if status in ("124", "137") else f"exit status {status}"
    return {"signal": f"killed by {status}", "oom-kill": "out of memory"}.get(last["result"], str(last["result"]))


def process_rows(found: list[Row]) -> list[Row]:
    rows = []
    for process in found:
        note = (
            f"by `fab scale`; deploy.toml: {process['configured']}" if process["count"] != process["configured"] else ""
        )
        row = {
            "PROCESS": process["name"],
            "COUNT": str(process["count"]),
            "RUNNING": str(process["running"]),
            "RESTARTS": str(process["restarts"]),
            "NOTE": note,
        }
        style = "" if process["running"] == process["count"] else "red"
        rows.append(row | {"style": style, "event": {"event": "process", **process}})
    return rows


def variable_rows(found: list[Row]) -> list[Row]:
    rows = []
    for variable in found:
        over = ", ".join(FROM[layer] for layer in variable["over"])
        row = {"NAME": variable["name"], "VALUE": "[hidden]", "FROM": FROM[variable["from"]]}
        row["FROM"] += f" (over {over})" if over else ""
        rows.append(
            row | {"style": "dim" if variable["from"] == "kit" else "", "event": {"event": "variable", **variable}}
        )
    return rows


def moment(when: Any) -> str:
    """Epoch seconds, or ISO 8601 in UTC, to the second."""
    if isinstance(when, (int, float)):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
    return str(when)[:19].replace("T", " ")


def first_line(text: str, most: int = 70) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= most else line[: most - 1] + "…"
