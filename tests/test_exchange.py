"""Covariances that other programs wrote, and those that they are to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zookeeper.errors import DataError, DegenerateInputError, StorageError, UsageError
from zookeeper.exchange import load_covariance, save_covariance, save_text
from zookeeper.results import Covariance

NAMES = ("org/one", "two, with a comma", "größte@0a1b2c3d")
ROOTS = np.random.default_rng(0).normal(size=(3, 3))
COVARIANCE = Covariance(NAMES, ROOTS @ ROOTS.T)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Round trips


def test_npy_comes_back_to_the_last_bit_with_its_names(tmp_path: Path) -> None:
    matrix, names = save_covariance(COVARIANCE, tmp_path / "kappa.npy")
    found = load_covariance(matrix, names)
    assert found.names == NAMES
    np.testing.assert_array_equal(found.matrix, COVARIANCE.matrix)
    np.testing.assert_array_equal(np.load(tmp_path / "kappa.npy"), COVARIANCE.matrix)


def test_csv_comes_back_to_the_last_bit_with_its_names(tmp_path: Path) -> None:
    (path,) = save_covariance(COVARIANCE, tmp_path / "kappa.csv")
    found = load_covariance(path)
    assert found.names == NAMES
    np.testing.assert_array_equal(found.matrix, COVARIANCE.matrix)


def test_npy_has_the_names_beside_it_and_else_goes_by_number(tmp_path: Path) -> None:
    matrix, names = save_covariance(COVARIANCE, tmp_path / "kappa.npy")
    assert load_covariance(matrix).names == COVARIANCE.names
    names.unlink()
    assert load_covariance(matrix).names == ("0", "1", "2")


def test_the_names_file_has_a_name_a_line(tmp_path: Path) -> None:
    matrix, _ = save_covariance(COVARIANCE, tmp_path / "kappa.npy")
    names = written(tmp_path / "names.txt", "a model of mine\r\n  b\n\nc")
    assert load_covariance(matrix, names).names == ("a model of mine", "b", "c")


def test_single_precision_and_integers_are_numbers_too(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int64):
        np.save(tmp_path / "kappa.npy", np.eye(2, dtype=dtype))
        found = load_covariance(tmp_path / "kappa.npy").matrix
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, np.eye(2))


@pytest.mark.parametrize("prefix", ["", "\ufeff"], ids=["plain", "byte-order mark"])
def test_csv_of_a_spreadsheet_is_read(tmp_path: Path, prefix: str) -> None:
    path = written(tmp_path / "kappa.csv", prefix + 'name,"a",b\r\na,1,0.5\r\n\r\nb,0.5,2e0\r\n')
    found = load_covariance(path)
    assert found.names == ("a", "b")
    np.testing.assert_array_equal(found.matrix, [[1, 0.5], [0.5, 2]])


# What is no covariance


@pytest.mark.parametrize("name", ["kappa.txt", "kappa", "kappa.npz"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        save_covariance(COVARIANCE, tmp_path / name)
    with pytest.raises(UsageError):
        load_covariance(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


class Malicious:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.canary),)


def test_a_pickle_in_npy_is_refused_and_not_run(tmp_path: Path) -> None:
    objects = np.empty((1, 1), dtype=object)
    objects[0, 0] = Malicious(tmp_path / "canary")
    np.save(tmp_path / "kappa.npy", objects, allow_pickle=True)
    with pytest.raises(DataError):
        load_covariance(tmp_path / "kappa.npy")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 a zip", b"words", b"\x80\x04."])
def test_what_is_not_npy_is_refused(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "kappa.npy", content)
    with pytest.raises(DataError, match=r"kappa\.npy") as caught:
        load_covariance(path)
    assert caught.value.why


def test_truncated_npy_is_refused(tmp_path: Path) -> None:
    matrix, _ = save_covariance(COVARIANCE, tmp_path / "kappa.npy")
    os.truncate(matrix, matrix.stat().st_size - 1)
    with pytest.raises(DataError):
        load_covariance(matrix)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        ",a,b\na,1,0\nb,0\n",
        ",a,b\na,1,x\nb,0,1\n",
        ",a,b\na,1,0\nc,0,1\n",
        ",a,b\nb,0,1\na,1,0\n",
        "1,0.5,0.5\n0.5,1,0.5\n0.5,0.5,1\n",
        b",a\na,\xff\n",
        b"\x00,\x01\n\x02,\x03\n",
    ],
    ids=["empty", "blank", "ragged", "word", "other name", "other order", "no names", "not UTF-8", "binary"],
)
def test_what_is_not_a_named_csv_is_refused(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(DataError, match=r"kappa\.csv") as caught:
        load_covariance(written(tmp_path / "kappa.csv", content))
    assert caught.value.why


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_covariance(tmp_path / "no.npy")
    assert "no.npy" in caught.value.message
    np.save(tmp_path / "kappa.npy", np.eye(2))
    with pytest.raises(DataError) as caught:
        load_covariance(tmp_path / "kappa.npy", tmp_path / "no.txt")
    assert "no.txt" in caught.value.message


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((2, 3)),
        np.ones(4),
        np.ones((2, 2, 2)),
        np.empty((0, 0)),
        np.array([[1, np.nan], [np.nan, 1]]),
        np.array([[1, np.inf], [np.inf, 1]]),
        np.array([[1, 0.5], [0.4, 1]]),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
    ],
    ids=["oblong", "flat", "cube", "empty", "nan", "infinite", "not symmetric", "indefinite"],
)
def test_matrices_that_are_no_covariance_are_refused(tmp_path: Path, matrix: np.ndarray[Any, Any]) -> None:
    np.save(tmp_path / "kappa.npy", matrix)
    with pytest.raises(DegenerateInputError):
        load_covariance(tmp_path / "kappa.npy")


def test_names_that_do_not_go_with_the_matrix_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "kappa.npy", np.eye(2))
    with pytest.raises(DegenerateInputError, match="3 names"):
        load_covariance(tmp_path / "kappa.npy", written(tmp_path / "names.txt", "a\nb\nc\n"))


# What cannot be written


@pytest.mark.parametrize("name", ["kappa.npy", "kappa.csv", "card.md"])
@pytest.mark.parametrize("place", ["missing/", "file/"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str, place: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place / name
    with pytest.raises(StorageError, match="cannot write") as caught:
        if path.suffix == ".md":
            save_text("text", path)
        else:
            save_covariance(COVARIANCE, path)
    assert str(path) in caught.value.message
    assert caught.value.why


def test_text_is_written_as_it_is_on_every_system(tmp_path: Path) -> None:
    save_text("größe\nκ\n", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_bytes() == "größe\nκ\n".encode()
