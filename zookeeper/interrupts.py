"""How a command ends that is told to: by Ctrl-C, by SIGTERM, or because nobody reads what it prints.

Nothing slow is imported here, so that it is in force before anything slow is.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from types import FrameType

INTERRUPTED = 130
TERMINATED = 143
UNREAD = 141

STOPPED = "Stopped. What was finished is kept; the same command goes on from there."
"""What is said where the command is one of those of which that is true, or is not known yet."""

_GRACE_SECONDS = 1.6
_GRACE_OF_ONE_OF_SEVERAL = 1.1  # so that what started it ends in order
_STARTED_BY_ZOO = "ZOO_ERRORS"
_LAUNCHERS = "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"
_FRESH_LINE = "\r\x1b[K\x1b[?25h\n"
"""To a terminal: what stands on the line goes, and the cursor comes back."""

_said = threading.Event()
_keeps_nothing = threading.Event()


def listen() -> None:
    """End this process by Ctrl-C in no more than two seconds, and by SIGTERM in order.

    The first Ctrl-C raises `KeyboardInterrupt`, as ever. But that waits for what Python has called, such as
    the product of two large matrices, and what is cleaned up on the way may take its time; so a thread that
    hears of the signal at once ends the process where it is still there after a moment, or at the second
    Ctrl-C. What is on disk is whole at every moment.

    Where another process may wait for this one, SIGTERM ends it at once, as by default.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    one_of_several = any(_counts_several(os.environ.get(name, "")) for name in _LAUNCHERS)
    grace = _GRACE_OF_ONE_OF_SEVERAL if one_of_several else _GRACE_SECONDS
    threading.Thread(target=_end_in_time, args=(heard, grace), name="interrupts", daemon=True).start()
    signal.signal(signal.SIGINT, _interrupt)
    if not one_of_several:
        signal.signal(signal.SIGTERM, _terminate)
    if os.environ.get(_STARTED_BY_ZOO):
        said()


def expect(*, kept: bool) -> None:
    """Note whether what the command has finished is kept when it is stopped."""
    (_keeps_nothing.clear if kept else _keeps_nothing.set)()


def line() -> str:
    """What to say of a command that was stopped."""
    return "Stopped." if _keeps_nothing.is_set() else STOPPED


def said() -> None:
    """Note that it was said that the command was stopped, or that somebody else says so."""
    _said.set()


def say_stopped() -> None:
    """Say that the command was stopped, past everything that might be busy with standard error."""
    if not _said.is_set():
        said()
        _write(line())


def finish() -> None:
    """After the last word another Ctrl-C changes nothing."""
    if _said.is_set():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def forget_output() -> None:
    """Drop what is still to be printed, as whoever read it went away; Python must not complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _counts_several(text: str) -> bool:
    return text.isdecimal() and int(text) > 1


def _end_in_time(heard: int, grace: float) -> None:
    while os.read(heard, 1)[0] != signal.SIGINT:
        pass
    end = time.monotonic() + grace
    while select.select([heard], [], [], max(0.0, end - time.monotonic()))[0]:
        if os.read(heard, 1)[0] == signal.SIGINT:
            break
    say_stopped()
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A second one must not raise again, in the midst of what ends the command.
    signal.signal(signal.SIGINT, lambda *_: None)
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not _said.is_set():
        _write(line())
    raise SystemExit(TERMINATED)


def _write(text: str) -> None:
    start = _FRESH_LINE if sys.stderr.isatty() else ""
    os.write(2, f"{start}{text}\n".encode())
