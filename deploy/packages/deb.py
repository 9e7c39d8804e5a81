# SPDX-License-Identifier: Apache-2.0
"""Build the Debian package of a target: a tree of files, what dpkg must know of them, and the scripts it runs.

The same sources give the same bytes: every file has the time SOURCE_DATE_EPOCH, and one thread packs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.packages import tree, wheels
from deploy.packages.elf import read_elf
from deploy.packages.targets import BPF

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.packages.sources import Sources
    from deploy.packages.targets import Target

SCRIPTS = Path(__file__).parent / "debian"
REVISION = 1
MAINTAINER = "geodrop developers <geodrop@packages.invalid>"

LIBRARIES = {
    "ld-linux-aarch64.so.1": "libc6",
    "ld-linux-x86-64.so.2": "libc6",
    "libc.so.6": "libc6",
    "libm.so.6": "libc6",
    "libpthread.so.0": "libc6",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
"""The package of each library that compiled modules need from the host: those that a wheel may (PEP 600)."""
GLIBC = "2.28"
"""What wheels are built for at most: their tags manylinux_2_28."""

DESCRIPTION = """drop packets from unsupported regions in the kernel
 geodrop compiles a policy and GeoIP databases into nftables maps or into tables
 of an XDP program, and switches from one policy to the next in a single step.
 It runs on the hosts of an API edge, and enforcement goes on while its daemon
 is stopped, restarted or upgraded."""


def build(target: Target, sources: Sources, folder: Path, packing: str = "xz") -> Path:
    """Build a package into `folder`; return its path.

    Its version is that of the wheel; `packing` is a kind that dpkg-deb knows, "none" the quickest. Raises ValueError if
    a module needs a library that no package is known for, or is for another processor; subprocess.CalledProcessError
    if dpkg-deb fails.
    """
    version = f"{wheels.version_of(sources.geodrop)}-{REVISION}~{target.release.name}"
    name = f"geodrop_{version}_{target.processor.debian}.deb"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        tree.fill(root, target, sources, name)
        _changelog(root, version, sources.epoch)
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        depends = _depends(target, needed(target, files))
        _control(root, target, version, depends, files)
        _set_times(root, sources.epoch)
        to = folder / name
        # More threads would cut the data into as many blocks as the building machine has processors.
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--threads-max=1", f"-Z{packing}", "-z1", "--build", str(root), str(to)],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(sources.epoch)}, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    return to


def needed(target: Target, files: Iterable[Path]) -> set[str]:
    """Return the packages with the libraries that compiled modules need and no wheel brings.

    Raises ValueError for a library that is in neither, and for a module of another processor.
    """
    found = {path: elf for path in files if (elf := read_elf(path))}
    for path, elf in found.items():
        if elf.machine not in (target.processor.elf, BPF):
            raise ValueError(f"{path} is for machine {elf.machine}, not for {target}")
    brought = {path.name for path in found}
    libraries = {name for elf in found.values() for name in elf.needed} - brought
    if unknown := libraries - LIBRARIES.keys():
        raise ValueError(f"no package is known for {', '.join(sorted(unknown))}: add it to LIBRARIES")
    return {LIBRARIES[name] for name in libraries}


def _changelog(root: Path, version: str, epoch: int) -> None:
    """Write what dpkg's tools look for; what changed is in geodrop's own changelog beside it."""
    date = format_datetime(datetime.fromtimestamp(epoch, UTC))
    text = f"""geodrop ({version}) stable; urgency=medium

  * Version {version.partition("-")[0]}: see changelog.gz.

 -- {MAINTAINER}  {date}
"""
    tree.pack(root / tree.DOC / "changelog.Debian.gz", text.encode())


def _depends(target: Target, libraries: set[str]) -> str:
    python = target.release
    packages = [f"python3 (>= {python.python})", f"python3 (<< {python.next_python})", "systemd", "libbpf1"]
    packages += [f"libc6 (>= {GLIBC})" if name == "libc6" else name for name in sorted(libraries)]
    return ", ".join(packages)


def _control(root: Path, target: Target, version: str, depends: str, files: Sequence[Path]) -> None:
    control = root / "DEBIAN"
    size = sum((path.stat().st_size + 1023) // 1024 for path in files)
    fields = {
        "Package": "geodrop",
        "Version": version,
        "Section": "net",
        "Priority": "optional",
        "Architecture": target.processor.debian,
        "Maintainer": MAINTAINER,
        "Installed-Size": size,
        "Depends": depends,
        "Recommends": "openssh-client",
        "Suggests": "nftables, python3-bpfcc",
        "Description": DESCRIPTION,
    }
    control.mkdir()
    (control / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()), encoding="utf-8")
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)  # noqa: S324 - dpkg --verify knows no other
    (control / "md5sums").write_text("".join(sums), encoding="utf-8")
    for script in SCRIPTS.iterdir():
        shutil.copyfile(script, control / script.name)
        (control / script.name).chmod(0o755)


def _set_times(root: Path, epoch: int) -> None:
    """Give all files one time and all folders one mode, whatever the umask of the builder is."""
    for path in (root, *root.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
