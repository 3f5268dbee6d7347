"""The driver: runs what is missing of a plan, in a good order, whatever machines do.

It starts the step with the longest way to the end first, goes on with independent branches after a
failure, and retries by class of error. All that it knows is in the run's folder: the same command
resumes.
"""

import heapq
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdscope.study.budget import Budget, Limits
from kdscope.study.cost import makespan
from kdscope.study.engine import Engine, Job, Report
from kdscope.study.events import EventLog
from kdscope.study.forecast import Forecast
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT
from kdscope.study.outcome import Outcome, Watch
from kdscope.study.results import rebuild_tables
from kdscope.study.retry import Verdict, judge
from kdscope.study.steps import KINDS
from kdscope.study.store import Run, publish, read_manifest
from kdscope.study.survey import missing

START_SECONDS = 300.0  # how long a worker may take to start a step


@dataclass
class _Running:
    step: Step
    attempt: int
    started: float
    heard: float | None = None


class Driver:
    """One run of a plan."""

    def __init__(
        self,
        run: Run,
        plan: Plan,
        engine: Engine,
        *,
        watch: Watch,
        limits: Limits | None = None,
        code: Mapping[str, Any] | None = None,
        finished: Callable[[Step], None] | None = None,
    ):
        self.finished = finished or (lambda step: None)
        self.run, self.plan, self.engine, self.watch = run, plan, engine, watch
        self.limits, self.code = limits or Limits(), dict(code or {})
        self.predicted = plan.predicted
        self.log = EventLog(run.events)
        self.outcome = Outcome()
        self.done: set[str] = set()
        self.attempts: dict[str, list[str]] = {}
        self.micro: dict[str, int] = {}
        self.waiting: dict[str, set[str]] = {}
        self.users: dict[str, list[str]] = {}
        self.ready: list[tuple[float, int, str]] = []
        self.later: list[tuple[float, str]] = []
        self.running: dict[str, _Running] = {}
        self.forecast = Forecast(plan.predicted)
        self.folders: dict[str, Path] = {}

    def execute(self, found: tuple[set[str], dict[str, str]]) -> Outcome:
        """Run everything that is missing; returns when nothing more can be done.

        Args:
            found: complete steps, and what is wrong with damaged ones (see ``survey``).
        """
        began = time.monotonic()
        try:
            self.budget = Budget(self.run.folder, self.limits, began)
            self._prepare(*found)
            self._loop()
            self._partial_reports()
        except KeyboardInterrupt:
            self.outcome.interrupted, self.outcome.stopped = True, "interrupted"
            self._stop_all("interrupted")
        finally:
            self.outcome.seconds = time.monotonic() - began
            self.engine.close()
            self.watch.close()
            self.log.add(
                "end", ran=self.outcome.ran, failed=len(self.outcome.failed),
                stopped=self.outcome.stopped, seconds=round(self.outcome.seconds, 3),
            )  # fmt: skip
            self.log.close()
        return self.outcome

    # Before the first step

    def _prepare(self, done: set[str], damaged: Mapping[str, str]) -> None:
        self.folders = self.run.artifacts({step.kind for step in self.plan.steps.values()})
        self.done = set(done)
        for key, wrong in damaged.items():
            self.run.set_aside(self.folders.pop(key[:SHORT]))
            self.log.add("damaged", step=self.plan.steps[key].path, key=key, reason=wrong)
        todo = missing(self.plan, self.done)
        self.outcome.reused = len(self.plan.steps) - len(todo)
        known = all(key in self.predicted for key in todo)
        wall = makespan(self.plan, self.predicted, todo, self.engine.free()) if known else None
        self.log.add("begin", todo=len(todo), reused=self.outcome.reused, name=self.plan.name,
                     predicted=wall, load=os.getloadavg()[0])  # fmt: skip
        self._rank(todo)
        for key in todo:
            inputs = {k for k in self.plan.steps[key].input_keys() if k in todo}
            self.waiting[key] = inputs
            for other in inputs:
                self.users.setdefault(other, []).append(key)
        for key in todo:
            if not self.waiting[key]:
                self._make_ready(key)
        self.watch.begin(len(todo), self.outcome.reused)

    def _rank(self, todo: set[str]) -> None:
        """Priority: predicted seconds from a step's start to the end of what hangs on it."""
        self.path: dict[str, float] = {}
        for key, step in reversed(self.plan.steps.items()):
            if key in todo:
                own = self.path.get(key, 0.0) + self.predicted.get(key, 1.0)
                self.path[key] = own
                for other in step.input_keys():
                    self.path[other] = max(self.path.get(other, 0.0), own)
        self.place = {key: i for i, key in enumerate(self.plan.steps)}

    def _make_ready(self, key: str) -> None:
        heapq.heappush(self.ready, (-self.path.get(key, 0.0), self.place[key], key))

    # While it runs

    def _loop(self) -> None:
        next_tick = 0.0
        while self.ready or self.running or self.later:
            self._wake()
            self._dispatch()
            if not self.running and not self.later:
                if self.ready and self.outcome.stopped:
                    return
                continue
            for report in self.engine.poll(0.2):
                self._handle(report)
            clock = time.monotonic()
            if clock >= next_tick:
                next_tick = clock + 1.0
                if self._out_of_time():
                    return
                self._watchdog(clock)
                self.watch.tick(self._remaining())

    def _wake(self) -> None:
        clock = time.monotonic()
        for entry in [entry for entry in self.later if entry[0] <= clock]:
            self.later.remove(entry)
            self._make_ready(entry[1])

    def _dispatch(self) -> None:
        while self.ready and not self.outcome.stopped and self.engine.free() > 0:
            free = shutil.disk_usage(self.run.folder).free
            if free < self.limits.free_bytes:
                self._disk_full(f"{free:,} bytes are free in {self.run.folder}")
                return
            spent = self.budget.disk_spent()
            if spent:
                self._limit(spent)
                return
            _, _, key = heapq.heappop(self.ready)
            self._start(self.plan.steps[key])

    def _start(self, step: Step, *, keep: bool = True) -> None:
        if KINDS[step.kind].reads_tables:
            rebuild_tables(self.run.folder, plan=self.plan)
        attempt = len(self.attempts.get(step.key, ())) + 1
        inputs = {
            role: [str(self._artifact(key) / "out") for key in keys if key in self.done]
            for role, keys in step.inputs.items()
        }
        job = Job(
            key=step.key, step=step.path, kind=step.kind, version=step.version, fields=step.fields,
            inputs=inputs, run=KINDS[step.kind].run, work=str(self.run.work(step)),
            final=str(self.run.steps / step.path), run_dir=str(self.run.folder),
            locations=self.plan.locations, attempt=attempt, micro_batch=self.micro.get(step.key),
            input_keys={role: list(keys) for role, keys in step.inputs.items()}, code=self.code,
            keep=keep, predicted=self.predicted.get(step.key), study=self.plan.name,
            trackers=self.plan.trackers,
        )  # fmt: skip
        self.log.add("start", step=step.path, key=step.key, attempt=attempt,
                     micro_batch=job.micro_batch)  # fmt: skip
        self.running[step.key] = _Running(step, attempt, time.monotonic())
        self.watch.started(step, attempt)
        self.engine.submit(job)

    def _artifact(self, key: str) -> Path:
        found = self.folders.get(key[:SHORT])
        return found or self.run.steps / self.plan.steps[key].path

    def _handle(self, report: Report) -> None:
        entry = self.running.get(report.key)
        if entry is None:
            return
        entry.heard = time.monotonic()
        if report.state == "progress":
            self.watch.progress(entry.step, report.content)
            return
        del self.running[report.key]
        if report.state != "done":
            self._retry_or_fail(entry, report)
        elif read_manifest(self.run.steps / entry.step.path) is None:
            nowhere = {"message": "it was said to be done, but its result is not in the folder"}
            self._retry_or_fail(entry, Report(report.key, "lost", nowhere))
        else:
            self._finish(entry, report.content)

    def _finish(self, entry: _Running, content: Mapping[str, Any]) -> None:
        step = entry.step
        self.done.add(step.key)
        self.outcome.ran += 1
        self.budget.add(content.get("bytes", 0))
        self.forecast.note(step, content["seconds"])
        self.log.add("done", step=step.path, key=step.key, seconds=content["seconds"])
        self.watch.ended(step, "done", "")
        self.finished(step)
        if KINDS[step.kind].reads_tables:
            publish(self.run, step, self._artifact(step.key) / "out")
        for user in self.users.get(step.key, ()):
            self.waiting[user].discard(step.key)
            if not self.waiting[user]:
                self._make_ready(user)

    def _retry_or_fail(self, entry: _Running, report: Report) -> None:
        step, history = entry.step, self.attempts.setdefault(entry.step.key, [])
        message = str(report.content.get("message", "no reason given"))
        verdict = judge(report, history, step.fields, self.micro.get(step.key))
        history.append(verdict.cause)
        self.log.add(report.state, step=step.path, key=step.key, attempt=entry.attempt,
                     cause=verdict.cause, message=message, again=verdict.again)  # fmt: skip
        if verdict.cause == "disk":
            self._disk_full(message)
            self._make_ready(step.key)
            self.watch.ended(step, "stopped", message)
        elif verdict.again and not self.outcome.stopped:
            self._retry(step, verdict)
            self.watch.ended(step, "again", f"{message}; {verdict.advice}")
        else:
            self._fail(step, message, verdict)

    def _retry(self, step: Step, verdict: Verdict) -> None:
        if verdict.micro_batch:
            self.micro[step.key] = verdict.micro_batch
        self.later.append((time.monotonic() + verdict.delay, step.key))

    def _fail(self, step: Step, message: str, verdict: Verdict) -> None:
        self.outcome.failed[step.path] = message
        self.outcome.user_fault |= verdict.cause == "user"
        self.watch.ended(step, "failed", message)
        skipped, frontier = set(), [step.key]
        while frontier:
            for user in self.users.get(frontier.pop(), ()):
                if user not in skipped:
                    skipped.add(user)
                    frontier.append(user)
        known = set(self.outcome.skipped)
        for key in (key for key in self.plan.steps if key in skipped):
            path = self.plan.steps[key].path
            if path not in known:
                self.outcome.skipped.append(path)
                self.log.add("skipped", step=path, key=key, because=step.path)

    def _disk_full(self, message: str) -> None:
        if not self.outcome.stopped:
            self.outcome.stopped = (
                f"the disk is full ({message}); free some space, and the same command resumes"
            )
            self.log.add("stopped", reason=self.outcome.stopped)

    def _limit(self, reason: str) -> None:
        if not self.outcome.stopped:
            self.outcome.limited, self.outcome.stopped = True, reason
            self.log.add("stopped", reason=reason)

    def _out_of_time(self) -> bool:
        """At the limit of time what runs is put off: training goes on from its last checkpoint."""
        reason = self.budget.time_spent()
        if reason:
            self._limit(reason)
            self._stop_all(reason)
        return bool(reason)

    def _watchdog(self, clock: float) -> None:
        for key, entry in self.running.items():
            limit = self.limits.step_seconds
            if limit is not None and clock - entry.started > limit:
                self.engine.cancel(key, f"it took longer than the limit of {limit:g} s")
                continue
            quiet = self.limits.stall_seconds
            if entry.heard is None:
                quiet = max(quiet, START_SECONDS)  # a worker that still imports is not hanging
            if clock - (entry.heard or entry.started) > quiet:
                self.engine.cancel(key, f"it hung: nothing was heard of it for {quiet:g} s")

    def _stop_all(self, reason: str) -> None:
        for key, entry in self.running.items():
            self.log.add("lost", step=entry.step.path, key=key, attempt=entry.attempt,
                         cause="stopped", message=reason, again=True)  # fmt: skip
        self.running.clear()

    def _remaining(self) -> float | None:
        """Seconds to the end, if all steps have a prediction."""
        left = [self.plan.steps[key] for key in self.waiting if key not in self.done]
        clock = time.monotonic()
        spent = {key: clock - entry.started for key, entry in self.running.items()}
        slots = max(1, self.engine.free() + len(self.running))
        return self.forecast.remaining(left, self.path, spent, slots)

    # After the last step

    def _partial_reports(self) -> None:
        """Where steps failed, a report of what there is; it is shown, but not an artifact."""
        if self.outcome.stopped or not self.outcome.failed:
            return
        skipped = set(self.outcome.skipped)
        for step in self.plan.steps.values():
            if KINDS[step.kind].reads_tables and step.path in skipped:
                self._start(step, keep=False)
                while step.key in self.running:
                    for report in self.engine.poll(0.2):
                        if report.state != "progress":
                            del self.running[step.key]
                            self._publish_partial(step, report)

    def _publish_partial(self, step: Step, report: Report) -> None:
        if report.state == "done":
            publish(self.run, step, Path(report.content["result"]) / "out")
            self.log.add("partial", step=step.path, key=step.key)
        else:
            message = str(report.content.get("message", ""))
            self.log.add(report.state, step=step.path, key=step.key, message=message)
        for left in self.run.work(step).glob("result-*"):
            shutil.rmtree(left, ignore_errors=True)
