"""Covariances, selections and tuning as pictures: PNG, SVG or PDF, by the ending of the path.

The same record makes the same bytes. Names come from outside and are drawn as text: nothing in them is
markup, characters that do not show are spelt out, and so are letters that the font lacks. In an SVG and a PDF
text stays text, so that names can be found. A picture is made in memory first: failure leaves no half file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from zookeeper.arrangement import classical_scaling, correlation, leaves, linkage
from zookeeper.errors import StorageError, UsageError
from zookeeper.plain import spelt_out
from zookeeper.records import Array, Target
from zookeeper.results import (
    NEAR_DUPLICATES,
    Comparison,
    Contender,
    Control,
    Convergence,
    Covariance,
    Run,
    Selection,
    spread_of,
)

_NAMED_UP_TO = 60
_NUMBERED_UP_TO = 100
_LIST_LINES = 40
_LONGEST_NAME = 48
_VIOLIN_FROM = 20  # dots; fewer have no shape
_DECADE = 10
_MARKS = 8  # on an axis, at most

# Of Okabe and Ito, https://jfly.uni-koeln.de/color: everyone can tell them apart, on grey paper too.
_BLUE, _SKY, _VERMILLION = "#0072B2", "#56B4E9", "#D55E00"
_INK, _FAINT, _MUTED = "#222222", "#767676", "#DDDDDD"

_POINT, _RING, _DOT = 6.5, 13.0, 5.0  # diameters, in points
_LINE = 11.0  # of text, in points
_NEAR, _FAR = (1, 0.6, 1.8, 3, 4.5), (1.8, 3, 4.5, 6, 9, 13, 20, 30, 45)  # of words on a map
_MAP, _BESIDE = (7.5, 5.6), (4.4, 3.4)  # inches
_DASHES = 0, (5, 3)
_DPI = 160
_FONT = "DejaVu Sans"  # comes with matplotlib
_STYLE: dict[str, Any] = {
    "font.sans-serif": [_FONT, "Verdana", "Arial", "Helvetica"],
    "font.size": 9,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "figure.dpi": _DPI,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "zookeeper",
}

_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


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
    title = f"κ of {_count(m, 'checkpoint')}{_on(covariance.probe)}"
    with _picture(path, title) as figure:
        cell = float(np.clip(6 / m, 0.16, 0.55)) if m <= _NAMED_UP_TO else 8 / m
        side = m * cell
        figure.set_size_inches(side + 2, side)
        heat = _axes(figure, 0, 0, side, side)
        image = _heat(heat, kappa[np.ix_(order, order)], 72 * cell)
        _label_cells(heat, names, size=min(9.0, 55 * cell))
        if m > 1:
            _dendrogram(_axes(figure, side + 0.08, 0, 1.6, side), tree, order)
        _key(_axes(figure, side + 0.3, -0.85, 1.38, 0.1), image, dotted=_near_duplicates(kappa) > 0)
        _title(heat, title, _of_covariance(covariance, kappa))


def draw_gains(selection: Selection, path: Path) -> None:
    """What each pick adds and what the picks come to, beside other ways of choosing as many.

    Args:
        selection: of one pick or more.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, or nothing was picked.
        StorageError: the disk refuses.
    """
    picks = selection.picks
    if not picks:
        raise UsageError("a selection without picks has no gains to draw.")
    k = len(picks)
    title = f"{k} of {_count(selection.n_checkpoints, 'checkpoint')}, by {selection.by}"
    with _picture(path, title) as figure:
        width = max(3.2, 0.34 * k + 1)
        figure.set_size_inches(width, 3.6)
        axes = _axes(figure, 0, 0, width, 3.6)
        at = np.arange(1, k + 1)
        axes.bar(at, [pick.gain for pick in picks], width=0.62, color=_SKY, label="what a pick adds")
        axes.plot(at, [pick.total for pick in picks], "o-", color=_BLUE, ms=5, label="all picks so far")
        axes.axhline(0, color=_FAINT, lw=0.8)
        axes.set_xlim(0.4, k + 0.6)
        axes.set_xticks(
            at, [_pick_label(pick.name, pick.stable) for pick in picks], rotation=40, ha="right", size=8.5
        )
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_ylabel("nats" if selection.by == "mutual information" else "nats per example")
        _rule(axes)
        _compare(axes, selection)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2
        )
        _title(axes, title, _of_selection(selection), lift=0.28)


def draw_map(covariance: Covariance, path: Path, picks: Sequence[str] = ()) -> None:
    """Checkpoints as points of a plane: the nearer, the more alike.

    Up to 100 checkpoints, each has its name beside it, or a number and its name in a list; of more, those
    have names that have room for them.

    Args:
        covariance: its diagonal is made 1 if it is not.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        picks: names of checkpoints to ring.

    Raises:
        UsageError: another ending, or a pick that is no checkpoint of the covariance.
        StorageError: the disk refuses.
    """
    if unknown := next((name for name in picks if name not in covariance.names), None):
        raise UsageError(f"{unknown} is not in this covariance.", fix="draw the picks of the same covariance")
    scaling = classical_scaling(correlation(covariance.matrix))
    ringed = [covariance.names.index(name) for name in picks]
    of = f"{_count(len(covariance), 'checkpoint')}{_on(covariance.probe)}"
    title = f"Map of {of}: {_share(scaling.explained)} explained"
    facts = ["distance √(2(1 − κ)), classical scaling to two dimensions"]
    facts += ["ringed: chosen"] if ringed else []
    with _picture(path, title) as figure:
        figure.set_size_inches(_MAP)
        axes = _axes(figure, 0, 0, *_MAP)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(visible=True, color=_MUTED)
        x, y = scaling.coordinates.T
        _fit(axes, scaling.coordinates)
        axes.scatter(x, y, s=_POINT**2, color=_BLUE, alpha=0.85, lw=0, zorder=3)
        axes.scatter(
            x[ringed], y[ringed], s=_RING**2, facecolors="none", edgecolors=_VERMILLION, lw=1.8, zorder=4
        )
        names = [shown(name) for name in covariance.names]
        unnamed = _name_points(axes, scaling.coordinates, names, ringed)
        if unnamed:
            facts.append(f"{unnamed} have no room for their names")
        _title(axes, title, facts)


def draw_convergence(convergence: Convergence, path: Path) -> None:
    """How far the covariance of fewer words is from that of all, beside a covariance that knows nothing.

    Args:
        convergence: the divergence of all words from themselves, 0, is not drawn.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending.
        StorageError: the disk refuses.
    """
    title = f"How κ settles: {_count(convergence.n_checkpoints, 'checkpoint')}{_on(convergence.probe)}"
    with _picture(path, title) as figure:
        figure.set_size_inches(5.6, 4.6)
        above, below = (_axes(figure, 0, bottom, 5.6, 2.1) for bottom in (2.5, 0))
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
        facts += [f"singular, so without a divergence: {_count(singular, 'point')}"] if singular else []
        _title(above, title, facts)


def draw_comparison(found: Comparison, path: Path) -> None:
    """Ensembles on the scale of a metric, beside ensembles of as many that were drawn at random.

    A random ensemble is a dot; from 20 on, they have a violin too. Any other is a line with its mean over
    seeds, a whisker of one standard deviation between them, its name, and how many random ones it is above.

    Args:
        found: ensembles without a value are counted, not drawn.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, or nothing has a value.
        StorageError: the disk refuses.
    """
    levels = [_Level.of(one.values) for one in (*found.contenders, *found.random)]
    if not any(levels):
        raise UsageError("no ensemble of this comparison has a value.", why=f"{found.metric} is undefined")
    title = _measured(found.metric, found.target, found.split)
    with _picture(path, title) as figure:
        figure.set_size_inches(_BESIDE)
        axes = _axes(figure, 0, 0, *_BESIDE)
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        axes.set_ylim(_reach(level for level in levels if level))
        axes.set_ylabel(_words(found.metric))
        _rule(axes)
        _draw_random(axes, found.random)
        _draw_contenders(axes, found)
        _title(axes, title, _of_comparison(found))


def draw_curve(run: Run, path: Path) -> None:
    """What more training data brings: the metric over the share of it, beside that of the commonest answer.

    A line through the means over seeds, a dot for each trial. Of the test split where all trials were
    measured on it, else of the validation split.

    Args:
        run: on two shares or more.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, one share only, or nothing has a value.
        StorageError: the disk refuses.
    """
    split = "test" if all("test" in trial.results for trial in run.trials) else "validation"
    values = {share: [t.results.get(split) for t in trials] for share, trials in run.curve.items()}
    if len(values) < 2:
        raise UsageError(
            f"run {run.id} learnt from one share of the data, which is no curve.",
            fix="zoo tune --fractions 0.1,0.3,1",
        )
    levels = {share: level for share, each in values.items() if (level := _Level.of(each))}
    if not levels:
        raise UsageError(f"run {run.id} has no value to draw.", why=f"{run.metric} is undefined")
    title = f"Learning curve: {_measured(run.metric, run.target, split)}"
    with _picture(path, title) as figure:
        figure.set_size_inches(_BESIDE)
        axes = _axes(figure, 0, 0, *_BESIDE)
        axes.set_ylabel(_words(run.metric))
        _rule(axes)
        _draw_levels(axes, levels)
        dots = [(share, value) for share, each in values.items() for value in each if value is not None]
        axes.plot(*zip(*dots, strict=True), "o", color=_BLUE, ms=_DOT, mew=0, alpha=0.75)
        sentences = [trials[0].sentences["train"] for trials in run.curve.values()]
        _share_axis(axes, list(run.curve), sentences)
        axes.set_xlabel(f"of the training data, {run.target.counted_in}")
        last = levels[max(levels)]
        labels = [(last.mean, f"{_count(len(run.seeds), 'seed')}\n{last}")]
        commonest = run.majority.get(split)
        if commonest is not None:
            axes.axhline(commonest, color=_VERMILLION, lw=1.2, ls=_DASHES)
            labels.append((commonest, f"the commonest answer\n{commonest:.4f}"))
        _label_levels(axes, labels, lines=2)
        _title(axes, title, _of_curve(run))


def shown(text: object) -> str:
    """Foreign text as a picture can hold it: all characters show, and a long one loses its middle."""
    letters = "".join(
        char if _has_glyph(char) else char.encode("unicode_escape").decode("ascii")
        for char in spelt_out(text)
    )
    if len(letters) <= _LONGEST_NAME:
        return letters
    half = (_LONGEST_NAME - 1) // 2
    return f"{letters[: _LONGEST_NAME - 1 - half]}…{letters[-half:]}"


def _has_glyph(char: str) -> bool:
    return bool(_font().get_char_index(ord(char)))


@cache
def _font() -> Any:
    return get_font(findfont(FontProperties(family=[_FONT])))


@contextmanager
def _picture(path: Path, title: str) -> Iterator[Figure]:
    """A figure to draw on; it is written when all is drawn."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise UsageError(
            f"zoo draws .png, .svg and .pdf, not {path.suffix or 'files without an ending'}.",
            fix=f"-o {path.stem or 'picture'}.png",
        )
    drawn = io.BytesIO()
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure()
        FigureCanvasAgg(figure)
        yield figure
        metadata = {"Title": title, **_METADATA[kind]}
        figure.savefig(drawn, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.15)
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise StorageError(f"cannot write {path}.", why=(error.strerror or str(error)).lower()) from error


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at a place in inches; what lies outside the figure widens the picture."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _title(axes: Any, title: str, facts: Sequence[str], *, lift: float = 0.0) -> None:
    """A title with a line of facts under it, `lift` inches above the axes."""
    points = 72 * lift
    for text, size, colour, height in ((title, 11, _INK, 21), ("  ·  ".join(facts), 8, _FAINT, 7)):
        axes.annotate(
            text,
            (0, 1),
            (0, points + height),
            xycoords="axes fraction",
            textcoords="offset points",
            size=size,
            color=colour,
        )


