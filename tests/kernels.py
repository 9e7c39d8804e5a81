"""`make test-kernels`: the conformance suite on nftables, under another of Debian's kernels than the running one.

The kernel comes from its package, unpacked and not installed; virtme-ng boots it under emulation, with this machine's
files to read and its own network. Slow: each packet passes an emulated processor. What differs between kernels is what
they take, when they validate, and how they judge; verdicts of every case say whether any of it matters.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "kernels"
TESTS = "tests/conformance/test_engines.py", "tests/kernel/dataplane/nftables"
CHOSEN = "nftables and not xdp and not random"
MODULES = (
    *("nf_tables", "nft_reject_inet", "nft_fib_inet", "nf_flow_table", "nf_flow_table_inet", "veth"),
    *("xfrm_user", "ah4", "ah6", "esp4", "esp6"),
)
MINUTES = 60

INSIDE = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true GEODROP_TEST_IPSEC=true PYTHONDONTWRITEBYTECODE=1
modprobe -a {modules}
mkdir -p /run/netns
cd {root} || exit
{{ uname -r; .venv/bin/python -m pytest -q -p no:cacheprovider {tests} -k {chosen}; echo "exit $?"; }} > {out} 2>&1
"""


def unpacked(package: str) -> Path:
    """The root of a kernel package's files; fetched if it is not there yet."""
    depends = subprocess.run(("apt-cache", "depends", package), check=True, capture_output=True, text=True).stdout
    [image] = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]
    root = FOLDER / image
    if not root.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(("apt-get", "-q", "download", image), check=True, cwd=FOLDER)
        [archive] = FOLDER.glob(f"{image}_*.deb")
        subprocess.run(("dpkg", "-x", archive, root), check=True)
        archive.unlink()
        [modules] = (root / "lib/modules").iterdir()
        subprocess.run(("depmod", "--basedir", root, modules.name), check=True)
    return root


def main() -> int:
    """Boot it, run the tests, print what they said."""
    root = unpacked(sys.argv[1])
    [kernel] = (root / "boot").glob("vmlinuz-*")
    out = FOLDER / "out"
    out.mkdir(exist_ok=True)
    # The machine mounts the modules there, in this one's folders; without a kernel package there is no such place.
    Path("/lib/modules").mkdir(exist_ok=True)
    said, script = out / "said.txt", out / "inside.sh"
    said.unlink(missing_ok=True)
    words = {
        "modules": " ".join(MODULES),
        "root": shlex.quote(str(ROOT)),
        "tests": " ".join(TESTS),
        "chosen": shlex.quote(CHOSEN),
        "out": shlex.quote(str(said)),
    }
    script.write_text(INSIDE.format(**words), encoding="ascii")
    script.chmod(0o755)
    command = [str(FOLDER / "virtme/bin/virtme-run"), "--kimg", str(kernel), "--mods=auto"]
    command += ["--disable-kvm", "--memory", "3G", "--cpus", "2", f"--rwdir={out}", "--script-sh", str(script)]
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
