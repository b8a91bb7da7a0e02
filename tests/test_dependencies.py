"""What an app's requirements install, besides packages of an index: the project itself, directories, other forms."""

import json
import re
from pathlib import Path

import pytest

from deploy.agent.resources.release.build_hints import advice_on_build, library_of
from deploy.agent.resources.release.own_package import Generated, unbind
from deploy.agent.resources.release.recipes import LISTED, Recipe, plain
from deploy.agent.system import System
from deploy.agent.wire import Entry
from deploy.errors import SourceError
from deploy.plan.record import recipe_of, recorded_recipe, venv_key
from deploy.source.dependencies import Dependencies, dependencies, needed
from deploy.source.roots import roots

PACKAGE = (
    '[project]\nname = "shop"\nversion = "1.0"\ndependencies = ["flask"]\n[build-system]\nrequires = ["hatchling"]\n'
)
NAMES = ["requirements.txt", "pyproject.toml", "src/shop/__init__.py", "shop.py"]


def of(text: str, project: str = PACKAGE, names: list[str] = NAMES) -> Dependencies:
    return dependencies({"requirements.txt": text, "pyproject.toml": project}, names)


@pytest.mark.parametrize(
    "line", [".", "-e .", "--editable .", "--editable=.", ".[prod]", "-e .[prod,web]", "./", "-e file:."]
)
def test_the_project_itself_in_a_requirements_file_is_installed_and_its_code_is_the_release_s(line: str):
    found = of(f"flask\n{line}  # ours\n")
    assert found.recipe == Recipe(project=True, named=True, local=True, roots=("src", "."), edited=found.recipe.edited)
    assert found.recipe.edited == (("requirements.txt",) if line.startswith("-") else ())
    assert found.inputs == ("pyproject.toml",)  # other code needs no other virtualenv


def test_an_app_without_anything_to_build_has_a_virtualenv_as_ever():
    assert of("flask\n").recipe == Recipe() and of("flask\n").inputs == ()
    assert of("flask\n", project="[tool.ruff]\n").recipe == Recipe()


def test_a_directory_of_the_source_is_built_and_names_the_virtualenv():
    found = of("./libs/shared\n-e ./libs/other[web]\n")
    assert not found.recipe.project and found.recipe.local and found.inputs == ("libs/other", "libs/shared")


@pytest.mark.parametrize(
    ("line", "what"), [("../shared", "outside of the project"), ("-e ../../x", "outside of the project")]
)
def test_what_is_outside_of_the_project_is_refused(line: str, what: str):
    with pytest.raises(SourceError, match=what):
        of(f"{line}\n")


def test_a_project_that_is_no_package_cannot_be_installed():
    with pytest.raises(SourceError, match="it is no package"):
        of("flask\n-e .\n", names=["requirements.txt", "shop.py"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-e .\nflask", ".\nflask"),
        ("\ufeff--editable=./libs/x[web]", "./libs/x[web]"),
        ("-e git+https://git.example/x@v1#egg=x", "x @ git+https://git.example/x@v1"),
        ("-e git+https://git.example/x#egg=x&subdirectory=py", "x @ git+https://git.example/x#subdirectory=py"),
        ("--extra-index-url https://e.example\nflask-e==1", "--extra-index-url https://e.example\nflask-e==1"),
    ],
)
def test_editable_installs_are_made_plain_as_a_virtualenv_belongs_to_no_release(before: str, after: str):
    assert plain(before) == after


def test_files_that_are_included_count_and_no_others():
    texts = {
        "requirements.txt": "-r req/base.txt\n-c limits.txt\n",
        "req/base.txt": "flask\n",
        "limits.txt": "flask<4\n",
    }
    read = needed("requirements.txt", [*texts, "other.txt"], lambda path: texts[path])
    assert read == texts and dependencies({**read, ".python-version": "3.12\n"}, [*texts]).read == texts


def test_a_requirements_file_with_hashes_gets_the_runner_in_a_second_step_within_its_versions():
    found = of("flask==3.1 --hash=sha256:0a\n")
    script = found.recipe.script(adds=True)
    first, second = [line for line in script.splitlines() if "pip install" in line]
    assert '-r "$FILE"' in first and "ADDS" not in first
    assert '--constraint "$TMPDIR/there.txt" $ADDS' in second and "--compile-bytecode" in second
    assert Recipe().script(adds=True).count("pip install") == 1


