"""Metrics of others, which `evaluate` loads by running their scripts: only what the user named gets here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
from datasets import LargeList, List, Value
from evaluate import loading
from numpy.typing import NDArray

from zookeeper.digests import SHA256, digest_like
from zookeeper.errors import DataError, NotFoundError, OfflineError, UsageError
from zookeeper.records import Kind, digest_of
from zookeeper.tuning.ours import Measure, Results, Rows, unfit

# Counting downloads means asking a server that has nothing to do with metrics.
evaluate.config.HF_UPDATE_DOWNLOAD_COUNTS = False


@dataclass(frozen=True)
class Script:
    """The code of a metric, fetched and not run yet.

    Attributes:
        name: as it was asked for.
        module: that it is imported as.
        digest: of the very files that running it runs, to the byte.
        known: by `evaluate`, which passes over whatever comes after a ``#``, in a string too.
    """

    name: str
    module: str
    digest: str
    known: str

    @classmethod
    def of(cls, name: str, *, offline: bool) -> Script:
        """The code of a metric of the Hub or of this machine.

        Args:
            name: as `evaluate.load` takes it.
            offline: whether what is not on this machine must be in the cache.

        Raises:
            NotFoundError: there is none.
            OfflineError: it is not in the cache.
            UsageError: it cannot be read, or takes libraries that are not here.
        """
        with _said_of(name, offline), _asking_nobody(offline):
            found = loading.evaluation_module_factory(name)
            folder = Path(loading.init_dynamic_modules(), *found.module_path.split(".")[1:-1])
            return cls(name, found.module_path, _digest(folder), found.hash)

    def check(self, digest: str) -> None:
        """Refuse code that is not what it was.

        Args:
            digest: that it had, or as an older zoo recorded it, that `evaluate` knew it by.

        Raises:
            DataError: it has another.
        """
        if digest not in (self.digest, self.known):
            raise DataError(
                f"the metric {self.name} is not what it was when this was planned.",
                why="its code has changed; it was not run",
                fix="plan it again",
            )

    def run(self, kind: Kind, *, offline: bool) -> evaluate.EvaluationModule:
        """The metric, as `evaluate.load` makes it of its code.

        Args:
            kind: of the labels; of several at once, a metric is loaded as its ``multilabel``.
            offline: whether what else it loads must be in the cache.

        Raises:
            NotFoundError, OfflineError: it loads something that is not there.
            UsageError: it fails.
        """
        with _said_of(self.name, offline), _asking_nobody(offline):
            made = loading.import_main_class(self.module)
            metric = made(
                config_name="multilabel" if kind == "labels" else None, keep_in_memory=True, hash=self.known
            )
            metric.download_and_prepare()
            return metric


def _digest(folder: Path) -> str:
    """Of all code in a folder, by name and content."""
    return digest_of(
        {str(path.relative_to(folder)): digest_like(SHA256, path) for path in folder.rglob("*.py")}
    )


@contextmanager
def _said_of(name: str, offline: bool) -> Iterator[None]:
    """Turn whatever goes wrong with a metric into an error of ours."""
    try:
        yield
    except FileNotFoundError as error:
        if offline:
            raise OfflineError(
                f"offline, and the metric {name} is not in the cache.",
                why="HF_HUB_OFFLINE is set",
                fix="unset HF_HUB_OFFLINE",
            ) from error
        raise NotFoundError(
            f"there is no metric {name}.",
            why="no script here has that name, nor any that the Hub would give",
            fix="name a script, its folder, or one of https://huggingface.co/evaluate-metric",
        ) from error
    except Exception as error:  # the script is somebody else's, and may fail in any way
        raise UsageError(f"the metric {name} cannot be loaded.", why=_first_line(error)) from error


@contextmanager
def _asking_nobody(offline: bool) -> Iterator[None]:
    """Keep evaluate, which has a variable of its own for it, from the network."""
    before = evaluate.config.HF_EVALUATE_OFFLINE
    evaluate.config.HF_EVALUATE_OFFLINE = before or offline
    try:
        yield
    finally:
        evaluate.config.HF_EVALUATE_OFFLINE = before


def measure_of(
    module: evaluate.EvaluationModule,
    classes: Sequence[str],
    kind: Kind,
    *,
    metric: str,
    options: Mapping[str, Any],
) -> Measure:
    """A loaded metric, given what it takes: flat numbers or names, rows of labels, or sentences of tags.

    Args:
        module: of `Script.run`.
        classes: names of the classes; empty of numbers.
        kind: of the labels.
        metric: as it was asked for; named in errors, of which the measure raises `UsageError`.
        options: further arguments of it.

    Raises:
        UsageError: it takes something else.
    """
    formats = module.features if isinstance(module.features, list) else [module.features]
    wanted = next((form["predictions"] for form in formats if _suits(form, kind)), None)
    if wanted is None:
        raise unfit(metric, kind, f"it takes {' or '.join(map(str, formats))}")

    def measure(predictions: Rows, labels: Rows, lengths: NDArray[np.int64]) -> Results:
        sides = [_given(side, wanted, kind, classes, lengths) for side in (predictions, labels)]
        try:
            results = module.compute(predictions=sides[0], references=sides[1], **options)
        except Exception as error:  # likewise
            raise UsageError(f"--metric {metric} fails.", why=_first_line(error)) from error
        if not isinstance(results, Mapping):
            raise UsageError(
                f"--metric {metric} fails.", why=f"it gives {str(results)[:60]}, and no named values"
            )
        return results

    return measure


def _suits(form: Mapping[str, Any], kind: Kind) -> bool:
    """Whether a metric that takes such predictions and references can compare labels of a kind."""
    if set(form) != {"predictions", "references"} or str(form["predictions"]) != str(form["references"]):
        return False
    listed = isinstance(form["predictions"], List | LargeList)
    value = form["predictions"].feature if listed else form["predictions"]
    if not isinstance(value, Value):
        return False
    if kind == "numbers":
        return not listed and value.dtype.startswith("float")
    return (listed or kind == "classes") and value.dtype.startswith(("int", "uint", "float", "string"))


def _given(
    rows: Rows, wanted: Any, kind: Kind, classes: Sequence[str], lengths: NDArray[np.int64]
) -> list[Any]:
    """Rows as a metric takes them."""
    listed = isinstance(wanted, List | LargeList)
    values: list[Any]
    if (wanted.feature if listed else wanted).dtype == "string":
        if kind == "labels":
            return [[classes[i] for i in np.flatnonzero(row == 1).tolist()] for row in rows]
        values = [classes[i] for i in rows.tolist()]
    elif kind == "labels":
        return list(rows.astype(np.int64).tolist())
    else:
        values = rows.tolist()
    if not listed:
        return values
    ends = np.cumsum(lengths).tolist()
    return [values[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True) if length]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
