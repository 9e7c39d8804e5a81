# SPDX-License-Identifier: Apache-2.0
import json

from geodrop.ruleset.meta import Embedding, meta_json
from geodrop.ruleset.schema import meta_of
from tests.unit.ruleset.test_model import META


def test_meta_survives_the_round_trip() -> None:
    """The meta part is read as it was written, types included."""
    assert meta_of(json.loads(json.dumps(meta_json(META)))) == META


def test_embedded_addresses() -> None:
    """Teredo embeds the IPv4 address inverted, 6to4 in the upper half, the others in the low bits."""
    address = 0x2002_0102_0304_0000_0000_0000_05060708
    assert Embedding.SIXTOFOUR.extract(address) == 0x0102_0304
    assert Embedding.TEREDO.extract(address) == 0x05060708 ^ 0xFFFF_FFFF
    assert Embedding.NAT64.extract(address) == Embedding.MAPPED.extract(address) == 0x05060708
