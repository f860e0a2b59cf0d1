"""What zoo has to say on a card that others write too: one metadata block and one section, between marks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from zookeeper.errors import DataError
from zookeeper.plain import spelt_out
from zookeeper.publications import CardText

_KEPT = "(kept by zoo; write outside)"
_NEWLINE = r"\r\n|\r|\n"
_PAGE = re.compile(
    rf"(?P<opening>\ufeff?\s*---[ \t]*(?:{_NEWLINE}))"
    r"(?P<front>(?:.*?[\r\n])??)"
    rf"(?P<closing>---[ \t]*(?:{_NEWLINE}|\Z))"
    r"(?P<body>.*)",
    re.DOTALL,
)
_RESULTS = "model-index"
_LARGEST = 1 << 19  # characters
_DEEPEST = 32
_MOST_NODES = 100_000  # with aliases written out
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where libyaml is there."""
UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises of text that is not YAML, or is tagged as what it is not."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """Two lines between which everything is zoo's.

    Attributes:
        begin: the first of them.
        end: the last.
        line: finds either, at the start of a line, and says which it is.
        place: where they stand, for people.
    """

    begin: str
    end: str
    line: re.Pattern[str]
    place: str

    def cut(self, text: str) -> tuple[str, str | None, str]:
        """What is before, between (marks included) and after; between them None where there are no marks.

        Raises:
            DataError: there are other marks than one pair.
        """
        found = list(self.line.finditer(text))
        if not found:
            return text, None, ""
        if [mark["which"] for mark in found] != ["begin", "end"]:
            raise DataError(
                f"the marks of zoo in the card's {self.place} are not one pair.",
                why="they are, in order: " + ", ".join(mark["which"] for mark in found),
                fix=f"keep one line {self.begin!r} and below it one line {self.end!r}, or delete all",
            )
        begin, end = found
        return text[: begin.start()], text[begin.start() : end.end()], text[end.end() :]


_BLOCK = _Marks(
    f"# zookeeper: begin {_KEPT}",
    "# zookeeper: end",
    re.compile(r"(?<![^\r\n])# zookeeper: (?P<which>begin|end)\b[^\r\n]*"),
    "front matter",
)
_SECTION = _Marks(
    f"<!-- zookeeper: begin {_KEPT} -->",
    "<!-- zookeeper: end -->",
    re.compile(r"(?<![^\r\n])<!-- zookeeper: (?P<which>begin|end)\b[^\r\n]*?-->"),
    "text",
)


@dataclass(frozen=True, slots=True)
class _Page:
    """A card in four parts, which side by side are the card.

    Attributes:
        opening: the line that opens the front matter, with whatever stands before it.
        front: lines of YAML.
        closing: the line that closes it.
        body: the rest.
    """

    opening: str
    front: str
    closing: str
    body: str

    @classmethod
    def of(cls, text: str) -> _Page:
        """Of a card without front matter the first three are empty."""
        found = _PAGE.fullmatch(text)
        return cls(**found.groupdict()) if found else cls("", "", "", text)

    def __str__(self) -> str:
        return self.opening + self.front + self.closing + self.body

    @property
    def read(self) -> dict[str, Any]:
        """The front matter as a mapping."""
        return _read(self.front, self.first_line)

    @property
    def first_line(self) -> int:
        """Number of the first line of the front matter, from 1."""
        return 1 + len(re.findall(_NEWLINE, self.opening))

    def with_front(self) -> _Page:
        """The same with a front matter, empty where there was none."""
        if self.opening:
            return self
        bom = "\ufeff" if self.body.startswith("\ufeff") else ""
        rest, line = self.body.removeprefix(bom), _newline(self.body)
        return _Page(f"{bom}---{line}", "", f"---{line}", f"{line}{rest}" if rest else "")


def spliced(old: str, card: CardText) -> str:
    """A card on which zoo says this and nothing else; every byte outside of its two places stays.

    The metadata stand in the front matter between two comments, without those keys that the front matter has
    already. A `model-index` in block style that it has is continued: the block then stands at its end.
    The text stands between two HTML comments, at the end of a card that had none.

    Args:
        old: the card as it is; empty for none.
        card: empty metadata, or an empty body, leave what zoo said before as it is.

    Raises:
        DataError: the front matter is no YAML mapping, marks are doubled or not closed, or the metadata
            cannot be put there without changing what others wrote.
    """
    page, _ = _with_metadata(_Page.of(old), card.metadata)
    return str(_with_body(page, card.body))


def metadata_of(text: str) -> dict[str, Any]:
    """Front matter of a card; empty where it has none.

    Raises:
        DataError: it is no YAML mapping.
    """
    return _Page.of(text).read


def read_yaml(text: str) -> Any:
    """What YAML of strangers says: no more than plain values, and no more of them than can be gone through.

    Raises:
        UNREADABLE: it is no YAML, too large, too deep, or stands for too much.
    """
    _check_size(text)
    return _Loader(text).get_single_data()


def section_of(text: str) -> tuple[int, str] | None:
    """What zoo says on a card: number of its first line, from 1, and text; None where it says nothing.

    Raises:
        DataError: marks are doubled or not closed.
    """
    page = _Page.of(text)
    before, section, _ = _SECTION.cut(page.body)
    if section is None:
        return None
    lines = _lines(section)[1:-1]
    blank = next((i for i, line in enumerate(lines) if line.strip()), 0)
    above = page.opening + page.front + page.closing + before
    return 2 + len(re.findall(_NEWLINE, above)) + blank, "\n".join(lines).strip()


def left_out(old: str, card: CardText) -> tuple[str, ...]:
    """Keys of the metadata that `spliced` leaves out, because the card says otherwise there, which it keeps.

    Of tags, and of whatever else is a list, those that the card has beside all of ours are not named.

    Raises:
        DataError: as `spliced`.
    """
    page = _Page.of(old)
    _, written = _with_metadata(page, card.metadata)
    theirs = _Front.of(page).theirs
    missing = [key for key in card.metadata if key not in written]
    return tuple(key for key in missing if not _says(theirs.get(key), card.metadata[key]))


def _encodable(value: Any) -> Any:
    """A value in which halves of characters, which no file can hold, are spelt out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


