"""Measurements that pass from zoo to zoo through a dataset repository, hostile ones among them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import LoopbackHub, read_folder
from safetensors.numpy import load, save
from tiny import TEXT, make_checkpoint

from tests.reference.examples import STEADY
from zookeeper.errors import DataError, EmptyZooError, IntegrityError, NetworkError, UsageError, ZooError
from zookeeper.fetcher import Fetcher
from zookeeper.hub import Hub
from zookeeper.plain import decode
from zookeeper.probing import Probing
from zookeeper.publications import Publication
from zookeeper.reader import Reader
from zookeeper.records import (
    BasisSet,
    Checkpoint,
    Dataset,
    FeatureSet,
    Outcome,
    RepoFile,
    Revision,
    SignatureSet,
)
from zookeeper.reporter import Reporter, Silent
from zookeeper.settings import Settings
from zookeeper.settling import Settling
from zookeeper.sharing import Measured, Sharing, claims, shelf
from zookeeper.signing import Signing
from zookeeper.store import Store
from zookeeper.texts import Texts
from zookeeper.zoo import Zoo

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

MODELS = ("me/bert-0", "me/bert-1", "me/bert-2", "me/bert-3")
REPO = "me/measured"
Files = dict[str, bytes]


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Place:
    """A zoo, with the parts that share what it measured."""

    zoo: Zoo
    store: Store
    probing: Probing
    sharing: Sharing
    notes: Notes

    def push(self, what: Measured, hub: LoopbackHub, *, repo_id: str = REPO) -> Publication:
        """Publish all that there is, without the card."""
        made = self.sharing.publication(
            what, self.probing.latest(), self.store.checkpoints(), repo_id=repo_id
        )
        files = {p: data if isinstance(data, bytes) else data.read_bytes() for p, data in made.files.items()}
        try:
            hub.commit("dataset", repo_id, files)
        except KeyError:
            hub.add("dataset", repo_id, files)
        return made

    def kappa(self, *, signatures: bool) -> np.ndarray[Any, Any]:
        return self.zoo.covariance(signatures=signatures, errors=False).matrix


Make = Callable[[str], Place]


def measuring(places: Settings, store: Store, client: Hub, reporter: Reporter) -> tuple[Probing, Signing]:
    """What a zoo measures with."""
    settling = Settling(places, store, lambda: "cpu")
    probing = Probing(store, Texts(store, lambda: client, reporter), settling, reporter)
    reader = Reader(places, store, Fetcher(store, lambda: client, reporter), settling, reporter)
    return probing, Signing(store, reader, probing, reporter)


def place_in(folder: Path, hub: LoopbackHub) -> Place:
    """A zoo in a folder."""
    places = Settings(folder / "home", folder / "cache", folder / "hub", endpoint=hub.url, device="cpu")
    notes = Notes()
    client = Hub(places.endpoint, places.hub_cache)
    zoo = Zoo(settings=places, hub=client, reporter=notes)
    probing, signing = measuring(places, zoo.store, client, notes)
    sharing = Sharing(zoo.store, probing, signing, lambda: client, notes)
    return Place(zoo, zoo.store, probing, sharing, notes)


@pytest.fixture
def make(hub: LoopbackHub, tmp_path: Path) -> Make:
    """Makes zoos that share nothing but the Hub."""
    return lambda name: place_in(tmp_path / name, hub)


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    """Files of checkpoints of one family that differ in their weights."""
    root = tmp_path_factory.mktemp("shared")
    return [read_folder(make_checkpoint("bert", root / str(seed), seed=seed)) for seed in range(4)]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, bodies: list[Files], probe_file: Path) -> Path:
    """The folder of a zoo of four checkpoints of the Hub that were read with a local probe."""
    folder = tmp_path_factory.mktemp("measured")
    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_TOKEN", raising=False)
        add_models(hub, bodies)
        place = place_in(folder, hub)
        place.zoo.add(MODELS)
        outcomes = place.zoo.probe(probe=str(probe_file))
    assert statuses(outcomes) == ["done"] * 4, outcomes
    return folder


def add_models(hub: LoopbackHub, bodies: list[Files]) -> None:
    for name, files in zip(MODELS, bodies, strict=True):
        hub.add("model", name, files)


@pytest.fixture
def pushing(hub: LoopbackHub, bodies: list[Files], measured: Path, make: Make, tmp_path: Path) -> Place:
    """That zoo, and a Hub that has its checkpoints."""
    add_models(hub, bodies)
    for part in ("home", "cache"):
        shutil.copytree(measured / part, tmp_path / "pushing" / part)
    return make("pushing")


def statuses(outcomes: tuple[Outcome, ...]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def downloads(hub: LoopbackHub) -> list[str]:
    """Paths of the files that were sent."""
    sent = (request.path for request in hub.requests if request.method == "GET")
    return [path.split("/resolve/")[1].split("/", 1)[1] for path in sent if "/resolve/" in path]


def weights_asked(hub: LoopbackHub) -> list[str]:
    return [r.path for r in hub.requests if "model.safetensors" in r.path]


# What a user does


@pytest.mark.parametrize("what", ["signatures", "features"])
def test_a_zoo_that_ran_no_model_compares_as_the_one_that_did(
    what: Measured, pushing: Place, make: Make, hub: LoopbackHub
) -> None:
    expected = pushing.kappa(signatures=what == "signatures")
    pushing.push(what, hub)
    hub.clear()
    other = make("pulling")
    assert statuses(other.sharing.pull(what, REPO)) == ["pulled"] * 4
    np.testing.assert_array_equal(other.kappa(signatures=what == "signatures"), expected)
    assert [c.revision.commit for c in other.store.checkpoints()] == [
        hub.sha("model", name) for name in MODELS
    ]
    assert weights_asked(hub) == []
    if what == "features":
        assert len(other.zoo.select(2, replicates=0).picks) == 2
    else:
        assert len(other.zoo.neighbours("bert-0", 2).neighbours) == 2
    assert weights_asked(hub) == []


def test_shared_in_one_commit_and_taken_over(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    expected = pushing.kappa(signatures=True)
    would = pushing.zoo.share("signatures", "alice/measured", dry_run=True)
    assert (would.created, would.commit) == (True, None)
    done = pushing.zoo.share("signatures", "alice/measured")
    shared = hub.files("dataset", "alice/measured")
    assert {path: len(shared[path]) for path in done.files} == dict(done.files) | would.files
    assert b"me/bert-1" in shared["README.md"]
    before = hub.sha("dataset", "alice/measured")
    assert pushing.zoo.share("signatures", "alice/measured").files == {}
    assert hub.sha("dataset", "alice/measured") == before
    other = make("pulling").zoo
    assert statuses(other.pull("signatures", "alice/measured", dry_run=True)) == ["would be pulled"] * 4
    assert statuses(other.pull("signatures", f"alice/measured@{before}")) == ["pulled"] * 4
    np.testing.assert_array_equal(other.covariance(signatures=True).matrix, expected)


def test_the_probe_of_what_was_pulled_is_read_the_same_by_others(
    pushing: Place, make: Make, hub: LoopbackHub, probe_file: Path
) -> None:
    pushing.push("features", hub)
    other = make("pulling")
    other.sharing.pull("features", REPO)
    assert other.probing.latest().name == "./probe.txt"
    assert statuses(other.zoo.probe(probe=str(probe_file))) == ["already there"] * 4


def test_neither_folders_nor_paths_of_this_machine_are_shared(
    pushing: Place, hub: LoopbackHub, checkpoints: dict[str, Path], probe_file: Path, tmp_path: Path
) -> None:
    pushing.zoo.add(str(checkpoints["roberta"]))
    pushing.zoo.probe(probe=str(probe_file))
    made = pushing.push("signatures", hub)
    pushing.push("features", hub)
    assert [note for note in pushing.notes.said if "roberta is left out" in note]
    everything = b"".join(hub.files("dataset", REPO).values())
    for path in (tmp_path, probe_file.parent, checkpoints["roberta"].parent):
        assert str(path).encode() not in everything
    assert not [path for path in made.files if "roberta" in path]


def test_a_zoo_of_folders_has_nothing_to_share(
    make: Make, checkpoints: dict[str, Path], probe_file: Path
) -> None:
    place = make("folders")
    place.zoo.add(str(checkpoints["bert"]))
    place.zoo.probe(probe=str(probe_file))
    with pytest.raises(EmptyZooError, match="no checkpoint of this zoo is on the Hub"):
        place.sharing.publication("features", place.probing.latest(), place.store.checkpoints(), repo_id=REPO)


def test_pulling_again_fetches_nothing(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    pushing.push("signatures", hub)
    other = make("pulling")
    other.sharing.pull("signatures", REPO)
    hub.clear()
    assert statuses(other.sharing.pull("signatures", REPO)) == ["already there"] * 4
    assert downloads(hub) == []


def test_a_checkpoint_that_was_removed_comes_back_without_its_measurement(
    pushing: Place, make: Make, hub: LoopbackHub
) -> None:
    pushing.push("signatures", hub)
    other = make("pulling")
    other.sharing.pull("signatures", REPO)
    other.zoo.remove(["bert-1"])
    hub.clear()
    assert statuses(other.sharing.pull("signatures", REPO)) == ["already there"] * 4
    assert len(other.store.checkpoints()) == 4
    assert downloads(hub) == []


def test_pushing_again_writes_nothing(pushing: Place, hub: LoopbackHub) -> None:
    for what in ("signatures", "features"):
        first = pushing.push(what, hub)
        assert len(first.files) >= 8
        again = pushing.push(what, hub)
        assert again.files == {}
        assert again.card == first.card


def test_files_of_arrays_are_pushed_from_where_they_lie(pushing: Place) -> None:
    made = pushing.sharing.publication(
        "features", pushing.probing.latest(), pushing.store.checkpoints(), repo_id=REPO
    )
    arrays = [data for path, data in made.files.items() if path.endswith(".safetensors")]
    assert len(arrays) == 4
    assert all(isinstance(data, Path) and data.stat().st_size > 10_000 for data in arrays)


def test_a_damaged_measurement_is_pulled_again(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    expected = pushing.kappa(signatures=False)
    pushing.push("features", hub)
    other = make("pulling")
    other.sharing.pull("features", REPO)
    stored = sorted(other.store.cache.glob("features/v1/??/*/arrays.safetensors"))[0]
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    again = make("pulling")
    assert sorted(statuses(again.sharing.pull("features", REPO))) == ["already there"] * 3 + ["pulled"]
    np.testing.assert_array_equal(again.kappa(signatures=False), expected)


def test_a_dry_run_says_what_it_would_fetch_and_stores_nothing(
    pushing: Place, make: Make, hub: LoopbackHub
) -> None:
    pushing.push("features", hub)
    other = make("pulling")
    hub.clear()
    outcomes = other.sharing.pull("features", REPO, dry_run=True)
    assert statuses(outcomes) == ["would be pulled"] * 4
    shared = {path: data for path, data in hub.files("dataset", REPO).items() if path.startswith("features/")}
    assert sum(outcome.details["bytes"] for outcome in outcomes) == sum(map(len, shared.values()))
    assert other.store.checkpoints() == ()
    assert other.store.artefacts() == []
    assert [
        request for request in hub.requests if "/resolve/" in request.path and "features/" in request.path
    ] == []


def test_a_revision_can_be_named(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    pushing.push("features", hub)
    before = hub.sha("dataset", REPO)
    hub.commit("dataset", REPO, {path: None for path in hub.files("dataset", REPO) if "bert-3" in path})
    assert len(make("now").sharing.pull("features", REPO)) == 3
    assert len(make("then").sharing.pull("features", REPO, before)) == 4


def test_an_interrupted_pull_goes_on_where_it_was(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    pushing.push("features", hub)
    other = make("pulling")
    hub.fail(404, "bert-2/.*safetensors", headers={"X-Error-Code": ""})
    with pytest.raises(NetworkError):
        other.sharing.pull("features", REPO)
    hub.recover()
    assert statuses(other.sharing.pull("features", REPO)) == ["already there"] * 2 + ["pulled"] * 2


# Several people


@pytest.fixture
def friend(pushing: Place, make: Make, hub: LoopbackHub, bodies: list[Files], probe_file: Path) -> Place:
    """Another zoo, of one checkpoint of its own and one of the same, with features and a basis of its own."""
    changed = make_checkpoint("bert", probe_file.parent / "fifth", seed=5)
    hub.add("model", "you/bert-5", read_folder(changed))
    place = make("friend")
    place.zoo.add(["you/bert-5", MODELS[0]])
    place.zoo.probe(probe=str(probe_file))
    place.kappa(signatures=True)
    return place


def test_several_people_add_to_one_repository(
    pushing: Place, friend: Place, make: Make, hub: LoopbackHub
) -> None:
    pushing.push("signatures", hub)
    with pytest.raises(UsageError, match="on another basis") as refused:
        friend.push("signatures", hub)
    assert refused.value.fix is not None
    assert f"zoo pull signatures {REPO}" in refused.value.fix
    friend.sharing.pull("signatures", REPO)
    added = friend.push("signatures", hub)
    assert {path.rsplit("/", 1)[0] for path in added.files} == {"signatures/you/bert-5"}
    other = make("pulling")
    assert statuses(other.sharing.pull("signatures", REPO)) == ["pulled"] * 5
    np.testing.assert_array_equal(other.kappa(signatures=True), friend.kappa(signatures=True))
    np.testing.assert_allclose(friend.kappa(signatures=True), friend_exact(friend, pushing, hub), atol=0.02)


def friend_exact(friend: Place, pushing: Place, hub: LoopbackHub) -> np.ndarray[Any, Any]:
    """Covariance of all by their features."""
    pushing.push("features", hub, repo_id="me/features")
    friend.sharing.pull("features", "me/features")
    return friend.kappa(signatures=False)


def test_a_basis_that_others_are_on_is_not_given_up(pushing: Place, friend: Place, hub: LoopbackHub) -> None:
    pushing.push("signatures", hub)
    friend.zoo.waste(features=True, delete=True)
    before = friend.kappa(signatures=True)
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="signatures on another basis"):
            friend.sharing.pull("signatures", REPO, dry_run=dry_run)
    np.testing.assert_array_equal(friend.kappa(signatures=True), before)
    assert len(friend.store.checkpoints()) == 2


def test_bases_of_one_name_and_other_numbers_are_two(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    pushing.push("signatures", hub)
    other = make("other machine")
    pushing.push("features", hub, repo_id="me/features")
    other.sharing.pull("features", "me/features")
    other.kappa(signatures=True)
    (basis,) = other.store.all(BasisSet)
    vectors = other.store.arrays(BasisSet, basis.key.digest)["vectors"]
    other.store.save(basis, {"vectors": vectors[:, ::-1]})
    again = make("other machine")
    with pytest.raises(UsageError, match="on another basis"):
        again.push("signatures", hub)
    assert statuses(again.sharing.pull("signatures", REPO)) == ["pulled"] * 4
    np.testing.assert_array_equal(again.kappa(signatures=True), pushing.kappa(signatures=True))


def test_another_probe_goes_to_another_repository(
    pushing: Place, make: Make, hub: LoopbackHub, tmp_path: Path
) -> None:
    pushing.push("features", hub)
    text = tmp_path / "other.txt"
    text.write_text("\n".join(TEXT[:7]))
    pushing.zoo.probe(probe=str(text))
    with pytest.raises(UsageError, match="on another probe") as refused:
        pushing.push("features", hub)
    assert refused.value.why is not None
    assert "./probe.txt" in refused.value.why
    assert statuses(pushing.sharing.pull("features", REPO)) == ["already there"] * 4
    assert pushing.probing.latest().name == str(text)
    assert "zoo covariance -p ./probe.txt" in pushing.notes.said[-1]


def test_a_repository_of_something_else_is_named_so(pushing: Place, hub: LoopbackHub) -> None:
    hub.add("dataset", "me/texts", {"train.csv": b"a,b"})
    with pytest.raises(DataError, match="me/texts holds no signatures"):
        pushing.sharing.pull("signatures", "me/texts")
    pushing.push("features", hub)
    with pytest.raises(DataError, match="holds no signatures"):
        pushing.sharing.pull("signatures", REPO)
    pushing.push("features", hub, repo_id="me/texts")
    assert "train.csv" in hub.files("dataset", "me/texts")


def test_a_newer_format_is_named_so(pushing: Place, make: Make, hub: LoopbackHub) -> None:
    pushing.push("features", hub)
    hub.commit("dataset", REPO, {"probe.json": b'{"format": 2, "unknown": []}'})
    with pytest.raises(DataError, match="format 2"):
        make("pulling").sharing.pull("features", REPO)


def test_a_checkpoint_that_is_not_on_the_hub_any_more_is_left_out(
    pushing: Place, make: Make, hub: LoopbackHub
) -> None:
    pushing.push("signatures", hub)
    hub.fail(404, "api/models/me/bert-1", headers={"X-Error-Code": "RepoNotFound"})
    hub.fail(500, "api/models/me/bert-2", times=None)
    other = make("pulling")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zookeeper.hub.client.sleep", lambda _: None)
        outcomes = other.sharing.pull("signatures", REPO)
    assert statuses(outcomes) == ["pulled", "failed", "failed", "pulled"]
    assert "bert-1" in (outcomes[1].error or "")
    assert len(other.store.checkpoints()) == len(other.store.all(SignatureSet)) == 2


# Hostile files


Attack = Callable[[Files, str], None]


def stem_of(files: Mapping[str, bytes], name: str) -> str:
    """Under which name the measurement of a checkpoint lies."""
    (path,) = [path for path in files if f"/{name}/" in path and path.endswith(".json")]
    return path.removesuffix(".json")


def spec(change: Callable[[dict[str, Any]], object]) -> Attack:
    """Another spec."""

    def attack(files: Files, stem: str) -> None:
        found = json.loads(files[f"{stem}.json"])
        change(found)
        files[f"{stem}.json"] = json.dumps(found).encode()

    return attack


def record(**fields: Any) -> Attack:
    return spec(lambda found: found["record"].update(fields))


def key(**fields: Any) -> Attack:
    return spec(lambda found: found["record"]["key"].update(fields))


def feature_key(**fields: Any) -> Attack:
    def change(found: dict[str, Any]) -> None:
        own = found["record"]["key"]
        own.get("features", own).update(fields)

    return spec(change)


def payload(change: Callable[[bytes], bytes]) -> Attack:
    """Other bytes of arrays, of which the spec has size and digest right."""

    def attack(files: Files, stem: str) -> None:
        changed = files[f"{stem}.safetensors"] = change(files[f"{stem}.safetensors"])
        digest = f"sha256:{hashlib.sha256(changed).hexdigest()}"
        spec(lambda found: found["arrays"].update(size=len(changed), digest=digest))(files, stem)

    return attack


def arrays(change: Callable[[dict[str, np.ndarray[Any, Any]]], object]) -> Attack:
    """Other arrays."""

    def changed(data: bytes) -> bytes:
        found = {name: array.copy() for name, array in load(data).items()}
        change(found)
        return save(found)

    return payload(changed)


def set_all(name: str, value: float, first: int | None = None) -> Attack:
    def change(found: dict[str, np.ndarray[Any, Any]]) -> None:
        found[name][:first] = value

    return arrays(change)


def cast(name: str, dtype: str) -> Attack:
    return arrays(lambda found: found.update({name: found[name].astype(dtype)}))


def header(change: Callable[[dict[str, Any]], object]) -> Attack:
    def changed(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        found = json.loads(data[8 : 8 + length])
        change(found)
        text = json.dumps(found).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return payload(changed)


def replaced(ending: str, data: bytes) -> Attack:
    return lambda files, stem: files.update({stem + ending: data})


def of_another(files: Files, stem: str) -> None:
    """What was measured of another checkpoint."""
    other = stem_of(files, "bert-2")
    for ending in (".json", ".safetensors"):
        files[stem + ending] = files[other + ending]


EITHER: dict[str, tuple[Attack, str]] = {
    "no arrays": (lambda files, stem: files.pop(f"{stem}.safetensors"), "missing"),
    "no spec": (lambda files, stem: files.pop(f"{stem}.json"), "missing"),
    "of another checkpoint": (of_another, "another checkpoint"),
    "another repository": (feature_key(repo_id="you/bert"), "another checkpoint"),
    "a path as repository": (feature_key(repo_id="../../bert"), "another checkpoint"),
    "no spec but HTML": (replaced(".json", b"<script>alert(1)</script>"), "not what a zoo writes"),
    "a symbolic link": (replaced(".json", b"../../../../etc/passwd"), "not what a zoo writes"),
    "a deep spec": (replaced(".json", b"[" * 500_000), "not what a zoo writes"),
    "a large spec": (replaced(".json", b" " * (1 << 20) + b"{}"), "too large"),
    "a large number": (replaced(".json", b'{"record": ' + b"9" * 500_000 + b"}"), "not what a zoo writes"),
    "a spec that is no text": (replaced(".json", b"\xff\xfe\x00{}"), "not what a zoo writes"),
    "a wrong digest": (spec(lambda s: s["arrays"].update(digest="sha256:" + "0" * 64)), "another digest"),
    "no digest": (spec(lambda s: s["arrays"].update(digest="")), "another digest"),
    "other arrays are named": (spec(lambda s: s["arrays"].update(path="../x.safetensors")), "are not these"),
    "HTML and ANSI in its source": (record(source="<img src=x>\x1b[2J"), "another probe"),
    "another width": (record(dimension=10**15), "another size|that wide"),
    "no width": (record(dimension=0, size=0), "no numbers|another size|that wide"),
    "a width below zero": (record(dimension=-16), "no numbers|another size|that wide"),
    "too many empty rows": (record(n_empty=10**9), "more empty rows"),
    "empty rows below zero": (record(n_empty=-1), "more empty rows"),
    "cut off": (payload(lambda data: data[:-5]), "larger, or smaller|whole safetensors"),
    "nothing": (payload(lambda data: b""), "larger, or smaller"),
    "padded": (payload(lambda data: data + b"\0" * 100_000), "larger, or smaller"),
    "padded a little": (payload(lambda data: data + b"\0"), "whole safetensors"),
    "no header": (payload(lambda data: b"\xff" * len(data)), "whole safetensors"),
    "a pickle": (payload(lambda data: (b"\x80\x04cos\nsystem\n" + data)[: len(data)]), "whole safetensors"),
    "another array": (arrays(lambda found: found.update(more=np.zeros(1, "f4"))), "other arrays"),
}
FEATURES: dict[str, tuple[Attack, str]] = {
    **EITHER,
    "another version of the reader": (key(extractor=99), "version of zoo"),
    "another layer": (key(reading={"layer": "1", "pooling": "last"}), "another checkpoint, probe"),
    "a layer that is none": (key(reading={"layer": "\x1b[2J", "pooling": "last"}), "not what a zoo writes"),
    "other rows": (record(n_rows=10**12), "other rows"),
    "half precision": (cast("features", "f2"), "larger, or smaller"),
    "integers": (cast("features", "i4"), "other arrays"),
    "another shape": (arrays(lambda f: f.update(features=f["features"].reshape(16, -1))), "other arrays"),
    "another name": (arrays(lambda f: f.update(feature=f.pop("features"))), "other arrays"),
    "a type that is none": (header(lambda h: h["features"].update(dtype="F8_E4M3")), "whole safetensors"),
    "a huge shape": (header(lambda h: h["features"].update(shape=[2**62, 4])), "whole safetensors"),
    "NaN": (set_all("features", np.nan, 1), "not finite"),
    "infinity": (set_all("features", -np.inf, 1), "not finite"),
    "all the same": (set_all("features", 1.0), "every row of the features is the same"),
}
SIGNATURES: dict[str, tuple[Attack, str]] = {
    **EITHER,
    "another version of the signer": (key(version=99), "version of zoo"),
    "another basis": (key(basis="0" * 64), "basis"),
    "a residual below zero": (record(residual=-0.1), "no length"),
    "a residual that is no number": (record(residual=float("nan")), "no length"),
    "another residual": (record(residual=0.9), "what it leaves out"),
    "NaN": (set_all("vector", np.nan, 1), "not finite"),
    "infinity": (set_all("vector", np.inf, 1), "not finite"),
    "no length": (set_all("vector", 0.0), "unit length"),
    "large": (set_all("vector", 60_000.0), "unit length"),
    "another short form": (set_all("screen", 0.5), "short form"),
    "a short form of NaN": (set_all("screen", np.nan), "short form"),
    "single precision": (cast("vector", "f4"), "larger, or smaller"),
    "no short form": (arrays(lambda found: found.pop("screen")), "larger, or smaller|other arrays"),
}
BATTERY = [("features", name) for name in FEATURES] + [("signatures", name) for name in SIGNATURES]


class Folder:
    """A Hub of one dataset, in a folder, and of checkpoints that are there whatever they are called."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        self.renamed: dict[str, str] = {}
        listed = []
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            listed.append(RepoFile(path, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}"))
        self.listing = Dataset(Revision(REPO, "main", "d" * 40), tuple(listed))

    def repository(self, name: str, revision: str = "main", *, kind: str) -> Dataset:
        return self.listing

    def fetch(
        self, revision: Revision, files: tuple[RepoFile, ...], *, kind: str, advance: Callable[[int], None]
    ) -> Path:
        self.fetched += [file.path for file in files]
        return self.folder

    def checkpoint(self, name: str, revision: str = "main") -> Checkpoint:
        return Checkpoint(Revision(self.renamed.get(name, name), revision, revision), ())


def sharing_of(hub: Folder, folder: Path) -> tuple[Sharing, Store]:
    """A new zoo on a Hub that is a folder."""
    client = cast_to_hub(hub)
    places = Settings(folder / "home", folder / "cache", folder / "hub", device="cpu")
    store = Store(places.home, places.cache)
    probing, signing = measuring(places, store, client, Silent())
    return Sharing(store, probing, signing, lambda: client, Silent()), store


def cast_to_hub(hub: Any) -> Hub:
    found: Hub = hub
    return found


@pytest.fixture(scope="session")
def shared(measured: Path) -> dict[str, Files]:
    """Repositories of signatures and of features, of four checkpoints each."""
    found: dict[str, Files] = {}
    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_TOKEN", raising=False)
        place = place_in(measured, hub)
        for what in get_args(Measured):
            place.push(what, hub, repo_id=f"me/{what}")
            found[what] = hub.files("dataset", f"me/{what}")
    return found


@pytest.mark.parametrize(("what", "name"), BATTERY, ids=lambda value: value.replace(" ", "-"))
def test_what_is_not_what_it_says_is_refused_and_the_others_are_pulled(
    what: Measured, name: str, shared: dict[str, Files], tmp_path: Path
) -> None:
    attack, why = (FEATURES if what == "features" else SIGNATURES)[name]
    files = dict(shared[what])
    attack(files, stem_of(files, "bert-1"))
    sharing, store = sharing_of(Folder(tmp_path / "there", files), tmp_path / "here")
    outcomes = {outcome.name: outcome for outcome in sharing.pull(what, REPO)}
    refused = outcomes["me/bert-1"]
    assert refused.failed
    assert re.search(why, f"{refused.error} {refused.why}"), refused
    assert [name for name, outcome in outcomes.items() if outcome.status == "pulled"] == [
        name for name in MODELS if name != "me/bert-1"
    ]
    assert len(store.checkpoints()) == 3
    assert len(store.all(FeatureSet if what == "features" else SignatureSet)) == 3


@pytest.mark.parametrize(
    "path",
    [
        "signatures/../../../x/{commit}.json",
        "signatures/me/../{commit}.json",
        "signatures//etc/{commit}.json",
        "signatures/me/bert\n/{commit}.json",
        "signatures/a/b/c/{commit}.json",
        "signatures/me/<b>/{commit}.json",
        "signatures/me/bert-1/{commit}.json.pkl",
        "signatures/me/bert-1/main.json",
        "/signatures/me/bert/{commit}.json",
    ],
)
def test_a_path_of_another_form_is_not_followed(path: str, shared: dict[str, Files], tmp_path: Path) -> None:
    files = shared["signatures"]
    hub = Folder(tmp_path / "there", files)
    strange = path.format(commit="e" * 40)
    more = tuple(RepoFile(p, 9, "git:" + "0" * 40) for p in (strange, strange.replace("json", "safetensors")))
    hub.listing = replace(hub.listing, files=hub.listing.files + more)
    sharing, _ = sharing_of(hub, tmp_path / "here")
    assert [outcome.name for outcome in sharing.pull("signatures", REPO)] == list(MODELS)
    assert not {file.path for file in more} & set(hub.fetched)


def test_what_is_too_large_is_not_fetched(shared: dict[str, Files], tmp_path: Path) -> None:
    hub = Folder(tmp_path / "there", shared["features"])
    path = stem_of(shared["features"], "bert-1") + ".safetensors"
    for size in (3 << 30, 10**6):
        listed = tuple(replace(f, size=size) if f.path == path else f for f in hub.listing.files)
        hub.listing = replace(hub.listing, files=listed)
        sharing, store = sharing_of(hub, tmp_path / f"here-{size}")
        failed = [outcome for outcome in sharing.pull("features", REPO) if outcome.failed]
        assert [outcome.name for outcome in failed] == ["me/bert-1"]
        assert path not in hub.fetched
        assert len(store.all(FeatureSet)) == 3


def test_a_checkpoint_of_another_name_is_left_out(shared: dict[str, Files], tmp_path: Path) -> None:
    hub = Folder(tmp_path / "there", shared["signatures"])
    hub.renamed["me/bert-1"] = "me/renamed"
    sharing, store = sharing_of(hub, tmp_path / "here")
    outcomes = sharing.pull("signatures", REPO)
    assert statuses(outcomes) == ["pulled", "failed", "pulled", "pulled"]
    assert "me/renamed" in (outcomes[1].error or "")
    assert len(store.checkpoints()) == len(store.all(SignatureSet)) == 3


def test_a_repository_of_too_many_files_is_refused(
    shared: dict[str, Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_MOST_FILES", 5)
    sharing, _ = sharing_of(Folder(tmp_path / "there", shared["features"]), tmp_path / "here")
    with pytest.raises(UsageError, match="more than 5 files"):
        sharing.pull("features", REPO)


@pytest.fixture(scope="session")
def shared_ground(shared: dict[str, Files]) -> claims.Ground:
    return decode(claims.Ground, shared["features"]["probe.json"])


def ground(**fields: Any) -> Attack:
    """Another probe, of which everything that follows from it is right."""

    def attack(files: Files, stem: str) -> None:
        found = json.loads(files["probe.json"])
        found["probe"].update(fields)
        for name in ("corpus", "reading"):
            found["space"][name] = found["probe"][name]
        files["probe.json"] = json.dumps(found).encode()

    return attack


def space(**fields: Any) -> Attack:
    def attack(files: Files, stem: str) -> None:
        found = json.loads(files["probe.json"])
        found["space"].update(fields)
        files["probe.json"] = json.dumps(found).encode()

    return attack


def basis(change: Attack) -> Attack:
    return lambda files, stem: change(files, "basis")


def other_corpus(found: dict[str, Any]) -> None:
    found["record"]["key"]["space"]["corpus"] = "0" * 64


def rotate(found: dict[str, np.ndarray[Any, Any]]) -> None:
    found["vectors"] = found["vectors"] + np.float32(0.05)


COMMON: dict[str, tuple[Attack, str]] = {
    "HTML as name": (ground(name="<script>"), "name that no zoo writes"),
    "ANSI as name": (ground(name="\x1b[31mred"), "name that no zoo writes"),
    "a path as name": (ground(name="/etc/passwd"), "name that no zoo writes"),
    "an option as name": (ground(name="--help"), "name that no zoo writes"),
    "a corpus that is none": (ground(corpus="none"), "no digest"),
    "no sentences": (ground(lengths=[]), "without words"),
    "a sentence without words": (ground(lengths=[3, 0]), "without words"),
    "a sentence of words below zero": (ground(lengths=[300, -3]), "without words"),
    "a reading of all layers": (ground(reading={"layer": "all", "pooling": "last"}), "how it was read"),
    "a precision that is open": (ground(reading={"pooling": "last", "dtype": "auto"}), "how it was read"),
    "a reading that is none": (ground(reading={"layer": "<b>"}), "not what a zoo writes"),
    "another version of the reader": (space(extractor=99), "another version of zoo"),
    "a probe that is deep": (lambda f, s: f.update({"probe.json": b'{"a":' * 300_000}), "not what a zoo"),
    "no basis": (lambda f, s: f.pop("basis.json"), "missing"),
    "a basis of another probe": (
        basis(spec(lambda s: s["record"]["key"]["space"].update(corpus="0"))),
        "probe",
    ),
    "a basis of many vectors": (basis(record(q=10**9)), "too many vectors"),
    "a basis of no vectors": (basis(record(q=0)), "too many vectors, or none"),
    "a sketch that is huge": (basis(record(t=10**9)), "no such width"),
    "a seed that is none": (basis(record(seed=-1)), "no such seed"),
    "anchors that are none": (basis(record(anchors=["<b>"])), "fitted to no features"),
    "a basis of NaN": (basis(set_all("vectors", np.nan)), "unit length"),
    "a basis of zeros": (basis(set_all("vectors", 0.0)), "orthonormal"),
    "a basis that is not centred": (basis(arrays(rotate)), "orthonormal|centred"),
    "a basis in double precision": (basis(cast("vectors", "f8")), "larger, or smaller"),
    "a signature as basis": (
        lambda f, s: f.update({"basis.json": f[f"{s}.json"]}),
        "something else",
    ),
}


@pytest.mark.parametrize("name", COMMON)
def test_a_probe_or_basis_that_is_not_what_it_says_stops_it_all(
    name: str, shared: dict[str, Files], tmp_path: Path
) -> None:
    attack, why = COMMON[name]
    files = dict(shared["signatures"])
    attack(files, stem_of(files, "bert-1"))
    sharing, store = sharing_of(Folder(tmp_path / "there", files), tmp_path / "here")
    with pytest.raises(ZooError) as refused:
        sharing.pull("signatures", REPO)
    assert isinstance(refused.value, IntegrityError)
    assert re.search(why, f"{refused.value} {refused.value.why}"), refused.value.why
    assert "\x1b" not in f"{refused.value} {refused.value.why}"
    assert store.checkpoints() == ()
    assert store.artefacts() == []


@STEADY
@given(name=st.text(max_size=150))
def test_whatever_a_file_is_called_its_probe_is_shared_under_a_name_that_is_accepted(
    name: str, shared_ground: claims.Ground
) -> None:
    public = claims.probe_name(name, known=False)
    claims.check_ground(replace(shared_ground, probe=replace(shared_ground.probe, name=public)))
    assert public.count("/") == 1


@STEADY
@given(data=st.data())
def test_whatever_bytes_are_changed_only_what_was_shared_is_stored(
    data: st.DataObject, shared: dict[str, Files], tmp_path_factory: pytest.TempPathFactory
) -> None:
    what: Measured = data.draw(st.sampled_from(["signatures", "features"]))
    files = dict(shared[what])
    path = data.draw(st.sampled_from(sorted(files)))
    old = files[path]
    first = data.draw(st.integers(0, min(len(old) - 1, 600)))
    last = first + data.draw(st.integers(0, 12))
    files[path] = old[:first] + data.draw(st.binary(max_size=12)) + old[last:]
    folder = tmp_path_factory.mktemp("changed")
    sharing, store = sharing_of(Folder(folder / "there", files), folder / "here")
    with suppress(ZooError):
        assert len(sharing.pull(what, REPO)) == 4
    kind = FeatureSet if what == "features" else SignatureSet
    originals = {
        hashlib.sha256(data).hexdigest() for path, data in shared[what].items() if path.endswith("tensors")
    }
    for found in store.all(kind):
        assert store.array_file(kind, found.key.digest).sha256 in originals
        assert found.checkpoint in {str(c.revision) for c in store.checkpoints()}
