"""Text from outside goes to terminals, pages, cards, tables, paths: there it shows, and does nothing else."""

from __future__ import annotations

import csv
import io
import os
import re
import string
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from tests.fuzz import shows_only
from tests.made_up import TARGET
from tests.reference.examples import STEADY
from tests.reported import names_of, report
from tests.test_report import Page
from zookeeper.cards import selection_card
from zookeeper.cards.files import table_file
from zookeeper.cards.text import cell, code, fence
from zookeeper.cli import output
from zookeeper.cli.output import Column, View
from zookeeper.cli.progress import Terminal
from zookeeper.errors import ZooError
from zookeeper.exchange import load_covariance, save_covariance
from zookeeper.hub.client import _is_within
from zookeeper.plain import brief, csv_cell, of_csv_cell, redacted, spelt_out
from zookeeper.publications import CardText
from zookeeper.records import Outcome
from zookeeper.report import html
from zookeeper.results import Covariance
from zookeeper.sections import metadata_of, spliced

WHOLE = (
    "[/x]",
    "[link=https://evil.example]click[/link]",
    "[bold red]",
    ":smile:",
    "\x1b]8;;https://evil.example\x1b\\click",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b2J",
    "=cmd|' /C calc'!A0",
    "-1+1",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "\n---\n",
    "a\n\n# b",
    "```",
    "*a",
    "<<: *x",
)
FOREIGN = st.sampled_from(WHOLE) | st.text(
    st.characters()
    | st.sampled_from(
        "[]()<>|&\"'`*_#:;=+-@\\/\t\r\n\x00\x07\x1b\x7f\x85\x9b\u200b\u202e\u2028\u2066\ufeff\ud800\udcff"
    ),
    max_size=40,
)
MARKDOWN = MarkdownIt("commonmark").enable("table")


def printed(show: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of no colour gets."""
    to = io.StringIO()
    plain = partial(Console, file=to, force_terminal=True, color_system=None, width=500)
    monkeypatch.setattr(
        output, "open_console", lambda *, stderr: plain(markup=False, emoji=False, highlight=False)
    )
    show()
    return to.getvalue()


def terminal(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = View("x", {}, (Column(text, key=True), Column("B")), ((text, 1), (None, 2)))
    shown = printed(lambda: output._draw(view), monkeypatch)
    assert shows_only(shown.replace("\n", ""))
    shown = printed(lambda: (output.say(text), output.show_error(text, text, text)), monkeypatch)
    assert all(map(shows_only, shown.split("\n")))
    assert spelt_out(redacted(text)).rstrip() in shown
    shown = printed(lambda: Terminal().note(text), monkeypatch)
    assert all(map(shows_only, shown.split("\n")))
    shown.encode()


def bar(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, to = Terminal(), io.StringIO()
    quiet = partial(Console, file=io.StringIO(), force_terminal=False)
    monkeypatch.setattr(output, "open_console", lambda *, stderr: quiet())
    with reporter._bar(text, 3, "words") as advance:
        advance(1, text)
        assert reporter._progress is not None
        Console(file=to, color_system=None, width=500).print(reporter._progress.get_renderable())
    assert all(map(shows_only, to.getvalue().split("\n")))
    assert to.getvalue().count(spelt_out(text).strip()) >= 2


def pipe(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Outcome("x", "done")
    view = View("x", {"name": text}, (Column(text), Column("B")), ((text, text),), outcomes=(failed,))
    for as_json in (False, True):
        to = io.StringIO()
        with redirect_stdout(to):
            output.show(view, as_json=as_json)
        said = to.getvalue()
        assert all(map(shows_only, re.split(r"[\t\n]", said)))
        assert as_json or [line.count("\t") for line in said.splitlines()] == [1, 1]


def table(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(4).selection
    assert found is not None
    picks = tuple(replace(pick, name=text, revision=None, stands_for=(text,)) for pick in found.picks)
    rows = list(csv.reader(io.StringIO(table_file(replace(found, picks=picks)).decode())))
    numbers = re.compile(r"-?[\d.e+-]+")
    for one in (one for row in rows for one in row):
        assert shows_only(one)
        assert not one.startswith(tuple("=+-@＝＋－＠")) or numbers.fullmatch(one)


def covariance(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ["ZOO_TEST_FOLDER"])
    found = Covariance((text, f"other {text}"), np.eye(2))
    (path,) = save_covariance(found, folder / "k.csv")
    assert load_covariance(path).names == tuple(map(spelt_out, found.names))
    _, names = save_covariance(found, folder / "k.npy")
    assert len(names.read_text("utf-8").split("\n")) == 3


def markdown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outline(foreign: str) -> list[str]:
        shown, block = cell(foreign), fence(foreign, "bash")
        row = f"| a | b |\n|---|---|\n| {shown} | `{code(foreign)}` |"
        page = f"# {shown}\n\n- {shown}\n\n{row}\n\n{shown}\n\n{block}\n\nend\n"
        assert all(map(shows_only, page.split("\n")))
        tokens = MARKDOWN.parse(page)
        kinds = [kind for token in tokens for kind in (token.type, *(c.type for c in token.children or ()))]
        return [kind for kind in kinds if not kind.startswith("text")]

    assert outline(text) == outline("x")


def yaml(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = text.encode("utf-8", "backslashreplace").decode()
    meant = {"license": name, "tags": [name, "zoo"], "model-index": [{"name": name, "results": []}]}
    ours = {"license": text, "tags": [text, "zoo"], "model-index": [{"name": text, "results": []}]}
    card = spliced("---\nlanguage: en\n---\n# Theirs\n", CardText(ours, "# Ours"))
    assert metadata_of(card) == meant | {"language": "en"}
    assert all(map(shows_only, card.split("\n")))
    assert card.endswith("<!-- zookeeper: end -->\n")


def page(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (text, *names_of(3))
    record = report(4, names) if text not in names[1:] else report(4)
    found = Page(html(replace(record, command=text, versions={text: text})))
    assert set(found.tags) <= TAGS
    assert found.attributes <= ATTRIBUTES
    assert not [name for name in found.attributes if name.startswith("on")]
    assert all(address.startswith(("#", "data:image/")) for address in found.addresses)
    assert "default-src 'none'" in found.policy
    assert all(map(shows_only, found.text.split("\n")))


HARMLESS = Page(html(report(4)))
TAGS, ATTRIBUTES = set(HARMLESS.tags), HARMLESS.attributes


def server(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = brief(text)
    assert shows_only(said)
    assert len(said) <= 300


def path(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for foreign in (text, f"../{text}", f"a/{text}/b", text.replace(":", "/").replace("x", "..")):
        if _is_within(foreign):
            for kind, root in ((PurePosixPath, "/r/s"), (PureWindowsPath, "C:/r/s")):
                joined = kind(root) / foreign
                assert joined.is_relative_to(root)
                assert ".." not in joined.parts


SINKS = {
    sink.__name__: sink
    for sink in (terminal, bar, pipe, table, covariance, markdown, yaml, page, server, path)
}
EXAMPLES = {"page": 40, "table": 100}


def check(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send so many texts there."""

    @settings(STEADY, max_examples=n)
    @given(FOREIGN)
    def send(text: str) -> None:
        with monkeypatch.context() as patch:
            SINKS[name](text, patch)

    send()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_TEST_FOLDER", str(tmp_path))


@pytest.mark.parametrize("name", SINKS)
def test_foreign_text_does_nothing_but_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, EXAMPLES.get(name, 200), monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("name", SINKS)
def test_much_foreign_text_does_nothing_but_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, 500 if name == "page" else 10_000, monkeypatch)


