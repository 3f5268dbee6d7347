"""Steps that make models: teachers, their texts and hidden states, and students."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdscope.study.config import DEFAULT_ENGINE
from kdscope.study.datasets import DataRef
from kdscope.study.graph import Graph, system_name
from kdscope.study.grid import PAPER_FORMS, Cell
from kdscope.study.resolve import Resolved
from kdscope.study.signal_rules import FEW_TOKENS

PAPER_COIN = 4  # sequences that share an on-policy coin in the reference: its micro-batch


class Training:
    """Adds training steps to a graph, each shared one once."""

    def __init__(self, resolved: Resolved, graph: Graph):
        self.resolved, self.study, self.graph = resolved, resolved.study, graph
        self.trained: dict[str, None] = {}
        self.shared: dict[tuple[str, ...], str] = {}  # keys of steps that many cells ask for
        train = self.study.train.model_dump(mode="json")
        self.split = {name: train.pop(name) for name in ("limit", "validation", "split_seed")}
        del train["data"]
        self.rollouts: str = train.pop("rollouts", DEFAULT_ENGINE)
        self.train = train
        self.data = self._data(resolved.data, self.split)
        self.widest = self.data  # all that any student is trained on
        self.positions = {"positions": "every"} if self.study.losses == "paper" else {}

    def teacher_sft(self, teacher: str) -> str:
        """The fine-tuned teacher: one for all students, methods and seeds."""
        found = self.shared.get(("sft", teacher))
        if found is not None:
            return found
        own = self.study.teacher_train.model_dump(mode="json", exclude_unset=True)
        own.pop("data", None)
        own.pop("limit", None)
        system = system_name(teacher=teacher, method="sft", seed=self.study.teacher_seed)
        fields = self._sft_fields(
            self.resolved.teachers[teacher].whole,
            self.teacher_data(),
            {**self.train, **own},
            self.study.teacher_seed,
        )
        self.shared["sft", teacher] = self._trained("sft", system, fields, {})
        return self.shared["sft", teacher]

    def teacher_data(self) -> dict[str, Any]:
        """What teachers are fine-tuned on."""
        own = self.study.teacher_train.model_dump(mode="json", exclude_unset=True)
        limit = own.get("limit", self.split["limit"])
        return self._data(self.resolved.teacher_data, {**self.split, "limit": limit})

    def student_sft(
        self, student: str, seed: int, system: dict[str, Any], settings: Mapping[str, Any]
    ) -> str:
        """The student after fine-tuning with the settings of one cell of the method ``sft``."""
        model = self.resolved.students[student].fields
        fields = self._sft_fields(model, self.data_of(settings), self._train(settings), seed)
        return self._trained("sft", system, fields, {})

    def own_sft(self, student: str, seed: int, **other: Any) -> str:
        """The study's own SFT student, or with ``other`` settings: where ``init: sft`` starts."""
        written = self.study.methods.get("sft")
        settings = {name: axis[0] for name, axis in written.axes().items()} if written else {}
        return self.student_sft(student, seed, sft_system(student, seed), {**settings, **other})

    def data_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a student with these settings is trained on."""
        data = {**self.data, "limit": settings.get("train_limit", self.data["limit"])}
        if not self._holds(self.widest, data):
            self.widest = data
        return data

    def _teacher_reads(self, data: dict[str, Any]) -> dict[str, Any]:
        """What a teacher's texts and cache are made of: the study's own data, where that is enough."""
        return self.data if self._holds(self.data, data) else data

    @staticmethod
    def _holds(data: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether every example of the other is in the first: a limit takes the first so many."""
        most, wanted = data["limit"], other["limit"]
        return most is None or (wanted is not None and wanted <= most)

    def texts(self, teacher: str, settings: Mapping[str, Any], data: dict[str, Any]) -> str:
        """The teacher's own answers to the training prompts, generated once."""
        adapted = settings["teacher_adapted"]
        decoding = self.study.teacher_decoding.model_dump(mode="json")
        fields = {
            "teacher": rounded(self.resolved.teachers[teacher].fields, settings),
            "adapted": adapted,
            "data": data,
            "max_length": self.train["max_length"],
            "decoding": decoding,
            "prompt": self.study.prompt,
            "seed": self.study.teacher_seed,
            "batch": self.study.evaluate.batch_size,
            **self.study.evaluate.decoder(),
        }
        inputs = self._teacher_input(teacher, adapted)
        return self.graph.add("teacher_texts", f"{teacher}{_as_teacher(settings)}", fields, inputs)

    def cache(self, teacher: str, settings: Mapping[str, Any], data: dict[str, Any]) -> str:
        """The teacher's hidden states on one source of sequences, computed once."""
        adapted, sequences = settings["teacher_adapted"], settings["sequences"]
        form = _as_teacher(settings)
        mark = ("cache", teacher, form, sequences, str(data["limit"]))
        if mark in self.shared:
            return self.shared[mark]
        fields = {
            "teacher": rounded(self.resolved.teachers[teacher].fields, settings),
            "adapted": adapted,
            "data": data,
            "prompt": self.study.prompt,
            "max_length": self.train["max_length"],
            "sequences": sequences,
            "cache_dtype": self.study.cache_dtype,
            "top_k": self.study.top_k if self.study.teacher_signal in FEW_TOKENS else None,
            **self._server(),
        }
        fields |= self.positions
        inputs = self._teacher_input(teacher, adapted)
        if sequences == "teacher":
            inputs["texts"] = [self.texts(teacher, settings, data)]
        label = f"{teacher}{form}-on-{sequences}"
        self.shared[mark] = self.graph.add("teacher_cache", label, fields, inputs)
        return self.shared[mark]

    def distill(self, cell: Cell) -> str:
        """The student of one cell under a method with a teacher."""
        teacher, settings, adapted = (
            str(cell.teacher),
            cell.settings,
            cell.settings["teacher_adapted"],
        )
        soft, on_policy = settings["temperature"] is not None, settings["on_policy"] or 0.0
        signal = self.study.teacher_signal if soft else None
        fixed_part = on_policy < 1.0
        data = self.data_of(settings)
        read = self._teacher_reads(data)
        inputs: dict[str, list[str]] = {}
        if soft and (signal == "live" or on_policy > 0.0):
            inputs |= self._teacher_input(teacher, adapted)
        if signal in {"cached", *FEW_TOKENS} and fixed_part:
            inputs["cache"] = [self.cache(teacher, settings, read)]
        if settings["sequences"] == "teacher":
            inputs["texts"] = [self.texts(teacher, settings, read)]
        if settings["init"] == "sft":
            limit = {"train_limit": settings["train_limit"]}
            inputs["init"] = [self.own_sft(cell.student, cell.seed, **limit)]
        parameters = ("beta", "alpha", "mu", "temperature", "scale_by_t2", "hard_weight")
        fields = {
            "student": self.resolved.students[cell.student].fields,
            "teacher": rounded(self.resolved.teachers[teacher].fields, settings),
            "adapted": adapted,
            "method": cell.method,
            "objective": {"name": settings["objective"]} | {n: settings[n] for n in parameters},
            "sequences": settings["sequences"],
            "on_policy": self._on_policy(settings) if on_policy else None,
            "teacher_noise": settings["teacher_noise"],
            "signal": signal,
            **(self._server() if signal == "server" else {}),
            "data": data,
            "train": self._train(settings),
            "prompt": self.study.prompt,
            "seed": cell.seed,
            "init": settings["init"],
            "conventions": self.study.conventions,
        }
        fields |= self.positions
        return self._trained("distill", cell_system(cell), fields, inputs)

    def _server(self) -> dict[str, Any]:
        """A field that only steps have which learn from a server: what it serves, not where it is."""
        server = self.study.server
        if self.study.teacher_signal != "server" or server is None:
            return {}
        return {"server": {"model": server.model, "top_k": self.study.top_k}}

    def _sft_fields(
        self, model: Mapping[str, Any], data: dict, train: dict, seed: int
    ) -> dict[str, Any]:
        return {
            "model": model,
            "data": data,
            "train": train,
            "prompt": self.study.prompt,
            "seed": seed,
            "conventions": self.study.conventions,
            **self.positions,
        }

    def _on_policy(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        found = {
            "probability": settings["on_policy"],
            "sampling_temperature": settings["sampling_temperature"],
        }
        if self.rollouts != DEFAULT_ENGINE:
            found["engine"] = self.rollouts
        as_paper = {"sequences_per_coin": PAPER_COIN, "retokenised": True}
        return found | (as_paper if self.study.losses == "paper" else {})

    def _trained(
        self,
        kind: str,
        system: Mapping[str, Any],
        fields: dict[str, Any],
        inputs: Mapping[str, Sequence[str]],
    ) -> str:
        key = self.graph.add(kind, system["model"], fields, inputs, system)
        self.trained[key] = None
        return key

    def _train(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: settings[name] for name in ("epochs", "learning_rate") if name in settings}
        if self.study.losses == "paper" and settings.get("objective") in PAPER_FORMS.values():
            own["reduction"] = "token" if settings["objective"] == "paper_jsd" else "sequence"
        return {**self.train, **own}

    def _data(self, ref: DataRef, split: Mapping[str, Any]) -> dict[str, Any]:
        return {**ref.fields, **split}

    def _teacher_input(self, teacher: str, adapted: bool) -> dict[str, list[str]]:
        return {"teacher": [self.teacher_sft(teacher)]} if adapted else {}


def sft_system(student: str, seed: int) -> dict[str, Any]:
    """The columns of a student after fine-tuning with the study's own setting."""
    return system_name(student=student, method="sft", seed=seed)


def cell_system(cell: Cell) -> dict[str, Any]:
    """The columns of a cell's student."""
    return system_name(
        teacher=cell.teacher,
        student=cell.student,
        method=cell.method,
        seed=cell.seed,
        settings=cell.apart,
    )


def rounded(fields: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A teacher's identity under a cell's ``teacher_quantize``."""
    kind = settings.get("teacher_quantize")
    return {**fields, "quantize": kind} if kind else dict(fields)


def _as_teacher(settings: Mapping[str, Any]) -> str:
    """What sets the teacher of a cell apart, for names: nothing, ``-untuned``, ``-int8``."""
    kind = settings["teacher_quantize"]
    return ("" if settings["teacher_adapted"] else "-untuned") + (f"-{kind}" if kind else "")
