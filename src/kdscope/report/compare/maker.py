"""Makes the records of one system and of its pair with the reference from the bootstrap's draws."""

import math

from kdscope.fidelity.agreement import BEYOND_CHANCE, MEASURES
from kdscope.fidelity.bleu_conventions import CONVENTIONS, measure_name
from kdscope.fidelity.calibration import CALIBRATION
from kdscope.fidelity.choices import OPTION_MEASURES
from kdscope.fidelity.embeddings import LIKENESS
from kdscope.report.compare.aligned import Aligned
from kdscope.report.compare.measures import (
    KEPT,
    NEEDS_GOLD,
    PAIR_MEASURES,
    PROPORTIONS,
    base_column,
    missing,
)
from kdscope.report.compare.records import Kept, Pair, SystemSummary, absent
from kdscope.stats import bootstrap, flat
from kdscope.stats.bootstrap import Draws, Statistic
from kdscope.stats.paired import mcnemar_p
from kdscope.stats.records import Estimate


class Maker:
    """Makes the records of one system from the draws."""

    def __init__(self, draws: Draws, prefix: str, texts: int, items: int) -> None:
        self.draws, self.prefix, self.encoder = draws, prefix, ""
        self.sampled = f"|items:{texts}of{items}" if texts < items else ""

    def system(self, table: Aligned, place: int) -> SystemSummary:
        """The system in a place of the table, on its own items."""
        own = table.systems[place]
        measures = {
            "accuracy": self._measure(
                "accuracy", bootstrap.ratio("right_own", "known_own"), "accuracy:flexible"
            ),
            "invalid": self._measure(
                "invalid", bootstrap.ratio("invalid_own", "present"), "invalid:flexible"
            ),
        }
        for name, top, bottom in (
            ("score", "score", "scored"),
            ("self_agreement", "own_agreement", "own_sampled"),
        ):
            if self._has(bottom):
                measures[name] = self._measure(name, bootstrap.ratio(top, bottom), name)
        if self._has("calibrated"):
            for name, statistic in CALIBRATION.items():
                measures[name] = self._measure(name, statistic, f"{name}|options:softmax")
        return SystemSummary(own.name, len(own.headline), measures)

    def pair(self, table: Aligned, place: int) -> Pair:
        """The system in a place of the table, compared with the reference."""
        measures: dict[str, Estimate] = {}
        gold = self._has("known") and self._total("known") > 0
        for name, (statistic, kind) in PAIR_MEASURES.items():
            if name == "kappa" and not gold:
                measures[name] = self._measure(
                    name, MEASURES["cohen_kappa"], "kappa:cohen|gold:none"
                )
            elif name in NEEDS_GOLD and not gold:
                measures[name] = absent("gold answers")
            elif not self._defined(name):
                measures[name] = absent(missing(name))
            else:
                kind = "kappa:accuracy-corrected|within-task" if name == "kappa" else kind
                measures[name] = self._measure(name, statistic, kind)
        measures |= self._extras()
        measures["mcnemar_p"] = self._mcnemar() if gold else absent("gold answers")
        names = table.systems[0].name, table.systems[place].name
        return Pair(*names, table.matched[place], measures)

    def _extras(self) -> dict[str, Estimate]:
        """Overlaps that were asked for by name: other conventions of BLEU, and an encoder's."""
        kinds = {measure_name(name): how.signature for name, how in CONVENTIONS.items()}
        for name in LIKENESS:
            kinds[name] = f"{name}|encoder:{self.encoder}"
            kinds[f"{name}_floor"] = f"{kinds[name]}|floor:other-item"
        found = {}
        for name, kind in kinds.items():
            if f"{self.prefix}{name}_n" in self.draws.place:
                has = self._has(f"{name}_n")
                ratio = bootstrap.ratio(name, f"{name}_n")
                found[name] = self._measure(name, ratio, kind) if has else absent(missing("bleu"))
        return found

    def kept(self) -> dict[str, Kept]:
        """Values and resamples of the measures that gains are taken of."""
        statistics = {name: PAIR_MEASURES[name][0] for name in KEPT if self._defined(name)}
        if self._has("known_own"):
            statistics["accuracy"] = bootstrap.ratio("right_own", "known_own")
        return {
            name: Kept(
                *self.draws.apply(statistic, self.prefix),
                self._total(PROPORTIONS[name]) if name in PROPORTIONS else self.draws.n,
            )
            for name, statistic in statistics.items()
        }

    def _measure(self, name: str, statistic: Statistic, kind: str) -> Estimate:
        found = bootstrap.estimate(self.draws, statistic, prefix=self.prefix)
        ofall = name in MEASURES or name in PROPORTIONS or name in OPTION_MEASURES
        sampled = self.sampled if not ofall else ""
        signature = f"{kind}{sampled}|{found.signature}"
        if not math.isfinite(found.estimate):
            return absent("defined values", signature)
        exact = self._score_interval(name, statistic, found)
        return exact._replace(
            signature=signature if exact is found else f"{kind}|{exact.signature}"
        )

    def _score_interval(self, name: str, statistic: Statistic, found: Estimate) -> Estimate:
        """The same where resamples differ; else with an interval that is honest there."""
        if name in PROPORTIONS:
            return flat.share(found, self._total(PROPORTIONS[name]))
        if name == "direction":
            return flat.share(found, self._total("discordant"))
        if name == "accuracy_difference":
            return flat.difference(found, self._total("known"))
        if statistic in BEYOND_CHANCE:
            agreed, expected, counted = BEYOND_CHANCE[statistic]
            (a, _), (e, _) = (self.draws.apply(s, self.prefix) for s in (agreed, expected))
            return flat.beyond_chance(found, a, e, self._total(counted))
        return flat.without(found)

    def _mcnemar(self) -> Estimate:
        gained, lost = round(self._total("gained")), round(self._total("lost"))
        p = mcnemar_p(gained, lost)
        return Estimate(
            p, p=p, n=gained + lost, signature=f"mcnemar:exact|two-sided|split:{gained}:{lost}"
        )

    def _has(self, column: str) -> bool:
        return self.prefix + column in self.draws.place and self._total(column) > 0

    def _total(self, column: str) -> float:
        return float(self.draws.observed[:, self.draws.place[self.prefix + column]].sum())

    def _defined(self, name: str) -> bool:
        return self._has(base_column(name))
