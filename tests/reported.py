"""A made-up zoo of any size with everything that a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests.made_up import TARGET, comparison, learning, run, trial
from zookeeper.arrangement import correlation
from zookeeper.publications import Report
from zookeeper.records import Checkpoint, Outcome, ProbeChoice, Reading, RepoFile, Revision
from zookeeper.results import (
    Baseline,
    Control,
    Covariance,
    Epoch,
    Estimate,
    Member,
    Pick,
    Ranking,
    Run,
    Score,
    Selection,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- --><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[31mred\x1b[0m",
    "\u202eright to left",
    "</title><b>&amp;&lt;",
    "]]></text></svg><a href='javascript:alert(1)'>",
    "new\nline\u2028\x00",
    " ",
)
"""Names that would be markup, commands to a terminal, or nothing, if they were not only text."""

FAMILIES = ("bert", "roberta", "gpt2", "electra", "t5", "deberta-v2", "llama", "albert", "xlnet")
TIERS = "ABCDEFGH"


def names_of(m: int) -> list[str]:
    """A quarter of them bases, the others made from them."""
    bases = [f"lab-{i % 5}/{FAMILIES[i % len(FAMILIES)]}-base-{i:02}" for i in range(max(m // 4, 1))]
    return bases + [
        f"someone-{i % 11}/{bases[i % len(bases)].split('/')[1]}-tuned-{i:03}" for i in range(m - len(bases))
    ]


def checkpoints(names: Sequence[str]) -> tuple[Checkpoint, ...]:
    """With sizes, licences, and the bases that `names_of` means."""
    n_bases = max(len(names) // 4, 1)
    return tuple(
        Checkpoint(
            Revision(name, "main", f"{i:040x}"),
            (RepoFile("model.safetensors", 1000, "sha256:" + "0" * 64),),
            architecture="ModelForMaskedLM",
            model_type=FAMILIES[i % n_bases % len(FAMILIES)],
            parameters=10_000_000 * (1 + i % 13),
            license=("mit", "apache-2.0", None)[i % 3],
            base_models=() if i < n_bases else (names[(i - n_bases) % n_bases],),
            tags=(f"base_model:quantized:{names[(i - n_bases) % n_bases]}",) if i % 4 == 3 else (),
            problem="no fast tokenizer" if i == 1 else None,
        )
        for i, name in enumerate(names)
    )


def covariance(names: Sequence[str], seed: int = 0) -> Covariance:
    """Families that are alike; the last two are near-duplicates."""
    rng = np.random.default_rng(seed)
    m, n_bases = len(names), max(len(names) // 4, 1)
    families = rng.standard_normal((n_bases, 60)) + 0.8 * rng.standard_normal(60)
    features = np.stack([families[i % n_bases] for i in range(m)]) + 0.7 * rng.standard_normal((m, 60))
    features[-1] = features[-2] + 0.05 * rng.standard_normal(60)
    kappa = np.abs(correlation(features @ features.T)) ** 2
    return Covariance(
        tuple(names),
        correlation(kappa),
        probed=ProbeChoice("wikitext2", 10_000, "d" * 64, (20,) * 500, Reading()),
        revisions=tuple(Revision(name, "main", f"{i:040x}") for i, name in enumerate(names)),
        left_out=(Outcome("lab-0/unreadable", "failed", error="it does not load.", why="a corrupt file"),),
        standard_error=np.full((m, m), 0.012),
    )


def selection(names: Sequence[str], k: int = 5) -> Selection:
    """With a band, and random sets that come to less."""
    gains = [2.5 / (i + 1.3) for i in range(k)]
    totals = np.cumsum(gains).tolist()
    return Selection(
        picks=tuple(
            Pick(
                name,
                gain,
                total,
                stands_for=tuple(names[i + k : i + k + 2]),
                revision=Revision(name, "main", f"{i:040x}"),
                stable=0.9 - 0.1 * i,
            )
            for i, (name, gain, total) in enumerate(zip(names, gains, totals, strict=False))
        ),
        start="mi",
        n_checkpoints=len(names),
        probe="wikitext2, 10,000 words",
        controls=(
            Control(
                "random sets", 0.7 * totals[-1], spread=(0.5 * totals[-1], 0.85 * totals[-1]), below=0.987
            ),
            Control("medoids", 0.93 * totals[-1], picks=tuple(names[:k])),
        ),
        band=tuple((0.95 * total, 1.04 * total) for total in totals),
        random=tuple(Estimate(0.7 * total, 0.5 * total, 0.85 * total) for total in totals),
        replicates=200,
    )


def ranking(names: Sequence[str], seed: int = 0) -> Ranking:
    """LogME falls by 0.01 a place."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names)).tolist()
    return Ranking(
        TARGET,
        "train",
        "logme",
        "best",
        Reading(),
        tuple(
            Score(
                names[i],
                Revision(names[i], "main", f"{i:040x}"),
                {
                    "logme": Estimate(1.5 - 0.01 * place, 1.45 - 0.01 * place, 1.52 - 0.01 * place, 1.1),
                    "ridge": Estimate(0.8 - 0.004 * (place * 7 % 11)),
                },
                layer="11",
                dimension=768,
                examples=47_796,
                evidence="e" * 64,
                behind=Estimate(0.01 * place, 0.01 * place - 0.006, 0.01 * place + 0.006) if place else None,
                tier=TIERS[min(place // 6, len(TIERS) - 1)],
                ranks=(max(1, place - 1), place + 3),
                parameters=10_000_000,
            )
            for place, i in enumerate(order)
        ),
        (Baseline("any checkpoint, on average", 1.42), Baseline("most parameters", 1.46, names[0], 5)),
        (Outcome("lab-0/no-tokenizer", "failed", error="it has no tokenizer."),),
        replicates=200,
    )


def runs(names: Sequence[str]) -> tuple[Run, ...]:
    """One on several shares of the data, and one that learns slower."""

    def history(level: float, n: int, seed: int) -> tuple[Epoch, ...]:
        noise = np.random.default_rng(seed).normal(scale=0.004, size=n)
        return tuple(
            Epoch(i, None if not i else 1 / i, level * (1 - np.exp(-(i + 0.5) / 4)) + float(noise[i]))
            for i in range(n)
        )

    def taught(found: Run, level: float) -> Run:
        trials = tuple(
            replace(one, history=history(level, 18 + 3 * one.key.seed, one.key.seed), best_epoch=14)
            for one in found.trials
        )
        members = tuple(Member(name, Revision(name, "main", "a" * 40), 768) for name in names[:5])
        return replace(found, trials=trials, members=members)

    return (
        taught(learning((0.01, 0.1, 1.0)), 0.81),
        taught(run(trial(0), trial(1), id="fedcba987654"), 0.74),
    )


def report(m: int = 18, names: Sequence[str] | None = None, n_random: int = 40) -> Report:
    """Of so many checkpoints."""
    names = names or names_of(m)
    return Report(
        command="zoo report --target conll2000 -o zoo-report.html",
        created_at="2026-11-21T09:30:00Z",
        versions={"python": "3.11.7", "hf-zoo": "0.1.0", "numpy": "2.3.1"},
        checkpoints=checkpoints(names),
        covariance=covariance(names),
        selection=selection(names),
        ranking=ranking(names),
        runs=runs(names),
        comparison=comparison(n_random),
    )
