"""Reading goes on as it began, and what is kept is of what was pinned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import Zoo
from loopback import LoopbackHub
from tiny import make_checkpoint

from zookeeper import local, worker
from zookeeper.data import probe_from_file
from zookeeper.fetcher import Fetcher
from zookeeper.outcomes import attempt
from zookeeper.reader import Place, Reader
from zookeeper.records import EvidenceSet, FeatureKey, FeatureSet, Outcome, Reading, SignatureSet
from zookeeper.reporter import Silent
from zookeeper.results import Trial
from zookeeper.settings import Settings
from zookeeper.settling import Settling
from zookeeper.store import Store, claims
from zookeeper.tuning import joint
from zookeeper.worker import Cuts


@pytest.fixture
def store(zoo: Zoo, tmp_path: Path) -> Store:
    """What the zoo keeps."""
    return Store(tmp_path / "home", tmp_path / "cache")


def replaced(path: Path, by: Path) -> None:
    """Put another file in the place of one, as `save_pretrained` does."""
    aside = path.with_name("aside")
    shutil.copy(by, aside)
    aside.replace(path)


def interfering(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, before: Callable[[], None]
) -> None:
    """Do something just before a function runs."""
    function = getattr(owner, name)

    def run(*args: Any, **options: Any) -> Any:
        before()
        return function(*args, **options)

    monkeypatch.setattr(owner, name, run)


# Precision


@pytest.fixture
def made_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says what hardware is made for, where nobody says in which precision to read."""
    monkeypatch.delenv("ZOO_DTYPE")

    def choose(dtype: str) -> None:
        monkeypatch.setattr("zookeeper.hardware.precision", lambda device: dtype)

    return choose


def precisions(store: Store, kind: type[FeatureSet] | type[EvidenceSet]) -> list[str]:
    keys = [one.key if isinstance(one, FeatureSet) else one.key.features for one in store.all(kind)]
    return sorted(key.reading.dtype for key in keys)


@pytest.mark.parametrize("before", ["float32", "bfloat16"])
def test_a_probe_goes_on_in_the_precision_that_it_began_in(
    zoo: Zoo,
    store: Store,
    checkpoints: dict[str, Path],
    probe_file: Path,
    made_for: Callable[[str], None],
    tmp_path: Path,
    before: str,
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["gpt2"])
    made_for(before)
    zoo("probe", "bert", "-p", probe_file)
    made_for("bfloat16" if before == "float32" else "float32")
    other = tmp_path / "other.txt"
    other.write_text("Some other text. " * 30)
    zoo("probe", "bert", "-p", other)
    done = zoo("probe", "-p", probe_file)
    assert [row["STATUS"] for row in done.table] == ["already there", "done"]
    assert zoo("covariance", "--json").exit_code == 0
    assert precisions(store, FeatureSet).count(before) == 2


def test_where_there_are_both_precisions_the_last_one_counts_and_an_option_decides(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, made_for: Callable[[str], None]
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["gpt2"])
    made_for("bfloat16")

    def probed(*args: object) -> list[str]:
        return [row["STATUS"] for row in zoo("probe", *args, "-p", probe_file).table]

    assert probed("bert", "--dtype", "bfloat16") == ["done"]
    assert probed("bert", "--dtype", "float32") == ["done"]
    assert probed() == ["already there", "done"]
    left_out = zoo("covariance", "-p", probe_file, "--dtype", "bfloat16").stderr
    assert "it was read in float32" in left_out
    assert "--dtype bfloat16" in left_out
    assert probed("gpt2", "--dtype", "bfloat16") == ["done"]


def test_signatures_that_stand_for_features_keep_their_precision(
    zoo: Zoo, store: Store, probe_file: Path, made_for: Callable[[str], None], tmp_path: Path
) -> None:
    zoo("add", *(make_checkpoint("bert", tmp_path / f"bert-{seed}", seed=seed) for seed in range(3)))
    made_for("float32")
    zoo("probe", "bert-0", "bert-1", "-p", probe_file)
    assert zoo("covariance", "bert-0", "bert-1", "--signatures").exit_code == 0
    for features in store.all(FeatureSet):
        store.discard(FeatureSet, features.key.digest)
    (tmp_path / "home" / "notes" / "probed.json").unlink()
    made_for("bfloat16")
    zoo("probe", "bert-2", "-p", probe_file)
    assert precisions(store, FeatureSet) == ["float32"]
    assert len(store.all(SignatureSet)) == 3


