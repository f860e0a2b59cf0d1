"""Pictures: files of the stated kind that say the same each time, whatever names are in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from tests.made_up import TARGET, comparison, learning, run, trial
from tests.reference.examples import random_kappa
from zookeeper import pictures
from zookeeper.errors import StorageError, UsageError
from zookeeper.pictures import (
    draw_comparison,
    draw_convergence,
    draw_curve,
    draw_gains,
    draw_kappa,
    draw_lineage,
    draw_map,
    draw_ranking,
    shown,
)
from zookeeper.records import Checkpoint, Reading, Revision
from zookeeper.results import (
    Baseline,
    BestSet,
    Control,
    Convergence,
    Covariance,
    Epoch,
    Estimate,
    Outcome,
    Pick,
    Ranking,
    Score,
    Selection,
    Trial,
)

NAMES = tuple(f"organisation/checkpoint-{i}" for i in range(8))
HOSTILE = (
    "a$x_1$b",
    "$\\frac{1}{$",
    "100%",
    "<script>alert('&amp;')</script>",
    "]]>&<!--",
    "new\nline",
    "a\x00b\x1b[31m",
    "\u202eright to left",
    "שלום-مرحبا",
    "😀-模型-κ",
    "\ufffe\uffff",
    "a" * 300,
    "_leading_underscore",
    " ",
)


def zoo(names: tuple[str, ...] = NAMES, seed: int = 0) -> Covariance:
    return Covariance(names, random_kappa(seed, len(names)))


def chosen(names: tuple[str, ...] = NAMES, **known: Any) -> Selection:
    gains = np.linspace(2.5, -0.3, len(names))
    picks = [
        Pick(name, gain, float(gains[:n].sum()), stable=0.5)
        for n, (name, gain) in enumerate(zip(names, gains, strict=True), 1)
    ]
    return Selection(tuple(picks), "mi", 34, probe="wikitext2, 10,000 words", replicates=200, **known)


def settling() -> Convergence:
    return Convergence((100, 300, 1000), (None, 1.5, 0.0), (0.8, 0.95, 1.0), (8.9, 0.6), "wikitext2", 34)


def ranked(names: tuple[str, ...] = NAMES, **known: Any) -> Ranking:
    scores = tuple(
        Score(
            name,
            Revision(name, "main", "a" * 40),
            {"logme": Estimate(2 - 0.01 * i, 1.9 - 0.01 * i, 2.1 - 0.01 * i)},
            layer="last",
            dimension=8,
            examples=100,
            evidence="e" * 64,
            tier="ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i // 3],
        )
        for i, name in enumerate(names)
    )
    floors = Baseline("any checkpoint, on average", 1.95), Baseline("most parameters", 1.97, "x/y", 3)
    fields: dict[str, Any] = {"baselines": floors, "replicates": 200}
    return Ranking(TARGET, "train", "logme", "last", Reading(), scores, **(fields | known))


def made(name: str, *bases: str) -> Checkpoint:
    return Checkpoint(Revision(name, "main", "a" * 40), (), base_models=bases)


def family(names: tuple[str, ...] = NAMES) -> list[Checkpoint]:
    """The first is made from what is not in the zoo, each other from the one before and the first."""
    first, *others = names
    descent = [made(name, before, first) for before, name in zip(names, others, strict=False)]
    return [made(first, "elsewhere/base"), *descent]


PICTURES: dict[str, Callable[[Path], None]] = {
    "kappa": lambda path: draw_kappa(zoo(), path),
    "gains": lambda path: draw_gains(chosen(), path),
    "map": lambda path: draw_map(zoo(), path, picks=NAMES[:2]),
    "convergence": lambda path: draw_convergence(settling(), path),
    "comparison": lambda path: draw_comparison(comparison(), path),
    "curve": lambda path: draw_curve(learning((0.01, 0.1, 1.0)), path),
    "passes": lambda path: draw_curve(run(trial(0), trial(1, validation=0.7)), path),
    "ranking": lambda path: draw_ranking(ranked(), path),
    "lineage": lambda path: draw_lineage(family(), path, picks=NAMES[:2]),
}
NUMBER = re.compile(r"−?\d+(\.\d+)?").fullmatch
MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF"}

each_picture = pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
each_kind = pytest.mark.parametrize("ending", MAGIC)


def texts(path: Path) -> list[str]:
    """Everything that is written in an SVG."""
    tree = ElementTree.parse(path)  # noqa: S314  our own file
    return ["".join(node.itertext()) for node in tree.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("picture", "ending"),
    [*((picture, ".svg") for picture in PICTURES), *product(("gains", "lineage"), (".png", ".pdf"))],
)
def test_a_picture_is_what_its_ending_says_and_the_same_each_time(
    tmp_path: Path, picture: str, ending: str
) -> None:
    draw = PICTURES[picture]
    first, second = tmp_path / f"first{ending}", tmp_path / f"second{ending.upper()}"
    draw(first)
    draw(second)
    assert first.read_bytes().startswith(MAGIC[ending])
    assert first.read_bytes() == second.read_bytes()


@each_picture
def test_settings_of_matplotlib_neither_change_a_picture_nor_are_changed(
    tmp_path: Path, draw: Callable[[Path], None]
) -> None:
    draw(tmp_path / "plain.svg")
    with matplotlib.rc_context({"font.size": 30, "text.usetex": True, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        draw(tmp_path / "other.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


@each_picture
@pytest.mark.parametrize("name", ["kappa.jpg", "kappa", "kappa.svgz"])
def test_another_ending_is_refused_with_the_three(
    tmp_path: Path, draw: Callable[[Path], None], name: str
) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg and \.pdf"):
        draw(tmp_path / name)
    assert not list(tmp_path.iterdir())


@each_picture
def test_a_folder_that_does_not_exist_is_an_error_of_storage(
    tmp_path: Path, draw: Callable[[Path], None]
) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*kappa\.png") as refusal:
        draw(tmp_path / "nowhere" / "kappa.png")
    assert refusal.value.why == "no such file or directory"


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kappa.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(pictures.kappa, "_dendrogram", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_kappa(zoo(), path)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("picture", ["kappa", "gains", "map", "ranking", "lineage"])
def test_every_name_is_text_that_can_be_found(tmp_path: Path, picture: str) -> None:
    PICTURES[picture](tmp_path / "picture.svg")
    written = texts(tmp_path / "picture.svg")
    for name in NAMES:
        assert any(name in text for text in written), name


@each_kind
def test_no_name_breaks_a_picture_or_warns(tmp_path: Path, ending: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_kappa(zoo(HOSTILE), tmp_path / f"kappa{ending}")
        draw_map(zoo(HOSTILE), tmp_path / f"map{ending}", picks=HOSTILE)
        draw_gains(
            chosen(HOSTILE, controls=tuple(Control(name, 1.0) for name in HOSTILE)),
            tmp_path / f"gains{ending}",
        )
        draw_comparison(comparison(names=HOSTILE), tmp_path / f"comparison{ending}")
        draw_ranking(
            ranked(HOSTILE, baselines=tuple(Baseline(name, 1.0) for name in HOSTILE)),
            tmp_path / f"ranking{ending}",
        )
        draw_lineage([made("x", *HOSTILE)], tmp_path / f"lineage{ending}")
    if ending == ".svg":
        for picture in ("kappa", "map", "gains", "comparison", "ranking", "lineage"):
            written = texts(tmp_path / f"{picture}.svg")
            for name in HOSTILE:
                assert any(shown(name) in text for text in written), name
            assert "<script" not in (tmp_path / f"{picture}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/checkpoint_1", "org/checkpoint_1"),
        ("κ-é-😀", "κ-é-😀"),
        ("new\nline\x1b", r"new\nline\x1b"),
        ("\u202eabc", r"\u202eabc"),
        ("模型", r"\u6a21\u578b"),
        ("\ufffe", r"\ufffe"),
        ("a" * 30 + "b" * 30, "a" * 24 + "…" + "b" * 23),
    ],
)
def test_foreign_text_is_shown_as_far_as_it_can_be(name: str, expected: str) -> None:
    assert shown(name) == expected


@pytest.mark.parametrize(("m", "named"), [(1, True), (2, True), (60, True), (61, False)])
def test_a_heat_map_of_any_size_has_names_as_long_as_they_can_be_read(
    tmp_path: Path, m: int, named: bool
) -> None:
    draw_kappa(zoo(tuple(f"checkpoint-{i}" for i in range(m))), tmp_path / "kappa.svg")
    assert texts(tmp_path / "kappa.svg").count("checkpoint-0") == 2 * named


@pytest.mark.parametrize("m", [1, 2, 110])
def test_a_map_of_any_size_says_how_many_have_no_name(tmp_path: Path, m: int) -> None:
    names = {f"checkpoint-{i}" for i in range(m)}
    draw_map(zoo(tuple(sorted(names))), tmp_path / "map.svg")
    written = texts(tmp_path / "map.svg")
    unnamed = len(names - set(written))
    assert unnamed == 0 or any(f"{unnamed} have no room for their names" in text for text in written)


def test_every_checkpoint_of_a_crowded_map_has_a_name_or_a_number_with_a_name(tmp_path: Path) -> None:
    names = tuple(f"organisation/a-long-name-of-a-checkpoint-{i:02}" for i in range(50))
    draw_map(Covariance(names, 0.9 + 0.1 * random_kappa(0, 50)), tmp_path / "map.svg")
    written = texts(tmp_path / "map.svg")
    listed = dict(
        text.split("  ", 1)[::-1] for text in written if text.split("  ")[-1] in names and "  " in text
    )
    assert listed
    for name in names:
        assert name in written or listed[name] in written, name


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Where the words in, and beside, the first axes of a picture came to lie."""
    found: dict[str, Any] = {}
    save = matplotlib.figure.Figure.savefig

    def measured(figure: Any, *args: Any, **kwargs: Any) -> None:
        renderer = figure.canvas.get_renderer()
        for text in figure.axes[0].texts:
            if isinstance(text, matplotlib.text.Annotation):
                text.update_positions(renderer)
            found[text.get_text()] = matplotlib.text.Text.get_window_extent(text, renderer)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", measured)
    return found


