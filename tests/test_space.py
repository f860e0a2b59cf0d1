"""Comparing checkpoints, as a user meets it: rows that are kept, signatures, selections, pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Result, Zoo
from tiny import TEXT, make_checkpoint

from zookeeper import kernels, probing, reader, signing
from zookeeper.cli import comparing
from zookeeper.records import FeatureSet
from zookeeper.selection import max_mutual_information
from zookeeper.store import Store


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Checkpoints of one family that differ in their weights."""
    root = tmp_path_factory.mktemp("many")
    return [make_checkpoint("bert", root / f"bert-{seed}", seed=seed) for seed in range(6)]


def matrix_of(done: Result) -> np.ndarray:
    assert done.exit_code == 0, done.stderr
    return np.array(done.json["matrix"])


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many inner products of kernels each call asks for."""
    asked: list[int] = []
    compute = kernels.inner_products

    def counting(left, right=None, **options):  # type: ignore[no-untyped-def]
        m = len(left)
        asked.append(m * (m + 1) // 2 if right is None else m * len(right))
        return compute(left, right, **options)

    monkeypatch.setattr(kernels, "inner_products", counting)
    return asked


def test_another_checkpoint_costs_one_row_and_one_less_costs_nothing(
    zoo: Zoo, many: list[Path], probe_file: Path, products: list[int]
) -> None:
    zoo("add", *many[:5])
    zoo("probe", "-p", probe_file)
    before = matrix_of(zoo("covariance", "--json"))
    assert sum(products) == 15
    products.clear()
    zoo("add", many[5])
    zoo("probe", "-p", probe_file)
    after = matrix_of(zoo("covariance", "--json"))
    assert sum(products) == 6
    np.testing.assert_array_equal(after[:5, :5], before)
    products.clear()
    zoo("rm", "bert-2")
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(matrix_of(zoo("covariance", "--json")), after[np.ix_(kept, kept)])
    zoo("add", many[2])
    np.testing.assert_array_equal(matrix_of(zoo("covariance", "--json")), after)
    assert products == []


def test_rows_that_were_computed_apart_come_together(
    zoo: Zoo, many: list[Path], probe_file: Path, products: list[int]
) -> None:
    zoo("add", *many[:4])
    zoo("probe", "-p", probe_file)
    zoo("covariance", "bert-0", "bert-1")
    zoo("covariance", "bert-2", "bert-3")
    together = matrix_of(zoo("covariance", "--json"))
    products.clear()
    assert matrix_of(zoo("covariance", "bert-0", "bert-3", "--json"))[0, 1] == together[0, 3]
    assert products == []


def test_damaged_alignments_are_computed_again(probed: Zoo, tmp_path: Path) -> None:
    before = matrix_of(probed("covariance", "--json"))
    (stored,) = (tmp_path / "cache").glob("alignments/v1/??/*/arrays.safetensors")
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    np.testing.assert_allclose(matrix_of(probed("covariance", "--json")), before, atol=1e-6)


def test_each_alignment_has_a_standard_error(probed: Zoo) -> None:
    found = probed("covariance", "--json").json
    error = np.array(found["standard_error"])
    assert (np.diag(error) == 0).all()
    assert (error[~np.eye(5, dtype=bool)] > 0).all()
    assert "one standard error over sentences" in probed("covariance").stderr


def test_a_checkpoint_that_a_few_words_make_is_named_so(
    probed: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(0.1 < share <= 1 for share in probed("covariance", "--json").json["support"])
    assert "few words" not in probed("covariance").stderr
    monkeypatch.setattr(comparing, "_FEW", 1.1)
    named = next(line for line in probed("covariance").stderr.splitlines() if "few words" in line)
    assert "try another --layer: bert" in named


def test_a_probe_of_one_sentence_has_no_standard_error_but_a_covariance(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    probe = tmp_path / "one.txt"
    probe.write_text(TEXT[0])
    zoo("add", *checkpoints.values())
    zoo("probe", "-p", probe)
    done = zoo("covariance", "--json")
    assert done.json["standard_error"] is None
    assert "no standard errors" in done.stderr
    refused = zoo("covariance", "--debias", "sentence")
    assert refused.exit_code == 1
    assert "one sentence" in refused.stderr


def test_what_is_known_of_deleted_features_is_not_lost_to_a_few_others(
    probed: Zoo, many: list[Path], probe_file: Path
) -> None:
    before = np.array(probed("covariance", "--json").json["standard_error"])
    probed("gc", "--features", "--yes")
    probed("add", many[1])
    probed("probe", "bert-1", "-p", probe_file)
    probed("covariance", "bert-1")
    probed("rm", "bert-1")
    after = probed("covariance", "--json").json["standard_error"]
    np.testing.assert_allclose(np.array(after, dtype=float), before)


def test_debiasing_makes_little_text_say_less(probed: Zoo) -> None:
    plain = matrix_of(probed("covariance", "--json"))
    debiased = matrix_of(probed("covariance", "--debias", "sentence", "--json"))
    off = ~np.eye(5, dtype=bool)
    assert debiased[off].mean() < plain[off].mean()
    assert "same sentence are left out" in probed("covariance", "--debias", "sentence").stderr


def test_shrinking_is_asked_for_and_said(probed: Zoo) -> None:
    plain = matrix_of(probed("covariance", "--json"))
    done = probed("covariance", "--shrink", "0.25", "--json")
    np.testing.assert_allclose(matrix_of(done), 0.75 * plain + 0.25 * np.eye(5))
    errors = (np.array(found.json["standard_error"]) for found in (done, probed("covariance", "--json")))
    shrunk, whole = errors
    np.testing.assert_allclose(shrunk, 0.75 * whole)
    assert done.json["shrinkage"] == pytest.approx(0.25)
    assert "0.25 of the identity" in probed("select", "-k", "2", "--shrink", "0.25").stderr


def test_a_memory_limit_changes_nothing_but_too_little_is_said(probed: Zoo, tmp_path: Path) -> None:
    tight = matrix_of(probed("covariance", "--memory", "60kB", "--json"))
    shutil.rmtree(tmp_path / "cache" / "alignments")
    np.testing.assert_allclose(matrix_of(probed("covariance", "--json")), tight, atol=1e-6)
    small = probed("covariance", "--debias", "sentence", "--memory", "1kB")
    assert small.exit_code == 2
    assert "--memory" in small.stderr
    refused = probed("covariance", "--memory", "lots")
    assert refused.exit_code == 2
    assert "no size" in refused.stderr


# Signatures


def test_signatures_give_the_covariance_within_their_error(probed: Zoo) -> None:
    exact = matrix_of(probed("covariance", "--json"))
    done = probed("covariance", "--signatures", "--json")
    error = np.array(done.json["estimated"])
    assert (abs(matrix_of(done) - exact) <= 3 * error + 1e-3).all()


def test_what_has_a_signature_needs_no_features(probed: Zoo, tmp_path: Path) -> None:
    exact = matrix_of(probed("covariance", "--json"))
    would = probed("gc", "--features", "--json").json
    assert not would["deleted"]
    assert [w["items"] for w in would["waste"]] == [5]
    assert len(list((tmp_path / "cache").glob("features/v1/??/*"))) == 5
    probed("gc", "--features", "--yes")
    assert list((tmp_path / "cache").glob("features/v1/??/*")) == []
    np.testing.assert_array_equal(matrix_of(probed("covariance", "--json")), exact)
    estimated = matrix_of(probed("covariance", "--signatures", "--json"))
    np.testing.assert_allclose(estimated, exact, atol=0.02)
    assert probed("neighbours", "bert").exit_code == 0
    assert probed("select", "-k", "2", "--signatures").exit_code == 0


def test_a_new_checkpoint_cannot_be_aligned_with_deleted_features(
    probed: Zoo, many: list[Path], probe_file: Path
) -> None:
    probed("gc", "--features", "--yes")
    probed("add", many[1])
    probed("probe", "bert-1", "-p", probe_file)
    done = probed("covariance")
    assert done.exit_code == 3
    assert "zoo probe" in done.stderr
    assert len(matrix_of(probed("covariance", "--signatures", "--json"))) == 6


def test_one_that_was_not_read_does_not_take_from_the_others_what_is_known(
    probed: Zoo, many: list[Path]
) -> None:
    before = matrix_of(probed("covariance", "--json"))
    probed("gc", "--features", "--yes")
    probed("add", many[1])
    done = probed("covariance", "--json")
    assert done.exit_code == 3
    assert "bert-1: not read" in done.stderr
    np.testing.assert_array_equal(np.array(done.json["matrix"]), before)


def test_a_damaged_signature_is_made_again_of_features(probed: Zoo, tmp_path: Path) -> None:
    before = matrix_of(probed("covariance", "--signatures", "--json"))
    stored = sorted((tmp_path / "cache").glob("signatures/v1/??/*/arrays.safetensors"))
    for path, times in zip(stored, (1, 40_000), strict=False):
        path.write_bytes(path.read_bytes()[:-times] + times * b"!")
    np.testing.assert_array_equal(matrix_of(probed("covariance", "--signatures", "--json")), before)
    assert probed("neighbours", "bert").exit_code == 0
    assert probed("verify").exit_code == 0


def test_features_that_are_all_the_same_do_not_keep_others_from_being_signed(
    probed: Zoo, tmp_path: Path
) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    same = store.all(FeatureSet)[0]
    rows = store.arrays(FeatureSet, same.key.digest)["features"]
    store.discard(FeatureSet, same.key.digest)
    store.save(same, {"features": np.ones_like(rows)})
    done = probed("covariance", "--signatures", "--json")
    assert done.exit_code == 3
    assert len(done.json["names"]) == 4
    assert "every row of the features is the same" in done.stderr
    probed("gc", "--features", "--yes")
    assert [kept.key for kept in store.all(FeatureSet)] == [same.key]


def test_refitting_for_some_does_not_lose_the_signatures_of_others(
    probed: Zoo, many: list[Path], probe_file: Path
) -> None:
    probed("gc", "--features", "--yes")
    probed("add", many[1])
    probed("probe", "bert-1", "-p", probe_file)
    refused = probed("covariance", "bert-1", "--signatures", "--refit")
    assert refused.exit_code == 2
    assert "5 signatures cannot be made again" in refused.stderr
    assert len(matrix_of(probed("covariance", "--signatures", "--json"))) == 6


def test_probing_for_signatures_only_keeps_the_features_of_the_first_few(
    zoo: Zoo, many: list[Path], probe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "ANCHORS", 3)
    zoo("add", *many)
    done = zoo("probe", "-p", probe_file, "--signatures-only")
    assert [row["STATUS"] for row in done.table] == ["done"] * 6
    assert len(list((tmp_path / "cache").glob("features/v1/??/*"))) == 3
    streamed = matrix_of(zoo("covariance", "--signatures", "--json"))
    again = zoo("probe", "-p", probe_file, "--signatures-only")
    assert [row["STATUS"] for row in again.table] == ["already there"] * 6
    refused = zoo("covariance", "--signatures", "--refit")
    assert refused.exit_code == 2
    assert "3 signatures cannot be made again" in refused.stderr
    zoo("probe", "-p", probe_file)
    np.testing.assert_allclose(streamed, matrix_of(zoo("covariance", "--json")), atol=1e-3)


def test_a_basis_of_few_is_settled_before_features_are_let_go(
    zoo: Zoo, many: list[Path], probe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "ANCHORS", 3)
    kept = []
    for folder in many:
        zoo("add", folder)
        zoo("probe", "-p", probe_file, "--signatures-only")
        zoo("covariance", "--signatures")
        kept.append(len(list((tmp_path / "cache").glob("features/v1/??/*"))))
    assert kept == [1, 2, 3, 3, 3, 3]
    assert len(matrix_of(zoo("covariance", "--signatures", "--json"))) == 6


def test_a_basis_can_be_fitted_anew(probed: Zoo, many: list[Path], probe_file: Path, tmp_path: Path) -> None:
    probed("covariance", "--signatures")
    probed("add", many[1])
    probed("probe", "-p", probe_file)
    before = matrix_of(probed("covariance", "--signatures", "--json"))
    after = matrix_of(probed("covariance", "--signatures", "--refit", "--json"))
    np.testing.assert_allclose(before, after, atol=1e-3)
    waste = probed("gc", "--yes", "--json").json["waste"]
    assert [(w["what"], w["items"]) for w in waste] == [("signatures", 6)]
    np.testing.assert_array_equal(matrix_of(probed("covariance", "--signatures", "--json")), after)


@pytest.fixture
def twin(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint."""
    return shutil.copytree(checkpoints["bert"], tmp_path / "twin")


