"""The catalogue: which test sets, training sets and suites there are, and what is wrong with them.

Pure data. Counts were taken from the pinned files; a count of None has not been seen. ``chance`` is
the expected accuracy of blind guessing, ``majority`` that of the most frequent answer. Sources,
licences and
faults: ``docs/data.md``.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kdscope.data.forms import canonical
from kdscope.data.pins import (
    SELF_INSTRUCT,
    TOOLKIT,
    Pin,
    adapters_part,
    adapters_test,
    adapters_train,
    git_pin,
    hub_pin,
)
from kdscope.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A test set.

    Attributes:
        id: lower-case id, as in study files and tables.
        title: as the paper and the report print it.
        form: number | letter | word | boolean | text | verifiable.
        reader: how the file is read: ``adapters``, ``mawps``, ``asdiv``, ``instruct``,
            ``self_instruct``, ``ifeval`` or ``synthetic``.
        pins: the file, and for ``mawps-clean`` the files whose questions are taken out.
        count: number of items; None where it has not been counted.
        licence: as its publisher states it.
        citation: authors, year and identifier.
        chance: expected accuracy of blind guessing in [0, 1]; None for free text.
        majority: accuracy of always giving the most frequent answer; None where it means nothing.
        options: the admissible answers where all items share them; None where each item lists its
            own.
        max_new_tokens: a length that holds the reference answers.
        faults: what a reader of the score must know; empty if nothing is known.
        statement: how a text chooses an option, for scoring by likelihood.
    """

    id: str
    title: str
    form: str
    reader: str
    pins: tuple[Pin, ...]
    count: int | None
    licence: str
    citation: str
    chance: float | None = None
    majority: float | None = None
    options: tuple[str, ...] | None = None
    max_new_tokens: int = 256
    faults: str = ""
    statement: str = "the correct answer is {}"

    @property
    def identity(self) -> str:
        """What pins the items, for content keys: id, reader and the pins of its files."""
        return "|".join((self.id, self.reader, *(pin.identity for pin in self.pins)))


@dataclass(frozen=True)
class TrainSet:
    """A training set.

    Attributes:
        id: as in study files.
        title: as the report prints it.
        reader: ``records`` (LLM-Adapters form and its kin), ``gsm8k``, ``self_instruct`` or
            ``synthetic``.
        pins: its one file; none for the embedded set.
        count: number of records; None where it has not been counted.
        licence: as its publisher states it.
        citation: authors, year and identifier.
        faults: what a user must know.
    """

    id: str
    title: str
    reader: str
    pins: tuple[Pin, ...]
    count: int | None
    licence: str
    citation: str
    faults: str = ""

    @property
    def identity(self) -> str:
        """What pins the examples, for content keys: id, reader and the pin of its file."""
        return "|".join((self.id, self.reader, *(pin.identity for pin in self.pins)))


_LEAK = (
    "in Math10K through MAWPS: its two training splits hold {:.1%} of the questions (normalised)"
)
_UNSTATED = "none stated at the source; never redistribute"
_VALIDATION = "the public validation split, called test"
_ODC = "ODC-By 1.0 (collection)"
_ADAPTERS = "Hu et al. 2023, arXiv:2304.01933"
_MINILLM = "Gu et al. 2024, arXiv:2306.08543"
_GSM8K = "Cobbe et al. 2021, arXiv:2110.14168"

