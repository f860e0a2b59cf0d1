"""The report in a real browser, without a network: nothing loads, nothing fails, everyone can use it."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.reported import HOSTILE, report
from zookeeper.report import html

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html(report(18)), encoding="utf-8")
    return path.as_uri()


class Opener:
    """Opens the report, and notes whatever a page should not do."""

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self._address = browser, address
        self._contexts: list[Any] = []
        self.wrong: list[str] = []

    def __call__(self, **known: Any) -> Any:
        context = self._browser.new_context(offline=True, **{"viewport": DESK} | known)
        self._contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: self._requested(request.url))
        page.on("console", lambda message: self.wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.goto(self._address)
        return page

    def _requested(self, url: str) -> None:
        if url != self._address and not url.startswith("data:"):
            self.wrong.append(f"request: {url}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def hostile_page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The report of checkpoints whose names would be markup."""
    path = tmp_path / "hostile.html"
    path.write_text(html(report(len(HOSTILE), HOSTILE)), encoding="utf-8")
    opener = Opener(browser, path.as_uri())
    yield opener()
    opener.close()
    assert opener.wrong == []


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Opener]:
    """Every page of a test made no request but for itself, and no error."""
    opener = Opener(browser, address)
    yield opener
    opener.close()
    assert opener.wrong == []


