"""Energy that training takes, as codecarbon estimates it, where that is installed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Meter:
    """What was used within `metered`.

    Attributes:
        energy: kilowatt-hours; None until it is known, and where nothing can estimate it.
    """

    energy: float | None = None


@contextmanager
def metered(*, whole: bool = True) -> Iterator[Meter]:
    """Within, energy is counted; asks no network and writes no file.

    Energy is optional: where codecarbon is missing or fails, in whatever way, it stays unknown, and what is
    within neither ends nor is lost.

    Args:
        whole: whether all that the energy is stated for happens within; it stays unknown otherwise.
    """
    meter = Meter()
    tracker = _tried(_started) if whole else None
    try:
        yield meter
    finally:
        if tracker is not None:
            meter.energy = _tried(lambda: _used(tracker))


def _started() -> Any:
    """A tracker of codecarbon that counts."""
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    # The country decides on emissions, which are not asked for.
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )
    tracker.start()
    return tracker


def _used(tracker: Any) -> float | None:
    """Kilowatt-hours that it counted up to now, when it stops; None where it counted nothing."""
    tracker.stop()
    energy = float(tracker.final_emissions_data.energy_consumed)
    return energy if 0 < energy < math.inf else None


def _tried(step: Callable[[], T]) -> T | None:
    """What a step of codecarbon gives; None where it fails."""
    try:
        return step()
    except Exception:  # somebody else's, may fail in any way, and is not worth a training
        return None
