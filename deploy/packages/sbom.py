# SPDX-License-Identifier: Apache-2.0
"""The SBOM of a package: every wheel in it and every part that a wheel brings, as CycloneDX 1.6 in JSON.

Layout: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.packages.licences import Package, Part


def sbom(packages: Sequence[Package], what: str, epoch: int) -> str:
    """Return the SBOM of `what`, a file's name; the same packages give the same text. `epoch` is its time."""
    [geodrop] = [one for one in packages if one.name == "geodrop"]
    others = [one for one in packages if one is not geodrop]
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, what + ''.join(one.sha256 for one in packages))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**_component(geodrop), "type": "application"},
            "properties": [{"name": "geodrop:file", "value": what}],
        },
        "components": [_component(one) for one in others],
        "dependencies": [
            {"ref": _purl(geodrop), "dependsOn": [_purl(one) for one in others]},
            *({"ref": _purl(one)} for one in others),
        ],
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _component(package: Package) -> dict[str, Any]:
    found = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        "licenses": [{"expression": package.licence}],
        "copyright": package.copyright,
    }
    if package.parts:
        found["components"] = [_part(package, one) for one in package.parts]
    return found


def _part(package: Package, part: Part) -> dict[str, Any]:
    return {
        "type": "data" if part.licence.startswith("CC-BY") else "library",
        "bom-ref": f"{_purl(package)}#{part.name}",
        "name": part.name,
        **({"version": part.version} if part.version else {}),
        "licenses": [{"expression": part.licence}],
        "copyright": part.copyright,
    }
