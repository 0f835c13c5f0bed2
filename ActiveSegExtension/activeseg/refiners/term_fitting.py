"""The term that makes a network say what a person taught, and say the same as before where it was sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activeseg.refiners.part_model import FloatMap, Term, Values

SMALLEST = 1e-4
"""Directions in which features vary less than by this part of the most are left out."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Independent directions of unit variance in a case's features: what ``strength`` of a fit is measured in.

    Attributes
    ----------
    mean
        (F,) of the features.
    axes
        (D, F): takes features less their mean to the directions.
    """

    mean: FloatMap
    axes: FloatMap

    @classmethod
    def of(cls, features: FloatMap) -> Directions:
        """Of a sample (F, N)."""
        mean = features.mean(axis=1, dtype=np.float64)
        spread = features - mean[:, None]
        variance, axes = np.linalg.eigh(spread @ spread.T / spread.shape[1])
        used = variance > SMALLEST * max(variance.max(), 1e-12)
        return cls(mean.astype(np.float32), (axes[:, used] / np.sqrt(variance[used])).T.astype(np.float32))

    def along(self, features: FloatMap) -> FloatMap:
        """(N, D + 1) of features (F, N): along each direction, and 1."""
        along = (features - self.mean[:, None]).T @ self.axes.T
        return np.concatenate([along, np.ones((len(along), 1), np.float32)], axis=1)


@dataclass(frozen=True, eq=False)
class Lesson:
    """Voxels, and what should be said there.

    Attributes
    ----------
    along
        (N, D + 1), see ``Directions.along``.
    logits
        (N, C) as they are without the term.
    target
        (N, C) probabilities.
    weights
        (N,); their sum is how much the lesson counts.
    """

    along: FloatMap
    logits: FloatMap
    target: FloatMap
    weights: FloatMap


def fitted(lessons: list[Lesson], rows: Values, directions: Directions, strength: float, steps: int) -> Term:
    """The term of these classes with the least weighted cross entropy + ``strength`` x squared size.

    The size is the mean square of what the term adds to the logits, over the case. The classes that it does not move
    are one to the fit.
    """
    from scipy.optimize import minimize

    along = np.concatenate([lesson.along for lesson in lessons])
    weights = np.concatenate([lesson.weights for lesson in lessons])[:, None]
    base = np.concatenate([_with_rest(lesson.logits, rows) for lesson in lessons])
    target = np.concatenate([lesson.target[:, rows] for lesson in lessons])
    shape = (len(rows), along.shape[1])
    target_base = np.concatenate([target, 1 - target.sum(axis=1, keepdims=True)], axis=1)

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        term = flat.reshape(shape).astype(np.float32)
        logits = base.copy()
        logits[:, :-1] += along @ term.T
        logits -= logits.max(axis=1, keepdims=True)
        linear = float((weights * target_base * logits).sum(dtype=np.float64))
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        value = float((weights * np.log(total)).sum(dtype=np.float64)) - linear + strength * float(flat @ flat)
        wrong = (logits[:, :-1] / total - target) * weights
        slope = (wrong.T @ along).astype(np.float64).ravel() + 2 * strength * flat
        return value, slope

    found = minimize(
        loss,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxcor": 20, "ftol": 1e-4},
    )
    term = found.x.reshape(shape).astype(np.float32)
    of_features = term[:, :-1] @ directions.axes
    return Term(rows, of_features, term[:, -1] - of_features @ directions.mean)


def _with_rest(logits: FloatMap, rows: Values) -> FloatMap:
    """(N, R + 1): the logits of some classes, and one that stands for all others."""
    others = np.delete(logits, rows, axis=1)
    if not others.shape[1]:
        return np.concatenate([logits[:, rows], np.full((len(logits), 1), -1e4, np.float32)], axis=1)
    most = others.max(axis=1, keepdims=True)
    rest = most + np.log(np.exp(others - most).sum(axis=1, keepdims=True))
    return np.concatenate([logits[:, rows], rest], axis=1)


def softmax(logits: FloatMap) -> FloatMap:
    """Probabilities of logits whose classes are the last axis."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True), np.float32)
