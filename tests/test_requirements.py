"""What requirements lead to, and the name of the virtualenv that is made of them."""

import pytest

from deploy.agent.wire import Entry
from deploy.build import is_plain, venv_key

SOURCE = (Entry("requirements.txt", "f", 5, "a" * 64), Entry("wheels/x-1-py3-none-any.whl", "f", 9, "b" * 64))
OTHER = (SOURCE[0], Entry("wheels/x-1-py3-none-any.whl", "f", 9, "c" * 64))

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
    ".",
    "./package",
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
    "-e .",
    "--editable=.",
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
    assert venv_key(SOURCE, read, "3.11") != venv_key(OTHER, read, "3.11")


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
    assert venv_key(SOURCE, read, "3.11.2") == venv_key(OTHER, read, "3.11.9") != venv_key(SOURCE, read, "3.13.1")


def test_a_virtualenv_of_a_ci_key_is_never_an_operator_s():
    read = {"requirements.txt": "flask==3.1.0\ngunicorn\n"}
    assert venv_key(SOURCE, read, "3.11", confined=True) != venv_key(SOURCE, read, "3.11")
