"""The values that pass along the line: frozen, checked on construction, ignorant of disks and networks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import CheckpointError, DegenerateInputError, UsageError

Array = NDArray[np.float64]
Unit = Literal["word", "sentence", "pair"]
Pooling = Literal["auto", "first", "last", "mean"]
Precision = Literal["auto", "float32", "bfloat16"]
Task = Literal[
    "token-classification",
    "token-regression",
    "question-answering",
    "text-classification",
    "text-regression",
    "text-multilabel",
    "pair-classification",
    "pair-regression",
]

Kind = Literal["classes", "labels", "numbers"]
"""What an example has: one of several classes, several labels at once, or a number."""

EXTRACTOR_VERSION = 1
"""Raised when `extract` would give other numbers for the same key."""

EVIDENCE_VERSION = 1
"""Raised when the evidence made of the same features and labels would be another."""

ALIGNMENT_VERSION = 1
"""Raised when alignments of the same features, or their errors, would be others."""

SIGNATURE_VERSION = 1
"""Raised when the signature of the same features would be another."""

IGNORED = -100
"""The label of rows that do not count, as in the loss functions of torch."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LEAST_DIGITS = 7  # of a commit that is named by its beginning


def counted(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of n labels count: of classes those that are not -100, of real numbers those that are not NaN.

    Args:
        labels: (n,), or (n, c) where an example has several.
    """
    if np.issubdtype(labels.dtype, np.integer):
        counts = labels != IGNORED
    elif np.issubdtype(labels.dtype, np.floating):
        counts = ~np.isnan(labels)
    else:
        counts = np.ones(labels.shape, dtype=bool)
    return np.asarray(counts.all(axis=tuple(range(1, counts.ndim))))


def unit_of(task: Task) -> Unit:
    """What has a label in a task."""
    if task.startswith("token") or task == "question-answering":
        return "word"
    return "pair" if task.startswith("pair") else "sentence"


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex) of a value's canonical JSON; the same on every machine and Python."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Revision:
    """What was asked for, and the one state of it that was meant.

    Attributes:
        repo_id: canonical id on the Hub, or the path of a local folder: absolute, but ``./name`` in what is
            published.
        asked: branch, tag or commit as the user named it; ``"folder"`` for a local folder.
        commit: 40 hex digits: the commit on the Hub, or the digest of the folder's content.
    """

    repo_id: str
    asked: str
    commit: str

    def __post_init__(self) -> None:
        if not is_commit(self.commit):
            raise UsageError(f'"{self.commit}" is not a commit: it takes 40 hex digits.')

    @property
    def local(self) -> bool:
        """Whether this is a folder on this machine and not a repository on the Hub."""
        return self.repo_id.startswith(".") or PurePath(self.repo_id).is_absolute()

    @property
    def by_commit(self) -> bool:
        """Whether it was asked for by its commit, or the beginning of it, and so can never move."""
        return len(self.asked) >= _LEAST_DIGITS and self.commit.startswith(self.asked)

    @property
    def name(self) -> str:
        """The repository's id, or the folder's own name."""
        return PurePath(self.repo_id).name if self.local else self.repo_id

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.commit}"


def is_commit(text: str) -> bool:
    """Whether this is a whole commit, 40 hex digits, which means the same for ever."""
    return bool(_COMMIT.fullmatch(text))


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository at its commit.

    Attributes:
        path: relative to the repository.
        size: bytes.
        digest: ``sha256:…`` of the bytes, or ``git:…``, the git blob id that small files go by on the Hub.
    """

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of the Hub at one commit.

    Attributes:
        revision: where and which.
        files: all of its files.
        layout: patterns of the files of each split of each configuration, as its card says.
    """

    revision: Revision
    files: tuple[RepoFile, ...]
    layout: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A pinned checkpoint and what is known of it without its weights.

    Attributes:
        revision: where and which.
        files: the files that loading it needs: configuration, tokenizer, safetensors weights.
        architecture: class that wrote it, such as ``RobertaForMaskedLM``.
        model_type: such as ``roberta``.
        parameters: number of parameters, from the safetensors headers.
        repo_bytes: size of the whole repository.
        tokenizer: file that defines the tokenizer, such as ``tokenizer.json``.
        license: as its card says.
        base_models: what it was made from, as its card says.
        tags: as its card says.
        gated: whether access must be asked for.
        problem: why it cannot be probed, where that is already clear.
        pickled: whether its weights are pickles, which were agreed to for this commit.
        aliases: other names under which it was added.
        added_at: ISO 8601, UTC.
    """

    revision: Revision
    files: tuple[RepoFile, ...]
    architecture: str | None = None
    model_type: str | None = None
    parameters: int | None = None
    repo_bytes: int = 0
    tokenizer: str | None = None
    license: str | None = None
    base_models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    gated: bool = False
    problem: str | None = None
    pickled: bool = False
    aliases: tuple[str, ...] = ()
    added_at: str = ""

    @property
    def name(self) -> str:
        """Short name for people; `revision` is the name for machines."""
        return self.revision.name

    @property
    def download_bytes(self) -> int:
        """Bytes that loading it needs."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Probe:
    """A named source of unlabelled text.

    Attributes:
        name: as on the command line.
        dataset: id on the Hub.
        commit: 40 hex digits.
        config: configuration of the dataset.
        split: split of the dataset.
        column: column that holds a line of text.
        min_words: shorter lines are left out.
    """

    name: str
    dataset: str
    commit: str
    config: str
    split: str
    column: str
    min_words: int


@dataclass(frozen=True)
class Corpus:
    """Sentences that have been split into words, and what makes a row of features.

    Attributes:
        sentences: words of each sentence; of pairs, sentences 2i and 2i + 1 are row i.
        unit: whether a word, a sentence or a pair of them is a row.
    """

    sentences: tuple[tuple[str, ...], ...]
    unit: Unit

    def __post_init__(self) -> None:
        if self.unit == "pair" and len(self.sentences) % 2:
            raise DegenerateInputError(f"{len(self.sentences)} sentences do not make pairs.")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: two corpora with the same digest have the same rows."""
        return digest_of([self.unit, self.sentences])

    @cached_property
    def n_rows(self) -> int:
        """Number of rows of features."""
        if self.unit == "word":
            return sum(map(len, self.sentences))
        return len(self.sentences) // 2 if self.unit == "pair" else len(self.sentences)


@dataclass(frozen=True, slots=True)
class Reading:
    """How features are read off a checkpoint; part of every feature set's name.

    Attributes:
        layer: ``"last"``, ``"mean"`` over all layers but the embeddings, or an index: 0 for the
            embeddings, 1, 2, … for the layers, negative from the end; ``"all"`` of them for evidence.
        pooling: which sub-words make the row of a word (or sentence): the first, the last or their mean;
            ``"auto"`` is the last of a word and the mean of a sentence.
        dtype: precision in which the model runs; ``"auto"`` is what was read before, or else what the
            hardware is made for, where features are read, and float32 where a head learns from them. In
            bfloat16 a model whose states have far more in common than what tells them apart runs in
            float32 all the same.
        max_length: longest window in sub-words; None for the model's own.
    """

    layer: str = "last"
    pooling: Pooling = "auto"
    dtype: Precision = "auto"
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.layer not in ("last", "mean", "all") and not re.fullmatch(r"-?\d+", self.layer):
            raise UsageError(f'no layer "{self.layer}".', fix="one of: last, mean, or a number")

    @property
    def rough(self) -> tuple[Precision, ...]:
        """Its precision, where that is known not to be the full one."""
        return () if self.dtype in ("auto", "float32") else (self.dtype,)

    def settled(self, unit: Unit, dtype: Precision = "float32") -> Reading:
        """The same, with what ``"auto"`` means for that unit, and the precision that it means."""
        pooling: Pooling = "last" if unit == "word" else "mean"
        return replace(
            self,
            pooling=pooling if self.pooling == "auto" else self.pooling,
            dtype=dtype if self.dtype == "auto" else self.dtype,
        )


class Key:
    """Everything that makes a stored thing, and so its name."""

    __slots__ = ()

    @property
    def digest(self) -> str:
        """64 hex digits; any changed field changes it."""
        return digest_of(asdict(self))  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class Space(Key):
    """What features of several checkpoints must share to be compared.

    Attributes:
        corpus: digest of the text.
        reading: layer, pooling, precision and window.
        prefix_space: whether a word is read as in the middle of a text, also by byte-level tokenizers.
        extractor: version of what reads.
    """

    corpus: str
    reading: Reading
    prefix_space: bool = True
    extractor: int = EXTRACTOR_VERSION


@dataclass(frozen=True, slots=True)
class ProbeChoice:
    """The probe a zoo was last read with, so that later steps need not be told again.

    Attributes:
        name: of the probe, or path of a text file.
        max_words: that were asked for.
        corpus: digest of what came of it.
        lengths: words of each sentence.
        reading: how it was read.
    """

    name: str
    max_words: int
    corpus: str
    lengths: tuple[int, ...]
    reading: Reading

    @property
    def n_rows(self) -> int:
        """Words in all."""
        return sum(self.lengths)

    @property
    def space(self) -> Space:
        """What features read so have in common."""
        return Space(self.corpus, self.reading)

    def __str__(self) -> str:
        return ", ".join([self.name, f"{self.n_rows:,} words", *self.reading.rough])


@dataclass(frozen=True, slots=True)
class FeatureKey(Key):
    """Everything that makes a feature set, and so its name.

    Attributes:
        repo_id: of the checkpoint.
        commit: of the checkpoint.
        corpus: as in `Space`.
        reading: as in `Space`.
        prefix_space: as in `Space`.
        extractor: as in `Space`.
    """

    repo_id: str
    commit: str
    corpus: str
    reading: Reading
    prefix_space: bool = True
    extractor: int = EXTRACTOR_VERSION

    @property
    def checkpoint(self) -> str:
        """As `Revision` writes it."""
        return f"{self.repo_id}@{self.commit}"

    @property
    def space(self) -> Space:
        """What this has in common with the features that it can be compared with."""
        return Space(self.corpus, self.reading, self.prefix_space, self.extractor)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A stored feature set.

    Attributes:
        key: what made it.
        n_rows: rows, one for each word or sentence of the corpus.
        dimension: width.
        n_empty: rows whose word came to no sub-word; they repeat the row before.
        size: bytes on disk.
        source: what the corpus was, for people.
    """

    key: FeatureKey
    n_rows: int
    dimension: int
    n_empty: int
    size: int
    source: str

    @property
    def checkpoint(self) -> str:
        """As `Revision` writes it."""
        return self.key.checkpoint


@dataclass(frozen=True, slots=True)
class BasisKey(Key):
    """Which basis of signatures is kept: there is one on a probe.

    Attributes:
        space: of the features.
    """

    space: Space


@dataclass(frozen=True, slots=True)
class BasisSet:
    """A stored basis.

    Attributes:
        key: which.
        anchors: digests of the feature sets that it was fitted to.
        q: vectors it has.
        t: size of the sketch of what lies outside them.
        seed: of the sketch.
        source: what the corpus was, for people.
    """

    key: BasisKey
    anchors: tuple[str, ...]
    q: int
    t: int
    seed: int
    source: str

    @property
    def fit(self) -> str:
        """64 hex digits that signatures on it go by; another fit has another name."""
        return digest_of([self.key.digest, self.anchors, self.q, self.t, self.seed])


@dataclass(frozen=True, slots=True)
class SignatureKey(Key):
    """Everything that makes a signature.

    Attributes:
        features: that it stands for.
        basis: name of the fit of the basis.
        version: of what signs.
    """

    features: FeatureKey
    basis: str
    version: int = SIGNATURE_VERSION


@dataclass(frozen=True, slots=True)
class SignatureSet:
    """A stored signature.

    Attributes:
        key: what made it.
        dimension: width of the features.
        n_empty: as in `FeatureSet`.
        residual: length of its part outside the basis, which bounds its error.
        size: bytes on disk.
        source: what the corpus was, for people.
    """

    key: SignatureKey
    dimension: int
    n_empty: int
    residual: float
    size: int
    source: str

    @property
    def checkpoint(self) -> str:
        """As `Revision` writes it."""
        return self.key.features.checkpoint


@dataclass(frozen=True, slots=True)
class AlignmentKey(Key):
    """Which inner products of kernels are kept together.

    Attributes:
        space: of the features.
        debiased: whether pairs of words of the same sentence are left out.
        version: of what multiplies.
    """

    space: Space
    debiased: bool
    version: int = ALIGNMENT_VERSION


@dataclass(frozen=True, slots=True)
class AlignmentSet:
    """Inner products of the kernels of feature sets, those that were computed so far.

    Attributes:
        key: which.
        features: digests of the feature sets, in the order of rows and columns.
    """

    key: AlignmentKey
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JackknifeKey(Key):
    """Which jackknife of alignments is kept.

    Attributes:
        space: of the features.
        rank: of the features it looks at.
        version: of what looks.
    """

    space: Space
    rank: int
    version: int = ALIGNMENT_VERSION


@dataclass(frozen=True, slots=True)
class JackknifeSet:
    """A stored jackknife.

    Attributes:
        key: which.
        features: digests of the feature sets, in its order.
    """

    key: JackknifeKey
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvidenceKey(Key):
    """Everything that makes the evidence of a checkpoint on a target, and so its name.

    Attributes:
        features: what was read, of all layers.
        labels: digest of the labels.
        version: of what adds them up.
    """

    features: FeatureKey
    labels: str
    version: int = EVIDENCE_VERSION


@dataclass(frozen=True, slots=True)
class EvidenceSet:
    """Stored evidence: what the features of one checkpoint say of one target, layer by layer.

    Attributes:
        key: what made it.
        layers: ``"0"`` for the embeddings, ``"1"``, … for the layers, ``"mean"`` of the layers.
        n: labelled examples.
        sampled: how many of them are kept as they are.
        classes: whether each has one class.
        dimension: width of the features.
        head: whether the checkpoint's own head was read too.
        size: bytes on disk.
        source: what the target was, for people.
    """

    key: EvidenceKey
    layers: tuple[str, ...]
    n: int
    sampled: int
    classes: bool
    dimension: int
    head: bool
    size: int
    source: str

    @property
    def checkpoint(self) -> str:
        """As `Revision` writes it."""
        return self.key.features.checkpoint

    def layer(self, name: str) -> str:
        """The layer that ``"last"`` or a number from the end stands for.

        Raises:
            CheckpointError: there is no such layer.
        """
        numbered = [layer for layer in self.layers if layer != "mean"]
        wanted = numbered[-1] if name == "last" else name
        if re.fullmatch(r"-\d+", wanted) and int(wanted[1:]) <= len(numbered):
            wanted = numbered[int(wanted)]
        if wanted not in self.layers:
            raise CheckpointError(f"it has no layer {name}.", why=f"it has: {', '.join(self.layers)}")
        return wanted


Measurement = FeatureSet | SignatureSet | EvidenceSet
"""What is kept of a checkpoint, and can be made again."""

M = TypeVar("M", bound=Measurement)


def by_checkpoint(measured: Iterable[M]) -> dict[str, tuple[M, ...]]:
    """Measurements of each checkpoint, by `checkpoint`; of one without any there is no entry."""
    found: dict[str, tuple[M, ...]] = {}
    for one in measured:
        found[one.checkpoint] = (*found.get(one.checkpoint, ()), one)
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one checkpoint in a command that goes through several.

    Attributes:
        name: as the user typed it, or its short name.
        status: such as ``"added"``, ``"done"``, ``"already there"``, ``"failed"``.
        revision: None where the name could not be resolved.
        error: what happened, where it failed.
        why: the cause.
        fix: what to do.
        exit_code: of the error.
        details: what the command measured.
    """

    name: str
    status: str
    revision: Revision | None = None
    error: str | None = None
    why: str | None = None
    fix: str | None = None
    exit_code: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it did not come to its end."""
        return self.error is not None


def exit_code_of(outcomes: Iterable[Outcome]) -> int:
    """0 where all went well, 3 where some did, else the code of the failure they share, or 1."""
    outcomes = list(outcomes)
    codes = {outcome.exit_code or 1 for outcome in outcomes if outcome.failed}
    if not codes:
        return 0
    if any(not outcome.failed for outcome in outcomes):
        return 3
    return codes.pop() if len(codes) == 1 else 1


@dataclass(frozen=True, slots=True)
class TargetSource:
    """Where a labelled task is, and what in it is text and label.

    Attributes:
        name: as the user typed it.
        dataset: id on the Hub, a file, or a folder with a file for each split.
        revision: of a dataset on the Hub; None for the commit that the zoo pinned first.
        config: configuration of the dataset, if it has several.
        text_column: column of text or tokens; None to find it.
        label_column: column of labels; None to find it.
        task: what is predicted of what; None to infer it from the columns.
        columns: names of the columns of a file that does not name them.
        pair_column: column of the second text, where examples are pairs, or of the context of a question;
            None to find it.
        fold_bio: whether the B- and I- of the tags of words are dropped, so that a class is a type.
    """

    name: str
    dataset: str
    revision: str | None = None
    config: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    task: Task | None = None
    columns: tuple[str, ...] = ()
    pair_column: str | None = None
    fold_bio: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A labelled task, as it was read.

    Attributes:
        name: as the user typed it.
        dataset: id on the Hub, or the file's name.
        commit: of the dataset: 40 hex digits, or the digest of the files' content.
        config: configuration of the dataset, if it has several.
        task: what is predicted of what.
        text_column: column of text; both columns of pairs, as ``"sentence1, sentence2"``, and of questions
            with contexts.
        label_column: column of labels.
        classes: names of the classes; empty for a regression.
        examples: number of sentences, or pairs, of each split that was read.
        rows: number of labelled rows of each split that was read.
        fingerprint: SHA-256 of sentences and labels of all splits that were read.
        local: whether it came from a file and not from the Hub.
        available: number of sentences, or pairs, that each of these splits has: more than `examples`
            where some were drawn.
    """

    name: str
    dataset: str
    commit: str
    config: str | None
    task: Task
    text_column: str
    label_column: str
    classes: tuple[str, ...]
    examples: Mapping[str, int]
    rows: Mapping[str, int]
    fingerprint: str
    local: bool = False
    available: Mapping[str, int] = field(default_factory=dict)

    def part(self, split: str) -> str:
        """A split by name, with how much of it was read where that is not all."""
        read, available = self.examples[split], self.available.get(split, self.examples[split])
        return split if read == available else f"{split}[{read} of {available}]"

    @property
    def unit(self) -> Unit:
        """What has a label."""
        return unit_of(self.task)

    @property
    def counted_in(self) -> str:
        """What its examples are, in the plural."""
        if self.task == "question-answering":
            return "questions"
        return "pairs" if self.unit == "pair" else "sentences"

    @property
    def regression(self) -> bool:
        """Whether labels are real numbers."""
        return self.task.endswith("regression")

    @property
    def multilabel(self) -> bool:
        """Whether an example may have several classes at once, or none."""
        return self.task == "text-multilabel"

    @property
    def kind(self) -> Kind:
        """What an example has."""
        return "labels" if self.multilabel else "numbers" if self.regression else "classes"

    @property
    def numbers(self) -> bool:
        """Whether labels are real numbers, or several to an example."""
        return self.regression or self.multilabel

    @property
    def spans(self) -> bool:
        """Whether the classes are the B-/I-/O tags of spans."""
        tags = [name for name in self.classes if name != "O"]
        return (
            self.unit == "word"
            and "O" in self.classes
            and bool(tags)
            and all(re.match(r"[BIES]-.", tag) for tag in tags)
        )


@dataclass(frozen=True, eq=False)
class Labelled:
    """A split of a target: sentences, and a label for each row.

    Attributes:
        corpus: n rows.
        labels: (n,), integers (classes; -100 does not count) or real numbers (NaN does not count); of
            several labels at once (n, c), zeros and ones (a row of NaN does not count).
    """

    corpus: Corpus
    labels: NDArray[np.generic]

    def __post_init__(self) -> None:
        # Only texts have several labels at once; a second axis for words is a mistake.
        axes = (1,) if self.corpus.unit == "word" else (1, 2)
        if self.labels.ndim not in axes or len(self.labels) != self.corpus.n_rows:
            raise DegenerateInputError(
                f"{self.corpus.n_rows} rows do not go with {self.labels.shape} labels."
            )

    @property
    def classes(self) -> bool:
        """Whether each row has one class."""
        return bool(np.issubdtype(self.labels.dtype, np.integer))

    @cached_property
    def labels_digest(self) -> str:
        """SHA-256 of the labels."""
        kind, content = self.labels.dtype.str, np.ascontiguousarray(self.labels).tobytes()
        return digest_of([kind, self.labels.shape, hashlib.sha256(content).hexdigest()])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each sentence; one of each example that is a sentence or a pair."""
        if self.corpus.unit == "word":
            return np.array([len(s) for s in self.corpus.sentences], dtype=np.int64)
        return np.ones(self.corpus.n_rows, dtype=np.int64)
