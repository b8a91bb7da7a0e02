"""The end of a change and the preview of one, as text."""

import pytest
from test_plans import FACTS, NEW, OLD, RELEASE, SHOP, SITE

from deploy.agent.dataclass import replace
from deploy.config.site import Site
from deploy.plan.facts import Release
from deploy.screen import preview, summary
from deploy.screen.events import Preview
from deploy.screen.summary import Visit

SECURE = Site(("shop.example.com",), tls="acme")
LOOK = Visit(SECURE, "192.0.2.1", "200", 0.0421, issuer="R11", until="2027-02-01")


def test_the_three_answers_say_where_what_and_how():
    found = summary.answers("web1", "192.0.2.1", FACTS, RELEASE, SHOP)
    assert found["where"] == "web1 (192.0.2.1), Debian, in /srv/shop/current"
    assert (
        found["what"] == f"shop@{NEW}.service: Gunicorn, 2 workers × {SHOP.threads} threads, Python 3.11, commit abc123"
    )
    assert found["how"] == "http://shop.example.com/ → Nginx, port 80 → unix socket → Gunicorn"
    text = summary.answers_text(found, "", 200)
    assert [line[:24].rstrip() for line in text.splitlines() if line] == list(summary.QUESTIONS.values())


def test_a_site_in_maintenance_says_what_visitors_get():
    found = summary.answers("web1", "192.0.2.1", replace(FACTS, maintenance=True), RELEASE, SHOP)
    assert "visitors get a 503 until `fab maintenance off`" in found["how"]


def test_workers_of_another_class_are_named():
    app = replace(SHOP, worker_class="gevent", workers=5)
    assert "5 workers, gevent," in summary.answers("web1", "192.0.2.1", FACTS, RELEASE, app)["what"]


@pytest.mark.parametrize(
    ("site", "nginx", "door"),
    [
        (SITE, "1.26.3-3", "port 80"),
        (SECURE, "1.22.1-9+deb12u3", "port 443 (HTTP/2)"),
        (SECURE, "1.26.3-3", "port 443 (HTTP/2 and 3)"),
        (Site(("192.0.2.1",), tls="acme"), "1.26.3-3", "port 443 (HTTP/2)"),
    ],
)
def test_how_users_get_in_is_said_by_what_nginx_can_do(site: Site, nginx: str, door: str):
    found = summary.answers("web1", "192.0.2.1", replace(FACTS, proxy=nginx), Release(NEW, site, {}), SHOP)
    assert f"Nginx, {door} →" in found["how"]


def test_a_ca_of_this_machine_comes_with_how_to_trust_it():
    found = summary.answers("web1", "192.0.2.1", FACTS, Release(NEW, SECURE, {}), SHOP)
    text = summary.answers_text(found, "/home/me/ca.pem", 80)
    assert "curl --cacert /home/me/ca.pem https://shop.example.com/" in text


def test_an_end_counts_what_was_changed_or_would_be():
    assert summary.counted("deployed", 3, 30, 4.25, check=False) == "deployed: 3 changed, 30 ok, in 4.2 s"
    assert summary.counted("checked", 3, 30, 0.5, check=True) == "checked: 3 would change, 30 ok, in 0.5 s"


def test_requests_that_failed_are_told_with_the_first():
    probe = {"requests": 212, "failed": 0, "slowest_ms": 12, "first_failure": ""}
    assert summary.of_probe(probe) == ("0 of 212 requests failed, slowest 12 ms", "bold green")
    text, style = summary.of_probe({**probe, "failed": 2, "first_failure": "502"})
    assert (text, style) == ("2 of 212 requests failed (the first: 502), slowest 12 ms", "bold red")


def test_a_site_that_answers_from_here_is_a_step():
    step = summary.as_step(LOOK)
    good = "certificate from R11, valid until 2027-02-01"
    assert step["step"] == f"from here, https://shop.example.com/ answers 200 in 42 ms; {good}"
    assert step["state"] == "ok" and summary.doubts(LOOK, False) == []


def test_a_site_that_fails_is_a_failed_step_and_one_without_dns_is_asked_by_its_address():
    step = summary.as_step(replace(LOOK, answer="502", by_address=True, issuer=""))
    assert step["step"] == "at its address 192.0.2.1, https://shop.example.com/ answers 502 in 42 ms"
    assert step["state"] == "failed"


def test_a_site_that_does_not_answer_from_here_asks_for_the_provider_s_firewall():
    (note,) = summary.doubts(replace(LOOK, answer="timed out"), False)
    assert note.startswith("note: 192.0.2.1 does not answer on port 443 from here (timed out): is the port open")


def test_a_certificate_that_browsers_warn_of_is_told_once():
    look = replace(LOOK, issuer="", distrust="self-signed certificate")
    assert summary.doubts(look, False) == ["note: browsers do not trust the certificate: self-signed certificate"]
    assert summary.doubts(look, True) == []


def test_warnings_begin_with_that_word():
    (line,) = summary.warnings({"firewall_gone": True}, [])
    assert line.startswith("warning: the firewall rules are not loaded")
    assert summary.warnings({}, ["x"]) == ["warning: x"] and summary.certificate_warnings({}, SITE) == []


FOUND: Preview = {
    "event": "preview",
    "host": "web1",
    "since": OLD,
    "commits": ["abc fix the tide"],
    "files": {"added": ["a.py"], "changed": [f"{number}.py" for number in range(14)], "removed": []},
    "packages": [preview.package("flask", "3.0", "3.1"), preview.package("a", "", "1"), preview.package("b", "1", "")],
}


def test_a_preview_says_what_a_deploy_brings_and_how_much_it_leaves_out():
    lines = preview.as_text(FOUND, "abc", "me@here", 20, commits_known=True).splitlines()
    assert lines[:3] == [f"since {OLD}, commit abc, by me@here", "commits   abc fix the tide", "files     add    a.py"]
    assert "          … and 3 more" in lines
    assert lines[-3:] == ["packages  change flask 3.0 → 3.1", "          add    a 1", "          remove b 1"]


def test_a_preview_of_nothing_new_says_so():
    nothing: Preview = {**FOUND, "commits": [], "files": {"added": [], "changed": [], "removed": []}, "packages": []}
    assert preview.as_text(nothing, "", "?", 20, commits_known=True).splitlines() == [
        f"since {OLD}, by ?", "commits   none", "files     none", "packages  the same"
    ]  # fmt: skip
    assert "not known without git" in preview.as_text(nothing, "", "?", 20, commits_known=False)


def test_a_preview_of_the_first_release_counts_its_files():
    first: Preview = {**FOUND, "since": "", "packages": []}
    assert preview.as_text(first, "", "", 20, commits_known=False).startswith("files     all 20")
