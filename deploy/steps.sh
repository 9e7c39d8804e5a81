# SPDX-License-Identifier: Apache-2.0
# What installing, upgrading and removing geodrop do on a host, whichever way it comes there: sourced by install.sh and
# uninstall.sh, and by the scripts of the Debian package. The caller sets:
#
# PROGRAM  the folder with bin/geodrop and bin/python of the version that is to run
# SAYS     what messages begin with: the name of the script
# CONTROL  what restarts units: systemctl, or deb-systemd-invoke, which asks the host's policy-rc.d first

CONTROL="${CONTROL:-systemctl}"
UNITS="geodrop.service geodrop-boot.service geodrop-compile.socket"

# say LINE...: to the operator.
say() { printf "$SAYS: %s\n" "$@" >&2; }

# fail CODE LINE...: what is wrong, and the next step; ends the script.
fail() { code="$1"; shift; say "$@"; exit "$code"; }

# Succeeds where systemd runs: not in the root of an image that is being made.
is_running() { [ -d /run/systemd/system ]; }

# Runs a command as the user that the daemon runs as, since what root can read says nothing of what the daemon can.
as_geodrop() { (cd / && exec setpriv --reuid=geodrop --regid=geodrop --init-groups "$@"); }

# takes_configuration xdp|"": ends the script with 78 if the version in PROGRAM does not take this host's agent.yaml or
# policy, or if agent.yaml asks for an xdp that the daemon is not to have.
takes_configuration() {
	[ -e /etc/geodrop/agent.yaml ] || return 0
	found="$(as_geodrop "$PROGRAM/bin/python" -I - <<-'PYTHON'
		import sys
		from geodrop.config import load_config
		from geodrop.errors import GeodropError
		try:
		    config = load_config("/etc/geodrop/agent.yaml")
		    print(config.engine, config.source.policy or "" if config.source else "")
		except GeodropError as error:
		    sys.exit(str(error))
	PYTHON
	)" || fail 78 "the new version does not take /etc/geodrop/agent.yaml; what runs goes on"
	[ -n "$1" ] || [ "${found%% *}" != xdp ] || fail 78 \
		"agent.yaml asks for engine: xdp, which this would take away; next: give --xdp (make install XDP=1), or change that"
	[ -z "${found#* }" ] || as_geodrop "$PROGRAM/bin/geodrop" check \
		|| fail 78 "the new version does not take the policy of this host; what runs goes on"
}

# Makes the folders of geodrop.tmpfiles and hands over to the installed version: a running daemon is restarted, another
# is not started. What is in force stays so meanwhile.
take_over() {
	if is_running; then
		systemd-tmpfiles --create geodrop.conf
		systemctl daemon-reload
		$CONTROL restart geodrop-compile.socket
		$CONTROL try-restart geodrop.service || fail 1 \
			"the daemon of this version does not start, and what was in force still is; next: journalctl -u geodrop," \
			"or install the version before in the same way"
	else
		# The boot of the image makes the rest of geodrop.tmpfiles.
		install -d -m 0750 -o root -g geodrop /etc/geodrop
	fi
}

# Shows now, and not at the next boot, what the new version cannot read or enforce. Where nothing was ever in force there
# is nothing to look at. Ends the script with the exit code of `geodrop status` if that is a failure (docs/commands.md).
look() {
	is_running && [ -e /var/lib/geodrop/intent.json ] || return 0
	code=0
	found="$("$PROGRAM/bin/geodrop" status 2>&1)" || code=$?
	[ "$code" != 0 ] || return 0
	say "geodrop status ends with $code:"
	printf '%s\n' "$found" >&2
	[ "$code" = 1 ] || [ "$code" = 3 ] || fail "$code" \
		"what is in force stays; next: docs/runbook.md, or install the version before in the same way"
}

# Ends the daemon and all that answers for it. What is in force stays.
stop() {
	is_running || return 0
	systemctl stop $UNITS 2>/dev/null || true
	# Stop compiles that still run or wait.
	systemctl stop 'system-geodrop\x2dcompile.slice' 2>/dev/null || true
}
