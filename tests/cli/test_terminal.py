"""What the command line does while it works."""

from __future__ import annotations

import os
import pty
import signal

import pytest

from xai.cli.terminal import plain, progress


def _interrupt_lost_in_a_destructor() -> None:
    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # the handler runs in here, and Python drops what it raises
                pass

    Dying()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_lost_stops_the_next_step() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached = []
    with pytest.raises(KeyboardInterrupt), progress() as tell:  # noqa: PT012  # the steps are the point
        tell("one", 0, 2)
        _interrupt_lost_in_a_destructor()
        reached.append("the interrupt was lost")
        tell("two", 1, 2)
        reached.append("never")
    assert reached == ["the interrupt was lost"]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_terminal_gets_a_bar_and_a_pipe_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress() as tell:
        tell("silent", 1, 2)
    assert capsys.readouterr().err == ""
    master, slave = pty.openpty()
    with open(slave, "w") as terminal:  # noqa: PTH123  # a descriptor has no path
        monkeypatch.setattr("sys.stderr", terminal)
        with progress() as tell:
            tell("cover [bold]ed\x1b windows", 1, 2)
    shown = b""
    while b"cover [bold]ed" not in shown:  # a read gives what is there, and an error at the end
        shown += os.read(master, 10000)
    os.close(master)


def test_a_text_is_one_line_without_escapes() -> None:
    assert plain("a\n\tb\x1b[1m\u202ec\u00e9") == "a b\N{REPLACEMENT CHARACTER}[1m\N{REPLACEMENT CHARACTER}c\u00e9"
