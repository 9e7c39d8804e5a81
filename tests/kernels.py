# SPDX-License-Identifier: Apache-2.0
"""`make test-kernels`: run tests under another Debian kernel than the running one, in an emulated machine.

It runs the conformance suite on nftables, tests that need a clock of their own or modules that this machine's kernel
lacks, and those of the verifier, which before Linux 6.2 follows more ways through the XDP program. The kernel comes
from its package, unpacked and not installed; virtme-ng boots it under emulation, with read access to this machine's
files and its own network. It is slow: each packet passes an emulated processor. Kernels differ in what they accept,
when they validate, and how they judge; the verdict of every case shows whether any difference matters.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "kernels"
SUITES = (
    (
        "tests/conformance/test_engines.py",
        "tests/kernel/nftables",
        "-k",
        "nftables and not xdp and not random",
    ),
    ("tests/kernel", "-m", "emulated"),
    ("tests/kernel/xdp/test_verifier.py", "-k", "not bcc", "-s"),
)
"""The pytest arguments of each suite, run one after the other."""
MODULES = (
    *("nf_tables", "nft_reject_inet", "nft_fib_inet", "nf_flow_table", "nf_flow_table_inet", "veth"),
    *("xfrm_user", "ah4", "ah6", "esp4", "esp6"),
    *("8021q", "bonding", "vrf", "dummy", "tun", "wireguard", "ipip", "ip_gre", "sit", "ip6_tunnel", "ip6_gre"),
    *("nf_conntrack", "nft_flow_offload"),
)
MINUTES = 180

INSIDE = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true GEODROP_TEST_IPSEC=true PYTHONDONTWRITEBYTECODE=1
modprobe -a {modules}
mkdir -p /run/netns
cd {root} || exit
{{ uname -r; {suites}; echo "exit $?"; }} > {out} 2>&1
"""
PYTEST = (".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=1800")
"""Seconds before a test counts as hung: tests take longer in emulation."""


def mirror() -> str:
    """Return the mirror of Debian's packages that this machine's apt uses for its release, not for updates."""
    asked = ("apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages")
    found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return next(uri for name, uri in map(str.split, found.splitlines()) if "-" not in name)


def apt_options(release: str) -> list[str]:
    """Return apt options for another release than this machine's, with its lists fetched; none for this release."""
    if not release:
        return []
    folder = FOLDER / f"apt-{release}"
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    options = [f"Dir::State::Lists={folder}/lists", f"Dir::Cache={folder}"]
    options += [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null"]
    options = [word for option in options for word in ("-o", option)]
    if not sources.exists():
        sources.write_text(f"deb {mirror()} {release} main\n", encoding="ascii")
        subprocess.run(("apt-get", "-q", *options, "update"), check=True)
    return options


def unpacked(wanted: str) -> Path:
    """Return the folder with a kernel package's files; fetch it if needed. PACKAGE/RELEASE names another release's."""
    package, _, release = wanted.partition("/")
    options = apt_options(release)
    asked = ("apt-cache", *options, "depends", package)
    depends = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    [image] = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]
    root = FOLDER / image
    if not root.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(("apt-get", "-q", *options, "download", image), check=True, cwd=FOLDER)
        [archive] = FOLDER.glob(f"{image}_*.deb")
        subprocess.run(("dpkg", "-x", archive, root), check=True)
        archive.unlink()
        if not (root / "lib").exists():  # since Debian 13
            (root / "lib").symlink_to("usr/lib")
        [modules] = (root / "lib/modules").iterdir()
        subprocess.run(("depmod", "--basedir", root, modules.name), check=True)
    return root


def main() -> int:
    """Boot the kernel of a package, run the given tests or all suites, and print their output."""
    package, *asked = sys.argv[1:]
    root = unpacked(package)
    [kernel] = (root / "boot").glob("vmlinuz-*")
    out = FOLDER / "out"
    out.mkdir(exist_ok=True)
    # The machine mounts the modules in a folder of this machine; without a kernel package there is no such folder.
    Path("/lib/modules").mkdir(exist_ok=True)
    said, script = out / "said.txt", out / "inside.sh"
    said.unlink(missing_ok=True)
    words = {
        "modules": " ".join(MODULES),
        "root": shlex.quote(str(ROOT)),
        "suites": " && ".join(shlex.join((*PYTEST, *suite)) for suite in ([asked] if asked else SUITES)),
        "out": shlex.quote(str(said)),
    }
    script.write_text(INSIDE.format(**words), encoding="ascii")
    script.chmod(0o755)
    command = [str(FOLDER / "virtme/bin/virtme-run"), "--kimg", str(kernel), "--mods=auto"]
    command += ["--disable-kvm", "--memory", "3G", "--cpus", "2", f"--rwdir={out}", "--script-sh", str(script)]
    # qemu 7.2 emulates AVX2 wrongly: there numpy's argsort gives another order.
    command += ["--qemu-opts", "-cpu", "max,-avx2"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as machine:
        try:
            machine.wait(60 * MINUTES)
        except subprocess.TimeoutExpired:
            machine.kill()
    text = said.read_text(encoding="utf-8") if said.exists() else "the machine said nothing\n"
    print(text)
    return not text.endswith("exit 0\n")


if __name__ == "__main__":
    sys.exit(main())
