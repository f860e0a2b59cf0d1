"""How many times faster than their literal twins the fast functions are; run by hand, never by pytest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import process_time


def seconds(function: Callable[[], object], at_least: float = 0.02) -> float:
    """Processor time of one call, over as many calls as take a measurable time."""
    calls, started = 0, process_time()
    while (spent := process_time() - started) < at_least:
        function()
        calls += 1
    return spent / calls


def compare(title: str, fast: Callable[[], object], literal: Callable[[], object], pairs: int = 5) -> None:
    """Print the median time of both and the median ratio of pairs, measured in turn."""
    measured = [(seconds(literal), seconds(fast)) for _ in range(pairs)]
    slow_s, fast_s = median(slow for slow, _ in measured), median(fast for _, fast in measured)
    ratio = median(slow / fast for slow, fast in measured)
    sys.stdout.write(f"{title:34}{slow_s * 1e3:12.2f} ms{fast_s * 1e3:12.3f} ms{ratio:10.1f} x\n")
