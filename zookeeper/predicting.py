"""A published ensemble at work: from its files and its members, at their commits, to labels of any text.

All that was published is a stranger's: a record that is decoded and nothing else, arrays in safetensors, and
names of checkpoints, which are read as every other checkpoint is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from zookeeper import hardware, local
from zookeeper.collection import is_folder, parse
from zookeeper.errors import (
    DegenerateInputError,
    IntegrityError,
    NotFoundError,
    StorageError,
    UsageError,
    ZooError,
)
from zookeeper.fetcher import Fetcher, Pinned
from zookeeper.outcomes import told_of
from zookeeper.plain import decode, encode, expanded, spelt_out
from zookeeper.publications import EvalCard, Prediction
from zookeeper.records import Checkpoint, Corpus, Dataset, RepoFile, Revision, Target, digest_of, is_commit
from zookeeper.reporter import Silent
from zookeeper.results import Member, Run
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.store.files import write
from zookeeper.worker import Limits

if TYPE_CHECKING:
    from zookeeper.hub import Hub

Outputs = NDArray[np.float32]
Text = str | Iterable[str]
Answer = Prediction | tuple[Prediction, ...]
R = TypeVar("R", Checkpoint, Dataset)

_RECORD = "run.json"
_CARD = "README.md"
_LARGEST_RECORD = 16 * 2**20
_MOST_MEMBERS = 256
_KINDS = ("F32", "F64", "I64")  # of arrays that zoo publishes
_RUN_ID = re.compile(r"[0-9a-f]{12}")
_REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_KNOWN_METRIC = re.compile(r"-?\w+(:[^/]*)?(\?.*)?", re.ASCII | re.DOTALL)
"""Ours, or one that `evaluate` publishes itself: neither a path nor somebody's repository."""


def load_ensemble(
    name: str | Path,
    *,
    revision: str = "main",
    members: Mapping[str, str | Path] | None = None,
    device: str | None = None,
    settings: Settings | None = None,
    hub: Hub | None = None,
) -> Ensemble:
    """An ensemble that was pushed, ready to label texts; its members are fetched at their pinned commits.

    Whatever is in the cache of huggingface_hub is not fetched again. Offline a branch means what it meant
    when it was last asked for; a whole commit is never asked for twice.

    Args:
        name: ``owner/name`` or ``owner/name@revision`` on the Hub, or a folder with its files.
        revision: branch, tag or commit; of a repository only.
        members: folders of those members that were folders when it was published, by name.
        device: torch device; by default that of the settings.
        settings: places and limits; by default the environment's.
        hub: of the repositories; by default the settings'.

    Raises:
        NotFoundError: there is no such ensemble, or one of its files or members is gone.
        IntegrityError: its files, or those of a member, are not what they say they are.
        UsageError: a member is a folder and was not named, or its recipe cannot be served here.
        CheckpointError: a member cannot be read.
        AccessError, NetworkError: the Hub refuses, or cannot be reached.
    """
    settings = settings or Settings.from_environment()
    with _showable():
        shelf = _Shelf(settings, hub)
        published = shelf.published(name, revision)
        run = _run_of(published)
        arrays = _arrays_of(published, run)
        files = list(_files(shelf, run, members or {}))

        from zookeeper.tuning.serving import Sources, served

        with ExitStack() as reading:
            sources = Sources(
                names=tuple(member.name for member in run.members),
                folders=tuple(reading.enter_context(pinned.opened()) for pinned in files),
                target=run.target,
                device=hardware.best_device(device or settings.device),
            )
            outputs = served(run.best.key.recipe, sources, arrays)
        return Ensemble(run, outputs)


