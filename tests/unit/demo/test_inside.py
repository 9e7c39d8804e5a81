# SPDX-License-Identifier: Apache-2.0
"""The processes that hold namespaces end with the demo, also if the demo is killed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from geodrop.demo import inside

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HOLDER = """
import time
from geodrop.demo.inside import end_with_the_demo, say_ready
say_ready()
end_with_the_demo()
time.sleep(60)
"""


def test_a_holder_says_it_is_ready_and_ends_with_its_input() -> None:
    """The first line names the lock; the end of standard input, as when the demo dies, ends the process at once."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert '"lock": "/run/geodrop' in holder.stdout.readline()
    holder.communicate(timeout=10)
    assert holder.returncode == 0


def test_ipv6_is_switched_on_where_it_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a switch that disables IPv6 is written; a kernel without IPv6 lacks the files, which is no error."""
    monkeypatch.setattr(inside, "IPV6", tmp_path)
    inside.allow_ipv6()
    (tmp_path / "all").mkdir()
    switch = tmp_path / "all" / "disable_ipv6"
    switch.write_text("1\n")
    inside.allow_ipv6()
    assert switch.read_text() == "0"