def overlapping(boxes: Collection[Any]) -> list[tuple[Any, Any]]:
    return [(a, b) for a, b in combinations(boxes, 2) if a.padded(-2).overlaps(b.padded(-2))]


def test_words_on_a_map_do_not_overlap(tmp_path: Path, boxes: dict[str, Any]) -> None:
    names = tuple(f"checkpoint-{i}" for i in range(30))
    draw_map(zoo(names), tmp_path / "map.png", picks=names[:5])
    named = [box for text, box in boxes.items() if text in names]
    assert len(named) > 20
    assert not overlapping(named)


def test_labels_of_ensembles_that_are_equally_good_do_not_overlap(
    tmp_path: Path, boxes: dict[str, Any]
) -> None:
    found = comparison(names=tuple(f"way-{i}" for i in range(7)))
    equal = tuple(replace(one, values=(0.75, 0.751)) for one in found.contenders)
    draw_comparison(replace(found, contenders=equal), tmp_path / "comparison.png")
    labels = [box for text, box in boxes.items() if text.startswith("way-")]
    assert len(labels) == 7
    assert not overlapping(labels)


def test_copies_and_items_without_variance_are_drawn(tmp_path: Path) -> None:
    matrix = np.array([[4.0, 2, 4, 0], [2, 9, 2, 0], [4, 2, 4, 0], [0, 0, 0, 0]])
    covariance = Covariance(("a", "b", "copy of a", "nothing"), matrix)
    draw_kappa(covariance, tmp_path / "kappa.svg")
    draw_map(covariance, tmp_path / "map.svg")
    assert "1 near-duplicate pair" in " ".join(texts(tmp_path / "kappa.svg"))
    assert {"a", "b", "copy of a", "nothing"} <= set(texts(tmp_path / "map.svg"))


