# SPDX-License-Identifier: Apache-2.0
"""Each kind of signature that must not count, made by the real ssh-keygen, and what the refusal says."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.errors import DataError, UnavailableError
from geodrop.ruleset.container import Container, open_file
from geodrop.signature.ssh_keygen import NAMESPACE, Said
from geodrop.signature.trusted import TrustedKeys
from geodrop.signature.verify import MAX_SIGNATURE, _refusal, read_signature, verify
from tests.support.signing import SigningKeys, write_ruleset

FOR_RULESETS = f'namespaces="{NAMESPACE}"'


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    """Return keys: one that is trusted, and one for each reason not to be."""
    made = SigningKeys(tmp_path / "keys")
    made.trust(
        "alice",
        f'late {FOR_RULESETS},valid-before="20240101"',
        f'early {FOR_RULESETS},valid-after="20400101"',
        'other namespaces="git"',
        "gone",
    )
    made.revoke("gone")
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a ruleset."""
    made = tmp_path / "a.ruleset"
    write_ruleset(made, 1)
    return made


@pytest.fixture
def trusted(keys: SigningKeys) -> TrustedKeys:
    """Return what is trusted."""
    return TrustedKeys.read(str(keys.allowed), str(keys.revoked))


def test_good(keys: SigningKeys, path: Path, trusted: TrustedKeys) -> None:
    """The principal of the file and the key's fingerprint are returned, with and without a file of revoked keys."""
    keys.sign(path, "alice")
    signature = read_signature(str(path))
    key = keys.fingerprint("alice")
    for known in (trusted, replace(trusted, revoked=None), replace(trusted, revoked=b"")):
        signer = verify(open_file(path), str(path), signature, known)
        assert (signer.principal, signer.key) == ("alice@example.com", key)
        assert str(signer) == f"alice@example.com ({key})"


