"""A bpffs of a test's own, so that nothing is ever pinned where the machine pins."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.dataplane.xdp.pins import Pins
from tests.namespaces import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def own_pins() -> Iterator[Pins]:
    """A folder for pins; when it goes, everything pinned in it goes too."""
    with tempfile.TemporaryDirectory(prefix="geodrop-bpf-") as folder:
        run("mount", "-t", "bpf", "bpf", folder)
        try:
            yield Pins(Path(folder) / "geodrop")
        finally:
            run("umount", "--lazy", folder)
