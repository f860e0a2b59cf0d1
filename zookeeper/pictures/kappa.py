"""The covariance as a heat map, families together, beside the tree that orders them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator

from zookeeper.arrangement import correlation, forks, leaves, linkage
from zookeeper.pictures.page import FAINT, INK, MUTED, NAMED_UP_TO, axes_at, picture, write_title
from zookeeper.pictures.words import on, shown
from zookeeper.plain import count
from zookeeper.records import Array
from zookeeper.results import NEAR_DUPLICATES, Covariance


def draw_kappa(covariance: Covariance, path: Path) -> None:
    """Heat map of a covariance, families together, with the tree that orders them.

    Args:
        covariance: its diagonal is made 1 if it is not.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending.
        StorageError: the disk refuses.
    """
    m = len(covariance)
    kappa = correlation(covariance.matrix)
    tree = linkage(kappa)
    order = leaves(tree, kappa)
    names = [shown(covariance.names[i]) for i in order]
    title = f"κ of {count(m, 'checkpoint')}{on(covariance.probe)}"
    with picture(path, title) as figure:
        cell = float(np.clip(6 / m, 0.16, 0.55)) if m <= NAMED_UP_TO else 8 / m
        side = m * cell
        figure.set_size_inches(side + 2, side)
        heat = axes_at(figure, 0, 0, side, side)
        image = _heat(heat, kappa[np.ix_(order, order)], 72 * cell)
        _label_cells(heat, names, size=min(9.0, 55 * cell))
        if m > 1:
            _dendrogram(axes_at(figure, side + 0.08, 0, 1.6, side), tree, order)
        _key(axes_at(figure, side + 0.3, -0.85, 1.38, 0.1), image, dotted=_near_duplicates(kappa) > 0)
        write_title(heat, title, _of_covariance(covariance, kappa))


def _of_covariance(covariance: Covariance, kappa: Array) -> list[str]:
    facts = []
    if len(kappa) > 1:
        facts.append(f"median κ {np.median(_pairs(kappa)):.2f}")
        facts.append(count(_near_duplicates(kappa), "near-duplicate pair"))
    if covariance.debiased:
        facts.append("debiased")
    if covariance.shrinkage:
        facts.append(f"shrunk by {covariance.shrinkage:.2g}")
    if len(kappa) > NAMED_UP_TO:
        facts.append(f"more than {NAMED_UP_TO}: no names")
    return facts


def _pairs(kappa: Array) -> Array:
    return kappa[np.triu_indices(len(kappa), 1)]


def _near_duplicates(kappa: Array) -> int:
    return int((_pairs(kappa) >= NEAR_DUPLICATES).sum())


def _heat(axes: Any, kappa: Array, cell: float) -> Any:
    """Cells, the diagonal muted, near-duplicates dotted; `cell` is in points."""
    colours: Colormap = matplotlib.colormaps["viridis"].with_extremes(bad=MUTED)
    off = np.ma.array(kappa, mask=np.eye(len(kappa), dtype=bool))
    image = axes.imshow(off, cmap=colours, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    rows, columns = np.nonzero(off.filled(0) >= NEAR_DUPLICATES)
    axes.plot(columns, rows, "o", color=INK, ms=max(1.0, 0.3 * min(cell, 20)), mew=0)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def _key(axes: Any, image: Any, *, dotted: bool) -> None:
    axes.figure.colorbar(image, cax=axes, orientation="horizontal", ticks=[0, 0.5, 1])
    axes.set_title("κ", size=8, pad=3)
    axes.tick_params(labelsize=8)
    if dotted:
        axes.text(0, -3.6, f"●  κ ≥ {NEAR_DUPLICATES}", transform=axes.transAxes, size=8, va="top")


def _label_cells(axes: Any, names: Sequence[str], size: float) -> None:
    if len(names) > NAMED_UP_TO:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    at = range(len(names))
    axes.set_yticks(at, names, size=size)
    axes.set_xticks(at, names, size=size, rotation=90)


def _dendrogram(axes: Any, tree: Array, order: Sequence[int]) -> None:
    """The tree that orders the rows, its leaves at their rows, its forks at their distance 1 - kappa."""
    m = len(order)
    corners = forks(tree, order)
    axes.add_collection(LineCollection(list(corners), colors=FAINT, linewidths=0.9))
    axes.set_xlim(0, max(1.02 * corners[..., 0].max(), 0.1))
    axes.set_ylim(m - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("1 − κ, average linkage", size=8)
    axes.spines["left"].set_visible(False)
