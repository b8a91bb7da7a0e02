"""The benchmark's peer, which must do all the work that a provision does."""

import subprocess
from pathlib import Path

from benchmarks import script
from deploy.config.reader import load
from deploy.plan import provision as plans

ROOT = Path(__file__).resolve().parents[1]


def test_the_shell_script_that_a_provision_is_compared_with_has_lines_for_each_of_its_steps():
    config = load(ROOT)
    text = script.script(plans.provisioning(config.app, config.stages[0]))
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    for step in ("worker_connections", "firewall-apps.d", "--require-hashes", "journald@", "access.log"):
        assert step in text
