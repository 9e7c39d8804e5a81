# SPDX-License-Identifier: Apache-2.0
"""The verbs on xdp, through the real command line, with the test's own bpffs."""

import subprocess
import time
from datetime import datetime

from geodrop import formats
from geodrop.xdp.bcc_loader import BccLoader
from geodrop.xdp.engine import LAYOUT
from tests.formats import make
from tests.kernel.cli.conftest import Host
from tests.support.bcc import require_bcc


def test_from_load_to_unload(xdp: Host) -> None:
    """Every verb that reads the kernel reads the xdp engine while it is in force; after unload nothing is left."""
    geodrop = xdp.geodrop
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.cn)
    status = geodrop.run("status", "--json").json
    assert status["interfaces"] == [{"name": "eth0", "engine": "xdp", "attach": "native", "links": ["eth0"]}]
    assert status["healthy"] is True
    assert "the kernel matches" in geodrop.good("verify", "--full").out
    answers = geodrop.good("explain", "--json", "1.0.0.1", "2.0.0.1").json_lines
    assert [answer["kernel"]["verdict"] for answer in answers] == ["drop", "accept"]
    counts = geodrop.good("counters", "--json").json_lines
    assert {count["service"] for count in counts if "what" not in count} == {"api"}
    assert [(count["service"], count["what"]) for count in counts if "what" in count] == [(None, "unreadable")]
    assert geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.ru).out.startswith("generation 1 -> 2: ")
    assert "unloaded" in geodrop.good("unload").out
    assert geodrop.run("status").code == 3
    assert "xdp" not in xdp.netns.run("ip", "link", "show", "eth0")


def test_auto_says_which_engine_judges_where(xdp: Host) -> None:
    """A pattern has both engines: xdp on present interfaces, nftables for those to come; status shows both."""
    geodrop = xdp.geodrop
    assert "on eth0 (xdp), eth* (nftables)" in geodrop.good("load", "--interface", "eth*", xdp.cn).out
    status = geodrop.run("status", "--json").json
    assert status["interfaces"] == [
        {"name": "eth0", "engine": "xdp", "attach": "native", "links": ["eth0"]},
        {"name": "eth*", "engine": "nftables", "attach": None, "links": [], "why": "for interfaces to come"},
    ]
    assert "eth* (nftables): for interfaces to come" in geodrop.good("status").out
    assert geodrop.good("verify", "--full").code == 0
    assert "nothing to do" in geodrop.good("load", "--interface", "eth*", xdp.cn).out
    # The same ruleset and generation, on another interface.
    moved = geodrop.good("load", "--interface", "eth*", "--engine", "nftables", xdp.cn).out
    assert moved.startswith("generation 1: ruleset")
    [entry] = geodrop.good("history", "-n", "1", "--json").json_lines
    assert entry["change"] == "eth0 from xdp (native) to nftables"
    assert "xdp" not in xdp.netns.run("ip", "link", "show", "eth0")


def test_engines_follow_each_other(xdp: Host) -> None:
    """A load for the other engine takes over and removes the first; auto takes xdp for rulesets with xdp tables."""
    geodrop = xdp.geodrop
    for number, (engine, expected) in enumerate(
        [("nftables", "nftables"), ("auto", "xdp"), ("nftables", "nftables")], 1
    ):
        geodrop.good("load", "--engine", engine, "--interface", "eth0", xdp.cn if number % 2 else xdp.ru)
        status = geodrop.run("status", "--json").json
        assert (status["generation"], status["interfaces"][0]["engine"]) == (number, expected)
        assert ("xdp" in xdp.netns.run("ip", "link", "show", "eth0")) is (expected == "xdp")
        # Under auto nftables stays beside xdp, for another eth0 to come; it lets packets of the present one pass.
        assert [one["engine"] for one in status["interfaces"]] == ["xdp", "nftables"][expected == "nftables" :]
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.ru)
    # Counters stay; chains that judge packets do not.
    assert "chain" not in xdp.netns.run("nft", "list", "ruleset")


def test_a_pause_and_its_end(xdp: Host) -> None:
    """Paused, resumed and paused for a moment, the program holds the right data and stays attached."""
    geodrop = xdp.geodrop
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.cn)
    for options, verdict in ((("pause",), "accept"), (("resume",), "drop"), (("pause", "--for", "1s"), "drop")):
        geodrop.good(*options)
        if until := geodrop.run("status", "--json").json["paused_until"]:
            time.sleep(max(0.0, datetime.fromisoformat(until).timestamp() - time.time()))
        answer = geodrop.good("explain", "--json", "1.0.0.1").json
        assert (answer["verdict"], answer["kernel"]["verdict"]) == (verdict, verdict)
        assert geodrop.good("verify", "--full").code == 0
        assert geodrop.run("status", "--json").json["interfaces"][0]["engine"] == "xdp"


