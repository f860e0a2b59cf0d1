"""The report: one page that needs nothing else, says what the record says, and makes markup of no name."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.made_up import TARGET
from tests.reference.examples import STEADY
from tests.reported import HOSTILE, covariance, names_of, report
from zookeeper.arrangement import correlation
from zookeeper.plain import spelt_out
from zookeeper.publications import Report
from zookeeper.report import colours, html, svg
from zookeeper.results import Covariance, Epoch


@dataclass
class Page(HTMLParser):
    """What a browser would find in a page."""

    text: str
    tags: list[str] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    addresses: list[str] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    blocks: dict[str, list[str]] = field(default_factory=dict)
    policy: str = ""
    words: str = ""
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes |= set(given)
        self.addresses += [value for name, value in given.items() if name in ("href", "src", "xlink:href")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "section":
            self.sections.append(given["id"])
        if tag not in ("meta", "input"):
            self._open.append(tag)
        if tag in ("style", "script"):
            self.blocks.setdefault(given.get("type", tag), []).append("")
            self._block = given.get("type", tag)
        if tag == "caption":
            self._rows: list[list[str]] = []
            self._caption = ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} is closed where another is open"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        where = self._open[-1] if self._open else ""
        if where in ("style", "script"):
            self.blocks[self._block][-1] += data
            return
        self.words += data
        if where == "caption":
            self._caption += data
        if where in ("td", "th"):
            self._rows[-1][-1] += data

    def column(self, caption: str, title: str) -> list[str]:
        heads, *rows = self.tables[caption]
        at = heads.index(title)
        return [row[at] for row in rows]


@pytest.fixture(scope="module")
def whole() -> Page:
    return Page(html(report(18)))


def test_fifty_checkpoints_with_everything_fit_in_half_a_megabyte() -> None:
    assert len(html(report(50)).encode()) <= 500_000


def test_hundreds_of_checkpoints_still_make_a_page() -> None:
    page = Page(html(report(200)))
    assert len(page.text.encode()) <= 1_000_000
    assert "All alignments" not in page.tables
    assert len(page.tables["In this zoo"]) == 201


def test_the_same_record_makes_the_same_bytes() -> None:
    assert html(report(18)) == html(report(18))


def test_nothing_but_its_own_script_and_stylesheet_may_run(whole: Page) -> None:
    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    policy = dict(rule.split(" ", 1) for rule in whole.policy.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == hashed(whole.blocks["script"][0])
    assert policy["style-src"] == hashed(whole.blocks["style"][0])
    assert "unsafe" not in whole.policy
    assert len(whole.blocks["script"]) == len(whole.blocks["style"]) == 1


def test_the_page_names_no_other_place(whole: Page) -> None:
    assert whole.addresses
    assert all(each.startswith(("#", "data:image/png;base64,")) for each in whole.addresses)
    assert "url(" not in whole.blocks["style"][0]
    assert "@import" not in whole.blocks["style"][0]
    assert not {name for name in whole.attributes if name.startswith("on") or name == "style"}
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(whole.tags)


def test_the_head_says_what_came_out_and_what_of(whole: Page) -> None:
    record = report(18)
    assert record.ranking and record.selection and record.covariance and record.covariance.probed
    assert record.ranking.scores[0].name in whole.words
    for pick in record.selection.picks:
        assert pick.name in whole.words
    for fact in (
        record.command,
        record.created_at,
        record.covariance.probed.corpus,
        TARGET.commit,
        "numpy 2.3.1",
    ):
        assert fact in whole.words


def test_the_table_of_alignments_has_every_one(whole: Page) -> None:
    found = report(18).covariance
    assert found is not None
    _, *rows = whole.tables["All alignments"]
    order = [found.names.index(row[1]) for row in rows]
    shown = np.array([[float(cell) for cell in row[2:]] for row in rows])
    assert sorted(order) == list(range(18))
    np.testing.assert_allclose(shown, correlation(found.matrix)[np.ix_(order, order)], atol=0.005)


def test_what_the_heat_map_reads_out_is_the_alignment(whole: Page) -> None:
    found = report(18).covariance
    assert found is not None
    data = json.loads(whole.blocks["application/json"][0])
    order = [found.names.index(name) for name in data["names"]]
    for row, values in enumerate(data["thousandths"]):
        for column, value in enumerate(values):
            assert value / 1000 == pytest.approx(found.matrix[order[row], order[column]], abs=0.0006)


def test_the_table_of_picks_has_gains_and_what_random_sets_come_to(whole: Page) -> None:
    found = report(18).selection
    assert found is not None
    assert whole.column("Picks", "checkpoint") == [pick.name for pick in found.picks]
    assert whole.column("Picks", "gain, nats") == [f"{pick.gain:.4f}" for pick in found.picks]
    assert whole.column("Picks", "all so far") == [f"{pick.total:.4f}" for pick in found.picks]
    assert whole.column("Picks", "at random") == [f"{each.value:.4f}" for each in found.random]
    assert whole.column("Picks", "95\u00a0%") == [f"{high:.4f}" for _, high in found.band]


def test_the_table_of_scores_has_every_score_in_its_order(whole: Page) -> None:
    found = report(18).ranking
    assert found is not None
    assert whole.column("Scores", "checkpoint") == [score.name for score in found.scores]
    assert whole.column("Scores", "LogME") == [
        f"{score.estimates['logme'].value:.4f}" for score in found.scores
    ]
    assert whole.column("Scores", "tier") == [score.tier for score in found.scores]
    assert whole.column("Baselines", "LogME") == ["1.4200", "1.4600"]


def test_tables_of_runs_have_results_passes_and_shares(whole: Page) -> None:
    first, second = report(18).runs
    assert whole.column("Runs", "run") == [first.id, second.id]
    for run, shown in zip((first, second), whole.column("Runs", "test"), strict=True):
        found = run.results["test"]
        assert shown == f"{found.mean:.4f}\u00a0±\u00a0{found.deviation:.4f}"
    passes = f"Run {first.id} pass by pass: validation span F1 by seed"
    for trial in first.whole:
        values = whole.column(passes, f"seed\u00a0{trial.key.seed}")
        assert values[: len(trial.history)] == [f"{epoch.metric:.4f}" for epoch in trial.history]
    assert whole.column(f"Run {first.id} with less data", "sentences") == ["80", "804", "8,042"]


def test_the_table_of_ensembles_has_their_place_among_random_ones(whole: Page) -> None:
    found = report(18).comparison
    assert found is not None
    assert whole.column("Ensembles", "ensemble") == [one.name for one in found.contenders]
    assert whole.column("Ensembles", "place of\u00a041") == [str(found.rank(one)) for one in found.contenders]
    assert len(whole.tables["Random ensembles"]) == 1 + len(found.random)


def test_the_table_of_lineage_has_every_base(whole: Page) -> None:
    derived = [(one.name, *one.base_models) for one in report(18).checkpoints if one.base_models]
    caption = "What was made from what"
    assert (
        list(zip(whole.column(caption, "checkpoint"), whole.column(caption, "made from"), strict=True))
        == derived
    )


def test_checkpoints_have_their_whole_commits_and_failures_their_reasons(whole: Page) -> None:
    assert whole.column("In this zoo", "commit") == [one.revision.commit for one in report(18).checkpoints]
    assert "no fast tokenizer" in whole.column("In this zoo", "problem")
    assert whole.column("Left out", "what happened") == ["it does not load.", "it has no tokenizer."]


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ({"covariance": None}, {"kappa", "map"}),
        ({"selection": None}, {"gains"}),
        ({"ranking": None}, {"ranking"}),
        ({"runs": ()}, {"runs"}),
        ({"comparison": None}, {"comparison"}),
    ],
)
def test_what_a_record_lacks_is_left_out(whole: Page, missing: dict[str, object], gone: set[str]) -> None:
    page = Page(html(replace(report(18), **missing)))  # type: ignore[arg-type]
    assert page.sections == [each for each in whole.sections if each not in gone]


def test_an_empty_zoo_makes_a_page_that_says_so() -> None:
    page = Page(html(Report("zoo report", "2026-11-21T09:30:00Z", {}, ())))
    assert page.sections == []
    assert "Nothing was measured yet." in page.words


@pytest.mark.parametrize("m", [1, 2, 3])
def test_a_zoo_of_few_makes_a_page(m: int) -> None:
    names = names_of(m)
    alone = Covariance(tuple(names), np.eye(m))
    page = Page(html(replace(report(5), checkpoints=(), covariance=alone)))
    assert ("kappa" in page.sections) == (m > 1)
    assert ("map" in page.sections) == (m > 2)


def test_a_covariance_from_a_file_with_negative_entries_and_no_variance_is_drawn() -> None:
    matrix = np.array([[4.0, -2, 0], [-2, 9, 0], [0, 0, 0]])
    page = Page(html(replace(report(5), covariance=Covariance(("a", "b", "nothing"), matrix))))
    assert "−.33" in [cell for row in page.tables["All alignments"] for cell in row]


def named(names: tuple[str, ...]) -> Page:
    return Page(html(report(len(names), names)))


def test_no_name_becomes_markup_and_every_name_can_be_read(whole: Page) -> None:
    page = named(HOSTILE)
    assert set(page.tags) <= set(whole.tags)
    assert page.attributes <= whole.attributes
    assert page.column("In this zoo", "checkpoint") == [spelt_out(name) for name in HOSTILE]
    assert len(page.blocks["script"]) == len(page.blocks["style"]) == 1
    assert not set("\x1b\u202e\u2028\x00") & set(page.text)


@STEADY
@given(st.lists(st.text(min_size=1, max_size=40), min_size=4, max_size=4, unique=True))
def test_no_text_at_all_becomes_markup(whole: Page, names: list[str]) -> None:
    page = named(tuple(names))
    assert set(page.tags) <= set(whole.tags)
    assert page.attributes <= whole.attributes
    page.text.encode()


def test_every_other_foreign_text_is_only_text(whole: Page) -> None:
    hostile = "</script><img src=x onerror=alert(1)>\x1b"
    record = report(18)
    assert record.ranking and record.comparison
    page = Page(
        html(
            replace(
                record,
                command=hostile,
                versions={hostile: hostile},
                checkpoints=tuple(
                    replace(one, license=hostile, model_type=hostile, problem=hostile, base_models=(hostile,))
                    for one in record.checkpoints
                ),
                ranking=replace(record.ranking, target=replace(TARGET, name=hostile, config=hostile)),
                runs=tuple(replace(run, metric=hostile) for run in record.runs),
                comparison=replace(record.comparison, metric=hostile, recipe=hostile),
            )
        )
    )
    assert set(page.tags) <= set(whole.tags)
    assert page.attributes <= whole.attributes
    assert page.words.count(spelt_out(hostile)) > 10


def test_a_very_long_name_is_whole_once_and_cut_elsewhere() -> None:
    names = ["a" * 5_000 + "b" * 5_000, *names_of(8)]
    page = named(tuple(names))
    assert page.text.count(names[0]) == 1
    assert names[0] in page.column("In this zoo", "checkpoint")
    assert re.search("a{20}…b{20}", page.words)


def test_no_folder_of_this_machine_is_named() -> None:
    target = replace(TARGET, name="/home/somebody/mine", dataset="mine", local=True)
    record = report(5)
    assert record.ranking and record.comparison and record.covariance and record.covariance.probed
    probed = replace(record.covariance.probed, name="/home/somebody/text.txt")
    page = html(
        replace(
            record,
            checkpoints=tuple(
                replace(
                    one,
                    revision=replace(one.revision, repo_id=f"/home/somebody/{one.name}"),
                    base_models=("/home/somebody/base",),
                )
                for one in record.checkpoints
            ),
            ranking=replace(record.ranking, target=target),
            runs=tuple(replace(run, target=target, metric="/home/somebody/metric") for run in record.runs),
            comparison=replace(record.comparison, target=target),
            covariance=replace(record.covariance, probed=probed),
        )
    )
    assert "somebody" not in page
    assert "text.txt, 10,000 words" in page
    assert "base" in Page(page).column("What was made from what", "made from")


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, re.S)
    assert found
    return found[0]


@pytest.mark.parametrize("m", [18, 50])
def test_labels_of_the_map_do_not_overlap(m: int) -> None:
    drawn = section(html(report(m)), "map")
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="c n[ a-z]*">(.*?)</text>', drawn)
    assert len(found) == m
    boxes = []
    for x, y, label in found:
        half = svg.width_of(label) / 2 - 0.1
        boxes.append((float(x) - half, float(y) - svg.SMALL + 0.1, float(x) + half, float(y)))
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_the_gain_curve_has_its_band_and_that_of_random_sets_where_they_are_known() -> None:
    record = report(5)
    assert record.selection
    bare = replace(record, selection=replace(record.selection, band=(), random=(), controls=()))
    known, unknown = (section(html(each), "gains") for each in (record, bare))
    for mark in ('class="band"', 'class="random"', 'class="dashed"'):
        assert (known.count(mark), unknown.count(mark)) == (1, 0)


def test_random_sets_of_the_last_size_only_are_a_band_at_the_last_pick() -> None:
    record = report(5)
    assert record.selection
    control = replace(record.selection.controls[0], spread=(0.25, 1.0))
    drawn = section(html(replace(record, selection=replace(record.selection, random=()))), "gains")
    assert drawn.count('class="random"') == 1
    assert "grey one at the last pick" in drawn
    heights = {float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", path_of(drawn, "random"))}
    last = max(float(y) for y in re.findall(r'cy="([\d.]+)" r="4.5" class="point"', drawn))
    assert min(heights) < last < max(heights)
    assert max(heights) - min(heights) == 34
    without = replace(record.selection, random=(), controls=(replace(control, spread=None),))
    assert 'class="random"' not in section(html(replace(record, selection=without)), "gains")


def path_of(drawn: str, class_: str) -> str:
    found = re.search(rf'<path d="([^"]*)" class="{class_}">', drawn)
    assert found
    return found[1]


def test_a_selection_for_a_target_says_so_and_is_in_nats_per_example() -> None:
    record = report(5)
    assert record.selection
    aimed = replace(record.selection, by="evidence", target=TARGET)
    page = Page(html(replace(record, selection=aimed)))
    assert "gain, nats per example" in page.tables["Picks"][0]
    assert "tell about conll2000" in page.words


def test_a_large_lineage_is_folded_by_base_and_keeps_the_chosen() -> None:
    record = report(200)
    assert record.selection
    drawn = section(html(record), "lineage").split("<details>")[0]
    assert drawn.count("<rect") <= 80
    assert re.search(r"\+\d+ more", drawn)
    assert drawn.count('class="node chosen"') == len(record.selection.picks)


def test_near_duplicates_are_dotted_and_bracketed() -> None:
    names = names_of(8)
    near = covariance(names)
    apart = replace(near, matrix=np.eye(8))

    def marks(found: Covariance) -> tuple[int, int]:
        page = html(Report("zoo report", "", {}, (), covariance=found))
        dots = re.search(r'<path d="([^"]*)" class="near">', page)
        assert dots
        return dots[1].count("h0"), page.count('class="bracket"')

    assert marks(near) == (2, 1)
    assert marks(apart) == (0, 0)


def test_pixels_of_a_heat_map_have_the_colours_of_their_values() -> None:
    address = colours.pixels(np.array([[np.nan, 0.0], [2.0, 1.0]]), scale=3)
    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA")
    assert image.size == (6, 6)
    first, last = (tuple(each.tolist()) for each in colours.ramp()[[0, -1]])
    assert image.getpixel((0, 0))[3] == 0
    assert image.getpixel((5, 0)) == (*first, 255)
    assert image.getpixel((0, 5)) == image.getpixel((5, 5)) == (*last, 255)


def test_the_ramp_grows_lighter_all_the_way() -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(colours.ramp(64).astype(float) @ weights) > 0).all()


numbers = st.floats(-1e6, 1e6)


@STEADY
@given(st.lists(numbers, min_size=1, max_size=5))
def test_an_axis_holds_its_values_and_few_round_marks(values: list[float]) -> None:
    scale = svg.Scale.over(values, 100, 500)
    assert all(100 <= scale(value) <= 500 for value in values)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 7
    assert len({label for _, label in ticks}) == len(ticks)


def many(values: float) -> Callable[[Report], Report]:
    def changed(record: Report) -> Report:
        assert record.comparison
        alike = tuple(replace(one, values=(values,) * 3) for one in record.comparison.random)
        return replace(record, comparison=replace(record.comparison, random=alike))

    return changed


@pytest.mark.parametrize("n", [0, 1, 30])
def test_random_ensembles_that_are_all_alike_or_none_are_drawn(n: int) -> None:
    page = html(many(0.5)(report(5, n_random=n)))
    assert page.count('class="speck"') == n
    assert ("Random ensembles" in Page(page).tables) == bool(n)


def test_a_violin_is_drawn_of_twenty_and_more() -> None:
    def areas(n: int) -> int:
        return section(html(report(5, n_random=n)), "comparison").count('class="band"')

    assert (areas(19), areas(20)) == (0, 1)


def test_a_place_among_random_ensembles_is_never_without_its_chance() -> None:
    record = report(5, n_random=6)
    assert record.comparison
    good = replace(record.comparison.contenders[0], values=(0.75,) * 3)
    random = tuple(replace(record.comparison.random[0], values=(0.7 + 0.01 * i,) * 3) for i in range(6))
    found = replace(record.comparison, contenders=(good,), random=random)
    words = Page(html(replace(record, comparison=found))).words
    assert "the ensemble chosen is above 5 of 6 random ensembles, p\u00a0=\u00a00.29." in words
    assert "random ensembles it is above, p\u00a0=\u00a00.29" in words
    assert words.count("5 of 6") == words.count("p\u00a0=\u00a00.29") == 4


@pytest.mark.parametrize("last", [2, 3, 5, 40])
def test_passes_are_counted_in_whole_numbers(last: int) -> None:
    record = report(5)
    short = tuple(
        replace(
            run,
            trials=tuple(
                replace(one, history=tuple(Epoch(i, 0.1, 0.01 * i) for i in range(last + 1)))
                for one in run.trials
            ),
        )
        for run in record.runs
    )
    drawn = section(html(replace(record, runs=short)), "runs")
    marks = re.findall(r'class="m c">([\d.]+)</text>', drawn.split("</svg>")[0])
    assert len(marks) > 1
    assert all(mark.isdigit() and 1 <= int(mark) <= last for mark in marks)


def test_the_lines_of_a_ranking_cross_no_caption() -> None:
    drawn = section(html(report(18)), "ranking").split("</svg>")[0]
    caption = re.search(r'y="([\d.]+)" class="m">LogME, train', drawn)
    lines = [path.split()[1] for path in re.findall(r'd="M([^"]*)" class="floor"', drawn)]
    assert caption and lines
    assert all(float(top) > float(caption[1]) for top in lines)


def test_the_bars_of_a_ranking_are_distances_to_the_first() -> None:
    record = report(5)
    assert record.ranking
    by_itself = {"logme": replace(record.ranking.scores[0].estimates["logme"], low=-90.0, high=90.0)}
    drawn = section(html(record), "ranking")
    assert drawn.split("</svg>")[0].count('class="whisker"') == 4, "none at the first"
    wide = replace(record.ranking.scores[0], estimates=by_itself)
    other = replace(record.ranking, scores=(wide, *record.ranking.scores[1:]))
    assert (
        section(html(replace(record, ranking=other)), "ranking").split("</svg>")[0]
        == drawn.split("</svg>")[0]
    )


def test_a_run_whose_metric_is_undefined_is_in_the_table_only() -> None:
    record = report(5)
    undefined = tuple(
        replace(
            run,
            trials=tuple(
                replace(
                    trial,
                    history=tuple(replace(epoch, metric=None) for epoch in trial.history),
                    results=dict.fromkeys(trial.results),
                )
                for trial in run.trials
            ),
        )
        for run in record.runs
    )
    page = Page(html(replace(record, runs=undefined)))
    assert page.column("Runs", "run") == [run.id for run in undefined]
    assert "undefined on test" in page.words


def test_a_choice_for_a_target_stands_beside_the_one_without_labels() -> None:
    record = report()
    assert record.selection is not None
    for_target = replace(record.selection, by="evidence", target=TARGET, band=(), random=())
    page = html(replace(record, selection=for_target, unlabelled=record.selection))
    assert "What the chosen say of the rest" in page
    assert "What the chosen say of conll2000" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
