"""From a file to a checked study: all mistakes at once, every name resolved, nothing loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kdscope.distillation.methods import METHODS
from kdscope.errors import ConfigError
from kdscope.models.families import PROJECTIONS
from kdscope.study.config import Model, Study
from kdscope.study.config_data import OwnData, OwnTask
from kdscope.study.context import SERVER
from kdscope.study.datasets import DataRef, TaskRef, data_ref, task_refs
from kdscope.study.engine_rules import engine_mistakes
from kdscope.study.mistakes import in_words
from kdscope.study.references import ModelRef, UnresolvedError, model_ref, tokenizers_differ
from kdscope.study.signal_rules import signal_mistakes
from kdscope.study.source import Location, Problem, Source, describe, nearest, read_study

PAPER: dict[str, Any] = {
    "prompt": "paper",
    "train": {
        "validation": 500, "split_seed": 6, "warmup_steps": 100, "reduction": "sequence",
        "select": "best_nll", "lora": {"dropout": 0.05},
    },
    "evaluate": {"decoding": {"strategy": "sample", "temperature": 1.0}},
}  # fmt: skip


@dataclass(frozen=True)
class Resolved:
    """A study without mistakes, with what its names refer to.

    Attributes:
        study: the record, defaults filled in.
        source: the file as written.
        teachers, students: models by name, in the order of the study.
        pairs: (teacher, student) names that are distilled.
        data, teacher_data: the training sets of students and of teachers.
        tasks: in order, suites opened.
    """

    study: Study
    source: Source
    teachers: dict[str, ModelRef]
    students: dict[str, ModelRef]
    pairs: tuple[tuple[str, str], ...]
    data: DataRef
    teacher_data: DataRef
    tasks: tuple[TaskRef, ...]

    def locations(self) -> dict[str, str]:
        """Where local models, data files and the server are, by name: for steps, never part of a key."""
        models = {**self.teachers, **self.students}
        found = {
            name: ref.path
            for ref in models.values()
            for name in (ref.name, ref.whole["name"])
            if ref.path
        }
        if self.study.server is not None:
            found[SERVER] = self.study.server.url
        found |= {ref.name: ref.path for ref in (self.data, self.teacher_data) if ref.path}
        return found | {task.location: task.path for task in self.tasks if task.path}

    def own_files(self) -> list[str]:
        """Paths of the user's own data, training sets and tasks alike."""
        return [ref.path for ref in (self.data, self.teacher_data, *self.tasks) if ref.path]

    def document(self) -> dict[str, Any]:
        """What runs, fully resolved: the content of ``resolved.yaml``."""
        document = self.study.model_dump(mode="json")
        own = {e.name: e for e in self.study.evaluate.tasks if isinstance(e, OwnTask)}
        document["evaluate"]["tasks"] = [
            own[task.name].model_dump(mode="json") if task.name in own else task.name
            for task in self.tasks
        ]
        document["pairs"] = [list(pair) for pair in self.pairs]
        document["identities"] = {
            "models": {
                name: ref.fields for name, ref in {**self.teachers, **self.students}.items()
            },
            "data": {ref.name: ref.fields["identity"] for ref in (self.data, self.teacher_data)},
        }
        own_tasks = {ref.name: ref.fields["identity"] for ref in self.tasks if "own" in ref.fields}
        if own_tasks:
            document["identities"]["tasks"] = own_tasks
        return document


def load_study(study: str, overrides: Iterable[str] = ()) -> Resolved:
    """Read, override, check and resolve a study (a YAML file or a preset's name).

    Raises:
        ConfigError: lists every mistake with its YAML path, line and the nearest known key.
    """
    return resolve_source(read_study(study, overrides))


def resolve_source(source: Source) -> Resolved:
    """Check and resolve a study that was read, or made up by a program.

    Raises:
        ConfigError: lists every mistake.
    """
    data = _with_conventions(source.data)
    finder = _Finder(source)
    record = finder.validate(data)
    finder.check_names(data)
    resolved = finder.resolve(record) if record else None
    if finder.problems or resolved is None:
        raise ConfigError(describe(finder.problems, source.origin))
    return resolved


