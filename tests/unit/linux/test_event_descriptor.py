# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import select

import pytest

from geodrop.linux.event_descriptor import EventDescriptor


def test_it_can_be_waited_for_and_is_closed_with_the_block() -> None:
    """It is readable while the block lasts, and no descriptor is left behind it."""
    reader, writer = os.pipe()
    with EventDescriptor(reader) as events:
        os.write(writer, b"x")
        assert select.select([events], [], [], 5)[0] == [events]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    os.close(writer)
