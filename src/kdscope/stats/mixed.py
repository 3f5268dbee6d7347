"""Treatments compared with the block as a random effect."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from kdscope.errors import NotEstimableError
from kdscope.stats.records import Estimate

_RESAMPLES = 9_999


class Contrast(NamedTuple):
    """The difference ``first - second`` of two treatments."""

    first: str
    second: str
    estimate: Estimate


def treatment_effect(
    data: pd.DataFrame, value: str, treatment: str, block: str, rng: np.random.Generator
) -> Estimate:
    """Do treatments differ, blocks being a random effect? Likelihood ratio of two fits by ML.

    ``estimate`` is the largest difference between two treatments' fitted means (no interval),
    ``statistic`` the likelihood ratio, ``n`` the number of blocks. The chi-square law of that ratio
    needs many blocks, so p comes from 9,999 orders of the values within each block, ranked by the
    treatments' sum of squares, with which the ratio of complete blocks grows.

    Raises:
        NotEstimableError: fewer than two treatments or three blocks.
    """
    frame = _frame(data, value, treatment, block)
    _, dummies = _dummies(frame)
    full = _fit(frame, dummies, reml=False)
    null = _fit(frame, np.ones((len(frame), 1)), reml=False)
    ratio = max(0.0, 2.0 * float(full.llf - null.llf))
    means = np.asarray(full.fe_params)
    return Estimate(
        estimate=float(means.max() - means.min()),
        p=_permutation_p(frame, dummies, rng),
        n=int(frame["block"].nunique()),
        statistic=ratio,
        signature=f"mixed:random-block|likelihood-ratio|within-blocks|R:{_RESAMPLES}",
    )


def _permutation_p(
    frame: pd.DataFrame, dummies: NDArray[np.float64], rng: np.random.Generator
) -> float:
    centred = frame["value"] - frame.groupby("block")["value"].transform("mean")
    values, blocks = centred.to_numpy(dtype=np.float64), frame["block"].to_numpy()

    def between(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return (sums**2 / dummies.sum(axis=0)).sum(axis=-1)

    sums = np.zeros((_RESAMPLES, dummies.shape[1]))
    for name in np.unique(blocks):
        own = blocks == name
        sums += rng.permuted(np.tile(values[own], (_RESAMPLES, 1)), axis=1) @ dummies[own]
    observed = between(values @ dummies)
    return float(1 + (between(sums) >= observed * (1 - 1e-9)).sum()) / (1 + _RESAMPLES)


def treatment_contrasts(
    data: pd.DataFrame, value: str, treatment: str, block: str
) -> list[Contrast]:
    """Every difference between two treatments, from one fit by REML with a random block.

    Intervals are t with (blocks - 1)(treatments - 1) degrees of freedom, exact for complete blocks.
    """
    frame = _frame(data, value, treatment, block)
    names, dummies = _dummies(frame)
    fit = _fit(frame, dummies, reml=True)
    means = np.asarray(fit.fe_params)
    covariance = np.asarray(fit.cov_params())[: len(names), : len(names)]
    blocks = int(frame["block"].nunique())
    df = (blocks - 1) * (len(names) - 1)
    found = []
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            weights = np.zeros(len(names))
            weights[i], weights[j] = 1.0, -1.0
            difference = float(weights @ means)
            error = float(np.sqrt(weights @ covariance @ weights))
            half = float(stats.t.ppf(0.975, df)) * error
            found.append(
                Contrast(
                    first,
                    names[j],
                    Estimate(
                        estimate=difference,
                        low=difference - half,
                        high=difference + half,
                        p=float(2 * stats.t.sf(abs(difference) / error, df)),
                        n=blocks,
                        statistic=difference / error,
                        signature=f"mixed:random-block|reml|df:{df}|ci:t95",
                    ),
                )
            )
    return found


def _frame(data: pd.DataFrame, value: str, treatment: str, block: str) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"value": data[value], "treatment": data[treatment], "block": data[block]}
    ).dropna()
    treatments, blocks = frame["treatment"].nunique(), frame["block"].nunique()
    if treatments < 2 or blocks < 3:
        raise NotEstimableError(
            "a mixed model of treatments in blocks needs two treatments and three blocks at least, "
            f"not {treatments} and {blocks}"
        )
    if np.ptp(frame["value"]) == 0:
        raise NotEstimableError("all values are equal: there is nothing to compare")
    return frame


def _dummies(frame: pd.DataFrame) -> tuple[list[str], NDArray[np.float64]]:
    names = sorted(frame["treatment"].unique())
    columns = [(frame["treatment"] == name).to_numpy(dtype=np.float64) for name in names]
    return names, np.column_stack(columns)


def _fit(frame: pd.DataFrame, exog: NDArray[np.float64], *, reml: bool) -> Any:
    with warnings.catch_warnings():
        # A block variance of zero is a valid answer here; statsmodels warns about that boundary.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        model = MixedLM(frame["value"].to_numpy(), exog, groups=frame["block"].to_numpy())
        return model.fit(reml=reml)
