#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs or upgrades geodrop on this host:  deploy/install.sh [--xdp] WHEEL
#
# /opt/geodrop             a link to a virtual environment with the wheel and requirements/run.txt (locked, with hashes)
# /usr/local/sbin/geodrop  the command
# /usr/local/lib/...       units, sysusers, tmpfiles; with --xdp also the drop-in that lets the daemon load XDP
#                          programs. An installation without --xdp removes the drop-in
# /usr/local/share         the man pages, and completions for bash, zsh and fish
# /etc/geodrop             yours: agent.yaml and policy.yaml; never touched
#
# An upgrade switches the link in one step and restarts the daemon if it runs; enforcement goes on meanwhile. Before
# the switch no file in use changes: a failure until then leaves the host as it was.
set -eu
# Every user may read the installed files and only root may write them, whatever the umask of root is.
umask 022
cd "$(dirname "$0")/.."
xdp=
if [ "${1:-}" = --xdp ]; then xdp=1; shift; fi
[ $# = 1 ] && [ -f "$1" ] || { echo "usage: deploy/install.sh [--xdp] WHEEL (built by: make wheel)" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "deploy/install.sh: must be root" >&2; exit 77; }
SAYS=deploy/install.sh
. deploy/steps.sh

# Succeeds if every file of every package is there and has the hash that its wheel records.
whole() {
	[ -e "$1/complete" ] && "$1/bin/python" -I - <<-'PYTHON' 2>/dev/null
		import base64, csv, hashlib, importlib.metadata
		for package in importlib.metadata.distributions():
		    # Not package.files: since Python 3.12 it leaves out what is missing.
		    for path, recorded, _ in csv.reader(package.read_text("RECORD").splitlines()):
		        if recorded:
		            kind, _, expected = recorded.partition("=")
		            made = hashlib.new(kind, package.locate_file(path).read_bytes()).digest()
		            assert base64.urlsafe_b64encode(made).decode().rstrip("=") == expected, path
	PYTHON
}

# Each version has a folder of its own, since scripts name their interpreter by its path. If the folder of this version
# is incomplete, a new one is made: a folder never changes while a process runs from it.
version="$(cat "$1" requirements/run.txt | sha256sum | cut -c1-12)"
folder=
for made in "/opt/geodrop-$version".*; do
	if whole "$made"; then folder="$made"; fi
done
if [ -z "$folder" ]; then
	mkdir -p /opt
	folder="$(mktemp -d "/opt/geodrop-$version.XXXXXX")"
	trap 'rm -rf "$folder"' EXIT
	chmod 755 "$folder"
	/usr/bin/python3 -m venv "$folder" || fail 69 "no virtual environment can be made; next: apt-get install python3-venv"
	pip() { "$folder/bin/pip" --disable-pip-version-check install --quiet "$@"; }
	# --no-deps: what is locked is all that there is to be.
	pip --no-deps --require-hashes --only-binary :all: --requirement requirements/run.txt || fail 69 \
		"the packages of requirements/run.txt could not be had; nothing has changed on this host." \
		"Without a package index, fetch them where there is one, on a machine with the same release and processor:" \
		"  python3 -m pip download --require-hashes --only-binary :all: -r requirements/run.txt -d wheels" \
		"bring the folder here, and: PIP_NO_INDEX=1 PIP_FIND_LINKS=\$PWD/wheels deploy/install.sh ${xdp:+--xdp }$1"
	pip --no-deps "$1"
	touch "$folder/complete"
fi

[ -z "$xdp" ] || ldconfig -p | grep -q 'libbpf\.so\.1' \
	|| echo "deploy/install.sh: libbpf is missing, without which there is no xdp; next: apt-get install libbpf1" >&2

units=/usr/local/lib/systemd/system
install -d "$units" /usr/local/lib/sysusers.d /usr/local/lib/tmpfiles.d /usr/local/sbin
install -m 644 systemd/geodrop.sysusers /usr/local/lib/sysusers.d/geodrop.conf
systemd-sysusers geodrop.conf

# A failure shows in the exit code and the messages.
PROGRAM="$folder"
takes_configuration "$xdp"

PYTHONPATH=. "$folder/bin/python" -B - <<-'PYTHON'
	import pathlib
	from deploy.packages import completions
	from docs.man.pages import PAGES
	texts = {f"man/man{page.section}/{page.file}": page.roff() for page in PAGES}
	texts["bash-completion/completions/geodrop"] = completions.bash()
	texts["zsh/site-functions/_geodrop"] = completions.zsh()
	texts["fish/vendor_completions.d/geodrop.fish"] = completions.fish()
	for name, text in texts.items():
	    path = pathlib.Path("/usr/local/share", name)
	    path.parent.mkdir(parents=True, exist_ok=True)
	    path.write_text(text, encoding="utf-8")
PYTHON

trap - EXIT
ln -sfn "$folder" /opt/geodrop.new
mv -T /opt/geodrop.new /opt/geodrop
ln -sf /opt/geodrop/bin/geodrop /usr/local/sbin/geodrop

# The units of the repository name the folder of the Debian package.
for unit in systemd/*.service systemd/*.socket systemd/*.mount; do
	sed 's,/usr/lib/geodrop/,/opt/geodrop/,' "$unit" > "$units/${unit#*/}"
done
install -m 644 systemd/geodrop.tmpfiles /usr/local/lib/tmpfiles.d/geodrop.conf
if [ -n "$xdp" ]; then
	install -D -m 644 -t "$units/geodrop.service.d" systemd/geodrop.service.d/xdp.conf
else
	# The daemon moves xdp's interfaces to nftables, then detaches the programs. That needs no right of the drop-in.
	rm -f "$units/geodrop.service.d/xdp.conf"
	rmdir "$units/geodrop.service.d" 2>/dev/null || true
fi
systemctl enable --quiet $UNITS
take_over
for old in /opt/geodrop-*; do
	[ "$old" = "$folder" ] || rm -rf "$old"
done
/opt/geodrop/bin/geodrop --version
look