def _says(theirs: Any, ours: Any) -> bool:
    """Whether a value says what another does: it is the same, or a list of more."""
    if isinstance(theirs, list) and isinstance(ours, list):
        return all(one in theirs for one in ours)
    return _same(theirs, ours, set())


def _with_metadata(page: _Page, ours: Mapping[str, Any]) -> tuple[_Page, Collection[str]]:
    """The page on which zoo's metadata are these, and the keys of those that are there."""
    if not ours:
        return page, ()
    ours = _encodable(ours)
    full = page.with_front()
    line = _newline(full.opening)
    for way in _ways(_Front.of(full), ours):
        if way.empty:
            return page, ()
        block = line.join(_lines(way.block))
        front = way.front.rest[: way.place] + block + way.front.rest[way.place :]
        if _is(front, way.wanted):
            return _Page(full.opening, front, full.closing, full.body), way.written
    raise DataError(
        "zoo's metadata cannot be added to this card without changing what is there.",
        why="its front matter is YAML of an unusual form: in braces, indented, or of several documents",
        fix="write it with one key a line, from the first column",
    )


@dataclass(frozen=True, slots=True)
class _Front:
    """Front matter without the block of zoo.

    Attributes:
        rest: lines of YAML.
        theirs: the same, read.
        place: where in it the block was; None where there was none.
    """

    rest: str
    theirs: dict[str, Any]
    place: int | None

    @classmethod
    def of(cls, page: _Page) -> _Front:
        before, block, after = _BLOCK.cut(page.front)
        if block is None:
            return cls(page.front, page.read, None)
        rest = before + re.sub(rf"\A(?:{_NEWLINE})", "", after)
        of_block = page.first_line + len(re.findall(_NEWLINE, before))
        return cls(rest, _read(rest, page.first_line, (of_block, len(_lines(block)))), len(before))


