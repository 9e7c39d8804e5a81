# SPDX-License-Identifier: Apache-2.0
import threading

from geodrop.operations.decisions import after, decided, number


def test_what_came_after() -> None:
    """Of several decisions the last is named; one that was known already is none."""
    known = number()
    assert not after(known)
    decided("one")
    between = number()
    decided("another")
    assert (after(known), after(between), after(number())) == ("another", "another", "")


def test_other_threads_see_it() -> None:
    """The thread that takes a request for a reload is not the thread that decides."""
    known = number()
    thread = threading.Thread(target=decided, args=("there",))
    thread.start()
    thread.join()
    assert after(known) == "there"
