# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from importlib import import_module

import pytest

from geodrop import __version__, errors
from geodrop.cli.main import VERBS, build_parser, main


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_module_that_works(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb's module has what main needs, and its help shows --config."""
    module = import_module(f"geodrop.cli.{verb}")
    assert callable(module.run)
    with pytest.raises(SystemExit) as ended:
        build_parser([verb]).parse_args([verb, "--help"])
    assert ended.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints name and version on stdout."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"geodrop {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["lod"], ["load"], ["load", "f", "--engine", "iptables"]])
def test_usage_errors_are_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line ends with 2 and a usage line."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == errors.UsageError.exit_code
    assert "usage: geodrop" in capsys.readouterr().err


def test_failures_become_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A GeodropError ends with its code and no traceback; any other error is a bug with 70 and a traceback."""
    module = import_module("geodrop.cli.status")

    def fail(_: object) -> int:
        raise errors.BusyError("held", "wait")

    monkeypatch.setattr(module, "run", fail)
    assert main(["status"]) == 75
    assert capsys.readouterr().err == "geodrop: error: held; wait\n"

    def break_down(_: object) -> int:
        return 1 // 0

    monkeypatch.setattr(module, "run", break_down)
    assert main(["status"]) == errors.EXIT_BUG
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_plain_reload_does_not_wait_for_a_parser() -> None:
    """The command that systemd runs is understood without argparse; anything else is parsed as ever."""
    code = (
        "import sys; from geodrop.cli.main import main; from geodrop.errors import UnavailableError\n"
        "assert main(['reload']) == UnavailableError.exit_code; assert 'argparse' not in sys.modules\n"
        "assert main(['--config', '/nowhere', 'reload', '--json']) == UnavailableError.exit_code\n"
        "assert 'argparse' in sys.modules"
    )
    subprocess.run(["unshare", "--net", sys.executable, "-c", code], check=True)


def test_client_verbs_import_next_to_nothing() -> None:
    """`geodrop --version` answers without numpy, YAML, pyroute2 or a database reader."""
    code = (
        "import sys, geodrop.cli.main as m\n"
        "try: m.main(['--version'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'yaml', 'pyroute2', 'maxminddb', 'structlog'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "[]"
