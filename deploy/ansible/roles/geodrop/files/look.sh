# SPDX-License-Identifier: Apache-2.0
# Prints what the role must know of a host, in one connection: a line of JSON on the host, a line with `status --json`
# (null without geodrop), and the lines of `counters --json`. With the argument `verify` the kernel is compared too.
# Changes nothing.
geodrop="$(command -v geodrop || true)"
release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")"
package="$(dpkg-query --show --showformat='${db:Status-Abbrev}${Version}' geodrop 2>/dev/null || true)"
case "$package" in ii\ *) package="${package#ii }" ;; *) package= ;; esac
sum() { if [ -e "$1" ]; then sha256sum <"$1" | cut -c1-64; fi; }
drop_in=false linked=false
[ ! -e /usr/lib/geodrop/xdp.conf ] || drop_in=true
[ ! -e /etc/systemd/system/geodrop.service.d/xdp.conf ] || linked=true
active=false
[ "$(systemctl is-active geodrop.service 2>/dev/null)" != active ] || active=true
status=null exit=3 verified=0 difference=
if [ -n "$geodrop" ]; then
	status="$(geodrop status --json)" && exit=0 || exit=$?
	if [ "${1:-}" = verify ]; then
		difference="$(geodrop verify 2>&1)" && verified=0 || verified=$?
		difference="$(printf %s "$difference" | head -n 3 | tr -d '"\\\000-\037')"
	fi
fi
printf '{"installed": %s, "release": "%s", "package": "%s", "sha256": "%s", "signature": "%s", ' \
	"$([ -n "$geodrop" ] && echo true || echo false)" "$release" "$package" \
	"$(sum /etc/geodrop/fleet.ruleset)" "$(sum /etc/geodrop/fleet.ruleset.sig)"
printf '"agent": "%s", "trusted_keys": "%s", ' "$(sum /etc/geodrop/agent.yaml)" "$(sum /etc/geodrop/allowed_signers)"
printf '"drop_in": %s, "linked": %s, "active": %s, ' "$drop_in" "$linked" "$active"
printf '"exit": %d, "verified": %d, "difference": "%s", "time": %s}\n' \
	"$exit" "$verified" "$difference" "$(date +%s.%N)"
printf '%s\n' "${status:-null}"
[ "$exit" = 3 ] || geodrop counters --json || true
