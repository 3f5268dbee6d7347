"""How long a run will still take: predictions, corrected by what was measured of each kind so far."""

from collections.abc import Iterable, Mapping

from kdscope.study.graph import Step


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
        self, steps: Iterable[Step], paths: Mapping[str, float], spent: float, slots: int
    ) -> float | None:
        """Seconds until all these steps are done; None where one has no prediction.

        Args:
            steps: running or still to run.
            paths: by step, predicted seconds from its start to the end of what hangs on it.
            spent: seconds that the running ones have had, together.
            slots: how many run at a time.
        """
        steps = list(steps)
        if not steps or any(step.key not in self._predicted for step in steps):
            return None
        work = sum(self._pace(step.kind) * self._predicted[step.key] for step in steps)
        longest = max(self._pace(step.kind) * paths[step.key] for step in steps)
        return max(0.0, (work - spent) / slots, longest - spent / slots)

    def _pace(self, kind: str) -> float:
        """Real by predicted seconds of a kind; 1 until a second of it was predicted."""
        predicted, real = self._measured.get(kind, (0.0, 0.0))
        return real / predicted if predicted > 1.0 else 1.0