def test_a_target_goes_on_in_the_precision_that_it_began_in(
    zoo: Zoo,
    store: Store,
    checkpoints: dict[str, Path],
    target_folder: Path,
    made_for: Callable[[str], None],
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["gpt2"])
    made_for("float32")
    zoo("rank", "bert", "-t", target_folder)
    made_for("bfloat16")
    assert zoo("rank", "-t", target_folder).exit_code == 0
    assert precisions(store, EvidenceSet) == ["float32"] * 2
    assert zoo("rank", "-t", target_folder, "--dtype", "bfloat16").exit_code == 0
    assert precisions(store, EvidenceSet) == ["bfloat16"] * 2 + ["float32"] * 2


def test_what_is_stored_is_listed_once_for_readings_in_a_row_and_again_when_there_is_more(
    zoo: Zoo,
    store: Store,
    checkpoints: dict[str, Path],
    probe_file: Path,
    made_for: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zoo("add", checkpoints["bert"])
    made_for("float32")
    listed: list[None] = []
    interfering(monkeypatch, store, "all", before=lambda: listed.append(None))
    settling = Settling(Settings.from_environment(), store, lambda: "cpu")
    corpus = probe_from_file(probe_file, max_words=100)

    def precision() -> str:
        return settling.settled(Reading(), corpus).dtype

    assert precision() == "float32"
    once = len(listed)
    assert precision() == "float32"
    assert len(listed) == once
    key = FeatureKey("org/model", "0" * 40, corpus.digest, Reading(dtype="bfloat16").settled("word"))
    store.save(FeatureSet(key, 1, 1, 0, 4, "here"), {"features": np.ones((1, 1), np.float32)})
    assert [precision(), precision()] == ["bfloat16"] * 2
    assert len(listed) == 2 * once


# Pins


COMMANDS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "probe": lambda probe, target: ("probe", "-p", probe),
    "rank": lambda probe, target: ("rank", "-t", target),
}


def measured(store: Store) -> list[object]:
    return [*store.all(FeatureSet), *store.all(EvidenceSet), *store.all(SignatureSet)]


