r"""One prediction from the outputs of members that were tuned apart: late fusion.

Outputs of a member are put on the scale of probabilities first, by one temperature T fitted to the negative
log-likelihood (NLL) of validation labels (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Then, with
p_m = softmax(z_m / T_m) the probabilities of member m,

    mean      sum_m p_m / k
    vote      the majority; ties go by the mean
    weighted  sum_m w_m p_m, w on the simplex that minimises the NLL: a convex problem
    stacked   a multinomial logistic regression on all log p_m (Wolpert 1992,
              https://doi.org/10.1016/S0893-6080(05)80023-1)

Several labels at once are as many questions with two answers each, logits 0 and z. Numbers need no
temperature: their mean, their median, the weights on the simplex of the least squared error, a ridge
regression.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.records import Kind, counted

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

Way = Literal["mean", "vote", "weighted", "stacked"]

WAYS: tuple[Way, ...] = ("mean", "vote", "weighted", "stacked")

_TEMPERATURES = (0.05, 20.0)
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
_FOLDS = 5
_PENALTY_FOLDS = 3
_ITERATIONS = 500
_TOLERANCE = 1e-5
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Combination:
    """How the outputs of k members become one.

    Attributes:
        kind: of the outputs.
        how: they are combined.
        n_members: k.
        n_outputs: c of each member, and of the combination.
        arrays: what was fitted, by name; with the attributes before, all it takes to have it again:
            ``"temperatures"`` (k,), by which the logits of each member are divided, but of numbers;
            ``"weights"`` (k,) of the probabilities, or numbers, of each, which add up to 1, of `mean` and
            `weighted`; and of `stacked` ``"coefficients"`` (k * q, a) on the q log-probabilities of each, or
            (k, 1) on numbers, ``"intercepts"`` (a,), and ``"answers"`` (a,), the classes that validation
            labels have.

    Raises:
        DegenerateInputError: the arrays are not those of such a combination.
    """

    kind: Kind
    how: Way
    n_members: int
    n_outputs: int
    arrays: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if shapes != (wanted := self._shapes()):
            raise DegenerateInputError(
                f"a combination by {self.how} of {self.n_members} members is not made of such arrays.",
                why=f"they are {shapes}, and not {wanted}",
            )
        if not (all(np.isfinite(array).all() for array in self.arrays.values()) and self._means_something()):
            raise DegenerateInputError(f"a combination by {self.how} has values that mean nothing.")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the arrays."""
        k, q = self.n_members, {"classes": self.n_outputs, "labels": 2, "numbers": 1}[self.kind]
        shapes: dict[str, tuple[int, ...]] = {} if self.kind == "numbers" else {"temperatures": (k,)}
        if self.how in ("mean", "weighted"):
            shapes["weights"] = (k,)
        elif self.how == "stacked":
            a = 1
            if self.kind != "numbers":
                a = np.size(self.arrays.get("answers", ()))
                shapes["answers"] = (a,)
            shapes |= {"coefficients": (k * q, a), "intercepts": (a,)}
        return shapes

    def _means_something(self) -> bool:
        """Whether temperatures are positive, weights shares, and answers classes, each once."""
        temperatures, weights = self.arrays.get("temperatures", np.ones(1)), self.arrays.get("weights")
        answers = self.arrays.get("answers", np.zeros(1, dtype=np.int64))
        q = self.n_outputs if self.kind == "classes" else 2
        return bool(
            (temperatures > 0).all()
            and (weights is None or ((weights >= 0).all() and weights.any()))
            and np.issubdtype(answers.dtype, np.integer)
            and 0 < len(np.unique(answers)) == len(answers)
            and 0 <= answers.min() <= answers.max() < q
        )

    def apply(self, outputs: Sequence[NDArray[Any]]) -> Array:
        """The outputs of the combination on any rows.

        Args:
            outputs: (n, c) of each member, in the order of those it was fitted to.

        Returns:
            (n, c) log-probabilities of classes, log-odds of labels, or numbers; they mean what those of one
            member do.

        Raises:
            DegenerateInputError: they are not of as many members and outputs, or not finite.
        """
        members = _members(outputs, self.kind)
        if members.shape[::2] != (self.n_members, self.n_outputs):
            raise DegenerateInputError(
                f"{members.shape[0]} members of {members.shape[2]} outputs do not go with a combination of "
                f"{self.n_members} of {self.n_outputs}."
            )
        if self.kind == "numbers":
            return self._numbers(members)
        logs = self._combined(_scaled(_questions(members, self.kind), self.arrays["temperatures"]))
        return logs if self.kind == "classes" else (logs[:, 1] - logs[:, 0]).reshape(members.shape[1:])

    @property
    def weights(self) -> Array | None:
        """(k,) that add up to 1; None where members have none."""
        return self.arrays.get("weights")

    @property
    def temperatures(self) -> Array | None:
        """(k,); None of numbers."""
        return self.arrays.get("temperatures")

    def details(self, members: Sequence[str]) -> dict[str, dict[str, float]]:
        """What people want to know of it: weights and temperatures, by the names of the members."""
        told = {"weights": self.weights, "temperatures": self.temperatures}
        return {
            name: dict(zip(members, values.tolist(), strict=True))
            for name, values in told.items()
            if values is not None
        }

    def _numbers(self, members: Array) -> Array:
        """(n, 1) of (k, n, 1) numbers."""
        if self.how == "vote":
            return np.asarray(np.median(members, axis=0))
        if self.how == "stacked":
            return np.asarray(members[:, :, 0].T @ self.arrays["coefficients"] + self.arrays["intercepts"])
        return np.asarray(np.tensordot(self.arrays["weights"], members, axes=1))

    def _combined(self, logs: Array) -> Array:
        """(n, q) log-probabilities of (k, n, q) of all members."""
        if self.how == "vote":
            return _voted(logs)
        if self.how == "stacked":
            fitted = ("answers", "coefficients", "intercepts")
            return _Regression(*(self.arrays[name] for name in fitted)).log_probabilities(logs)
        return _mixed(logs, self.arrays["weights"])