def _of_covariance(covariance: Covariance, kappa: Array) -> list[str]:
    facts = []
    if len(kappa) > 1:
        facts.append(f"median κ {np.median(_pairs(kappa)):.2f}")
        facts.append(_count(_near_duplicates(kappa), "near-duplicate pair"))
    if covariance.debiased:
        facts.append("debiased")
    if covariance.shrinkage:
        facts.append(f"shrunk by {covariance.shrinkage:.2g}")
    if len(kappa) > _NAMED_UP_TO:
        facts.append(f"more than {_NAMED_UP_TO}: no names")
    return facts


def _pairs(kappa: Array) -> Array:
    return kappa[np.triu_indices(len(kappa), 1)]


def _near_duplicates(kappa: Array) -> int:
    return int((_pairs(kappa) >= NEAR_DUPLICATES).sum())


def _heat(axes: Any, kappa: Array, cell: float) -> Any:
    """Cells, the diagonal muted, near-duplicates dotted; `cell` is in points."""
    colours: Colormap = matplotlib.colormaps["viridis"].with_extremes(bad=_MUTED)
    off = np.ma.array(kappa, mask=np.eye(len(kappa), dtype=bool))
    image = axes.imshow(off, cmap=colours, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    rows, columns = np.nonzero(off.filled(0) >= NEAR_DUPLICATES)
    axes.plot(columns, rows, "o", color=_INK, ms=max(1.0, 0.3 * min(cell, 20)), mew=0)
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
    if len(names) > _NAMED_UP_TO:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    at = range(len(names))
    axes.set_yticks(at, names, size=size)
    axes.set_xticks(at, names, size=size, rotation=90)


def _dendrogram(axes: Any, tree: Array, order: Sequence[int]) -> None:
    """The tree that orders the rows, its leaves at their rows, its forks at their distance 1 - kappa."""
    m = len(order)
    row, distance = np.zeros(2 * m - 1), np.zeros(2 * m - 1)
    row[list(order)] = np.arange(m)
    forks = []
    for node, (left, right, height, _) in enumerate(tree, m):
        a, b = int(left), int(right)
        forks.append([(distance[a], row[a]), (height, row[a]), (height, row[b]), (distance[b], row[b])])
        row[node], distance[node] = (row[a] + row[b]) / 2, height
    axes.add_collection(LineCollection(forks, colors=_FAINT, linewidths=0.9))
    axes.set_xlim(0, max(1.02 * distance.max(), 0.1))
    axes.set_ylim(m - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("1 − κ, average linkage", size=8)
    axes.spines["left"].set_visible(False)


def _pick_label(name: str, stable: float | None) -> str:
    return shown(name) if stable is None else f"{shown(name)}  {_share(stable)}"


def _of_selection(selection: Selection) -> list[str]:
    facts = [f"on {shown(selection.probe)}"] if selection.probe else []
    if any(pick.stable is not None for pick in selection.picks):
        facts.append(f"%: share of {selection.replicates} replicates that choose it")
    return facts


def _compare(axes: Any, selection: Selection) -> None:
    """Other ways of choosing as many, at the right: a band for random sets, a line for each other way."""
    k = len(selection.picks)
    levels: list[tuple[float, str]] = []
    for control in selection.controls:
        if control.spread:
            axes.axhspan(*control.spread, color=_MUTED, lw=0, zorder=0)
        levels.append((control.value, _control_label(control, k)))
    if selection.optimum:
        best = selection.optimum
        levels.append((best.value, "best set" if best.proven else "best set that was found"))
    _label_levels(axes, levels)
    for value, _ in levels:
        axes.plot([0.4, k + 0.6], [value, value], ls=(0, (4, 3)), lw=0.9, color=_FAINT, zorder=1)


def _label_levels(axes: Any, levels: Sequence[tuple[float, str]], *, lines: int = 1) -> None:
    """Words of so many lines at the right of the axes, each at its height, or near it where they collide."""
    levels = sorted(levels)
    values = [value for value, _ in levels]
    axes.update_datalim([(axes.get_xlim()[1], value) for value in values])
    axes.autoscale_view(scalex=False)
    low, high = axes.get_ylim()
    apart = _LINE * (lines + (lines > 1) / 2) * _DPI / 72 * (high - low) / float(axes.bbox.height)
    for (value, text), where in zip(levels, _spaced(values, apart), strict=True):
        axes.annotate(
            text,
            (1, value),
            (1.04, where),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            size=8,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": _FAINT,
                "lw": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def _control_label(control: Control, k: int) -> str:
    if control.spread:
        return f"{shown(control.name)} of {k}: mean, 5th to 95th percentile"
    return shown(control.name)


def _spaced(values: Sequence[float], apart: float) -> list[float]:
    """Ascending places, `apart` at least, near to ascending values: those that collide move as one."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _collide(groups[-2], groups[-1], apart):
            groups[-2:] = [groups[-2] + groups[-1]]
    places = []
    for group in groups:
        middle = (len(group) - 1) / 2
        places += [_centre(group) + apart * (i - middle) for i in range(len(group))]
    return places


def _collide(below: Sequence[float], above: Sequence[float], apart: float) -> bool:
    return _centre(above) - _centre(below) < apart * (len(below) + len(above)) / 2


def _centre(group: Sequence[float]) -> float:
    return sum(group) / len(group)


def _fit(axes: Any, points: Array) -> None:
    """Limits with one scale in both directions, and room for names."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    scale = 1.2 * max(float((np.ptp(points, axis=0) / _MAP).max()), 1e-3)
    for limit, centre, inches in zip((axes.set_xlim, axes.set_ylim), middle, _MAP, strict=True):
        limit(centre - scale * inches / 2, centre + scale * inches / 2)


def _name_points(axes: Any, points: Array, names: Sequence[str], first: Sequence[int]) -> int:
    """Write names beside points, `first` first; where there is no room a number, and its name in a list.

    Returns:
        How many points have neither name nor number.
    """
    labels = _Labels(axes, points, first)
    turns = [*dict.fromkeys(first), *(i for i in labels.loneliest_first() if i not in first)]
    crowded = [i for i in turns if not labels.place(i, names[i], reaches=_NEAR)]
    if len(names) > _NUMBERED_UP_TO:
        return len(crowded)
    crowded.sort(key=lambda i: names[i])
    for number, i in enumerate(crowded, 1):
        if not labels.place(i, str(number), reaches=_NEAR):
            labels.place(i, str(number), reaches=_FAR, crossing=True)
    _list(axes, [f"{number}  {names[i]}" for number, i in enumerate(crowded, 1)])
    return 0


class _Labels:
    """Words beside points, which overlap neither one another nor a point.

    Args:
        axes: with its final limits.
        points: (m, 2).
        ringed: which of them have a ring.
    """

    _DIRECTIONS = np.array(
        [(1.0, 0.0), (-1.0, 0.0)]
        + [(x, y) for x in (0.0, 0.7, -0.7, 0.35, -0.35, 1.0, -1.0) for y in (1.0, -1.0)]
    )
    _SIZE = 7.5

    def __init__(self, axes: Any, points: Array, ringed: Sequence[int]) -> None:
        self._axes, self._points = axes, points
        self._pixels = np.asarray(axes.transData.transform(points))
        self._pixel = _DPI / 72
        self._radius = np.full(len(points), _POINT / 2 * self._pixel)
        self._radius[list(ringed)] = (_RING / 2 + 1) * self._pixel
        self._taken = np.hstack([self._pixels - self._radius[:, None], self._pixels + self._radius[:, None]])
        self._frame = np.asarray(axes.bbox.extents)

    def loneliest_first(self) -> list[int]:
        """Points by how many others are within an inch."""
        apart = np.linalg.norm(self._pixels[:, None] - self._pixels[None], axis=2)
        return [int(i) for i in np.argsort((apart < _DPI).sum(axis=1), kind="stable")]

    def place(self, i: int, text: str, *, reaches: Sequence[float], crossing: bool = False) -> bool:
        """Write beside point `i` where there is room, and say whether there was.

        Args:
            i: number of the point.
            text: what to write.
            reaches: how far away, in turn; a word of a reach above 1 has a line to its point.
            crossing: whether that line may cross others.
        """
        renderer = self._axes.figure.canvas.get_renderer()
        font = FontProperties(family=[_FONT], size=self._SIZE)
        extent = np.array(renderer.get_text_width_height_descent(text, font, False)[:2])
        for reach in reaches:
            for direction in self._DIRECTIONS:
                distance = self._radius[i] + (7 * reach - 4) * self._pixel
                centre = self._pixels[i] + direction * (distance + extent / 2)
                box = np.concatenate([centre - extent / 2, centre + extent / 2])
                if self._is_free(box) and (crossing or reach <= 1 or self._is_clear(i, centre)):
                    self._taken = np.vstack([self._taken, box])
                    self._write(i, text, centre, leader=reach > 1)
                    return True
        return False

    def _is_free(self, box: Array) -> bool:
        if (box[:2] < self._frame[:2]).any() or (box[2:] > self._frame[2:]).any():
            return False
        return not ((box[:2] < self._taken[:, 2:]) & (box[2:] > self._taken[:, :2])).all(axis=1).any()

    def _is_clear(self, i: int, centre: Array) -> bool:
        """Whether a line from point `i` crosses no other point and no word."""
        way = self._pixels[i] + np.linspace(0, 1, 40)[:, None] * (centre - self._pixels[i])
        others = np.delete(self._taken, i, axis=0)
        return not ((way[:, None] > others[:, :2]) & (way[:, None] < others[:, 2:])).all(axis=2).any()

    def _write(self, i: int, text: str, centre: Array, *, leader: bool) -> None:
        self._axes.annotate(
            text,
            self._points[i],
            (centre - self._pixels[i]) / self._pixel,
            textcoords="offset points",
            size=self._SIZE,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": _FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
            if leader
            else None,
        )


def _list(axes: Any, lines: Sequence[str]) -> None:
    """Lines of text at the right of the axes, in columns."""
    left = 1.02
    for start in range(0, len(lines), _LIST_LINES):
        column = axes.text(
            left,
            1,
            "\n".join(lines[start : start + _LIST_LINES]),
            transform=axes.transAxes,
            size=7.5,
            va="top",
            linespacing=1.35,
        )
        right = column.get_window_extent(axes.figure.canvas.get_renderer()).x1
        left = float(axes.transAxes.inverted().transform((right, 0))[0]) + 0.02


def _curve(axes: Any, points: Sequence[tuple[int, float]], of_nothing: float, label: str) -> None:
    axes.plot([n for n, _ in points], [value for _, value in points], "o-", color=_BLUE, ms=4)
    axes.axhline(of_nothing, color=_VERMILLION, lw=1.2, ls=_DASHES)
    axes.set_ylabel(label)
    _rule(axes)


def _word_axis(axes: Any, words: Sequence[int]) -> None:
    """A logarithmic axis of numbers of words that were used."""
    axes.set_xscale("log")
    axes.set_xlim(words[0] / 1.15, words[-1] * 1.15)
    _mark(axes, words, [f"{n:,}" for n in words], np.log(words))


def _share_axis(axes: Any, shares: Sequence[float], sentences: Sequence[int]) -> None:
    """An axis of shares that were learnt from, logarithmic where they span more than a decade."""
    spans = shares[-1] / shares[0] > _DECADE
    if spans:
        axes.set_xscale("log")
    axes.margins(x=0.04)
    labels = [f"{_part(share)}\n{n:,}" for share, n in zip(shares, sentences, strict=True)]
    _mark(axes, shares, labels, np.log(shares) if spans else np.array(shares))


def _mark(axes: Any, values: Sequence[float], labels: Sequence[str], places: Array) -> None:
    """Marks at ascending values, the last first, as far as they have room; `places` are linear in inches."""
    kept = [len(values) - 1]
    for i in reversed(range(len(values))):
        if places[kept[-1]] - places[i] > (places[-1] - places[0]) / _MARKS:
            kept.append(i)
    axes.set_xticks([values[i] for i in kept], [labels[i] for i in kept])
    axes.xaxis.set_minor_locator(NullLocator())


def _rule(axes: Any) -> None:
    """Faint lines to read heights by."""
    axes.grid(axis="y", color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)


def _reach(levels: Iterable[_Level]) -> tuple[float, float]:
    """Limits of an axis that hold levels with their whiskers."""
    ends = [level.ends for level in levels]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _draw_random(axes: Any, random: Sequence[Contender]) -> None:
    """A dot for each random ensemble, those that are alike side by side; a violin of many; their median."""
    means = np.sort([one.mean for one in random if one.mean is not None])
    if not len(means):
        return
    middle, half = 0.26, 0.2
    if len(means) >= _VIOLIN_FROM:
        violin = axes.violinplot([means], positions=[middle], widths=2 * half, showextrema=False)
        for body in violin["bodies"]:
            body.set(facecolor=_SKY, edgecolor=_SKY, alpha=0.35)
    across, up = axes.bbox.size
    low, high = axes.get_ylim()
    diameter = _DOT * _DPI / 72
    offsets = _side_by_side(means * up / (high - low), diameter, half * across) / across
    axes.plot(middle + offsets, means, "o", color=_BLUE, ms=_DOT, mew=0, alpha=0.75)
    median = float(np.median(means))
    axes.plot([middle - half, middle + half], [median, median], color=_INK, lw=1.2)
    members = len(random[0].members)
    axes.set_xticks([middle], [f"{_count(len(means), 'random ensemble')} of {members}\nmedian {median:.4f}"])
    axes.tick_params(axis="x", length=0)


def _side_by_side(heights: Array, diameter: float, widest: float) -> Array:
    """Offsets from a line, the nearest at which discs at these heights do not overlap, as far as they fit."""
    steps = np.arange(1, max(int(widest / diameter), 1) + 1) * diameter
    candidates = [0.0, *np.stack([steps, -steps], axis=1).ravel()]
    offsets = np.zeros(len(heights))
    for i, height in enumerate(heights):
        near = np.abs(heights[:i] - height) < diameter
        free = (
            at
            for at in candidates
            if (np.hypot(heights[:i][near] - height, offsets[:i][near] - at) >= diameter).all()
        )
        offsets[i] = next(free, 0.0)
    return offsets


def _draw_contenders(axes: Any, found: Comparison) -> None:
    """A line, a mean and a whisker for each, and what it is; the first, which was asked for, stands out."""
    known = [(one, level) for one in found.contenders if (level := _Level.of(one.values))]
    labels = []
    for at, (one, level) in zip(np.linspace(0.6, 0.92, len(known)), known, strict=True):
        first = one is found.contenders[0]
        colour = _VERMILLION if first else _INK
        width, dashes = (1.4, "-") if first else (0.9, _DASHES)
        axes.axhline(level.mean, color=colour, lw=width, ls=dashes, zorder=1)
        axes.errorbar(at, level.mean, level.deviation, fmt="o", color=colour, ms=6, capsize=3, elinewidth=1.4)
        above = 1 + len(found.random) - found.rank(one)
        rank = f", above {above} of {len(found.random)}" if found.random else ""
        labels.append((level.mean, f"{shown(one.name)}\n{level}{rank}"))
    _label_levels(axes, labels, lines=2)


def _of_comparison(found: Comparison) -> list[str]:
    facts = [f"recipe {shown(found.recipe)}", _trained_on(found.fraction), _count(len(found.seeds), "seed")]
    facts += ["whisker: standard deviation between them"] if len(found.seeds) > 1 else []
    unknown = sum(one.mean is None for one in (*found.contenders, *found.random))
    return facts + ([f"without a value: {_count(unknown, 'ensemble')}"] if unknown else [])


def _draw_levels(axes: Any, levels: Mapping[float, _Level]) -> None:
    """A line through means, in a band of one deviation."""
    shares = list(levels)
    if any(level.deviation for level in levels.values()):
        low, high = zip(*(level.ends for level in levels.values()), strict=True)
        axes.fill_between(shares, low, high, color=_SKY, alpha=0.35, lw=0)
    axes.plot(shares, [level.mean for level in levels.values()], color=_BLUE, lw=1.4)


def _of_curve(run: Run) -> list[str]:
    first, *more = (shown(member.name) for member in run.members)
    facts = [f"recipe {shown(run.recipe.name)}", f"{first} and {len(more)} more" if more else first]
    return facts + (["band: standard deviation between seeds"] if len(run.seeds) > 1 else [])


def _measured(metric: str, target: Target, split: str) -> str:
    return f"{_words(metric)} on {shown(target.dataset if target.local else target.name)}, {split}"


def _words(metric: str) -> str:
    return shown(metric.replace("_", " "))


def _trained_on(share: float) -> str:
    return "all training data" if share == 1 else f"{_part(share)} of the training data"


class _Level(NamedTuple):
    """A metric that is defined for some seed: its mean over them, the deviation between them if several."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> _Level | None:
        spread = spread_of(values)
        return None if spread.mean is None else cls(spread.mean, spread.deviation)

    @property
    def ends(self) -> tuple[float, float]:
        """Of its whisker."""
        return self.mean - (self.deviation or 0.0), self.mean + (self.deviation or 0.0)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.deviation:.4f}" if self.deviation is not None else "")


def _on(probe: str | None) -> str:
    return f" on {shown(probe)}" if probe else ""


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _part(share: float) -> str:
    return f"{100 * share:.3g} %"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