def opened(page: Any) -> Any:
    """The same page with all that is folded opened."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    return page


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)])
def test_axe_finds_nothing_wrong(open_page: Opener, scheme: str, viewport: dict[str, int]) -> None:
    page = opened(open_page(color_scheme=scheme, viewport=viewport, bypass_csp=True))
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []


def test_every_picture_is_drawn_and_has_a_name(open_page: Opener) -> None:
    pictures = open_page().locator("svg[role=img]:visible")
    assert pictures.count() == 8
    for i in range(pictures.count()):
        box = pictures.nth(i).bounding_box()
        assert min(box["width"], box["height"]) > 100
        assert pictures.nth(i).get_attribute("aria-label")


def values(page: Any, caption: str, title: str) -> list[str]:
    table = page.locator("table", has=page.locator("caption", has_text=re.compile(f"^{caption}$")))
    heads = [head.removesuffix("↕") for head in table.locator("thead th").all_inner_texts()]
    at = [head.strip() for head in heads].index(title)
    found: list[str] = table.locator(f"tbody tr:visible > :nth-child({at + 1})").all_inner_texts()
    return found


def test_a_table_is_sorted_by_any_column_both_ways_and_says_so(open_page: Opener) -> None:
    page = open_page()
    table = page.locator("table", has=page.locator("caption", has_text="Scores"))
    head = table.locator("th", has_text="Probe")
    head.get_by_role("button").click()
    found = [float(value) for value in values(page, "Scores", "Probe")]
    assert found == sorted(found, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#live").inner_text() == "Sorted by Probe, descending."
    head.get_by_role("button").press("Enter")
    found = [float(value) for value in values(page, "Scores", "Probe")]
    assert found == sorted(found)
    assert head.get_attribute("aria-sort") == "ascending"
    table.locator("th", has_text="checkpoint").get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    names = values(page, "Scores", "checkpoint")
    assert names == sorted(names)


def test_what_has_no_value_comes_last_however_it_is_sorted(open_page: Opener) -> None:
    page = open_page()
    button = page.locator("th", has_text=re.compile("^licence")).get_by_role("button")
    for _ in range(2):
        button.click()
        licences = values(page, "In this zoo", "licence")
        assert licences[-6:] == ["–"] * 6


def test_a_filter_leaves_the_rows_that_have_the_text_and_counts_them(open_page: Opener) -> None:
    page = open_page()
    box = page.locator("#checkpoints").get_by_label("Filter")
    box.fill("GPT2")
    names = values(page, "In this zoo", "checkpoint")
    assert names and all("gpt2" in name for name in names)
    assert page.locator("#live").inner_text() == f"{len(names)} of 18 rows."
    box.fill("")
    assert len(values(page, "In this zoo", "checkpoint")) == 18


def test_arrow_keys_move_in_the_heat_map_and_the_live_text_reads_the_cell(open_page: Opener) -> None:
    page = open_page()
    heat, live = page.locator("#heat"), page.locator("#readout")
    assert live.get_attribute("role") == "status"
    heat.focus()
    assert "with itself" in live.inner_text()
    heat.press("ArrowRight")
    first = live.inner_text()
    assert re.fullmatch(r"1 .+ × 2 .+: κ \d\.\d{3}", first)
    heat.press("ArrowDown")
    heat.press("ArrowLeft")
    assert live.inner_text().split(": ")[1] == first.split(": ")[1]
    heat.press("End")
    assert "× 18 " in live.inner_text()
    heat.press("ArrowRight")
    assert "× 18 " in live.inner_text()
    written = page.locator("table.plain tbody tr").nth(1).locator("td").last.text_content()
    assert float(live.inner_text().split("κ ")[1]) == pytest.approx(float(written), abs=0.0051)


def test_the_pointer_reads_the_cell_it_is_on(open_page: Opener) -> None:
    page = open_page()
    svg = page.locator("#heat svg")
    svg.scroll_into_view_if_needed()
    left, top, side = (float(svg.get_attribute(f"data-{name}")) for name in ("left", "top", "side"))
    box, across = svg.bounding_box(), float(svg.get_attribute("viewBox").split()[2])
    scale = box["width"] / across
    page.mouse.move(box["x"] + scale * (left + side * 2.5 / 18), box["y"] + scale * (top + side * 4.5 / 18))
    assert re.match(r"5 .+ × 3 ", page.locator(".tip").inner_text())
    assert page.locator("#readout").inner_text() == page.locator(".tip").inner_text()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert page.locator(".tip").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_the_systems_until_the_button_is_pressed(open_page: Opener, scheme: str) -> None:
    def lightness() -> float:
        red, green, blue = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number)"
        )[:3]
        return float(red + green + blue) / 765

    page = open_page(color_scheme=scheme)
    there, back = ("Light", "Dark") if scheme == "dark" else ("Dark", "Light")
    assert (lightness() < 0.3) == (scheme == "dark")
    page.get_by_role("button", name=there, exact=True).click()
    assert (lightness() < 0.3) == (scheme == "light")
    page.get_by_role("button", name=back, exact=True).click()
    assert (lightness() < 0.3) == (scheme == "dark")


def test_a_phone_scrolls_tables_and_pictures_but_not_the_page(open_page: Opener) -> None:
    page = opened(open_page(viewport=PHONE))
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wide = page.locator(".scroll[data-name]", has=page.locator("table")).first
    assert wide.evaluate("(each) => each.scrollWidth > each.clientWidth")
    assert wide.get_attribute("tabindex") == "0"


def test_a_phone_shows_the_whole_ranking_with_its_names(open_page: Opener) -> None:
    page = open_page(viewport=PHONE)
    drawn = page.locator("#ranking svg[role=img]:visible")
    assert drawn.count() == 1
    for each in (*drawn.locator("text").all(), *drawn.locator("circle.point").all()):
        box = each.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    rows = drawn.locator("text.n").filter(has_text=re.compile(r"^\d+ \S")).all()
    assert len(rows) == 18
    heights = [each.bounding_box()["y"] for each in rows]
    assert min(b - a for a, b in pairwise(heights)) > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_scrolls_has_a_shade_at_the_side_on_which_there_is_more(open_page: Opener, scheme: str) -> None:
    page = open_page(viewport=PHONE, color_scheme=scheme)
    wide = page.locator("#ranking .scroll", has=page.locator("table")).first

    def shades() -> list[int]:
        """How much the middle of each edge differs from the page, between lines of text."""
        image = Image.open(io.BytesIO(wide.screenshot())).convert("L")
        paper = image.getpixel((image.width // 2, 3))
        return [abs(image.getpixel((x, 3)) - paper) for x in (1, image.width - 2)]

    start = shades()
    wide.evaluate("(each) => { each.scrollLeft = each.scrollWidth; }")
    end = shades()
    assert (start[0] < 5 < start[1], end[1] < 5 < end[0]) == (True, True), (start, end)


def test_nothing_is_clipped_on_paper(open_page: Opener, tmp_path: Path) -> None:
    paper = {"width": 688, "height": 1016}  # A4 less margins of 14 mm, at 96 pixels an inch
    page = opened(open_page(viewport=paper, color_scheme="dark"))
    page.emulate_media(media="print", color_scheme="dark")
    beyond = page.evaluate(
        """(width) => [...document.querySelectorAll("body *")]
            .filter((each) => each.checkVisibility() && !each.closest(".unseen"))
            .map((each) => [each.getBoundingClientRect(), each.outerHTML.slice(0, 120)])
            .filter(([box]) => box.right > width + 1 || box.left < -1)""",
        paper["width"],
    )
    assert beyond == []
    hidden = page.evaluate(
        """() => [...document.querySelectorAll(".scroll")]
            .filter((each) => getComputedStyle(each).overflowX !== "visible").length"""
    )
    assert hidden == 0
    tallest = page.evaluate(
        """() => [...document.querySelectorAll("svg")]
            .map((each) => each.getBoundingClientRect().height)
            .reduce((a, b) => Math.max(a, b))"""
    )
    assert tallest < paper["height"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")


def test_no_name_makes_an_element_or_runs(hostile_page: Any) -> None:
    said: list[str] = []
    hostile_page.on("dialog", lambda dialog: said.append(dialog.message))
    opened(hostile_page).locator("#heat").press("ArrowRight")
    foreign = hostile_page.locator("img, a:not([href^='#']), body style, [onload], [onerror], [onmouseover]")
    assert foreign.count() == 0
    assert hostile_page.locator("tbody th", has_text="<img src=x onerror=alert(1)>").count() > 1
    assert said == []


def test_without_script_the_page_is_whole_and_has_no_dead_buttons(open_page: Opener) -> None:
    page = open_page(java_script_enabled=False)
    assert page.get_by_role("button").count() == 0
    assert page.get_by_role("searchbox").count() == 0
    assert page.locator("section").count() == 8
