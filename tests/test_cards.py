"""Cards say what was measured, to the Hub and to people, and nothing else."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shlex
import time
import unicodedata
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from safetensors import safe_open

from tests.made_up import HEAD, MEMBERS, TARGET, comparison, learning, run, trial
from tests.reference.examples import STEADY
from zookeeper.cards import (
    about_weights,
    account_of,
    benchmark_results,
    check,
    measurements_card,
    pictures_of,
    publishable,
    ranking_card,
    record_file,
    run_card,
    run_file,
    selection_card,
    subject_of,
    table_file,
    weights_file,
    weights_name,
)
from zookeeper.errors import DegenerateInputError
from zookeeper.plain import decode, plain
from zookeeper.plans import Recipe, Request
from zookeeper.publications import CardText, EvalCard
from zookeeper.records import Outcome, ProbeChoice, Reading, Revision, Target, TargetSource
from zookeeper.results import (
    Baseline,
    BestSet,
    Budget,
    Control,
    Estimate,
    Origin,
    Pick,
    Ranking,
    Run,
    Score,
    Selection,
    Shortlist,
)
from zookeeper.sections import metadata_of, section_of, spliced

CARDS = Path(__file__).parents[1] / "cards"

RUN = run()
SEVERAL = run(
    trial(0, validation=0.8, test=0.7), trial(1, validation=0.9, test=0.8), trial(2, validation=0.7, test=0.9)
)
HEAD_ARRAYS = {"head.weight": np.ones((3, 896), np.float32), "head.bias": np.zeros(3, np.float32)}
CARD = EvalCard(
    SEVERAL,
    "conll-zoo",
    "me/conll-zoo",
    {"test": Estimate(0.8, 0.71, 0.86)},
    comparison(names=("chosen", "alone")),
)
PLACEHOLDERS = ("TODO", "[More Information Needed]", "None", "nan", "{{", "undefined", "True", "False")


def page(card: EvalCard) -> str:
    """The card of a run where there was none."""
    return spliced("", run_card(card))


@pytest.mark.parametrize("path", sorted(CARDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_published_card_is_what_its_record_makes(path: Path) -> None:
    card = decode(EvalCard, path.read_bytes())
    assert page(card) == path.with_suffix(".md").read_text(encoding="utf-8")


def test_there_are_published_cards() -> None:
    assert {path.stem for path in CARDS.glob("*.json")} == {path.stem for path in CARDS.glob("*.md")} != set()


def test_the_hub_can_read_what_was_measured() -> None:
    data = ModelCard(page(EvalCard(RUN, "conll-zoo"))).data
    assert data.base_model == ["FacebookAI/roberta-base"]
    assert data.base_model_relation == "finetune"
    assert data.datasets == ["eriktks/conll2000"]
    assert "zookeeper" in data.tags
    test = next(result for result in data.eval_results if result.dataset_split == "test")
    assert (test.metric_type, test.metric_value) == ("f1", 0.75)
    assert (test.dataset_revision, test.dataset_config) == ("c" * 40, "conll2000")


def test_people_can_read_how_it_was_made() -> None:
    text = page(EvalCard(RUN, "conll-zoo"))
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
    text = page(EvalCard(SEVERAL, "conll-zoo"))
    assert "mean and standard deviation over 3 seeds" in text
    assert "| test | 0.8000 | 0.1000 | 0.1111 | 2,012 | 47,377 |" in text
    assert "those of seed 1, pass 1 of 2" in text
    assert "seeds 0, 1, 2" in text
    assert "36.9 s for 3 trials, at most 1.23 GB of memory" in text
    assert "no spread" not in text
    values = {result.dataset_split: result.metric_value for result in ModelCard(text).data.eval_results}
    assert values == {"train (held-out part)": 0.8, "test": 0.8}


def test_seeds_for_which_the_metric_is_undefined_are_owned_up_to() -> None:
    text = page(EvalCard(run(trial(0), trial(1, test=None)), "conll-zoo"))
    assert "| test | 0.7500 | – |" in text
    assert "For some seeds span F1 is undefined" in text
    nothing = page(EvalCard(run(trial(0, test=None, validation=None)), "conll-zoo"))
    assert "| test | undefined |" in nothing
    assert not ModelCard(nothing).data.eval_results
    with pytest.raises(DegenerateInputError):
        benchmark_results(EvalCard(run(trial(0, test=None, validation=None)), "conll-zoo"), "default")


def table_after(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    lines = text.split(heading, 1)[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start:])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_learning_curve_is_a_table() -> None:
    text = page(EvalCard(learning((0.01, 0.1, 1.0)), "conll-zoo"))
    head, rule, *rows = table_after(text, "## With less data")
    assert head == ["of the training data", "sentences", "validation", "±", "test", "±"]
    assert [row[:2] for row in rows] == [["1 %", "80"], ["10 %", "804"], ["100 %", "8,042"]]
    assert {len(row) for row in (head, rule, *rows)} == {6}
    assert "## With less data" not in page(EvalCard(SEVERAL, "conll-zoo"))


def test_a_part_of_the_data_is_not_called_all_of_it() -> None:
    assert "Only 10 % of the training sentences" in page(EvalCard(run(trial(fraction=0.1)), "conll-zoo"))


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
    text = page(EvalCard(run(trial(recipe=lora, padded=0.0512), through=("mnli", "squad")), "conll-zoo"))
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
    text = page(EvalCard(strange, "conll-zoo"))
    assert "tuned by the recipe of-another-package." in text
    assert ModelCard(text).data.eval_results[0].metric_type == "rouge_l"
    assert table_after(text, "# conll-zoo")[0][1] == "rouge\\_l"


def test_a_group_in_a_command_is_said_to_be_the_members() -> None:
    assert "(`@selection` stood for the members above.)" in page(EvalCard(RUN, "x"))
    both = replace(RUN, command="zoo tune -t x @selection @ranking:3")
    assert "(`@selection` and `@ranking:3` stood for the members above.)" in page(EvalCard(both, "x"))
    assert "stood for" not in page(EvalCard(replace(RUN, command="zoo tune -t x me@ranking/mine"), "x"))


def test_how_many_words_were_held_out_is_said_where_it_is_known() -> None:
    head, _, validation, test = table_after(page(EvalCard(RUN, "x")), "# x")
    assert (validation[head.index("labelled words")], test[head.index("labelled words")]) == ("–", "47,377")
    sentences = replace(TARGET, task="text-classification", rows=TARGET.examples)
    head, _, validation, _ = table_after(page(EvalCard(replace(RUN, target=sentences), "x")), "# x")
    assert validation[head.index("labelled sentences")] == "894"


def test_a_column_of_which_nothing_is_known_is_left_out() -> None:
    narrow = tuple(replace(member, dimension=None) for member in MEMBERS)
    for members, shown in ((MEMBERS, True), (narrow, False)):
        head, rule, *rows = table_after(page(EvalCard(run(members=members), "x")), "## Members")
        assert ("features" in head) == shown
        assert {len(head)} == {len(row) for row in (rule, *rows)}


def test_what_is_not_known_is_left_out() -> None:
    unknown = replace(trial(), peak_bytes=0)
    bare = run(unknown, members=(replace(MEMBERS[0], dimension=None),), majority={"validation": None})
    text = page(EvalCard(bare, "conll-zoo"))
    for word in ("of memory", "columns in all", "commonest", *PLACEHOLDERS):
        assert word not in text, word


def test_a_sample_is_not_called_the_split() -> None:
    drawn = replace(RUN, target=replace(TARGET, examples={"train": 50, "test": 20}))
    text = page(EvalCard(drawn, "conll-zoo"))
    assert "20 of 2,012 sentences of test" in text
    splits = [result.dataset_split for result in ModelCard(text).data.eval_results]
    assert splits == ["train[50 of 8936] (held-out part)", "test[20 of 2012]"]


def test_foreign_text_is_only_text() -> None:
    target = replace(TARGET, text_column="a`|\n# Injected", label_column="\x1b]0;pwned\x07")
    member = replace(RUN.members[0], license="mit\x1b[31m")
    text = page(EvalCard(replace(RUN, target=target, members=(member,)), "conll-zoo"))
    assert "\n# Injected" not in text
    assert "\x1b" not in text


def test_an_untouched_test_split_is_said_to_be_so() -> None:
    text = page(EvalCard(run(trial(measured=("validation",))), "conll-zoo"))
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
        page(EvalCard(secret, "conll-zoo")).encode(),
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
        about = about_weights(learned.metadata())
        assert about["classes"] == list(TARGET.classes)
        assert about["members"] == [f"FacebookAI/roberta-base@{'a' * 40}", f"./mine@{'b' * 40}"]
        assert (about["recipe"], about["run"], about["seed"]) == ("head", SEVERAL.id, 1)
        for name, array in strided.items():
            np.testing.assert_array_equal(learned.get_tensor(name), array)


def ranking(text: str = "x", **known: Any) -> Ranking:
    """Of three checkpoints, in which foreign text stands wherever it can."""
    fields: dict[str, Any] = {
        "target": named(text),
        "split": "train",
        "by": "logme",
        "layer": "best",
        "reading": Reading(layer="all"),
        "scores": tuple(
            Score(
                f"{text}{n}",
                Revision(f"owner/{n}", "main", f"{n}" * 40),
                {
                    "logme": Estimate(-0.1 * n, -0.1 * n - 0.02, -0.1 * n + 0.02),
                    "ridge": Estimate(0.9 - n / 10),
                },
                layer="2",
                dimension=768,
                examples=1000,
                evidence="e" * 64,
                behind=Estimate(0.1, 0.05, 0.15) if n > 1 else None,
                tier="AAB"[n - 1],
                parameters=1000 * n,
                notes=(text, text),
            )
            for n in (1, 2, 3)
        ),
        "baselines": (Baseline(text, -0.15), Baseline("most parameters", -0.3, text, 3)),
        "failures": (Outcome(text, "failed", error=text, why=text),),
        "replicates": 200,
        "shortlist": Shortlist(3, 9, text, (text,)),
        "notes": (text,),
        "origin": origin(text),
    }
    return Ranking(**(fields | known))


def origin(text: str = "x") -> Origin:
    return Origin(f"zoo rank {text} ../clients/acme/x.csv", text, {text: text}, text, 12.3456)


def selection(text: str = "x", folded: bool = False, **known: Any) -> Selection:
    """Of two checkpoints, in which foreign text stands wherever it can."""
    fields: dict[str, Any] = {
        "picks": (
            Pick(f"{text}1", 0.5, 0.5, (text, text), Revision("owner/1", "main", "1" * 40), 0.9, cost=7),
            Pick(
                f"{text}2", -0.1, 0.4, (), Revision("/home/somebody/2", "folder", "2" * 40), 0.4, (text,), 8
            ),
        ),
        "start": "mi",
        "n_checkpoints": 9,
        "probe": f"{text}, 10 words",
        "target": named(text),
        "split": "train",
        "by": "evidence",
        "copies": ((text, "y"),),
        "near": ((text, "z", 0.97),),
        "controls": (
            Control(text, 0.1, (f"{text}1",)),
            Control("random", 0.2, spread=(0.1, 0.3), below=0.95),
        ),
        "band": ((0.4, 0.6), (0.3, 0.5)),
        "random": (Estimate(0.1), Estimate(0.2)),
        "optimum": BestSet((text,), 0.6, 0.7, False),
        "regret": Estimate(0.01, 0.0, 0.02),
        "others": ((text, 0.2),),
        "replicates": 100,
        "budget": Budget(10, "parameters"),
        "left_out": (Outcome(text, "failed", error=text),),
        "candidates": (
            *(Revision(f"owner/z{n}", "main", f"{n:x}" * 40) for n in range(15 if folded else 2)),
            Revision(f"/home/somebody/z{text}", "folder", "f" * 40),
        ),
        "origin": origin(text),
    }
    return Selection(**(fields | known))


def named(text: str, **known: Any) -> Target:
    """The target with foreign names."""
    names = {
        "name": text,
        "dataset": f"o/{text}",
        "config": text,
        "text_column": text,
        "label_column": text,
        "classes": ("O", text),
    }
    return replace(TARGET, **(names | known))


def evaluated(text: str = "x") -> EvalCard:
    """Of a run in which foreign text stands wherever it can."""
    members = (
        replace(MEMBERS[0], name=text, license=text),
        replace(MEMBERS[1], name=text, revision=Revision(f"/home/somebody/x{text}", "folder", "b" * 40)),
    )
    trials = [
        replace(trial(seed, recipe=replace(HEAD, settings={"of": text})), device=text, versions={text: text})
        for seed in (0, 1)
    ]
    strange = run(*trials, members=members, through=(text,), command=f"zoo tune {text}", target=named(text))
    other = comparison(3, names=(text, "alone"))
    foes = tuple(replace(one, members=(text, text)) for one in (*other.contenders, *other.random))
    failures = (Outcome(text, "failed", error=text),)
    beside = replace(other, contenders=foes[:2], random=foes[2:], failures=failures, split=text)
    return EvalCard(strange, text, "me/x", {"test": Estimate(0.8, 0.7, 0.9)}, beside)


def all_cards(text: str) -> list[CardText]:
    choice = ProbeChoice(text, 100, "c" * 64, (3, 4), Reading())
    revisions = [
        Revision("owner/1", "main", "1" * 40),
        Revision(f"/home/somebody/x{text}", "folder", "2" * 40),
    ]
    return [
        run_card(evaluated(text)),
        ranking_card(ranking(text), text),
        selection_card(selection(text), text),
        selection_card(selection(text, folded=True), text),
        measurements_card(repo_id="me/x", kind="features", choice=choice, revisions=revisions, size=12_345),
    ]


# What stands on a card


def test_a_result_for_the_hub_has_its_interval_and_seeds() -> None:
    validation, test = ModelCard(page(CARD)).data.eval_results
    assert test.metric_args == {"seeds": 3, "deviation": 0.1, "interval": [0.71, 0.86], "level": 0.95}
    assert validation.metric_args == {"seeds": 3, "deviation": 0.1}


@pytest.mark.parametrize(
    ("name", "settings", "relation"),
    [
        ("lora", {}, "adapter"),
        ("late", {"of": "lora"}, "adapter"),
        ("full", {}, "finetune"),
        ("head", {}, "finetune"),
    ],
)
def test_the_hub_is_told_how_a_run_relates_to_its_members(
    name: str, settings: dict[str, str], relation: str
) -> None:
    recipe = Recipe(name, settings=settings)
    assert ModelCard(page(EvalCard(run(trial(recipe=recipe)), "x"))).data.base_model_relation == relation


def test_data_of_ones_own_are_not_taken_for_a_dataset_of_the_hub() -> None:
    ours = replace(RUN, target=replace(TARGET, dataset="sst2", local=True))
    card = run_card(EvalCard(ours, "x"))
    text = spliced("", card)
    data = ModelCard(text).data
    assert {result.dataset_type for result in data.eval_results} == {"unknown"}
    assert {result.dataset_name for result in data.eval_results} == {"sst2"}
    assert data.datasets is None
    index = json.loads(json.dumps(card.metadata["model-index"]).replace("0.75,", "0.7,"))
    contradicting = spliced(f"---\nmodel-index: {json.dumps(index)}\n---\n", card)
    assert any("f1 on sst2, test is stated as 0.7" in found for found in findings(contradicting, card))


def test_a_benchmark_is_told_the_result_on_the_test_split() -> None:
    (entry,) = parse_eval_result_entries(yaml.safe_load(benchmark_results(CARD, "chunking")))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("eriktks/conll2000", "chunking", 0.8)
    assert (entry.dataset_revision, entry.source_url) == ("c" * 40, "https://huggingface.co/me/conll-zoo")
    assert entry.notes == (
        "span F1 on test; mean of 3 seeds, deviation 0.1000; 95% of resampled examples: 0.7100 to 0.8600; "
        f"zookeeper run {SEVERAL.id}"
    )


def test_a_benchmark_is_told_of_no_interval_where_there_is_none() -> None:
    for known in ({"validation": Estimate(0.8, 0.7, 0.9)}, {"test": Estimate(0.8)}):
        (entry,) = yaml.safe_load(benchmark_results(replace(CARD, intervals=known), "chunking"))
        assert "resampled" not in entry["notes"]


def test_an_interval_stands_beside_its_number() -> None:
    head, _, validation, test = table_after(page(CARD), "# conll-zoo")
    column = head.index("95 %")
    assert (validation[column], test[column]) == ("–", "0.7100 to 0.8600")
    assert "95 %" not in page(EvalCard(SEVERAL, "conll-zoo"))


def test_energy_is_said_where_it_is_known() -> None:
    known = run(replace(trial(0), energy=0.25), replace(trial(1), energy=0.5), trial(2))
    assert "| energy | 0.75 kWh for 2 of 3 trials, as codecarbon estimates |" in page(EvalCard(known, "x"))
    known = run(*(replace(one, energy=0.25) for one in known.trials))
    assert "| energy | 0.75 kWh, as codecarbon estimates |" in page(EvalCard(known, "x"))
    assert "kWh" not in page(CARD)


def test_an_ensemble_stands_beside_others() -> None:
    head, _, *rows = table_after(page(CARD), "## Beside other ensembles")
    assert head == ["ensemble", "members", "span F1", "±", "above", "p"]
    assert [row[0] for row in rows] == ["chosen", "alone", "20 random", "best random"]
    found = CARD.comparison
    assert found is not None
    assert rows[0][4:] == [
        f"{21 - found.rank(found.contenders[0])} of 20",
        f"{found.p(found.contenders[0]):.3f}",
    ]
    assert "![span F1 of this ensemble and of random ones](comparison.png)" in page(CARD)
    assert "near to chance" not in page(CARD)
    poor = replace(found, contenders=found.contenders[::-1], random=(found.contenders[0],) * 20)
    assert page(replace(CARD, comparison=poor)).count("near to chance") == 2
    alone = replace(found, random=())
    assert "above" not in table_after(page(replace(CARD, comparison=alone)), "## Beside other ensembles")[0]
    assert pictures_of(replace(CARD, comparison=alone)) == ("learning.png",)


def test_a_card_shows_just_the_pictures_that_are_drawn() -> None:
    flat = replace(trial(), history=trial().history[:1])
    for card in (CARD, EvalCard(RUN, "x"), EvalCard(learning((0.1, 1.0)), "x"), EvalCard(run(flat), "x")):
        assert tuple(sorted(re.findall(r"!\[[^\]]*\]\(([^)]*)\)", page(card)))) == pictures_of(card)
    assert pictures_of(CARD) == ("comparison.png", "learning.png")
    assert pictures_of(EvalCard(run(flat), "x")) == ()


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("token-classification", '("The cat sat on the mat .")'),
        ("text-classification", '("The cat sat on the mat.")'),
        ("pair-regression", '("A zebra is drinking.", pair="An animal is drinking.")'),
        ("question-answering", '("Where do zebras live?", pair="Zebras live in eastern Africa .")'),
    ],
)
def test_a_card_says_how_to_use_it(task: str, asked: str) -> None:
    found = run(target=replace(TARGET, task=task))
    text = page(EvalCard(found, "x", "me/x"))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ast.parse(code)
    assert f"ensemble{asked}" in code
    assert 'load_ensemble("me/x", members=members)' in code
    assert '"mine": "path/to/mine"' in code
    assert ("cut at white space" in text) == (found.target.unit == "word")
    assert "which `zoo push` uploads" not in text
    assert (".probability" in code) == (not found.target.regression)
    remote = replace(found, members=MEMBERS[:1])
    alone = page(EvalCard(remote, "x"))
    assert 'load_ensemble(".")' in alone
    assert "In a folder with the files of this run, which `zoo push` uploads" in alone
    assert "local folder" not in alone


def test_a_card_says_how_to_make_the_number_again() -> None:
    assert "zoo reproduce me/conll-zoo --member mine=path/to/mine\n" in page(CARD)
    ours = replace(SEVERAL, target=replace(TARGET, dataset="my data", local=True))
    assert "--member mine=path/to/mine --target 'path/to/my data'\n" in page(replace(CARD, run=ours))
    remote = replace(SEVERAL, members=MEMBERS[:1])
    assert "zoo reproduce me/conll-zoo\n" in page(replace(CARD, run=remote))
    assert f"zoo reproduce {RUN.id}\n" in page(EvalCard(RUN, "x"))


def test_an_account_is_short_and_has_the_facts() -> None:
    text = account_of(CARD)
    assert len(text.splitlines()) <= 12
    for fact in (
        "test: 0.8000 ± 0.1000",
        "0.7100 to 0.8600",
        "c" * 40,
        "a" * 40,
        "zoo --zoo=./z",
    ):
        assert fact in text, fact


def test_a_ranking_is_a_table_that_the_hub_shows() -> None:
    card = ranking_card(ranking(), "conll-ranking")
    assert card.metadata["configs"] == [{"config_name": "default", "data_files": "ranking.csv"}]
    assert card.metadata["tags"] == ["zookeeper", "checkpoint-ranking"]
    assert card.metadata["task_categories"] == ["token-classification"]
    assert "base_model" not in card.metadata
    head, _, *rows = table_after(card.body, "# conll-ranking")
    assert head == ["rank", "tier", "checkpoint", "LogME", "±", "probe", "layer", "parameters", "notes"]
    link = f"[x2](https://huggingface.co/owner/2/tree/{'2' * 40})"
    assert rows[1][:8] == [
        "2", "A", link, "-0.2000", "0.0500", "0.700", "2", "2,000",
    ]  # fmt: skip
    for fact in ("c" * 40, "f" * 64, "95 % interval", "200 resampled", "Only 3 of 9", "| x | x x |"):
        assert fact in card.body, fact
    bare = ranking_card(ranking(replicates=0, failures=(), baselines=(), notes=()), "x").body
    assert "tier" not in bare
    assert "Not ranked" not in bare
    assert "No intervals were drawn" in bare


def test_a_selection_is_a_table_that_the_hub_shows() -> None:
    card = selection_card(selection(), "conll-selection")
    assert card.metadata["tags"] == ["zookeeper", "checkpoint-selection"]
    head, _, *rows = table_after(card.body, "# conll-selection")
    assert head[:5] == ["pick", "checkpoint", "gain", "total", "90 % of replicates"]
    assert head[5:] == ["random", "stable", "parameters", "stands for"]
    assert rows[1] == ["2", "x2", "-0.1000", "0.4000", "0.3000 to 0.5000", "0.2000", "40 %", "8", "–"]
    assert "From pick 2 on" in card.body
    zoo = selection(
        target=None, split=None, by="mutual information", replicates=0, band=(), random=(), budget=None
    )
    plainer = selection_card(zoo, "zoo")
    assert "task_categories" not in plainer.metadata
    assert table_after(plainer.body, "# zoo")[0] == ["pick", "checkpoint", "gain", "total", "stands for"]
    assert selection_card(replace(zoo, picks=()), "empty").body


@pytest.mark.parametrize(
    "card",
    [ranking_card(ranking(), "x"), selection_card(selection(), "x")],
    ids=("ranking", "selection"),
)
def test_a_card_says_what_made_it_by_what_and_how_long_it_took(card: CardText) -> None:
    made = card.body.split("## How it was made", 1)[1]
    for fact in (
        "```bash\nzoo rank x ./x.csv\n```",
        "| date | x |",
        "| hardware | x |",
        "| time | 12.3 s,",
        "| versions | x x |",
    ):
        assert fact in made, fact


def test_what_an_earlier_version_did_not_keep_is_left_out() -> None:
    for bare in (
        ranking_card(ranking(origin=None), "x").body,
        selection_card(selection(origin=None, candidates=()), "x").body,
    ):
        for word in ("| time |", "| versions |", "```bash", "not picked", *PLACEHOLDERS):
            assert word not in bare, word
    for kind, made in ((Ranking, ranking()), (Selection, selection())):
        stored = {k: v for k, v in plain(made).items() if k not in ("origin", "candidates")}
        assert decode(kind, stored).origin is None
    assert "```bash" not in ranking_card(ranking(origin=replace(origin(), command="")), "x").body


def test_all_that_could_have_been_picked_is_listed_many_in_a_fold() -> None:
    for n, folded in ((3, False), (16, True)):
        found = selection(folded=folded)
        picked = [pick.revision for pick in found.picks if pick.revision]
        text = selection_card(replace(found, candidates=(*found.candidates, *picked)), "x").body
        _, rows = text.split("| not picked | commit |\n|---|---|\n")
        commits = re.findall(r"^\| (?:\[owner/z\d+\]\(\S+\)|zx) \| `(\w+)` \|$", rows, re.MULTILINE)
        assert commits == [revision.commit for revision in found.candidates]
        assert ("<details>" in text) == ("</details>" in text) == folded
        assert (f"{n} that were not picked" in text) == folded


def test_shared_measurements_say_how_to_pull_them() -> None:
    choice = ProbeChoice("/home/somebody/text.txt", 100, "c" * 64, (3, 4), Reading(layer="mean"))
    revisions = [Revision("owner/1", "main", "1" * 40)]
    card = measurements_card(
        repo_id="me/zoo", kind="signatures", choice=choice, revisions=revisions, size=12_345
    )
    for fact in (
        "zoo pull signatures me/zoo",
        "7 words",
        "12.3 kB",
        "c" * 64,
        "1" * 40,
        "the states of its last sub-word in the mean of all layers",
    ):
        assert fact in card.body, fact
    assert "somebody" not in card.body


def test_a_table_as_a_file_has_every_digit_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(table_file(ranking("=1+1")).decode())))
    assert [float(row["logme"]) for row in rows] == [-0.1, -0.2, -0.1 * 3]
    assert (rows[0]["rank"], rows[0]["checkpoint"], rows[0]["behind"]) == ("1", "owner/1", "")
    assert rows[0]["notes"] == "'=1+1; =1+1"
    picks = list(csv.DictReader(io.StringIO(table_file(selection("@x")).decode())))
    assert [pick["checkpoint"] for pick in picks] == ["owner/1", "./2"]
    assert picks[0]["stands_for"] == "'@x, @x"
    assert decode(Ranking, record_file(ranking())) == publishable(ranking())
    assert table_file(selection(picks=())).strip() == b""


# What must not stand on one


FOLDER = st.sampled_from(
    (
        "/home/somebody/secret",
        "/home/somebody/a secret, and more",
        "C:\\Users\\somebody\\secret",
        "~somebody/secret",
        "/mnt/somebody",
    )
)


@STEADY
@given(FOLDER, FOLDER.filter(lambda folder: " " not in folder))
def test_no_folder_of_this_machine_stands_in_any_file(folder: str, other: str) -> None:
    path, revision = f"{folder}/mine", Revision("/home/somebody/secret/mine", "folder", "b" * 40)
    source, target = TargetSource(path, path), replace(TARGET, name=path, dataset="d", local=True)
    failure = Outcome(
        path, "failed", revision, f"{path}: no file", f"see '{other}/a' in {other}/b.", f"rm {path}"
    )
    asked = Request(
        source, "f" * 64, (revision,), HEAD, path, (0,), through=(source,), command=f"zoo '{path}'"
    )
    beside = replace(comparison(3, names=(path, "b")), failures=(failure,), target=target)
    tuned = run(trial(details={path: [path]}), request=asked, metric=path, through=(path,), target=target)
    found = ranking(failures=(failure,), notes=(f"{path}: read",), target=target)
    picked = selection(left_out=(failure,), target=target, probe=path)
    card = EvalCard(tuned, "x", None, {}, beside)
    for record in (card, found, picked):
        text = json.dumps(plain(publishable(record)))
        assert "somebody" not in text
        assert "./mine" in text
    for made in (run_card(card), ranking_card(found, "x"), selection_card(picked, "x")):
        assert "somebody" not in f"{made.metadata}{made.body}"


@pytest.mark.parametrize("option", ["", "-t", "-", "--target=", "name=", "--target=a,"])
@pytest.mark.parametrize("folder", ["/home/somebody", "~somebody", "C:\\somebody"])
def test_no_folder_stands_in_a_command_however_it_was_typed(option: str, folder: str) -> None:
    typed = publishable(run(command=f"zoo tune '{option}{folder}/mine'")).command
    assert typed == f"zoo tune {option}./mine"


@pytest.mark.parametrize(
    ("typed", "published"),
    [
        ("../clients/acme/x.csv", "./x.csv"),
        ("--target=../x.csv", "--target=./x.csv"),
        ("--member=mine=../acme/mine", "--member=mine=./mine"),
        ("./clients/acme/x.csv", "./x.csv"),
        ("clients/acme/x.csv", "./x.csv"),
        ("acme/../../x.csv", "./x.csv"),
        ("..\\acme\\x.csv", "./x.csv"),
        ("./x.csv", "./x.csv"),
        ("./zoo/*", "./zoo/*"),
        ("org/name", "org/name"),
        ("org/name@refs/pr/3", "org/name@refs/pr/3"),
        ("@ranking/mine", "@ranking/mine"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_what_lies_elsewhere_is_published_by_its_last_part(typed: str, published: str) -> None:
    found = publishable(ranking(origin=replace(origin(), command=f"zoo rank -t '{typed}'")))
    assert found.origin is not None
    assert shlex.split(found.origin.command)[-1] == published
    named = publishable(ranking(target=replace(TARGET, name=typed.removeprefix("--target="), local=True)))
    assert named.target.name == published.removeprefix("--target=")


def test_columns_keep_their_names_whatever_they_look_like() -> None:
    target = replace(TARGET, text_column="a/b/c", label_column="../tags", config="x/y/z")
    assert publishable(run(target=target)).target == target


def test_classes_keep_their_names_whatever_they_look_like() -> None:
    target = replace(TARGET, classes=("/", "/a/b", "~x", "O"))
    assert publishable(run(target=target)).target.classes == target.classes


MARKDOWN = MarkdownIt("commonmark").enable("table")
TEXT = st.text(
    alphabet=st.characters() | st.sampled_from("|\n\r`<>[]()*_#-+=.1\\&\"'{}:!~$\u202e\u2028\x1b"),
    max_size=20,
) | st.sampled_from(
    (
        "<!-- zookeeper: end -->",
        "\n<!-- zookeeper: end -->\n",
        "# zookeeper: end",
        "---",
        "\n---\n",
        "1. one",
        "- item",
        "> quote",
        "```",
        "![x](https://example.org/x.png)",
        "<script>alert(1)</script>",
        "&lt;b&gt;",
        "a`b|c`d",
        "{{ title }}{% endraw %}",
        "\x1b[31mred\x1b]0;title\x07",
        "=cmd|' /C calc'!A0",
        "yes",
        "*a",
        "a: b",
    )
)


def outline(markdown: str) -> list[str]:
    """Blocks of a text, and what in them is more than text."""
    blocks = []
    for token in MARKDOWN.parse(markdown):
        blocks.append(token.type)
        blocks += [child.type for child in token.children or () if not child.type.startswith("text")]
    return blocks


HARMLESS = [outline(card.body) for card in all_cards("x")]


@settings(STEADY, max_examples=60)
@given(TEXT)
def test_foreign_text_changes_nothing_but_words(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    for card, harmless in zip(all_cards(text), HARMLESS, strict=True):
        assert outline(card.body) == harmless
        new = spliced("", card)
        found = section_of(new)
        assert found is not None
        assert found[1] == card.body
        assert metadata_of(new) == card.metadata
        assert not {char for char in new if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")} - {"\n"}


# What is wrong with one


def findings(text: str, card: CardText) -> list[str]:
    return [f"{finding.line}: {finding.message}" for finding in check(text, card)]


@pytest.mark.parametrize(
    "card", all_cards("x"), ids=("run", "ranking", "selection", "folded", "measurements")
)
def test_nothing_is_wrong_with_a_card_as_it_is_made(card: CardText) -> None:
    assert findings(spliced("", card), card) == []
    theirs = "---\nlicense: mit\n---\n# Mine\n\nIt has `{{ braces }}`.\n\n```python\nx = f'{{TODO}}'\n```\n"
    for old in (theirs, theirs.replace("\n", "\r\n")):
        assert findings(spliced(old, card), card) == []


def test_a_number_that_no_record_says_is_named_with_its_line() -> None:
    card = run_card(CARD)
    text = spliced("# Mine\n", card).replace("0.8000", "0.9900").replace("value: 0.8\n", "value: 0.99\n")
    found = check(text, card)
    lines = text.splitlines()
    assert {lines[finding.line - 1] for finding in found} == {line for line in lines if "0.99" in line}
    assert any('"value: 0.99"; by the record "value: 0.8"' in finding.message for finding in found)


def test_a_result_of_others_that_contradicts_the_record_is_named() -> None:
    card = run_card(CARD)
    index = json.loads(json.dumps(card.metadata["model-index"]).replace("0.8,", "0.7,"))
    for front in (yaml.safe_dump({"model-index": index}), f"model-index: {json.dumps(index)}\n"):
        found = findings(spliced(f"---\n{front}---\n", card), card)
        assert len(found) == 2
        assert "f1 on eriktks/conll2000, test" in found[1]
        assert found[1].endswith("is stated as 0.7; by the record 0.8")


def test_lines_that_were_added_or_taken_are_named() -> None:
    card = run_card(CARD)
    text = spliced("", card)
    assert findings(text.replace("## Limits", "It is the best.\n## Limits"), card) == [
        f'{text.splitlines().index("## Limits") + 1}: says "It is the best.", which no record says'
    ]
    assert any(
        'is without "## Limits"' in message for message in findings(text.replace("## Limits\n", ""), card)
    )


@pytest.mark.parametrize("old", ["\n" * 10**5, "---\n" * 10**5, "`" * 10**5, "{{" * 10**5, "same\n" * 10**5])
def test_a_long_card_of_others_takes_no_long_time(old: str) -> None:
    card = run_card(CARD)
    started = time.process_time()
    assert "section is missing" in str(check(old, card))
    check(spliced(old, card).replace("0.8000", "0.9900"), card)
    publishable(ranking(notes=(old, old.replace("`", "\\\\"))))
    assert time.process_time() - started < 10


def test_a_card_says_what_it_is_of() -> None:
    assert subject_of(spliced("# Mine\n", run_card(replace(CARD, title="a_b *c*")))) == (
        "a_b *c*",
        "me/conll-zoo",
    )
    assert subject_of(page(EvalCard(RUN, "x"))) == ("x", None)
    assert subject_of("# Mine\n") == (None, None)


def test_members_of_one_name_are_told_apart() -> None:
    twins = [replace(MEMBERS[1], revision=Revision(f"/{n}/mine", "folder", n * 40)) for n in "ab"]
    text = page(EvalCard(run(members=tuple(twins)), "x"))
    for commit in ("a" * 40, "b" * 40):
        assert f'"./mine@{commit}": "path/to/mine",' in text


def test_a_card_without_the_section_is_said_to_be_so() -> None:
    card = run_card(CARD)
    assert findings("# Mine\n", card)[0].startswith("0: zoo's section is missing")
    assert len([m for m in findings("# Mine\n", card) if "section" in m]) == 1


@pytest.mark.parametrize(
    "line",
    [
        "[More Information Needed]",
        "Trained on [TODO].",
        "TODO: describe the data",
        "Licence: {{ license }}",
        'model = load_ensemble("your-username/model")',
        "Lorem ipsum dolor sit amet",
    ],
)
def test_placeholders_are_found(line: str) -> None:
    card = CardText({}, "")
    assert [finding.line for finding in check(f"# Mine\n\n{line}\n", card)] == [3]
    fenced = check(f"# Mine\n\n```python\n{line}\n```\n", card)
    assert bool(fenced) == ("your-" in line or "Lorem" in line)


@pytest.mark.parametrize(
    "line", ["A todo list app.", "your model's card", "Use `{{ x }}`.", "It is more informative."]
)
def test_prose_is_no_placeholder(line: str) -> None:
    assert check(f"{line}\n", CardText({}, "")) == ()


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("license: [", "line 3"),
        ("license: 3", "license is neither text"),
        ("tags: {a: b}", "tags is neither text"),
        ("base_model_relation: child", "none of adapter"),
        ("library_name: [a]", "library_name is no text"),
        ("model-index:\n- name: x\n  results:\n  - task: {type: x}", "cannot read model-index"),
        ("model-index: text", "cannot read model-index"),
    ],
)
def test_what_the_hub_would_refuse_is_found(front: str, message: str) -> None:
    found = findings(f"---\n{front}\n---\n", CardText({}, ""))
    assert len(found) == 1
    assert message in found[0]
