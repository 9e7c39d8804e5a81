from tests.kernel.cli.conftest import Host


def test_the_kernel_is_asked(host: Host) -> None:
    """Without files, explain answers from the loaded ruleset and adds the verdict of the kernel's own tables."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    answers = host.geodrop.good("explain", "--json", "1.0.0.1", "2.0.0.1", "2002:100:1::").json_lines
    assert [(answer["verdict"], answer["kernel"]["verdict"]) for answer in answers] == [
        ("drop", "drop"),
        ("accept", "accept"),
        ("drop", "drop"),
    ]
    assert "1.0.0.0-1.0.0.255" in answers[0]["kernel"]["where"]


def test_nothing_loaded(host: Host) -> None:
    """With nothing in force explain ends with 3, and the next step."""
    done = host.geodrop.run("explain", "1.0.0.1")
    assert done.code == 3
    assert "geodrop load" in done.err