def test_neighbours_are_nearest_first(probed: Zoo, twin: Path, probe_file: Path) -> None:
    probed("add", twin)
    probed("probe", "-p", probe_file)
    done = probed("neighbours", "twin", "-k", "3")
    assert done.table[0]["MODEL"] == "bert"
    values = [float(row["κ"]) for row in done.table]
    assert values == sorted(values, reverse=True)
    assert done.table[0]["NOTE"] == "near-duplicate"
    assert probed("neighbours", "nobody").exit_code == 1


# Selection


def test_selection_says_how_stable_it_is_and_what_else_there_was(probed: Zoo) -> None:
    found = probed("select", "-k", "2", "--json").json
    assert found["replicates"] == 200
    assert all(0 <= pick["stable"] <= 1 for pick in found["picks"])
    total = found["picks"][-1]["total"]
    random = next(c for c in found["controls"] if c["name"] == "random sets")
    assert random["value"] <= total
    assert -0.01 < found["regret"]["low"] <= found["regret"]["high"] < total
    assert "STABLE" in probed("select", "-k", "2").stdout
    assert "STABLE" not in probed("select", "-k", "2", "--bootstrap", "0").stdout


def test_the_best_set_is_proven_and_never_replaces_the_greedy_one(probed: Zoo) -> None:
    plain = probed("select", "-k", "2", "--json").json
    found = probed("select", "-k", "2", "--exact", "--json").json
    assert [p["name"] for p in found["picks"]] == [p["name"] for p in plain["picks"]]
    best = found["optimum"]
    assert best["proven"]
    assert len(best["names"]) == 2
    assert best["value"] >= found["picks"][-1]["total"] - 1e-9
    assert "Of all sets" in probed("select", "-k", "2", "--exact").stderr


