"""Requests through Nginx with our config, against Gunicorn alone and against the config of the usual tutorial.

Where the app computes, CPU time for each request is what is judged: the requests a second that a busy machine can
answer go by it, and on cores that the visitors share it is the steadier figure. Where the app waits, requests a second.
"""

from dataclasses import dataclass
from statistics import median

from .engine import REPO, Bench
from .load import flood
from .report import Report

NAME, DOMAIN = "rows", "rows.example"
ROUNDS, REQUESTS, WAITING_REQUESTS, CONNECTIONS = 9, 1600, 800, 16
APP = """
import time
from datetime import date, timedelta

from flask import Flask, render_template

app = Flask(__name__)
ROWS = [(number, f"name {number}", number * 1.25, date(2026, 1, 1) + timedelta(number)) for number in range(100)]


@app.get("/")
def rows():
    return render_template("rows.html", rows=ROWS)


@app.get("/rows/<int:number>")
def row(number):
    return ROWS[number][1]


@app.get("/waiting")
def waiting():
    time.sleep(0.01)
    return "done"


@app.get("/healthz")
def healthz():
    return "ok"
"""
BASE = """<!doctype html><title>{% block title %}{% endblock %}</title>
<nav>{% for name in ("rows", "waiting", "healthz") %}<a href="{{ url_for(name) }}">{{ name }}</a>{% endfor %}</nav>
{% block main %}{% endblock %}
"""
PAGE = """{% extends "base.html" %}
{% block title %}Rows{% endblock %}
{% block main %}
<table>
{% for number, name, price, day in rows %}
<tr class="{{ loop.cycle('odd', 'even') }}"><td>{{ number }}</td>
<td><a href="{{ url_for('row', number=number) }}">{{ name | title }}</a></td>
<td>{{ "%.2f" | format(price) }}</td><td>{{ day.strftime("%d %B %Y") }}</td></tr>
{% endfor %}
</table>
{% endblock %}
"""
# The tutorial's: three sync workers on TCP, and a site that hands on to them and no more.
TUTORIAL_SITE = """
server {
    listen 8080;
    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}
"""
ANSWERS = "python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1])' http://127.0.0.1:$port/"
# CPU seconds that the processes of some units, and all of Nginx where it is asked for, have used so far.
CPU = """
import glob, os, sys
found, ticks = 0, os.sysconf("SC_CLK_TCK")
for path in glob.glob("/proc/[0-9]*/stat"):
    try:
        with open(path) as stat, open(path[:-4] + "cgroup") as group:
            words, unit = stat.read().rpartition(")")[2].split(), group.read()
    except OSError:
        continue
    if any(name in unit for name in sys.argv[1:]):
        found += int(words[11]) + int(words[12])
print(found / ticks)
"""


@dataclass(frozen=True)
class Way:
    """One way to reach the app: the port, and the units that work for it."""

    name: str
    port: int
    units: tuple[str, ...]


def throughput(at: Bench, report: Report) -> None:
    deployed(at)
    ours, bare, tutorial = ways = (
        Way("ours", 80, ("nginx.service", f"{NAME}@")),
        Way("bare Gunicorn, the same settings", 8001, ("bench-bare.service",)),
        Way("the usual tutorial's config", 8080, ("nginx.service", "bench-tutorial.service")),
    )
    cpu: dict[Way, list[float]] = {way: [] for way in ways}
    rate: dict[Way, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in ways:
            before = cpu_seconds(at, way)
            flood((at.machine.address, way.port), DOMAIN, "/", CONNECTIONS, REQUESTS)
            used = (cpu_seconds(at, way) - before) / REQUESTS
            seconds = flood((at.machine.address, way.port), DOMAIN, "/waiting", CONNECTIONS, WAITING_REQUESTS)
            if number:  # the first round warms up
                cpu[way].append(used)
                rate[way].append(WAITING_REQUESTS / seconds)
    for peer, bound in ((bare, 0.95), (tutorial, None)):
        own, its = (1e6 * median(cpu[way]) for way in (ours, peer))
        what = f"template of 100 rows: {own:.0f} µs of CPU for a request"
        report.at_least(what, its / own, f"{peer.name}: {its:.0f} µs", bound)
    own, its = (median(rate[way]) for way in (ours, tutorial))
    what = f"a view that waits 10 ms, as for a database: {own:.0f} requests/s"
    report.at_least(what, own / its, f"{tutorial.name}: {its:.0f}", 1.3)


def cpu_seconds(at: Bench, way: Way) -> float:
    return float(at.on_server("python3", "-", *way.units, stdin=CPU))


def deployed(at: Bench) -> None:
    """The app put live by the kit, with the defaults of its config; and run beside that in the two other ways."""
    project = at.project.parent / NAME
    (project / "templates").mkdir(parents=True)
    for name, text in (("base", BASE), ("rows", PAGE)):
        (project / "templates" / f"{name}.html").write_text(text, "utf-8")
    (project / "rows.py").write_text(APP, "utf-8")
    (project / "requirements.txt").write_text((REPO / "webapp" / "requirements.txt").read_text("utf-8"), "utf-8")
    stages = (at.project / "deploy.toml").read_text("utf-8").partition("[stages.production]")[2]
    stages = f'[stages.production]\nopen_ports = ["8001/tcp", "8080/tcp"]{stages}'
    text = f'[app]\nname = "{NAME}"\nwsgi = "rows:app"\nhealth_path = "/healthz"\n{stages}'
    (project / "deploy.toml").write_text(text.replace("visitors.example", DOMAIN), "utf-8")
    before, at.project = at.project, project
    at.fab("provision", "deploy")
    at.project = before
    release = f"/srv/{NAME}/current/"
    same = "--worker-class gthread --workers $(nproc) --threads 8 --bind 0.0.0.0:8001"
    usual = "--workers 3 --bind 127.0.0.1:8000"
    started = "\n".join(
        f"systemd-run --quiet --unit=bench-{name} -p User={NAME} -p WorkingDirectory={release}source"
        f" -p Environment=PYTHONDONTWRITEBYTECODE=1 {release}venv/bin/gunicorn --no-control-socket {options} rows:app"
        for name, options in (("bare", same), ("tutorial", usual))
    )
    script = f"set -e\n{started}\ncat > /etc/nginx/conf.d/tutorial.conf <<'END'\n{TUTORIAL_SITE}END\nnginx -s reload\n"
    waiting = f"for port in 8001 8080; do until {ANSWERS} 2>/dev/null; do sleep 0.1; done; done\n"
    at.on_server("sh", stdin=script + waiting)
