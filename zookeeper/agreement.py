"""How well an order of checkpoints agrees with what became of them, and what following it would have cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import stats

from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Array
from zookeeper.resampling import interval
from zookeeper.results import Agreement, Estimate, Ranking

_REPLICATES = 1000
_FEWEST = 3
_FEWEST_FOR_INTERVALS = 6


def agreements(ranking: Ranking, results: Mapping[str, float]) -> tuple[Agreement, ...]:
    """How well the scores of a ranking, and its baselines, agree with true results.

    A score of too few of them to have an order, as of a head that few have, is left out unless it ordered.

    Args:
        ranking: some.
        results: by name of the checkpoint, or the last part of it; larger is better.

    Raises:
        DegenerateInputError: fewer than three of its checkpoints have a result, or all have the same.
    """
    results = _of_ranked(ranking, results)
    both = [score for score in ranking.scores if score.name in results]
    if not both:
        raise DegenerateInputError(
            "none of the ranked checkpoints has a result.",
            why=f"they are called {', '.join(score.name for score in ranking.scores[:3])}",
        )
    found = []
    for name in dict.fromkeys(name for score in both for name in score.estimates):
        scored = [score for score in both if name in score.estimates]
        values = np.array([score.estimates[name].value for score in scored])
        true = np.array([results[score.name] for score in scored])
        if name != ranking.by and (len(scored) < _FEWEST or not np.ptp(true)):
            continue
        found.append(agreement(name, values, true, ranking.level))
    true = np.array([results[score.name] for score in both])
    if all(score.parameters for score in both):
        sizes = np.array([float(score.parameters or 0) for score in both])
        found.append(agreement("parameters", sizes, true, ranking.level))
    return (*found, random_agreement(true))


def _of_ranked(ranking: Ranking, results: Mapping[str, float]) -> dict[str, float]:
    """The results of the checkpoints that were ranked, by their names there."""
    by_end = {_end(name): result for name, result in results.items()}
    found = {score.name: results.get(score.name, by_end.get(_end(score.name))) for score in ranking.scores}
    return {name: result for name, result in found.items() if result is not None}


def _end(name: str) -> str:
    return name.rstrip("/").rpartition("/")[-1]


def agreement(name: str, scores: Array, results: Array, level: float = 0.95) -> Agreement:
    """Compare scores of m checkpoints with their true results.

    Intervals are of a bootstrap over checkpoints: with another zoo of the same kind the number might as
    well have been anything within. Replicates in which it is undefined are left out.

    Args:
        name: of what gave the scores.
        scores: (m,), larger is better.
        results: (m,), larger is better.
        level: of the intervals.

    Raises:
        DegenerateInputError: fewer than three checkpoints, or all results are the same.
    """
    if len(scores) < _FEWEST:
        raise DegenerateInputError(
            f"{len(scores)} checkpoints have both a score and a result.", why=f"an order takes {_FEWEST}"
        )
    if not np.ptp(results):
        raise DegenerateInputError("all results are the same.", why="there is no order to agree with")
    draws = np.random.default_rng(0).integers(len(scores), size=(_REPLICATES, len(scores)))

    def estimate(measure: Callable[[Array, Array], float]) -> Estimate:
        if len(scores) < _FEWEST_FOR_INTERVALS:
            return Estimate(measure(scores, results))
        again = np.array([measure(scores[drawn], results[drawn]) for drawn in draws])
        return Estimate(measure(scores, results), *interval(again[np.isfinite(again)], level))

    varied = bool(np.ptp(scores))

    return Agreement(
        name=name,
        n=len(scores),
        kendall=estimate(_kendall) if varied else None,
        weighted=estimate(_weighted) if varied else None,
        pearson=estimate(_pearson) if varied else None,
        top=_regret(scores, results) == 0,
        regret=estimate(_regret),
    )


def random_agreement(results: Array) -> Agreement:
    """The same of picking any checkpoint: no correlation, and the mean regret."""
    gaps = results.max() - results
    return Agreement(
        name="random",
        n=len(results),
        kendall=None,
        weighted=None,
        pearson=None,
        top=False,
        regret=Estimate(float(gaps.mean())),
    )


def _kendall(scores: Array, results: Array) -> float:
    return float(stats.kendalltau(scores, results).statistic)


def _weighted(scores: Array, results: Array) -> float:
    """Kendall's tau in which the top of either order counts most (Vigna 2015)."""
    if not np.ptp(scores) or not np.ptp(results):
        return float("nan")
    return float(stats.weightedtau(scores, results, rank=True).statistic)


def _pearson(scores: Array, results: Array) -> float:
    if not np.ptp(scores) or not np.ptp(results):
        return float("nan")
    return float(np.corrcoef(scores, results)[0, 1])


def _regret(scores: Array, results: Array) -> float:
    """How far the result of the highest score is from the best; of several the mean."""
    return float(results.max() - results[scores == scores.max()].mean())