TASKS: dict[str, Task] = {
    task.id: task
    for task in (
        Task(
            "gsm8k", "GSM8K", "number", "adapters",
            (adapters_test("gsm8k", "57a7a08e10e12e975e1f972d2b8125c0d4c722b1", 824475),),
            1319, "MIT", _GSM8K, chance=0.0,
        ),
        Task(
            "svamp", "SVAMP", "number", "adapters",
            (adapters_test("SVAMP", "98b8f1872db596f8aaff2c95d1d698a9fa13b94f", 459713),),
            1000, "MIT", "Patel et al. 2021, arXiv:2103.07191", chance=0.0,
            faults="varied from MAWPS and ASDiv seeds; no copies of them",
        ),
        Task(
            "multiarith", "MultiArith", "number", "adapters",
            (adapters_test("MultiArith", "08e996c6cd8c633cc977f5c50709a8bbfc8fadff", 275458),),
            600, _UNSTATED, "Roy and Roth 2015, arXiv:1608.01413", chance=0.0,
            faults=_LEAK.format(585 / 600) + "; 20 duplicates within",
        ),
        Task(
            "addsub", "AddSub", "number", "adapters",
            (adapters_test("AddSub", "f3996cdf4159b4e1e4b6768865a4db72105f4e2f", 170411),),
            395, _UNSTATED, "Hosseini et al. 2014, EMNLP D14-1058", chance=0.0,
            faults=_LEAK.format(379 / 395) + "; 126 questions shared with SingleEq",
        ),
        Task(
            "singleeq", "SingleEq", "number", "adapters",
            (adapters_test("SingleEq", "cce7a868400323e30e2094a15d482c1aa743dbb0", 212001),),
            508, _UNSTATED, "Koncel-Kedziorski et al. 2015, TACL Q15-1042", chance=0.0,
            faults=_LEAK.format(478 / 508) + "; 126 questions shared with AddSub",
        ),
        Task(
            "aqua", "AQuA", "letter", "adapters",
            (adapters_test("AQuA", "731fbb456f7a93bb4121125de09c4adcf42e5dab", 152063),),
            254, "Apache-2.0", "Ling et al. 2017, arXiv:1705.04146", chance=0.2, majority=63 / 254,
            options=("A", "B", "C", "D", "E"),
            faults="the reference takes the first capital A to E of the text for the answer",
            statement="The answer is ({}).",
        ),
        Task(
            "hellaswag", "HellaSwag", "word", "adapters",
            (adapters_test("hellaswag", "183c4920415f83ba4b793c4873a33e7e10bd1be5"),),
            10042, "MIT", "Zellers et al. 2019, arXiv:1905.07830", chance=0.25,
            max_new_tokens=32, faults=_VALIDATION,
        ),
        Task(
            "winogrande", "WinoGrande", "word", "adapters",
            (adapters_test("winogrande", "21257263593dd4d00546e1918c88ca0f357b08ad", 497409),),
            1267, "CC BY", "Sakaguchi et al. 2020, arXiv:1907.10641", chance=0.5,
            majority=639 / 1267, max_new_tokens=32,
            faults=f"{_VALIDATION}; items come in twin pairs",
        ),
        Task(
            "arc-e", "ARC-e", "word", "adapters",
            (adapters_test("ARC-Easy", "6c0d30aaedaeca148df6bcd7aaacf7c31e6ad70f", 1157216),),
            2376, "CC BY-SA 4.0", "Clark et al. 2018, arXiv:1803.05457", chance=0.25,
            majority=633 / 2376, max_new_tokens=32,
        ),
        Task(
            "arc-c", "ARC-c", "word", "adapters",
            (adapters_test("ARC-Challenge", "9540685439144200b5a7e48dab9ca4655be2af09", 622510),),
            1172, "CC BY-SA 4.0", "Clark et al. 2018, arXiv:1803.05457", chance=0.25,
            majority=311 / 1172, max_new_tokens=32,
        ),
        Task(
            "obqa", "OBQA", "word", "adapters",
            (adapters_test("openbookqa", "a6e69676104bcb77237388c3b5a3f0dcbb81d1e2", 202545),),
            500, "Apache-2.0", "Mihaylov et al. 2018, arXiv:1809.02789", chance=0.25,
            majority=138 / 500, max_new_tokens=32, faults="asked without the fact of its book",
        ),
        Task(
            "boolq", "BoolQ", "boolean", "adapters",
            (adapters_test("boolq", "6d7edb0a8e8a6566b546ccf0d98d24e48db3fdf3", 899151),),
            3270, "CC BY-SA 3.0", "Clark et al. 2019, arXiv:1905.10044", chance=0.5,
            majority=2033 / 3270, options=("true", "false"), max_new_tokens=32,
            faults=f"{_VALIDATION}; asked without its passage: not lm-eval's boolq",
        ),
        Task(
            "piqa", "PIQA", "word", "adapters",
            (adapters_test("piqa", "f7a1c260692ef31796d4763cb6334f316a754fed", 913157),),
            1838, "AFL 3.0", "Bisk et al. 2020, arXiv:1911.11641", chance=0.5, majority=928 / 1838,
            max_new_tokens=32, faults=_VALIDATION,
        ),
        Task(
            "siqa", "SIQA", "word", "adapters",
            (adapters_test("social_i_qa", "eadf221799ca394367b144c0f86ee0436db409d2", 843748),),
            1954, "CC BY", "Sap et al. 2019, arXiv:1904.09728", chance=1 / 3, majority=657 / 1954,
            max_new_tokens=32, faults=f"{_VALIDATION}; 24 duplicates within",
        ),
        Task(
            "mawps-clean", "MAWPS-clean", "number", "mawps",
            (
                git_pin("mawps/mawps_test.json", TOOLKIT, "dataset/mawps/testset.json"),
                git_pin("mawps/mawps_train.json", TOOLKIT, "dataset/mawps/trainset.json",
                        "53f00cbf0c37799985b51170551a046bcee6cc1f", 846814),
                git_pin("mawps/mawps_single_train.json", TOOLKIT,
                        "dataset/mawps-single/trainset.json",
                        "63163e4112eda503c9c9dc15b40b71551b5c9aae", 518742),
            ),
            57, "MIT (repository)", "Koncel-Kedziorski et al. 2016, NAACL N16-1136", chance=0.0,
            faults="MWPToolkit's 238 test questions less those in either MAWPS training split",
        ),
        Task(
            "asdiv", "ASDiv", "number", "asdiv",
            (git_pin("asdiv/ASDiv.xml",
                     "chaochun/nlu-asdiv-dataset/55790e5270bb91ccfa5053194b25732534696b50",
                     "dataset/ASDiv.xml"),),
            None, "CC BY-NC 4.0", "Miao et al. 2020, arXiv:2106.15772", chance=0.0,
            faults="of 2,305 problems those whose answer is one number",
        ),
        Task(
            "dollyeval", "DollyEval", "text", "instruct",
            (hub_pin("MiniLLM/dolly", "valid.jsonl"),),
            500, "CC BY-SA 3.0", _MINILLM, max_new_tokens=256,
        ),
        Task(
            "selfinst", "SelfInst", "text", "self_instruct",
            (git_pin("instruct/self_instruct_user_oriented.jsonl", SELF_INSTRUCT,
                     "human_eval/user_oriented_instructions.jsonl",
                     "ed6d5d986e3f4c65ff64d70328a2e1dab146f914", 170193),),
            252, "Apache-2.0", "Wang et al. 2023, arXiv:2212.10560", max_new_tokens=256,
        ),
        Task(
            "vicunaeval", "VicunaEval", "text", "instruct",
            (hub_pin("MiniLLM/Vicuna", "valid.jsonl"),),
            80, "Apache-2.0", _MINILLM, max_new_tokens=256,
            faults="references are a model's answers",
        ),
        Task(
            "sni", "S-NI", "text", "instruct", (hub_pin("MiniLLM/sinst", "11_/valid.jsonl"),),
            None, "Apache-2.0", "Wang et al. 2022, arXiv:2204.07705", max_new_tokens=256,
            faults="only items whose reference has eleven or more tokens",
        ),
        Task(
            "unni", "UnNI", "text", "instruct", (hub_pin("MiniLLM/uinst", "11_/valid.jsonl"),),
            10000, "MIT", "Honovich et al. 2023, arXiv:2212.09689", max_new_tokens=256,
            faults="references by a model; the first 10,000 of eleven or more tokens",
        ),
        Task(
            "ifeval", "IFEval", "verifiable", "ifeval",
            (git_pin("ifeval/input_data.jsonl",
                     "google-research/google-research/19638399cc9e03623c5b9087a1d6fa8813974ce9",
                     "instruction_following_eval/data/input_data.jsonl"),),
            541, "Apache-2.0", "Zhou et al. 2023, arXiv:2311.07911", max_new_tokens=1024,
        ),
        Task(
            "tiny-math", "tiny-math", "number", "synthetic", (), 250, "Apache-2.0",
            "embedded, made by kdscope", chance=0.0, max_new_tokens=48,
        ),
        Task(
            "tiny-long", "tiny-long", "number", "synthetic", (), 250, "Apache-2.0",
            "embedded, made by kdscope", chance=0.0, max_new_tokens=96,
        ),
        Task(
            "tiny-choice", "tiny-choice", "word", "synthetic", (), 250, "Apache-2.0",
            "embedded, made by kdscope", chance=0.25, max_new_tokens=48,
            statement="The answer is {}.",
        ),
    )
}  # fmt: skip

