"""Requirements without an exact version; and the kit's own, which its locks fit."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.agent import layout
from deploy.source.pins import note, unpinned

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"requirements.lock": "requirements.txt", "tests/requirements.lock": "tests/requirements.txt"}


@pytest.mark.parametrize(
    "pinned",
    [
        "flask==3.1.2", "flask[async] == 3.1.2", "flask===3.1.2", 'flask==3.1.2; python_version > "3"', "# flask", "",
        "flask==3.1.2  # why", "./wheels/x-1.0.whl", "wheels/x-1.0-py3-none-any.whl", "x @ file:wheels/x.whl", "x@./y",
        "x @ https://example.com/x.whl#sha256=00", f"x @ git+https://example.com/x@{'a' * 40}", "--no-index",
        "flask>=3 \\\n    --hash=sha256:00", "-r other.txt", "-c constraints.txt",
    ],
)  # fmt: skip
def test_a_requirement_with_an_exact_version_is_pinned(pinned: str):
    assert unpinned({"requirements.txt": f"{pinned}\n"}) == {}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("flask", "flask"), ("Flask>=3.1", "flask"), ("flask==3.*", "flask"), ("flask>=3,==3.1.2,<4", "flask"),
        ("flask~=3.1 ; python_version > '3'", "flask"), ("my_pkg.x>1 # why", "my-pkg-x"),
        ("x @ git+https://example.com/x@main", "x"), ("https://example.com/x.whl", "https://example.com/x.whl"),
    ],
)  # fmt: skip
def test_a_requirement_without_one_is_not(line: str, name: str):
    assert unpinned({"requirements.txt": f"gunicorn==27.0.1\n{line}\n"}) == {"requirements.txt": [name]}


def test_constraints_pin_and_a_project_s_dependencies_count():
    texts = {"requirements.txt": "flask\ngunicorn\n-c pins.txt\n", "pins.txt": "Flask==3.1.2\n"}
    assert unpinned(texts) == {"requirements.txt": ["gunicorn"]}
    project = '[project]\nname = "x"\ndependencies = ["flask>=3", "gunicorn==27.0.1"]\n'
    assert unpinned({"pyproject.toml": project}) == {"pyproject.toml": ["flask"]}
    assert unpinned({"pyproject.toml": "broken ["}) == {}


def test_the_note_names_the_file_and_how_to_pin():
    said = note({"requirements.txt": "a\nb\nc\nd\ne==1\n"})
    assert "requirements.txt (a, b, c and 1 more)" in said and "uv pip compile" in said and "pip freeze" in said
    assert note({"requirements.txt": "e==1\n"}) == ""


def locked(text: str) -> dict[str, list[tuple[str, str, int]]]:
    """Name → (version, marker, number of hashes), once for each marker."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        if match := re.match(r"([\w.-]+)==(\S+)(?: ; ([^\\]+))?", entry):
            hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
            found.setdefault(canonicalize_name(match[1]), []).append((match[2], (match[3] or "").strip(), hashes))
    return found


def required(path: Path) -> list[Requirement]:
    found = []
    for line in path.read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r"):
            found += required(path.parent / line[2:].strip())
        elif line:
            found.append(Requirement(line))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_fits_the_requirements(lock: str):
    packages = locked((ROOT / lock).read_text())
    for requirement in required(ROOT / LOCKS[lock]):
        versions = packages.get(canonicalize_name(requirement.name), [])
        assert versions, f"{lock} has no {requirement.name}: make lock"
        for version, _, _ in versions:
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, {version}: make lock"


@pytest.mark.parametrize("lock", [*LOCKS, "deploy/plan/uv-wheels.lock"])
def test_everything_in_a_lock_has_hashes_and_it_names_no_index(lock: str):
    text = (ROOT / lock).read_text()
    packages = locked(text)
    assert packages and all(count for versions in packages.values() for _, _, count in versions)
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    assert len(re.findall(r"^[\w.-]+==", text, re.M)) == sum(map(len, packages.values()))


def test_the_lock_of_uv_is_for_the_version_that_servers_get():
    ((name, versions),) = locked((ROOT / "deploy/plan/uv-wheels.lock").read_text()).items()
    assert name == "uv" and [version for version, _, _ in versions] == [layout.UV_VERSION], "make lock"
    assert versions[0][2] >= 15  # a wheel for each platform


def test_the_workflow_in_the_docs_installs_by_hashes_and_pins_its_actions():
    text = (ROOT / "docs/ci.md").read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
    installs = re.findall(r"pip install ([^&\n]*)", text)
    assert [line.split()[0] for line in installs] == ["--require-hashes", "--no-deps"]


def test_a_clone_is_installed_by_its_locks():
    installs = re.findall(r"pip install (.*)", (ROOT / "Makefile").read_text())
    assert installs and all("--require-hashes" in options for options in installs), installs


def test_each_promise_of_security_md_names_tests_that_exist():
    text = (ROOT / "SECURITY.md").read_text()
    promised = text.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [row for row in promised.splitlines() if row.startswith("| ")][1:]
    named = [re.findall(r"`(tests/\S+\.py)`", row) for row in rows]
    assert len(rows) > 10 and all(named)
    assert all((ROOT / path).is_file() for paths in named for path in paths)
