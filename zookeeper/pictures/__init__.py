"""Covariances, selections, rankings and tuning as pictures: PNG, SVG or PDF, by the ending of the path.

The same record makes the same bytes. Names come from outside and are drawn as text: nothing in them is
markup, characters that do not show are spelt out, and so are letters that the font lacks. In an SVG and a PDF
text stays text, so that names can be found. A picture is made in memory first: failure leaves no half file.
"""

from zookeeper.pictures.comparison import draw_comparison
from zookeeper.pictures.convergence import draw_convergence
from zookeeper.pictures.curve import draw_curve
from zookeeper.pictures.family import draw_lineage
from zookeeper.pictures.gains import draw_gains
from zookeeper.pictures.kappa import draw_kappa
from zookeeper.pictures.order import draw_ranking
from zookeeper.pictures.plane import draw_map
from zookeeper.pictures.words import shown

__all__ = [
    "draw_comparison",
    "draw_convergence",
    "draw_curve",
    "draw_gains",
    "draw_kappa",
    "draw_lineage",
    "draw_map",
    "draw_ranking",
    "shown",
]