TRAIN_SETS: dict[str, TrainSet] = {
    data.id: data
    for data in (
        TrainSet(
            "math10k", "Math10K", "records",
            (adapters_train("math_10k", "27dba77d6ed80aa118d78fbafa5cecd651f6d463"),),
            None, f"{_ODC}; rationales are a commercial model's output", _ADAPTERS,
            "holds most of MultiArith, AddSub and SingleEq; its authors withdrew these tests",
        ),
        TrainSet(
            "math7k", "Math7K", "records",
            (adapters_train("math_7k", "fd93bf268b53bb644b38e71270cdf633951ba3e0"),),
            None, f"{_ODC}; rationales are a commercial model's output", _ADAPTERS,
            "Math10K without MAWPS: its authors' own mending of the leak",
        ),
        TrainSet(
            "math14k", "Math14K", "records",
            (adapters_train("math_14k", "7dc3a2312d83bd5cd6388ecd5d530f2ff6ed1ad6"),),
            None, f"{_ODC}; rationales are commercial models' output", _ADAPTERS,
            "Math7K and a second set of rationales of the same questions",
        ),
        TrainSet(
            "commonsense15k", "Commonsense15K", "records",
            (adapters_train("commonsense_15k", "3716afef6d384c475dba13f88a5a96c8032dafe2"),),
            None, _ODC, _ADAPTERS, "36 % WinoGrande, whose sizes are nested: expect duplicates",
        ),
        TrainSet(
            "commonsense170k", "Commonsense170K", "records",
            (adapters_train("commonsense_170k", "529e426b33d4cdb1d0c4a275a1a7245ad081fd91"),),
            170420, _ODC, _ADAPTERS, "all six nested sizes of WinoGrande: expect duplicates",
        ),
        TrainSet(
            "gsm8k-train", "GSM8K (train)", "gsm8k",
            (git_pin("gsm8k/train.jsonl",
                     "openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c",
                     "grade_school_math/data/train.jsonl",
                     "7d97154b91aef28d01c3301741c81ce90039a4b1", 4166206),),
            7473, "MIT", _GSM8K,
        ),
        TrainSet(
            "dolly", "Dolly", "records",
            (hub_pin("databricks/databricks-dolly-15k", "databricks-dolly-15k.jsonl"),),
            15011, "CC BY-SA 3.0", "Conover et al. 2023, databricks-dolly-15k",
            "MiniLLM's DollyEval is a part of it: decontaminate before testing on that",
        ),
        TrainSet(
            "self-instruct-seed", "Self-Instruct seeds", "self_instruct",
            (git_pin("instruct/self_instruct_seed_tasks.jsonl", SELF_INSTRUCT,
                     "data/seed_tasks.jsonl",
                     "c97d40d76abd45cd7456f2d0d58459bb4df3cad5", 110934),),
            175, "Apache-2.0", "Wang et al. 2023, arXiv:2212.10560",
        ),
        TrainSet(
            "arc-e-train", "ARC-e (train)", "records",
            (adapters_part("ARC-Easy", "488a8e5e5bbbd7a630ebbfe07a1fd91b7d9d8c9b", 1092324),),
            2251, "CC BY-SA 4.0", "Clark et al. 2018, arXiv:1803.05457",
        ),
        TrainSet(
            "arc-c-train", "ARC-c (train)", "records",
            (adapters_part("ARC-Challenge", "d7e080b04bff9fd16dd85455fb04481807a088d8", 585556),),
            1119, "CC BY-SA 4.0", "Clark et al. 2018, arXiv:1803.05457",
        ),
        TrainSet(
            "obqa-train", "OBQA (train)", "records",
            (adapters_part("openbookqa", "75bcd5eb9f5e77a3796c05e6bb38f169d19563fc", 1987446),),
            4957, "Apache-2.0", "Mihaylov et al. 2018, arXiv:1809.02789",
        ),
        TrainSet(
            "boolq-train", "BoolQ (train)", "records",
            (adapters_part("boolq", "87a7beee26b49f81c450641ef2ff84f55611321f", 2599507),),
            9427, "CC BY-SA 3.0", "Clark et al. 2019, arXiv:1905.10044",
        ),
        TrainSet(
            "arc-obqa-boolq", "ARC, OBQA and BoolQ (train)", "records",
            (
                adapters_part("ARC-Easy", "488a8e5e5bbbd7a630ebbfe07a1fd91b7d9d8c9b", 1092324),
                adapters_part("ARC-Challenge", "d7e080b04bff9fd16dd85455fb04481807a088d8", 585556),
                adapters_part("openbookqa", "75bcd5eb9f5e77a3796c05e6bb38f169d19563fc", 1987446),
                adapters_part("boolq", "87a7beee26b49f81c450641ef2ff84f55611321f", 2599507),
            ),
            17754, "CC BY-SA 3.0, 4.0 and Apache-2.0",
            "Clark et al. 2018 and 2019, Mihaylov et al. 2018",
            "the four sets in turn, one example of each, until each is used up",
        ),
        TrainSet(
            "tiny-train", "tiny-train", "synthetic", (), 1000, "Apache-2.0",
            "embedded, made by kdscope",
        ),
    )
}  # fmt: skip

