"""The remaining time: one kind's mistake in prediction does not spread to the others."""

import pytest

from kdscope.study.forecast import Forecast
from kdscope.study.graph import Step


def step(kind, key):
    return Step(kind, key, key, 1, {}, {})


SLOW, FAST, LAST = step("distill", "a"), step("sft", "b"), step("sft", "c")
PREDICTED = {"a": 60.0, "b": 30.0, "c": 30.0}
PATHS = {"a": 60.0, "b": 30.0, "c": 30.0}


def test_predictions_stand_until_something_is_measured():
    forecast = Forecast(PREDICTED)
    assert forecast.remaining([SLOW, FAST, LAST], PATHS, {}, 1) == pytest.approx(120)
    assert forecast.remaining([SLOW, FAST, LAST], PATHS, {}, 2) == pytest.approx(60)
    assert forecast.remaining([SLOW], PATHS, {"a": 20.0}, 1) == pytest.approx(40)


def test_a_kind_that_runs_faster_than_predicted_says_nothing_of_another():
    forecast = Forecast(PREDICTED)
    forecast.note(FAST, 10.0)
    assert forecast.remaining([LAST], PATHS, {}, 1) == pytest.approx(10)
    assert forecast.remaining([SLOW, LAST], PATHS, {}, 1) == pytest.approx(70)


def test_unknown_steps_and_the_end_have_no_forecast():
    assert Forecast({"a": 1.0}).remaining([FAST], PATHS, {}, 1) is None
    assert Forecast(PREDICTED).remaining([], PATHS, {}, 1) is None


def test_a_step_that_takes_longer_than_predicted_is_not_about_to_end():
    assert Forecast(PREDICTED).remaining([SLOW], PATHS, {"a": 500.0}, 1) == pytest.approx(100)
    both = Forecast(PREDICTED).remaining([SLOW, FAST], PATHS, {"a": 500.0}, 2)
    assert both == pytest.approx(100)
