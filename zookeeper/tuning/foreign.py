"""Metrics of others, which `evaluate` loads by running their scripts: only what the user named gets here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import evaluate
import numpy as np
from datasets import LargeList, List, Value
from evaluate import loading
from numpy.typing import NDArray

from zookeeper.digests import SHA256, digest_like
from zookeeper.errors import DataError, NotFoundError, OfflineError, UsageError, ZooError
from zookeeper.records import Kind, digest_of
from zookeeper.tuning.ours import Measure, Results, Rows, unfit

# Counting downloads means asking a server that has nothing to do with metrics.
evaluate.config.HF_UPDATE_DOWNLOAD_COUNTS = False

_PACKAGE = evaluate.config.MODULE_NAME_FOR_DYNAMIC_MODULES
_KINDS = ("metric", "comparison", "measurement")  # of the metrics that have no owner's name
_REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_PARTED = "."  # the digest of a script from that of all files


@dataclass(frozen=True)
class Script:
    """The code of a metric, fetched and not run yet.

    Attributes:
        name: as it was asked for.
        module: that it is imported as.
        digest: of the script, and of all files that running it runs, to the byte.
        evaluate_hash: by which `evaluate` knows it, and older zoos recorded it; it passes over whatever comes
            after a ``#``, in a string too.
    """

    name: str
    module: str
    digest: str
    evaluate_hash: str

    @classmethod
    def of(cls, name: str, *, known: Collection[str] | None = None, offline: bool) -> Script:
        """The code of a metric of the Hub or of this machine, as it is there now.

        To fetch a script imports the libraries that it names, and asks any address that it gives after
        ``From:``; one that has changed gets none of that.

        Args:
            name: as `evaluate.load` takes it.
            known: what its digest may be, or its hash, which only tells once all is fetched; None for any.
            offline: whether what is not on this machine must be in the cache.

        Raises:
            DataError: it is not what is known.
            NotFoundError: there is none.
            OfflineError: it is not in the cache.
            UsageError: it cannot be read, or takes libraries that are not here.
        """
        known = None if known is None else frozenset(known)
        with _said_of(name, offline), _asking_nobody(offline):
            found = _fetched(name, lambda script: _check_begins(name, _digest(script), known))
            *packages, module = found.module_path.split(".")
            folder = Path(loading.init_hf_modules(), *packages)
            script = cls(
                name,
                found.module_path,
                f"{_digest(folder / f'{module}.py')}{_PARTED}{_digest_of_all(folder)}",
                found.hash,
            )
        if known is not None and known.isdisjoint((script.digest, script.evaluate_hash)):
            raise _changed(name)
        return script

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
            config = "multilabel" if kind == "labels" else None
            metric = made(config_name=config, keep_in_memory=True, hash=self.evaluate_hash)
            metric.download_and_prepare()
            return metric


# Fetching


class _Fetching(loading.HubEvaluationModuleFactory):  # type: ignore[misc]
    """Fetches a metric of the Hub, after a look at its script."""

    def __init__(self, repo_id: str, look: Callable[[Path], None]) -> None:
        super().__init__(repo_id)
        self._look = look

    def download_loading_script(self, revision: str) -> str:
        """The script, before anything else is done for it."""
        path: str = super().download_loading_script(revision)
        self._look(Path(path))
        self.dynamic_modules_path = _package_of(Path(path))
        return path


def _fetched(name: str, look: Callable[[Path], None]) -> loading.ImportableModule:
    """The files of a metric in one folder, as `evaluate.load` finds them, and what it imports imported.

    Args:
        name: of a script, its folder or a metric of the Hub.
        look: what sees the script first, and may raise an error.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(name)
    script = path if path.suffix == ".py" else path / f"{path.name}.py"
    if script.is_file():
        look(script)
        return loading.LocalEvaluationModuleFactory(
            str(script), dynamic_modules_path=_package_of(script)
        ).get_module()
    if path.suffix == ".py" or not _REPO_ID.fullmatch(name):
        raise FileNotFoundError(name)
    repo_ids = [name] if "/" in name else [f"evaluate-{kind}/{name}" for kind in _KINDS]
    for repo_id in repo_ids:
        with suppress(ConnectionError, FileNotFoundError):
            return _Fetching(repo_id, look).get_module()
    return _copied(repo_ids, look)


def _copied(repo_ids: Sequence[str], look: Callable[[Path], None]) -> loading.ImportableModule:
    """The newest copy that was made of one of some metrics of the Hub."""
    cache = Path(loading.init_hf_modules())
    paths = [f"{repo_id.replace('/', '--')}/*/{PurePath(repo_id).name}.py" for repo_id in repo_ids]
    copies = [copy for path in paths for copy in cache.glob(f"{_PACKAGE}*/metrics/{path}")]
    if not copies:
        raise FileNotFoundError(repo_ids[0])
    copy = max(copies, key=lambda path: path.stat().st_mtime)
    look(copy)
    module = ".".join(copy.relative_to(cache).with_suffix("").parts)
    return loading.ImportableModule(module, copy.parent.name)


def _package_of(script: Path) -> str:
    """The folder of a package for copies of a script, named by it and what it takes along from beside it.

    `evaluate` copies nothing over a copy, and takes two files for one that differ after a ``#`` only.
    """
    imports = loading.get_imports(str(script))
    beside = [script.with_name(f"{name}.py") for kind, name, *_ in imports if kind == "internal"]
    digest = digest_of([_digest(path) for path in (script, *beside) if path.is_file()])
    return str(loading.init_dynamic_modules(f"{_PACKAGE}_{digest[:16]}"))


def _check_begins(name: str, own: str, known: Collection[str] | None) -> None:
    """Refuse a script that is none of those that are known, as far as their digests say."""
    if known is not None and not any(own == one.partition(_PARTED)[0] or _PARTED not in one for one in known):
        raise _changed(name)


def _changed(name: str) -> DataError:
    return DataError(
        f"the metric {name} is not what it was when this was planned.",
        why="its code has changed; it was not run",
        fix="plan it again",
    )


def _digest(script: Path) -> str:
    return digest_like(SHA256, script).removeprefix(SHA256)


def _digest_of_all(folder: Path) -> str:
    """Of all code in a folder, by name and content."""
    return digest_of({path.relative_to(folder).as_posix(): _digest(path) for path in folder.rglob("*.py")})


# Running


@contextmanager
def _said_of(name: str, offline: bool) -> Iterator[None]:
    """Turn whatever goes wrong with a metric into an error of ours."""
    try:
        yield
    except ZooError:
        raise
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