def combine(
    validation: Sequence[NDArray[Any]], labels: NDArray[Any], groups: NDArray[Any], kind: Kind, how: Way
) -> Combination:
    """Fit a combination to validation rows.

    What it makes of the same rows is optimistic; for an honest figure see `cross_fitted`.

    Args:
        validation: (n, c) outputs of each of k members on the same rows: logits of classes, logits of
            independent labels, or (n, 1) numbers.
        labels: (n,) classes, (n, c) zeros and ones, or (n,) numbers in the unit of the outputs; those that do
            not count are as in `Labelled`.
        groups: (n,) the sentence of each row; rows of one are held out together where the penalty of a
            regression is chosen.
        kind: of the outputs.
        how: to combine them.

    Returns:
        The combination. It does not depend on the order of the members, which the weights follow; nor does
        the scale of a member's logits matter, up to temperatures of 1/20 and 20.

    Raises:
        DegenerateInputError: no label counts; outputs are not finite, or not of the same rows and number.
        UsageError: there is no such way, or no member.
    """
    if how not in WAYS:
        raise UsageError(f"members cannot be combined by {how}.", fix=f"one of: {', '.join(WAYS)}")
    members = _members(validation, kind)
    k, n, c = members.shape
    labels, groups, counts = _wanted(labels, groups, n, c, kind)
    if not counts.any():
        raise DegenerateInputError("no row has a label to combine members by.")
    members, labels, groups = members[:, counts], labels[counts], groups[counts]
    if kind == "numbers":
        return Combination(kind, how, k, c, _fitted_numbers(members[:, :, 0].T, labels, groups, how))
    logits, answers = _questions(members, kind), labels.astype(np.int64).ravel()
    temperatures = np.array([_temperature(each, answers) for each in logits])
    logs, sentences = _scaled(logits, temperatures), np.repeat(groups, len(answers) // len(groups))
    fitted = _fitted(logs, answers, sentences, how)
    return Combination(kind, how, k, c, {"temperatures": temperatures, **fitted})


def cross_fitted(
    validation: Sequence[NDArray[Any]],
    labels: NDArray[Any],
    groups: NDArray[Any],
    kind: Kind,
    how: Way,
    *,
    folds: int = _FOLDS,
    seed: int = 0,
) -> Array:
    """Outputs of combinations on validation rows that they were not fitted to.

    Args:
        validation: as `combine`.
        labels: as `combine`.
        groups: as `combine`; all rows of a sentence are in one fold.
        kind: as `combine`.
        how: as `combine`.
        folds: parts of the sentences, each combined by a fit to the others; at most as many as there are
            sentences with a label.
        seed: deals the sentences to the folds.

    Returns:
        (n, c), as `Combination.apply`; rows whose label does not count have outputs too.

    Raises:
        DegenerateInputError: as `combine`; or fewer than two sentences have a label.
        UsageError: as `combine`; or there are fewer than two folds.
    """
    if folds < 2:
        raise UsageError(f"{folds} folds hold nothing out.", fix="2 or more")
    members = _members(validation, kind)
    _, n, c = members.shape
    labels, groups, counts = _wanted(labels, groups, n, c, kind)
    if len(np.unique(groups[counts])) < 2:
        raise DegenerateInputError(
            "fewer than two sentences have a label.", why="a combination is fitted to some, judged on others"
        )
    found = np.empty((n, c))
    for fold in _dealt(groups, counts, folds, seed):
        fitted = combine(list(members[:, ~fold]), labels[~fold], groups[~fold], kind, how)
        found[fold] = fitted.apply(list(members[:, fold]))
    return found


def diversity(
    predictions: Sequence[NDArray[Any]], labels: NDArray[Any], kind: Kind
) -> Mapping[str, float | None]:
    """How differently members go wrong, over all pairs of them.

    Kuncheva and Whitaker 2003, https://doi.org/10.1023/A:1022859003006, for what is right or wrong.

    Args:
        predictions: of each member: (n,) classes, (n,) numbers, or (n, c) zeros and ones.
        labels: as `Labelled`, in the unit of the predictions.
        kind: of the labels; several at once are as many questions.

    Returns:
        Of classes and labels ``"disagreement"``, the mean share of questions that one of two members answers
        right and the other wrong, and ``"q"``, Yule's mean Q, from -1, never wrong together, through 0,
        independent, to 1; of numbers ``"correlation"``, the mean of the errors of two. None where no pair
        defines it.

    Raises:
        DegenerateInputError: predictions and labels are not of the same rows.
    """
    labels = np.asarray(labels)
    for number, each in enumerate(predictions, start=1):
        if each.shape != labels.shape:
            raise DegenerateInputError(
                f"{each.shape} predictions of member {number} do not go with {labels.shape} labels."
            )
    counts = counted(labels)
    given = np.array([each[counts].ravel() for each in predictions])
    wanted = labels[counts].ravel()
    if kind == "numbers":
        return {"correlation": _mean_of_pairs(_correlation, given - wanted)}
    right = given == wanted
    return {"disagreement": _mean_of_pairs(_disagreement, right), "q": _mean_of_pairs(_yule, right)}


@dataclass(frozen=True, eq=False)
class _Regression:
    """Multinomial logistic regression on the log-probabilities of k members; see `Combination`."""

    answers: Indices
    coefficients: Array
    intercepts: Array

    @classmethod
    def of(cls, logs: Array, answers: Indices, penalty: float) -> _Regression:
        """Fit to (k, n, q) log-probabilities, with a penalty of half the square of standardised weights."""
        # Slow to import, as below.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        X = _side_by_side(logs)
        known = np.unique(answers)
        if len(known) < 2:
            return cls(known, np.zeros((X.shape[1], 1)), np.zeros(1))
        centre, scale = _standard(X)
        model = LogisticRegression(C=1 / penalty, tol=_TOLERANCE, max_iter=_ITERATIONS)
        with warnings.catch_warnings():
            # Of features that go together predictions settle long before weights.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit((X - centre) / scale, answers)
        coefficients, intercepts = model.coef_.T, model.intercept_
        if len(known) == 2:  # one column, the log-odds of the second
            coefficients = np.hstack([np.zeros_like(coefficients), coefficients])
            intercepts = np.append(0.0, intercepts)
        coefficients = coefficients / scale[:, None]
        return cls(known, coefficients, intercepts - centre @ coefficients)

    def log_probabilities(self, logs: Array) -> Array:
        """(n, q) of (k, n, q) of the members.

        An answer that was not there to fit to keeps the probability that the mean of the members gives it.
        """
        found = _mixed(logs, _uniform(len(logs)))
        share = logsumexp(found[:, self.answers], axis=1, keepdims=True)
        own = _side_by_side(logs) @ self.coefficients + self.intercepts
        found[:, self.answers] = share + log_softmax(own, axis=1)
        return found


def _fitted(logs: Array, answers: Indices, groups: Indices, how: Way) -> dict[str, NDArray[Any]]:
    """Arrays of a combination of (k, n, q) log-probabilities, but for temperatures."""
    if how == "mean":
        return {"weights": _uniform(len(logs))}
    if how == "weighted":
        return {"weights": _likeliest_weights(logs[:, np.arange(len(answers)), answers].T)}
    if how == "stacked":

        def nll(penalty: float, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> float:
            found = _Regression.of(logs[:, train], answers[train], penalty).log_probabilities(logs[:, test])
            return float(-found[np.arange(len(found)), answers[test]].sum())

        fitted = _Regression.of(logs, answers, _best_penalty(groups, nll))
        return {
            "answers": fitted.answers,
            "coefficients": fitted.coefficients,
            "intercepts": fitted.intercepts,
        }
    return {}


def _fitted_numbers(members: Array, wanted: Array, groups: Indices, how: Way) -> dict[str, NDArray[Any]]:
    """Arrays of a combination of (n, k) numbers."""
    if how == "mean":
        return {"weights": _uniform(members.shape[1])}
    if how == "weighted":
        return {"weights": _nearest_weights(members, wanted)}
    if how == "stacked":

        def squares(penalty: float, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> float:
            coefficients, intercept = _ridge(members[train], wanted[train], penalty)
            return float(np.square(members[test] @ coefficients + intercept - wanted[test]).sum())

        coefficients, intercept = _ridge(members, wanted, _best_penalty(groups, squares))
        return {"coefficients": coefficients[:, None], "intercepts": np.array([intercept])}
    return {}


def _members(outputs: Sequence[NDArray[Any]], kind: Kind) -> Array:
    """(k, n, c) of all members in double precision, which are of the same rows, outputs and finite."""
    if not outputs:
        raise UsageError("there are no members to combine.")
    first = outputs[0].shape
    for number, each in enumerate(outputs, start=1):
        if each.ndim != 2 or each.shape != first:
            raise DegenerateInputError(
                f"outputs of member {number} are {each.shape}, those of member 1 {first}.",
                why="members are combined on the same rows, and answer the same question",
            )
        if not np.isfinite(each).all():
            raise DegenerateInputError(
                f"outputs of member {number} of {len(outputs)} are not finite (NaN or infinity)."
            )
    if kind == "numbers" and first[1] != 1:
        raise DegenerateInputError(f"members that predict a number have 1 output, these have {first[1]}.")
    return np.stack(outputs).astype(np.float64)


def _wanted(
    labels: NDArray[Any], groups: NDArray[Any], n: int, c: int, kind: Kind
) -> tuple[NDArray[Any], Indices, NDArray[np.bool_]]:
    """Labels among the c outputs, and sentences, of n rows, and which of these count."""
    labels, groups = np.asarray(labels), np.asarray(groups)
    if labels.shape != ((n, c) if kind == "labels" else (n,)):
        raise DegenerateInputError(f"{n:,} rows of {c} outputs do not go with {labels.shape} labels.")
    if len(groups) != n:
        raise DegenerateInputError(f"{n:,} rows of outputs do not go with {len(groups):,} sentences.")
    counts = counted(labels)
    if kind == "classes" and counts.any() and not 0 <= labels[counts].min() <= labels[counts].max() < c:
        raise DegenerateInputError(f"labels hold a class that members of {c} outputs do not know.")
    return labels, groups, counts


def _questions(members: Array, kind: Kind) -> Array:
    """(k, n, c) logits of classes, or of several labels at once (k, n * c, 2), of no and yes."""
    if kind == "classes":
        return members
    yes = members.reshape(len(members), -1)
    return np.stack([np.zeros_like(yes), yes], axis=2)


def _scaled(logits: Array, temperatures: Array) -> Array:
    """(k, n, q) log-probabilities."""
    return np.asarray(log_softmax(logits / temperatures[:, None, None], axis=2))


def _temperature(logits: Array, answers: Indices) -> float:
    """Of the smallest NLL of (n, q) logits.

    The NLL is convex in 1/T, and least where the mean logit of the answers is what the probabilities expect.
    """
    # Slow to import, and every command imports this module.
    from scipy.optimize import brentq

    low, high = _TEMPERATURES
    truth = logits[np.arange(len(answers)), answers].mean()

    def slope(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature), axis=1)
        return float(np.einsum("nq,nq->", probabilities, logits) / len(logits) - truth)

    if slope(np.log(high)) >= 0:
        return high
    if slope(np.log(low)) <= 0:
        return low
    return float(np.exp(brentq(slope, np.log(low), np.log(high), xtol=1e-8)))


def _mixed(logs: Array, weights: Array) -> Array:
    """(n, q) log of the weighted mean of the probabilities, of (k, n, q) their logs."""
    heard = weights > 0
    return np.asarray(logsumexp(logs[heard] + np.log(weights[heard])[:, None, None], axis=0))


def _voted(logs: Array) -> Array:
    """(n, q) log of the share of votes, where the mean of the members has one more, to share out.

    No answer gets all of that one unless it has all others, so it decides ties and nothing else.
    """
    k, n, _ = logs.shape
    votes = np.exp(_mixed(logs, _uniform(k)))
    for choice in logs.argmax(axis=2):
        votes[np.arange(n), choice] += 1
    return np.asarray(np.log(np.maximum(votes / (k + 1), _TINY)))


def _likeliest_weights(logs: Array) -> Array:
    """(k,) on the simplex of the smallest NLL, of (n, k) log-probabilities of the answers.

    With the sum of weights as a penalty instead of a constraint the minimum is the same, and on the simplex.
    """
    from scipy.optimize import minimize

    k = logs.shape[1]
    likelihoods = np.exp(logs - logs.max(axis=1, keepdims=True))

    def loss(weights: Array) -> tuple[float, Array]:
        mixed = np.maximum(likelihoods @ weights, _TINY)
        return float(weights.sum() - np.log(mixed).mean()), 1 - (1 / mixed) @ likelihoods / len(mixed)

    found = minimize(
        loss,
        _uniform(k),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * k,
        options={"ftol": 1e-14, "gtol": 1e-8, "maxiter": 1000, "maxcor": 20},
    )
    return np.asarray(found.x / found.x.sum())


def _nearest_weights(members: Array, wanted: Array) -> Array:
    """(k,) on the simplex of the least squared error of (n, k) numbers.

    They give the shortest vector in the hull of the k errors, and so, scaled to add up to 1, do the weights
    v >= 0 that minimise |errors v|^2 + (sum v - 1)^2 (Lawson and Hanson 1974, ch. 23).
    """
    from scipy.optimize import nnls

    errors = (members - wanted[:, None]) / np.sqrt(len(wanted))
    triangle = np.linalg.qr(errors, mode="r")
    found, _ = nnls(np.vstack([triangle, np.ones(errors.shape[1])]), np.append(np.zeros(len(triangle)), 1.0))
    return np.asarray(found / found.sum())


def _ridge(members: Array, wanted: Array, penalty: float) -> tuple[Array, float]:
    """(k,) coefficients and intercept on (n, k) numbers, the penalty on standardised ones."""
    centre, scale = _standard(members)
    X = (members - centre) / scale
    solved = np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), X.T @ (wanted - wanted.mean()))
    return solved / scale, float(wanted.mean() - centre @ (solved / scale))


