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

import ast
import io
import os
import platform
import re
import shutil
import sysconfig
import threading
import token
import tokenize
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy

from zookeeper.errors import DataError

FORMAT = 1
"""Raise it when anything below changes what is built."""

SOURCE_BYTES = 4_000_000
"""Source to read, in modules drawn at random; more would only take longer."""

SPLITS = {"train": 2000, "validation": 400, "test": 400}
"""Sentences of the target by split; its modules are dealt 5:1:1."""

PROBE_WORDS = 10_500

VOCABULARY, BLOCK, BATCH = 2500, 64, 32
"""Tokens of a tokenizer, of a training sequence, and sequences of a step."""

Ids = npt.NDArray[np.int64]
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


@dataclass(frozen=True)
class Family:
    """A shape of network, the tokenizer it comes with, and what it is trained to do.

    Attributes:
        model: Class with the head of the objective.
        config: Its configuration class.
        options: Arguments of the configuration; vocabulary and special tokens come from the tokenizer.
        tokenizer: Kind of tokenizer.
        objective: Guess masked tokens, tell replaced from original ones, or guess the next one.
        head: The part of the model from last hidden states (..., d) to logits (..., Z).
    """

    model: Any
    config: Any
    options: dict[str, Any]
    tokenizer: Literal["wordpiece", "bytes", "unigram", "bpe"]
    objective: Literal["masked", "replaced", "causal"]
    head: Callable[[Any], Any] = field(default=lambda model: model.lm_head)


@dataclass(frozen=True)
class Recipe:
    """One checkpoint: a family, what it reads, and for how long; no steps make the untrained twin."""

    name: str
    family: str
    text: Literal["prose", "code"]
    steps: int


def _shape(size: int, **options: Any) -> dict[str, Any]:
    return {
        "hidden_size": size,
        "num_hidden_layers": 2,
        "num_attention_heads": size // 32,
        "intermediate_size": 4 * size,
        "max_position_embeddings": 256,
        **options,
    }


FAMILIES = {
    "roformer": Family(
        tf.RoFormerForMaskedLM,
        tf.RoFormerConfig,
        _shape(96, embedding_size=96, initializer_range=0.05),
        "wordpiece",
        "masked",
        head=lambda model: model.cls,
    ),
    "modernbert": Family(
        tf.ModernBertForMaskedLM,
        tf.ModernBertConfig,
        _shape(128, intermediate_size=256, initializer_range=0.1, global_attn_every_n_layers=1),
        "bytes",
        "masked",
        head=lambda model: torch.nn.Sequential(model.head, model.decoder),
    ),
    "deberta": Family(
        tf.DebertaV2ForTokenClassification,
        tf.DebertaV2Config,
        _shape(
            96,
            initializer_range=0.1,
            type_vocab_size=0,
            relative_attention=True,
            position_biased_input=False,
            pos_att_type=["c2p", "p2c"],
            position_buckets=32,
            share_att_key=True,
            id2label={0: "original", 1: "replaced"},
        ),
        "unigram",
        "replaced",
        head=lambda model: model.classifier,
    ),
    "gpt2": Family(
        tf.GPT2LMHeadModel,
        tf.GPT2Config,
        {"n_embd": 96, "n_layer": 2, "n_head": 3, "n_positions": 256, "initializer_range": 0.1},
        "bytes",
        "causal",
    ),
    "llama": Family(
        tf.LlamaForCausalLM,
        tf.LlamaConfig,
        _shape(96, intermediate_size=256, initializer_range=0.1, tie_word_embeddings=True),
        "bpe",
        "causal",
    ),
}

RECIPES = (
    Recipe("roformer-prose", "roformer", "prose", 160),
    Recipe("roformer-code", "roformer", "code", 160),
    Recipe("roformer-random", "roformer", "code", 0),
    Recipe("modernbert-code", "modernbert", "code", 120),
    Recipe("deberta-code", "deberta", "code", 140),
    Recipe("gpt2-prose", "gpt2", "prose", 120),
    Recipe("gpt2-code", "gpt2", "code", 120),
    Recipe("llama-code", "llama", "code", 120),
)

