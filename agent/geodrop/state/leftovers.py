"""What nobody will ask for again: state directories of network namespaces that went with an earlier boot."""

from __future__ import annotations

import shutil

from geodrop.state.places import states_of_earlier_boots


def remove_leftovers() -> None:
    """Remove them as far as this process may; that some stay is no failure of whoever has better things to do."""
    for folder in states_of_earlier_boots():
        shutil.rmtree(folder, ignore_errors=True)
