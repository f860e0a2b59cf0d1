"""Cards say what was measured, to the Hub and to people, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from zookeeper.cards import head_file, publishable, render, run_file
from zookeeper.plain import decode
from zookeeper.records import Reading, Recipe, Revision, Target
from zookeeper.results import Epoch, EvalCard, Member, Run

CARDS = Path(__file__).parents[1] / "cards"

TARGET = Target(
    name="conll2000",
    dataset="eriktks/conll2000",
    commit="c" * 40,
    config="conll2000",
    task="token-classification",
    text_column="tokens",
    label_column="chunk_tags",
    classes=("O", "B-NP", "I-NP"),
    examples={"train": 8936, "test": 2012},
    rows={"train": 211727, "test": 47377},
    available={"train": 8936, "test": 2012},
    fingerprint="f" * 64,
)

RUN = Run(
    id="0123456789ab",
    target=TARGET,
    members=(
        Member(
            "FacebookAI/roberta-base",
            Revision("FacebookAI/roberta-base", "main", "a" * 40),
            768,
            124_645_632,
            "mit",
        ),
        Member("mine", Revision("/home/somebody/secret/mine", "folder", "b" * 40), 128),
    ),
    recipe=Recipe(reading=Reading(pooling="last")),
    seed=7,
    processes=1,
    metric="span_f1",
    history=(Epoch(0, None, 0.1), Epoch(1, 0.5, 0.8), Epoch(2, 0.4, 0.79)),
    best_epoch=1,
    results={"validation": 0.8, "test": 0.75},
    held_out=894,
    command="zoo --zoo=/home/somebody/z tune -t conll2000 ~somebody/secret/mine @selection --test",
    versions={"python": "3.11.7", "hf-zoo": "0.1.0"},
    device="cpu (x86_64)",
    seconds=12.3,
    created_at="2026-11-20T18:00:00Z",
)


@pytest.mark.parametrize("path", sorted(CARDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_published_card_is_what_its_record_makes(path: Path) -> None:
    card = decode(EvalCard, path.read_bytes())
    assert render(card) == path.with_suffix(".md").read_text(encoding="utf-8")


def test_there_are_published_cards() -> None:
    assert {path.stem for path in CARDS.glob("*.json")} == {path.stem for path in CARDS.glob("*.md")} != set()


def test_the_hub_can_read_what_was_measured() -> None:
    data = ModelCard(render(EvalCard(RUN, "conll-zoo"))).data
    assert data.base_model == ["FacebookAI/roberta-base"]
    assert data.base_model_relation == "finetune"
    assert data.datasets == ["eriktks/conll2000"]
    assert "zookeeper" in data.tags
    test = next(result for result in data.eval_results if result.dataset_split == "test")
    assert (test.metric_type, test.metric_value) == ("f1", 0.75)
    assert (test.dataset_revision, test.dataset_config) == ("c" * 40, "conll2000")


def test_people_can_read_how_it_was_made() -> None:
    text = render(EvalCard(RUN, "conll-zoo"))
    for fact in (
        "a" * 40,
        "b" * 40,
        RUN.id,
        "zoo --zoo=./z tune -t conll2000 ./mine @selection --test",
        "seed 7",
        TARGET.fingerprint,
        "0.7500",
        "894",
        "mit",
    ):
        assert fact in text, fact
    for placeholder in ("TODO", "[More Information Needed]", "None", "nan", "{{", "undefined"):
        assert placeholder not in text, placeholder


def test_a_sample_is_not_called_the_split() -> None:
    drawn = replace(RUN, target=replace(TARGET, examples={"train": 50, "test": 20}))
    text = render(EvalCard(drawn, "conll-zoo"))
    assert "20 of 2,012 sentences of test" in text
    splits = [result.dataset_split for result in ModelCard(text).data.eval_results]
    assert splits == ["train[50 of 8936] (held-out part)", "test[20 of 2012]"]


def test_foreign_text_is_only_text() -> None:
    target = replace(TARGET, text_column="a`|\n# Injected", label_column="\x1b]0;pwned\x07")
    member = replace(RUN.members[0], license="mit\x1b[31m")
    text = render(EvalCard(replace(RUN, target=target, members=(member,)), "conll-zoo"))
    assert "\n# Injected" not in text
    assert "\x1b" not in text


def test_an_untouched_test_split_is_said_to_be_so() -> None:
    text = render(EvalCard(replace(RUN, results={"validation": 0.8}), "conll-zoo"))
    assert "The test split was not touched." in text
    assert "0.7500" not in text


def test_no_path_of_this_machine_is_published() -> None:
    head = np.zeros((3, 896), dtype=np.float32)
    published = (
        render(EvalCard(RUN, "conll-zoo")).encode(),
        run_file(RUN),
        head_file(RUN, head, np.zeros(3, dtype=np.float32)),
    )
    for data in published:
        assert b"somebody" not in data
    assert decode(Run, run_file(RUN)) == publishable(RUN)


def test_the_head_names_its_members_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(head_file(RUN, np.ones((3, 896), dtype=np.float32), np.zeros(3, dtype=np.float32)))
    with safe_open(path, framework="np") as head:
        assert "I-NP" in head.metadata()["classes"]
        assert "FacebookAI/roberta-base@aaaa" in head.metadata()["members"]
        assert head.get_tensor("weight").shape == (3, 896)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters() | st.sampled_from("|\n\r`<>[]()*_#-\\&\"'{}:"), max_size=30))
def test_whatever_a_name_holds_stays_a_name(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    member = replace(RUN.members[0], name=name, license=name)
    text = render(EvalCard(replace(RUN, members=(member,), device=name), "conll-zoo"))
    card = ModelCard(text)
    assert card.data.base_model == ["FacebookAI/roberta-base"]
    rows = [line for line in text.splitlines() if "a" * 40 in line and line.startswith("| 1 |")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 7
    assert "<" not in text.replace("\\<", "").split("---", 2)[2]
