"""The state directory: every ruleset that was loaded, the generation number, and what the operator last asked for.

    rulesets/DIGEST.ruleset   copies of loaded rulesets, found again by the digest that the kernel carries
    intent.json               {"generation": 42, "digest": "...", "unloaded": false}

Everything is written beside, synced and renamed, so that a power cut leaves the old or the new.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING

from geodrop.errors import ApplyError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Intent:
    """What was last asked for. `generation` is the highest number ever given out; `digest` "" before the first load."""

    generation: int = 0
    digest: str = ""
    unloaded: bool = False


class Store:
    """One state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def intent(self) -> Intent:
        """What was last asked for; a missing or damaged file counts as nothing asked yet."""
        try:
            content = json.loads((self.folder / "intent.json").read_bytes())
            return Intent(int(content["generation"]), str(content["digest"]), bool(content["unloaded"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Intent()

    def remember(self, intent: Intent) -> None:
        """Write what was asked for; raises PrivilegeError or ApplyError (disk full)."""
        content = json.dumps(asdict(intent)).encode()
        self._write(self.folder / "intent.json", lambda file: file.write(content))

    def ruleset_path(self, digest: str) -> Path:
        """Where the ruleset of a digest is kept; the file need not exist."""
        return self.folder / "rulesets" / f"{digest}.ruleset"

    def keep(self, source: Path, digest: str) -> None:
        """Keep a copy of a ruleset; raises PrivilegeError or ApplyError."""
        kept = self.ruleset_path(digest)
        if kept.exists():
            os.utime(kept)
            return

        def copy(target: IO[bytes]) -> None:
            with source.open("rb") as file:
                shutil.copyfileobj(file, target, 1 << 20)

        self._write(kept, copy)

    def prune(self, seconds: int, needed: set[str]) -> None:
        """Forget rulesets not loaded for this long, but never the needed digests."""
        oldest = time.time() - seconds
        for path in (self.folder / "rulesets").glob("*.ruleset"):
            if path.stem not in needed and path.stat().st_mtime < oldest:
                path.unlink()

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        try:
            self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o750, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
                try:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except PermissionError as error:
            raise PrivilegeError(f"{path}: may not be written", "run as root") from error
        except OSError as error:
            raise ApplyError(
                f"{path}: {error.strerror}; nothing was changed", "make room or name another `state`"
            ) from error