SPECIALS = {
    "encoder": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "decoder": {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"},
}


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
            _write_text(part, seed, report)
    missing = [recipe for recipe in RECIPES if not (root / recipe.name).exists()]
    if missing:
        _train_all(root, missing, text, seed, report)
    return DemoFiles(tuple(root / recipe.name for recipe in RECIPES), text / "probe.txt", text / "target")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a folder to fill beside `path`; rename it to `path` if the block ends well."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    yield part
    part.rename(path)


# Text


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


def _write_text(folder: Path, seed: int, report: Report) -> None:
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


# Checkpoints

_SEEDING = threading.Lock()
"""Held while first weights are drawn: transformers draws them from the one global generator."""


def _train_all(root: Path, recipes: Sequence[Recipe], text: Path, seed: int, report: Report) -> None:
    """Train checkpoints side by side, one thread each.

    Two threads for one network are as fast on two quiet cores, but they wait for each other at every
    operation, which is slow where other work wants a core, too.
    """
    stage = "training checkpoints"
    steps = {recipe.name: 0 for recipe in recipes}
    total = sum(recipe.steps for recipe in recipes)
    stop = threading.Event()

    def work(recipe: Recipe) -> None:
        def advance(done: int) -> None:
            steps[recipe.name] = done
            if stop.is_set():
                raise CancelledError

        advance(0)
        with _whole(root / recipe.name) as part:
            _write_checkpoint(part, recipe, text, seed, advance)

    bars = tf.utils.logging.is_progress_bar_enabled()
    threads = torch.get_num_threads()
    tf.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    # The number of threads is kept per thread, hence the initializer.
    pool = ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures = {pool.submit(work, recipe) for recipe in recipes}
        pending = futures
        while pending:
            _, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            report(stage, sum(steps.values()), total)
            for future in futures - pending:
                future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
        if bars:
            tf.utils.logging.enable_progress_bar()


def _write_checkpoint(
    folder: Path, recipe: Recipe, text: Path, seed: int, advance: Callable[[int], None]
) -> None:
    family = FAMILIES[recipe.family]
    lines = (text / f"{recipe.text}.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = _tokenizer(family, lines[:10_000])
    stream = _stream(tokenizer, lines) if recipe.steps else np.empty(0, dtype=np.int64)
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(family, tokenizer)
        if recipe.steps:
            _start_embeddings(model, stream)
    if recipe.steps:
        rng = np.random.default_rng([seed, *recipe.name.encode()])
        _train(model, family, tokenizer, stream, steps=recipe.steps, rng=rng, advance=advance)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _tokenizer(family: Family, lines: Sequence[str]) -> Any:
    """Train the family's kind of tokenizer."""
    names = SPECIALS["decoder" if family.objective == "causal" else "encoder"]
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "special_tokens": list(names.values()),
        "show_progress": False,
    }
    raw: Any
    trainer: Any
    match family.tokenizer:
        case "wordpiece":
            raw = Tokenizer(models.WordPiece(unk_token=names["unk"]))
            raw.normalizer = normalizers.BertNormalizer(lowercase=True)
            raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            raw.decoder = decoders.WordPiece()
            trainer = trainers.WordPieceTrainer(**common)
        case "bytes":
            raw = Tokenizer(models.BPE())
            raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
            raw.decoder = decoders.ByteLevel()
            trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
        case "unigram":
            raw = Tokenizer(models.Unigram())
            raw.pre_tokenizer = pre_tokenizers.Metaspace()
            raw.decoder = decoders.Metaspace()
            trainer = trainers.UnigramTrainer(unk_token=names["unk"], **common)
        case "bpe":
            raw = Tokenizer(models.BPE(unk_token=names["unk"]))
            raw.pre_tokenizer = pre_tokenizers.Metaspace()
            raw.decoder = decoders.Metaspace()
            trainer = trainers.BpeTrainer(**common)
    raw.train_from_iterator(lines, trainer, length=len(lines))
    frame = f"{names['bos']} $A" if "bos" in names else f"{names['cls']} $A {names['sep']}"
    raw.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(name, raw.token_to_id(name)) for name in frame.split() if name != "$A"]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        model_max_length=256,
        **{f"{role}_token": name for role, name in names.items()},
    )


