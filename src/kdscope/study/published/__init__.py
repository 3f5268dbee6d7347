"""Published studies: kept in parts under ``docs/studies/parts``, put together into a page and a summary."""

from kdscope.study.published.building import build_study
from kdscope.study.published.keeping import keep

__all__ = ["build_study", "keep"]
