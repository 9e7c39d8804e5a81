"""How property tests run: the same examples every time in CI, and never against the clock of a busy machine."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("geodrop", deadline=None, derandomize=os.environ.get("CI") == "true", print_blob=True)
settings.load_profile("geodrop")
