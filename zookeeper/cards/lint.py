"""What is wrong with a card: placeholders, metadata that the Hub refuses, and what no record says."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import model_index_to_eval_results

from zookeeper.cards.text import LOCAL_DATA
from zookeeper.errors import DataError
from zookeeper.plain import spelt_out
from zookeeper.publications import CardText, Finding
from zookeeper.sections import metadata_of, section_of, spliced

_LONGEST = 100
_ANYWHERE = re.compile(
    r"\byour[-_](?:user[-_]?name|org(?:ani[sz]ation)?|(?:model|repo)(?:[-_]name)?)\b|\blorem ipsum\b",
    re.IGNORECASE,
)
_IN_PROSE = re.compile(
    r"(?i:\[(?:more|optional|add) information(?: needed)?\]|\[(?:todo|tbd)\])"
    r"|\b(?:TODO|FIXME|TBD)\b|\{\{.{,200}?\}\}|\{%.{,200}?%\}"
)
"""What is a placeholder in prose, and may be meant in code."""
_NOT_READ = (ValueError, LookupError, TypeError, AttributeError)
_NO_RESULTS = {"name": "", "results": []}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
_RELATIONS = ("adapter", "finetune", "merge", "quantized")
_TEXTS = ("license_name", "library_name", "pipeline_tag", "pretty_name", "base_model_relation")
_LISTS = ("tags", "datasets", "metrics", "base_model", "language", "license", "task_categories")


def check(text: str, card: CardText) -> tuple[Finding, ...]:
    """What is wrong with a card, by line.

    Args:
        text: of a README.md.
        card: what zoo says of the same now, by what is stored.
    """
    found = list(_placeholders(text))
    try:
        found += _refused(metadata_of(text))
        found += _untraced(text, card)
    except DataError as error:
        line = re.match(r"line (\d+)", error.why or "")
        message = " ".join(part for part in (error.message, error.why) if part)
        found.append(Finding(int(line[1]) if line else 0, message))
    return tuple(sorted(found, key=lambda finding: finding.line))


def contradictions(text: str, card: CardText) -> tuple[Finding, ...]:
    """Results that a card states otherwise than the record of what it is of, in its metadata or its text.

    Args:
        text: of a README.md.
        card: what the record makes.

    Raises:
        DataError: the metadata cannot be read, or marks are doubled or not closed.
    """
    found = list(_contradicted(metadata_of(text), card))
    line, section = section_of(text) or (0, "")
    for result in _results(card.metadata):
        stated = f"{result.metric_value:.4f}"
        if section and stated not in section:
            found.append(
                Finding(line, f"by the record {result.metric_name} is {stated}, which it does not say")
            )
    return tuple(found)


def subject_of(text: str) -> tuple[str | None, str | None]:
    """Title and repository that zoo's section of a card names; None for what it does not.

    Raises:
        DataError: marks are doubled or not closed.
    """
    _, said = section_of(text) or (0, "")
    title = re.match(r"# (.+)", said)
    repo_id = re.search(r'^ensemble = load_ensemble\("([^"\\/]+/[^"\\/]+)"', said, re.MULTILINE)
    return title and re.sub(r"\\(.)", r"\1", title[1]), repo_id and repo_id[1]


def _placeholders(text: str) -> Iterator[Finding]:
    fence = ""
    for number, line in enumerate(_lines(text), 1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line.strip().strip(mark[1][0]):
            fence = ""
        prose = "" if fence or mark else _CODE.sub("", line)
        for placeholder in (*_ANYWHERE.finditer(line), *_IN_PROSE.finditer(prose)):
            yield Finding(number, f"a placeholder: {_shown(placeholder[0])}")


def _refused(metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """What the Hub would not take, as far as it can be told offline."""
    for key in _TEXTS:
        if not isinstance(metadata.get(key, ""), str | None):
            yield Finding(0, f"metadata: {key} is no text but {_shown(reprlib.repr(metadata[key]))}")
    for key in _LISTS:
        if not _is_texts(metadata.get(key)):
            what = _shown(reprlib.repr(metadata[key]))
            yield Finding(0, f"metadata: {key} is neither text nor a list of texts: {what}")
    relation = metadata.get("base_model_relation")
    if isinstance(relation, str) and relation not in _RELATIONS:
        yield Finding(
            0, f"metadata: base_model_relation is {_shown(relation)}, none of {', '.join(_RELATIONS)}"
        )
    try:
        model_index_to_eval_results(metadata.get("model-index") or [_NO_RESULTS])
    except _NOT_READ as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        yield Finding(0, f"metadata: the Hub cannot read model-index: {_shown(why)}")


def _is_texts(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(one, str) for one in values)


def _untraced(text: str, card: CardText) -> Iterator[Finding]:
    """Lines in zoo's places that are not what the record makes, and what is missing there."""
    has_section = section_of(text) is not None
    left_out = {"model-index"} - metadata_of(text).keys()  # on request
    metadata = {key: value for key, value in card.metadata.items() if key not in left_out}
    wanted = CardText(metadata, card.body if has_section else "")
    if card.body and not has_section:
        yield Finding(0, "zoo's section is missing; zoo card … -o writes it")
    made = spliced(text, wanted)
    yield from _contradicted(metadata_of(made), card)
    above, said, meant = _unlike(_lines(text), _lines(made))
    matcher = SequenceMatcher(None, said, meant, autojunk=False)
    for tag, start, stop, first, last in matcher.get_opcodes():
        if tag != "equal":
            yield from _differing(said[start:stop], meant[first:last], above + start + 1)


