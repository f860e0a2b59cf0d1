"""Published ensembles at work: they say what training measured, of whatever text, whoever made the files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import LoopbackHub, read_folder
from numpy.typing import NDArray
from safetensors.numpy import load_file, save, save_file
from tiny import TEXT

from tests.reference.examples import STEADY
from zookeeper import Zoo, load_ensemble
from zookeeper.cards import run_file, weights_file, weights_name
from zookeeper.data import target_from_path
from zookeeper.errors import (
    CheckpointError,
    IntegrityError,
    NotFoundError,
    OfflineError,
    UsageError,
    ZooError,
)
from zookeeper.plans import Recipe, Setting
from zookeeper.predicting import Ensemble, published_run
from zookeeper.publications import Prediction
from zookeeper.recipes import recipe_of
from zookeeper.records import Corpus, TargetSource
from zookeeper.results import Run, Trial
from zookeeper.settings import Settings
from zookeeper.tuning import joint

Array = NDArray[Any]
ZERO_WIDTH = "\u200b"
MEMBERS = ("bert", "gpt2")


# Targets and runs, as small as they can be


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def split_of(make: Callable[[str, int], dict[str, Any]]) -> Callable[[Path], str]:
    """A target of three splits, whose rows are made of a sentence and its number."""

    def target(folder: Path) -> str:
        folder.mkdir()
        for split, first, last in (("train", 0, 12), ("validation", 8, 14), ("test", 2, 9)):
            lines(folder / f"{split}.jsonl", [make(TEXT[i], i) for i in range(first, last)])
        return str(folder)

    return target


def question(text: str, number: int) -> dict[str, Any]:
    answer = text.split()[number % 3]
    answers = {"text": [answer], "answer_start": [text.index(answer)]}
    return {"question": "Which one is it ?", "context": text, "answers": answers}


TARGETS = {
    "token-classification": split_of(
        lambda text, i: {"tokens": text.split(), "label": ["X" if len(w) > 4 else "O" for w in text.split()]}
    ),
    "token-regression": split_of(
        lambda text, i: {"tokens": text.split(), "label": [len(w) + 0.5 for w in text.split()]}
    ),
    "question-answering": split_of(question),
    "text-classification": split_of(lambda text, i: {"sentence": text, "label": ("even", "odd")[i % 2]}),
    "text-regression": split_of(lambda text, i: {"sentence": text, "score": 300 + len(text) + i / 7}),
    "text-multilabel": split_of(
        lambda text, i: {"sentence": text, "labels": [["good"], [], ["good", "bad"]][i % 3]}
    ),
    "pair-classification": split_of(
        lambda text, i: {"premise": text, "hypothesis": TEXT[i - i % 2], "label": "yn"[i % 2]}
    ),
    "pair-regression": split_of(
        lambda text, i: {"premise": text, "hypothesis": TEXT[i - 1], "label": len(TEXT[i - 1]) + i / 7}
    ),
}


def quick(name: str = "head", of: str | None = None, **settings: Setting) -> Recipe:
    """A recipe that is over soon, and moves what learns."""
    recipe = recipe_of(name, of)
    fast = {rate: 1e-2 for rate in ("backbone_rate", "adapter_rate") if rate in recipe.settings}
    return replace(recipe.with_settings(fast | settings), epochs=1, micro_batch=256)


@dataclass(frozen=True)
class Shop:
    """A zoo in which ensembles are tuned, and from which they are published.

    Attributes:
        zoo: with a checkpoint of each family.
        folders: of these, by family.
        root: of all files.
    """

    zoo: Zoo
    folders: Mapping[str, Path]
    root: Path

    def target(self, task: str) -> str:
        folder = self.root / task
        return str(folder) if folder.exists() else TARGETS[task](folder)

    def tuned(
        self,
        task: str = "token-classification",
        recipe: Recipe | None = None,
        names: Any = MEMBERS,
        **asked: Any,
    ) -> Run:
        """On a target, measured on its test split."""
        return self.zoo.tune(
            self.target(task), names, recipe=recipe or quick(), **{"seeds": (0,), "test": True, **asked}
        )

    def files(self, run: Run) -> dict[str, bytes]:
        """What is pushed, but for the card."""
        arrays = self.zoo._runner().published(run)
        return {"run.json": run_file(run), weights_name(run): weights_file(run, arrays)}

    def published(self, run: Run, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        for name, data in self.files(run).items():
            (folder / name).write_bytes(data)
        return folder

    def loaded(self, run: Run, folder: Path, **given: Any) -> Ensemble:
        members = {member.name: member.revision.repo_id for member in run.members}
        return load_ensemble(self.published(run, folder), **{"members": members, **given})

    def stored(self, run: Run) -> Mapping[str, Array]:
        return self.zoo.store.arrays(Trial, run.best.key.digest)

    def test_split(self, run: Run) -> Corpus:
        source = TargetSource(name="t", dataset=self.target(run.target.task))
        return target_from_path(source, splits=("train", "validation", "test"))[1]["test"].corpus


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path]) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    zoo = Zoo(root / "home")
    zoo.add([str(folder) for folder in checkpoints.values()])
    return Shop(zoo, checkpoints, root)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads an ensemble has caches of their own."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


# The same outputs


def unscaled(run: Run, outputs: Array, stored: Mapping[str, Array]) -> Array:
    """As they are in training, where numbers have mean 0 and deviation 1."""
    centre, deviation = stored["scale"] if run.target.kind == "numbers" else (0.0, 1.0)
    return np.asarray((outputs.astype(np.float64) - centre) / deviation)


def labels_of(answers: Any) -> list[Any]:
    """Of all predictions, in order."""
    return [one.label for answer in answers for one in (answer if isinstance(answer, tuple) else (answer,))]


RECIPES = {
    "head": quick(),
    "mix": quick(mix=True),
    "full": quick("full"),
    "frozen": quick("full", freeze="2,embeddings", normalize=False),
    "checkpointing": quick("full", checkpointing=True),
    "lora": quick("lora", rank=3),
    "query": quick("lora", modules="query,c_attn"),
    "b-tuning": quick("b-tuning"),
    "late": quick("late"),
    "late heads": quick("late", "head", combine="stacked", mix=True),
    "late adapters": quick("late", "lora", combine="weighted", rank=2),
    "vote": quick("late", "head", combine="vote"),
}


@pytest.mark.parametrize(
    ("task", "name"),
    [
        *(("token-classification", name) for name in RECIPES),
        ("pair-regression", "mix"),
        ("pair-classification", "full"),
        ("text-multilabel", "late heads"),
        ("text-regression", "lora"),
        ("token-regression", "head"),
        ("question-answering", "b-tuning"),
        ("text-classification", "late"),
    ],
)
def test_outputs_are_those_that_training_measured(shop: Shop, tmp_path: Path, task: str, name: str) -> None:
    run = shop.tuned(task, RECIPES[name])
    ensemble, stored, corpus = shop.loaded(run, tmp_path / "e"), shop.stored(run), shop.test_split(run)
    made = ensemble.outputs(corpus)
    assert made.dtype == np.float32
    np.testing.assert_allclose(unscaled(run, made, stored), stored["outputs/test"], rtol=0, atol=1e-5)
    halves = [" ".join(words) for words in corpus.sentences]
    if task.startswith("pair"):
        answers = ensemble.predict(halves[::2], halves[1::2])
    elif task == "question-answering":
        rows = [question(TEXT[i], i) for i in range(2, 9)]
        answers = ensemble.predict([r["question"] for r in rows], [r["context"] for r in rows])
    else:
        answers = ensemble.predict(halves)
    wanted = stored["predictions/test"]
    if task == "question-answering":
        wanted = wanted[stored["labels/test"] >= 0]
    if run.target.kind == "numbers":
        np.testing.assert_allclose(labels_of(answers), wanted, rtol=1e-6)
    elif run.target.kind == "labels":
        names = [tuple(run.target.classes[i] for i in np.flatnonzero(row)) for row in wanted]
        assert labels_of(answers) == names
    else:
        assert labels_of(answers) == [run.target.classes[i] for i in wanted]


@pytest.mark.parametrize("name", ["sequential", "reptile"])
def test_members_that_were_tuned_before_go_on_from_there(shop: Shop, tmp_path: Path, name: str) -> None:
    extra: dict[str, Setting] = {"outer_steps": 1, "inner_steps": 1} if name == "reptile" else {}
    recipe = quick(name, **extra)
    run = shop.tuned(recipe=recipe, names=("bert",), through=(shop.target("text-classification"),))
    ensemble = shop.loaded(run, tmp_path / "e")
    made = ensemble.outputs(shop.test_split(run))
    np.testing.assert_allclose(made, shop.stored(run)["outputs/test"], rtol=0, atol=1e-5)


def test_the_best_seed_on_all_of_the_data_is_what_is_served(shop: Shop, tmp_path: Path) -> None:
    run = shop.tuned(seeds=(3, 4), fractions=(0.5, 1.0))
    made = shop.loaded(run, tmp_path / "e").outputs(shop.test_split(run))
    np.testing.assert_allclose(made, shop.stored(run)["outputs/test"], rtol=0, atol=1e-5)


# Texts


@pytest.fixture(scope="module")
def words(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    run = shop.tuned(recipe=quick("full"), names=("bert", "roberta"))
    return shop.loaded(run, tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def texts(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return shop.loaded(shop.tuned("text-classification"), tmp_path_factory.mktemp("texts"))


def test_every_word_has_a_label_and_its_probability(words: Ensemble) -> None:
    found = words("The cat sat on the mat .")
    assert isinstance(found, tuple)
    assert [one.text for one in found] == ["The", "cat", "sat", "on", "the", "mat", "."]
    assert {one.label for one in found} <= {*words.classes} == {"O", "X"}
    assert all(one.probability is not None and 0.5 <= one.probability <= 1 for one in found)
    assert found == words(["The", "cat", "sat", "on", "the", "mat", "."])


def test_words_are_taken_as_they_are(words: Ensemble) -> None:
    found = words(["New York", "", "!"])
    assert isinstance(found, tuple)
    assert [one.text for one in found] == ["New York", "", "!"]


def test_a_text_has_one_prediction(texts: Ensemble) -> None:
    found = texts("The cat sat on the mat .")
    assert isinstance(found, Prediction)
    assert found.text == "The cat sat on the mat ."
    assert found.label in texts.classes == ("even", "odd")


def test_a_pair_has_one_prediction(shop: Shop, tmp_path: Path) -> None:
    ensemble = shop.loaded(shop.tuned("pair-classification"), tmp_path / "e")
    found = ensemble("A cat sits .", "An animal sits .")
    assert isinstance(found, Prediction)
    assert found.text == "A cat sits .\tAn animal sits ."
    with pytest.raises(UsageError, match="takes two texts"):
        ensemble("one")
    with pytest.raises(UsageError, match="do not make pairs"):
        ensemble.predict(["one"], ["two", "three"])


def test_a_question_labels_the_words_of_its_context(shop: Shop, tmp_path: Path) -> None:
    ensemble = shop.loaded(shop.tuned("question-answering"), tmp_path / "e")
    found = ensemble("Who sat ?", "The cat sat .")
    assert isinstance(found, tuple)
    assert [one.text for one in found] == ["The", "cat", "sat", "."]
    outputs = ensemble.outputs(Corpus((("Who", "sat", "?", "The", "cat", "sat", "."),), "word"))[3:]
    assert [one.label for one in found] == [ensemble.classes[i] for i in outputs.argmax(axis=1)]


def test_numbers_are_in_the_unit_of_the_target(shop: Shop, tmp_path: Path) -> None:
    ensemble = shop.loaded(shop.tuned("text-regression", quick("full")), tmp_path / "e")
    found = ensemble(TEXT[0])
    assert isinstance(found, Prediction)
    assert isinstance(found.label, float)
    assert 300 < found.label < 500
    assert found.probability is None
    assert ensemble.classes == ()


def test_one_text_says_the_same_alone_as_among_others(words: Ensemble, texts: Ensemble) -> None:
    odd = ["", ZERO_WIDTH, "zoo", "Ζωολογικός κήπος 動物園 حديقة 👩\u200d👧 ไม้", " ".join(TEXT), *TEXT[:3]]
    for ensemble in (words, texts):
        together = ensemble.predict(odd)
        for text, one in zip(odd, together, strict=True):
            alone = ensemble(text)
            assert labels_of([alone]) == labels_of([one])
    assert words("") == words([]) == ()


def test_thousands_of_words_are_read_in_windows(words: Ensemble) -> None:
    found = words(" ".join(TEXT) * 20)
    assert isinstance(found, tuple)
    assert len(found) > 3000
    assert {one.label for one in found} == {"O", "X"}


def test_no_texts_have_no_predictions(words: Ensemble, texts: Ensemble) -> None:
    assert words.predict([]) == texts.predict([]) == []
    assert words.outputs(Corpus((), "word")).shape == (0, 2)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda words, texts: words("one", "two"), "takes one text"),
        (lambda words, texts: words.predict("one text"), "several texts"),
        (lambda words, texts: words.predict(None), "several texts"),
        (lambda words, texts: words(7), "neither a text nor"),
        (lambda words, texts: words(b"bytes"), "neither a text nor"),
        (lambda words, texts: words([["nested"]]), "neither a text nor"),
        (lambda words, texts: texts(["two texts", "in a list"]), "takes texts"),
        (lambda words, texts: texts(None), "takes texts"),
        (lambda words, texts: words.outputs(Corpus((("a",),), "sentence")), "words here"),
    ],
)
def test_what_is_no_text_is_refused_in_words(
    words: Ensemble, texts: Ensemble, ask: Callable[[Any, Any], object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        ask(words, texts)


# From the Hub


@pytest.fixture(scope="module")
def bought(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, bytes]]:
    """An ensemble of two members of the Hub, and its files."""
    root = tmp_path_factory.mktemp("bought")
    with LoopbackHub() as hub:
        with_members(hub, shop)
        places = Settings(root / "home", root / "cache", root / "hub", endpoint=hub.url, device="cpu")
        zoo = Zoo(settings=places)
        zoo.add([f"org/{family}" for family in MEMBERS])
        there = replace(shop, zoo=zoo)
        run = there.tuned()
        return run, there.files(run)


def with_members(hub: LoopbackHub, shop: Shop) -> None:
    for family in MEMBERS:
        hub.add("model", f"org/{family}", read_folder(shop.folders[family]))


@pytest.fixture
def pushed(shop: Shop, hub: LoopbackHub, bought: tuple[Run, dict[str, bytes]]) -> Run:
    """That ensemble, on the Hub."""
    run, files = bought
    with_members(hub, shop)
    hub.add("model", "me/zoo2", {"README.md": b"# Zoo", **files})
    return run


def downloads(hub: LoopbackHub) -> list[str]:
    return [
        request.path for request in hub.requests if request.method == "GET" and "/resolve/" in request.path
    ]


def test_a_pushed_ensemble_is_loaded_by_name(pushed: Run, hub: LoopbackHub) -> None:
    for family in MEMBERS:  # members are read as they were, not as they are
        hub.commit("model", f"org/{family}", {"model.safetensors": b"", "config.json": b"{}"})
    found = load_ensemble("me/zoo2")("The cat sat on the mat .")
    assert isinstance(found, tuple)
    assert {one.label for one in found} <= {"O", "X"}
    members = {member.revision.commit for member in pushed.members}
    assert {path.split("/")[4] for path in downloads(hub) if path.startswith("/org")} == members
    assert not any("README" in path for path in downloads(hub))
    assert (
        load_ensemble("me/zoo2").run
        == published_run("me/zoo2")
        == load_ensemble(f"me/zoo2@{hub.sha('model', 'me/zoo2')}").run
    )


def test_what_is_there_is_not_asked_for_again(
    pushed: Run, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.sha("model", "me/zoo2")
    before = load_ensemble("me/zoo2")(TEXT[0])
    hub.clear()
    assert load_ensemble("me/zoo2", revision=commit)(TEXT[0]) == before
    assert hub.requests == []
    hub.commit("model", "me/zoo2", {"run.json": b"{}"})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("me/zoo2", f"me/zoo2@{commit}"):
        assert load_ensemble(name)(TEXT[0]) == before
    with pytest.raises(OfflineError):
        load_ensemble("me/other")
    assert hub.requests == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(IntegrityError, match="no record"):
        load_ensemble("me/zoo2")


def test_a_member_that_vanished_is_named(pushed: Run, hub: LoopbackHub) -> None:
    hub.fail(404, "org/gpt2", times=None, headers={"X-Error-Code": "RepoNotFound"})
    with pytest.raises(NotFoundError, match="org/gpt2"):
        load_ensemble("me/zoo2")


def test_a_member_of_other_bytes_is_refused(pushed: Run, hub: LoopbackHub) -> None:
    hub.fail(200, "org/bert/resolve/.*config.json", method="GET", times=None, body=b"{}")
    with pytest.raises(ZooError):
        load_ensemble("me/zoo2")


def test_an_ensemble_that_is_not_there_is_missed(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("model", "me/empty", {"README.md": b""})
    for name in ("me/none", "me/empty", tmp_path / "none"):
        with pytest.raises(NotFoundError):
            load_ensemble(name)


# Members in folders


def test_members_in_folders_are_asked_for_and_looked_at(shop: Shop, tmp_path: Path) -> None:
    run = shop.tuned()
    folder = shop.published(run, tmp_path / "e")
    with pytest.raises(UsageError, match="bert was a folder") as missing:
        load_ensemble(folder)
    assert 'members={"bert": FOLDER}' in str(missing.value.fix)
    right = {name: shop.folders[name] for name in MEMBERS}
    with pytest.raises(IntegrityError, match="is not the member bert"):
        load_ensemble(folder, members=right | {"bert": shop.folders["roberta"]})
    with pytest.raises(UsageError, match="no member of it is a folder called llama"):
        load_ensemble(folder, members=right | {"llama": shop.folders["llama"]})
    with pytest.raises(NotFoundError):
        load_ensemble(folder, members=right | {"bert": tmp_path / "none"})
    changed = shutil.copytree(shop.folders["bert"], tmp_path / "bert")
    arrays = load_file(changed / "model.safetensors")
    save_file(
        {name: array + 1 for name, array in arrays.items()}, changed / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(IntegrityError, match="is not the member bert"):
        load_ensemble(folder, members=right | {"bert": changed})


def test_a_member_that_is_replaced_while_it_is_loaded_is_refused(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = shop.published(shop.tuned(), tmp_path / "e")
    mine = shutil.copytree(shop.folders["bert"], tmp_path / "bert")
    weights, load = mine / "model.safetensors", joint.load

    def late(*args: Any, **options: Any) -> Any:
        aside = shutil.copy(weights, tmp_path / "aside")
        Path(aside).replace(weights)
        return load(*args, **options)

    monkeypatch.setattr(joint, "load", late)
    with pytest.raises(IntegrityError, match="changed while it was read"):
        load_ensemble(published, members={name: shop.folders[name] for name in MEMBERS} | {"bert": mine})


# Files of strangers


@pytest.fixture(scope="module")
def published(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ensembles in folders, by recipe."""
    made = {}
    for name in ("head", "lora", "late heads"):
        made[name] = shop.published(shop.tuned(recipe=RECIPES[name]), tmp_path_factory.mktemp("p") / "e")
    return made


