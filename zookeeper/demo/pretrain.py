"""Tiny checkpoints, each trained for some ten seconds on one core."""

from __future__ import annotations

import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy

VOCABULARY, BLOCK, BATCH = 2500, 64, 32
"""Tokens of a tokenizer, of a training sequence, and sequences of a step."""

Ids = npt.NDArray[np.int64]


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
class Course:
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

COURSES = (
    Course("roformer-prose", "roformer", "prose", 200),
    Course("roformer-code", "roformer", "code", 200),
    Course("roformer-random", "roformer", "code", 0),
    Course("modernbert-code", "modernbert", "code", 140),
    Course("deberta-code", "deberta", "code", 140),
    Course("gpt2-prose", "gpt2", "prose", 120),
    Course("gpt2-code", "gpt2", "code", 120),
    Course("llama-code", "llama", "code", 120),
)

MARK = "\N{LOWER ONE EIGHTH BLOCK}"
"""What Metaspace puts before words."""

SPECIALS = {
    "encoder": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "decoder": {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"},
}


_SEEDING = threading.Lock()
"""Held while first weights are drawn: transformers draws them from the one global generator."""


def train_all(
    courses: Sequence[Course],
    text: Path,
    seed: int,
    report: Callable[[str, int, int], None],
    place: Callable[[str], AbstractContextManager[Path]],
) -> None:
    """Train checkpoints side by side, one thread each.

    Two threads for one network are as fast on two quiet cores, but they wait for each other at every
    operation, which is slow where other work wants a core, too.
    """
    stage = "training checkpoints"
    steps = {course.name: 0 for course in courses}
    total = sum(course.steps for course in courses)
    stop = threading.Event()

    def work(course: Course) -> None:
        def advance(done: int) -> None:
            steps[course.name] = done
            if stop.is_set():
                raise CancelledError

        advance(0)
        with place(course.name) as part:
            _write_checkpoint(part, course, text, seed, advance)

    bars = tf.utils.logging.is_progress_bar_enabled()
    threads = torch.get_num_threads()
    tf.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    # The number of threads is kept per thread, hence the initializer.
    pool = ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures = {pool.submit(work, course) for course in courses}
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
    folder: Path, course: Course, text: Path, seed: int, advance: Callable[[int], None]
) -> None:
    family = FAMILIES[course.family]
    lines = (text / f"{course.text}.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = _tokenizer(family, lines[:10_000])
    stream = _stream(tokenizer, lines) if course.steps else np.empty(0, dtype=np.int64)
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(family, tokenizer)
        if course.steps:
            _start_embeddings(model, stream)
    if course.steps:
        rng = np.random.default_rng([seed, *course.name.encode()])
        _train(model, family, tokenizer, stream, steps=course.steps, rng=rng, advance=advance)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _tokenizer(family: Family, lines: Sequence[str]) -> Any:
    """Train the family's kind of tokenizer.

    All vocabularies are learned as BPE merges and then read as what they are wanted for: the trainers for
    WordPiece and Unigram give other pieces each time, that for BPE does not.
    """
    names = SPECIALS["decoder" if family.objective == "causal" else "encoder"]
    marked = pre_tokenizers.Metaspace()
    raw: Any = Tokenizer(models.BPE(unk_token=names["unk"]))
    raw.pre_tokenizer, raw.decoder = marked, decoders.Metaspace()
    alphabet: list[str] = []
    if family.tokenizer == "bytes":
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    elif family.tokenizer == "wordpiece":
        raw.normalizer = normalizers.BertNormalizer(lowercase=True)
        raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), marked])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(names.values()),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    raw.train_from_iterator(lines, trainer, length=len(lines))
    pieces = sorted(raw.get_vocab(), key=raw.token_to_id)
    if family.tokenizer == "unigram":
        counts = Counter(index for line in raw.encode_batch_fast(lines) for index in line.ids)
        scores = [math.log((counts[index] + 0.5) / counts.total()) for index in range(len(pieces))]
        scored = list(zip(pieces, scores, strict=True))
        raw.model = models.Unigram(scored, unk_id=raw.token_to_id(names["unk"]))
    elif family.tokenizer == "wordpiece":
        inner = pieces[len(names) :]
        starts = [piece.removeprefix(MARK) for piece in inner if piece.startswith(MARK) or len(piece) == 1]
        rest = [f"##{piece}" for piece in inner if not piece.startswith(MARK)]
        vocabulary = dict.fromkeys([*names.values(), *filter(None, starts), *rest])
        raw.model = models.WordPiece(
            {piece: index for index, piece in enumerate(vocabulary)}, unk_token=names["unk"]
        )
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
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
