"""Rankings as a user meets them: one pass, stored, re-ranked, compared, and honest about what they lack."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import Result, Zoo
from tiny import FAMILIES, TEXT

from zookeeper.errors import UsageError
from zookeeper.ranker import prior
from zookeeper.records import Checkpoint, Revision
from zookeeper.registry import Registry
from zookeeper.scores import SCORES, ScoreSpec

PACKAGE = Path(__file__).parent / "package"


@pytest.fixture
def added(zoo: Zoo, checkpoints: dict[str, Path]) -> Zoo:
    """A zoo with five checkpoints of which nothing was read."""
    assert zoo("add", *checkpoints.values()).exit_code == 0
    return zoo


@pytest.fixture
def ranked(added: Zoo, target_folder: Path) -> Zoo:
    """The same, ranked once."""
    assert added("rank", "-t", target_folder).exit_code == 0
    return added


@pytest.fixture
def tagger(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint with a head of its own: three classes of words."""
    folder = tmp_path / "tagger"
    shutil.copytree(checkpoints["bert"], folder)
    torch.manual_seed(0)
    model = transformers.BertForTokenClassification.from_pretrained(folder, num_labels=3)
    model.save_pretrained(folder)
    return folder


def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, running a model is an error."""
    monkeypatch.setattr("zookeeper.worker.read", None)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def order(done: Result) -> list[str]:
    assert done.exit_code == 0, done.stderr
    return [row["MODEL"] for row in done.ranked]


# One pass


def test_every_score_and_layer_comes_from_one_pass(
    ranked: Zoo, target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    for layer in ("mean", "last", "best", "0", "1", "2", "-1"):
        done = ranked("rank", "-t", target_folder, "--layer", layer, "--score", "hscore", "--json")
        assert done.exit_code == 0, (layer, done.stderr)
        layers = {score["layer"] for score in done.json["scores"]}
        expected = {"last": {"2"}, "-1": {"2"}, "best": layers & {"1", "2"}}.get(layer, {layer})
        assert layers == expected
    values = {}
    for layer in ("1", "2", "best"):
        done = ranked("rank", "--from", "latest", "--layer", layer, "--score", "hscore", "--json")
        values[layer] = {s["name"]: s["estimates"]["hscore"]["value"] for s in done.json["scores"]}
    for name in FAMILIES:
        assert values["best"][name] == max(values["1"][name], values["2"][name])


def test_what_made_a_ranking_or_a_selection_is_kept_with_it(ranked: Zoo, target_folder: Path) -> None:
    made = {
        "@ranking": ("rank", "-t", str(target_folder), "--bootstrap", "9", "--json"),
        "@selection": ("select", "-t", str(target_folder), "-k", "2", "--json"),
    }
    for name, typed in made.items():
        found = ranked(*typed).json
        origin = found["origin"]
        assert origin["command"].endswith(shlex.join(typed))
        assert {"python", "hf-zoo", "numpy"} <= origin["versions"].keys()
        assert origin["device"].startswith("cpu (")
        assert origin["seconds"] > 0
        text = ranked("card", name).stdout
        assert f"{shlex.join([*typed[:2], './' + target_folder.name, *typed[3:]])}\n```" in text
        assert f"| date | {origin['created_at']} |" in text
    assert len(found["candidates"]) == len(FAMILIES)
    for revision in found["candidates"]:
        assert revision["commit"] in text
    again = ranked("rank", "--from", "latest", "--json").json["origin"]
    assert again["command"].endswith("rank --from latest --json")


def test_a_layer_that_is_not_there_is_a_reason(ranked: Zoo, target_folder: Path) -> None:
    done = ranked("rank", "-t", target_folder, "--layer", "7")
    assert done.exit_code == 1
    assert "has no layer 7" in done.stderr
    assert "0, 1, 2, mean" in done.stderr


def test_a_layer_that_is_none_is_refused_before_anything_is_read(
    added: Zoo, target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    done = added("rank", "-t", target_folder, "--layer", "top")
    assert done.exit_code == 2
    assert 'no layer "top"' in done.stderr


def test_adding_one_checkpoint_runs_one(
    added: Zoo, checkpoints: dict[str, Path], target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zookeeper import worker

    read, folders = worker.read, []

    def watched(folder: Path, *args: object, **kwargs: object) -> object:
        folders.append(folder.name)
        return read(folder, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("zookeeper.worker.read", watched)
    added("rm", "t5")
    assert len(order(added("rank", "-t", target_folder))) == 4
    assert sorted(folders) == ["bert", "gpt2", "llama", "roberta"]
    added("add", checkpoints["t5"])
    assert len(order(added("rank", "-t", target_folder))) == 5
    assert folders[4:] == ["t5"]


def test_a_checkpoint_that_fails_leaves_the_others_ranked(
    added: Zoo,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    target_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["bert"], broken)
    added("add", broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    done = added("rank", "-t", target_folder)
    assert done.exit_code == 3
    assert len(done.ranked) == 6
    assert [row["MODEL"] for row in done.ranked if row["NOTE"] == "failed"] == ["broken"]
    no_model(monkeypatch)
    again = added("rank", "-t", target_folder, *FAMILIES)
    assert again.exit_code == 0, "those that were read are kept"


def test_damaged_evidence_is_read_again(ranked: Zoo, target_folder: Path, tmp_path: Path) -> None:
    before = order(ranked("rank", "-t", target_folder))
    victim = sorted((tmp_path / "cache" / "evidence").rglob("arrays.safetensors"))[2]
    data = bytearray(victim.read_bytes())
    for position in range(len(data) // 2, len(data), 64):  # some of every array, so also of those that count
        data[position] ^= 1
    victim.write_bytes(data)
    assert f"zoo rank -t {target_folder} makes it again" in ranked("verify").table[0]["WHY"]
    done = ranked("rank", "-t", target_folder)
    assert order(done) == before
    assert "read again" in done.stderr
    assert ranked("verify").exit_code == 0


def test_damaged_evidence_of_a_stored_ranking_is_a_row_that_says_what_reads_it_again(
    zoo: Zoo, checkpoints: dict[str, Path], target_folder: Path, tmp_path: Path
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["gpt2"])
    zoo("rank", "-t", target_folder, "--bootstrap", "0")
    victim = min((tmp_path / "cache" / "evidence").rglob("arrays.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-1])
    done = zoo("rank", "--from", "latest", "--bootstrap", "0")
    assert done.exit_code == 3
    assert len([row for row in done.ranked if row["NOTE"] == "failed"]) == 1
    assert "zoo rank with the same target reads it again" in done.stderr
    assert zoo("rank", "-t", target_folder, "--bootstrap", "0").exit_code == 0


# Honesty


def test_every_score_has_an_interval_a_tier_a_null_and_a_probe(ranked: Zoo) -> None:
    found = ranked("rank", "--from", "latest", "--json").json
    assert found["replicates"] == 200
    for score in found["scores"]:
        assert set(score["estimates"]) == {"logme", "ridge"}
        for estimate in score["estimates"].values():
            assert estimate["low"] < estimate["value"] < estimate["high"]
            assert estimate["null"] < estimate["value"]
        first, last = score["ranks"]
        assert 1 <= first <= last <= 5
    tiers = [score["tier"] for score in found["scores"]]
    assert tiers[0] == "A"
    first, *others = found["scores"]
    assert first["behind"] is None
    for score in others:
        gap = first["estimates"]["logme"]["value"] - score["estimates"]["logme"]["value"]
        assert score["behind"]["value"] == pytest.approx(gap)
        assert score["behind"]["low"] < gap < score["behind"]["high"]
    assert tiers == sorted(tiers)
    none = ranked("rank", "--from", "latest", "--bootstrap", "0").table
    assert "TIER" not in none[0]


def test_copies_cannot_be_told_apart(
    added: Zoo, checkpoints: dict[str, Path], tmp_path: Path, target_folder: Path
) -> None:
    shutil.copytree(checkpoints["bert"], tmp_path / "twin")
    added("add", tmp_path / "twin")
    scores = added("rank", "-t", target_folder, "--json").json["scores"]
    tier = {score["name"]: score["tier"] for score in scores}
    assert tier["twin"] == tier["bert"]


def test_checkpoints_of_the_same_name_are_told_apart(
    added: Zoo, checkpoints: dict[str, Path], tmp_path: Path, target_folder: Path
) -> None:
    shutil.copytree(checkpoints["bert"], tmp_path / "other" / "bert")
    added("add", tmp_path / "other" / "bert")
    names = order(added("rank", "-t", target_folder))
    assert sorted(names)[:2] == sorted([str(checkpoints["bert"]), str(tmp_path / "other" / "bert")])


def test_a_wider_level_leaves_fewer_tiers(ranked: Zoo) -> None:
    tiers = [
        len({row["TIER"] for row in ranked("rank", "--from", "latest", "--level", level).ranked})
        for level in ("0.5", "0.95", "0.999")
    ]
    assert tiers == sorted(tiers, reverse=True)


def test_wide_shows_what_is_above_chance(ranked: Zoo) -> None:
    rows = ranked("rank", "--from", "latest", "--wide").ranked
    score = ranked("rank", "--from", "latest", "--json").json["scores"][0]["estimates"]["logme"]
    assert float(rows[0]["LOGME - NULL"]) == pytest.approx(score["value"] - score["null"])
    assert float(rows[0]["LOGME ±"]) == pytest.approx((score["high"] - score["low"]) / 2)
    assert {"RANKS", "LAYER", "WIDTH", "PARAMS", "PROBE ±"} <= set(rows[0])


def test_baselines_stand_in_the_same_table(ranked: Zoo) -> None:
    done = ranked("rank", "--from", "latest")
    rows = {row["MODEL"]: row for row in done.table}
    scores = [float(row["LOGME"]) for row in done.ranked]
    assert float(rows["(any checkpoint, on average)"]["LOGME"]) == pytest.approx(np.mean(scores))
    largest = max(done.ranked, key=lambda row: int(row["PARAMS"]))
    assert rows["(most parameters)"]["LOGME"] == largest["LOGME"]
    assert rows["(most parameters)"]["#"] == largest["#"]


def test_few_examples_and_lone_classes_are_said(added: Zoo, tmp_path: Path) -> None:
    target = tmp_path / "few.jsonl"
    rows = [{"sentence": TEXT[i], "label": "rare" if i == 0 else "ab"[i % 2]} for i in range(12)]
    write_rows(target, rows)
    done = added("rank", "-t", target, "bert", "gpt2")
    assert "One class has one example only: rare" in done.stderr
    assert "12 examples are fewer than its 16 features" in done.ranked[0]["NOTE"] + done.ranked[1]["NOTE"]
    assert "right for 50.0% of all" in done.stderr


def test_one_sentence_gives_no_tiers(added: Zoo, tmp_path: Path) -> None:
    target = tmp_path / "one.jsonl"
    words = " ".join(TEXT).split()
    write_rows(target, [{"tokens": words, "tags": ["ab"[len(word) % 2] for word in words]}])
    done = added("rank", "-t", target, "--json")
    assert done.exit_code == 0, done.stderr
    for score in done.json["scores"]:
        assert score["tier"] is None
        assert score["estimates"]["logme"]["low"] is None
        assert set(score["estimates"]) == {"logme"}
        assert "no intervals: all sampled examples are of one sentence" in score["notes"]
    assert added("rank", "-t", target).exit_code == 0


# Against true results


def test_against_true_results(ranked: Zoo, tmp_path: Path) -> None:
    found = ranked("rank", "--from", "latest", "--json").json["scores"]
    results = tmp_path / "results.csv"
    lines = [f"{s['name']},{s['estimates']['logme']['value'] ** 3}" for s in found]
    results.write_text("checkpoint,accuracy\n" + "\n".join(lines))
    done = ranked("rank", "--from", "latest", "--against", results, "--json")
    assert done.exit_code == 0, done.stderr
    rows = {row["name"]: row for row in done.json["agreement"]}
    assert rows["logme"]["kendall"]["value"] == pytest.approx(1)
    assert rows["logme"]["top"] is True
    assert rows["logme"]["regret"]["value"] == 0
    assert rows["random"]["regret"]["value"] > 0
    assert {"logme", "ridge", "parameters", "random"} == set(rows)
    table = ranked("rank", "--from", "latest", "--against", results).table
    assert [row["SCORE"] for row in table][-1] == "random"
    for content, message in (
        ("a,1\nb,2\n", "none of the ranked checkpoints"),
        ("bert,1\ngpt2,2\n", "2 checkpoints have both"),
        ("bert,good\ngpt2,bad\n", "holds no results"),
        ("", "holds no results"),
    ):
        results.write_text(content)
        refused = ranked("rank", "--from", "latest", "--against", results)
        assert refused.exit_code == 1
        assert message in refused.stderr


def test_a_score_of_few_has_no_agreement_but_the_others_have(
    added: Zoo, tagger: Path, target_folder: Path, tmp_path: Path
) -> None:
    added("add", tagger)
    results = tmp_path / "results.csv"
    results.write_text("".join(f"{name},{i}\n" for i, name in enumerate((*FAMILIES, "tagger"))))
    done = added(
        "rank", "-t", target_folder, "--score", "logme", "--score", "leep", "--against", results, "--json"
    )
    assert done.exit_code == 0, done.stderr
    assert {"logme", "ridge", "random"} <= {row["name"] for row in done.json["agreement"]}
    assert "leep" not in {row["name"] for row in done.json["agreement"]}
    results.write_text("".join(f"{name},nan\n" for name in FAMILIES))
    assert "holds no results" in added("rank", "--from", "latest", "--against", results).stderr


# Stored rankings


def test_what_one_score_leaves_out_another_ranks_later(
    added: Zoo, tagger: Path, target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added("add", tagger)
    assert added("rank", "-t", target_folder, "--score", "leep", "--save", "heads").exit_code == 3
    no_model(monkeypatch)
    assert sorted(order(added("rank", "--from", "heads", "--score", "logme"))) == sorted(
        (*FAMILIES, "tagger")
    )


def test_what_was_not_read_stays_in_a_kept_ranking(
    added: Zoo, checkpoints: dict[str, Path], tmp_path: Path, target_folder: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["bert"], broken)
    added("add", broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    assert added("rank", "-t", target_folder).exit_code == 3
    again = added("rank", "--from", "latest", "--score", "hscore")
    assert again.exit_code == 3
    assert [row["MODEL"] for row in again.ranked if row["NOTE"] == "failed"] == ["broken"]


def test_a_ranking_is_kept_under_a_name(
    ranked: Zoo, target_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = order(ranked("rank", "-t", target_folder, "--save", "chunks"))
    other = tmp_path / "other.jsonl"
    write_rows(other, [{"sentence": text, "label": "ab"[i % 2]} for i, text in enumerate(TEXT)])
    ranked("rank", "-t", other)
    no_model(monkeypatch)
    assert order(ranked("rank", "--from", "chunks")) == first
    assert ranked("rank", "--from", "latest", "--json").json["target"]["name"] == str(other)
    gone = ranked("rank", "--from", "nothing")
    assert gone.exit_code == 1
    assert "--save" in gone.stderr
    assert ranked("rank", "--from", "../../etc").exit_code == 2
    assert ranked("rank", "-t", target_folder, "--save", "a/b").exit_code == 2


def test_a_ranking_is_of_a_target_or_from_another(ranked: Zoo, target_folder: Path) -> None:
    assert ranked("rank").exit_code == 2
    assert ranked("rank", "-t", target_folder, "--from", "latest").exit_code == 2
    for ignored in (["bert"], ["--shortlist", "2"], ["--save", "other"]):
        assert ranked("rank", "--from", "latest", *ignored).exit_code == 2


def test_reranking_after_the_evidence_went_says_how_to_get_it_back(ranked: Zoo, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "cache" / "evidence")
    done = ranked("rank", "--from", "latest")
    assert done.exit_code == 1
    assert "zoo rank with the same target" in done.stderr


def test_removing_with_features_frees_the_evidence(ranked: Zoo, tmp_path: Path) -> None:
    assert {row["READ"] for row in ranked("ls").table} == {"1"}
    assert "evidence" in {row["WHAT"] for row in ranked("show", "bert").table}
    freed = ranked("rm", "bert", "--features").table[0]["FREED"]
    assert int(freed) > 1000
    assert len(list((tmp_path / "cache" / "evidence").rglob("manifest.json"))) == 4


# Two stages


def test_a_shortlist_runs_the_most_promising_only(
    added: Zoo, target_folder: Path, probe_file: Path, tmp_path: Path
) -> None:
    by_size = added("rank", "-t", target_folder, "--shortlist", "2")
    sizes = {row["MODEL"]: int(row["PARAMS"]) for row in added("ls").table}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:2]
    assert sorted(order(by_size)) == sorted(largest)
    assert "Only 2 of 5 checkpoints were run, by number of parameters" in by_size.stderr
    other = tmp_path / "other.jsonl"
    write_rows(other, [{"sentence": text, "label": "ab"[i % 2]} for i, text in enumerate(TEXT)])
    best = order(by_size)[0]
    earlier = added("rank", "-t", other, "--shortlist", "1")
    assert order(earlier) == [best]
    assert "earlier rankings" in earlier.stderr
    assert added("rank", "-t", other, "--shortlist", "9", "--json").json["shortlist"] is None


def test_the_prior_goes_by_earlier_places_then_by_relatives() -> None:
    zoo = [Checkpoint(Revision(f"me/{i}", "main", f"{i}" * 40), (), parameters=9 - i) for i in range(4)]
    places = [{str(zoo[0].revision): 0.0, str(zoo[2].revision): 1.0}]
    kappa = np.eye(4)
    kappa[1, 2] = kappa[2, 1] = 0.9
    kappa[3, 0] = kappa[0, 3] = 0.9
    found, how = prior(zoo, places, lambda _: kappa)
    assert [c.name for c in found] == ["me/2", "me/1", "me/3", "me/0"]
    assert "covariance" in how
    found, how = prior(zoo, places, lambda _: None)
    assert [c.name for c in found] == ["me/2", "me/1", "me/3", "me/0"], "unknown is neither good nor bad"
    assert how == "earlier rankings"
    found, how = prior(zoo, [], lambda _: kappa)
    assert [c.name for c in found] == ["me/0", "me/1", "me/2", "me/3"]
    assert how == "number of parameters"


# Kinds of targets and heads


def test_scores_of_a_head_are_for_those_that_have_one(added: Zoo, tagger: Path, target_folder: Path) -> None:
    added("add", tagger)
    rows = {
        row["MODEL"]: row
        for row in added(
            "rank", "-t", target_folder, "--score", "logme", "--score", "leep", "--score", "nce"
        ).ranked
    }
    assert float(rows["tagger"]["LEEP"]) < 0
    assert float(rows["tagger"]["NCE"]) < 0
    assert {rows[name]["LEEP"] for name in FAMILIES} == {""}
    by = added("rank", "-t", target_folder, "--score", "leep")
    assert by.exit_code == 3
    assert "no head of its own that fits this task" in by.stderr
    assert float(rows["tagger"]["LOGME"]) == pytest.approx(float(rows["bert"]["LOGME"]), abs=1e-6)


def test_a_head_for_texts_says_nothing_of_words(
    added: Zoo, checkpoints: dict[str, Path], tmp_path: Path, target_folder: Path
) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(checkpoints["gpt2"], folder)
    torch.manual_seed(0)
    model = transformers.GPT2ForSequenceClassification.from_pretrained(folder, num_labels=2)
    model.save_pretrained(folder)
    added("add", folder)
    texts = tmp_path / "texts.jsonl"
    write_rows(texts, [{"sentence": t[: 20 + i], "label": "ab"[i % 2]} for i, t in enumerate(TEXT)])
    done = added("rank", "-t", texts, "judge", "gpt2", "--score", "logme", "--score", "nce")
    rows = {row["MODEL"]: row for row in done.ranked}
    assert rows["judge"]["NCE"]
    assert not rows["gpt2"]["NCE"]
    words = added("rank", "-t", target_folder, "judge", "--score", "logme", "--score", "nce")
    assert "NCE" not in words.ranked[0]


def test_numbers_pairs_and_several_labels_are_ranked(added: Zoo, tmp_path: Path) -> None:
    pairs, many, words = (tmp_path / f"{name}.jsonl" for name in ("pairs", "many", "words"))
    texts = list(pairwise(TEXT))
    write_rows(pairs, [{"sentence1": a, "sentence2": b, "score": len(a) / len(b)} for a, b in texts])
    labels = [["a"] * (i % 2) + ["b"] * (i % 3 > 0) for i in range(len(TEXT))]
    write_rows(many, [{"text": t, "labels": some} for t, some in zip(TEXT, labels, strict=True)])
    tokens = [text.split() for text in TEXT]
    last = [[None] * (len(t) - 1) + [i / 3] for i, t in enumerate(tokens)]
    write_rows(words, [{"tokens": t, "label": y} for t, y in zip(tokens, last, strict=True)])
    for target, task in ((pairs, "pair-regression"), (many, "text-multilabel"), (words, "token-regression")):
        done = added("rank", "-t", target, "--score", "all", "--json")
        assert done.exit_code == 0, (task, done.stderr)
        assert done.json["target"]["task"] == task
        assert {"logme", "ridge", "knn", "parc"} == set(done.json["scores"][0]["estimates"])
    width = {s["name"]: s["dimension"] for s in added("rank", "-t", pairs, "--json").json["scores"]}
    assert width["bert"] == 2 * 16


def test_every_score_ranks_words(ranked: Zoo) -> None:
    found = ranked("rank", "--from", "latest", "--score", "all", "--json").json
    without_heads = set(SCORES) - {"leep", "nce"}
    for score in found["scores"]:
        assert set(score["estimates"]) == without_heads
        assert all(np.isfinite(e["value"]) for e in score["estimates"].values())


def test_tags_are_folded_only_when_asked(added: Zoo, tmp_path: Path) -> None:
    target = tmp_path / "tags.conll"
    tags = ["O", "B-X", "I-X"]
    sentences = [[f"{w} {tags[i % 3]}" for i, w in enumerate(t.split())] for t in TEXT]
    target.write_text("\n\n".join(map("\n".join, sentences)) + "\n")
    assert added("rank", "-t", target, "bert", "--json").json["target"]["classes"] == ["B-X", "I-X", "O"]
    folded = added("rank", "-t", target, "bert", "--fold-bio", "--json").json
    assert sorted(folded["target"]["classes"]) == ["O", "X"]


# Scores of other packages


def test_a_score_of_an_installed_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGE))
    table = Registry[ScoreSpec]("score", "zookeeper.scores", {})
    spec = table["centroid"]
    assert spec.needs == ("features", "labels")
    assert spec.function(np.array([[0.0], [2], [4], [6]]), np.array([0, 0, 1, 1])) == pytest.approx(4 / 5)


def test_a_score_of_an_installed_package_ranks(ranked: Zoo, target_folder: Path, tmp_path: Path) -> None:
    home = {
        "ZOO_HOME": str(tmp_path / "home"),
        "ZOO_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(PACKAGE),
    }
    done = subprocess.run(
        [sys.executable, "-m", "zookeeper", "rank", "--from", "latest", "--score", "centroid", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | home,
    )
    assert done.returncode == 0, done.stderr
    values = [score["estimates"]["centroid"]["value"] for score in json.loads(done.stdout)["scores"]]
    assert values == sorted(values, reverse=True)
    assert all(0 < value < 1 for value in values)


def test_a_score_that_asks_for_what_nobody_has_is_refused() -> None:
    spec = ScoreSpec("odd", "Odd", lambda gradients: 0.0, "", "")
    with pytest.raises(UsageError, match="asks for gradients"):
        spec.needs  # noqa: B018
