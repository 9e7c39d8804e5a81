# SPDX-License-Identifier: Apache-2.0
"""pyroute2's rtnetlink messages, without the rest of pyroute2.

Importing any part of pyroute2 runs its __init__, which imports 150 modules: 100 ms of CPU, and 13 to 16 MB, of which a
load by hand and a daemon that runs for months need a tenth. So its __init__ is run only when code asks the package for
a name.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _package_run_when_asked(name: str) -> Iterator[None]:
    """Let the `with` block import submodules of a package without its __init__.

    The __init__ is run when the package is first asked for a name.
    """
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        yield  # already imported, or not installed: then the import raises the clearest error
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[name] = package
    yield

    def ask(attribute: str) -> Any:  # noqa: ANN401 - any attribute of the package
        if attribute.startswith("__") or importlib.util.find_spec(f"{name}.{attribute}"):
            raise AttributeError(attribute)  # after this, the import system loads the submodule
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__dict__["__getattr__"] = ask


with _package_run_when_asked("pyroute2"):
    from pyroute2.netlink import nlmsg, nlmsg_base
    from pyroute2.netlink.rtnl import (
        RTM_DELLINK,
        RTM_DELROUTE,
        RTM_GETLINK,
        RTM_GETROUTE,
        RTM_NEWADDR,
        RTM_NEWLINK,
        RTM_NEWROUTE,
    )
    from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg_base

__all__ = [
    "IFA_F_NODAD",
    "RTM_DELLINK",
    "RTM_DELROUTE",
    "RTM_GETLINK",
    "RTM_GETROUTE",
    "RTM_NEWADDR",
    "RTM_NEWLINK",
    "RTM_NEWROUTE",
    "ifaddrmsg",
    "ifinfmsg",
    "nlmsg",
    "nlmsg_base",
    "rtmsg_base",
]
