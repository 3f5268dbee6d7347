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


class Contrast(NamedTuple):
    """The difference ``first - second`` of two treatments."""

    first: str
    second: str
    estimate: Estimate


def treatment_effect(data: pd.DataFrame, value: str, treatment: str, block: str) -> Estimate:
    """Do treatments differ, blocks being a random effect? Likelihood ratio of two fits by ML.

    ``estimate`` is the largest difference between two treatments' fitted means (no interval),
    ``statistic`` the chi-square, ``n`` the number of blocks.

    Raises:
        NotEstimableError: fewer than two treatments or three blocks.
    """
    frame = _frame(data, value, treatment, block)
    names, dummies = _dummies(frame)
    full = _fit(frame, dummies, reml=False)
    null = _fit(frame, np.ones((len(frame), 1)), reml=False)
    df = len(names) - 1
    chi2 = max(0.0, 2.0 * float(full.llf - null.llf))
    means = np.asarray(full.fe_params)
    return Estimate(
        estimate=float(means.max() - means.min()),
        p=float(stats.chi2.sf(chi2, df)),
        n=int(frame["block"].nunique()),
        statistic=chi2,
        signature=f"mixed:random-block|likelihood-ratio|chi2:{df}",
    )


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
