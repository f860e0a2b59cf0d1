"""What a user may call a checkpoint, and what a name stands for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from zookeeper.collection import Collection, Names, distinct_names, parse
from zookeeper.errors import EmptyZooError, NotFoundError, UsageError
from zookeeper.records import Checkpoint, Reading, Revision, Target
from zookeeper.results import Estimate, Pick, Ranking, Score, Selection
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.zoo import Zoo

ONE, TWO, THREE = ("1" * 40, "2" * 40, "1a" + "3" * 38)


def checkpoint(
    repo_id: str, commit: str = ONE, asked: str = "main", aliases: tuple[str, ...] = ()
) -> Checkpoint:
    return Checkpoint(Revision(repo_id, asked, commit), files=(), aliases=aliases)


BERT = checkpoint("google-bert/bert-base", aliases=("bert-base",))
COPY = checkpoint("somebody/bert-base")
GPT = checkpoint("openai/gpt2")
GPT_OLD = checkpoint("openai/gpt2", TWO, "v1.0")
GPT_OTHER = checkpoint("openai/gpt2", THREE, "refs/pr/1")
T5 = checkpoint("t5-small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("collection") / "models" / "mine"
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def pattern(folder: Path) -> Path:
    home = folder.parents[1] / "home"
    store = Store(home, home / "cache")
    for one in (BERT, COPY, GPT, GPT_OLD, GPT_OTHER, T5, checkpoint(str(folder), asked="folder")):
        store.add(one)
    return home


@pytest.fixture
def store(pattern: Path, tmp_path: Path) -> Store:
    home = Path(shutil.copytree(pattern, tmp_path / "home"))
    return Store(home, home / "cache")


@pytest.fixture
def collection(store: Store) -> Collection:
    return Collection(store)


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("google-bert/bert-base", BERT),
        ("hf://google-bert/bert-base", BERT),
        ("bert-base", BERT),
        ("somebody/bert-base", COPY),
        ("t5-small", T5),
        ("t5-small@main", T5),
        ("gpt2@main", GPT),
        ("openai/gpt2@v1.0", GPT_OLD),
        ("gpt2@v1.0", GPT_OLD),
        ("gpt2@refs/pr/1", GPT_OTHER),
        (f"openai/gpt2@{TWO}", GPT_OLD),
        ("gpt2@2222222", GPT_OLD),
        ("gpt2@1a3", GPT_OTHER),
    ],
)
def test_a_checkpoint_goes_by_id_alias_last_part_and_revision(
    collection: Collection, name: str, meant: Checkpoint
) -> None:
    assert collection.find(name) == meant


def test_a_folder_goes_by_any_path_to_it_and_by_its_name(
    collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for name in ("mine", "./mine", "./mine/", "../models/mine", str(folder), f"./mine@{ONE[:8]}"):
        assert collection.find(name).revision.repo_id == str(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert collection.find("~/mine").revision.repo_id == str(folder)


def test_a_link_to_a_folder_is_that_folder(collection: Collection, folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert collection.find(str(link)).revision.repo_id == str(folder)


def test_a_folder_with_an_at_in_its_name_is_found(store: Store, tmp_path: Path) -> None:
    odd = tmp_path / "mine@home"
    odd.mkdir()
    store.add(checkpoint(str(odd), asked="folder"))
    for name in (str(odd), f"{odd}@{ONE}"):
        assert Collection(store).find(name).revision.repo_id == str(odd)


def test_an_ambiguous_name_lists_what_it_fits(collection: Collection) -> None:
    with pytest.raises(UsageError, match="fits 3") as caught:
        collection.find("gpt2")
    assert str(caught.value.why).count("openai/gpt2@") == 3
    for commit in (ONE, TWO, THREE):
        assert commit[:8] in str(caught.value.why)


def test_what_is_gone_is_not_found_and_what_it_stood_beside_is() -> None:
    names = Names([BERT, COPY, GPT, GPT_OLD])
    names.forget(GPT)
    names.forget(BERT)
    assert names.find("gpt2") == GPT_OLD
    assert names.find("bert-base") == COPY
    with pytest.raises(NotFoundError):
        names.find("google-bert/bert-base")


def test_what_there_is_of_many_is_looked_up_once_to_remove_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = Zoo(settings=Settings(store.home, store.cache, store.cache / "hub"))
    looked: list[type] = []

    def noted(kind: type) -> tuple[()]:
        looked.append(kind)
        return ()

    monkeypatch.setattr(zoo.store, "all", noted)
    removed = zoo.remove(["bert-base", "t5-small", "gpt2@v1.0", "t5-small"])
    assert [outcome.status for outcome in removed] == ["removed"] * 3 + ["failed"]
    assert len(looked) == len(set(looked))


def test_a_commit_prefix_may_be_ambiguous_too(collection: Collection) -> None:
    with pytest.raises(UsageError, match="fits 2"):
        collection.find("gpt2@1")


def test_what_the_error_suggests_is_understood(collection: Collection) -> None:
    with pytest.raises(UsageError) as caught:
        collection.find("gpt2")
    for suggested in str(caught.value.why).split(", "):
        assert suggested.startswith(f"openai/gpt2@{collection.find(suggested).revision.commit[:8]}")


@pytest.mark.parametrize(
    "name", ["gpt3", "base", "gpt2@main2", "t5-small@v1.0", "./mine-not", "org/t5-small"]
)
def test_an_unknown_name_says_how_to_add_it(collection: Collection, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        collection.find(name)
    assert caught.value.fix == f"zoo add {name}"


@pytest.mark.parametrize("name", ["", "@main", "hf://"])
def test_a_name_of_nothing_is_refused(collection: Collection, name: str) -> None:
    with pytest.raises(UsageError):
        collection.find(name)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("org/repo", ("org/repo", "main")),
        ("org/repo@", ("org/repo", "main")),
        ("hf://org/repo@v1", ("org/repo", "v1")),
        ("./folder", ("./folder", "main")),
        ("./a@b/folder@cafe", ("./a@b/folder", "cafe")),
        ("./folder@v1", ("./folder@v1", "main")),
    ],
)
def test_names_are_taken_apart(text: str, meant: tuple[str, str]) -> None:
    assert parse(text) == meant


# Several


def test_without_names_all_are_meant(collection: Collection) -> None:
    assert len(collection.chosen([])) == 7


def test_each_is_chosen_once_in_the_order_of_the_names(collection: Collection) -> None:
    assert collection.chosen(["t5-small", "bert-base", "t5-small@main"]) == [T5, BERT]


def test_an_empty_zoo_says_how_to_begin(tmp_path: Path) -> None:
    collection = Collection(Store(tmp_path / "home", tmp_path / "cache"))
    for names in ([], ["bert-base"]):
        with pytest.raises(EmptyZooError) as caught:
            collection.chosen(names)
        assert "zoo add" in str(caught.value.fix)


def test_checkpoints_with_the_same_last_part_are_told_apart() -> None:
    assert distinct_names([BERT, COPY]) == ("google-bert/bert-base", "somebody/bert-base")
    assert distinct_names([GPT, T5, GPT_OLD]) == ("openai/gpt2@11111111", "t5-small", "openai/gpt2@22222222")


# Groups


def remember(store: Store, *chosen: Checkpoint) -> None:
    picks = tuple(Pick(c.name, gain=1.0, total=1.0, revision=c.revision) for c in chosen)
    store.save_note("selection", Selection(picks, start="mi", n_checkpoints=7))
    target = Target("t", "t", ONE, None, "token-classification", "tokens", "label", ("a", "b"), {}, {}, "f")
    scores = tuple(
        Score(c.name, c.revision, {"logme": Estimate(1.0)}, "mean", 8, 90, "e" * 64) for c in chosen
    )
    store.save_note("ranking", Ranking(target, "train", "logme", "mean", Reading(), scores))


@pytest.mark.parametrize("group", ["@selection", "@ranking"])
def test_a_group_stands_for_the_latest(collection: Collection, store: Store, group: str) -> None:
    remember(store, T5, GPT_OLD)
    assert collection.chosen([group]) == [T5, GPT_OLD]
    remember(store, COPY, GPT, BERT)
    assert collection.chosen([group]) == [COPY, GPT, BERT]
    assert collection.chosen([f"{group}:2"]) == [COPY, GPT]
    assert collection.chosen([f"{group}:9"]) == [COPY, GPT, BERT]
    assert collection.chosen(["bert-base", f"{group}:1", "t5-small"]) == [BERT, COPY, T5]


@pytest.mark.parametrize(("group", "command"), [("@selection", "zoo select"), ("@ranking:3", "zoo rank")])
def test_a_group_that_is_not_there_yet_says_how_to_make_it(
    collection: Collection, group: str, command: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        collection.chosen([group])
    assert str(caught.value.fix).startswith(command)


@pytest.mark.parametrize(
    "group", ["@best", "@ranking:x", "@ranking:0", "@ranking:-1", "@ranking:²", "@ranking:1.5"]
)
def test_other_groups_are_refused(collection: Collection, store: Store, group: str) -> None:
    remember(store, T5)
    with pytest.raises(UsageError) as caught:
        collection.chosen([group])
    assert "@ranking:3" in str(caught.value.fix)


def test_a_group_with_a_checkpoint_that_was_removed_says_which(collection: Collection, store: Store) -> None:
    remember(store, T5, GPT)
    store.remove(GPT.revision)
    with pytest.raises(NotFoundError, match="openai/gpt2"):
        collection.chosen(["@selection"])


def test_a_newer_alias_is_understood_at_once(collection: Collection, store: Store) -> None:
    store.add(replace(T5, aliases=("google-t5/t5-small",)))
    assert collection.find("google-t5/t5-small").name == "t5-small"


def test_a_name_of_several_lines_is_said_on_one(tmp_path: Path) -> None:
    said: list[str] = []
    store = Store(tmp_path / "home", tmp_path / "cache")
    store.add(replace(checkpoint("/home/me/two\nlines", asked="folder"), problem="it is\nempty"))
    store.add(GPT)
    Collection(store, note=said.append).chosen(())
    assert len(said) == 1
    assert "\n" not in said[0]
