"""What requirements lead to, and the name of the virtualenv that is made of them."""

from pathlib import Path

import pytest

from deploy.agent.resources.release.package import Package
from deploy.agent.wire import Entry
from deploy.errors import SourceError
from deploy.plan.record import venv_key
from deploy.source.dependencies import dependencies
from deploy.source.requirements import added, bounded, decoded, included, is_plain, text_of
from deploy.source.requirements import check as check_texts
from deploy.stack.runners.gunicorn import RUNNER

SOURCE = (Entry("requirements.txt", "f", 5, "a" * 64), Entry("wheels/x-1-py3-none-any.whl", "f", 9, "b" * 64))
OTHER = (SOURCE[0], Entry("wheels/x-1-py3-none-any.whl", "f", 9, "c" * 64))


def key(source: tuple[Entry, ...], read: dict[str, str], python: str, confined: bool = False) -> str:
    return venv_key(source, dependencies(read, [entry.path for entry in source]), python, confined)


def check(entries: tuple[Entry, ...], read: dict[str, str], package: Package) -> None:
    check_texts(entries, read, read, package)


PLAIN = [
    "",
    "# a comment",
    "flask",
    "flask==3.1.0",
    "Flask >=3, <4  # the framework",
    "flask[async, dotenv]~=3.0; python_version >= '3.10' and sys_platform == \"linux\"",
    "zope.interface (>=5.0)",
    "flask==3.1.0 --hash=sha256:0a1b --hash=sha256:2c3d",
    "flask==3.1.0 \\\n    --hash=sha256:0a1b \\\r\n    --hash=sha256:2c3d",
    "-r more.txt",
    "-c limits.txt",
    "--requirement=more.txt",
    "-i https://packages.example.com/simple",
    "--extra-index-url https://user:word@packages.example.com/simple",
    "--only-binary :all:",
    "--no-binary=lxml",
    "--require-hashes",
    "--pre",
]
NOT_PLAIN = [
    "package/",
    "wheels/x-1-py3-none-any.whl",
    "x-1-py3-none-any.whl",
    "x.tar.gz",
    "..\\x.zip",
    "/srv/x",
    "file:wheels/x.whl",
    "x @ file:///srv/x.whl",
    "x@./wheels",
    "x @ wheels/x.whl",
    "x[a]@ ./wheels",
    "x @ https://example.com/x.whl",
    "x @ git+https://example.com/x",
    "git+https://example.com/x#egg=x",
    "https://example.com/x.whl",
    "-r https://example.com/more.txt",
    "-c file:limits.txt",
    "-f wheels",
    "-fwheels",
    "--find-links wheels",
    "--find-links=wheels",
    "--no-index",
    "-i wheels",
    "-ifile:wheels",
    "--index-url file:wheels",
    "--extra-index-url=./index",
    "flask --global-option=x",
    "${WHEELS}/x",
    "flask==3.1.0 \\\n -f wheels",
    "flask\n  --find-links wheels",
]


@pytest.mark.parametrize("line", PLAIN)
def test_a_line_that_names_packages_of_an_index_is_plain(line: str):
    assert is_plain("requirements.txt", f"gunicorn\n{line}\n")


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_a_line_that_may_lead_to_files_makes_the_source_part_of_the_virtualenv(line: str):
    text = f"gunicorn\n{line}\n"
    assert not is_plain("requirements.txt", text)
    read = {"requirements.txt": text}
    assert key(SOURCE, read, "3.11") != key(OTHER, read, "3.11")


PROJECT = '[project]\nname = "x"\nauthors = [{name = "A", email = "a@b.example"}]\n'


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (PROJECT + 'dependencies = ["flask>=3", "gunicorn"]', True),
        (PROJECT, True),
        (PROJECT + 'dependencies = ["x @ file:wheels/x.whl"]', False),
        (PROJECT + 'dependencies = ["x@./y"]', False),
        (PROJECT + 'dynamic = ["dependencies"]', False),
        (PROJECT + 'dependencies = ["x"]\n[tool.uv.sources]\nx = {path = "y"}', False),
        (PROJECT + 'dependencies = ["x"]\n[tool.uv]\nfind-links = ["wheels"]', False),
        (PROJECT + 'dependencies = "x"', False),
        ("project = 5", False),
        ("[project", False),
    ],
)
def test_a_project_file_is_plain_if_its_dependencies_are(text: str, plain: bool):
    assert is_plain("pyproject.toml", text) == plain


