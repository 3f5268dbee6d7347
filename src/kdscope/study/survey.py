"""What of a plan exists already, and what must run."""

from kdscope.study.graph import Plan
from kdscope.study.identity import SHORT
from kdscope.study.steps import KINDS
from kdscope.study.store import Run, fault


def survey(run: Run, plan: Plan, *, thorough: bool = False) -> tuple[set[str], dict[str, str]]:
    """Keys of the steps that are complete, and what is wrong with damaged ones."""
    artifacts = run.artifacts({step.kind for step in plan.steps.values()})
    done, damaged = set(), {}
    for key in plan.steps:
        artifact = artifacts.get(key[:SHORT])
        if artifact is None:
            continue
        wrong = fault(artifact, key, thorough=thorough)
        if wrong is None:
            done.add(key)
        else:
            damaged[key] = wrong
    return done, damaged


def missing(plan: Plan, done: set[str]) -> set[str]:
    """Steps that must run: what is not complete; transient ones only if a consumer needs them."""
    needed: set[str] = set()
    for key, step in reversed(plan.steps.items()):
        if key not in done and (not KINDS[step.kind].transient or key in needed):
            needed.update(step.input_keys())
            needed.add(key)
    return {key for key in needed if key not in done}
