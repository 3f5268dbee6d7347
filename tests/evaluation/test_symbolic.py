import pytest

from kdscope.errors import MissingExtraError
from kdscope.evaluation import symbolic


def test_expressions_are_compared_as_expressions():
    golds = ["1/2", "$x^2+2x+1$", "4", "5", "7"]
    texts = ["0.5", "$(x+1)^2$", "So the answer is 4", "6", "\\frac{"]
    assert symbolic.symbolically_equal(golds, texts) == [True, True, True, False, False]


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(symbolic, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[symbolic\]"):
        symbolic.symbolically_equal(["1"], ["1"])
