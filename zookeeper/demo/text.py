"""The standard library as text: sentences, logical lines, and such lines with the roles of their names."""

from __future__ import annotations

import ast
import io
import re
import sysconfig
import token
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zookeeper.errors import DataError

SOURCE_BYTES = 4_000_000
"""Source to read, in modules drawn at random; more would only take longer."""

SPLITS = {"train": 2000, "validation": 400, "test": 400}
"""Sentences of the target by split; its modules are dealt 5:1:1."""

PROBE_WORDS = 10_500


@dataclass(frozen=True)
class Module:
    """What one source file gives: sentences, logical lines, and such lines with labels as CoNLL blocks."""

    prose: list[str]
    code: list[str]
    labelled: list[str]


SKIPPED = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "lib-dynload",
    "encodings",
}
WORD = re.compile(r"\w+(?:[-'._/]\w+)*|[^\w\s]+")


def write_text(folder: Path, seed: int, report: Callable[[str, int, int], None]) -> None:
    """Write prose.txt, code.txt, probe.txt and target/*.conll.

    No module gives sentences to two splits, and no sentence occurs twice. The unlabelled text of validation
    and test modules is part of code.txt: checkpoints may have read the lines, never the labels.
    """
    rng = np.random.default_rng(seed)
    modules: list[Module] = []
    paths = _sources(rng)
    for index, path in enumerate(paths, start=1):
        modules += _read(path)
        report("reading the standard library", index, len(paths))
    prose = [line for module in modules for line in module.prose]
    code = [line for module in modules for line in module.code]
    for name, lines in (("prose", prose), ("code", code), ("probe", _probe(prose, rng))):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "target").mkdir()
    seen: set[str] = set()
    start = 0
    for split, size in SPLITS.items():
        stop = start + round(len(modules) * size / sum(SPLITS.values()))
        pool = list(dict.fromkeys(line for module in modules[start:stop] for line in module.labelled))
        pool = [sentence for sentence in pool if sentence not in seen]
        seen.update(pool)
        start = stop
        if len(pool) < size:
            raise _scarce(f"{len(pool)} sentences for {split}, {size} are needed")
        sentences = [pool[index] for index in rng.choice(len(pool), size, replace=False)]
        (folder / "target" / f"{split}.conll").write_text("\n".join(sentences), encoding="utf-8")


def _scarce(why: str) -> DataError:
    return DataError(
        "the standard library of this Python has too little source for the demo",
        why=why,
        fix="run the demo with a Python from python.org, uv, or your system's full package",
    )


def _sources(rng: np.random.Generator) -> list[Path]:
    """Draw modules at random until there is enough to read."""
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = [
        path for path in sorted(library.rglob("*.py")) if SKIPPED.isdisjoint(path.relative_to(library).parts)
    ]
    rng.shuffle(paths)
    enough = np.searchsorted(np.cumsum([path.stat().st_size for path in paths]), SOURCE_BYTES)
    return paths[: int(enough) + 1]


def _read(path: Path) -> list[Module]:
    """Read one source file; none where it is not valid Python of this version."""
    try:
        with tokenize.open(path) as file:
            source = file.read()
        tree = ast.parse(source)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return []
    prose = [sentence for text in _english(tree, tokens) for sentence in _sentences(text)]
    code, labelled = [], []
    spans = _spans(tree)
    for line in _logical_lines(tokens):
        words = [word for word, _ in line]
        if len(words) > 1:
            code.append(" ".join(words))
        labels = _labels(line, spans)
        if 8 <= len(words) <= 60 and any(label != "O" for label in labels):
            labelled.append("".join(f"{word} {label}\n" for word, label in zip(words, labels, strict=True)))
    return [Module(prose, code, labelled)]


