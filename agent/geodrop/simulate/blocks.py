# SPDX-License-Identifier: Apache-2.0
"""Read a log of any size in blocks of whole lines; a gzip stream is unpacked, whatever its name."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, TYPE_CHECKING, cast

from geodrop.errors import DataError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

SIZE = 1 << 21
"""Bytes of a block, about: enough for thousands of lines to be read at once."""

LONGEST = 1 << 16
"""Bytes that are kept of a line that no block can hold; addresses stand at the beginning."""

GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1
BOM = b"\xef\xbb\xbf"


def blocks(descriptor: int) -> Iterator[bytes]:
    """Yield a file's content in blocks that end with a newline. Raises DataError after all that could be read.

    The descriptor stays open. Each line of the file is one line of the blocks, so that line numbers are true.
    """
    with open(descriptor, "rb", closefd=False) as file:
        packed = file.peek(len(GZIP))[: len(GZIP)] == GZIP
        source = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
        left, skipping, at_start = b"", False, True
        while True:
            content, failure = _filled(source)
            whole = not content or failure is not None
            if skipping:
                # The rest of a line whose beginning is in `left`.
                at = content.find(b"\n")
                content = content[at:] if at >= 0 else b""
                skipping = at < 0
            content = left + content
            if at_start:
                content, at_start = content.removeprefix(BOM), False
            if whole and content and not content.endswith(b"\n"):
                content += b"\n"
            end = content.rfind(b"\n") + 1
            if end:
                yield content if end == len(content) else content[:end]
            left = content[end:]
            if failure is not None:
                raise DataError(
                    f"the rest cannot be read ({failure})", "what is in front of it was counted"
                ) from failure
            if whole:
                return
            if len(left) >= SIZE:
                left, skipping = left[:LONGEST], True


def _filled(source: IO[bytes]) -> tuple[bytes, Exception | None]:
    """Read a block or what is left, and why no more can be read; what was read before a failure is not lost."""
    found: list[bytes] = []
    missing = SIZE
    try:
        while missing > 0 and (piece := cast("io.BufferedReader", source).read1(missing)):
            found.append(piece)
            missing -= len(piece)
    except (OSError, EOFError, zlib.error) as error:
        return b"".join(found), error
    return b"".join(found), None
