import re
import subprocess
import sys

import pytest

from kdscope.data.forms import FORMS
from kdscope.data.tasks import SUITES, TASKS, TRAIN_SETS, expand, find_task, find_train_set
from kdscope.errors import DataError

PAPER = (
    "gsm8k svamp multiarith addsub singleeq aqua "
    "hellaswag winogrande arc-e arc-c obqa boolq piqa siqa"
)


def test_the_catalogue_holds_what_the_paper_uses_and_more():
    assert set(PAPER.split()) <= set(TASKS)
    assert {
        "mawps-clean",
        "asdiv",
        "dollyeval",
        "selfinst",
        "vicunaeval",
        "sni",
        "unni",
        "ifeval",
    } <= set(TASKS)
    assert {
        "math10k", "math7k", "math14k", "commonsense15k", "commonsense170k", "gsm8k-train", "dolly",
    } <= set(TRAIN_SETS)  # fmt: skip
    assert {"paper-math", "clean-math", "paper-commonsense", "instruct"} <= set(SUITES)
    assert set(SUITES["paper-math"]) | set(SUITES["paper-commonsense"]) == set(PAPER.split())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_is_complete(task):
    assert task.id == task.id.lower()
    assert task.form in FORMS
    assert task.licence
    assert task.citation
    assert task.chance is None or 0 <= task.chance < 1
    assert task.chance is not None or task.form in {"text", "verifiable"}
    assert task.majority is None or 0 < task.majority < 1
    assert task.max_new_tokens > 0
    assert task.pins or task.reader == "synthetic"
    for pin in task.pins:
        assert pin.git_blob is None or re.fullmatch(r"[0-9a-f]{40}", pin.git_blob)
        assert (pin.url is None) == (pin.hub is not None)
        assert pin.url is None or re.search(r"/[0-9a-f]{40}/", pin.url), "pinned by commit"


def test_suites_name_tasks_and_identities_differ():
    assert all(task in TASKS for tasks in SUITES.values() for task in tasks)
    identities = [data.identity for data in (*TASKS.values(), *TRAIN_SETS.values())]
    assert len(set(identities)) == len(identities)


def test_names_in_any_case_and_spelling():
    assert find_task("GSM8K").id == "gsm8k"
    assert find_task("ARC-Challenge").id == "arc-c"
    assert find_task("social_i_qa").id == "siqa"
    assert find_train_set("Math_10K").id == "math10k"
    assert expand(["clean-math", "gsm8k", "OBQA"]) == ["gsm8k", "svamp", "aqua", "obqa"]


def test_an_unknown_name_gets_the_nearest_and_the_list():
    with pytest.raises(DataError, match=r"no task 'gsm8'.*did you mean 'gsm8k'.*boolq"):
        find_task("gsm8")
    with pytest.raises(DataError, match=r"'math10'.*did you mean 'math10k'"):
        find_train_set("math10")
    with pytest.raises(DataError, match="did you mean 'paper-math'"):
        expand("paper-maths")


def test_the_room_loads_no_heavy_library():
    code = (
        "import sys, kdscope.data.tasks, kdscope.data.sources, kdscope.data.audit\n"
        "import kdscope.data.prompts, kdscope.evaluation.grading, kdscope.evaluation.importers\n"
        "heavy = ('torch', 'transformers', 'datasets', 'pandas', 'nltk')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