def _unlike(said: list[str], meant: list[str]) -> tuple[int, list[str], list[str]]:
    """How many lines are the same at the top, and both texts without those and without the same at the end.

    What others wrote, of which there may be much, is not searched for what it might be the same as.
    """
    shorter = min(len(said), len(meant))
    above = next((i for i in range(shorter) if said[i] != meant[i]), shorter)
    rest = shorter - above
    below = next((i for i in range(rest) if said[-1 - i] != meant[-1 - i]), rest)
    return above, said[above : len(said) - below], meant[above : len(meant) - below]


def _contradicted(metadata: Mapping[str, Any], card: CardText) -> Iterator[Finding]:
    """Results that others wrote of what zoo measured otherwise."""
    ours = {_identity(result): result.metric_value for result in _results(card.metadata)}
    for result in _results(metadata):
        number = ours.get(_identity(result), result.metric_value)
        if result.metric_value != number:
            where = ", ".join(spelt_out(part) for part in (_dataset(result), result.dataset_split) if part)
            stated = spelt_out(reprlib.repr(result.metric_value))
            message = (
                f"{spelt_out(result.metric_type)} on {where} is stated as {stated}; by the record {number}"
            )
            yield Finding(0, f"metadata: {message}")


def _dataset(result: EvalResult) -> str:
    return result.dataset_name if result.dataset_type == LOCAL_DATA else result.dataset_type


def _results(metadata: Mapping[str, Any]) -> list[EvalResult]:
    """Those of the metadata that the Hub can read."""
    try:
        return model_index_to_eval_results(metadata.get("model-index") or [_NO_RESULTS])[1]
    except _NOT_READ:
        return []


def _identity(result: EvalResult) -> str:
    """What was measured by what, whatever came of it."""
    return reprlib.repr((*result.unique_identifier[1:], result.metric_type))


def _differing(said: list[str], meant: list[str], start: int) -> Iterator[Finding]:
    """A finding for each line of a piece that differs, the first of which has that number."""
    for at in range(max(len(said), len(meant))):
        says = said[at].strip() if at < len(said) else ""
        means = meant[at].strip() if at < len(meant) else ""
        line = start + min(at, max(len(said) - 1, 0))
        if says and means:
            yield Finding(line, f"says {_shown(says, means)}; by the record {_shown(means, says)}")
        elif says:
            yield Finding(line, f"says {_shown(says)}, which no record says")
        elif means:
            yield Finding(line, f"is without {_shown(means)}, which the record says")


def _shown(text: object, other: str = "") -> str:
    """Text in quotes; of a long one the piece where it begins to differ from another."""
    shown = spelt_out(text)
    if len(shown) > _LONGEST:
        same = next((i for i, (a, b) in enumerate(zip(shown, other, strict=False)) if a != b), 0)
        start = max(0, min(same - _LONGEST // 4, len(shown) - _LONGEST))
        cut = shown[start : start + _LONGEST]
        shown = f"{'…' * (start > 0)}{cut}{'…' * (start + _LONGEST < len(shown))}"
    return f'"{shown}"'


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text)
