"""Energy that training takes, as codecarbon estimates it, where that is installed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(slots=True)
class Meter:
    """What was used within `metered`.

    Attributes:
        energy: kilowatt-hours; None until it is known, and where nothing estimates it.
    """

    energy: float | None = None


@contextmanager
def metered() -> Iterator[Meter]:
    """Within, energy is counted; asks no network and writes no file."""
    meter = Meter()
    if find_spec("codecarbon") is None:
        yield meter
        return
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    # The country decides on emissions, which are not asked for.
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )
    tracker.start()
    try:
        yield meter
    finally:
        tracker.stop()
    meter.energy = float(tracker.final_emissions_data.energy_consumed)