def test_a_lock_is_installed_as_it_is_and_the_project_from_a_copy():
    script = Recipe(LISTED, project=True, local=True, hashed=True).script(adds=False)
    assert "--no-deps --require-hashes -r" in script and script.rstrip().endswith("--no-deps .")
    assert "--require-hashes" not in Recipe(LISTED, resolves=True, named=True, project=True).script(adds=False)


def test_how_a_virtualenv_is_made_is_in_the_release_s_record():
    for recipe in (Recipe(), Recipe(LISTED, "3.12", True, roots=("src", "."), indexes=("a=https://x.example",))):
        assert recipe_of({"recipe": json.loads(json.dumps(recorded_recipe(recipe)))}) == recipe
    assert recipe_of({}) == Recipe() and recorded_recipe(Recipe()) == {}


def source(*paths: str) -> tuple[Entry, ...]:
    return tuple(Entry(path, "f", 3, path.ljust(64, "x")) for path in paths)


def changed(entries: tuple[Entry, ...], path: str) -> tuple[Entry, ...]:
    return tuple(Entry(*entry[:3], "y" * 64) if entry.path == path else entry for entry in entries)


def test_a_package_s_virtualenv_is_shared_by_releases_until_something_changes_that_its_build_reads():
    entries = source("pyproject.toml", "src/shop/__init__.py", "src/shop/fast.c", "src/shop/_version.py", "README.md")
    names = [entry.path for entry in entries]
    found = dependencies({"pyproject.toml": PACKAGE}, names)
    key = venv_key(entries, found, "3.11.2")
    for path in ("src/shop/__init__.py", "README.md"):
        assert venv_key(changed(entries, path), found, "3.11.2") == key
    for path in ("src/shop/fast.c", "src/shop/_version.py"):
        assert venv_key(changed(entries, path), found, "3.11.2") != key
    assert venv_key(entries, found, "uv-3.12") != key


def test_a_version_in_the_code_is_one_of_the_things_that_a_build_reads():
    text = PACKAGE.replace('version = "1.0"', 'dynamic = ["version"]')
    found = dependencies({"pyproject.toml": text}, ["pyproject.toml", "src/shop/__init__.py", "src/shop/sub/views.py"])
    assert found.inputs == ("pyproject.toml", "src/shop/__init__.py")


def test_a_setup_py_is_a_way_to_say_what_is_needed():
    read = {"setup.py": 'setup(name="shop", package_dir={"": "app/code"}, install_requires=["flask"])'}
    found = dependencies(read, ["setup.py", "app/code/shop.py"])
    assert found.listing == ".\n" and found.recipe.project and found.recipe.roots == ("app/code", ".")


def test_extras_need_a_file_that_has_some():
    with pytest.raises(SourceError, match="extras"):
        dependencies({"requirements.txt": "flask\n"}, NAMES, ("prod",))
    project = {"pyproject.toml": PACKAGE}
    assert dependencies(project, ["pyproject.toml"], ("prod",)).recipe.extras == ("prod",)


@pytest.mark.parametrize("text", ["[project", "= 5", "\x00", "[project]\nname = \n"])
def test_a_broken_pyproject_is_refused_with_its_line(text: str):
    with pytest.raises(SourceError, match=r"pyproject\.toml is not TOML"):
        dependencies({"pyproject.toml": text}, ["pyproject.toml"])


def test_a_password_in_a_pyproject_is_refused_and_an_address_of_mail_is_none():
    people = '[project]\nname = "shop"\nauthors = [{name = "A", email = "a@b.example"}]\ndependencies = ["flask"]\n'
    dependencies({"pyproject.toml": people}, ["pyproject.toml"])
    with pytest.raises(SourceError, match="user name or password"):
        text = PACKAGE.replace('"flask"', '"x @ https://me:canary@files.example/x.whl"')
        dependencies({"pyproject.toml": text}, ["pyproject.toml"])