def test_include_and_exclude(probed: Zoo) -> None:
    found = probed("select", "-k", "3", "--include", "t5", "--exclude", "bert", "--json").json
    names = [pick["name"] for pick in found["picks"]]
    assert names[0] == "t5"
    assert "bert" not in names
    assert probed("select", "--include", "t5", "--exclude", "t5").exit_code == 2
    assert probed("select", "--include", "nobody").exit_code == 1


def test_a_budget_is_never_exceeded(probed: Zoo) -> None:
    sizes = {row["MODEL"]: row["PARAMS"] for row in probed("ls").table}
    budget = sum(sorted(map(int, sizes.values()))[:3])
    done = probed("select", "--budget", str(budget), "--json")
    assert done.exit_code == 0, done.stderr
    assert sum(pick["cost"] for pick in done.json["picks"]) <= budget
    assert done.json["budget"] == {"amount": budget, "unit": "parameters"}
    too_little = probed("select", "--budget", "10")
    assert too_little.exit_code == 2
    assert str(min(map(int, sizes.values()))) in too_little.stderr.replace(",", "")
    assert probed("select", "--budget", "1MB", "--json").json["budget"] == {"amount": 10**6, "unit": "bytes"}
    assert probed("select", "--budget", "much").exit_code == 2


def test_copies_count_once_and_near_duplicates_on_request(probed: Zoo, twin: Path, probe_file: Path) -> None:
    before = [pick["name"] for pick in probed("select", "-k", "3", "--json").json["picks"]]
    probed("add", twin)
    probed("probe", "-p", probe_file)
    done = probed("select", "-k", "3", "--json").json
    assert [pick["name"] for pick in done["picks"]] == before
    assert done["copies"] == [["bert", "twin"]]
    refused = probed("select", "-k", "6")
    assert refused.exit_code == 2
    assert "1 of them count as one with others" in refused.stderr
    merged = probed("select", "-k", "1", "--dedupe", "0.5", "--json").json
    assert merged["merged"]