def test_a_kernel_that_cannot_tell_the_time(xdp: Host) -> None:
    """Below 6.1 an explicit xdp is refused and nothing changes; under auto nftables takes the pause."""
    geodrop = xdp.geodrop
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.cn)
    old = "import sys; from geodrop.linux import libbpf; libbpf.has_tai_clock = lambda: False; "
    old += "from geodrop.cli.main import main; sys.exit(main(sys.argv[1:]))"
    config = geodrop.folder / "agent.yaml"

    def pause() -> subprocess.CompletedProcess[str]:
        command = [part for part in geodrop.command("pause") if part not in {"-m", "geodrop"}]
        at = command.index("--config")
        return subprocess.run([*command[:at], "-c", old, *command[at:]], capture_output=True, text=True, check=False)

    auto = config.read_text()
    config.write_text(auto + "engine: xdp\n")
    done = pause()
    assert (done.returncode, "cannot tell the time" in done.stderr) == (69, True)
    assert geodrop.run("status", "--json").json["paused"] is False
    config.write_text(auto)
    assert pause().returncode == 0
    status = geodrop.run("status", "--json").json
    assert (status["paused"], status["healthy"]) == (True, True)
    assert {one["engine"] for one in status["interfaces"]} == {"nftables"}


def test_an_interface_that_arrives_is_covered(xdp: Host) -> None:
    """The program is attached to it without a new generation; a pause stays as it is."""
    geodrop = xdp.geodrop
    config = geodrop.folder / "agent.yaml"
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.cn)
    geodrop.good("pause")
    config.write_text(config.read_text() + 'engine: xdp\ninterfaces: ["eth[0-9]"]\n')
    xdp.netns.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    call = (
        "from geodrop.config import load_config; from geodrop.operations.follow_interfaces import follow_interfaces; "
    )
    call += f"print(follow_interfaces(load_config({str(config)!r})).changed)"
    command = geodrop.command()
    command = [*command[: command.index("-m")], "-c", call]
    for changed in ("True\n", "False\n"):
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == changed
    status = geodrop.run("status", "--json").json
    assert [(one["name"], one["engine"]) for one in status["interfaces"]] == [("eth0", "xdp"), ("eth1", "xdp")]
    assert (status["generation"], status["paused"], status["healthy"]) == (2, True, True)


def test_the_loader_of_agent_yaml(xdp: Host) -> None:
    """`loader: bcc` builds the program on this host; what is in force is read in the same way."""
    require_bcc()
    geodrop = xdp.geodrop
    with (geodrop.folder / "agent.yaml").open("a") as config:
        config.write("loader: bcc\n")
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", xdp.cn)
    assert geodrop.run("status", "--json").json["healthy"] is True
    pinned = subprocess.run([*geodrop.before, "find", "/sys/fs/bpf"], capture_output=True, text=True, check=True).stdout
    assert f"set-1-{LAYOUT}{BccLoader().version()}/geodrop_ask" in pinned


def test_loads_at_once(xdp: Host) -> None:
    """Of several loads at a time each succeeds or is told that another is running, and one whole policy is in force."""
    geodrop = xdp.geodrop
    files = [xdp.cn, xdp.ru] * 3
    commands = [geodrop.command("load", "--engine", "xdp", "--interface", "eth0", file) for file in files]
    loads = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    done = [(load.communicate()[1], load.returncode) for load in loads]
    assert {code for _, code in done} <= {0, 75}, done
    assert 0 in {code for _, code in done}
    assert all("is changing the dataplane" in words for words, code in done if code == 75)
    status = geodrop.run("status", "--json").json
    assert status["healthy"] is True
    assert status["generation"] <= sum(code == 0 for _, code in done)
    assert "the kernel matches" in geodrop.good("verify", "--full").out


def test_a_ruleset_of_the_format_before(xdp: Host) -> None:
    """Its tables are loaded, compared and booted as those of this release; it judges the same."""
    geodrop = xdp.geodrop
    for number in (formats.RULESET.before, formats.RULESET.number):
        file = geodrop.folder / f"{number}.ruleset"
        file.write_bytes(make.read("ruleset", number))
        geodrop.good("load", "--engine", "xdp", "--interface", "eth0", str(file))
        geodrop.good("verify", "--full")
        answers = geodrop.good("explain", "--json", "9.9.9.9").json_lines
        assert [one["kernel"]["verdict"] for one in answers if one["service"] == "ping"] == ["drop"]