SUITES: dict[str, tuple[str, ...]] = {
    "paper-math": ("gsm8k", "svamp", "multiarith", "addsub", "aqua", "singleeq"),
    "clean-math": ("gsm8k", "svamp", "aqua"),
    "ood-math": ("mawps-clean", "asdiv"),
    "paper-commonsense": (
        "hellaswag", "winogrande", "arc-e", "arc-c", "obqa", "boolq", "piqa", "siqa",
    ),
    "instruct": ("dollyeval", "selfinst", "vicunaeval", "sni", "unni", "ifeval"),
    "tiny": ("tiny-math", "tiny-long", "tiny-choice"),
}  # fmt: skip

# Other spellings under which the sets are known, compared in lower case.
_ALIASES = {
    "arc-easy": "arc-e", "arc_easy": "arc-e", "arc-challenge": "arc-c", "arc_challenge": "arc-c",
    "openbookqa": "obqa", "social_i_qa": "siqa", "social_iqa": "siqa", "aqua_rat": "aqua",
    "s-ni": "sni", "math_10k": "math10k", "math_7k": "math7k", "math_14k": "math14k",
    "commonsense_15k": "commonsense15k", "commonsense_170k": "commonsense170k",
}  # fmt: skip


def find_task(name: str) -> Task:
    """A task by its id in any case, or another known spelling. Raises DataError with the ids."""
    return _find(name, TASKS, "task")