def test_a_target_is_served_better_than_without_one(probed: Zoo, target_folder: Path) -> None:
    done = probed("select", "-t", target_folder, "-k", "2", "--json")
    assert done.exit_code == 0, done.stderr
    found = done.json
    assert found["by"] == "evidence"
    assert found["target"]["label_column"] == "label"
    total = found["picks"][-1]["total"]
    controls = {control["name"]: control for control in found["controls"]}
    assert controls["the best alone"]["value"] <= total + 1e-9
    assert len(controls["maximum mutual information"]["picks"]) == 2
    tuned = probed("tune", "-t", target_folder, "@selection", "--json").json
    assert [member["name"] for member in tuned["members"]] == [pick["name"] for pick in found["picks"]]


def test_half_by_mutual_information(probed: Zoo, target_folder: Path) -> None:
    found = probed("select", "-t", target_folder, "-k", "2", "--half-mmi", "--json").json
    assert found["by"] == "evidence and mutual information"
    refused = probed("select", "-k", "2", "--half-mmi")
    assert refused.exit_code == 2


def test_a_target_needs_no_probe(zoo: Zoo, checkpoints: dict[str, Path], target_folder: Path) -> None:
    zoo("add", *checkpoints.values())
    found = zoo("select", "-t", target_folder, "-k", "2", "--json").json
    assert len(found["picks"]) == 2
    assert all(control["name"] != "maximum mutual information" for control in found["controls"])
    refused = zoo("select", "-t", target_folder, "-k", "2", "--half-mmi")
    assert refused.exit_code == 2
    assert "covariance" in refused.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--target", "x.csv", "--budget", "1M"),
        ("--covariance", "k.csv", "--signatures"),
        ("--budget", "1M", "--exact"),
    ],
)
def test_options_that_mean_nothing_together(probed: Zoo, options: tuple[str, ...]) -> None:
    assert probed("select", *options).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ("select", "--names", "names.txt"),
        ("select", "--split", "test"),
        ("select", "--seconds", "3"),
        ("plot", "kappa", "-o", "kappa.png", "-k", "3"),
        ("covariance", "--signatures", "--no-errors"),
    ],
)
def test_an_option_that_means_nothing_is_refused_as_it_was_typed(
    probed: Zoo, command: tuple[str, ...]
) -> None:
    done = probed(*command)
    assert done.exit_code == 2
    typed = [word for word in command if word.startswith("-") and word not in ("-o", "--signatures")]
    assert f"{typed[0]} means nothing with" in done.stderr


