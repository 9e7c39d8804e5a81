# SPDX-License-Identifier: Apache-2.0
"""The bundled database is whole, or it is refused with a clear error."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import maxminddb
import pytest

from geodrop import data
from geodrop.errors import DataError


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder the test may fill; returns the path at which the packed database is looked for."""
    monkeypatch.setattr(data, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path / f"{data.NAME}.xz"


def test_unpacks_what_was_packed(tmp_path: Path) -> None:
    """The unpacked file has the size and hash that the module states, and another user may read it."""
    path = data.bundled_database(tmp_path)
    content = path.read_bytes()
    assert len(content) == data.SIZE
    assert hashlib.sha256(content).hexdigest() == data.SHA256
    assert path.stat().st_mode & 0o777 == 0o644


def test_knows_both_families(tmp_path: Path) -> None:
    """The snapshot has countries for IPv4 and IPv6: the demo needs both."""
    with maxminddb.open_database(data.bundled_database(tmp_path), maxminddb.MODE_FILE) as reader:
        assert reader.get("8.8.8.8") == {"country_code": "US"}
        assert reader.get("2a00:1450:4001::1") is not None


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (None, "No such file"),
        (b"", "ended before"),
        (b"not xz at all", "not supported by any known file format|Input format"),
        (lzma.compress(b"another database"), "not the database it was"),
        (lzma.compress(bytes(data.SIZE + 1)), "not the database it was"),
    ],
    ids=["missing", "empty", "garbage", "another", "longer"],
)
def test_refuses_a_damaged_package(other_package: Path, tmp_path: Path, packed: bytes | None, reason: str) -> None:
    """A missing, cut or exchanged file is named, and nothing that looks like a database is left behind."""
    if packed is not None:
        other_package.write_bytes(packed)
    with pytest.raises(DataError, match=reason) as caught:
        data.bundled_database(tmp_path)
    assert str(other_package) in str(caught.value)
    assert not (tmp_path / data.NAME).exists()


def test_the_attribution_travels_with_the_data() -> None:
    """The licence asks for its wording and link; both stand beside the file, in README and in what the demo prints."""
    root = Path(__file__).parents[3]
    for text in (
        (Path(data.__file__).parent / "ATTRIBUTION.md").read_text(),
        (root / "README.md").read_text(),
        data.ATTRIBUTION,
    ):
        assert "IP Geolocation by DB-IP" in text
        assert "https://db-ip.com" in text
