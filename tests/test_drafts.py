"""Arrays that are written to the disk while they come."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from faults import open_files
from safetensors import numpy as safetensors
from stores import DIGEST, TRIAL, Places, array, features, leftovers, stored

from zookeeper.errors import StorageError
from zookeeper.records import FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store

SHAPES = {
    "layers/0": ((3, 2), np.float32),
    "of rows": ((5,), np.int64),
    "half": ((2, 3), np.float16),
    "flags": ((3,), np.bool_),
    "one": ((), np.float64),
    "none": ((0, 4), np.float32),
    "größe": ((7,), np.uint8),
}


def test_a_draft_is_the_file_that_the_library_would_write(places: Places) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: np.asarray(9 * rng.normal(size=shape), dtype=dtype) for name, (shape, dtype) in SHAPES.items()
    }
    store = Store(*places)
    with store.draft(Trial, TRIAL.key.digest) as draft:
        rooms = draft.arrays(SHAPES)
        for name, room in rooms.items():
            assert not room.any()
            room[...] = arrays[name]
            draft.relieve()
        draft.keep(TRIAL, {"device": "cpu"})
    path = Store(*places).array_file(Trial, TRIAL.key.digest).path
    assert path.read_bytes() == safetensors.save(arrays)
    for name, found in Store(*places).arrays(Trial, TRIAL.key.digest).items():
        np.testing.assert_array_equal(found, arrays[name])
        np.testing.assert_array_equal(found, rooms[name])


def test_a_draft_is_absent_until_it_is_kept_and_cannot_be_changed_after(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        room = draft.arrays({"features": ((3, 2), np.float32)})["features"]
        room[...] = 1
        assert store.find(FeatureSet, DIGEST) is None
        assert store.all(FeatureSet) == ()
        draft.keep(features(1))
        assert store.all(FeatureSet) == (features(1),)
        with pytest.raises(ValueError, match="read-only"):
            room[0] = 2
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))


def test_a_draft_that_is_not_kept_leaves_nothing(places: Places) -> None:
    store = Store(*places)
    opened = open_files()
    for error in (None, KeyboardInterrupt, ValueError):
        with suppress(KeyboardInterrupt, ValueError), store.draft(FeatureSet, DIGEST) as draft:
            draft.arrays({"features": ((3, 2), np.float32)})["features"][...] = 1
            if error:
                raise error
    del draft
    assert leftovers(places) == []
    assert store.all(FeatureSet) == ()
    assert open_files() <= opened + 1  # the index


def test_a_draft_can_begin_anew(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        first = draft.arrays({"features": ((9, 9), np.float32)})["features"]
        room = draft.arrays({"features": ((3, 2), np.float32)})["features"]
        first[...] = 9
        room[...] = 1
        draft.keep(features(1))
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))


def test_something_else_than_what_was_drafted_is_refused(places: Places) -> None:
    store = Store(*places)
    with pytest.raises(ValueError, match="drafted"), store.draft(FeatureSet, DIGEST) as draft:
        draft.keep(features(2))
    assert store.all(FeatureSet) == ()


def test_of_two_drafts_of_one_thing_the_first_that_is_kept_stays(places: Places) -> None:
    store = Store(*places)
    forms = {"features": ((3, 2), np.float32)}
    with store.draft(FeatureSet, DIGEST) as first, store.draft(FeatureSet, DIGEST) as second:
        first.arrays(forms)["features"][...] = 1
        second.arrays(forms)["features"][...] = 2
        first.keep(features(1))
        second.keep(features(1))
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))
    assert leftovers(places) == []


def test_more_than_the_disk_has_is_refused_before_it_is_written(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        with pytest.raises(StorageError, match="cannot write") as caught:
            draft.arrays({"features": ((10**9, 10**6), np.float64)})
        assert "it takes 8,000 TB, and" in str(caught.value.why)
        assert "free some space" in str(caught.value.fix)
    assert leftovers(places) == []
