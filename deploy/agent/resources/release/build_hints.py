"""What a build or an app lacks, by what it said: which line of deploy.toml brings it."""

import re

NEEDS_SETTING = "add to [app] in deploy.toml: "
# What is said → the Debian packages that a build needs; the first that fits counts, and headers come before compilers.
PACKAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"pg_config(?: executable)?:? (?:not found|is required)|libpq-fe\.h", ("gcc", "libpq-dev")),
    (r"mysql_config|mysqlclient.*pkg-config|mysql\.h|MYSQLCLIENT_CFLAGS",
     ("gcc", "pkg-config", "default-libmysqlclient-dev")),
    (r"\bffi\.h\b|libffi", ("gcc", "libffi-dev")),
    (r"libxml/\S+\.h|xml2-config|xslt-config|libxml2 and libxslt development", ("gcc", "libxml2-dev", "libxslt1-dev")),
    (r"openssl/\S+\.h|Could not find directory of OpenSSL", ("gcc", "libssl-dev", "pkg-config")),
    (r"\bjpeglib\.h|headers or library files could not be found for jpeg", ("gcc", "libjpeg-dev", "zlib1g-dev")),
    (r"\bzlib\.h\b|could not be found for zlib", ("gcc", "zlib1g-dev")),
    (r"\blber\.h|\bldap\.h|sasl/sasl\.h", ("gcc", "libldap-dev", "libsasl2-dev")),
    (r"\bsqlite3\.h\b", ("gcc", "libsqlite3-dev")),
    (r"\bgeos_c\.h|geos-config", ("gcc", "libgeos-dev")),
    (r"\bgdal-config|GDAL", ("gcc", "g++", "libgdal-dev")),
    (r"\bMagickWand|wand/MagickWand\.h", ("gcc", "libmagickwand-dev")),
    (r"\bcairo\.h|Dependency \"cairo\" not found", ("gcc", "libcairo2-dev", "pkg-config")),
    (r"xmlsec", ("gcc", "pkg-config", "libxmlsec1-dev")),
    (r"Python\.h: No such file|Python\.h' file not found|Python dependency not found", ("gcc",)),
    (r"[Cc]ould not locate cargo|cargo.{0,40}not found|Cargo, the Rust package manager, is not installed"
     r"|rustc.{0,60}(?:not found|not installed)|requires Rust|can't find Rust compiler", ("gcc", "rustc", "cargo")),
    (r"Git executable not found|git.{0,30}(?:not found|No such file)|failed to spawn git", ("git", "ca-certificates")),
    (r"\bcmake.{0,40}(?:not found|must be installed)|CMake must be installed|No CMAKE_CXX_COMPILER",
     ("gcc", "g++", "cmake", "make")),
    (r"(?:g\+\+|c\+\+|cc1plus)['`\"]?:? .{0,40}(?:No such file|not found)|error: command '(?:\S*g\+\+|c\+\+)' failed"
     r"|fatal error: (?:iostream|string|vector): No such", ("gcc", "g++")),
    (r"\bmake:? (?:command )?not found|make['`]: No such file", ("gcc", "make")),
    (r"\bgfortran\b|Fortran compiler", ("gcc", "gfortran")),
    (r"\bpkg-config\b.{0,40}(?:not found|No such file)", ("gcc", "pkg-config")),
    (r"unable to execute '?\S*(?:gcc|cc|clang)|(?:gcc|cc|clang)['`\"]?:? .{0,40}(?:No such file|not found)"
     r"|error: command '\S*(?:gcc|cc|clang)'|linker `?cc`? not found|Unknown compiler\(s\)|C compiler cannot create"
     r"|no acceptable C compiler|Failed to find C compiler|No working compiler found", ("gcc",)),
)  # fmt: skip
INSTEAD = {
    "libpq-dev": "psycopg2-binary in place of psycopg2, which needs no compiler",
    "default-libmysqlclient-dev": "PyMySQL",
}
REMOVED = {"distutils": "since Python 3.12", "imp": "since Python 3.12", "asynchat": "since Python 3.12"}
NO_PYTHON = re.compile(r"requires.{0,10}Python ?(\S+)|(?:Requires-Python|requires-python)\W+(\S+)", re.I)
SHARED = re.compile(r"(lib[\w+.-]+\.so[.\d]*): cannot open shared object file")
LIBRARIES = {
    "libpq.so.5": "libpq5", "libmariadb.so.3": "libmariadb3", "libmysqlclient.so.21": "libmariadb3",
    "libgobject-2.0.so.0": "libglib2.0-0", "libpango-1.0.so.0": "libpango-1.0-0", "libcairo.so.2": "libcairo2",
    "libGL.so.1": "libgl1", "libxml2.so.2": "libxml2", "libxslt.so.1": "libxslt1.1", "libgomp.so.1": "libgomp1",
    "libjpeg.so.62": "libjpeg62-turbo", "libmagic.so.1": "libmagic1", "libgdal.so.32": "libgdal32",
    "libgeos_c.so.1": "libgeos-c1v5", "libsasl2.so.2": "libsasl2-2", "libxmlsec1.so.1": "libxmlsec1",
    "libodbc.so.2": "libodbc2", "libzbar.so.0": "libzbar0", "libsodium.so.23": "libsodium23",
}  # fmt: skip


