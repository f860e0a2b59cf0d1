"""A small zoo of real checkpoints, made on the spot from what every Python installation carries.

    standard library -> prose, code -> tokenizers -> checkpoints
                              \\-> probe, target

Nothing is downloaded. The prose is docstrings, comments and the language reference; the code is the library's
logical lines; the target asks for the role of each name in such a line, with labels read from the syntax tree.
Seven checkpoints of seven shapes are pretrained for a few seconds each, on one core or several. What makes seconds
enough is the start: input embeddings begin as the truncated SVD of the log-PPMI counts of neighbouring tokens
(Levy and Goldberg 2014), so training only has to learn what context adds. The eighth is the untrained twin of one
of them: anything that ranks checkpoints should put it last.
"""

from __future__ import annotations

import ast
import io
import json
import platform
import random
import re
import shutil
import sysconfig
import token
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from zookeeper.errors import DataError

FORMAT = 1
"""Raise it when anything below changes what is built."""

BLOCK, BATCH = 64, 32
"""Tokens a training sequence, and sequences a step."""

SPLITS = {"train": 2000, "validation": 400, "test": 400}
"""Sentences of the target, by split; 5:1:1 of the modules."""

PROBE_WORDS = 10_500

Ids = npt.NDArray[np.int64]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DemoFiles:
    """What `build` made.

    Attributes:
        checkpoints: Folders with config.json, model.safetensors, tokenizer.json and tokenizer_config.json.
        probe: A text file; a sentence a line, words separated by blanks, ten or more a line.
        target: A folder with train.conll, validation.conll and test.conll: "token label" a line, a blank line
            after each sentence.
    """

    checkpoints: tuple[Path, ...]
    probe: Path
    target: Path


@dataclass(frozen=True)
class Family:
    """A shape of network, the tokenizer it comes with, and what it is trained to do."""

    model: type[Any]
    config: type[Any]
    options: dict[str, Any]
    tokenizer: Literal["wordpiece", "bytes", "unigram", "bpe"]
    objective: Literal["masked", "replaced", "causal", "denoise"]
    rate: float = 4e-3
    head: Callable[[Any], Callable[[torch.Tensor], torch.Tensor]] = field(default=lambda model: model.lm_head)


@dataclass(frozen=True)
class Recipe:
    """One checkpoint: a family, a text, and how long it learns; no steps is the untrained twin."""

    name: str
    family: str
    text: Literal["prose", "code"]
    steps: int


def _encoder(size: int) -> dict[str, Any]:
    return {
        "hidden_size": size,
        "embedding_size": size,
        "num_hidden_layers": 2,
        "num_attention_heads": size // 32,
        "intermediate_size": 4 * size,
        "max_position_embeddings": 258,
        "initializer_range": 0.1,
    }


FAMILIES = {
    "bert": Family(
        tf.BertForMaskedLM, tf.BertConfig, _encoder(96), "wordpiece", "masked", head=lambda model: model.cls
    ),
    "roberta": Family(
        tf.RobertaForMaskedLM, tf.RobertaConfig, _encoder(128) | {"type_vocab_size": 1}, "bytes", "masked"
    ),
    "electra": Family(
        tf.ElectraForPreTraining,
        tf.ElectraConfig,
        _encoder(64),
        "wordpiece",
        "replaced",
        head=lambda model: model.discriminator_predictions,
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
        {
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "initializer_range": 0.1,
        },
        "bpe",
        "causal",
    ),
    "t5": Family(
        tf.T5ForConditionalGeneration,
        tf.T5Config,
        {"d_model": 64, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 2, "n_positions": 256},
        "unigram",
        "denoise",
    ),
}

RECIPES = (
    Recipe("bert-prose", "bert", "prose", 150),
    Recipe("bert-code", "bert", "code", 150),
    Recipe("bert-random", "bert", "code", 0),
    Recipe("roberta-code", "roberta", "code", 100),
    Recipe("electra-prose", "electra", "prose", 200),
    Recipe("gpt2-prose", "gpt2", "prose", 150),
    Recipe("llama-code", "llama", "code", 150),
    Recipe("t5-code", "t5", "code", 200),
)