def _english(tree: ast.Module, tokens: Sequence[tokenize.TokenInfo]) -> Iterator[str]:
    """Paragraphs of docstrings, and blocks of comments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from re.split(r"\n\s*\n", ast.get_docstring(node) or "")
    comment: list[str] = []
    last = 0
    for item in tokens:
        if item.type == token.COMMENT:
            if item.start[0] != last + 1:
                yield " ".join(comment)
                comment = []
            comment.append(item.string.lstrip("#! "))
            last = item.start[0]
    yield " ".join(comment)


def _sentences(text: str) -> Iterator[str]:
    """Sentences that look like English, as words and punctuation separated by blanks."""
    if ">>>" in text or not text.isascii():
        return
    for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z])", text):
        words = WORD.findall(sentence)
        if 5 <= len(words) <= 60 and sum(word.isalpha() for word in words) >= 0.75 * len(words):
            yield " ".join(words)


def _probe(prose: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw sentences of 10 to 40 words until there are `PROBE_WORDS`."""
    pool = sorted({line for line in prose if 10 <= len(line.split()) <= 40})
    rng.shuffle(pool)
    sizes = np.cumsum([len(line.split()) for line in pool])
    enough = int(np.searchsorted(sizes, PROBE_WORDS)) + 1
    if enough > len(pool):
        raise _scarce(f"fewer than {PROBE_WORDS} words of prose")
    return pool[:enough]


def _logical_lines(tokens: Sequence[tokenize.TokenInfo]) -> Iterator[list[tuple[str, tuple[int, int]]]]:
    """Words of each logical line with their places; strings become "str", only ASCII lines."""
    line: list[tuple[str, tuple[int, int]]] = []
    plain, depth = True, 0
    for item in tokens:
        name = token.tok_name[item.type]
        if name.endswith("STRING_START"):
            depth += 1
            if depth == 1:
                line.append(('"str"', item.start))
        elif name.endswith("STRING_END"):
            depth -= 1
        elif depth:
            continue
        elif item.type == token.STRING:
            line.append(('"str"', item.start))
        elif item.type in (token.NAME, token.OP, token.NUMBER):
            line.append((item.string if len(item.string) <= 40 else "x", item.start))
        elif item.type == token.NEWLINE:
            if plain and line:
                yield line
            line, plain = [], True
        plain = plain and item.string.isascii()


def _spans(tree: ast.Module) -> dict[tuple[int, int], tuple[int, str]]:
    """Roles of names, dotted ones as a whole: (line, column) of the start -> (column of the end, role).

    CALL what is called, TARGET what is assigned to, PARAM and KEYWORD of functions and calls, IMPORT, TYPE
    bases and annotations, ERROR what is raised or caught. Where a name has two roles, the outer one counts.
    """
    found: dict[tuple[int, int], tuple[int, str]] = {}

    def mark(node: ast.AST | None, role: str) -> None:
        if isinstance(node, ast.Tuple):
            for part in node.elts:
                mark(part, role)
        if isinstance(node, ast.Name | ast.Attribute) and node.lineno == node.end_lineno:
            start, end = node.col_offset, node.end_col_offset or 0
            inner: ast.expr = node
            while isinstance(inner, ast.Attribute):
                inner = inner.value
            if isinstance(node, ast.Attribute) and not isinstance(inner, ast.Name):
                start = end - len(node.attr)
            found.setdefault((node.lineno, start), (end, role))

    def mark_word(line: int, column: int, word: str, role: str) -> None:
        found.setdefault((line, column), (column + len(word), role))

    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=error)) | ast.Raise(exc=error) | ast.ExceptHandler(type=error):
                mark(error, "ERROR")
            case ast.ClassDef(bases=bases):
                for base in bases:
                    mark(base, "TYPE")
            case ast.arg(annotation=annotation):
                mark_word(node.lineno, node.col_offset, node.arg, "PARAM")
                mark(annotation, "TYPE")
            case ast.keyword(arg=str(word)):
                mark_word(node.lineno, node.col_offset, word, "KEYWORD")
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for name in names:
                    mark_word(name.lineno, name.col_offset, name.name, "IMPORT")
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    mark_word(node.lineno, node.col_offset + len("from "), node.module, "IMPORT")
            case ast.Call(func=function):
                mark(function, "CALL")
            case ast.Name(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                mark(node, "TARGET")
            case _:
                pass
    return found


def _labels(
    line: Sequence[tuple[str, tuple[int, int]]], spans: dict[tuple[int, int], tuple[int, str]]
) -> list[str]:
    """Labels in BIO; DEF, the name being defined, is told by the word before."""
    labels = []
    row, end, role, before = 0, 0, "", ""
    for word, start in line:
        if start in spans:
            row, (end, role) = start[0], spans[start]
            labels.append(f"B-{role}")
        elif role and start[0] == row and start[1] < end:
            labels.append(f"I-{role}")
        elif before in ("def", "class"):
            labels.append("B-DEF")
        else:
            role = ""
            labels.append("O")
        before = word
    return labels