def published_run(
    name: str | Path, *, revision: str = "main", settings: Settings | None = None, hub: Hub | None = None
) -> Run:
    """The record of a run that was pushed, which can be made again without running code of its author.

    Args:
        name: as `load_ensemble`.
        revision: as `load_ensemble`.
        settings: as `load_ensemble`.
        hub: as `load_ensemble`.

    Raises:
        NotFoundError, IntegrityError, AccessError, NetworkError: as `load_ensemble`.
        UsageError: its metric is a script from elsewhere than the metrics of evaluate.
    """
    with _showable():
        published = _Shelf(settings or Settings.from_environment(), hub).published(name, revision)
        run = _run_of(published)
        asked = run.request.metric if run.request else run.metric
        if not _KNOWN_METRIC.fullmatch(asked):
            raise UsageError(
                f"{published.name}: its metric is a script, {asked[:60]}.",
                why="zoo runs a script only where you name it, not where a record does",
                fix="read it; then tune by the command on the card, with --metric SCRIPT",
            )
        _check_card(published, run)
        return run


# At work


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """An ensemble that labels texts.

    A text is cut into words at white space, as the texts of targets are. Where words have labels, punctuation
    that was a word of its own in the training data must be one here too: ``"The cat sat ."``, or the words as
    a list, ``["The", "cat", "sat", "."]``.

    Attributes:
        run: how it was made, and what came of it.
    """

    run: Run
    _outputs: Callable[[Corpus], Outputs]

    def __repr__(self) -> str:
        members = ", ".join(spelt_out(member.name) for member in self.run.members)
        return f"<Ensemble of {members} for {spelt_out(self.target.dataset)}, run {self.run.id}>"

    @property
    def target(self) -> Target:
        """What it was tuned for."""
        return self.run.target

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels, as they can be shown; none of numbers."""
        return tuple(map(spelt_out, self.target.classes))

    def __call__(self, text: Text, pair: Text | None = None) -> Answer:
        """What it says of one text, or one pair.

        Args:
            text: of words that have labels also a list, and each is taken as it is. Of a question answering
                the question.
            pair: the second text of a pair, or the context of a question.

        Returns:
            Where words have labels, a prediction for each word in order (of questions, for each word of the
            context); else one prediction.

        Raises:
            UsageError: it is no text, or the target takes a pair and there is none, or the other way round.
            CheckpointError, OutOfMemoryError: a member fails on it.
        """
        (answer,) = self.predict([text], None if pair is None else [pair])
        return answer

    def predict(self, texts: Iterable[Text], pairs: Iterable[Text] | None = None) -> list[Answer]:
        """What it says of each of many texts, or pairs, which go through the members together.

        Args:
            texts: each as `__call__` takes it.
            pairs: the second text of each.

        Raises:
            UsageError, CheckpointError, OutOfMemoryError: as `__call__`.
        """
        examples = [self._example(*both) for both in self._zipped(texts, pairs)]
        sentences = tuple(sentence for example in examples for sentence in example.sentences)
        found = iter(self._predictions(self.outputs(Corpus(sentences, self.target.unit))))
        answers: list[Answer] = []
        for example in examples:
            for _ in range(example.unasked):
                next(found)
            made = tuple(replace(next(found), text=text) for text in example.texts)
            answers.append(made if self.target.unit == "word" else made[0])
        return answers

    def outputs(self, corpus: Corpus) -> Outputs:
        """What predictions are made from, on the rows of a corpus.

        Args:
            corpus: n rows of the unit of the target.

        Returns:
            (n, c) logits of the classes that training saw, or of labels; log-probabilities where members
            were tuned apart; or (n, 1) numbers in the unit of the target.

        Raises:
            UsageError: the rows are of another unit.
            CheckpointError, OutOfMemoryError: as `__call__`.
        """
        if corpus.unit != self.target.unit:
            raise UsageError(f"rows are {self.target.unit}s here, and not {corpus.unit}s.")
        with _showable():
            return self._outputs(corpus)

    def _zipped(self, texts: Iterable[Text], pairs: Iterable[Text] | None) -> list[tuple[Text, Text | None]]:
        """Each text with its second, if the target takes one."""
        if (pairs is not None) != _paired(self.target):
            takes = "two texts, ensemble(first, second)" if pairs is None else "one text, ensemble(text)"
            raise UsageError(f"{self.target.task} takes {takes}.")
        firsts = _several(texts)
        seconds: list[Any] = [None] * len(firsts) if pairs is None else _several(pairs)
        if len(firsts) != len(seconds):
            raise UsageError(f"{len(firsts):,} and {len(seconds):,} texts do not make pairs.")
        return list(zip(firsts, seconds, strict=True))

    def _example(self, text: Text, pair: Text | None) -> _Example:
        texts = [text] if pair is None else [text, pair]
        if self.target.unit == "word":
            words = [_words(each) for each in texts]
            return _Example((sum(words, ()),), words[-1], unasked=sum(map(len, words[:-1])))
        for each in texts:
            if not isinstance(each, str):
                raise UsageError(
                    f"{self.target.task} takes texts, each a str.",
                    fix="ensemble.predict(texts) takes several",
                )
        return _Example(tuple(map(_words, texts)), ("\t".join(map(str, texts)),))

    def _predictions(self, outputs: Outputs) -> Iterator[Prediction]:
        """Of each row, without its text."""
        if self.target.kind == "numbers":
            yield from (Prediction("", value) for value in outputs[:, 0].tolist())
        elif self.target.kind == "labels":
            for row in outputs > 0:
                yield Prediction("", tuple(self.classes[i] for i in np.flatnonzero(row)))
        elif len(outputs):
            from scipy.special import softmax

            likely = softmax(outputs.astype(np.float64), axis=1)
            for best, probability in zip(likely.argmax(axis=1), likely.max(axis=1).tolist(), strict=True):
                yield Prediction("", self.classes[best], probability)


@dataclass(frozen=True, slots=True)
class _Example:
    """A text or a pair.

    Attributes:
        sentences: words of each.
        texts: what has predictions, row by row.
        unasked: rows before these that have none.
    """

    sentences: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]
    unasked: int = 0


def _paired(target: Target) -> bool:
    """Whether an example is two texts."""
    return target.unit == "pair" or target.task == "question-answering"


def _several(texts: Iterable[Text]) -> list[Text]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise UsageError("predict takes several texts at once.", fix="ensemble(text), or a list of texts")
    return list(texts)


def _words(text: Text) -> tuple[str, ...]:
    """The words of a text."""
    if isinstance(text, str):
        return tuple(text.split())
    words: tuple[Any, ...] = (None,)
    if isinstance(text, Iterable) and not isinstance(text, Mapping):
        words = tuple(text)
    if not all(isinstance(word, str) for word in words):
        raise UsageError(f"{str(text)[:60]!r} is neither a text nor a list of its words.")
    if words and all(re.search(r"\s", word) for word in words):
        raise UsageError(
            f"{words[0][:60]!r} is a text and no word.",
            why="a list holds the words of one text",
            fix="ensemble.predict([…]) takes several texts",
        )
    return words


# What was published


class _Published(Protocol):
    """Files of a run that was pushed."""

    @property
    def name(self) -> str:
        """Of the folder or repository."""

    def file(self, path: str, most: int | None = None) -> Path:
        """One of them.

        Args:
            path: of the file.
            most: bytes that it may have; None for any.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it is larger.
        """


@dataclass(frozen=True, slots=True)
class _Folder:
    """Files of a run in a folder on this machine."""

    name: str
    folder: Path

    def file(self, path: str, most: int | None = None) -> Path:
        """As `_Published`."""
        found = self.folder / path
        try:
            size = found.stat().st_size
        except OSError as error:
            raise _nothing_there(self.name, path) from error
        _check_size(self.name, path, size, most)
        return found


@dataclass(frozen=True, slots=True)
class _Repository:
    """Files of a run on the Hub."""

    hub: Hub
    found: Dataset

    @property
    def name(self) -> str:
        """Id of the repository."""
        return self.found.revision.repo_id

    def file(self, path: str, most: int | None = None) -> Path:
        """As `_Published`."""
        file: RepoFile | None = next((file for file in self.found.files if file.path == path), None)
        if file is None:
            raise _nothing_there(self.name, path)
        _check_size(self.name, path, file.size, most)
        return self.hub.fetch(self.found.revision, (file,)) / path


class _Shelf:
    """Where published runs and members are.

    Args:
        settings: places and limits.
        hub: in place of the settings'.
    """

    def __init__(self, settings: Settings, hub: Hub | None) -> None:
        self._settings, self._given = settings, hub

    @cached_property
    def hub(self) -> Hub:
        """The Hub."""
        from zookeeper.hub import Hub

        return self._given or Hub.of(self._settings)

    def published(self, name: str | Path, revision: str) -> _Published:
        """The files of a run, by the name of a repository or a folder."""
        if not isinstance(name, str | Path):
            raise UsageError(f"{name!r} is no name of an ensemble.", fix="owner/name, or ./folder")
        if isinstance(name, Path) or is_folder(name):
            return _Folder(str(name), expanded(name))
        repo_id, pinned = parse(name)
        asked = pinned if "@" in name else revision
        return _Repository(
            self.hub, self._remembered(Dataset, repo_id, asked, lambda: self.hub.repository(repo_id, asked))
        )

    def member(self, revision: Revision) -> Pinned:
        """The files of a checkpoint on the Hub, at its commit.

        Raises:
            IntegrityError: there is no such commit.
            CheckpointError: it cannot be read.
        """
        repo_id, commit = revision.repo_id, revision.commit
        found = self._remembered(Checkpoint, repo_id, commit, lambda: self.hub.checkpoint(repo_id, commit))
        if found.revision.commit != commit:
            raise IntegrityError(f"{repo_id} has no commit {commit}.", why=f"it is {found.revision.commit}")
        return self._fetched(repo_id, found)

    def folder(self, member: Member, folder: Path) -> Pinned:
        """The files of a folder, if they are what was pinned.

        Raises:
            IntegrityError: they are something else.
            CheckpointError: they cannot be read.
        """
        found = local.describe(folder)
        if found.revision.commit != member.revision.commit:
            raise IntegrityError(
                f"{folder} is not the member {member.name}.",
                why=f"its files make {found.revision.commit[:12]}, and those of the member made "
                f"{member.revision.commit[:12]}",
            )
        return self._fetched(member.name, found)

    def _fetched(self, name: str, checkpoint: Checkpoint) -> Pinned:
        limits = Limits(self._settings.memory, self._settings.patience)
        store = Store(self._settings.home, self._settings.cache)
        with told_of(name):
            return Fetcher(store, lambda: self.hub, Silent()).fetch(checkpoint, limits)

    def _remembered(self, kind: type[R], repo_id: str, asked: str, ask: Callable[[], R]) -> R:
        """What the Hub says of a repository: of a commit it is asked once, of all else while it can be."""
        if is_commit(asked) or self.hub.offline:
            with suppress(OSError, IntegrityError):
                return decode(kind, self._note(kind, repo_id, asked).read_bytes())
        found = ask()
        with suppress(StorageError):  # it can be asked again
            for revision in {asked, found.revision.commit}:
                write(self._note(kind, repo_id, revision), encode(found))
        return found

    def _note(self, kind: type[R], repo_id: str, revision: str) -> Path:
        """Where it is written down what the Hub said."""
        name = digest_of([self.hub.endpoint, kind.__name__, repo_id, revision])
        return self._settings.cache / "hub" / f"{name}.json"


def _nothing_there(name: str, path: str) -> NotFoundError:
    return NotFoundError(f"{name} has no {path}.", why="an ensemble that zoo pushed has one")


def _check_size(name: str, path: str, size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise IntegrityError(f"{name}: {path} has {size:,} bytes.", why=f"no record has more than {most:,}")


def _run_of(published: _Published) -> Run:
    """The record of a run, of which nothing is as yet believed.

    Raises:
        NotFoundError: there is none.
        IntegrityError: it is no such record, or contradicts itself.
    """
    path = published.file(_RECORD, _LARGEST_RECORD)
    try:
        run = decode(Run, path.read_bytes())
    except (UsageError, DegenerateInputError, IntegrityError, OSError) as error:
        why = error.why or error.message if isinstance(error, ZooError) else error.strerror
        raise IntegrityError(f"{published.name}: {_RECORD} is no record of a run.", why=why) from error
    if fault := _fault(run):
        raise IntegrityError(f"{published.name}: {_RECORD} contradicts itself.", why=fault)
    return run


def _check_card(published: _Published, run: Run) -> None:
    """Refuse a run whose card says otherwise than its record; one may have no card.

    Raises:
        IntegrityError: it does, or it cannot be read.
    """
    from zookeeper.cards import contradictions, run_card

    try:
        text = published.file(_CARD, _LARGEST_RECORD).read_text(encoding="utf-8")
    except NotFoundError:
        return
    except (UnicodeDecodeError, OSError) as error:
        raise IntegrityError(f"{published.name}: its card cannot be read.", why=str(error)) from error
    if found := contradictions(text, run_card(EvalCard(run, ""))):
        raise IntegrityError(
            f"{published.name}: its card and its record contradict each other.", why=found[0].message
        )


def _fault(run: Run) -> str | None:
    """What is wrong with a record that has the right form."""
    if not _RUN_ID.fullmatch(run.id):
        return f"{run.id[:60]!r} is no id of a run"
    if not run.trials or not all(0 < trial.key.fraction <= 1 for trial in run.trials):
        return "it has no trials, or trials on no share of the data"
    if not 0 < len(run.members) <= _MOST_MEMBERS:
        return f"it has {len(run.members):,} members"
    if tuple(str(member.revision) for member in run.members) != run.best.key.members:
        return "its best trial has other members"
    for member in run.members:
        if not member.revision.local and not _REPO_ID.fullmatch(member.revision.repo_id):
            return f"{member.revision.repo_id[:60]!r} is no name of a repository"
    if (run.target.kind == "numbers") == bool(run.target.classes):
        return f"{run.target.task} with {len(run.target.classes):,} classes"
    return None


def _arrays_of(published: _Published, run: Run) -> dict[str, NDArray[Any]]:
    """What the run learned.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: it is damaged, of another run, or holds what is no number.
    """
    from zookeeper.cards import about_weights, weights_name

    name = weights_name(run)
    path = published.file(name)
    try:
        with safe_open(path, framework="np") as file:
            about = about_weights(file.metadata())
            kinds = {array: file.get_slice(array).get_dtype() for array in file.keys()}  # noqa: SIM118 it is no mapping
            if odd := sorted(array for array, kind in kinds.items() if kind not in _KINDS):
                raise IntegrityError(
                    f"{published.name}: {name} is damaged.", why=f"{odd[0]} is {kinds[odd[0]]}"
                )
            arrays = {array: file.get_tensor(array) for array in kinds}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{published.name}: {name} is damaged.", why=str(error)) from error
    if (about.get("run", run.id), about.get("seed", run.best.key.seed)) != (run.id, run.best.key.seed):
        raise IntegrityError(f"{published.name}: {name} is of another run than {_RECORD}.")
    for array, values in arrays.items():
        if not values.size or not np.isfinite(values).all():
            raise IntegrityError(
                f"{published.name}: {name} is damaged.",
                why=f"{array} is {'not finite (NaN or infinity)' if values.size else 'empty'}",
            )
    return arrays


# Members


def _files(shelf: _Shelf, run: Run, given: Mapping[str, str | Path]) -> Iterator[Pinned]:
    """Files of each member, as it was pinned."""
    used = set()
    for member in run.members:
        if not member.revision.local:
            yield shelf.member(member.revision)
            continue
        name = next((name for name in member.names if name in given), None)
        if name is None:
            raise UsageError(
                f"{member.name} was a folder when this was published, and is not on the Hub.",
                fix=f'load_ensemble(…, members={{"{member.name}": FOLDER}})',
            )
        used.add(name)
        yield shelf.folder(member, expanded(given[name]))
    if unknown := sorted(given.keys() - used):
        raise UsageError(f"no member of it is a folder called {unknown[0]}.")


@contextmanager
def _showable() -> Iterator[None]:
    """Errors that do nothing but show, whatever somebody else wrote into what they tell of."""
    try:
        yield
    except ZooError as error:
        why, fix = (None if text is None else spelt_out(text) for text in (error.why, error.fix))
        raise type(error)(spelt_out(error.message), why=why, fix=fix) from error.__cause__
