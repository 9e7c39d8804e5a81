# SPDX-License-Identifier: Apache-2.0
"""The files of the Debian package, put where they belong below a root.

The program is an environment of its own, in the layout that Python knows as a virtual environment (PEP 405): units and
commands name its interpreter, and it sees no other package of the host. Its paths are the same on every host.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.packages import completions, wheels
from deploy.packages.licences import debian_copyright, read_package
from deploy.packages.sbom import sbom
from docs.man.pages import PAGES

if TYPE_CHECKING:
    from deploy.packages.sources import Sources
    from deploy.packages.targets import Target

REPOSITORY = Path(__file__).parents[2]
PROGRAM = "usr/lib/geodrop"
DOC = "usr/share/doc/geodrop"
SHARE = "usr/share/geodrop"
"""What a host may need, and not only a reader: images leave out /usr/share/doc."""
UNITS = "usr/lib/systemd/system"

COMMAND = f"""#!/{PROGRAM}/bin/python -IB
import sys

from geodrop.cli.main import main

sys.exit(main())
"""
"""-I: what the caller's environment and folder hold is not imported. -B: /usr is never written to."""

ENVIRONMENT = "home = /usr/bin\ninclude-system-site-packages = false\n"


def fill(root: Path, target: Target, sources: Sources, name: str) -> None:
    """Put everything of the package into `root`; `name` is that of the package's file.

    Raises KeyError for a wheel that licences.toml does not know.
    """
    site = f"{PROGRAM}/lib/python{target.release.python}/site-packages"
    modules = root / site
    for wheel in sources.wheels:
        wheels.unpack(wheel, modules)
    _write(root / PROGRAM / "pyvenv.cfg", ENVIRONMENT)
    _write(root / PROGRAM / "bin/geodrop", COMMAND, 0o755)
    _link(root / PROGRAM / "bin/python", "../../../bin/python3")
    _link(root / "usr/sbin/geodrop", "../lib/geodrop/bin/geodrop")
    _copy("deploy/steps.sh", root / PROGRAM / "steps.sh")
    _system(root)
    _documents(root)
    packages = [read_package(wheel, target.processor.debian) for wheel in sources.wheels]
    _write(root / DOC / "copyright", debian_copyright(packages, site))
    _write(root / DOC / "sbom.cdx.json", sbom(packages, name, sources.epoch))
    _copy("deploy/packages/lintian-overrides", root / "usr/share/lintian/overrides/geodrop")
    # Where each shell looks for the completions of packages.
    _write(root / "usr/share/bash-completion/completions/geodrop", completions.bash())
    _write(root / "usr/share/zsh/vendor-completions/_geodrop", completions.zsh())
    _write(root / "usr/share/fish/vendor_completions.d/geodrop.fish", completions.fish())


def _system(root: Path) -> None:
    """Put units, users and folders where systemd looks for those of packages."""
    units = REPOSITORY / "systemd"
    for pattern in ("*.service", "*.socket", "*.mount"):
        for unit in units.glob(pattern):
            if unit.is_file():
                _copy(f"systemd/{unit.name}", root / UNITS / unit.name)
    _copy("systemd/geodrop.sysusers", root / "usr/lib/sysusers.d/geodrop.conf")
    _copy("systemd/geodrop.tmpfiles", root / "usr/lib/tmpfiles.d/geodrop.conf")
    # Who wants xdp links it into /etc/systemd/system/geodrop.service.d: rights that most hosts do not need.
    _copy("systemd/geodrop.service.d/xdp.conf", root / PROGRAM / "xdp.conf")


def _documents(root: Path) -> None:
    for page in PAGES:
        pack(root / f"usr/share/man/man{page.section}/{page.file}.gz", page.roff().encode())
    pack(root / DOC / "changelog.gz", (REPOSITORY / "CHANGELOG.md").read_bytes())
    for policy in (REPOSITORY / "deploy/policies").glob("*.yaml"):
        _copy(f"deploy/policies/{policy.name}", root / SHARE / "policies" / policy.name)
    _copy("deploy/prometheus/geodrop.rules.yml", root / SHARE / "prometheus/geodrop.rules.yml")
    _copy("docs/runbook.md", root / DOC / "runbook.md")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _copy(source: str, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPOSITORY / source, to)
    to.chmod(0o644)


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


def pack(path: Path, data: bytes) -> None:
    """Write a file packed by gzip, without a time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0))
    path.chmod(0o644)