def _with_conventions(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in what ``conventions: paper`` implies wherever the study says nothing itself."""
    if data.get("conventions") != "paper":
        return data
    filled = _merge(PAPER, data)
    for role in ("teachers", "students"):
        entries = data.get(role)
        if isinstance(entries, list):
            models = [{"model": m} if isinstance(m, str) else m for m in entries]
            filled[role] = [{"dtype": "float16", **m} if isinstance(m, dict) else m for m in models]
    return filled


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both else value
    return result


class _Finder:
    """Collects mistakes from the file's form, its types, its names and its references."""

    def __init__(self, source: Source):
        self.source = source
        self.problems: list[Problem] = list(source.problems)

    def add(self, where: Location, message: str) -> None:
        """Note a mistake at the line of the nearest enclosing key."""
        line = None
        for length in range(len(where), 0, -1):
            line = self.source.lines.get(where[:length])
            if line is not None:
                break
        self.problems.append(Problem(where, message, line))

    def validate(self, data: dict[str, Any]) -> Study | None:
        """Structure and types, by pydantic, in our words."""
        try:
            return Study.model_validate(data)
        except ValidationError as error:
            for where, message in in_words(error, data):
                self.add(where, message)
        return None

    def check_names(self, data: dict[str, Any]) -> None:
        """Names of tasks, methods and models, even where other sections are missing or wrong."""
        tasks = _section(data, "evaluate").get("tasks")
        for i, entry in _entries(tasks):
            where = ("evaluate", "tasks", i) if isinstance(tasks, list) else ("evaluate", "tasks")
            self._try_mapped(where, entry, OwnTask, lambda e: task_refs([e], self.source.folder))
        if isinstance(tasks, list) and not tasks:
            self.add(("evaluate", "tasks"), "is empty: name at least one task")
        for name in _section(data, "methods"):
            if name not in METHODS:
                self.add(("methods", name), f"there is no method {name!r}{nearest(name, METHODS)}")
        for role in ("teachers", "students"):
            for i, entry in _entries(data.get(role)):
                model = {"model": entry} if isinstance(entry, str) else entry
                try:
                    model = Model.model_validate(model)
                except ValidationError:
                    continue
                self._try((role, i), lambda m=model: model_ref(m, self.source.folder))
        for section in ("train", "teacher_train"):
            entry = _section(data, section).get("data")
            if isinstance(entry, str | dict):
                find = lambda e: data_ref(e, self.source.folder)  # noqa: E731
                self._try_mapped((section, "data"), entry, OwnData, find)

    def resolve(self, study: Study) -> Resolved | None:
        """References between sections: signal, pairs, clashing names, tokenizers."""
        for mistake in signal_mistakes(study):
            self.add(mistake.where, mistake.message)
        folder = self.source.folder
        try:
            teachers = self._models("teachers", study.teachers)
            students = self._models("students", study.students)
            data = data_ref(study.train.data, folder)
            teacher_data = data_ref(study.teacher_train.data or study.train.data, folder)
        except UnresolvedError:
            return None  # already noted by check_names
        if data.name == teacher_data.name and data.fields != teacher_data.fields:
            self.add(
                ("teacher_train", "data"),
                f"and train.data are both called {data.name!r}: give one a name:",
            )
        try:
            tasks = task_refs(study.evaluate.tasks, folder)
        except UnresolvedError as problem:
            if str(problem) not in {known.message for known in self.problems}:
                self.add(("evaluate", "tasks"), str(problem))
            return None
        for section, ref in (("train", data), ("teacher_train", teacher_data)):
            if ref.name in {**teachers, **students}:
                self.add((section, "data"), f"a model is called {ref.name!r} too: give one a name:")
        for name in teachers.keys() & students.keys():
            if teachers[name].fields != students[name].fields:
                self.add(
                    ("students",), f"teacher and student are both called {name!r}: give one a name:"
                )
        for mistake in engine_mistakes(study, teachers, students):
            self.add(mistake.where, mistake.message)
        self._lora_targets(study, (*teachers.values(), *students.values()))
        for i, entry in enumerate(study.students):
            if entry.quantize:
                self.add(
                    ("students", i, "quantize"), "only teachers are quantised: a student is trained"
                )
        pairs = self._pairs(study, teachers, students)
        for teacher, student in pairs:
            if tokenizers_differ(teachers[teacher], students[student]):
                self.add(
                    ("students",),
                    f"teacher {teacher!r} and student {student!r} have different tokenizers: their "
                    "distributions are over different tokens; choose models of one family",
                )
        return Resolved(study, self.source, teachers, students, pairs, data, teacher_data, tasks)

    def _lora_targets(self, study: Study, models: Iterable[ModelRef]) -> None:
        """Names of layers, where all models are of families whose names are known."""
        if any(ref.path or ref.tokenizer is None for ref in models):
            return  # loading them finds out
        for section, train in (("train", study.train), ("teacher_train", study.teacher_train)):
            for name in train.lora.targets if train.lora else ():
                if name not in PROJECTIONS:
                    self.add(
                        (section, "lora", "targets"),
                        f"LoRA cannot be put on {name!r}{nearest(name, PROJECTIONS)}",
                    )

    def _models(self, role: str, entries: Iterable[Model]) -> dict[str, ModelRef]:
        found: dict[str, ModelRef] = {}
        for i, entry in enumerate(entries):
            ref = model_ref(entry, self.source.folder)
            if ref.name in found:
                self.add(
                    (role, i), f"a second model called {ref.name!r}: give it a name: of its own"
                )
            found[ref.name] = ref
        return found

    def _pairs(
        self, study: Study, teachers: dict[str, ModelRef], students: dict[str, ModelRef]
    ) -> tuple[tuple[str, str], ...]:
        if study.pairs is None:
            return tuple((teacher, student) for teacher in teachers for student in students)
        called = [
            {entry.model: name for entry, name in zip(entries, refs, strict=False)}
            for entries, refs in ((study.teachers, teachers), (study.students, students))
        ]
        pairs = []
        for i, pair in enumerate(study.pairs):
            names = []
            for role, (name, refs) in enumerate(zip(pair, (teachers, students), strict=True)):
                full = name if name in refs else called[role].get(name)
                if full is None:
                    what = ("teacher", "student")[role]
                    self.add(("pairs", i), f"there is no {what} {name!r}{nearest(name, refs)}")
                names.append(full)
            if None not in names:
                pairs.append((names[0], names[1]))
        if not study.pairs:
            self.add(("pairs",), "is empty: leave it out for all teachers with all students")
        return tuple(dict.fromkeys(pairs))

    def _try_mapped(self, where: Location, entry: Any, record: Any, find: Any) -> None:
        """Try a name, or a mapping of the right form; a mapping of another form is noted by pydantic."""
        try:
            found = entry if isinstance(entry, str) else record.model_validate(entry)
        except ValidationError:
            return
        self._try(where, lambda: find(found))

    def _try(self, where: Location, find: Any) -> None:
        try:
            find()
        except UnresolvedError as problem:
            self.add(where, str(problem))


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def _entries(value: Any) -> Iterator[tuple[int, Any]]:
    if isinstance(value, str | dict):
        yield 0, value
    elif isinstance(value, list):
        yield from ((i, entry) for i, entry in enumerate(value) if isinstance(entry, str | dict))
