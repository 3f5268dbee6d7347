"""How long a run will still take: predictions, corrected by what was measured of each kind so far."""

from collections.abc import Iterable, Mapping

from kdscope.study.graph import Step

_OVERDUE = 0.2  # a step that takes longer than predicted is given this share of its time again


class Forecast:
    """Predicted seconds of the steps, and how real ones compare with them, by kind."""

    def __init__(self, predicted: Mapping[str, float]) -> None:
        self._predicted = predicted
        self._measured: dict[str, list[float]] = {}  # by kind: predicted and real seconds

    def note(self, step: Step, seconds: float) -> None:
        """A step took so long."""
        measured = self._measured.setdefault(step.kind, [0.0, 0.0])
        measured[0] += self._predicted.get(step.key, 0.0)
        measured[1] += seconds

    def remaining(
        self,
        steps: Iterable[Step],
        paths: Mapping[str, float],
        spent: Mapping[str, float],
        slots: int,
    ) -> float | None:
        """Seconds until all these steps are done; None where one has no prediction.

        Args:
            steps: running or still to run.
            paths: by step, predicted seconds from its start to the end of what hangs on it.
            spent: by key of a running step, the seconds that it has had.
            slots: how many run at a time.
        """
        steps = list(steps)
        if not steps or any(step.key not in self._predicted for step in steps):
            return None
        work = longest = 0.0
        for step in steps:
            pace, had = self._pace(step.kind), spent.get(step.key, 0.0)
            whole = pace * self._predicted[step.key]
            left = max(whole - had, _OVERDUE * had)
            work += left
            longest = max(longest, pace * paths[step.key] - whole + left)
        return max(work / slots, longest)

    def _pace(self, kind: str) -> float:
        """Real by predicted seconds of a kind; 1 until a second of it was predicted."""
        predicted, real = self._measured.get(kind, (0.0, 0.0))
        return real / predicted if predicted > 1.0 else 1.0
