"""Cards say what was measured, to the Hub and to people, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from tests.made_up import HEAD, MEMBERS, TARGET, learning, run, trial
from zookeeper.cards import publishable, render, run_file, weights_file, weights_name
from zookeeper.plain import decode
from zookeeper.plans import Recipe
from zookeeper.records import Reading
from zookeeper.results import EvalCard, Run

CARDS = Path(__file__).parents[1] / "cards"

RUN = run()
SEVERAL = run(
    trial(0, validation=0.8, test=0.7), trial(1, validation=0.9, test=0.8), trial(2, validation=0.7, test=0.9)
)
HEAD_ARRAYS = {"head.weight": np.ones((3, 896), np.float32), "head.bias": np.zeros(3, np.float32)}
PLACEHOLDERS = ("TODO", "[More Information Needed]", "None", "nan", "{{", "undefined", "True", "False")


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
    for placeholder in PLACEHOLDERS:
        assert placeholder not in text, placeholder


def test_several_seeds_are_a_mean_with_its_deviation() -> None:
    text = render(EvalCard(SEVERAL, "conll-zoo"))
    assert "mean and standard deviation over 3 seeds" in text
    assert "| test | 0.8000 | 0.1000 | 0.1111 | 2,012 | 47,377 |" in text
    assert "those of seed 1, pass 1 of 2" in text
    assert "seeds 0, 1, 2" in text
    assert "37 s for 3 trials, at most 1.23 GB of memory" in text
    assert "no spread" not in text
    values = {result.dataset_split: result.metric_value for result in ModelCard(text).data.eval_results}
    assert values == {"train (held-out part)": 0.8, "test": 0.8}


def test_seeds_for_which_the_metric_is_undefined_are_owned_up_to() -> None:
    text = render(EvalCard(run(trial(0), trial(1, test=None)), "conll-zoo"))
    assert "| test | 0.7500 | – |" in text
    assert "For some seeds Span F1 is undefined" in text
    nothing = render(EvalCard(run(trial(0, test=None, validation=None)), "conll-zoo"))
    assert "| test | undefined |" in nothing
    assert not ModelCard(nothing).data.eval_results


def table_after(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    lines = text.split(heading, 1)[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start:])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_learning_curve_is_a_table() -> None:
    text = render(EvalCard(learning((0.01, 0.1, 1.0)), "conll-zoo"))
    head, rule, *rows = table_after(text, "## With less data")
    assert head == ["of the training data", "sentences", "validation", "±", "test", "±"]
    assert [row[:2] for row in rows] == [["1 %", "80"], ["10 %", "804"], ["100 %", "8,042"]]
    assert {len(row) for row in (head, rule, *rows)} == {6}
    assert "## With less data" not in render(EvalCard(SEVERAL, "conll-zoo"))


def test_a_part_of_the_data_is_not_called_all_of_it() -> None:
    assert "Only 10 % of the training sentences" in render(EvalCard(run(trial(fraction=0.1)), "conll-zoo"))


def test_what_a_recipe_did_is_said() -> None:
    lora = Recipe(
        "lora",
        micro_batch=2048,
        warmup=0.06,
        anneal=True,
        clip=1.0,
        precision="bf16",
        reading=Reading(pooling="mean"),
        settings={"rank": 16, "modules": "all-linear", "freeze": "", "normalize": True},
    )
    text = render(EvalCard(run(trial(recipe=lora, padded=0.0512), through=("mnli", "squad")), "conll-zoo"))
    for fact in (
        "tuned by the recipe lora: ",
        "rank 16, modules all-linear, freeze none, normalize true",
        "warm-up over 6 % of all passes, rates falling to 0, gradients clipped to 1.0, in bf16",
        "about 4,096 sub-words a step",
        "5.12 % of the sub-words",
        "they were tuned on mnli, then squad.",
        "mean of its sub-words' states",
        "learned.safetensors",
    ):
        assert fact in text, fact
    for other in ("frozen", "Only the head was trained", "head.safetensors", *PLACEHOLDERS):
        assert other not in text, other


def test_a_recipe_and_a_metric_from_elsewhere_go_by_their_names() -> None:
    strange = run(trial(recipe=replace(HEAD, name="of-another-package")), metric="rouge_l")
    text = render(EvalCard(strange, "conll-zoo"))
    assert "tuned by the recipe of-another-package." in text
    assert ModelCard(text).data.eval_results[0].metric_type == "rouge_l"
    assert table_after(text, "# conll-zoo")[0][1] == "rouge\\_l"


def test_what_is_not_known_is_left_out() -> None:
    unknown = replace(trial(), peak_bytes=0)
    bare = run(unknown, members=(replace(MEMBERS[0], dimension=None),), majority={"validation": None})
    text = render(EvalCard(bare, "conll-zoo"))
    for word in ("of memory", "columns in all", "commonest", *PLACEHOLDERS):
        assert word not in text, word


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
    text = render(EvalCard(run(trial(measured=("validation",))), "conll-zoo"))
    assert "The test split was not touched." in text
    assert "0.7500" not in text


def test_no_path_of_this_machine_is_published() -> None:
    folder = "/home/somebody/secret"
    recipe = replace(HEAD, settings={"of": f"{folder}/recipe", "standardize": True})
    secret = run(
        trial(recipe=recipe, details={"weights": {f"{folder}/mine": 0.5}, "stages": [f"{folder}/a"]}),
        through=(f"{folder}/first", "mnli"),
        command=f"zoo --zoo={folder}/z tune -t {folder}/t --through=mnli,{folder}/first ~somebody/mine",
        target=replace(TARGET, name=f"{folder}/t", dataset="t", local=True),
    )
    published = (
        render(EvalCard(secret, "conll-zoo")).encode(),
        run_file(secret),
        weights_file(secret, HEAD_ARRAYS),
    )
    for data in published:
        assert b"somebody" not in data
    assert decode(Run, run_file(secret)) == publishable(secret)
    assert publishable(secret).command == "zoo --zoo=./z tune -t ./t --through=mnli,./first ./mine"
    assert publishable(secret).trials[0].key.members[1] == f"./mine@{'b' * 40}"


def test_what_was_learned_names_its_members_and_classes(tmp_path: Path) -> None:
    path = tmp_path / weights_name(SEVERAL)
    strided = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "head.bias": np.zeros(3)}
    path.write_bytes(weights_file(SEVERAL, strided))
    with safe_open(path, framework="np") as learned:
        metadata = learned.metadata()
        assert json.loads(metadata["classes"]) == list(TARGET.classes)
        assert json.loads(metadata["members"]) == [
            f"FacebookAI/roberta-base@{'a' * 40}",
            f"./mine@{'b' * 40}",
        ]
        assert (metadata["recipe"], metadata["run"], metadata["seed"]) == ("head", SEVERAL.id, "1")
        for name, array in strided.items():
            np.testing.assert_array_equal(learned.get_tensor(name), array)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters() | st.sampled_from("|\n\r`<>[]()*_#-\\&\"'{}:"), max_size=30))
def test_whatever_a_name_holds_stays_a_name(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    member = replace(RUN.members[0], name=name, license=name)
    learned = trial(recipe=replace(HEAD, settings={"of": name}), details={name: name})
    strange = run(replace(learned, device=name), members=(member,), through=(name,), metric=f"m{name}")
    text = render(EvalCard(strange, "conll-zoo"))
    card = ModelCard(text)
    assert card.data.base_model == ["FacebookAI/roberta-base"]
    rows = [line for line in text.splitlines() if "a" * 40 in line and line.startswith("| 1 |")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 7
    assert "<" not in text.replace("\\<", "").split("---", 2)[2]
