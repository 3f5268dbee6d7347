import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from kdscope.errors import NotEstimableError
from kdscope.stats.gee import logistic_gee
from kdscope.stats.selection import select_on_validation


def test_the_choice_is_made_on_validation_only():
    validation = np.array([[0, 0, 1, 0], [1, 1, 1, 0]] * 1).repeat(30, axis=1)
    test = np.array([[1] * 50, [0, 1] * 25])
    found = select_on_validation(validation, test, resamples=300)
    assert found.chosen == 1
    assert found.test.estimate == 0.5
    assert found.stability == 1.0


def test_an_uncertain_choice_widens_the_interval_and_is_optimistic():
    rng = np.random.default_rng(0)
    validation, test = rng.random((6, 40)) < 0.5, rng.random((6, 400)) < 0.5
    found = select_on_validation(validation, test, resamples=2000)
    sure = select_on_validation(validation[:1], test[:1], resamples=2000)
    assert found.stability < 0.8
    assert found.optimism > sure.optimism
    assert found.test.high - found.test.low > sure.test.high - sure.test.low
    with pytest.raises(NotEstimableError, match="same candidates"):
        select_on_validation(validation[:2], test)


def test_gee_equals_its_formula_form_and_finds_the_effect():
    rng = np.random.default_rng(0)
    easy = rng.normal(0, 1, 200)
    rows = [
        {"item": i, "method": m, "right": rng.random() < 1 / (1 + np.exp(-(easy[i] + gain)))}
        for m, gain in (("sft", 0.0), ("gkd", 1.2))
        for i in range(200)
    ]
    data = pd.DataFrame(rows)
    found = {term.name: term.estimate for term in logistic_gee(data, "right", ["method"], "item")}
    data["y"] = data["right"].astype(float)
    data = data.sort_values("item", kind="stable")
    import statsmodels.api as sm

    fit = smf.gee(
        "y ~ method",
        "item",
        data,
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit()
    assert found["method_sft"].estimate == pytest.approx(fit.params["method[T.sft]"])
    assert found["method_sft"].high < 0
    with pytest.raises(NotEstimableError, match="three clusters"):
        logistic_gee(data.assign(student="a"), "right", ["method"], "student")
