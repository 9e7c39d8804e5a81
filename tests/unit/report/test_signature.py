# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from geodrop.config import Config
from geodrop.engine.api import Observed
from geodrop.report.signature import signature_of
from geodrop.ruleset.container import digest_of
from geodrop.ruleset.first_boot import build_closed
from geodrop.state.accepted import Acceptance, AcceptedRulesets
from geodrop.state.store import Store

DIGEST = "a" * 64


def test_who_signed_what_is_in_force(tmp_path: Path) -> None:
    """The signer is that of the digest in the kernel; without a signature there is the reason why it may be in force.

    Without a demand it is null.
    """
    config, store, observed = Config(state=tmp_path, keys="KEYS"), Store(tmp_path), Observed(1, DIGEST)

    def unsigned(by: str | None) -> dict[str, str | None]:
        return {"accepted": by, "principal": None, "key": None, "compiled": None}

    assert signature_of(config, store, observed) == unsigned("before")
    assert not list(tmp_path.iterdir()), "looking writes nothing"
    store.accepted.write(AcceptedRulesets(5, {DIGEST: Acceptance(1, "alice", "SHA256:x", 5), "b" * 64: Acceptance(1)}))
    alice = {"principal": "alice", "key": "SHA256:x", "compiled": "1970-01-01T00:00:05Z"}
    assert signature_of(config, store, observed) == alice | {"accepted": "signature"}
    assert signature_of(config, store, Observed(1, "b" * 64)) == unsigned("before")
    assert signature_of(config, store, Observed(1, "c" * 64)) == unsigned(None)
    assert signature_of(config, store, Observed(1, digest_of(build_closed()))) == unsigned("first_boot")
    assert signature_of(Config(state=tmp_path), store, observed) is None