def test_the_map_says_how_much_it_explains(tmp_path: Path) -> None:
    draw_map(Covariance(("a", "b", "c"), np.eye(3)), tmp_path / "map.svg")
    assert "Map of 3 checkpoints: 100 % explained" in texts(tmp_path / "map.svg")


def test_a_pick_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gpt5 is not in this covariance"):
        draw_map(zoo(), tmp_path / "map.svg", picks=["gpt5"])


def test_gains_are_drawn_beside_their_controls(tmp_path: Path) -> None:
    controls = (Control("random sets", 1.5, spread=(1.0, 2.0), below=1.0), Control("most downloaded", 1.51))
    optimum = BestSet(NAMES[:2], 9.0, 9.0, proven=True)
    draw_gains(chosen(controls=controls, optimum=optimum), tmp_path / "gains.svg")
    written = texts(tmp_path / "gains.svg")
    assert "random sets of 8: mean, 5th to 95th percentile" in written
    assert {"most downloaded", "best set"} <= set(written)
    assert f"{NAMES[0]}  50 %" in written


def test_a_control_far_below_is_in_the_picture(tmp_path: Path) -> None:
    heights = []
    for value in (0.0, -9.0):
        draw_gains(chosen(controls=(Control("worst", value),)), tmp_path / "gains.svg")
        heights.append(
            min(float(text.replace("−", "-")) for text in texts(tmp_path / "gains.svg") if NUMBER(text))
        )
    assert heights[1] < -5 < heights[0]


