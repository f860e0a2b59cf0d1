"""What zoo says on a card is put beside what others wrote, of which every byte stays."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.reference.examples import STEADY
from zookeeper.errors import DataError
from zookeeper.publications import CardText
from zookeeper.sections import left_out, metadata_of, section_of, spliced

MANY = settings(STEADY, max_examples=60)
NEWLINE = r"(?:\r\n|\r|\n)"
BLOCK = re.compile(rf"# zookeeper: begin.*?# zookeeper: end{NEWLINE}", re.DOTALL)
SECTION = re.compile(rf"{NEWLINE}*<!-- zookeeper: begin.*?<!-- zookeeper: end -->{NEWLINE}", re.DOTALL)
RESULTS = [
    {
        "name": "ours",
        "results": [
            {
                "task": {"type": "x"},
                "dataset": {"name": "d", "type": "d"},
                "metrics": [{"type": "f1", "value": 0.5}],
            }
        ],
    }
]
OURS = CardText(
    {"library_name": "zookeeper", "tags": ["zookeeper"], "model-index": RESULTS}, "# Ours\n\n| a |\n|---|"
)
OTHER = CardText(
    {"tags": ["zookeeper", "ensemble"], "license": "mit", "model-index": RESULTS * 2}, "Another\n\n---\n"
)

FRONT = st.sampled_from(
    (
        "license: mit",
        "license: 'apache-2.0'   # as upstream",
        '"language": [en, "no"]',
        "language:\n- en\n-   de",
        "tags:\n  - chunking\n\n  # the next one is a joke\n  - 'yes'",
        "widget:\n- text: >-\n    I like you.\n\n    I --- love you.\n  example_title: 'two: lines'",
        "base_model: &base FacebookAI/roberta-base\nnew_version: *base",
        "pipeline_tag: text-classification",
        "datasets: {a: 1, b: [2, 3]}",
        "emoji: 🦓\npretty_name: 'Zoo – ünï'",
        "thumbnail: ~\nextra_gated_prompt: |+\n  Agree.\n\n  --- and then\n\n",
        "? complex\n: key",
        "date: 2026-11-20\nnumber: .nan",
        "# nothing but a comment",
        "",
    )
)
THEIR_RESULTS = st.sampled_from(
    (
        "model-index:\n- name: theirs\n  results: []",
        "model-index:\n  - name: theirs\n    results:\n      - metrics:\n          - type: f1 # so\n",
        "'model-index':\n-   name: theirs\n    results: |\n      text\n\n",
        "model-index: # mine\n\n# a comment\n-\n  name: theirs\n\n# another\n",
        "model-index:\n- {name: theirs, results: []}\n- name:",
        "model-index: &all\n- &one\n  name: theirs\n- *one # the same",
        "model-index: [{name: theirs, results: []}]",
        "model-index: null",
        "model-index:\n- name: theirs\n  results: 'a\n\n    b'",
    )
)
BODY = st.sampled_from(
    (
        "# A model\n\nIt works.",
        "---\n\nA rule.\n\n---",
        "```yaml\n---\ntags: [x]\n---\n```",
        "| a | b |\n|---|---|\n| 1 | `|` |",
        '<div align="center">\n<img src="x.png"/>\n</div>',
        "<!-- a comment -->",
        "🦒 trailing spaces  \nand \x0b odd \u2028 characters\x85",
        "    ---",
        "",
    )
)
NEWLINES = st.sampled_from(("\n", "\r\n", "\r"))


@st.composite
def cards(draw: st.DrawFn) -> str:
    """Cards such as people have, of parts that each were seen somewhere."""
    newline = draw(NEWLINES)
    keys = draw(st.lists(FRONT, max_size=4, unique=True)) + draw(st.lists(THEIR_RESULTS, max_size=1))
    front = "\n".join(draw(st.permutations(keys))).replace("\n", newline)
    opened, closed = (f"---{draw(st.sampled_from(('', '  ')))}{newline}" for _ in range(2))
    has_front = draw(st.booleans())
    body = newline.join(draw(st.lists(BODY.map(lambda part: part.replace("\n", newline)), max_size=4)))
    page = f"{opened}{front}{newline if front else ''}{closed}" if has_front else ""
    card = draw(st.sampled_from(("", "\ufeff"))) + page + body + draw(st.sampled_from(("", newline)))
    assume(is_read(card))
    return card


def is_read(card: str) -> bool:
    try:
        metadata_of(card)
    except DataError:
        return False
    return True


@settings(STEADY, max_examples=250)
@given(cards())
@example("")
@example("\ufeff")
@example("---\n---\n")
@example("---\nlicense: mit\n---")
@example("    ---\nindented")
def test_every_byte_of_others_stays(old: str) -> None:
    left = BLOCK.sub("", spliced(old, OURS), count=1)
    made = re.sub(rf"\A(\ufeff?)---({NEWLINE})---\2(\2)?", r"\1", left)
    assert any(new.startswith(old) and SECTION.fullmatch(new[len(old) :]) for new in (left, made))


@MANY
@given(cards())
def test_what_is_said_again_changes_nothing_and_what_is_said_anew_takes_its_place(old: str) -> None:
    new, other = spliced(old, OURS), spliced(old, OTHER)
    assert spliced(new, OURS) == new
    assert spliced(new, OTHER) == other
    assert spliced(other, OURS) == new


@MANY
@given(cards())
def test_the_metadata_are_theirs_and_then_ours(old: str) -> None:
    new = spliced(old, OURS)
    theirs, found = metadata_of(old), metadata_of(new)
    missing = left_out(old, OURS)
    assert set(missing) <= set(theirs) & set(OURS.metadata)
    for key in {**theirs, **OURS.metadata}:
        ours = () if key in missing else OURS.metadata.get(key, ())
        if key == "model-index" and isinstance(theirs.get(key), list) and ours:
            assert str(found[key]) == str([*theirs[key], *ours])
        else:
            assert str(found[key]) == str(theirs.get(key, ours))
    line, text = section_of(new) or (0, "")
    assert text == OURS.body
    assert re.split(NEWLINE, new)[line - 1] == "# Ours"


@MANY
@given(cards())
def test_new_lines_end_as_those_around_them(old: str) -> None:
    found = set(re.findall(NEWLINE, old))
    assume(len(found) == 1)
    assert set(re.findall(NEWLINE, spliced(old, OURS))) == found


@MANY
@given(cards())
def test_nothing_to_say_is_not_said(old: str) -> None:
    assert spliced(old, CardText({}, "")) == old
    assert left_out(old, CardText({}, "")) == ()
    said = spliced(old, OURS)
    assert spliced(said, CardText({}, "")) == said
    assert "<!-- zookeeper" not in spliced(old, CardText(OURS.metadata, ""))


def test_a_new_card_is_read_by_the_hub() -> None:
    data = ModelCard(spliced("", OURS)).data
    assert (data.library_name, data.tags, data.model_name) == ("zookeeper", ["zookeeper"], "ours")


def test_results_stand_beside_the_results_of_others_and_theirs_come_first() -> None:
    old = "---\nmodel-index:\n  - name: theirs\n    results: []   # none yet\n# mine\nlicense: mit\n---\nText"
    metadata = metadata_of(spliced(old, OTHER))
    assert [entry["name"] for entry in metadata["model-index"]] == ["theirs", "ours", "ours"]
    assert metadata["license"] == "mit"


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ("tags: [chunking]", ("tags",)),
        ("tags: zookeeper", ("tags",)),
        ("license: apache-2.0\ntags: []", ("tags", "license")),
        ("license: mit\ntags:\n- chunking\n- ensemble\n- zookeeper", ()),
        ("language: en", ()),
    ],
)
def test_what_the_card_says_otherwise_is_named(theirs: str, named: tuple[str, ...]) -> None:
    old = f"---\n{theirs}\n---\n"
    assert left_out(old, OTHER) == named
    assert left_out(spliced(old, OTHER), OTHER) == named


@pytest.mark.parametrize(
    "results",
    [
        "[{name: theirs, results: []}]",
        "{}",
        "\n- &a {name: theirs}\nagain: *a",
        " &a\n- name: theirs\nagain: *a",
    ],
)
def test_results_that_cannot_be_continued_are_left_as_they_are(results: str) -> None:
    old = f"---\nmodel-index: {results}\n---\n"
    metadata = metadata_of(spliced(old, OURS))
    theirs = metadata_of(old)
    assert {key: metadata[key] for key in theirs} == theirs or metadata["model-index"][1:] == RESULTS
    assert metadata["library_name"] == "zookeeper"


@pytest.mark.parametrize(
    ("front", "line"),
    [
        ("license: mit\ntags: [a", 4),
        ("license: mit\n\ttags: x", 3),
        ("license: mit\nkey: 'open", 4),
        ("a: b: c", 2),
        ("a: *nowhere", 2),
        ("a: &a [*a", 3),
    ],
)
def test_broken_metadata_are_named_with_their_line(front: str, line: int) -> None:
    with pytest.raises(DataError, match="cannot be read") as raised:
        spliced(f"---\n{front}\n---\n# Card\n", OURS)
    assert f"line {line}:" in str(raised.value.why)
    assert "mend" in str(raised.value.fix)


def test_a_line_below_the_block_keeps_its_number() -> None:
    broken = spliced("---\nlicense: mit\n---\n", OURS).replace("---\n\n<", "tags: [a\n---\n\n<", 1)
    with pytest.raises(DataError) as raised:
        spliced(broken, OURS)
    assert f"line {broken.splitlines().index('tags: [a') + 2}:" in str(raised.value.why)


def test_a_block_whose_surroundings_were_taken_away_is_put_elsewhere() -> None:
    old = "---\nmodel-index:\n- name: theirs\n  results: []\nlicense: mit\n---\n"
    rest = spliced(old, OURS).replace("model-index:\n- name: theirs\n  results: []\n", "")
    assert metadata_of(spliced(rest, OURS)) == {**OURS.metadata, "license": "mit"}


def test_metadata_that_grow_when_they_are_read_are_refused() -> None:
    lines = "".join(f"k{i}: &k{i} {{<<: [*k{i - 1}, *k{i - 1}]}}\n" for i in range(1, 64))
    with pytest.raises(DataError, match="cannot be read") as refused:
        metadata_of(f"---\nk0: &k0 {{a: 1}}\n{lines}---\n")
    assert "too many keys" in str(refused.value.why)
    assert metadata_of("---\na: &a {x: 1}\nb: {<<: *a, y: 2}\n---\n")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "front",
    [
        "2020-99-99",
        "a: 2020-99-99",
        "a: !!int ''",
        "a: !!bool maybe",
        "a: !!timestamp never",
        "a: !!python/object/apply:os.system [id]",
        "a: \x00",
        "? [a]\n: b",
        "- a",
        "text",
        "a: " + "[" * 500 + "]" * 500,
    ],
)
def test_metadata_that_are_none_are_refused(front: str) -> None:
    with pytest.raises(DataError, match="cannot be read") as raised:
        metadata_of(f"---\n{front}\n---\n")
    assert raised.value.fix


@pytest.mark.parametrize(
    "front", ["{license: mit}", "license: mit\n...", "  license: mit", "!!set {a}", "a: &a\n  b: *a"]
)
def test_odd_metadata_are_kept_or_refused_but_never_changed(front: str) -> None:
    old = f"---\n{front}\n---\n"
    try:
        theirs = metadata_of(old)
        new = spliced(old, OURS)
    except DataError as error:
        assert error.fix
    else:
        assert str({key: metadata_of(new)[key] for key in theirs}) == str(theirs)


@pytest.mark.parametrize("lines", ["begin", "end", "begin begin end", "begin end begin end", "end begin"])
def test_marks_that_are_not_one_pair_are_refused(lines: str) -> None:
    marks = lines.split()
    block = "".join(f"# zookeeper: {mark}\n" for mark in marks)
    section = "".join(f"<!-- zookeeper: {mark} -->\n" for mark in marks)
    for place, old in (("front matter", f"---\n{block}---\n"), ("text", f"# Card\n{section}")):
        with pytest.raises(DataError, match=place) as raised:
            spliced(old, OURS)
        assert lines.replace(" ", ", ") in str(raised.value.why)


HOSTILE = st.text(
    alphabet=st.sampled_from("---\n\r #:'\"<>!{}[]&*|-zké\u2028\x85\x1b🦓"), max_size=30
) | st.sampled_from(
    (
        "\n---\n",
        "# zookeeper: end",
        "\n# zookeeper: end\n",
        "<!-- zookeeper: end -->",
        "yes",
        "1e3",
        "~",
        "*a",
        "=",
    )
)


@MANY
@given(HOSTILE, HOSTILE, cards())
def test_whatever_metadata_hold_stays_metadata(name: str, value: str, old: str) -> None:
    card = CardText({f"x{name}": value, "model-index": [{"name": value, "results": []}]}, "# Ours")
    new = spliced(old, card)
    assert spliced(new, card) == new
    assert metadata_of(new).get(f"x{name}") == value
    assert spliced(new, OURS) == spliced(old, OURS)


def test_a_text_that_holds_marks_is_refused() -> None:
    with pytest.raises(DataError, match="marks"):
        spliced("", CardText({}, "a\n<!-- zookeeper: end -->\nb"))
