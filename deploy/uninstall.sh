#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes geodrop from this host, from the kernel first: deploy/uninstall.sh [--purge|--keep]
#
# /etc/geodrop and /var/lib/geodrop stay, unless --purge. With --keep what is in force stays in the kernel too, for the
# Debian package, which takes over.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "deploy/uninstall.sh: must be root" >&2; exit 77; }

SAYS=deploy/uninstall.sh
. deploy/steps.sh
! is_running || systemctl disable --quiet $UNITS || true
stop
if [ "${1:-}" != --keep ]; then
	[ ! -x /opt/geodrop/bin/geodrop ] || /opt/geodrop/bin/geodrop unload
	! is_running || systemctl stop run-geodrop-bpf.mount 2>/dev/null || true
	rm -rf /run/geodrop
fi
for unit in geodrop.service geodrop.service.d geodrop-boot.service geodrop-compile.socket geodrop-compile@.service \
		run-geodrop-bpf.mount; do
	rm -rf "/usr/local/lib/systemd/system/$unit"
done
rm -f /usr/local/lib/sysusers.d/geodrop.conf /usr/local/lib/tmpfiles.d/geodrop.conf /usr/local/sbin/geodrop \
	/usr/local/share/man/man8/geodrop.8 /usr/local/share/man/man5/geodrop-*.5 \
	/usr/local/share/bash-completion/completions/geodrop /usr/local/share/zsh/site-functions/_geodrop \
	/usr/local/share/fish/vendor_completions.d/geodrop.fish
rm -rf /opt/geodrop /opt/geodrop-*
if is_running; then
	systemctl daemon-reload
	systemctl reset-failed 'geodrop*' 2>/dev/null || true
fi
[ "${1:-}" != --purge ] || rm -rf /etc/geodrop /var/lib/geodrop