PROGRAM = re.compile(
    r"No such file or directory: '(?:\S*[/-])?(gcc|cc|g\+\+|c\+\+|git|pg_config|make|cmake|cargo|rustc|pkg-config)'"
)


def advice_on_build(said: str) -> str:
    """What to do about a build of packages that failed; "" if its output does not show it."""
    if found := removed_module(said):
        return found
    if found := unfit(said):
        return found
    said += "".join(f"\n{name}: not found" for name in PROGRAM.findall(said))
    for pattern, packages in PACKAGES:
        if re.search(pattern, said):
            other = next((f"; or use {INSTEAD[name]}" for name in packages if name in INSTEAD), "")
            return f"{NEEDS_SETTING}build_apt = {listed(packages)}{other}"
    return ""


def listed(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def removed_module(said: str) -> str:
    """A module that newer Pythons, or newer versions of setuptools, do not have any more."""
    module = re.findall(r"ModuleNotFoundError: No module named '([\w]+)", said)
    last = module[-1] if module else ""
    if last == "pkg_resources":
        return (
            "a package uses pkg_resources, which setuptools has removed: use a newer version of the package, or add"
            ' to [app] in deploy.toml: extra_requirements = ["setuptools<81"]'
        )
    if last in REMOVED:
        return (
            f"a package uses {last}, which Python has not had {REMOVED[last]}: use a newer version of the package,"
            ' or add to [app] in deploy.toml: python = "3.11"'
        )
    return ""


def unfit(said: str) -> str:
    """No file of a package fits the server: another Python, or another kind of machine."""
    if re.search(
        r"has no (?:wheels|source distribution)|no wheels with a matching|only has wheels for|can't be installed",
        said,
    ):
        return (
            "a package has no file for this server: uv's output above says for which platform or Python it has some;\n"
            "lock for this platform as well, or set `python` in deploy.toml to a version that it supports"
        )
    if re.search(
        r"does not satisfy Python|requires Python|requires-python|incompatible with the (?:current|target) Python",
        said,
        re.I,
    ):
        return (
            "a package does not support the Python that is used: set `python` in [app] of deploy.toml to a version that"
            ' it supports, such as python = "3.12", or change the requirements'
        )
    if re.search(r"valid authentication credentials|401 Unauthorized|403 Forbidden", said):
        return (
            "a package index wants a user name and a password: set them on the server. For an index NAME:\n"
            "fab env.set UV_INDEX_NAME_USERNAME UV_INDEX_NAME_PASSWORD; for a URL with ${WORD} in it: fab env.set WORD"
        )
    if re.search(r"hash mismatch", said, re.I):
        return (
            "the file that fits this server is not in the lock: was the lock made for another platform? Or the index\n"
            "of the server has other files than that of the lock; make the lock again, for all platforms"
        )
    if re.search(r"missing hash|must have their hashes|--require-hashes", said, re.I):
        return "a package has no hash, although others have one: make the file again with hashes for all"
    return ""


def library_of(said: str) -> str:
    """Which Debian package has a shared library that an app lacks; "" if its output does not show one."""
    found = SHARED.findall(said)
    if not found:
        return ""
    package = LIBRARIES.get(found[-1], "")
    if package:
        return f"{found[-1]} is missing on the server: {NEEDS_SETTING}apt = {listed((package,))}"
    return (
        f"{found[-1]} is missing on the server: add the Debian package that has it to `apt` in [app] of deploy.toml"
        " (`apt-file search` finds it by the name of the file)"
    )
