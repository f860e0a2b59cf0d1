"""Runs and comparisons of made-up numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zookeeper.plans import Plan, Recipe
from zookeeper.records import Reading, Revision, Target
from zookeeper.results import Comparison, Contender, Epoch, Member, Run, Trial

TARGET = Target(
    name="conll2000",
    dataset="eriktks/conll2000",
    commit="c" * 40,
    config="conll2000",
    task="token-classification",
    text_column="tokens",
    label_column="chunk_tags",
    classes=("O", "B-NP", "I-NP"),
    examples={"train": 8936, "test": 2012},
    rows={"train": 211727, "test": 47377},
    available={"train": 8936, "test": 2012},
    fingerprint="f" * 64,
)
MEMBERS = (
    Member(
        "FacebookAI/roberta-base",
        Revision("FacebookAI/roberta-base", "main", "a" * 40),
        768,
        124_645_632,
        "mit",
    ),
    Member("mine", Revision("/home/somebody/secret/mine", "folder", "b" * 40), 128),
)
HEAD = Recipe(reading=Reading(pooling="last"), settings={"standardize": True})


def trial(
    seed: int = 0,
    fraction: float = 1.0,
    *,
    recipe: Recipe = HEAD,
    members: Sequence[Member] = MEMBERS,
    validation: float | None = 0.8,
    test: float | None = 0.75,
    measured: Sequence[str] = ("validation", "test"),
    padded: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> Trial:
    """On a share of the sentences that are left when a tenth is held out."""
    values = {"validation": validation, "test": test}
    sentences = {"train": int(fraction * 8042), "validation": 894, "test": 2012}
    return Trial(
        key=Plan(
            "token-classification",
            "d" * 64,
            "span_f1",
            tuple(str(member.revision) for member in members),
            recipe,
            seed,
            fraction,
        ),
        history=(Epoch(0, None, 0.1), Epoch(1, 0.5, validation), Epoch(2, 0.4, 0.1)),
        best_epoch=1,
        results={split: values[split] for split in measured},
        data=dict.fromkeys(measured, "e" * 64),
        sentences={split: sentences[split] for split in ("train", *measured)},
        steps=123,
        processes=1,
        padded=padded,
        details=details or {},
        versions={"python": "3.11.7", "hf-zoo": "0.1.0"},
        device="cpu (x86_64)",
        seconds=12.3,
        peak_bytes=1_234_000_000,
        created_at="2026-11-20T18:00:00Z",
    )


def run(*trials: Trial, **known: Any) -> Run:
    """Of some trials; one with seed 7 if none are named."""
    trials = trials or (trial(7),)
    fields: dict[str, Any] = {
        "id": "0123456789ab",
        "target": TARGET,
        "members": MEMBERS,
        "recipe": trials[0].key.recipe,
        "metric": "span_f1",
        "through": (),
        "held_out": 894,
        "majority": {"validation": 0.1234, "test": 0.1111},
        "command": "zoo --zoo=/home/somebody/z tune -t conll2000 ~somebody/secret/mine @selection --test",
        "created_at": "2026-11-20T18:00:00Z",
    }
    return Run(trials=trials, **(fields | known))


def learning(shares: Sequence[float], seeds: int = 3) -> Run:
    """A run whose metric grows with the logarithm of the share."""
    noise = np.random.default_rng(0).normal(scale=0.01, size=(len(shares), seeds))
    return run(
        *(
            trial(
                seed, share, validation=0.8 + 0.1 * np.log10(share) + e, test=0.79 + 0.1 * np.log10(share) + e
            )
            for share, row in zip(shares, noise.tolist(), strict=True)
            for seed, e in enumerate(row)
        )
    )


def comparison(
    n_random: int = 20, seeds: int = 3, names: Sequence[str] = ("chosen", "first 3 by LogME")
) -> Comparison:
    """Contenders whose metric falls by 0.02 from 0.8, and random ensembles around 0.75."""
    rng = np.random.default_rng(0)

    def values(centre: float) -> tuple[float, ...]:
        return tuple((centre + rng.normal(scale=0.004, size=seeds)).tolist())

    return Comparison(
        run="0123456789ab",
        target=TARGET,
        recipe="head",
        metric="span_f1",
        split="test",
        fraction=0.1,
        seeds=tuple(range(seeds)),
        contenders=tuple(
            Contender(
                name,
                ("FacebookAI/roberta-base", "google-bert/bert-base-cased", "gpt2"),
                values(0.8 - 0.02 * i),
            )
            for i, name in enumerate(names)
        ),
        random=tuple(
            Contender("random", (f"owner/checkpoint-{i}", "b", "c"), values(centre))
            for i, centre in enumerate((0.75 + 0.02 * rng.standard_normal(n_random)).tolist())
        ),
    )
