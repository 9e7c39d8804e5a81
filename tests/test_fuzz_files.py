# SPDX-License-Identifier: Apache-2.0
"""The short form of `make fuzz-files`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

COUNT = 300


def test_altered_files_are_refused_or_work() -> None:
    """An altered ruleset or state leads only to a refusal, a recovery, or a whole ruleset."""
    seed = os.environ.get("GEODROP_FUZZ_SEED", "1")
    command = [sys.executable, "-m", "tests.fuzz_files", str(COUNT), seed]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = json.loads(done.stdout.partition("files: ")[2])
    assert not [how for how in ended if "without sense" in how]
    for alteration in ("bits", "cut", "value", "text", "section", "swapped"):
        assert ended.get(f"{alteration}: refused"), "each way of altering is tried"
    assert ended.get("value: opened"), "what is in bounds is taken"
