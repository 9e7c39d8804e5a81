#!/bin/sh
# Installs or upgrades geodrop on this host:  deploy/install.sh [--xdp] WHEEL
#
# /opt/geodrop             leads to a virtual environment with the wheel and requirements/run.txt (locked, with hashes)
# /usr/local/sbin/geodrop  the command
# /usr/local/lib/...       units, sysusers, tmpfiles; with --xdp also the drop-in that lets the daemon load XDP programs
# /usr/local/share/man     the man pages, if `make man` has been run
# /etc/geodrop             yours: agent.yaml and policy.yaml; never touched
#
# An upgrade switches the link in one step and restarts the daemon if it runs; enforcement goes on meanwhile.
set -eu
cd "$(dirname "$0")/.."
xdp=
if [ "${1:-}" = --xdp ]; then xdp=1; shift; fi
[ $# = 1 ] && [ -f "$1" ] || { echo "usage: deploy/install.sh [--xdp] WHEEL (built by: make wheel)" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "deploy/install.sh: must be root" >&2; exit 77; }

# A folder a version, since scripts name their interpreter by its path; what is in it never changes.
version="$(cat "$1" requirements/run.txt | sha256sum | cut -c1-12)"
folder="/opt/geodrop-$version"
if [ ! -e "$folder/complete" ]; then
	/usr/bin/python3 -m venv --clear "$folder"
	"$folder/bin/pip" install --quiet --require-hashes --only-binary :all: --requirement requirements/run.txt
	"$folder/bin/pip" install --quiet --no-deps "$1"
	touch "$folder/complete"
fi
ln -sfn "$folder" /opt/geodrop.new
mv -T /opt/geodrop.new /opt/geodrop
install -d /usr/local/sbin
ln -sf /opt/geodrop/bin/geodrop /usr/local/sbin/geodrop

for page in build/man/*.[58]; do
	[ ! -e "$page" ] || install -D -m 644 -t "/usr/local/share/man/man${page##*.}" "$page"
done

units=/usr/local/lib/systemd/system
install -d "$units" /usr/local/lib/sysusers.d /usr/local/lib/tmpfiles.d
install -m 644 systemd/*.service systemd/*.socket systemd/*.mount "$units"
install -m 644 systemd/geodrop.sysusers /usr/local/lib/sysusers.d/geodrop.conf
install -m 644 systemd/geodrop.tmpfiles /usr/local/lib/tmpfiles.d/geodrop.conf
if [ -n "$xdp" ]; then
	install -d "$units/geodrop.service.d"
	install -m 644 systemd/geodrop.service.d/xdp.conf "$units/geodrop.service.d"
fi
systemd-sysusers geodrop.conf
systemctl enable --quiet geodrop.service geodrop-boot.service geodrop-compile.socket
# In the root of an image there is no systemd to tell.
if [ -d /run/systemd/system ]; then
	systemd-tmpfiles --create geodrop.conf
	systemctl daemon-reload
	systemctl restart geodrop-compile.socket
	systemctl try-restart geodrop.service
fi
for old in /opt/geodrop-*; do
	[ "$old" = "$folder" ] || rm -rf "$old"
done
/opt/geodrop/bin/geodrop --version