def test_a_pyproject_without_dependencies_is_refused_if_it_is_to_count():
    with pytest.raises(SourceError, match="has no table"):
        dependencies({"pyproject.toml": "[tool.ruff]\n"}, ["pyproject.toml"])
    with pytest.raises(SourceError, match="there is no lock") as raised:
        text = '[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\nflask = "*"\n'
        dependencies({"pyproject.toml": text}, ["pyproject.toml"])
    assert "poetry lock" in raised.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://me:canary@packages.example/simple",
        "--extra-index-url=https://canary@packages.example/simple",
        "x @ https://me:canary@files.example/x.whl",
        "git+https://me:canary@git.example/x#egg=x",
        "x @ git+https://canary@git.example/x",
    ],
)
def test_a_password_in_requirements_is_refused_and_not_shown(line: str):
    with pytest.raises(SourceError, match="user name or password") as raised:
        of(f"flask\n{line}\n")
    assert "canary" not in str(raised.value) and "fab env.set" in raised.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://${INDEX_USER}:${INDEX_PASSWORD}@packages.example/simple",
        "x @ git+ssh://git@git.example/x",
        "x @ git+https://git@git.example/x",
        "x @ https://files.example/x@1.whl",
    ],
)
def test_a_variable_or_a_user_of_git_is_no_password(line: str):
    of(f"flask\n{line}\n")


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ({}, ("src", ".")),
        ({"tool": {"setuptools": {"package-dir": {"": "lib"}}}}, ("lib", ".")),
        ({"tool": {"setuptools": {"packages": {"find": {"where": ["lib"]}}}}}, ("lib", ".")),
        ({"tool": {"poetry": {"packages": [{"include": "shop", "from": "lib"}]}}}, ("lib", ".")),
        ({"tool": {"hatch": {"build": {"targets": {"wheel": {"packages": ["lib/shop"]}}}}}}, ("lib", ".")),
        ({"tool": {"uv": {"build-backend": {"module-root": "lib"}}}}, ("lib", ".")),
        ({"tool": {"pdm": {"build": {"package-dir": "lib"}}}}, ("lib", ".")),
        ({"tool": {"pdm": {"build": {"package-dir": "nowhere"}}}}, ("src", ".")),
    ],
)
def test_where_the_code_of_a_package_is_searched_for(project: dict, expected: tuple[str, ...]):
    assert roots(project, {}, ["src/shop/__init__.py", "lib/shop/__init__.py"]) == expected


def installed(venv: Path, files: dict[str, str], where: str = "file:///srv/shop/venvs/k/.scratch/project") -> Path:
    """A virtualenv with a package in it, installed from there."""
    site = venv / "lib" / "python3.11" / "site-packages"
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    metadata = site / "shop-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "direct_url.json").write_text(json.dumps({"url": where, "dir_info": {}}))
    (metadata / "RECORD").write_text(
        "".join(f"{path},,\n" for path in (*files, "shop-1.0.dist-info/METADATA", "../../../bin/shopctl"))
    )
    return site


def test_a_virtualenv_keeps_metadata_of_the_project_and_none_of_its_code(tmp_path: Path):
    code = tmp_path / "source" / "src" / "shop"
    code.mkdir(parents=True)
    (code / "__init__.py").write_text("new")
    site = installed(
        tmp_path / "venv",
        {"shop/__init__.py": "old", "shop/_version.py": "1", "shop/sub/fast.so": "elf", "top.so": "elf"},
    )
    (site / "shop" / "__pycache__").mkdir()
    (site / "shop" / "__pycache__" / "__init__.cpython-311.pyc").touch()
    unbind(str(tmp_path / "venv"), str(tmp_path / "source"), Recipe(roots=("src", ".")))
    assert sorted(path.name for path in site.iterdir()) == ["shop-1.0.dist-info", "top.so"]
    made = Generated(str(tmp_path / "venv"), str(tmp_path / "source"), "root")
    assert [drift.what for drift in made.check(System())] == ["src/shop/_version.py", "src/shop/sub/fast.so"]
    made.apply(System())
    assert made.check(System()) == [] and (code / "sub" / "fast.so").read_text() == "elf"
    assert (code / "__init__.py").read_text() == "new"


def test_a_package_from_elsewhere_and_one_with_another_layout_stay_as_they_are(tmp_path: Path):
    (tmp_path / "source" / "shop").mkdir(parents=True)
    (tmp_path / "source" / "shop" / "__init__.py").touch()
    for where, name in (
        ("file:///srv/shop/venvs/k/.scratch/project/libs/x", "shop"),
        ("file:///x/.scratch/project", "renamed"),
    ):
        site = installed(tmp_path / name, {f"{name}/__init__.py": "old"}, where)
        unbind(str(tmp_path / name), str(tmp_path / "source"), Recipe(roots=(".",)))
        assert (site / name / "__init__.py").exists()