def test_a_selection_without_picks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without picks"):
        draw_gains(Selection((), "mi", 3), tmp_path / "gains.svg")


def test_rounding_in_the_divergence_of_all_from_all_does_not_stretch_the_axis(tmp_path: Path) -> None:
    draw_convergence(settling(), tmp_path / "exact.svg")
    rounded = replace(settling(), divergence=(None, 1.5, 3e-15))
    draw_convergence(rounded, tmp_path / "rounded.svg")
    assert (tmp_path / "exact.svg").read_bytes() == (tmp_path / "rounded.svg").read_bytes()


def test_convergence_says_where_it_is_singular(tmp_path: Path) -> None:
    draw_convergence(settling(), tmp_path / "convergence.svg")
    written = texts(tmp_path / "convergence.svg")
    assert any("without a divergence: 1 point" in text for text in written)
    assert {"100", "300", "1,000"} <= set(written)


@pytest.mark.parametrize(
    "convergence",
    [
        Convergence((50,), (0.0,), (1.0,), (0.0, 1.0)),
        Convergence((50, 100), (None, None), (0.9, 1.0), (2.0, 0.7), n_checkpoints=1),
    ],
)
def test_convergence_of_almost_nothing_is_drawn(tmp_path: Path, convergence: Convergence) -> None:
    draw_convergence(convergence, tmp_path / "convergence.png")
    assert (tmp_path / "convergence.png").stat().st_size


def test_a_comparison_says_what_was_compared_and_who_is_above_how_many(tmp_path: Path) -> None:
    found = comparison(n_random=20, seeds=3)
    dull = replace(found.contenders[1], values=tuple(one.mean for one in found.random[:3]))
    draw_comparison(replace(found, contenders=(found.contenders[0], dull)), tmp_path / "c.svg")
    written = texts(tmp_path / "c.svg")
    assert "span F1 on conll2000, test" in written
    assert any("10 % of the training data" in text and "3 seeds" in text for text in written)
    assert "20 random ensembles of 3" in written
    assert any(text.endswith("above 20 of 20") for text in written)
    assert any(f"above {1 + 20 - found.rank(dull)} of 20" in text for text in written)


def bodies(path: Path) -> int:
    """How many violins are in a picture."""
    return path.read_text(encoding="utf-8").count("FillBetweenPolyCollection")


@pytest.mark.parametrize(("n", "violins"), [(1, 0), (19, 0), (20, 1)])
def test_a_few_random_ensembles_have_no_shape(tmp_path: Path, n: int, violins: int) -> None:
    draw_comparison(comparison(n), tmp_path / "c.svg")
    assert bodies(tmp_path / "c.svg") == violins


def test_an_ensemble_without_a_value_is_counted_not_drawn(tmp_path: Path) -> None:
    found = comparison()
    missing = replace(found.contenders[1], values=(None, None, None))
    draw_comparison(
        replace(
            found,
            contenders=(found.contenders[0], missing),
            random=(replace(found.random[0], values=(None,)), *found.random[1:]),
        ),
        tmp_path / "c.svg",
    )
    written = texts(tmp_path / "c.svg")
    assert "first 3 by LogME" not in written
    assert "19 random ensembles of 3" in written
    assert any(text.endswith("without a value: 2 ensembles") for text in written)