def build(folder: Path, *, seed: int = 0, report: Report = lambda stage, done, total: None) -> DemoFiles:
    """Make the demo's checkpoints, probe and target, or find them made.

    Everything goes into a sub-folder of `folder` named by what decides its content: the format, the Python
    version (whose library is the text) and the seed. Each part is written beside its place and renamed when whole,
    so an interrupted build continues where it was; a finished one costs nothing. One build at a time per folder.
    The bytes repeat for one machine, one number of threads and one set of library versions.

    Args:
        folder: Where to build; made if missing.
        seed: Decides the choice of modules and sentences and the first weights.
        report: Called with a stage in words, the steps done in it, and their total.

    Returns:
        The paths of what was made.

    Raises:
        DataError: This installation has no library source, or too little.
    """
    root = folder / f"v{FORMAT}-py{platform.python_version()}-seed{seed}"
    root.mkdir(parents=True, exist_ok=True)
    text = root / "text"
    if not text.exists():
        _write(text, lambda part: _write_text(part, seed, report))
    for recipe in RECIPES:
        path = root / recipe.name
        if not path.exists():
            _write(path, lambda part, recipe=recipe: _write_checkpoint(part, recipe, text, seed, report))
    return DemoFiles(tuple(root / recipe.name for recipe in RECIPES), text / "probe.txt", text / "target")