SAID = [
    ("error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'", 'build_apt = ["gcc"]'),
    ("error: command 'gcc' failed: No such file or directory", 'build_apt = ["gcc"]'),
    ("error: linker `cc` not found", 'build_apt = ["gcc"]'),
    ("../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]", 'build_apt = ["gcc"]'),
    ("Error: pg_config executable not found.", 'build_apt = ["gcc", "libpq-dev"]'),
    ("/bin/sh: 1: mysql_config: not found", '"default-libmysqlclient-dev"'),
    ("Exception: Can not find valid pkg-config name.\nSpecify MYSQLCLIENT_CFLAGS", '"default-libmysqlclient-dev"'),
    ("error: Git executable not found. Ensure that Git is installed.", 'build_apt = ["git", "ca-certificates"]'),
    ("shop.c:1:10: fatal error: Python.h: No such file or directory", 'build_apt = ["gcc"]'),
    ("c/_cffi_backend.c:15:10: fatal error: ffi.h: No such file or directory", '"libffi-dev"'),
    ("Error: Please make sure the libxml2 and libxslt development packages are installed.", '"libxml2-dev"'),
    ("error: can't find Rust compiler", '"rustc", "cargo"'),
    ("Cargo, the Rust package manager, is not installed or is not on PATH.", '"rustc", "cargo"'),
    ("ModuleNotFoundError: No module named 'distutils'", 'python = "3.11"'),
    ("ModuleNotFoundError: No module named 'pkg_resources'", "setuptools<81"),
    ("x has no wheels with a matching Python ABI tag (e.g., `cp313`)", "no file for this server"),
    ("error: the current Python version (3.11.2) does not satisfy Python>=3.12", "`python`"),
    ("error: Hash mismatch for `flask==3.1.3`", "another platform"),
    ("pywin32==311 has no wheels with a matching platform tag", "no file for this server"),
    ("An index could not be queried due to a lack of valid authentication credentials (401)", "fab env.set"),
    ("In `--require-hashes` mode, all requirements must have their hashes", "has no hash"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "hint"), SAID)
def test_a_build_that_lacks_something_is_told_which_line_brings_it(said: str, hint: str):
    assert hint in advice_on_build(f"some lines\n{said}\nmore")


def test_other_failures_get_no_advice_of_that_kind():
    assert advice_on_build("error: No solution found when resolving dependencies") == ""
    assert library_of("ImportError: cannot import name x") == ""


def test_an_app_that_lacks_a_shared_library_is_told_its_package():
    said = "ImportError: libpq.so.5: cannot open shared object file: No such file or directory"
    assert 'apt = ["libpq5"]' in library_of(said)
    assert "add the Debian package that has it" in library_of(said.replace("libpq.so.5", "libfoo.so.1"))
    assert re.search(r"`apt`", library_of(said.replace("libpq.so.5", "libfoo.so.1")))


def test_an_archive_of_the_source_names_the_virtualenv_and_no_other_file_does():
    found = of("-r more.txt\n./wheels/fast-1.0.tar.gz\n", names=["requirements.txt", "wheels/fast-1.0.tar.gz"])
    assert found.inputs == ("wheels/fast-1.0.tar.gz",) and found.recipe == Recipe()


def test_a_project_in_a_directory_of_the_source_is_all_relative_to_that():
    names = ["api/pyproject.toml", "api/src/shop/__init__.py", "api/uv.lock", "web/setup.py"]
    found = dependencies({"api/pyproject.toml": PACKAGE}, names)
    assert found.recipe.directory == "api" and found.recipe.roots == ("api/src", "api")
    assert found.inputs == ("api/pyproject.toml",) and 'cd "$DIRECTORY"' in found.recipe.script(adds=False)
    assert roots({}, {}, []) == (".",) and Recipe().directory == ""


def test_the_project_is_the_top_directory_also_where_the_requirements_are_in_another():
    texts = {
        "requirements/prod.txt": "-e .[web]\n-r base.txt\n",
        "requirements/base.txt": "flask\n",
        "pyproject.toml": PACKAGE,
    }
    found = dependencies(texts, [*texts, "src/shop/__init__.py"])
    assert found.recipe.project and found.recipe.roots == ("src", ".") and found.recipe.directory == ""
    assert set(found.read) == {"requirements/prod.txt", "requirements/base.txt", "pyproject.toml"}