def test_a_comparison_of_nothing_is_refused(tmp_path: Path) -> None:
    nothing = replace(comparison(0).contenders[0], values=(None,))
    with pytest.raises(UsageError, match="no ensemble"):
        draw_comparison(replace(comparison(0), contenders=(nothing,)), tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("values", [(0.5,), (0.5,) * 30, (0.5, 0.5 + 1e-17, 0.5 - 1e-17) * 10])
def test_random_ensembles_that_are_all_alike_are_drawn(tmp_path: Path, values: tuple[float, ...]) -> None:
    found = comparison(len(values), seeds=1)
    alike = tuple(replace(one, values=(value,)) for one, value in zip(found.random, values, strict=True))
    draw_comparison(replace(found, random=alike, contenders=()), tmp_path / "c.svg")
    assert f"{len(values)} random ensemble{'s' * (len(values) > 1)} of 3" in texts(tmp_path / "c.svg")


def test_dots_of_alike_ensembles_lie_side_by_side() -> None:
    heights = np.array([0.0, 1.0, 2.0, 30.0])
    offsets = pictures.comparison._side_by_side(heights, diameter=5.0, widest=50.0)
    places = np.stack([offsets, heights], axis=1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(4, 1)]
    assert (apart >= 5).all()
    assert offsets[3] == 0
    assert np.abs(pictures.comparison._side_by_side(np.zeros(100), 5.0, 20.0)).max() <= 20


def test_a_curve_has_marks_at_its_shares_and_the_commonest_answer(tmp_path: Path) -> None:
    draw_curve(learning((0.01, 0.1, 1.0)), tmp_path / "curve.svg")
    written = texts(tmp_path / "curve.svg")
    assert "Learning curve: span F1 on conll2000, test" in written
    assert {"1 %", "80", "10 %", "804", "100 %", "8,042"} <= set(written)
    assert {"the commonest answer", "0.1111", "3 seeds"} <= set(written)


def test_a_curve_is_of_validation_where_not_all_was_tested(tmp_path: Path) -> None:
    whole, part = trial(0, 1.0), trial(0, 0.5, measured=("validation",), validation=None)
    draw_curve(run(whole, part, majority={}), tmp_path / "curve.svg")
    written = texts(tmp_path / "curve.svg")
    assert "Learning curve: span F1 on conll2000, validation" in written
    assert "the commonest answer" not in written
    assert "0.8000" in written


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ([replace(trial(seed), history=(Epoch(1, 0.5, None),)) for seed in (0, 1)], "no value"),
        ([replace(trial(0), history=(Epoch(0, None, 0.5),))], "no value"),
        ([replace(trial(0), history=())], "no value"),
        ([trial(0, 0.1, validation=None, test=None), trial(0, validation=None, test=None)], "no value"),
    ],
)
def test_what_is_no_curve_is_refused(tmp_path: Path, trials: list[Trial], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        draw_curve(run(*trials), tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


def passing(*metrics: float | None, seed: int = 0, best: int = 1) -> Trial:
    """A trial with these metrics after its passes."""
    history = tuple(Epoch(number, None, metric) for number, metric in enumerate(metrics))
    return replace(trial(seed), history=history, best_epoch=best)


def lines(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], None]) -> list[tuple[list[float], list[float]]]:
    """What was plotted on the first axes."""
    found: list[tuple[list[float], list[float]]] = []
    save = matplotlib.figure.Figure.savefig

    def noted(figure: Any, *args: Any, **kwargs: Any) -> None:
        found.extend((list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines)
        save(figure, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(matplotlib.figure.Figure, "savefig", noted)
        draw()
    return found


@pytest.mark.parametrize(("commonest", "drawn"), [(0.0005, False), (0.4, True), (0.78, True), (5.0, False)])
def test_a_commonest_answer_far_off_is_a_fact_and_flattens_no_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commonest: float, drawn: bool
) -> None:
    found = run(passing(0.0, 0.65, 0.75, 0.8), majority={"validation": commonest})
    plotted = lines(monkeypatch, lambda: draw_curve(found, tmp_path / "curve.svg"))
    assert any(set(heights) == {commonest} for _, heights in plotted) == drawn
    written = texts(tmp_path / "curve.svg")
    assert ("the commonest answer" in written) == drawn
    assert any(f"the commonest answer: {commonest:.4f}" in text for text in written) != drawn


def test_a_run_on_one_share_is_drawn_pass_by_pass_with_the_mean_as_far_as_all_seeds_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = passing(0.1, 0.5, 0.75), passing(0.25, 0.7, 0.25, 0.8, None, seed=1, best=3)
    drawn = lines(monkeypatch, lambda: draw_curve(run(one, other), tmp_path / "curve.svg"))
    assert ([1, 2], [0.5, 0.75]) in drawn
    assert ([1, 2, 3], [0.7, 0.25, 0.8]) in drawn
    assert ([1, 3], [0.5, 0.8]) in drawn
    assert ([1, 2], pytest.approx([0.6, 0.5])) in drawn
    written = texts(tmp_path / "curve.svg")
    assert "Pass by pass: span F1 on conll2000, validation" in written
    assert {"2 seeds", "0.6500 ± 0.2121", "the commonest answer", "0.1234"} <= set(written)


def test_one_seed_has_no_mean_beside_it(tmp_path: Path) -> None:
    draw_curve(run(passing(0.1, 0.5)), tmp_path / "curve.svg")
    written = texts(tmp_path / "curve.svg")
    assert {"1 seed", "0.5000"} <= set(written)
    assert not any("mean over seeds" in text for text in written)


def test_bands_of_picks_and_of_random_sets_are_drawn_where_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Control("random sets", 5.0, spread=(4.0, 6.0), below=1.0)
    random = tuple(Estimate(float(j), j - 1.0, j + 1.0) for j in range(8))
    flat, known = chosen(controls=(control,)), chosen(controls=(control,), random=random)
    drawn = [lines(monkeypatch, lambda s=s: draw_gains(s, tmp_path / "gains.svg")) for s in (flat, known)]
    assert ([7.4, 8, 8.6], [5.0] * 3) in drawn[0], "at the last pick"
    assert any(heights == [0, *range(8), 7] for _, heights in drawn[1])
    for selection, bands in ((flat, 1), (known, 1), (chosen(), 0), (chosen(band=((1.0, 2.0),) * 8), 1)):
        draw_gains(selection, tmp_path / "gains.svg")
        assert bodies(tmp_path / "gains.svg") == bands
    assert any("5th to 95th percentile" in text for text in texts(tmp_path / "gains.svg"))


def test_other_ways_of_choosing_as_many_are_drawn_at_the_last_pick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = chosen(controls=(Control("medoids", 1.5),), optimum=BestSet(NAMES[:2], 9.0, 9.0, proven=True))
    drawn = lines(monkeypatch, lambda: draw_gains(selection, tmp_path / "gains.svg"))
    assert ([7.4, 8, 8.6], [1.5] * 3) in drawn
    assert ([7.4, 8, 8.6], [9.0] * 3) in drawn


def test_a_band_of_one_pick_has_a_width(tmp_path: Path) -> None:
    one = replace(chosen(), picks=chosen().picks[:1], band=((2.0, 3.0),))
    draw_gains(one, tmp_path / "band.svg")
    draw_gains(replace(one, band=((2.0, 2.0),)), tmp_path / "none.svg")
    assert (tmp_path / "band.svg").read_bytes() != (tmp_path / "none.svg").read_bytes()


def test_a_ranking_names_checkpoints_tiers_and_baselines_and_counts_failures(tmp_path: Path) -> None:
    failures = (Outcome("bad/one", "failed"), Outcome("bad/two", "failed"))
    draw_ranking(ranked(failures=failures), tmp_path / "ranking.svg")
    written = texts(tmp_path / "ranking.svg")
    assert "8 checkpoints for conll2000, by LogME" in written
    assert {"A", "B", "C", "any checkpoint, on average", "most parameters", *NAMES} <= set(written)
    assert not {"bad/one", "D"} & set(written)
    assert any("failed: 2 checkpoints" in text for text in written)


def test_the_bars_of_a_ranking_are_distances_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ranked()
    scores = tuple(
        replace(score, behind=Estimate(0.01 * i, 0.01 * i - 0.002, 0.01 * i + 0.003) if i else None)
        for i, score in enumerate(found.scores)
    )
    drawn = lines(
        monkeypatch,
        lambda: draw_ranking(replace(found, scores=scores, baselines=()), tmp_path / "ranking.svg"),
    )
    bars = [ends for ends, rows in drawn if len(set(rows)) == 1 and len(rows) == 2]
    assert bars == [pytest.approx([2 - 0.01 * i - 0.003, 2 - 0.01 * i + 0.002]) for i in range(1, 8)]
    assert any("distance to the first in 95 % of 200" in text for text in texts(tmp_path / "ranking.svg"))


def test_the_axis_of_a_ranking_does_not_begin_at_0(tmp_path: Path) -> None:
    draw_ranking(ranked(), tmp_path / "ranking.svg")
    assert all(float(text) > 1.5 for text in texts(tmp_path / "ranking.svg") if NUMBER(text))


def test_a_ranking_without_a_bootstrap_has_neither_bars_nor_tiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = tuple(
        replace(score, tier=None, estimates={"logme": Estimate(score.estimates["logme"].value)})
        for score in ranked().scores
    )
    bare = replace(ranked(), scores=scores, replicates=0, baselines=())
    drawn = lines(monkeypatch, lambda: draw_ranking(bare, tmp_path / "ranking.svg"))
    assert len(drawn) == 1
    assert not {"A", "B", "C"} & set(texts(tmp_path / "ranking.svg"))


@pytest.mark.parametrize(("m", "note"), [(60, False), (61, True)])
def test_the_first_60_of_a_ranking_are_drawn(tmp_path: Path, m: int, note: bool) -> None:
    draw_ranking(ranked(tuple(f"checkpoint-{i}" for i in range(m))), tmp_path / "ranking.svg")
    written = texts(tmp_path / "ranking.svg")
    assert "checkpoint-59" in written
    assert "checkpoint-60" not in written
    assert any("the first 60 are drawn" in text for text in written) == note
    assert any(text.startswith(f"{m} checkpoints for") for text in written)


def test_a_ranking_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without scores"):
        draw_ranking(ranked(()), tmp_path / "ranking.svg")


def test_a_lineage_names_what_is_not_in_the_zoo_and_says_so(tmp_path: Path) -> None:
    draw_lineage(family(), tmp_path / "lineage.svg", picks=NAMES[:1])
    written = texts(tmp_path / "lineage.svg")
    assert {"Lineage of 8 checkpoints", "elsewhere/base"} <= set(written)
    assert any("hollow: not in the zoo" in text and "ringed: chosen" in text for text in written)
    draw_lineage([made("a"), made("b")], tmp_path / "lineage.svg")
    assert any("no card names a base" in text for text in texts(tmp_path / "lineage.svg"))


def test_a_lineage_of_many_counts_those_that_have_no_place(tmp_path: Path) -> None:
    many = [made(f"owner/checkpoint-{i:03}", "a-base") for i in range(120)]
    draw_lineage(many, tmp_path / "lineage.svg", picks=["owner/checkpoint-119"])
    written = texts(tmp_path / "lineage.svg")
    named = [text for text in written if text.startswith("owner/")]
    assert "owner/checkpoint-119" in named
    assert f"+{120 - len(named)} more" in written


def test_words_of_a_lineage_do_not_overlap(tmp_path: Path, boxes: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    names = [f"organisation/checkpoint-{i}{'-long' * (i % 4)}" for i in range(40)]
    bases = [[names[j] for j in rng.integers(0, i, size=2)] if i % 3 else [] for i in range(40)]
    many = [made(name, *each) for name, each in zip(names, bases, strict=True)]
    draw_lineage(many, tmp_path / "lineage.svg")
    assert len(boxes) >= 40
    assert not overlapping(boxes.values())


def test_a_lineage_of_none_or_with_a_foreign_pick_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoints"):
        draw_lineage([], tmp_path / "lineage.svg")
    with pytest.raises(UsageError, match="gpt5 is not among"):
        draw_lineage(family(), tmp_path / "lineage.svg", picks=["gpt5"])
    assert not list(tmp_path.iterdir())


def test_no_folder_of_this_machine_is_in_a_picture(tmp_path: Path) -> None:
    local = replace(TARGET, name="/home/somebody/mine", dataset="mine", local=True)
    draw_comparison(replace(comparison(), target=local), tmp_path / "c.svg")
    draw_curve(replace(learning((0.1, 1.0)), target=local), tmp_path / "curve.svg")
    for name in ("c.svg", "curve.svg"):
        assert "somebody" not in (tmp_path / name).read_text(encoding="utf-8")
        assert any("span F1 on mine" in text for text in texts(tmp_path / name))
    draw_ranking(replace(ranked(), target=local), tmp_path / "r.svg")
    assert "somebody" not in (tmp_path / "r.svg").read_text(encoding="utf-8")
    draw_lineage([made("/home/somebody/x", "/home/somebody/base")], tmp_path / "l.svg", picks=["x"])
    assert "somebody" not in (tmp_path / "l.svg").read_text(encoding="utf-8")
    assert {"x", "base"} <= set(texts(tmp_path / "l.svg"))