def test_a_pair_is_not_isolated_and_copies_are_named_once(probed: Zoo, twin: Path, probe_file: Path) -> None:
    probed("add", twin)
    probed("probe", "-p", probe_file)
    assert "isolated" not in probed("neighbours", "bert", "-k", "100").stdout
    stderr = " ".join(probed("select", "-k", "2", "--exact").stderr.split())
    assert stderr.count("Exact copies, counted once") == 1
    assert "κ 1.000" not in stderr
    assert "has most" in stderr


# How much is enough, and pictures


def test_convergence_ends_where_all_words_are_read(probed: Zoo) -> None:
    found = probed("covariance", "--convergence", "--json").json
    assert found["words"] == sorted(found["words"])
    assert found["divergence"][-1] == pytest.approx(0, abs=1e-6)
    assert found["cosine"][-1] == pytest.approx(1)
    assert found["isotropic"][0] > 0


@pytest.mark.parametrize("kind", ["kappa", "mi", "map", "convergence"])
def test_pictures(probed: Zoo, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.svg"
    done = probed("plot", kind, "-k", "2", "-o", path) if kind == "mi" else probed("plot", kind, "-o", path)
    assert done.exit_code == 0, done.stderr
    assert path.read_text().lstrip().startswith("<?xml")
    assert probed("plot", kind, "-o", tmp_path / "picture.gif").exit_code == 2


def test_a_picture_of_convergence_takes_no_matrix(probed: Zoo, tmp_path: Path) -> None:
    np.save(tmp_path / "kappa.npy", np.eye(2))
    done = probed("plot", "convergence", "--covariance", tmp_path / "kappa.npy", "-o", tmp_path / "c.svg")
    assert done.exit_code == 2
    assert not (tmp_path / "c.svg").exists()


def test_drawing_does_not_change_what_is_selected(probed: Zoo, tmp_path: Path) -> None:
    probed("select", "-k", "3")
    probed("plot", "mi", "-k", "1", "-o", tmp_path / "mi.svg")
    assert len(probed("covariance", "@selection", "--json").json["names"]) == 3


def test_pictures_of_a_matrix_in_a_file(zoo: Zoo, tmp_path: Path) -> None:
    np.save(tmp_path / "kappa.npy", np.array([[1, 0.4], [0.4, 1]]))
    done = zoo("plot", "kappa", "--covariance", tmp_path / "kappa.npy", "-o", tmp_path / "kappa.png")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "kappa.png").read_bytes().startswith(b"\x89PNG")