def task_of(field: Mapping[str, Any]) -> Task:
    """The task that a step's ``task`` field describes: the catalogue's, or the user's own."""
    own = field.get("own")
    if own is None:
        return find_task(field["name"])
    options = tuple(canonical(name, own["form"]) or name for name in own["options"] or ()) or None
    if own["form"] == "boolean":
        options = ("true", "false")
    return Task(
        field["name"],
        field["name"],
        own["form"],
        "own",
        (),
        None,
        "the user's own",
        "",
        chance=1 / len(options) if options else 0.0 if own["form"] == "number" else None,
        options=options,
        max_new_tokens=own["max_new_tokens"],
        statement=own["statement"],
    )


def find_train_set(name: str) -> TrainSet:
    """A training set by its id, in any case. Raises DataError with the ids."""
    return _find(name, TRAIN_SETS, "training set")


def expand(names: str | Iterable[str]) -> list[str]:
    """Task ids from ids and suite names, in order and without repetition."""
    names = [names] if isinstance(names, str) else list(names)
    ids = [task for name in names for task in SUITES.get(name.lower(), (name,))]
    return list(dict.fromkeys(_find(name, TASKS, "task", (*TASKS, *SUITES)).id for name in ids))


def _find(name: str, registry: dict[str, T], kind: str, choices: Iterable[str] = ()) -> T:
    key = name.lower()
    key = _ALIASES.get(key, key)
    if key in registry:
        return registry[key]
    choices = list(choices) or list(registry)
    near = difflib.get_close_matches(key, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"there is no {kind} {name!r}{hint} Choose one of: {', '.join(choices)}")
