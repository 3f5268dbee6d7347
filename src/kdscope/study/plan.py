"""The plan: a study's grid as a graph of steps, each shared step once.

``docs/study.md`` says which fields and inputs each kind of step receives. Planning needs neither
data, weights, extras nor network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdscope.study.datasets import unpinned
from kdscope.study.graph import Graph, Plan, system_name
from kdscope.study.grid import EVALUATION, Cell, cells, idle_axes, shared
from kdscope.study.resolve import Resolved
from kdscope.study.training import Training, cell_system, rounded, sft_system


def build_plan(resolved: Resolved, *, many: bool = False) -> Plan:
    """The steps of a study. Needs neither data, weights, extras nor network.

    Raises:
        ConfigError: no cell, or more than 20,000 without ``many``.
    """
    grid = cells(resolved, many=many)
    builder = _Builder(resolved, grid)
    for cell in grid:
        builder.cell(cell)
    if resolved.study.include_base:
        builder.base_rows()
    builder.finish()
    notes = (
        *idle_axes(resolved.study),
        *unpinned((resolved.data, resolved.teacher_data), resolved.tasks),
    )
    return Plan(
        resolved.study.name, builder.graph.steps, tuple(grid), notes, resolved.locations(),
        trackers=resolved.study.trackers,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Answers:
    """A system that was evaluated.

    Attributes:
        system: its six columns.
        keys: of its predict steps, in the order of the tasks.
        model: what was loaded.
        adapter: key of what trained it; empty for an untuned model.
        prompt: template of the questions.
    """

    system: dict[str, Any]
    keys: tuple[str, ...]
    model: Mapping[str, Any]
    adapter: tuple[str, ...]
    prompt: str


class _Builder:
    def __init__(self, resolved: Resolved, grid: Sequence[Cell]):
        self.resolved, self.study, self.graph = resolved, resolved.study, Graph()
        self.own = {
            "decoding": self.study.evaluate.decoding,
            "evaluation_prompt": self.study.prompt,
        }
        self.sft_cells: dict[tuple[Any, ...], Cell] = {}
        for cell in grid:
            if cell.method == "sft":
                self.sft_cells.setdefault((cell.student, cell.seed, shared(cell)), cell)
        self.training = Training(resolved, self.graph)
        self.predicts: dict[str, None] = {}
        self.fidelities: dict[str, None] = {}
        self.distributions: dict[str, None] = {}
        self.answers: dict[str, _Answers] = {}
        self.tasks = [task.fields for task in resolved.tasks]

    def cell(self, cell: Cell) -> None:
        """All steps of one cell: training, answers, fidelity to teacher and to SFT student."""
        answers = self._student_answers(cell)
        if cell.teacher is None:
            for teacher, student in self.resolved.pairs:
                if student == cell.student:
                    reference = self._teacher_answers(teacher, self.study.teacher_adapted, cell)
                    self._fidelity(answers, reference)
            return
        reference = self._teacher_answers(cell.teacher, cell.settings["teacher_adapted"], cell)
        self._fidelity(answers, reference, self._sft_answers(cell))

    def _student_answers(self, cell: Cell) -> _Answers:
        system = cell_system(cell)
        if cell.teacher is None:
            key = self.training.student_sft(cell.student, cell.seed, system, cell.settings)
        else:
            key = self.training.distill(cell)
        model = self.resolved.students[cell.student].fields
        return self._predict(system, model, [key], cell.settings)

    def base_rows(self) -> None:
        """The untuned models as rows of their own."""
        for student in self.resolved.students:
            answers = self._base_answers(student)
            for teacher, other in self.resolved.pairs:
                if student == other:
                    reference = self._teacher_answers(teacher, self.study.teacher_adapted)
                    self._fidelity(answers, reference)
        for teacher in self.resolved.teachers:
            self._base_answers(teacher)

    def finish(self) -> None:
        """Statistics over everything, and the report."""
        study, predicts, fidelities = self.study, [*self.predicts], [*self.fidelities]
        teacher_data = self.training.teacher_data()
        fields = {
            "tasks": self.tasks,
            "limit": study.evaluate.limit,
            "data": self.training.widest,
            "teacher_data": teacher_data,
            "prompt": study.prompt,
            "design": {
                "seeds": list(study.seeds),
                "teacher_seed": study.teacher_seed,
                "teacher_adapted": study.teacher_adapted,
                "methods": list(study.methods),
                "teachers": list(self.resolved.teachers),
                "students": list(self.resolved.students),
                "pairs": [list(pair) for pair in self.resolved.pairs],
                "init": study.init,
                "conventions": study.conventions,
            },
            "statistics": study.statistics.model_dump(mode="json"),
            **self._sizes(),
        }
        inputs = {
            "predict": predicts,
            "fidelity": fidelities,
            "distributions": [*self.distributions],
        }
        stats = self.graph.add("stats", study.name, fields, inputs)
        document = self.resolved.document()
        del document["trackers"]  # who looks on changes no result
        inputs = {"stats": [stats], **inputs, "train": [*self.training.trained]}
        self.graph.add("report", study.name, {"study": document}, inputs)

    def _sizes(self) -> dict[str, Any]:
        """Numbers of weights that no student's name states, for the correlation with size."""
        sizes = {
            ref.name: ref.parameters
            for ref in self.resolved.students.values()
            if ref.fields["source"] == "embedded" and not ref.fields.get("layers")
        }
        return {"sizes": sizes} if sizes else {}

    def _predict(
        self,
        system: dict[str, Any],
        model: Mapping[str, Any],
        adapter: list[str],
        how: Mapping[str, Any],
    ) -> _Answers:
        name = system["model"]
        if name not in self.answers:
            found = _Answers(system, (), model, tuple(adapter), how["evaluation_prompt"])
            keys = [self._predict_task(found, task, how) for task in self.tasks]
            self.answers[name] = replace(found, keys=tuple(keys))
        return self.answers[name]

    def _predict_task(self, answers: _Answers, task: dict, how: Mapping[str, Any]) -> str:
        evaluate, system = self.study.evaluate, answers.system
        fields = {
            "system": system,
            "model": answers.model,
            "task": task,
            "limit": evaluate.limit,
            "decoding": how["decoding"].model_dump(mode="json"),
            "samples": 0,
            "choices": evaluate.choices,
            "prompt": how["evaluation_prompt"],
            "batch": evaluate.batch_size,
            "seed": system["seed"] or 0,
            **evaluate.decoder(),
        }
        if self._is_sampled(system):
            fields["samples"] = evaluate.samples
            if evaluate.sample_limit is not None:
                fields["sample_limit"] = evaluate.sample_limit
        label = f"{system['model']}-{task['name']}"
        key = self.graph.add("predict", label, fields, {"adapter": answers.adapter})
        self.predicts[key] = None
        return key

    def _is_sampled(self, system: Mapping[str, Any]) -> bool:
        """Whether a system gives further samples: teachers and untuned models always do."""
        seeds = self.study.seeds[: self.study.evaluate.sample_seeds]
        return system["student"] is None or system["seed"] is None or system["seed"] in seeds

    def _teacher_answers(self, teacher: str, adapted: bool, cell: Cell | None = None) -> _Answers:
        """The teacher's answers, made as the cell's student made its own."""
        if not adapted:
            return self._base_answers(teacher, cell)
        seed, settings = self.study.teacher_seed, _evaluation(cell) | _quantised(cell)
        system = system_name(teacher=teacher, method="sft", seed=seed, settings=settings)
        model = rounded(self.resolved.teachers[teacher].fields, settings)
        key = self.training.teacher_sft(teacher)
        return self._predict(system, model, [key], cell.settings if cell else self.own)

    def _sft_answers(self, cell: Cell) -> _Answers | None:
        """The SFT student of the same seed (and training size and decoding), where the study has it."""
        if "sft" not in self.study.methods:
            return None
        found = self.sft_cells.get((cell.student, cell.seed, shared(cell)))
        if found is not None:
            return self._student_answers(found)
        system = sft_system(cell.student, cell.seed)
        model = self.resolved.students[cell.student].fields
        own = self.training.own_sft(cell.student, cell.seed)
        return self._predict(system, model, [own], self.own)

    def _base_answers(self, name: str, cell: Cell | None = None) -> _Answers:
        students = self.resolved.students
        refs = students if name in students else self.resolved.teachers
        student, teacher = (name, None) if name in students else (None, name)
        settings = _evaluation(cell) | _quantised(cell)
        system = system_name(student=student, teacher=teacher, method="base", settings=settings)
        model = rounded(refs[name].fields, settings)
        return self._predict(system, model, [], cell.settings if cell else self.own)

    def _fidelity(self, answers: _Answers, teacher: _Answers, sft: _Answers | None = None) -> None:
        fields = {
            "system": answers.system,
            "teacher": teacher.system,
            "sft_student": sft.system if sft else None,
            "tasks": self.tasks,
        }
        inputs = {
            "system": answers.keys,
            "teacher": teacher.keys,
            "sft_student": sft.keys if sft else (),
        }
        label = f"{answers.system['model']}-to-{teacher.system['model']}"
        self.fidelities[self.graph.add("fidelity", label, fields, inputs)] = None
        if self.study.evaluate.distributions:
            self._distributions(answers, teacher, label)

    def _distributions(self, answers: _Answers, teacher: _Answers, label: str) -> None:
        """Token by token, on the first items of every task."""
        evaluate = self.study.evaluate
        fields = {
            "system": answers.system,
            "teacher_system": teacher.system,
            "model": answers.model,
            "teacher": teacher.model,
            "adapted": bool(teacher.adapter),
            "tasks": self.tasks,
            "items": min(evaluate.distributions, evaluate.limit or evaluate.distributions),
            "prompt": answers.prompt,
        }
        inputs = {
            "system": answers.keys,
            "teacher_answers": teacher.keys,
            "adapter": answers.adapter,
            "teacher": teacher.adapter,
        }
        self.distributions[self.graph.add("distributions", label, fields, inputs)] = None


def _evaluation(cell: Cell | None) -> dict[str, Any]:
    """What sets a cell's answers apart from the study's own, whoever gives them."""
    return (
        {}
        if cell is None
        else {name: cell.apart[name] for name in EVALUATION if name in cell.apart}
    )


def _quantised(cell: Cell | None) -> dict[str, Any]:
    """How a cell's teacher is rounded, where that is not as its entry says."""
    found = cell.settings["teacher_quantize"] if cell else None
    return {"teacher_quantize": found} if found else {}