def test_show_draws_in_the_terminal(probed: Zoo) -> None:
    assert "█" in probed("covariance", "--show").stderr
    assert "▁" in probed("select", "-k", "3", "--show").stderr


# What it refuses


def test_features_of_an_older_extractor_are_said_to_be_so(
    probed: Zoo, probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "feature_key", lambda *key: replace(reader.feature_key(*key), extractor=99))
    done = probed("covariance")
    assert done.exit_code == 1
    assert "an older zoo read it" in done.stderr
    assert "zoo probe" in done.stderr


def test_the_note_of_an_older_zoo_is_written_again_by_probing(
    probed: Zoo, probe_file: Path, target_folder: Path, tmp_path: Path
) -> None:
    note = tmp_path / "home" / "notes" / "probed.json"
    note.write_text(note.read_text().replace("lengths", "n_rows"))
    refused = probed("covariance")
    assert refused.exit_code == 1
    assert "fix: zoo probe" in refused.stderr
    assert probed("select", "-t", target_folder, "-k", "2").exit_code == 0
    assert [row["STATUS"] for row in probed("probe", "-p", probe_file).table] == ["already there"] * 5
    assert probed("covariance").exit_code == 0


def test_a_checkpoint_that_was_read_with_another_probe_is_named_with_it(
    probed: Zoo, many: list[Path], probe_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(reversed(TEXT)))
    probed("add", many[1])
    probed("probe", "bert-1", "-p", other)
    done = probed("covariance", "-p", probe_file)
    assert done.exit_code == 3
    assert f"it was read with {other}" in done.stderr
    assert "zoo probe -p" in done.stderr


def test_a_file_with_wrong_names_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    np.save(tmp_path / "kappa.npy", np.eye(3))
    (tmp_path / "two.txt").write_text("a\nb\n")
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    for names in ("two.txt", "twice.txt", "none.txt"):
        done = zoo("select", "-k", "2", "--covariance", tmp_path / "kappa.npy", "--names", tmp_path / names)
        assert done.exit_code == 1, names
        assert "error:" in done.stderr


def test_the_python_api_takes_arrays_and_gives_records() -> None:
    features = [np.random.default_rng(i).normal(size=(200, 8)) for i in range(4)]
    kappa = kernels.covariance(features)
    choice = max_mutual_information(kappa, 2)
    assert kappa.matrix.shape == (4, 4)
    assert len(choice.picks) == len(choice.gains) == 2


def test_without_a_number_it_picks_five_or_what_there_is(
    zoo: Zoo, many: list[Path], probe_file: Path, target_folder: Path, tmp_path: Path
) -> None:
    zoo("add", *many[:3])
    zoo("probe", "-p", probe_file)
    assert len(zoo("select", "--json").json["picks"]) == 3
    assert len(zoo("select", "-t", target_folder, "--json").json["picks"]) == 3
    assert zoo("plot", "mi", "-o", tmp_path / "mi.svg").exit_code == 0
    zoo("add", *many[3:])
    zoo("probe", "-p", probe_file)
    assert len(zoo("select", "--json").json["picks"]) == 5


def test_a_covariance_that_was_written_comes_back_with_its_names(probed: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "kappa.npy"
    probed("covariance", "-o", path)
    found = probed("select", "-k", "2", "--covariance", path, "--json").json
    assert found["picks"][0]["name"] in {row["MODEL"] for row in probed("ls").table}