# Secrets

TOKEN = st.text(string.ascii_letters + string.digits, min_size=20, max_size=40).map("hf_{}".format)


@settings(STEADY, max_examples=200)
@given(FOREIGN, TOKEN, FOREIGN)
def test_no_token_stays_in_a_text(before: str, token: str, after: str) -> None:
    for text in (
        f"{before}{token}{after}",
        f"Authorization: Bearer {token}",
        f"https://me:{token}@host/{after}",
    ):
        assert token not in redacted(text, {})
        assert token not in brief(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer odd.token", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': 'Basic ***'}"),
        ("Proxy-Authorization: secret", "Proxy-Authorization: ***"),
        ("http://user:password@proxy:3128/a@b", "http://***@proxy:3128/a@b"),
        ("https://huggingface.co/a@b and me@example.org", "https://huggingface.co/a@b and me@example.org"),
        ("hf_hub_download of org/hf_model", "hf_hub_download of org/hf_model"),
        ("is an odd one", "is an ***"),
        ("Authorization was missing", "Authorization was missing"),
        ("https://host/x?a=1&X-Amz-Signature=dead/beef&b=2", "https://host/x?a=1&X-Amz-Signature=***&b=2"),
        ("X-Amz-Credential=me%2Fx", "X-Amz-Credential=***"),
        ("/x?access_token=abc and ?key=abc;sig=d", "/x?access_token=*** and ?key=***;sig=***"),
        ("https://host/x?monkeys=3&token_type=x", "https://host/x?monkeys=3&token_type=x"),
    ],
)
def test_what_is_no_secret_stays(text: str, left: str) -> None:
    assert redacted(text, {"HF_TOKEN": "odd one", "HUGGING_FACE_HUB_TOKEN": ""}) == left


@settings(STEADY, max_examples=200)
@given(FOREIGN)
def test_a_cell_of_a_spreadsheet_comes_back_as_it_was(text: str) -> None:
    assert of_csv_cell(csv_cell(text)) == spelt_out(text)
    assert csv_cell(-1.5) == -1.5
    assert csv_cell(None) is None


# Metadata that are too much


@pytest.mark.parametrize(
    ("front", "why"),
    [
        ("a: " + "x" * 600_000, "characters"),
        ("a: " + "[" * 40 + "]" * 40, "levels"),
        ("- " * 20_000, "levels"),
        ("a: [" + "1," * 120_000 + "]", "too many"),
        ("a: &a [" + "1," * 300 + "]\nb: &b [" + "*a," * 300 + "]\nc: [" + "*b," * 300 + "]", "too many"),
    ],
)
def test_metadata_that_are_too_much_are_refused_at_once(front: str, why: str) -> None:
    with pytest.raises(ZooError, match="cannot be read") as refused:
        metadata_of(f"---\n{front}\n---\n")
    assert why in str(refused.value.why)


def test_a_card_with_thousands_of_results_is_read() -> None:
    results = "".join(
        f"  - task: {{type: t}}\n    dataset: {{type: d, name: {i}}}\n    metrics: [{{type: f1, value: 1}}]\n"
        for i in range(3_000)
    )
    card = f"---\nmodel-index:\n- name: x\n  results:\n{results}---\n"
    assert len(metadata_of(card)["model-index"][0]["results"]) == 3_000


def test_a_selection_of_hostile_names_makes_a_card_of_one_metadata_block() -> None:
    found = report(4).selection
    assert found is not None
    for hostile in WHOLE:
        picks = tuple(replace(pick, name=hostile, revision=None) for pick in found.picks)
        hostile_one = replace(found, picks=picks, target=replace(TARGET, name=hostile))
        made = spliced("", selection_card(hostile_one, hostile))
        assert re.findall(r"(?m)^---$", made) == ["---"] * 2
        assert made.count("# zookeeper: begin") == made.count("<!-- zookeeper: begin") == 1
