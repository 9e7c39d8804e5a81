"""Dependent territories that have country codes of their own, by the country that they belong to.

A line `US` does not hold Puerto Rico: databases give its addresses the country PR.

Source: ISO 3166-1, the entries whose status "independent" is no. The country is the one that the entry's remarks name,
or that has a code of ISO 3166-2 for the same territory (US-PR, FR-GF, CN-HK). AQ, EH, PS and TW are left out, since
these remarks give them to no country. Where most people live comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TERRITORIES: Mapping[str, tuple[str, ...]] = {
    "AU": ("NF", "CX", "CC", "HM"),
    "CN": ("HK", "MO"),
    "DK": ("GL", "FO"),
    "FI": ("AX",),
    "FR": ("RE", "GP", "MQ", "YT", "GF", "PF", "NC", "MF", "WF", "BL", "PM", "TF"),
    "GB": ("JE", "IM", "KY", "GG", "BM", "TC", "VG", "GI", "AI", "SH", "MS", "FK", "IO", "PN", "GS"),
    "NL": ("CW", "AW", "SX", "BQ"),
    "NO": ("SJ", "BV"),
    "NZ": ("CK", "NU", "TK"),
    "US": ("PR", "GU", "VI", "AS", "MP", "UM"),
}