def test_releases_with_the_same_plain_requirements_share_a_virtualenv_whatever_their_source():
    read = {"requirements.txt": "flask==3.1.0\ngunicorn\n"}
    assert key(SOURCE, read, "3.11.2") == key(OTHER, read, "3.11.9") != key(SOURCE, read, "3.13.1")


def test_a_virtualenv_of_a_ci_key_is_never_an_operator_s():
    read = {"requirements.txt": "flask==3.1.0\ngunicorn\n"}
    assert key(SOURCE, read, "3.11", confined=True) != key(SOURCE, read, "3.11")


def test_included_requirements_are_found():
    text = "flask\n-r base.txt\n--constraint=../pins.txt\n-r https://example.com/x.txt\n"
    assert included("req/prod.txt", text) == ["req/base.txt", "pins.txt"]


def test_the_mark_that_powershell_puts_before_utf_8_is_no_part_of_the_first_line():
    text = decoded("requirements.txt", "-r base.txt\ngunicorn\n".encode("utf-8-sig"))
    assert included("requirements.txt", text) == ["base.txt"] and is_plain("requirements.txt", text)


def test_a_missing_requirements_file_is_refused():
    with pytest.raises(SourceError, match=r"no requirements file needs\.txt"):
        check(SOURCE, {"needs.txt": ""}, RUNNER.package)


@pytest.mark.parametrize(
    "text", ["gunicorn==19.8.1", "gunicorn<19.9", "Gunicorn ~= 18.0", "gunicorn[gevent]>=19,<19.9", "gunicorn==19.7.*"]
)
def test_a_gunicorn_that_is_too_old_is_refused_before_the_upload(text: str):
    assert bounded(f"flask\n{text}  # why\n", "gunicorn", RUNNER.package.since) == text
    with pytest.raises(SourceError, match="is too old") as raised:
        check(SOURCE, {"requirements.txt": f"flask\n{text}\n"}, RUNNER.package)
    assert "require gunicorn>=19.9 in requirements.txt" in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "gunicorn", "gunicorn>=20", "gunicorn==25.1", "gunicorn==27.0.1 \\\n  --hash=sha256:0a", "gunicorn==25.*",
        "gunicorn~=25.0", "gunicorn<26", "gunicorn==20.1; python_version < '3.8'", "gunicorn-extras==1.0",
    ],
)  # fmt: skip
def test_a_gunicorn_that_may_be_new_enough_is_not_refused(text: str):
    check(SOURCE, {"requirements.txt": text}, RUNNER.package)


PROJECT = '[project]\nname = "shop"\ndependencies = ["flask"]\n[project.optional-dependencies]\nserver = ["gunicorn"]\n'


@pytest.mark.parametrize(
    ("path", "text"), [("requirements.txt", "flask  # gunicorn is Debian's\n"), ("pyproject.toml", PROJECT)]
)
def test_a_runner_that_the_app_does_not_name_is_added_to_its_packages(path: str, text: str):
    check((Entry(path, "f", "h", 1), *SOURCE), {path: text}, RUNNER.package)
    assert added({path: text}, RUNNER.package) == "gunicorn>=25.1"
    assert added({path: text, "prod.txt": "Gunicorn\n"}, RUNNER.package) == ""


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("gunicorn==20.1.0", "setuptools<81"), ("gunicorn<21", "setuptools<81"), ("gunicorn==20.1\nsetuptools==68", ""),
        ("gunicorn==21.2.0", ""), ("gunicorn", ""), ("gunicorn>=20", ""),
    ],
)  # fmt: skip
def test_an_old_gunicorn_gets_what_it_needs_and_does_not_name(text: str, more: str):
    assert added({"requirements.txt": f"flask\n{text}\n"}, RUNNER.package) == more


def test_a_requirements_file_with_a_name_that_can_be_none_is_missing(tmp_path: Path):
    name = "a" * 300
    read = {"requirements.txt": f"gunicorn\n-r {name}\n", name: text_of(tmp_path, name)}
    with pytest.raises(SourceError, match="the deployed files have no requirements file aaa"):
        check(SOURCE, read, RUNNER.package)


def test_what_powershell_writes_is_read_and_what_is_neither_is_told_before_the_upload():
    text = "flask  # für alle\r\n"
    for encoding in ("utf-16", "utf-8"):
        assert decoded("requirements.txt", text.encode(encoding)) == text
    with pytest.raises(SourceError, match="not UTF-8"):
        decoded("requirements.txt", text.encode("latin-1"))
