"""A run whose folder is on an object store: worked on in a folder of this machine, mirrored there.

Complete steps are copied both ways, never half ones: a step's manifest is written last there, too. What
comes from there is compared with its checksums like anything else that was not written here. Nobody locks
an object store: two drivers on one URL do the same work twice, with the same results.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from kdscope.errors import StoreError
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT
from kdscope.study.objects import Objects, said
from kdscope.study.steps import KINDS
from kdscope.study.store import Run, publish

_COPIES = 4  # steps that are copied at a time
_TOPS = ("study.yaml", "resolved.yaml", "plan.json", "events.jsonl")


class Mirror:
    """The place of one run on an object store."""

    def __init__(self, url: str):
        """Open it, and see that it takes what is written.

        Raises:
            ConfigError: the URL is of an unknown kind.
            StoreError: it cannot be reached, or refuses.
        """
        self.url, self.objects = url, Objects(url)
        self.objects.check()
        self._pool = ThreadPoolExecutor(_COPIES)
        self._copies: list[Future[None]] = []
        self._by_nodes: set[str] = set()
        try:
            self._there = {name[-SHORT:]: name for name in self.objects.artifacts()}
        except OSError as error:
            raise StoreError(f"{url} cannot be read: {said(error)}") from None

    def recall(self, run: Run) -> None:
        """Fetch what is written of the run itself, where this machine has nothing of it."""
        if (run.folder / "resolved.yaml").exists():
            return
        for name in _TOPS:
            if self.objects.exists(name):
                self.objects.download(name, run.folder / name)

    def pull(self, run: Run, plan: Plan) -> int:
        """Fetch the steps of a plan that are complete there and not here; returns how many.

        Raises:
            StoreError: the object store failed on the way.
        """
        here = run.artifacts({step.kind for step in plan.steps.values()})
        wanted = [
            step
            for step in plan.steps.values()
            if step.key[:SHORT] in self._there and step.key[:SHORT] not in here
        ]
        needed = _inputs_of_missing(plan, {*self._there, *here})
        chosen = [s for s in wanted if not KINDS[s.kind].transient or s.key in needed]
        try:
            list(self._pool.map(lambda step: self._fetch(run, step), chosen))
        except OSError as error:
            raise StoreError(f"{self.url} failed while it was read: {said(error)}") from None
        for step in chosen:
            if KINDS[step.kind].reads_tables:
                publish(run, step, run.steps / step.path / "out")
        return len(chosen)

    def collect(self, run: Run, key: str, path: str) -> None:
        """Fetch a step that a node of a cluster has just left there. Raises OSError."""
        self._by_nodes.add(key)
        self._there[key[:SHORT]] = f"steps/{path}"
        self.objects.fetch(f"steps/{path}", run.steps / path)

    def push(self, run: Run, step: Step) -> None:
        """Copy a complete step, in the background, unless a node has left it there itself."""
        if step.key not in self._by_nodes:
            self._copies.append(self._pool.submit(self._send, run, step))

    def close(self, run: Run, plan: Plan) -> str:
        """Copy what is complete and not there yet, the tables and the report; says what failed."""
        for copy in self._copies:
            copy.exception()  # wait
        try:
            here = run.artifacts({step.kind for step in plan.steps.values()})
            for step in plan.steps.values():
                if step.key[:SHORT] in here and step.key[:SHORT] not in self._there:
                    self._send(run, step)
            for path in _published(run.folder):
                self.objects.upload(path, path.relative_to(run.folder).as_posix())
        except OSError as error:
            return f"not everything could be copied to {self.url}: {said(error)}"
        finally:
            self._pool.shutdown()
        return ""

    def _fetch(self, run: Run, step: Step) -> None:
        self.objects.fetch(self._there[step.key[:SHORT]], run.steps / step.path)

    def _send(self, run: Run, step: Step) -> None:
        name = f"steps/{step.path}"
        self.objects.send(run.artifacts([step.kind])[step.key[:SHORT]], name)
        self._there[step.key[:SHORT]] = name


def _inputs_of_missing(plan: Plan, complete: set[str]) -> set[str]:
    """Keys of the inputs of steps that are nowhere complete."""
    return {
        key
        for step in plan.steps.values()
        if step.key[:SHORT] not in complete
        for key in step.input_keys()
    }


def _published(folder: Path) -> list[Path]:
    tops = [folder / name for name in _TOPS if (folder / name).is_file()]
    made = ["tables", "code", *(kind for kind, about in KINDS.items() if about.reads_tables)]
    return tops + [p for name in made for p in sorted((folder / name).rglob("*")) if p.is_file()]
