"""Being right across configurations, item by item: a logistic model with clustered errors."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.families import Binomial

from kdscope.errors import NotEstimableError
from kdscope.stats.records import Estimate

_FEW = 10  # clusters below which the robust errors are corrected for their small number


class Term(NamedTuple):
    """One coefficient, as a log odds ratio."""

    name: str
    estimate: Estimate


def logistic_gee(data: pd.DataFrame, right: str, terms: Sequence[str], cluster: str) -> list[Term]:
    """Logistic GEE of correctness on what describes a configuration, clustered.

    Args:
        data: one row per answer (item x configuration).
        right: column of 0 or 1.
        terms: columns: text ones become indicators against their first value in sorted order,
            numbers enter as they are.
        cluster: column of what answers share: the item, or the student (few students: the
            bias-reduced robust errors of Mancl and DeRouen are used).

    Raises:
        NotEstimableError: fewer than three clusters, or correctness does not vary.

    Source: Liang and Zeger 1986; exchangeable working correlation.
    """
    rows = data.dropna(subset=[right, cluster, *terms]).sort_values(cluster, kind="stable")
    clusters = rows[cluster].nunique()
    if clusters < 3 or rows[right].nunique() < 2:
        raise NotEstimableError(
            f"a clustered logistic model needs three clusters of {cluster} and right and "
            f"wrong answers; there are {clusters} clusters"
        )
    design = pd.get_dummies(rows[list(terms)], drop_first=True).astype(float)
    design.insert(0, "intercept", 1.0)
    model = sm.GEE(
        rows[right].astype(float).to_numpy(),
        design.to_numpy(),
        groups=rows[cluster].to_numpy(),
        family=Binomial(),
        cov_struct=Exchangeable(),
    )
    kind = "bias_reduced" if clusters < _FEW else "robust"
    fit = model.fit(cov_type=kind)
    bounds = np.asarray(fit.conf_int(alpha=0.05))
    signature = f"gee:logit|exchangeable|cluster:{cluster}({clusters})|se:{kind}|ci:wald95"
    return [
        Term(
            name,
            Estimate(
                float(fit.params[i]), float(bounds[i, 0]), float(bounds[i, 1]),
                float(fit.pvalues[i]), len(rows), float(fit.tvalues[i]), signature,
            ),
        )
        for i, name in enumerate(design.columns)
    ]  # fmt: skip
