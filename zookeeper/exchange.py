"""Files that users name: covariances that other programs read and write, and cards."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from zookeeper.errors import DataError, StorageError, UsageError
from zookeeper.plain import csv_cell, of_csv_cell, refusal, spelt_out
from zookeeper.results import Covariance


def load_covariance(path: Path, names: Path | None = None) -> Covariance:
    """Read a covariance from ``.npy``, or from ``.csv`` with names in the first row and column.

    Args:
        path: the matrix.
        names: a text file with a name a line, for ``.npy``; by default what `save_covariance` wrote beside
            it, and where there is no such file items go by number.

    Raises:
        DataError: a file is missing or cannot be read.
        DegenerateInputError: the matrix is no covariance.
    """
    try:
        if path.suffix == ".npy":
            with path.open("rb") as binary:
                matrix = np.lib.format.read_array(binary, allow_pickle=False).astype(np.float64)
            beside = path.with_suffix(".names.txt")
            given = names or (beside if beside.exists() else None)
            labels = _lines(given) if given else [str(i) for i in range(len(matrix))]
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = [line for line in csv.reader(file) if line]
            if not lines:
                raise ValueError("it is empty")
            (corner, *labels), *rows = lines
            if labels != [row[0] for row in rows] or _is_number(corner):
                raise ValueError("its first row and its first column do not hold the same names")
            labels = [of_csv_cell(label) for label in labels]
            matrix = np.array([[float(cell) for cell in row[1:]] for row in rows])
        else:
            raise UsageError(f"{path} is neither .npy nor .csv.")
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read.", why=refusal(error)) from error
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a covariance.", why=str(error)[:200]) from error
    return Covariance(tuple(labels), matrix)


def load_results(path: Path) -> dict[str, float]:
    """True results of checkpoints from a ``.csv``: names in the first column, numbers in the last.

    A first line without a number is a heading; a name without a result is left out.

    Raises:
        DataError: it cannot be read as that.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read.", why=str(error)[:200]) from error
    results: dict[str, float] = {}
    for number, (cell, *cells) in enumerate(rows, 1):
        name = of_csv_cell(cell)
        text = cells[-1].strip().removesuffix("%") if cells else "?"
        if text.lower() in ("", "-", "na", "n/a", "nan", "none") or (number == 1 and not _is_number(text)):
            continue
        if not _is_number(text) or not np.isfinite(float(text)):
            problem = f"line {number} is {', '.join([name, *cells])[:80]}"
            raise DataError(f"{path} holds no results.", why=problem, fix="lines of NAME,NUMBER")
        if name in results:
            raise DataError(f"{path} has two results for {name}.")
        results[name] = float(text)
    if not results:
        raise DataError(f"{path} holds no results.", fix="lines of NAME,NUMBER")
    return results


def save_covariance(covariance: Covariance, path: Path) -> tuple[Path, ...]:
    """Write a covariance as ``.npy`` (with the names beside it) or ``.csv``.

    Returns:
        The files that were written.

    Raises:
        UsageError: another ending.
        StorageError: the disk refuses.
    """
    try:
        if path.suffix == ".npy":
            names = path.with_suffix(".names.txt")
            np.save(path, covariance.matrix)
            names.write_text("".join(f"{spelt_out(name)}\n" for name in covariance.names), encoding="utf-8")
            return path, names
        if path.suffix == ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["", *map(csv_cell, covariance.names)])
                for name, row in zip(covariance.names, covariance.matrix.tolist(), strict=True):
                    writer.writerow([csv_cell(name), *row])
            return (path,)
    except OSError as error:
        raise StorageError(f"cannot write {path}.", why=refusal(error)) from error
    raise UsageError(
        f"zoo writes covariances as .npy and .csv, not as {path.suffix or 'files without an ending'}."
    )


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def save_text(text: str, path: Path) -> None:
    """Write a text file.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"cannot write {path}.", why=refusal(error)) from error
