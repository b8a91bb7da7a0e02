"""Templates → text, compared whole with tests/rendered/."""

from pathlib import Path

import pytest

from deploy.agent.dataclass import replace
from deploy.agent.resources.files import File, seal, untouched
from deploy.agent.resources.release.environment import environment_file
from deploy.ci import keys
from deploy.config.processes import Process, Timer
from deploy.config.reader import App, Stage
from deploy.config.site import Site
from deploy.connection.payload import within
from deploy.errors import ConfigError
from deploy.plan import provision as plans
from deploy.plan import record as build
from deploy.stack.processes import unit_texts
from deploy.stack.proxies import caddy
from deploy.stack.proxies.nginx import site_text
from deploy.stack.render import render, unsealed
from deploy.stack.runners import runner, runner_of

RENDERED = Path(__file__).parent / "rendered"
STAGE = Stage("production", ("root@shop.example.com",))
SITE = Site(("shop.example.com",), ("www.shop.example.com",), "acme", hsts_days=7)
PROXIED = Site(("shop.example.com",), trusted_proxies=("10.0.0.0/8",))
SHOP = App("shop", "shop:app", health_path="/healthz", static=(("/static/", "shop/static"),))

BY_RUNNER = {
    "uvicorn": replace(SHOP, wsgi="", asgi="shop:app"),
    "uvicorn-workers": replace(SHOP, wsgi="", asgi="shop:make()", worker_class="uvicorn"),
    "hypercorn": replace(SHOP, wsgi="", asgi="shop:app", runner="hypercorn"),
    "granian": replace(SHOP, wsgi="", asgi="shop:make()", runner="granian"),
    "granian-wsgi": replace(SHOP, runner="granian", threads=4),
    "waitress": replace(SHOP, wsgi="shop:make()", runner="waitress", timeout_seconds=60),
}


def files(plan: plans.Plan) -> dict[str, str]:
    found = {}
    for step in plan.steps:
        for part in within(step):
            if isinstance(part, File) and untouched(part.text):
                directory, _, name = part.path.rpartition("/")
                found.setdefault(
                    f"{directory.rpartition('/')[2]}-{name}" if name == "50-ashore.conf" else name, part.text
                )
    return found


MEDIA = replace(SHOP, static=(("/static/", "out"), ("/media/", "media")), writable=("media", "db.sqlite3"))
QUEUE = replace(
    SHOP,
    processes=(Process("worker", 'celery -A shop worker -n "$PROCESS" 100%', count=2, stop_seconds=600),),
    timers=(Timer("cleanup", "flask cleanup", "03:00 Europe/Berlin", memory_percent=10),),
)
BOARD = replace(SHOP, wsgi="", web="streamlit run app.py --server.port $PORT")
BEHIND = replace(SHOP, proxy="caddy")
WHOLE = {
    **{name.partition(".")[2]: text for name, text in unit_texts(QUEUE, "20260301-120405").items()},
    "board@.service": build.unit_text(BOARD),
    "board-alone@.service": build.unit_text(replace(BOARD, outbound=False)),
    **{
        f"caddy/{name}": text
        for name, text in files(plans.provisioning(BEHIND, STAGE)).items()
        if "/caddy" in text.splitlines()[0] or name == "certificate-hook.sh"
    },
    "caddy/shop.caddy": caddy.site_text(BEHIND, SITE, {"/old/": "shop/old"}),
    "caddy/asgi.caddy": caddy.site_text(replace(BEHIND, wsgi="", asgi="shop:app"), PROXIED, {}),
    "caddy/media.caddy": caddy.site_text(replace(MEDIA, proxy="caddy"), PROXIED, {}),
    **files(plans.Plan("", caddy.PROXY.data(replace(MEDIA, proxy="caddy"), False))),
    "caddy/below.caddy": caddy.site_text(
        replace(BEHIND, name="my-wiki"),
        replace(SITE, aliases=(), path="/wiki/", guest_of="shop"),
        {},
        "caddy/mount.caddy.j2",
    ),
    "caddy/settings.caddy": caddy.site_text(
        replace(
            BEHIND,
            redirects=(("/old", "/new"), ("/blog/", "https://blog.example.com/")),
            precompressed=True,
            stream_uploads=True,
            block_scans=False,
        ),
        replace(
            SITE, trusted_proxies=("192.0.2.0/24", "2001:db8::1"), only_proxied=True, client_header="CF-Connecting-IP"
        ),
        {},
    ),
    "caddy/port.caddy": caddy.site_text(BEHIND, replace(SITE, aliases=(), own_port=8443), {}),
    "caddy/options.caddy": render("caddy/options.caddy.j2", site=Site(("203.0.113.10",), tls="files")),
    **files(plans.provisioning(SHOP, STAGE)),
    "shop@.service": build.unit_text(SHOP),
    **{f"{name}.service": build.unit_text(app) for name, app in BY_RUNNER.items()},
    **{
        f"{name}-{file}": text for name, app in BY_RUNNER.items() for file, text in runner_of(app).files(app, 2).items()
    },
    "asgi.conf": site_text(replace(SHOP, wsgi="", asgi="shop:app"), PROXIED, {}, "1.22.1-9+deb12u3"),
    **runner().files(replace(SHOP, workers=3), 2),
    "shop.nft": seal(unsealed("nftables/apps.nft.j2", app=SHOP)),
    "shop-http3.conf": site_text(SHOP, SITE, {}, "1.26.3-3+deb13u1"),
    "shop-http.conf": site_text(SHOP, PROXIED, {}, "1.22.1-9+deb12u3"),
    "media.conf": site_text(MEDIA, SITE, {}, "1.22.1-9+deb12u3"),
    "media@.service": build.unit_text(MEDIA),
    "shop.conf": site_text(SHOP, SITE, {"/old/": "shop/old"}, "1.22.1-9+deb12u3"),
    **dict(
        zip(
            ("ashore-ci-shop@.service", "ashore-ci-shop.socket"),
            keys.units(SHOP, "/usr/local/lib/ashore/ci-0123456789ab"),
            strict=True,
        )
    ),
}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_the_rendered_text_is_the_one_that_was_reviewed(name: str):
    """To accept a change: look at the difference, then write the new text into tests/rendered/."""
    assert WHOLE[name] == (RENDERED / name).read_text("utf-8")


def test_every_reviewed_file_is_still_rendered():
    found = {path.relative_to(RENDERED).as_posix() for path in RENDERED.rglob("*") if path.is_file()}
    assert found == set(WHOLE)


def test_the_first_line_says_who_writes_the_file_and_which_template_to_edit():
    for text in WHOLE.values():
        assert "Written by Ashore from templates/" in text.splitlines()[0]


def test_an_undefined_value_is_an_error_that_names_the_template():
    with pytest.raises(ConfigError, match=r"nginx/site\.conf\.j2 cannot be rendered"):
        render("nginx/site.conf.j2")


def test_a_seal_tells_an_edit_by_hand():
    text = seal("# first\nsecond\n")
    assert untouched(text)
    assert not untouched(text.replace("second", "edited"))
    assert not untouched(text.replace("# first", "# other"))
    assert not untouched("# first\nsecond\n")


def test_values_of_the_environment_cannot_break_out():
    text = environment_file({"A": 'say "hi" $HOME `id` \\ end'})
    assert text.splitlines()[1] == 'A="say \\"hi\\" \\$HOME \\`id\\` \\\\ end"'
