"""Capabilities that a service gives its user reach newuidmap and nothing else."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.line import line_folder
from tests.support.require import require
from tests.support.users import ROOT, ordinary_user, python_for, setpriv_options

pytestmark = pytest.mark.integration
GIVEN = ["--inh-caps=+setuid,+setgid", "--ambient-caps=+setuid,+setgid"]
PROGRAM = """
import threading
from minid.host import process
from minid.host.capabilities import ambient_capabilities

def inherited(**options):
    out = process.run(["grep", "^CapPrm", "/proc/self/status"], timeout_s=10, **options).stdout
    return int(out.split()[1], 16)

print(ambient_capabilities(), inherited(), inherited(with_capabilities=True))
try:
    process.run(["/nonexistent"], timeout_s=10)
except Exception as error:
    print(type(error).__name__)
thread = threading.Thread(target=lambda: print(inherited(), inherited(with_capabilities=True)))
thread.start()
thread.join()
print(ambient_capabilities())
"""


def test_only_who_needs_them_inherits_them() -> None:
    require("setpriv")
    if os.geteuid() != 0:
        pytest.skip("only root can give capabilities")
    user = ordinary_user()
    with line_folder() as folder:
        python = python_for(user, folder / "python")
        words = ["setpriv", *setpriv_options(user), *GIVEN, "env", f"PYTHONPATH={ROOT}", python]
        done = subprocess.run([*words, "-c", PROGRAM], capture_output=True, text=True, cwd="/")
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["(6, 7) 0 192", "HostError", "0 192", "(6, 7)"]
