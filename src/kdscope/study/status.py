"""Where a run stands: steps by kind, what runs now and how fast, what failed."""

import fcntl
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kdscope.study.display import counted, duration
from kdscope.study.events import read_events
from kdscope.study.progress import loss_curve, read_progress
from kdscope.study.store import Run
from kdscope.study.survey import missing, survey

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 20  # characters of a loss curve in a terminal


def status(folder: Path) -> dict[str, Any]:
    """Where a run stands: steps by state and kind, what runs, what failed and why.

    ``running`` has a dict for each step at work: see :func:`with_progress`. ``seconds_left`` is what
    the driver expects by the clock, ``predicted_seconds_left`` the work that was predicted, on one slot.
    """
    run = Run(folder)
    plan = run.plan()
    done, damaged = survey(run, plan)
    todo, active = missing(plan, done), _locked(run)
    failed: dict[str, str] = {}
    running: dict[str, dict[str, Any]] = {}
    for event in read_events(run.events):
        name, key = event["event"], event.get("key", "")
        if name == "begin":
            failed, running = {}, {}
        elif name == "start":
            predicted = plan.predicted.get(key)
            running[key] = {
                "step": event["step"], "since": event["time"], "predicted_seconds": predicted,
            }  # fmt: skip
        elif name in {"done", "failed", "lost", "partial"}:
            running.pop(key, None)
            if name in {"failed", "lost"} and not event.get("again", True):
                failed[event["step"]] = str(event.get("message", ""))
    kinds = Counter(step.kind for step in plan.steps.values())
    left = Counter(plan.steps[key].kind for key in todo)
    state = {
        "name": plan.name,
        "folder": str(folder),
        "active": active,
        "steps": len(plan.steps),
        "done": len(plan.steps) - len(todo),
        "left": len(todo),
        "damaged": len(damaged),
        "predicted_seconds_left": sum(plan.predicted.get(key, 0.0) for key in todo),
        "kinds": {kind: {"steps": kinds[kind], "left": left[kind]} for kind in kinds},
        "running": list(running.values()) if active else [],
        "failed": failed,
    }
    return with_progress(run, state)


def with_progress(run: Run, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state with the newest numbers of what runs, which costs a file or two a step.

    Each running step has ``seconds`` since it started, what :func:`kdscope.study.progress.read_progress`
    knows of it, and the ``curve`` of a training's loss.
    """
    if not state["active"]:
        return {**state, "seconds_left": None}
    told = read_progress(run)
    running = [
        {
            **entry,
            **told["steps"].get(entry["step"], {}),
            "seconds": _since(entry["since"]),
            "curve": loss_curve(run, entry["step"]),
        }
        for entry in state["running"]
    ]
    return {**state, "running": running, "seconds_left": told["seconds_left"]}


def status_lines(state: Mapping[str, Any]) -> list[str]:
    """A status for people."""
    verb = "running now" if state["active"] else "not running"
    lines = [
        f"{state['name']} ({state['folder']}), {verb}: {state['done']} of {state['steps']} done"
    ]
    lines += [
        f"  {kind:<14} {count['steps'] - count['left']:>5} / {count['steps']}"
        for kind, count in state["kinds"].items()
    ]
    for entry in state["running"]:
        lines += [f"  running {entry['step']}", f"    {_going(entry)}"]
        if len(entry["curve"]) > 1:
            lines.append(f"    {_curve_line(entry['curve'])}")
    lines += [f"  failed {step}: {message}" for step, message in state["failed"].items()]
    if state["damaged"]:
        lines.append(f"  {state['damaged']} damaged: they will be made again")
    if state["left"]:
        left = f"{duration(state['predicted_seconds_left'])} of work"
        if state["seconds_left"] is not None:
            left = f"about {duration(state['seconds_left'])}"
        resumes = "" if state["active"] else "; `kdscope run` resumes"
        lines.append(f"{counted(state['left'], 'step')} left, {left}{resumes}")
    return lines


def follow(
    ask: Callable[[], Mapping[str, Any]], stream: IO[str] | None = None, every: float = 5.0
) -> None:
    """Show a status again and again while the run is active: in place on a terminal, else line by line."""
    shown = sys.stderr if stream is None else stream
    state = ask()
    if not shown.isatty():
        while state["active"]:
            print("\n".join(status_lines(state)), file=shown, flush=True)
            time.sleep(every)
            state = ask()
        return
    with Live(console=Console(file=shown), auto_refresh=False, transient=True) as live:
        while state["active"]:
            live.update(Text("\n".join(status_lines(state)), overflow="ellipsis"), refresh=True)
            time.sleep(min(every, 2.0))
            state = ask()


def _going(entry: Mapping[str, Any]) -> str:
    """How far one running step is, how fast it goes and how long it will take."""
    expected = entry["predicted_seconds"]
    parts = [duration(entry["seconds"]) + (f" of about {duration(expected)}" if expected else "")]
    if entry.get("total"):
        rate = "" if entry["rate"] is None else f", {entry['rate']:.3g} a second"
        parts.append(f"{entry['done']:,.0f} of {entry['total']:,.0f} {entry['unit']}{rate}")
    if entry.get("seconds_left") is not None:
        parts.append(f"about {duration(entry['seconds_left'])} left")
    return "; ".join(parts)


def _curve_line(curve: Sequence[tuple[int, float]]) -> str:
    """Loss from the first to the last step, as bars of a height."""
    few = curve[:: -(-len(curve) // _WIDTH)]
    low, high = min(value for _, value in few), max(value for _, value in few)
    span = (high - low) or 1.0
    bars = "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for _, value in few)
    return f"loss {curve[0][1]:.4g} {bars} {curve[-1][1]:.4g}"


def _locked(run: Run) -> bool:
    try:
        with (run.folder / ".lock").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _since(moment: str) -> float:
    """Seconds since an event's time; never below 0, whatever the clocks of two machines say."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
