"""The shape of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = [
    "interrupts", "errors", "paths", "prompts", "visible", "agent.wire", "agent.system", "agent.locks",
    "agent.outgoing", "agent.overrule", "agent.resources.files", "agent.resources.config_files",
    "agent.resources.logs", "agent.resources.packages", "agent.resources.users", "agent.resources.host",
    "agent.resources.http", "agent.resources.reasons", "agent.resources.health", "agent.resources.way_back",
    "agent.resources.certificates", "agent.resources.proving", "agent.resources.acme", "agent.resources.services",
    "agent.resources.uploads", "agent.resources.commands", "agent.resources.build_box", "agent.resources.releases",
    "agent.resources.environment", "agent.resources.keys", "agent.resources.noticed", "agent.resources.probe",
    "agent.resources.traffic", "agent.resources.static", "agent.resources.sshd_config", "agent.resources.firewall",
    "agent.resources.logins", "agent.resources.admitted", "agent.resources.sshd", "agent.resources.nginx",
    "agent.resources.sites", "agent.resources.door", "agent.resources.swap", "agent.resources", "agent.history",
    "agent.operators", "agent.engine", "agent.journal", "agent.facts", "agent.dependencies", "agent.oneoff",
    "agent.loop", "agent", "values", "schema", "config", "layout", "render", "requirements", "hashes", "archive",
    "pins", "site", "build", "hardening", "plans", "switching", "changes", "ci", "ci.kit", "ci.limits", "ci.inputs",
    "ci.frames", "ci.relay", "ci.server", "ci.keys", "variables", "known_hosts", "host_keys", "transport",
    "payload", "remote", "tables", "screen", "session", "rollout", "proof", "carry", "listing", "preview", "dns",
    "noticed", "answers", "ci.client", "release", "terminal", "verbs", "misuse", "commandline", "env_tasks",
    "ci.command", "ci.task", "sandbox", "sandbox_tasks",
]  # fmt: skip


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "deploy").rglob("*.py"):
        parts = path.relative_to(ROOT / "deploy").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name and not name.startswith("sandbox."):
            found[name] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """Modules that a module imports, ours as names below deploy; what only a type checker imports does not count."""
    package = f"deploy.{name}".split(".") if path.name == "__init__.py" else f"deploy.{name}".split(".")[:-1]
    found = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            found |= (
                {f"{target}.{alias.name}" for alias in node.names} if target in ("deploy", "deploy.agent") else {target}
            )
    return found


def test_a_module_imports_only_from_those_before_it():
    places = {name: number for number, name in enumerate(ORDER)}
    for name, path in modules().items():
        for imported in imports(name, path):
            ours = imported.removeprefix("deploy.")
            if imported.startswith("deploy.") and ours in places and not name.startswith("sandbox"):
                assert places[ours] < places[name], f"{name} imports {ours}"


def test_every_module_has_its_place():
    assert set(modules()) == set(ORDER)


def test_the_agent_is_standard_library_and_itself():
    for name, path in modules().items():
        if name.startswith("agent"):
            for imported in imports(name, path):
                top = imported.split(".")[0]
                assert top in sys.stdlib_module_names or imported.startswith("deploy.agent"), f"{name}: {imported}"


def test_the_operator_s_side_needs_nothing_that_only_unix_has():
    program = (
        "import sys, fabric, getpass, socket\n"
        "for name in ('fcntl', 'pwd', 'grp', 'termios', 'resource', 'pty'):\n"
        "    sys.modules[name] = None\n"
        "del socket.AF_UNIX\n"
        "import fabfile\n"
        "from deploy import verbs, sandbox, remote, plans, archive, render\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_app_and_the_kit_know_nothing_of_each_other():
    for path in (ROOT / "webapp").rglob("*.py"):
        assert "deploy" not in {name.split(".")[0] for name in imports("webapp", path)}
    for name, path in modules().items():
        assert "webapp" not in {imported.split(".")[0] for imported in imports(name, path)}


def test_files_stay_small():
    for path in [*(ROOT / "deploy").rglob("*.py"), *(ROOT / "webapp").rglob("*.py"), ROOT / "fabfile.py"]:
        assert len(path.read_text("utf-8").splitlines()) <= 300, path