@dataclass(frozen=True, slots=True)
class _Way:
    """A way of adding metadata to front matter.

    Attributes:
        front: which.
        place: where in it the block begins.
        new: keys that it has not.
        results: items by which its own results are continued.
        column: of those items.
    """

    front: _Front
    place: int
    new: Mapping[str, Any]
    results: Sequence[Any] = ()
    column: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to add, and no block that says otherwise."""
        return not self.new and not self.results and self.front.place is None

    @property
    def written(self) -> Collection[str]:
        """Keys of ours that are there afterwards."""
        return {*self.new, _RESULTS} if self.results else self.new.keys()

    @property
    def block(self) -> str:
        """With marks and newlines."""
        items = re.sub(r"(?m)^(?=.)", " " * self.column, _dumped(list(self.results)))
        return f"{_BLOCK.begin}\n{items}{_dumped(self.new)}{_BLOCK.end}\n"

    @property
    def wanted(self) -> dict[str, Any]:
        """What the front matter has to say afterwards."""
        continued = {_RESULTS: [*self.front.theirs[_RESULTS], *self.results]} if self.results else {}
        return {**self.new, **self.front.theirs, **continued}


def _ways(front: _Front, ours: Mapping[str, Any]) -> Iterator[_Way]:
    """Ways of adding metadata, best first."""
    new = {key: value for key, value in ours.items() if key not in front.theirs}
    if isinstance(front.theirs.get(_RESULTS), list) and isinstance(ours.get(_RESULTS), list):
        for end, column in _end_of_list(front.rest, _RESULTS):
            yield _Way(front, end, new, ours[_RESULTS], column)
    if front.place is not None:
        yield _Way(front, front.place, new)
    yield _Way(front, len(front.rest), new)


def _with_body(page: _Page, body: str) -> _Page:
    if not body:
        return page
    before, section, after = _SECTION.cut(page.body)
    if section is None:
        line = _newline(str(page), last=True)
        before, after = page.body + _gap(page, line), line
    else:
        line = _newline(section)
    text = line.join(_lines(f"{_SECTION.begin}\n\n{body.strip()}\n\n{_SECTION.end}"))
    spliced_page = _Page(page.opening, page.front, page.closing, before + text + after)
    if _SECTION.cut(spliced_page.body)[1] != text:
        raise DataError("a card cannot hold the marks of zoo within what zoo says.")
    return spliced_page


def _gap(page: _Page, line: str) -> str:
    """What makes an empty line at the end of a card."""
    above = (page.closing + page.body)[-4:]
    if not above:
        return ""
    ends = len(re.findall(_NEWLINE, re.sub(r".*[^\r\n]", "", above, flags=re.DOTALL)))
    return line * (2 - min(ends, 2))


def _read(front: str, first: int, cut: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """Front matter as a mapping.

    Args:
        front: lines of YAML.
        first: number of the first of them in the card.
        cut: number of the first line of the card that was cut out of them, and how many there were.
    """
    try:
        read = read_yaml(front)
    except UNREADABLE as error:
        raise DataError(
            "the metadata of the card cannot be read.",
            why=_trouble(error, first, cut),
            fix="mend the lines between the first two --- of the card",
        ) from error
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise DataError(
            "the metadata of the card cannot be read.",
            why=f"between the first two --- stands no mapping but a {type(read).__name__}",
            fix="write `key: value` there; a card that begins with a rule needs a line of text above it",
        )
    return read


def _check_size(front: str) -> None:
    """Refuse what takes long to read, or grows while it is: a few aliases stand for millions of values.

    Raises:
        YAMLError: it does, or it is none.
    """
    if len(front) > _LARGEST:
        raise _too_much(f"more than {_LARGEST:,} characters")
    anchors: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(front, Loader=_Loader):
        anchor, size = getattr(event, "anchor", None), 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            anchor, size = None, anchors.get(anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
        open_[-1] = open_[-1][0], open_[-1][1] + size
        if anchor and size:
            anchors[anchor] = size
        if len(open_) > _DEEPEST + 1:
            raise _too_much(f"more than {_DEEPEST} levels", event)
        if open_[-1][1] > _MOST_NODES:
            raise _too_much(f"too many keys and values, more than {_MOST_NODES:,}", event)


def _too_much(what: str, event: yaml.Event | None = None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=event and event.start_mark)


def _trouble(error: BaseException, first: int, cut: tuple[int, int]) -> str:
    """What YAML says is wrong, with the line of the card."""
    mark = getattr(error, "problem_mark", None)
    said = spelt_out(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if mark is None:
        return said
    line, (start, n) = first + mark.line, cut
    return f"line {line + n * (line >= start)}: {said}"


def _is(front: str, wanted: dict[str, Any]) -> bool:
    """Whether front matter says just this."""
    try:
        return _same(_read(front, 1), wanted, set())
    except DataError:
        return False


def _same(one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    """Whether two values that YAML holds, with anchors or without, are equal; nan is."""
    if (id(one), id(other)) in seen:
        return True
    seen.add((id(one), id(other)))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], seen) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b, seen) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _end_of_list(front: str, key: str) -> Iterator[tuple[int, int]]:
    """Where the list that a key has in block style ends, and the column of its items; nothing without one."""
    items = _list_events(front, key)
    if not items:
        return
    start, end = items[0].start_mark, items[-1].end_mark.index
    dash = re.compile(r"(?<![^\r\n])( *)-(?!\S)").search(front, start.index - start.column)
    rest_of_line = re.compile(rf"[^\r\n]*(?:{_NEWLINE})?").match(front, end)
    if dash is not None and rest_of_line is not None:
        # A block scalar ends below its last line.
        yield (end if front[end - 1] in "\r\n" else rest_of_line.end()), len(dash[1])


def _list_events(front: str, key: str) -> list[yaml.Event]:
    """The start of the block list that a key of the front matter has, and what in it has marks of its own."""
    found: list[yaml.Event] = []
    depth, of_key, is_key = 0, False, True
    for event in yaml.parse(front, Loader=yaml.SafeLoader):
        closes = isinstance(event, yaml.CollectionEndEvent)
        depth -= closes
        if found and depth == 1 and closes:
            return found
        if found and not (closes and event.start_mark.index == event.end_mark.index):
            found.append(event)
        if depth == 1 and not found and not closes and isinstance(event, yaml.NodeEvent):
            if is_key:
                of_key = isinstance(event, yaml.ScalarEvent) and event.value == key
            elif of_key and isinstance(event, yaml.SequenceStartEvent) and not event.flow_style:
                found = [event]
            elif of_key:
                return []
            is_key = not is_key
        depth += isinstance(event, yaml.CollectionStartEvent)
    return []


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes every value where it stands, and text that has lines on one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if len(text.splitlines()) > 1 or text.strip() != text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dumped(value: Any) -> str:
    if not value:
        return ""
    options = {"Dumper": _Dumper, "sort_keys": False, "width": float("inf")}
    text = str(yaml.dump(value, allow_unicode=True, **options))
    hides = any(spelt_out(line) != line for line in text.split("\n"))
    return str(yaml.dump(value, **options)) if hides else text


def _lines(text: str) -> list[str]:
    return re.split(_NEWLINE, text)


def _newline(text: str, *, last: bool = False) -> str:
    """The first newline of a text, or the last."""
    found = re.findall(_NEWLINE, text)
    return found[-1 if last else 0] if found else "\n"
