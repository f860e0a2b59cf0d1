"""``python -m tests.fuzz TARGET --runs N``: look for inputs that break a reader, with atheris."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import atheris  # type: ignore[import-not-found]

from tests.fuzz import LONGEST_SECONDS, TARGETS


def main() -> None:
    """Start from the seeds of a target; what breaks it is left in the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="At most.")
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    with atheris.instrument_imports(include=["zookeeper", "yaml"]):
        for seed in target.seeds:
            target(seed)

    def timed(data: bytes) -> None:
        started = time.process_time()
        target(data)
        taken = time.process_time() - started
        assert taken < 10 * LONGEST_SECONDS, f"{taken:.2f} s for {data!r}"

    with tempfile.TemporaryDirectory(prefix="zoo-corpus-") as folder:
        for number, seed in enumerate(target.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        limits = [f"-runs={asked.runs}", "-max_len=4096", "-timeout=10", f"-dict={words}"]
        limits += [f"-max_total_time={asked.seconds}"] if asked.seconds else []
        atheris.Setup([sys.argv[0], *limits, folder], timed)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(rf"\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