@pytest.fixture
def folder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint that may be written to."""
    return shutil.copytree(checkpoints["bert"], tmp_path / "mine")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Weights of the same form."""
    return make_checkpoint("bert", tmp_path / "other", seed=7) / "model.safetensors"


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_that_are_replaced_after_a_look_at_them_leave_nothing_under_their_pin(
    zoo: Zoo,
    store: Store,
    folder: Path,
    other: Path,
    probe_file: Path,
    target_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    zoo("add", folder)
    weights = folder / "model.safetensors"
    pinned = weights.read_bytes()
    interfering(monkeypatch, worker, "read", before=lambda: replaced(weights, other))
    done = zoo(*COMMANDS[command](probe_file, target_folder))
    assert done.exit_code != 0
    assert "changed while it was read" in done.stdout + done.stderr
    assert measured(store) == []
    monkeypatch.undo()
    weights.write_bytes(pinned)
    again = local.describe(folder)
    assert again.revision == store.checkpoints()[0].revision


def test_so_do_files_in_the_hubs_cache(
    zoo: Zoo,
    zoo_hub: LoopbackHub,
    store: Store,
    other: Path,
    probe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zoo("add", "me/bert")

    def replace_it() -> None:
        (weights,) = (tmp_path / "hub").rglob("snapshots/*/model.safetensors")
        replaced(weights, other)

    interfering(monkeypatch, worker, "read", before=replace_it)
    done = zoo("probe", "-p", probe_file)
    assert "changed while it was read" in done.stdout + done.stderr
    assert measured(store) == []


def test_weights_that_are_replaced_after_a_look_at_them_are_not_trained(
    zoo: Zoo,
    store: Store,
    folder: Path,
    other: Path,
    target_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zoo("add", folder)
    weights = folder / "model.safetensors"
    interfering(monkeypatch, joint, "load", before=lambda: replaced(weights, other))
    done = zoo("tune", "-t", target_folder, folder, "--recipe", "full", "--seeds", "1")
    assert done.exit_code != 0
    assert f"{weights} changed while it was read" in done.stdout + done.stderr
    assert store.all(Trial) == ()


def test_windows_of_a_tokenizer_that_was_replaced_are_not_passed_on(
    zoo: Zoo, folder: Path, probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", folder)
    kept: list[str] = []
    monkeypatch.setattr(Cuts, "keep", lambda self, name, windows: kept.append(name))
    tokenizer = folder / "tokenizer.json"
    interfering(monkeypatch, worker, "read", before=lambda: replaced(tokenizer, tokenizer))
    done = zoo("probe", "-p", probe_file)
    assert "changed while it was read" in done.stdout + done.stderr
    assert kept == []


# Places


@pytest.fixture
def reader(store: Store) -> Reader:
    """Of which nothing is read."""
    settings = Settings(store.home, store.cache, store.cache / "hub", device="cpu")
    fetcher = Fetcher(store, lambda: pytest.fail("there is no Hub"), Silent())
    return Reader(settings, store, fetcher, Settling(settings, store, lambda: "cpu"), Silent())


def test_what_is_read_at_the_same_time_is_read_in_different_places(reader: Reader) -> None:
    both = Barrier(2, timeout=30)

    def there(place: Place) -> Place:
        both.wait()
        return place

    found = reader.over([(str(number), there) for number in range(4)], ["cuda:0", "cuda:1"])
    places = [place for place in found if isinstance(place, Place)]
    assert sorted(place.device for place in places) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert {place.limits.at_once for place in places} == {2}


def test_reading_within_reading_changes_nothing_of_where_that_goes_on(reader: Reader) -> None:
    def outer(place: Place) -> tuple[Place, list[Place | Outcome], list[Place | Outcome]]:
        return (
            place,
            reader.over([("inner", lambda at: at)], ["cuda:7"]),
            reader.over([("own", lambda at: at)]),
        )

    (found,) = reader.over([("outer", outer)], ["cuda:0"])
    alone = reader.limits
    assert found == (Place("cuda:0", alone), [Place("cuda:7", alone)], [Place("cpu", alone)])


# Pickles


@pytest.fixture
def pickled(folder: Path) -> Path:
    """A checkpoint whose weights are a pickle."""
    model = transformers.BertForMaskedLM.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickles_that_are_replaced_after_a_look_at_them_are_not_kept_as_those_that_were_pinned(
    zoo: Zoo, store: Store, pickled: Path, probe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", pickled, "--allow-pickle")
    weights = pickled / "pytorch_model.bin"
    interfering(monkeypatch, worker, "convert", before=lambda: replaced(weights, weights))
    done = zoo("probe", "-p", probe_file)
    assert "changed while it was read" in done.stdout + done.stderr
    assert list((tmp_path / "cache" / "converted").iterdir()) == []
    assert measured(store) == []


def test_converted_weights_that_are_replaced_leave_nothing(
    zoo: Zoo,
    store: Store,
    pickled: Path,
    other: Path,
    probe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zoo("add", pickled, "--allow-pickle")

    def replace_it() -> None:
        (weights,) = (tmp_path / "cache" / "converted").rglob("model.safetensors")
        replaced(weights, other)

    interfering(monkeypatch, worker, "read", before=replace_it)
    done = zoo("probe", "-p", probe_file)
    assert "changed while it was read" in done.stdout + done.stderr
    assert measured(store) == []


def test_whoever_had_to_wait_for_a_conversion_takes_it_as_it_is(
    zoo: Zoo, store: Store, pickled: Path, probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", pickled, "--allow-pickle")
    place = store.converted(store.checkpoints()[0])
    assert zoo("probe", "-p", probe_file).exit_code == 0
    whole = place.with_name("whole")
    place.rename(whole)
    interfering(monkeypatch, claims, "held", before=lambda: whole.rename(place) if whole.exists() else None)
    monkeypatch.setattr(worker, "convert", None)
    assert zoo("probe", "-p", probe_file, "--layer", "0").exit_code == 0


def test_a_conversion_that_came_first_without_a_lock_stays(
    zoo: Zoo, store: Store, pickled: Path, probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", pickled, "--allow-pickle")
    place = store.converted(store.checkpoints()[0])
    assert zoo("probe", "-p", probe_file).exit_code == 0
    first = place.stat().st_ino
    whole = place.with_name("whole")
    place.rename(whole)
    convert = worker.convert

    def late(*args: Any) -> None:
        convert(*args)
        whole.rename(place)

    monkeypatch.setattr(worker, "convert", late)
    assert zoo("probe", "-p", probe_file, "--layer", "0").exit_code == 0
    assert place.stat().st_ino == first


# Memory


def test_a_checkpoint_for_which_memory_does_not_suffice_is_a_row() -> None:
    found = attempt("wide", lambda: np.empty(2**50))
    assert isinstance(found, Outcome)
    assert (found.error, found.exit_code) == ("it needs more memory than there is.", 1)
