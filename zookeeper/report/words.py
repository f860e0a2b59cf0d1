"""Numbers and foreign text as a report writes them."""

from __future__ import annotations

import unicodedata
from pathlib import PurePath

from zookeeper.plain import shortened, spelt_out
from zookeeper.records import Target
from zookeeper.results import Comparison, Contender, Spread, metric_title
from zookeeper.scores import title_of

_LONGEST = 44


def shown(text: object, longest: int = _LONGEST) -> str:
    """Foreign text that does nothing but show; a long one loses its middle."""
    return shortened(spelt_out(text), longest)


def columns(text: str) -> int:
    """How wide a text is in letters of fixed width; ideographs and pictographs count as two."""
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def number(value: float | None, decimals: int = 4) -> str:
    """A number with a true minus; "–" for None."""
    if value is None:
        return "–"
    written = f"{value:,.{decimals}f}"
    return written.replace("-", "−" if float(written.replace(",", "")) else "")


def share(value: float) -> str:
    """A share in per cent, to three digits."""
    return f"{100 * value:.3g} %"


def capital(text: str) -> str:
    """A text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def listed(names: list[str]) -> str:
    """Names in a sentence: "a, b and c"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def spread(found: Spread, decimals: int = 4) -> str:
    """Mean and deviation between seeds."""
    if found.mean is None:
        return "undefined"
    deviation = "" if found.deviation is None else f"\u00a0±\u00a0{number(found.deviation, decimals)}"
    return number(found.mean, decimals) + deviation


def metric(name: str) -> str:
    """A metric as people say it; of a script its name."""
    return shown(metric_title(without_folders(name)))


def placed(found: Comparison, one: Contender) -> str:
    """How many of the random ensembles one is above: "5 of 6"."""
    n = len(found.random)
    return f"{1 + n - found.rank(one)} of {n}"


def chance(found: Comparison, one: Contender) -> str:
    """Of a random ensemble being at least as good: "p = 0.29"."""
    return f"p\u00a0=\u00a0{found.p(one):.2g}"


def score(name: str) -> str:
    """Title of a score."""
    return shown(title_of(name))


def without_folders(name: str) -> str:
    """What may be the path of a file or folder of this machine, of that only the last part."""
    path = PurePath(name)
    return path.name or name if path.is_absolute() else name


def target(found: Target) -> str:
    """A target, without folders of this machine."""
    return shown(PurePath(found.name).name if found.local else found.name)


def probe(name: str) -> str:
    """A probe, as "name, so many words"."""
    where, comma, words = name.rpartition(", ")
    return shown(without_folders(where) + comma + words, 80)


def size(n: int | None) -> str:
    """A number of parameters, to three digits, with the letter of its unit."""
    if not n:
        return "size unknown"
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:.3g} {letter}"
    return str(n)