@dataclass
class Stranger:
    """Changes a published ensemble, and tries to load it."""

    shop: Shop
    folder: Path
    copy: Path

    @property
    def weights(self) -> Path:
        (path,) = self.folder.glob("*.safetensors")
        return self.copy / path.name

    def with_record(self, change: Callable[[Any], Any]) -> Stranger:
        record = json.loads((self.folder / "run.json").read_bytes())
        changed = change(record)
        (self.copy / "run.json").write_text(json.dumps(record if changed is None else changed))
        return self

    def with_arrays(self, change: Callable[[dict[str, Array]], Any]) -> Stranger:
        arrays = load_file(self.folder / self.weights.name)
        change(arrays)
        self.weights.write_bytes(save(arrays, metadata=self.header["__metadata__"]))
        return self

    def with_header(self, header: Any) -> Stranger:
        changed = header if isinstance(header, bytes) else json.dumps(header).encode()
        raw = (self.folder / self.weights.name).read_bytes()
        rest = raw[8 + int.from_bytes(raw[:8], "little") :]
        self.weights.write_bytes(len(changed).to_bytes(8, "little") + changed + rest)
        return self

    @property
    def header(self) -> Any:
        raw = (self.folder / self.weights.name).read_bytes()
        return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])

    def load(self) -> Ensemble:
        return load_ensemble(self.copy, members={name: self.shop.folders[name] for name in MEMBERS})


