"""Every flipped bit and every missing byte is seen, and what is computed again takes its place."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from stores import DIGEST, FILES, Places, array, features, folder_of, save, save_trial, stored

from zookeeper.errors import IntegrityError
from zookeeper.records import FeatureSet
from zookeeper.store import Store


def every_damage(data: bytes) -> Iterator[bytes]:
    """Every truncation, every flipped bit, zeros of the same length, and something after the end."""
    yield from (data[:length] for length in range(len(data)))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    yield bytes(len(data))
    yield data + b"\0"


@pytest.mark.parametrize(
    ("name", "step"),
    [(FILES[0], 1), (FILES[1], 7), pytest.param(FILES[1], 1, marks=pytest.mark.nightly)],
)
def test_every_bit_and_every_length_counts(places: Places, name: str, step: int) -> None:
    """Whatever became of a file, it reads as a miss, and what is computed again takes its place."""
    save(Store(*places), 1)
    path = folder_of(places, 1) / name
    whole = path.read_bytes()
    for number, data in enumerate(itertools.islice(every_damage(whole), 0, None, step)):
        path.write_bytes(data)
        store = Store(*places)
        with pytest.raises(IntegrityError):
            store.arrays(FeatureSet, DIGEST)
        assert store.find(FeatureSet, DIGEST) in (None, features(1))
        if number % 500 == 0:
            assert store.whole(FeatureSet, DIGEST) is None
            assert list(store.verify().damaged) == [str(path.parent)]
            save(store, 1)
            np.testing.assert_array_equal(stored(Store(*places), 1), array(1))
    assert number > 8 * len(whole) / step


@pytest.mark.nightly
def test_random_damage_of_large_files_is_seen(places: Places) -> None:
    store = Store(*places)
    store.save(features(1), {"features": np.random.default_rng(0).normal(size=(1000, 100))})
    path = folder_of(places, 1) / "arrays.safetensors"
    whole, chance = path.read_bytes(), random.Random(0)  # noqa: S311 a choice of bits
    for _ in range(2_000):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 2, 50])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if data != whole:
            path.write_bytes(data)
            assert Store(*places).whole(FeatureSet, DIGEST) is None


def test_verify_says_what_makes_it_again(places: Places) -> None:
    store = Store(*places)
    save(store, 1)
    save_trial(store, 1)
    for path in (*places[1].rglob("arrays.safetensors"), *places[0].rglob("manifest.json")):
        path.write_bytes(bytes(path.stat().st_size))
    found = store.verify().damaged
    assert {Path(path).parts[-4]: why.rpartition("; ")[2] for path, why in found.items()} == {
        "features": "zoo probe -p 'probe, «mots»' makes it again (of org/name)",
        "trials": "zoo tune makes it again",
    }


def test_verify_looks_into_the_index(places: Places) -> None:
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(os, "fsync", lambda _: None)
        for number in range(100):
            save(Store(*places), number)
    index = places[0] / "zoo.db"
    data = bytearray(index.read_bytes())
    data[-3000:-1000] = bytes(2000)
    index.write_bytes(data)
    found = Store(*places).verify()
    assert list(found.damaged) == [str(index)]
    assert "zoo db rebuild" in found.damaged[str(index)]
    assert len(Store(*places).all(FeatureSet)) == 100
    assert Store(*places).rebuild() == 100
    assert Store(*places).verify().damaged == {}


def test_verify_names_rows_that_say_something_else_than_their_files(places: Places) -> None:
    store = Store(*places)
    save(store, 1)
    index = places[0] / "zoo.db"
    with closing(sqlite3.connect(index)) as db, db:
        db.execute("UPDATE entry SET record = replace(record, 'probe', 'other')")
    assert list(Store(*places).verify().damaged) == [str(index)]
    Store(*places).rebuild()
    assert Store(*places).verify().damaged == {}