BAD: dict[str, tuple[Callable[[SigningKeys, Path], object], str]] = {
    "unknown key": (lambda keys, path: keys.sign(path, "eve"), "which is not in .*add the key there"),
    "expired": (lambda keys, path: keys.sign(path, "late"), "key has expired.*sign it with a key that"),
    "not yet valid": (lambda keys, path: keys.sign(path, "early"), "key is not yet valid.*timedatectl"),
    "no right to rulesets": (lambda keys, path: keys.sign(path, "other"), f"may not sign for {NAMESPACE}.*namespaces="),
    "revoked": (lambda keys, path: keys.sign(path, "gone"), "is revoked by .*revoked_keys.*sign it with a key that"),
    "other namespace": (
        lambda keys, path: keys.sign(path, "alice", namespace="file"),
        f"made for something else than {NAMESPACE}; sign it again",
    ),
    "other bytes": (
        lambda keys, path: keys.sign(path, "alice", other=path.read_bytes()[:-1]),
        "a signature of other bytes than .*copy both files again",
    ),
    "empty": (lambda _, path: Path(f"{path}.sig").write_bytes(b""), "no signature that ssh-keygen can read"),
    "noise": (lambda _, path: Path(f"{path}.sig").write_bytes(bytes(range(256))), "no signature that ssh-keygen can"),
    "none": (lambda _, path: path, "not signed, and `keys` .*geodrop compile --sign KEY"),
    "too long": (lambda _, path: Path(f"{path}.sig").write_bytes(b"x" * (MAX_SIGNATURE + 1)), "longer than"),
    "a folder": (lambda _, path: Path(f"{path}.sig").mkdir(), "not a regular file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(keys: SigningKeys, path: Path, trusted: TrustedKeys, name: str) -> None:
    """Each is refused, with the reason and the next step."""
    make, said = BAD[name]
    make(keys, path)
    with pytest.raises(DataError, match=said) as caught:
        verify(open_file(path), str(path), read_signature(str(path)), trusted)
    assert caught.value.exit_code == 65
    assert caught.value.next_step


@pytest.mark.parametrize("before", ['namespaces="git"', f'{FOR_RULESETS},valid-before="20240101"', 'namespaces="x"'])
def test_a_key_with_several_lines(keys: SigningKeys, path: Path, before: str) -> None:
    """A key may sign commits under one name and rulesets under another: the line that counts decides."""
    keys.sign(path, "alice")
    lines = [f"alice@home {before} {keys.public('alice')}", f"release {FOR_RULESETS} {keys.public('alice')}"]
    for written in (lines, lines[::-1]):
        trusted = TrustedKeys("KEYS", "\n".join(written).encode())
        assert verify(open_file(path), str(path), read_signature(str(path)), trusted).principal == "release"


@pytest.mark.parametrize("principal", ["KEYS", "SIGNATURE", "REVOKED", "-r", "*", "!bob,*@example.com", '"two words"'])
def test_any_principal(keys: SigningKeys, path: Path, principal: str) -> None:
    """Whatever a key is called, ssh-keygen takes it as a name."""
    keys.sign(path, "alice")
    trusted = TrustedKeys("KEYS", f"{principal} {keys.public('alice')}\n".encode(), b"")
    assert verify(open_file(path), str(path), read_signature(str(path)), trusted).key == keys.fingerprint("alice")


def certified(keys: SigningKeys, path: Path, *options: str) -> None:
    """Sign with a key that a certificate authority vouches for, under the name carol."""
    public = f"{keys.key('carol')}.pub"
    command = ["ssh-keygen", "-q", "-s", str(keys.key("ca")), "-I", "id", "-n", "carol", *options, public]
    subprocess.run(command, check=True)
    certificate = keys.folder / "carol-cert.pub"
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(certificate)]
    signed = subprocess.run(command, check=True, input=path.read_bytes(), stdout=subprocess.PIPE)
    Path(f"{path}.sig").write_bytes(signed.stdout)


@pytest.mark.parametrize(
    ("line", "options", "said"),
    [
        ("carol cert-authority", (), None),
        ("carol cert-authority", ("-V", "20200101:20200202"), "certificate that has expired"),
        ("dave cert-authority", (), "none of the names in line 1 of KEYS"),
        ('carol cert-authority,namespaces="git"', (), f"may not sign for {NAMESPACE}"),
        ("carol", (), "which is not in KEYS"),
        ("carol cert-authority,unknown", (), r"not in KEYS, as far as that can be read \(line 1: bad options"),
        ("carol cert-authority", ("-h",), "is for hosts"),
    ],
)
def test_certificates(keys: SigningKeys, path: Path, line: str, options: tuple[str, ...], said: str | None) -> None:
    """A certificate counts under a name of its authority's line, for its time; what is wrong with one is said."""
    certified(keys, path, *options)
    trusted = TrustedKeys("KEYS", f"{line} {keys.public('ca')}\n".encode())
    if said is None:
        signer = verify(open_file(path), str(path), read_signature(str(path)), trusted)
        assert (signer.principal, signer.key) == ("carol", keys.fingerprint("carol"))
        revoked = replace(trusted, revoked=f"{keys.public('ca')}\n".encode())
        with pytest.raises(DataError, match="is revoked by"):
            verify(open_file(path), str(path), read_signature(str(path)), revoked)
        return
    with pytest.raises(DataError, match=said) as caught:
        verify(open_file(path), str(path), read_signature(str(path)), trusted)
    assert "/proc/" not in caught.value.message


def test_a_file_of_revoked_keys_that_is_none(keys: SigningKeys, path: Path, trusted: TrustedKeys) -> None:
    """What cannot be read revokes everything."""
    keys.sign(path, "alice")
    with pytest.raises(DataError, match=r"is revoked by .*, or that is no list of keys"):
        verify(open_file(path), str(path), read_signature(str(path)), replace(trusted, revoked=b"SSHKRL\n\0nonsense"))


def test_a_revoked_ca_is_not_asked_for_its_principals(keys: SigningKeys, path: Path) -> None:
    """Nobody is trusted by an empty file."""
    keys.sign(path, "alice")
    with pytest.raises(DataError, match="is not in KEYS"):
        verify(open_file(path), str(path), read_signature(str(path)), TrustedKeys("KEYS", b""))


@pytest.mark.parametrize("change", [{"memory": None}, {"base": True}])
def test_what_a_signature_does_not_cover(
    keys: SigningKeys, path: Path, trusted: TrustedKeys, change: dict[str, object]
) -> None:
    """A delta file takes sections from another file, so a signature of its own bytes says too little."""
    keys.sign(path, "alice")
    whole = open_file(path)
    base: Container | None = whole if change.pop("base", False) else None
    with pytest.raises(DataError, match="sign a whole file"):
        verify(replace(whole, base=base, **change), str(path), read_signature(str(path)), trusted)  # type: ignore[arg-type]


def test_the_bytes_in_memory_count(keys: SigningKeys, path: Path, trusted: TrustedKeys) -> None:
    """A file that is replaced after it was read changes nothing: what was read is what is verified."""
    keys.sign(path, "alice")
    opened, good = open_file(path), path.read_bytes()
    path.write_bytes(b"something else")
    assert verify(opened, str(path), read_signature(str(path)), trusted).principal == "alice@example.com"
    write_ruleset(path, 2)
    evil = open_file(path)
    path.write_bytes(good)
    with pytest.raises(DataError, match="other bytes"):
        verify(evil, str(path), read_signature(str(path)), trusted)


def test_words_that_are_not_known(trusted: TrustedKeys) -> None:
    """Another version of ssh-keygen may say it differently; its words are shown then."""
    good = Said(0, f"Good signature with ED25519 key SHA256:{'A' * 43}\n", "")
    failure = _refusal("a", replace(trusted, revoked=None), good, "no way\x1b[2J", known=True)
    assert failure.message.endswith("does not count (no way\\x1b[2J)")
    nobody = _refusal("a", trusted, Said(255, "", "No user exists for uid 5\n"), "", known=False)
    assert isinstance(nobody, UnavailableError)
