"""A study from Python: plan, run and read it without the command line."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdscope.study.display import watch
from kdscope.study.identity import canonical
from kdscope.study.launch import Options, run_study
from kdscope.study.outcome import Outcome
from kdscope.study.overview import Overview, overview
from kdscope.study.place import is_url, working_folder
from kdscope.study.results import open_results

if TYPE_CHECKING:
    import pandas as pd


class Study:
    """A checked study and its folder.

    >>> study = kdscope.Study("quickstart", {"seeds": [0], "evaluate.limit": 20}, out="runs/small")
    >>> study.run()
    >>> study.results()["comparisons"]

    Args:
        study: a YAML file or a preset's name.
        overrides: dotted keys with values, as ``key=value`` on the command line.
        out: the run's folder, or the URL of an object store; ``runs/<name>`` if not given.
        many: allow more than 20,000 cells.

    Raises:
        ConfigError: lists every mistake.
    """

    def __init__(
        self,
        study: str | Path,
        overrides: Mapping[str, Any] | None = None,
        *,
        out: str | Path | None = None,
        many: bool = False,
    ):
        self._written = [f"{key}={canonical(value)}" for key, value in (overrides or {}).items()]
        self._study, self._many = str(study), many
        self._mirror = str(out) if out and is_url(str(out)) else None
        self._out = working_folder(str(out)) if out else None
        self.folder = self.plan().folder

    def plan(self) -> Overview:
        """Its steps with predicted cost, and which of them are complete in the folder now."""
        return overview(self._study, self._written, out=self._out, many=self._many)

    def run(self, options: Options | None = None, *, display: str = "none") -> Outcome:
        """Run what is missing; the same call resumes.

        Args:
            options: engine, workers, limits.
            display: ``auto``, ``live``, ``plain`` or ``none``.

        Raises:
            UserError: something must be mended first; nothing was started.
        """
        options = replace(options or Options(), mirror=self._mirror)
        return run_study(self.plan(), watch(display), options)

    def results(self) -> "dict[str, pd.DataFrame]":
        """Its result tables as pandas frames (see :func:`open_results`)."""
        return open_results(self.folder)
