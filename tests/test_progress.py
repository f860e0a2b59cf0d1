"""Bars: each in one line, and gone when the work is."""

from __future__ import annotations

import io
import re
from functools import partial
from threading import Event, Thread

import pytest
from rich.console import Console

from zookeeper.cli import output
from zookeeper.cli.progress import Terminal

NAME = "reading with some-organisation/deberta-v3-extra-small-mnli-fever-anli-ling-wanli-binary"
CONTROL = re.compile(r"\x1b\[[0-9?;]*[A-Za-z]")


@pytest.fixture
def reporter(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(
        output,
        "open_console",
        lambda *, stderr: Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False),
    )
    return Terminal()


def drawn(reporter: Terminal, width: int = 80) -> str:
    """The bars as they stand, on a terminal of that width."""
    assert reporter._progress is not None
    to = io.StringIO()
    Console(file=to, color_system=None, width=width).print(reporter._progress.get_renderable(), end="")
    return to.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("unit", ["words", "sentences", "bytes"])
@pytest.mark.parametrize("note", ["", "loss 0.1234, dev 0.8123, patience 3 of 5, and so on and on"])
def test_a_bar_is_one_line_however_long_its_name(
    reporter: Terminal, width: int, unit: str, note: str
) -> None:
    with reporter._bar(NAME, 123_456_789, unit) as advance:
        for _ in range(3):
            advance(12_345_678, note)
        (line,) = drawn(reporter, width).splitlines()
    assert len(line) <= width - len("^C"), "what a terminal echoes would take another line"


def test_a_name_loses_its_middle_and_its_numbers_nothing(reporter: Terminal) -> None:
    with reporter._bar(NAME, 9_000, "words") as advance:
        advance(4_844)
        line = drawn(reporter)
    assert line.startswith("reading with ")
    assert "-binary " in line
    assert "4,844/9,000 " in line


def test_bytes_are_shown_as_sizes(reporter: Terminal) -> None:
    with reporter._bar("fetching x", 3_450_000_000, "bytes") as advance:
        advance(1_200_000)
        assert "1.2 MB/3.45 GB " in drawn(reporter)


def test_what_has_done_nothing_yet_is_starting(reporter: Terminal) -> None:
    with reporter._bar("reading with x", 9_000, "words") as advance:
        assert "starting" in drawn(reporter)
        advance(10)
        assert "starting" not in drawn(reporter)


def test_bars_of_threads_that_nobody_waits_for_are_taken_away(reporter: Terminal) -> None:
    open_, end = Event(), Event()

    def work(name: str) -> None:
        with reporter._bar(name, 10, "words"):
            open_.set()
            end.wait(10)

    thread = Thread(target=partial(work, "reading with x"))
    thread.start()
    assert open_.wait(10)
    progress = reporter._progress
    assert progress is not None
    shown = progress.console.file
    assert isinstance(shown, io.StringIO)
    reporter.close()
    ended = shown.getvalue()
    _, _, after = ended.rpartition("reading with x")
    assert "\x1b[2K" in after, "the line is taken away"
    assert "\x1b[?25h" in after, "the cursor comes back"
    end.set()
    thread.join(10)
    assert CONTROL.sub("", shown.getvalue()[len(ended) :]).strip() == ""
