"""How the covariance settles as more of a probe is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from zookeeper.pictures.page import BLUE, DASHES, VERMILLION, axes_at, mark, picture, rule, write_title
from zookeeper.pictures.words import on
from zookeeper.plain import count
from zookeeper.results import Convergence


def draw_convergence(convergence: Convergence, path: Path) -> None:
    """How far the covariance of fewer words is from that of all, beside a covariance that knows nothing.

    Args:
        convergence: the divergence of all words from themselves, 0, is not drawn.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending.
        StorageError: the disk refuses.
    """
    title = f"How κ settles: {count(convergence.n_checkpoints, 'checkpoint')}{on(convergence.probe)}"
    with picture(path, title) as figure:
        figure.set_size_inches(5.6, 4.6)
        above, below = (axes_at(figure, 0, bottom, 5.6, 2.1) for bottom in (2.5, 0))
        fewer = list(zip(convergence.words, convergence.divergence, strict=True))[:-1]
        known = [(n, d) for n, d in fewer if d is not None and d > 0]
        nothing, cosine_of_nothing = convergence.isotropic
        _curve(above, known, nothing, "KL(all ‖ so many), nats")
        if known:
            above.set_yscale("log")
            above.yaxis.set_major_formatter("{x:g}")
            above.yaxis.set_minor_formatter(NullFormatter())
        _curve(
            below,
            list(zip(convergence.words, convergence.cosine, strict=True)),
            cosine_of_nothing,
            "cosine with all",
        )
        for axes in (above, below):
            _word_axis(axes, convergence.words)
        above.tick_params(labelbottom=False)
        below.set_xlabel("words")
        singular = sum(d is None for d in convergence.divergence)
        facts = ["dashed: the identity in its place"]
        facts += [f"singular, so without a divergence: {count(singular, 'point')}"] if singular else []
        write_title(above, title, facts)


def _curve(axes: Any, points: Sequence[tuple[int, float]], of_nothing: float, label: str) -> None:
    axes.plot([n for n, _ in points], [value for _, value in points], "o-", color=BLUE, ms=4)
    axes.axhline(of_nothing, color=VERMILLION, lw=1.2, ls=DASHES)
    axes.set_ylabel(label)
    rule(axes)


def _word_axis(axes: Any, words: Sequence[int]) -> None:
    """A logarithmic axis of numbers of words that were used."""
    axes.set_xscale("log")
    axes.set_xlim(words[0] / 1.15, words[-1] * 1.15)
    mark(axes, words, [f"{n:,}" for n in words], np.log(words))