def _write(path: Path, make: Callable[[Path], None]) -> None:
    """Let `make` fill a folder beside `path`, and rename it to `path` when whole."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    make(part)
    part.rename(path)


# Text


@dataclass(frozen=True)
class Module:
    """What one source file gives: sentences of English, logical lines, and lines with labels."""

    prose: list[str]
    code: list[str]
    labelled: list[list[tuple[str, str]]]


OPTIONAL = {
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
DOTTED = (ast.Name, ast.Attribute)
STRINGS = ("FSTRING", "TSTRING")


def _write_text(folder: Path, seed: int, report: Report) -> None:
    """Write prose.txt, code.txt, probe.txt and target/*.conll.

    No module gives sentences to two splits, and no sentence occurs in two. The unlabelled text of validation and
    test modules is part of code.txt: checkpoints may have read the lines, never the labels.
    """
    shuffle = random.Random(seed)
    paths = _sources()
    shuffle.shuffle(paths)
    parsed: list[Module] = []
    for index, path in enumerate(paths):
        report("reading the standard library", index, len(paths))
        module = _read(path)
        if module:
            parsed.append(module)
    report("reading the standard library", len(paths), len(paths))
    prose = [line for module in parsed for line in module.prose]
    code = [line for module in parsed for line in module.code]
    probe = _probe(prose, shuffle)
    (folder / "target").mkdir()
    seen: set[tuple[str, ...]] = set()
    start = 0
    for split, size in SPLITS.items():
        stop = start + round(len(parsed) * size / sum(SPLITS.values()))
        pool = []
        for module in parsed[start:stop]:
            for sentence in module.labelled:
                words = tuple(word for word, _ in sentence)
                if words not in seen:
                    seen.add(words)
                    pool.append(sentence)
        start = stop
        if len(pool) < size:
            raise _scarce(f"{len(pool)} sentences for {split}, {size} are needed")
        lines = [
            "".join(f"{word} {label}\n" for word, label in sentence)
            for sentence in shuffle.sample(pool, size)
        ]
        (folder / "target" / f"{split}.conll").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, text in (("prose", prose), ("code", code), ("probe", probe)):
        (folder / f"{name}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")


def _scarce(why: str) -> DataError:
    return DataError(
        "the standard library of this Python has too little source for the demo",
        why=why,
        fix="run the demo with a Python from python.org, your system's full package, or uv",
    )


def _sources() -> list[Path]:
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = []
    for path in sorted(library.rglob("*.py")):
        if not OPTIONAL.intersection(path.relative_to(library).parts) and path.stat().st_size < 150_000:
            paths.append(path)
    return paths


def _read(path: Path) -> Module | None:
    try:
        with tokenize.open(path) as file:
            source = file.read()
        tree = ast.parse(source)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return None
    prose = [sentence for text in _english(tree, tokens) for sentence in _sentences(text)]
    code, labelled = [], []
    spans = _spans(tree)
    for line in _logical_lines(tokens):
        words = [word for word, _ in line]
        if len(words) > 1:
            code.append(" ".join(words))
        labels = _labels(line, spans)
        if 6 <= len(words) <= 60 and any(label != "O" for label in labels):
            labelled.append(list(zip(words, labels, strict=True)))
    return Module(prose, code, labelled)


def _english(tree: ast.Module, tokens: Sequence[tokenize.TokenInfo]) -> Iterator[str]:
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
    if ">>>" in text or not text.isascii():
        return
    for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z])", text):
        words = WORD.findall(sentence)
        if 5 <= len(words) <= 60 and sum(word.isalpha() for word in words) >= 0.75 * len(words):
            yield " ".join(words)


def _probe(prose: Sequence[str], shuffle: random.Random) -> list[str]:
    pool = sorted({line for line in prose if 10 <= len(line.split()) <= 40})
    shuffle.shuffle(pool)
    words = 0
    for count, line in enumerate(pool, start=1):
        words += len(line.split())
        if words >= PROBE_WORDS:
            return pool[:count]
    raise _scarce(f"{words} words of prose, {PROBE_WORDS} are needed")


def _logical_lines(tokens: Sequence[tokenize.TokenInfo]) -> Iterator[list[tuple[str, tuple[int, int]]]]:
    """Words of each logical line with their places; strings become "str", other than ASCII drops the line."""
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
    """Roles of names: (line, column) where one starts -> (column where it ends, role)."""
    found: dict[tuple[int, int], tuple[int, str]] = {}

    def mark(node: ast.AST | None, role: str) -> None:
        if isinstance(node, ast.Tuple):
            for part in node.elts:
                mark(part, role)
        if (
            isinstance(node, ast.Name | ast.Attribute)
            and node.end_col_offset
            and node.lineno == node.end_lineno
        ):
            start, inner = node.col_offset, node
            while isinstance(inner, ast.Attribute):
                inner = inner.value
            if isinstance(node, ast.Attribute) and not isinstance(inner, ast.Name):
                start = node.end_col_offset - len(node.attr)
            found.setdefault((node.lineno, start), (node.end_col_offset, role))

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
                role = "MODULE" if isinstance(node, ast.Import) else "IMPORT"
                for name in names:
                    mark_word(name.lineno, name.col_offset, name.name, role)
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    mark_word(node.lineno, node.col_offset + len("from "), node.module, "MODULE")
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


def _write_checkpoint(folder: Path, recipe: Recipe, text: Path, seed: int, report: Report) -> None:
    stage = f"training {recipe.name}"
    report(stage, 0, recipe.steps)
    family = FAMILIES[recipe.family]
    lines = (text / f"{recipe.text}.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = _tokenizer(family, lines)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(family, tokenizer)
        if recipe.steps:
            rng = np.random.default_rng([seed, *recipe.name.encode()])
            stream = _stream(tokenizer, lines)
            _start(model, stream)
            _train(
                model,
                family,
                tokenizer,
                stream,
                recipe.steps,
                rng,
                lambda done: report(stage, done, recipe.steps),
            )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _tokenizer(family: Family, lines: Sequence[str], size: int = 2500) -> Any:
    """Train the family's kind of tokenizer on the first lines of a text."""
    lines = lines[:15000]
    encoder = causal = family.objective == "causal"
    encoder = family.objective in ("masked", "replaced")
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    if family.tokenizer == "wordpiece":
        names = dict(
            pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
        )
    elif family.tokenizer == "bytes" and causal:
        names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    elif family.tokenizer == "bytes":
        names = dict(
            cls_token="<s>", pad_token="<pad>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>",
            bos_token="<s>", eos_token="</s>",
        )  # fmt: skip
    elif family.tokenizer == "bpe":
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    specials = list(dict.fromkeys(names.values()))
    if family.objective == "denoise":
        specials += [f"<extra_id_{index}>" for index in range(16)]
    raw: Any
    trainer: Any
    common: dict[str, Any] = {"vocab_size": size, "special_tokens": specials, "show_progress": False}
    if family.tokenizer == "wordpiece":
        raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        raw.normalizer = normalizers.BertNormalizer(lowercase=True)
        raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        raw.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**common)
    elif family.tokenizer == "bytes":
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        raw.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    elif family.tokenizer == "unigram":
        raw = Tokenizer(models.Unigram())
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        raw.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    else:
        raw = Tokenizer(models.BPE(unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        raw.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(**common)
    raw.train_from_iterator(lines, trainer, length=len(lines))
    first = [names.get("cls_token") or names["bos_token"]] if encoder or family.tokenizer == "bpe" else []
    last = [names.get("sep_token") or names["eos_token"]] if not causal else []
    if first or last:
        raw.post_processor = processors.TemplateProcessing(
            single=" ".join([*first, "$A", *last]),
            special_tokens=[(name, raw.token_to_id(name)) for name in {*first, *last}],
        )
    return tf.PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=256, **names)


def _model(family: Family, tokenizer: Any) -> Any:
    ids = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id")
        for role in ("pad", "bos", "eos")
        if getattr(tokenizer, f"{role}_token_id") is not None
    }
    if family.objective == "denoise":
        ids["decoder_start_token_id"] = tokenizer.pad_token_id
    config = family.config(vocab_size=len(tokenizer), **family.options, **ids)
    # Dropout stays in the config for whoever tunes the checkpoint; seconds of training have no use for it.
    return family.model(config).eval()


def _stream(tokenizer: Any, lines: Sequence[str]) -> Ids:
    """Token ids of all lines, each line ended by the separator."""
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    return np.array([index for line in encoded for index in (*line.ids, end)], dtype=np.int64)


def _start(model: Any, stream: Ids) -> None:
    """Set the input embeddings to a truncated SVD of log-PPMI counts of the two tokens on either side."""
    table = model.get_input_embeddings().weight
    size, width = table.shape
    parts = []
    for offset in (1, 2):
        counts = np.bincount(stream[:-offset] * size + stream[offset:], minlength=size * size)
        joint = torch.from_numpy(counts.reshape(size, size)).float()
        for pairs in (joint, joint.T):
            expected = pairs.sum(1, keepdim=True) * pairs.sum(0, keepdim=True).pow(0.75)
            expected *= pairs.sum() / pairs.sum(0).pow(0.75).sum() / pairs.sum()
            parts.append(torch.log(pairs.div(expected.clamp_min(1e-9)).clamp_min(1)))
    left, values, _ = torch.svd_lowrank(torch.cat(parts, 1), q=width, niter=2)
    vectors = left * values.sqrt()
    with torch.no_grad():
        table.copy_(vectors * (table.std() / vectors.std()))


def _train(
    model: Any, family: Family, tokenizer: Any, stream: Ids, steps: int, rng: np.random.Generator, report: Any
) -> None:
    blocks = stream[: len(stream) // BLOCK * BLOCK].reshape(-1, BLOCK)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=family.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, family.rate, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        loss = _loss(model, family, tokenizer, blocks[rng.integers(len(blocks), size=BATCH)], stream, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(step + 1)


def _loss(
    model: Any, family: Family, tokenizer: Any, batch: Ids, stream: Ids, rng: np.random.Generator
) -> torch.Tensor:
    if family.objective == "denoise":
        source, wanted = _corrupt(batch, tokenizer, rng)
        return model(input_ids=torch.from_numpy(source), labels=torch.from_numpy(wanted)).loss
    head = family.head(model)
    if family.tokenizer != "bytes" or family.objective != "causal":
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        batch[:, 0] = first
    clean = torch.from_numpy(batch)
    chosen = torch.from_numpy(rng.random(batch.shape) < 0.2)
    chosen[:, 0] = False
    if family.objective == "causal":
        hidden = model.base_model(input_ids=clean).last_hidden_state
        chosen = torch.from_numpy(rng.random(batch.shape) < 0.4)
        chosen[:, 0] = False
        return cross_entropy(head(hidden[:, :-1][chosen[:, 1:]]), clean[chosen])
    if family.objective == "replaced":
        fakes = torch.from_numpy(rng.choice(stream, size=batch.shape))
        noisy = torch.where(chosen, fakes, clean)
        hidden = model.base_model(input_ids=noisy).last_hidden_state
        return binary_cross_entropy_with_logits(head(hidden), (noisy != clean).float())
    noisy = clean.masked_fill(chosen, tokenizer.mask_token_id)
    hidden = model.base_model(input_ids=noisy).last_hidden_state
    return cross_entropy(head(hidden[chosen]), clean[chosen])


def _corrupt(batch: Ids, tokenizer: Any, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Replace spans of two tokens by sentinels; the spans, each after its sentinel, are what is wanted."""
    count, span = 6, 2
    sentinels = tokenizer.convert_tokens_to_ids([f"<extra_id_{index}>" for index in range(count)])
    sources, wanteds = [], []
    gap = batch.shape[1] // count
    for row in batch:
        source: list[int] = []
        wanted: list[int] = []
        for index, sentinel in enumerate(sentinels):
            start = index * gap
            cut = start + int(rng.integers(gap - span))
            source += [*row[start:cut], sentinel, *row[cut + span : start + gap]]
            wanted += [sentinel, *row[cut : cut + span]]
        sources.append([*source, tokenizer.eos_token_id])
        wanteds.append([*wanted, tokenizer.eos_token_id])
    return np.array(sources), np.array(wanteds)