def _model(family: Family, tokenizer: Any) -> Any:
    """Build the family's network for a tokenizer, with random weights and without dropout.

    Dropout stays in the configuration for whoever tunes it; seconds of training have no use for it.
    """
    ids = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id")
        for role in ("pad", "bos", "eos", "cls", "sep")
    }
    return family.model(family.config(vocab_size=len(tokenizer), **family.options, **ids)).eval()


def _stream(tokenizer: Any, lines: Sequence[str]) -> Ids:
    """Token ids (n,) of all lines, each ended by the separator."""
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    return np.fromiter((index for line in encoded for index in (*line.ids, end)), dtype=np.int64)


def _start_embeddings(model: Any, stream: Ids) -> None:
    """Set input embeddings to a truncated SVD of log-PPMI counts of the two tokens on either side.

    Counts of the four places are kept apart, and contexts smoothed by the power 0.75. The embeddings keep the
    scale they were drawn with.
    """
    table = model.get_input_embeddings().weight
    size, width = table.shape
    parts = []
    for offset in (1, 2):
        counts = np.bincount(stream[:-offset] * size + stream[offset:], minlength=size * size)
        after = torch.from_numpy(counts.reshape(size, size)).float()
        for joint in (after, after.T):
            context = joint.sum(0).pow(0.75)
            expected = torch.outer(joint.sum(1), context / context.sum())
            parts.append(torch.log((joint / expected.clamp_min(1e-9)).clamp_min(1)))
    left, values, _ = torch.svd_lowrank(torch.cat(parts, 1), q=width, niter=1)
    vectors = left * values.sqrt()
    with torch.no_grad():
        table.copy_(vectors * (table.std() / vectors.std()))


def _train(
    model: Any,
    family: Family,
    tokenizer: Any,
    stream: Ids,
    *,
    steps: int,
    rng: np.random.Generator,
    advance: Callable[[int], None],
    rate: float = 4e-3,
) -> None:
    blocks = stream[: len(stream) // BLOCK * BLOCK].reshape(-1, BLOCK)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    for step in range(1, steps + 1):
        batch = blocks[rng.integers(len(blocks), size=BATCH)]
        loss = _loss(model, family, tokenizer, batch, stream, rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        advance(step)


def _loss(
    model: Any, family: Family, tokenizer: Any, batch: Ids, stream: Ids, rng: np.random.Generator
) -> torch.Tensor:
    """Loss of one batch (BATCH, BLOCK), in nats a token; the head sees only the places that are asked for."""
    head = family.head(model)
    batch[:, 0] = tokenizer("")["input_ids"][0]
    clean = torch.from_numpy(batch)
    asked = torch.from_numpy(rng.random(batch.shape) < (0.3 if family.objective == "causal" else 0.2))
    asked[:, 0] = False
    match family.objective:
        case "masked":
            hidden = model.base_model(input_ids=clean.masked_fill(asked, tokenizer.mask_token_id))[0]
            return cross_entropy(head(hidden[asked]), clean[asked])
        case "causal":
            hidden = model.base_model(input_ids=clean)[0]
            return cross_entropy(head(hidden[:, :-1][asked[:, 1:]]), clean[asked])
        case "replaced":
            given = torch.where(asked, torch.from_numpy(rng.choice(stream, size=batch.shape)), clean)
            hidden = model.base_model(input_ids=given)[0]
            return cross_entropy(head(hidden).flatten(0, 1), (given != clean).long().flatten())