@pytest.fixture
def stranger(shop: Shop, published: dict[str, Path], tmp_path: Path) -> Callable[[str], Stranger]:
    def make(name: str = "head") -> Stranger:
        return Stranger(
            shop, published[name], Path(shutil.copytree(published[name], tmp_path / name, dirs_exist_ok=True))
        )

    return make


def in_best(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Changes the recipe of the trial."""
    return lambda record: change(record["trials"][0]["key"]["recipe"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: [], "no record"),
        (lambda r: r.update(members=10**9), "no record"),
        (lambda r: r.update(trials=[]), "contradicts"),
        (lambda r: r["trials"][0]["key"].update(fraction=float("nan")), "contradicts"),
        (lambda r: r.update(members=r["members"] * 10_000), "20,000 members"),
        (lambda r: r["members"].reverse(), "other members"),
        (lambda r: r["members"][0]["revision"].update(commit="main"), "no record"),
        (lambda r: r["target"].update(classes=[]), "classes"),
        (lambda r: r["target"].update(classes=["only"]), "2 outputs"),
        (lambda r: r["target"].update(task="text-regression"), "classes"),
        (lambda r: r.update(id="f" * 12), "another run"),
        (lambda r: r.update(id="../../somewhere"), "no id of a run"),
        (lambda r: r.update(id="/somewhere"), "no id of a run"),
        (in_best(lambda r: r.update(name="../../etc")), "cannot be served"),
        (in_best(lambda r: r.update(name="centroid")), "cannot be served"),
        (in_best(lambda r: r["settings"].update(rank=3)), "no setting"),
        (in_best(lambda r: r["settings"].update(mix="yes")), "mix is"),
        (in_best(lambda r: r["settings"].update(mix=True)), "does not fit"),
        (in_best(lambda r: r["reading"].update(layer="7")), "no layer 7"),
        (in_best(lambda r: r["reading"].update(layer="9" * 5000)), ""),
        (in_best(lambda r: r["reading"].update(max_length=-5)), "room"),
    ],
)
def test_a_record_of_somebody_else_is_not_believed(
    stranger: Callable[..., Stranger], change: Callable[[Any], Any], says: str
) -> None:
    with pytest.raises(ZooError) as refused:
        stranger().with_record(change).load()
    assert says in f"{refused.value.message} {refused.value.why}"


@pytest.mark.parametrize(
    "repo_id", ["../../../etc", "/etc", "a/../b", "a b", "https://x/y", "o/\x1b[31mred", "", "org/a/b"]
)
def test_names_of_members_lead_nowhere_else(
    stranger: Callable[..., Stranger], hub: LoopbackHub, repo_id: str
) -> None:
    def change(record: Any) -> None:
        revision = record["members"][0]["revision"] | {"repo_id": repo_id}
        record["members"][0] |= {"revision": revision, "name": repo_id}
        record["trials"][0]["key"]["members"][0] = f"{repo_id}@{revision['commit']}"

    with pytest.raises((UsageError, IntegrityError)) as refused:
        stranger().with_record(change).load()
    assert "\x1b" not in f"{refused.value.message} {refused.value.why} {refused.value.fix}"
    assert hub.requests == []


@pytest.mark.parametrize("metric", ["./mine.py", "-/tmp/mine.py:loss", "bob/metric", "a/b?x=1", "~/m", ""])
def test_no_record_of_somebody_else_names_a_script_to_run(
    stranger: Callable[..., Stranger], metric: str
) -> None:
    def change(record: Any) -> None:
        record["request"]["metric"] = metric

    asked = stranger().with_record(change)
    with pytest.raises(UsageError, match="its metric is a script"):
        published_run(asked.copy)


@pytest.mark.parametrize("metric", ["accuracy", "-mse", "f1?average=macro", "seqeval:overall_f1"])
def test_metrics_that_evaluate_publishes_are_no_strangers(
    stranger: Callable[..., Stranger], metric: str
) -> None:
    def change(record: Any) -> None:
        record["request"]["metric"] = metric

    assert published_run(stranger().with_record(change).copy).request is not None


@pytest.mark.parametrize("rank", [4, 10**9, 10**30])
def test_adapters_take_no_more_memory_than_they_have_values(
    stranger: Callable[..., Stranger], rank: int
) -> None:
    with pytest.raises((UsageError, CheckpointError)):
        stranger("lora").with_record(in_best(lambda r: r["settings"].update(rank=rank))).load()


def drop(name: str) -> Callable[[dict[str, Array]], Any]:
    return lambda arrays: arrays.pop(name)


def put(name: str, array: Array) -> Callable[[dict[str, Array]], Any]:
    return lambda arrays: arrays.update({name: array})


@pytest.mark.parametrize(
    ("recipe", "change"),
    [
        ("head", drop("head.weight")),
        ("head", drop("head.bias")),
        ("head", put("head.weight", np.full((2, 40), np.nan, np.float32))),
        ("head", put("head.weight", np.zeros((2, 39), np.float32))),
        ("head", put("head.weight", np.zeros((3, 40), np.float32))),
        ("head", put("head.weight", np.zeros((0, 40), np.float32))),
        ("head", put("head.weight", np.zeros(80, np.float32))),
        ("head", put("head.weight", np.zeros((2, 40), np.int8))),
        ("head", put("head.bias", np.zeros(3, np.float32))),
        ("head", put("../../etc", np.zeros(3, np.float32))),
        ("head", put("scale", np.array([0.0, 0.0]))),
        ("lora", drop("head.bias")),
        ("lora", put("5.weight", np.zeros(3, np.float32))),
        (
            "late heads",
            lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("members/")],
        ),
        ("late heads", drop("members/1/head.bias")),
        ("late heads", put("members/7/head.bias", np.zeros(2, np.float32))),
        ("late heads", drop("temperatures")),
        ("late heads", put("temperatures", np.zeros(2))),
        ("late heads", put("answers", np.array([0, 9]))),
        ("late heads", put("coefficients", np.zeros((4, 3)))),
    ],
)
def test_arrays_of_somebody_else_are_looked_at(
    stranger: Callable[..., Stranger], recipe: str, change: Callable[[dict[str, Array]], Any]
) -> None:
    with pytest.raises(ZooError) as refused:
        stranger(recipe).with_arrays(change).load()
    assert refused.value.message


@pytest.mark.parametrize(
    ("about", "says"),
    [('{"run": "000000000000"}', "another run"), ('{"seed": 9}', "another run"), ("[" * 10**5, "damaged")],
)
def test_weights_of_another_run_are_refused(stranger: Callable[..., Stranger], about: str, says: str) -> None:
    one = stranger()
    with pytest.raises(IntegrityError, match=says):
        one.with_header(one.header | {"__metadata__": {"zookeeper": about}}).load()


def test_adapters_that_are_missing_are_named(stranger: Callable[..., Stranger]) -> None:
    def change(arrays: dict[str, Array]) -> None:
        arrays.pop(next(name for name in arrays if "lora_B" in name))

    with pytest.raises(UsageError) as refused:
        stranger("lora").with_arrays(change).load()
    assert "lora_B" in str(refused.value.why)


def test_a_record_of_any_size_is_not_read(stranger: Callable[..., Stranger]) -> None:
    one = stranger()
    with (one.copy / "run.json").open("ab") as file:
        file.truncate(2**30)
    with pytest.raises(IntegrityError, match="bytes"):
        one.load()


def test_files_that_end_early_are_damaged(stranger: Callable[..., Stranger]) -> None:
    one = stranger()
    for name in ("run.json", one.weights.name):
        whole = (one.copy / name).read_bytes()
        for size in (0, 7, 9, len(whole) // 2, len(whole) - 2):
            (one.copy / name).write_bytes(whole[:size])
            with pytest.raises(IntegrityError):
                one.load()
        (one.copy / name).write_bytes(whole)
    assert one.load()("The cat sat .")


def test_names_of_classes_do_nothing_but_show(stranger: Callable[..., Stranger]) -> None:
    one = stranger().with_record(lambda r: r["target"].update(classes=["\x1b[31mO", "X\n\u202e"]))
    found = one.load()(TEXT[0])
    assert isinstance(found, tuple)
    assert {str(word.label) for word in found} <= {r"\x1b[31mO", r"X\n\u202e"}


def _mutated(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON with something in it that is something else."""
    junk = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from([[], {}, "../..", "all", 10**400, "\x1b[2J"]),
    )
    if isinstance(value, dict) and value and draw(st.integers(0, 7)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 5)):
            return {name: one for name, one in value.items() if name != key}
        return value | {key: _mutated(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 7)):
        number = draw(st.integers(0, len(value) - 1))
        return [*value[:number], _mutated(draw, value[number]), *value[number + 1 :]]
    return draw(junk)


@STEADY
@given(
    data=st.data(),
    recipe=st.sampled_from(["head", "lora", "late heads"]),
    of=st.sampled_from(["record", "weights"]),
)
def test_whatever_a_stranger_writes_it_loads_or_is_refused(
    shop: Shop,
    published: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    recipe: str,
    of: str,
) -> None:
    copy = tmp_path_factory.mktemp("stranger") / "e"
    one = Stranger(shop, published[recipe], Path(shutil.copytree(published[recipe], copy)))
    if of == "record":
        one.with_record(lambda record: data.draw(st.composite(_mutated)(record)))
    else:
        one.with_header(data.draw(st.composite(_mutated)(one.header)))
    with suppress(ZooError):
        found = one.load()("The cat sat .")
        assert isinstance(found, Prediction | tuple)


# Around it


def test_importing_zookeeper_imports_nothing_slow() -> None:
    slow = ["torch", "transformers", "datasets", "huggingface_hub", "jinja2", "matplotlib", "sklearn"]
    code = f"import sys, zookeeper; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
