"""What is said of tuning: every number with its spread, what is undefined as such, tables that fit."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import typer

from tests.made_up import HEAD, MEMBERS, TARGET, comparison, learning, run, trial
from zookeeper.cli import tuned
from zookeeper.cli.output import View, show
from zookeeper.cli.views import target_line
from zookeeper.plain import decode
from zookeeper.plans import Request
from zookeeper.recipes import RECIPES
from zookeeper.records import Outcome, TargetSource
from zookeeper.results import Comparison, Expected, Forecast, Run

ASKED = Request(
    TargetSource("conll2000", "eriktks/conll2000"),
    "f" * 64,
    tuple(member.revision for member in MEMBERS),
    HEAD,
    "span_f1",
    seeds=(0, 1),
    fractions=(0.01, 1.0),
)


def table(view: View) -> list[dict[str, Any]]:
    """Its rows, by title."""
    titles = [column.title for column in view.columns]
    assert len(set(titles)) == len(titles)
    return [dict(zip(titles, row, strict=True)) for row in view.rows]


def drawn(view: View, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Its table on a terminal of 80 columns."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    show(view, as_json=False)
    return terminal.getvalue().splitlines()


def test_a_run_says_each_split_with_its_spread_and_what_the_commonest_answer_gets() -> None:
    found = run(trial(0, validation=0.8), trial(1, validation=0.9), trial(2, validation=0.7))
    validation, test = table(tuned.run(found))
    assert (validation["SPLIT"], test["SPLIT"]) == ("validation", "test")
    assert validation["MEAN"] == pytest.approx(0.8)
    assert validation["±"] == pytest.approx(0.1)
    assert (validation["SEEDS"], validation["SENTENCES"], validation["MAJORITY"]) == (3, 894, 0.1234)
    assert test["SENTENCES"] == 2012
    said = "\n".join([tuned.run(found).heading or "", *tuned.run(found).notes])
    for fact in (found.id, "recipe head", "roberta-base, mine", "894", "of seed 1", "36.9 s", "1.23 GB"):
        assert fact in said, fact
    assert f"zoo push {found.id} OWNER/NAME" in said
    assert "padding" not in said


def test_what_is_undefined_is_so_and_is_counted() -> None:
    found = run(trial(0, validation=0.8), trial(1, validation=None), majority={"validation": None})
    view = tuned.run(found)
    validation = table(view)[0]
    assert (validation["MEAN"], validation["±"], validation["SEEDS"]) == (0.8, None, 1)
    assert validation["MAJORITY"] is None
    assert "On validation, span_f1 is undefined for 1 of 2 seeds." in view.notes
    nothing = table(tuned.run(run(trial(validation=None))))[0]
    assert (nothing["MEAN"], nothing["±"]) == (None, None)


def test_several_shares_of_the_data_are_rows() -> None:
    view = tuned.run(learning((0.1, 0.01, 1.0)))
    rows = table(view)
    assert [row["TRAIN"] for row in rows] == [0.01, 0.1, 1.0]
    assert [row["SENTENCES"] for row in rows] == [80, 804, 8042]
    assert rows[0]["VALIDATION"] < rows[1]["VALIDATION"] < rows[2]["VALIDATION"]
    assert all(row["TEST ±"] > 0 and row["SEEDS"] == 3 for row in rows)
    assert any("0.1234 on validation, 0.1111 on test" in note for note in view.notes)
    untested = table(tuned.run(run(*(trial(0, share, measured=("validation",)) for share in (0.1, 1.0)))))
    assert {row["TEST"] for row in untested} == {None}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0.25, 0.75], "w m: FacebookAI/roberta-base 0.25, mine 0.75."),
        ({"a": 0.123456, "b": 2}, "w m: a 0.1235, b 2."),
        ([1, 2, 3], "w m: 1, 2, 3."),
        (True, "w m: yes."),
        ("simplex", "w m: simplex."),
        (list(range(100)), None),
        ([[1, 2], [3, 4]], None),
        (None, None),
    ],
)
def test_a_detail_is_said_if_it_is_a_line(value: object, said: str | None) -> None:
    notes = tuned.run(run(trial(details={"w_m": value}))).notes
    assert [note for note in notes if note.startswith("w m")] == ([said] if said else [])


def test_what_a_joint_recipe_took_and_went_through_is_said() -> None:
    view = tuned.run(run(trial(0, padded=0.05), trial(1, padded=0.123), through=("mnli", "squad")))
    assert "after mnli then squad" in (view.heading or "")
    assert any("12.3% of the sub-words padding" in note for note in view.notes)


def test_a_recipe_without_passes_has_none_to_name() -> None:
    instant = replace(trial(), history=(), best_epoch=0)
    assert not any("pass" in note for note in tuned.run(run(instant)).notes)


def test_sentences_that_are_the_labelled_ones_are_counted_once() -> None:
    words = replace(TARGET, examples={"train": 30}, rows={"train": 90})
    assert target_line(words, "train").endswith("; 30 sentences, 90 labelled words of train")
    whole = replace(words, task="text-classification", rows={"train": 30})
    assert target_line(whole, "train").endswith("; 30 labelled sentences of train")


def test_runs_are_a_line_each() -> None:
    found = [learning((0.1, 1.0)), run(trial(measured=("validation",)))]
    first, second = table(tuned.runs(found))
    assert first["RUN"] == found[0].id
    assert (first["TARGET"], first["RECIPE"], first["METRIC"]) == ("conll2000", "head", "span_f1")
    assert first["VALIDATION"] == found[0].results["validation"].mean
    assert (first["SEEDS"], second["SEEDS"], second["TEST"]) == (3, 1, None)
    assert "zoo tune" in tuned.runs([]).notes[0]


def test_an_interrupted_run_is_named_with_how_it_goes_on() -> None:
    view = tuned.runs([], [ASKED])
    assert view.rows == []
    assert view.notes == [f"Interrupted: head for conll2000.\n  zoo tune --resume {ASKED.run_id}"]
    assert view.data["interrupted"][0]["id"] == ASKED.run_id


def test_a_forecast_says_what_is_left_of_each_ensemble() -> None:
    expected = (
        Expected("chosen", ("a", "b", "c"), 6, 2, 1, 1200, 1_500_000_000, 50.0),
        Expected("random", ("d", "e", "f"), 3, 3, 0, 0, 1_500_000_000, 5000.0),
    )
    view = tuned.forecast(Forecast(ASKED.run_id, ASKED, TARGET, expected))
    chosen, random = table(view)
    assert (chosen["LEFT"], random["LEFT"]) == ("4 of 6", "0 of 3")
    assert "1 interrupted trial will go on." in view.notes
    assert (chosen["STEPS"], chosen["MEMORY"]) == (1200, 1_500_000_000)
    assert ASKED.run_id in (view.heading or "")
    assert "seeds 0, 1, shares 1%, 100%" in (view.heading or "")
    assert view.notes[-1].endswith("1.4 h in all. Nothing done.")


def test_every_recipe_is_listed_with_each_of_its_settings() -> None:
    view = tuned.recipes()
    for name in RECIPES:
        settings = RECIPES[name].recipe.settings
        rows = [row for row in table(view) if row["RECIPE"] == name]
        assert len(rows) == 1 + len(settings)
        assert rows[0]["WHAT IT IS"] == RECIPES[name].summary
        assert [str(row["--set"]).partition("=")[0] for row in rows[1:]] == list(settings)
        assert all(row["WHAT IT IS"] for row in rows)
    assert {"RECIPE": "head", "--set": "mix=false"}.items() <= table(view)[1].items()
    assert set(view.data["recipes"]) == set(RECIPES)


def test_contenders_are_ordered_and_beside_the_random_ones() -> None:
    found = comparison(names=("chosen", "first 3 by LogME", "unknown"))
    best = replace(found.contenders[1], values=(0.9, 0.9, 0.9))
    worse = replace(found.contenders[0], values=(0.1, 0.2, None))
    unknown = replace(found.contenders[2], values=(None,) * 3)
    found = replace(found, contenders=(worse, best, unknown))
    rows = table(tuned.comparison(found, run()))
    assert [row["ENSEMBLE"] for row in rows] == [
        "first 3 by LogME",
        "chosen",
        "unknown",
        "20 random",
        "best random",
        "worst random",
    ]
    assert [row["#"] for row in rows] == [1, 2, 3, None, None, None]
    assert [row["ABOVE"] for row in rows[:3]] == ["20 of 20", "0 of 20", "0 of 20"]
    assert [row["P"] for row in rows[:2]] == [pytest.approx(1 / 21), 1]
    mean, best, worst = (row["SPAN_F1"] for row in rows[3:])
    assert worst < mean < best
    assert rows[2]["SPAN_F1"] is None


def test_without_random_ensembles_nothing_is_said_of_them() -> None:
    view = tuned.comparison(comparison(0), run())
    assert len(view.rows) == 2
    assert "ABOVE" not in table(view)[0]
    assert not any("random" in note for note in view.notes)


def test_a_contender_that_failed_is_said_and_makes_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Outcome("random ensemble 3", "failed", error="out of memory.", fix="a smaller --micro-batch")
    view = tuned.comparison(replace(comparison(), failures=(failed,)), run())
    with pytest.raises(typer.Exit) as left:
        show(view, as_json=True)
    assert left.value.exit_code == 3
    assert "random ensemble 3: out of memory." in capsys.readouterr().err


def test_json_is_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    made, compared = learning((0.1, 1.0)), comparison()
    show(tuned.comparison(compared, made), as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "zoo.comparison/1"
    assert decode(Comparison, data["comparison"]) == compared
    assert decode(Run, data["run"]) == made
    assert data["run"]["results"]["test"]["n"] == 3
    show(tuned.run(made), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"schema": "zoo.tune/1", **data["run"]}


def test_every_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(replace(MEMBERS[0], name=f"organisation/checkpoint-of-a-long-name-{i}") for i in range(9))
    long = run(*learning((0.01, 0.1, 1.0)).trials, members=many)
    names = ("chosen", "first 3 by LogME", "best single", "most downloaded")
    vast = Expected("first 3 by LogME", names, 105, 20, 3, 1_234_567, 140_200_000_000, 12345.6)
    for view in (
        tuned.run(long),
        tuned.run(run(members=many)),
        tuned.runs([long, run()]),
        tuned.comparison(comparison(200, names=names), long),
        tuned.forecast(Forecast(ASKED.run_id, ASKED, TARGET, (vast,))),
    ):
        lines = drawn(view, monkeypatch)
        assert max(map(len, lines)) <= 80
        assert len(lines) % (len(view.rows) + 2) == 0, "a row is a line of each part"