def _standard(X: Array) -> tuple[Array, Array]:
    """Mean and deviation of (n, d) columns; 1 for the deviation of those that do not vary."""
    centre, scale = X.mean(axis=0), X.std(axis=0)
    return centre, np.where(scale > 1e-12 * np.abs(X).max(initial=_TINY), scale, 1.0)


def _side_by_side(logs: Array) -> Array:
    """(n, k * q) of (k, n, q)."""
    return logs.transpose(1, 0, 2).reshape(logs.shape[1], -1)


def _uniform(k: int) -> Array:
    return np.full(k, 1 / k)


def _best_penalty(
    groups: Indices, loss: Callable[[float, NDArray[np.bool_], NDArray[np.bool_]], float]
) -> float:
    """The penalty of the smallest loss on sentences held out; the largest where there is one sentence."""
    if len(np.unique(groups)) < 2:
        return _PENALTIES[-1]
    folds = _dealt(groups, np.ones(len(groups), dtype=bool), _PENALTY_FOLDS, seed=0)
    return min(reversed(_PENALTIES), key=lambda penalty: sum(loss(penalty, ~test, test) for test in folds))


def _dealt(groups: Indices, counts: NDArray[np.bool_], folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """Masks (n,) of the rows of each fold; sentences with a label are dealt first, so that each has some."""
    sentences, of_row = np.unique(groups, return_inverse=True)
    labelled = np.bincount(of_row, counts) > 0
    order = np.random.default_rng(seed).permutation(len(sentences))
    order = order[np.argsort(~labelled[order], kind="stable")]
    fold = np.empty(len(sentences), dtype=np.int64)
    fold[order] = np.arange(len(sentences)) % min(folds, labelled.sum())
    return [fold[of_row] == number for number in range(fold.max() + 1)]


def _mean_of_pairs(measure: Callable[[Any, Any], float], members: NDArray[Any]) -> float | None:
    """Of (k, n) members, over the pairs on which it is a number."""
    found = [measure(a, b) for a, b in combinations(members, 2)]
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else None


def _disagreement(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(np.mean(a != b)) if len(a) else np.nan


def _yule(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """(N11 N00 - N01 N10) / (N11 N00 + N01 N10)."""
    alike = float(np.sum(a & b)) * float(np.sum(~a & ~b))
    unlike = float(np.sum(a & ~b)) * float(np.sum(~a & b))
    return (alike - unlike) / (alike + unlike) if alike + unlike else np.nan


def _correlation(a: Array, b: Array) -> float:
    if len(a) < 2 or not np.ptp(a) or not np.ptp(b):
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])
