"""A small zoo of real checkpoints, made on the spot from what every Python installation carries.

    standard library -> prose, code -> tokenizers -> checkpoints
                     -> probe, target

Nothing is downloaded. The prose is docstrings and comments; the code is the library's logical lines; the
target asks for the role of each name in such a line, with labels read from the syntax tree. Seven
checkpoints of five families learn for some ten seconds each, one core a checkpoint; the eighth is the
untrained twin of one of them: whatever ranks checkpoints should put it last.

Two choices make seconds enough. Input embeddings start as the truncated SVD of the log-PPMI counts of
neighbouring tokens (Levy and Goldberg 2014), so that training has only to learn what context adds. And the
encoders know relative positions by construction: with learned absolute ones (BERT, RoBERTa), or with a
decoder between encoder and loss (T5), they hardly passed untrained networks in this time.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zookeeper.demo.pretrain import COURSES, train_all
from zookeeper.demo.text import write_text

FORMAT = 1
"""Raise it when anything that is built changes."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DemoFiles:
    """What `build` made.

    Attributes:
        checkpoints: Folders with config.json, model.safetensors, tokenizer.json and tokenizer_config.json.
        probe: A text file; a sentence a line, words separated by blanks, ten or more a line.
        target: A folder with train.conll, validation.conll and test.conll: "word label" a line, a blank line
            between sentences.
    """

    checkpoints: tuple[Path, ...]
    probe: Path
    target: Path


def build(folder: Path, *, seed: int = 0, report: Report = lambda stage, done, total: None) -> DemoFiles:
    """Make the demo's checkpoints, probe and target, or find them made.

    Everything goes into a sub-folder of `folder` named by what decides its content: the format, the Python
    version (whose library is the text) and the seed. Each part is written beside its place and renamed when
    whole, so an interrupted build continues where it was and a finished one costs nothing. One build at a
    time per folder. A checkpoint learns on one thread whatever the number of cores, so the bytes repeat for
    the same machine and library versions.

    Args:
        folder: Where to build; made if missing.
        seed: Decides the choice of modules and sentences, and the first weights.
        report: Called from the calling thread with a stage in words, the steps done in it, and their total.

    Returns:
        The paths of what was made.

    Raises:
        DataError: This installation has no library source, or too little.
    """
    root = folder / f"v{FORMAT}-py{platform.python_version()}-seed{seed}"
    root.mkdir(parents=True, exist_ok=True)
    text = root / "text"
    if not text.exists():
        with _whole(text) as part:
            write_text(part, seed, report)
    missing = [course for course in COURSES if not (root / course.name).exists()]
    if missing:
        train_all(missing, text, seed, report, lambda name: _whole(root / name))
    return DemoFiles(tuple(root / course.name for course in COURSES), text / "probe.txt", text / "target")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a folder to fill beside `path`; rename it to `path` if the block ends well."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    yield part
    part.rename(path)
