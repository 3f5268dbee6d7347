"""The catalogue's entries: real files by count, every entry by a small file of its exact form."""

import json
import shutil
import sys
import types

import pytest

from kdscope.data.records import Example
from kdscope.data.sources import identity, load_examples, load_items, missing_pins
from kdscope.data.tasks import SUITES, TASKS, TRAIN_SETS, find_task
from kdscope.errors import DataError

ADAPTERS = [
    task
    for suite in ("paper-math", "paper-commonsense")
    for task in SUITES[suite]
    if task != "hellaswag"
]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KDSCOPE_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize("task", [*ADAPTERS, "selfinst"])
def test_real_tests_have_the_count_of_the_catalogue(data_folder, task):
    items = load_items(task)
    assert len(items) == TASKS[task].count
    assert len({item.item for item in items}) == len(items)
    assert {item.task for item in items} == {task}
    assert all(item.options is None or item.gold in item.options for item in items)
    assert load_items(task.upper(), limit=3) == items[:3]


@pytest.mark.parametrize(
    "name",
    [
        "gsm8k-train",
        "self-instruct-seed",
        "arc-e-train",
        "arc-c-train",
        "obqa-train",
        "boolq-train",
    ],
)
def test_real_training_sets_have_the_count_of_the_catalogue(data_folder, name):
    examples = load_examples(name)
    assert len(examples) == TRAIN_SETS[name].count
    assert all(example.output == example.output.strip() != "" for example in examples)
    assert examples[17].id == f"{name}/17"


def test_majority_answers_are_those_of_the_files(data_folder):
    for task in ADAPTERS:
        if (share := TASKS[task].majority) is not None:
            golds = [item.gold for item in load_items(task)]
            assert max(map(golds.count, set(golds))) / len(golds) == pytest.approx(share)


def test_gsm8k_solutions_lose_their_annotations(data_folder):
    first = load_examples("gsm8k-train", limit=1)[0]
    assert first.output == (
        "Natalia sold 48/2 = 24 clips in May.\n"
        "Natalia sold 48+24 = 72 clips altogether in April and May.\nThe answer is 72."
    )
    assert not any("<<" in example.output for example in load_examples("gsm8k-train"))


def test_identity_of_genuine_files_is_that_of_their_pin(data_folder, empty_cache, monkeypatch):
    for task in ADAPTERS:
        pinned = identity(TASKS[task])
        assert pinned == TASKS[task].identity, "nothing is here: the pin"
        monkeypatch.setenv("KDSCOPE_DATA", str(data_folder))
        assert identity(TASKS[task]) == pinned, "the file: the same"
        monkeypatch.setenv("KDSCOPE_DATA", str(empty_cache / "data"))


def test_identity_follows_an_edited_copy(data_folder, empty_cache):
    pin = TASKS["addsub"].pins[0]
    place = empty_cache / "data" / pin.path
    place.parent.mkdir(parents=True)
    shutil.copy(data_folder / pin.path, place)
    genuine = identity(TASKS["addsub"])
    place.write_text(place.read_text().replace("pennies", "dimes"))
    assert identity(TASKS["addsub"]) != genuine


# --- every entry on a small file of its form ------------------------------------------------------

CHOICE = "Please choose the correct answer: Q?\n\nAnswer1: a Answer2: b\n\nAnswer format: "


def adapters(instruction, answer, output="The answer is it."):
    return [{"instruction": instruction, "input": "", "output": output, "answer": answer}]


MAWPS = [
    {
        "id": 1,
        "original_text": "Tom has 5.0 pens .",
        "segmented_text": "",
        "equation": "X=5",
        "ans": 5.0,
    }
]
INSTRUCT = [{"instruction": "Do it", "input": "C", "output": "done", "topic": "x"}]
SELF_INSTRUCT = [
    {"id": "user_1", "instruction": "Do", "instances": [{"input": "C", "output": "done"}]}
]
ASDIV = """<?xml version="1.0" encoding="UTF-8"?><Machine-Reading-Corpus-File><ProblemSet>
<Problem ID="nluds-0001" Grade="1" Source="x"><Body>Seven red apples.</Body>
<Question>How many?</Question><Solution-Type>Addition</Solution-Type><Answer>9 (apples)</Answer>
<Formula>7+2=9</Formula></Problem>
<Problem ID="nluds-0002" Grade="1" Source="x"><Body>Two boys.</Body><Question>Who?</Question>
<Solution-Type>Comparison</Solution-Type><Answer>Tom</Answer><Formula></Formula></Problem>
</ProblemSet></Machine-Reading-Corpus-File>"""
IFEVAL = [
    {
        "key": 1000,
        "prompt": "Write.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{"x": None}],
    }
]

# task: (records, question, gold, options)
FORMS = {
    **{
        task: (adapters(" Q 1? ", "576.0"), " Q 1? ", "576", None)
        for task in ("gsm8k", "svamp", "multiarith", "addsub", "singleeq")
    },
    "aqua": (
        adapters("Q Answer Choices: (A) 1 (B) 2 (C) 3 (D) 4 (E) 5", "A"),
        None,
        "A",
        tuple("ABCDE"),
    ),
    **{
        task: (
            adapters(CHOICE + "answer1/answer2/answer3", "answer2"),
            None,
            "answer2",
            ("answer1", "answer2", "answer3"),
        )
        for task in ("arc-e", "arc-c", "obqa", "siqa")
    },
    "hellaswag": (
        adapters(CHOICE + "ending1/ending2/ending3/ending4", "ending4"),
        None,
        "ending4",
        ("ending1", "ending2", "ending3", "ending4"),
    ),
    "winogrande": (
        adapters("S _ t.\n\nOption1: a Option2: b Answer format: option1/option2", "option2"),
        None,
        "option2",
        ("option1", "option2"),
    ),
    "piqa": (
        adapters(CHOICE + "solution1/solution2", "solution1"),
        None,
        "solution1",
        ("solution1", "solution2"),
    ),
    "boolq": (
        adapters("question: is it?\n\nAnswer format: true/false", "true"),
        None,
        "true",
        ("true", "false"),
    ),
    "mawps-clean": (MAWPS, "Tom has 5.0 pens .", "5", None),
    "asdiv": (ASDIV, "Seven red apples. How many?", "9", None),
    **dict.fromkeys(("dollyeval", "vicunaeval", "sni", "unni"), (INSTRUCT, "Do it", "done", None)),
    "selfinst": (SELF_INSTRUCT, "Do", "done", None),
    "ifeval": (IFEVAL, "Write.", '[["punctuation:no_comma", {}]]', None),
}


def place(pin, content, folder):
    path = folder / pin.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        lines = path.suffix == ".jsonl"
        content = "\n".join(map(json.dumps, content)) if lines else json.dumps(content, indent=4)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", [name for name in TASKS if not name.startswith("tiny")])
def test_every_task_reads_its_exact_form(empty_cache, name):
    records, question, gold, options = FORMS[name]
    task = TASKS[name]
    place(task.pins[0], records, empty_cache / "data")
    for number, pin in enumerate(
        task.pins[1:]
    ):  # the training questions that mawps-clean leaves out
        other = {"original_text": "Another one ."} if number == 0 else {"sQuestion": "And one ."}
        place(pin, [other], empty_cache / "data")
    (item,) = load_items(name)
    assert question is None or item.question == question
    assert (item.gold, item.options, item.form, item.task) == (gold, options, task.form, name)
    assert not missing_pins(task)


def test_mawps_clean_leaves_out_what_stands_in_training(empty_cache):
    test, train, single = TASKS["mawps-clean"].pins
    texts = ["Tom has 5.0 pens .", "Ann has 3 cups.", "Eve sold 2 hats ."]
    place(test, [{"original_text": text, "ans": 1} for text in texts], empty_cache / "data")
    place(train, [{"original_text": "tom has 5 pens."}], empty_cache / "data")
    place(single, [{"sQuestion": " Ann has 3 cups . "}], empty_cache / "data")
    assert [item.question for item in load_items("mawps-clean")] == ["Eve sold 2 hats ."]


TRAINING = {
    "records": [{"instruction": "Q", "input": "", "output": "\nA ", "answer": "5.0"}],
    "gsm8k": [{"question": "Q", "answer": "2+3 = <<2+3=5>>5\n#### 5"}],
    "self_instruct": SELF_INSTRUCT,
}


@pytest.mark.parametrize("name", [name for name in TRAIN_SETS if name != "tiny-train"])
def test_every_training_set_reads_its_exact_form(empty_cache, name):
    data = TRAIN_SETS[name]
    records = TRAINING[data.reader]
    if name == "dolly":
        records = [{"instruction": "Q", "context": "C", "response": "A", "category": "qa"}]
    for pin in data.pins:
        place(pin, records, empty_cache / "data")
    example, *others = load_examples(name)
    assert len(others) == len(data.pins) - 1
    expected = {"gsm8k": "2+3 = 5\nThe answer is 5.", "self_instruct": "done"}
    assert example.output == expected.get(data.reader, "A")
    assert example.input == ("C" if name in {"dolly", "self-instruct-seed"} else "")


def test_a_mixture_takes_one_example_of_each_file_in_turn(empty_cache):
    mixture = TRAIN_SETS["arc-obqa-boolq"]
    for number, pin in enumerate(mixture.pins):
        of_this = [
            {"instruction": f"Q{number}{i}", "input": "", "output": "A"}
            for i in range(1 + number % 2)
        ]
        place(pin, of_this, empty_cache / "data")
    asked = [example.instruction for example in load_examples(mixture.id)]
    assert asked == ["Q00", "Q10", "Q20", "Q30", "Q11", "Q31"]


@pytest.mark.parametrize("name", ["tiny-math", "tiny-long", "tiny-choice"])
def test_embedded_tasks_and_training_set(name):
    items = load_items(name, limit=5)
    assert len(items) == 5
    assert {item.form for item in items} == {TASKS[name].form}
    assert len(load_items(name)) == TASKS[name].count
    assert len(load_examples("tiny-train")) == TRAIN_SETS["tiny-train"].count


def test_several_references_are_kept(empty_cache):
    record = {"instruction": "Do", "input": "", "output": ["one", "two"]}
    place(TASKS["sni"].pins[0], [record], empty_cache / "data")
    (item,) = load_items("sni")
    assert item.gold == "one"
    assert json.loads(item.reference or "") == ["one", "two"]


# --- what is missing or wrong ---------------------------------------------------------------------


def test_absent_data_say_how_to_get_them(empty_cache):
    with pytest.raises(
        DataError, match=r"kdscope data fetch gsm8k.*KDSCOPE_DATA.*llm_adapters/test/gsm8k"
    ):
        load_items("gsm8k")
    with pytest.raises(DataError, match="kdscope data fetch math7k"):
        load_examples("math7k")
    assert missing_pins(TASKS["gsm8k"]) == list(TASKS["gsm8k"].pins)


def test_an_llm_adapters_checkout_is_a_data_folder_too(empty_cache):
    path = empty_cache / "data" / "dataset" / "AddSub" / "test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(adapters("Q", "4")))
    assert load_items("addsub")[0].gold == "4"


def test_a_tampered_file_of_the_cache_is_refused(empty_cache):
    place(TASKS["addsub"].pins[0], adapters("Q", "4"), empty_cache / "cache")
    with pytest.raises(DataError, match="checksum"):
        load_items("addsub")


@pytest.mark.parametrize(
    ("task", "record", "message"),
    [
        ("gsm8k", {"instruction": "", "answer": "5"}, "'instruction' is empty"),
        ("gsm8k", {"instruction": "  ", "answer": "5"}, "'instruction' is empty"),
        ("gsm8k", {"answer": "5"}, "without an instruction"),
        ("gsm8k", {"instruction": "Q"}, "without an answer"),
        ("gsm8k", {"instruction": "Q", "answer": ""}, "'answer' is empty"),
        ("gsm8k", {"instruction": "Q", "answer": "five"}, "'five' of GSM8K must be a number"),
        ("gsm8k", {"instruction": ["Q"], "answer": "5"}, "must be text, not list"),
        ("aqua", {"instruction": "Q", "answer": "F"}, "'F' of AQuA must be one of A, B, C, D, E"),
        (
            "piqa",
            {"instruction": CHOICE + "solution1/solution2", "answer": "solution3"},
            "solution1, solution2",
        ),
        ("boolq", {"instruction": "Q", "answer": "maybe"}, "must be one of true, false"),
        ("selfinst", {"instruction": "Q", "instances": []}, "'instances' must be a list"),
        ("sni", {"instruction": "Q", "output": []}, "empty list"),
        (
            "ifeval",
            {"prompt": "Q", "instruction_id_list": ["a"], "kwargs": []},
            "lists of one length",
        ),
    ],
)
def test_malformed_items_are_named_with_file_and_line(empty_cache, task, record, message):
    good = FORMS[task][0]
    path = place(TASKS[task].pins[0], [*good, record], empty_cache / "data")
    line = 2 if path.suffix == ".jsonl" else 8
    with pytest.raises(DataError, match=message) as error:
        load_items(task)
    assert str(error.value).startswith(f"{path}:{line}")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"instruction": "Q", "output": ""}, "'output' is empty"),
        ({"instruction": " ", "output": "A"}, "'instruction' is empty"),
        ({"text": "Q"}, "without an instruction.*found text.*column map"),
        ({"prompt": "Q"}, "without an answer"),
    ],
)
def test_malformed_examples_of_a_users_file(tmp_path, record, message):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "Q", "answer": "A"}\n' + json.dumps(record))
    with pytest.raises(DataError, match=message) as error:
        load_examples(str(path))
    assert f"{path}:2" in str(error.value)


def test_a_users_file_by_path(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,answer\nWhat is 2+3?,5\nWhat is 2+2?,4\n")
    examples = load_examples(path)
    assert [(e.id, e.instruction, e.output) for e in examples] == [
        ("mine/0", "What is 2+3?", "5"),
        ("mine/1", "What is 2+2?", "4"),
    ]
    assert load_examples(str(path), limit=1) == examples[:1]
    assert identity(str(path)).startswith("file:")


def test_a_column_map(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"ask": "Q", "say": "A", "answer": "no"}\n')
    source = {"path": str(path), "columns": {"instruction": "ask", "output": "say"}}
    (example,) = load_examples(source)
    assert (example.instruction, example.output) == ("Q", "A")
    with pytest.raises(
        DataError, match=r"names 'asks', which is not there; the columns are ask, say"
    ):
        load_examples({"path": str(path), "columns": {"instruction": "asks"}})
    with pytest.raises(DataError, match="instruction, input and output, not 'question'"):
        load_examples({"path": str(path), "columns": {"question": "ask"}})
    with pytest.raises(DataError, match="either `path` or `hub`"):
        load_examples({"columns": {}})


def test_a_hub_data_set_with_a_column_map(monkeypatch):
    def load_dataset(hub, config, *, split, revision):
        if hub == "owner/none":
            raise OSError("not found")
        assert (config, split, revision) == (None, "train", "0123abc")
        return [{"ask": "Q", "say": "A"}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    columns = {"instruction": "ask", "output": "say"}
    (example,) = load_examples({"hub": "owner/name", "revision": "0123abc", "columns": columns})
    assert example == Example("owner/name/0", "Q", "", "A")
    with pytest.raises(DataError, match=r"owner/name:1: the column map names 'x'"):
        load_examples({"hub": "owner/name", "revision": "0123abc", "columns": {"instruction": "x"}})
    with pytest.raises(DataError, match=r"owner/none \(split test\) could not be loaded"):
        load_examples({"hub": "owner/none", "split": "test"})


def test_math_data_is_refused(tmp_path):
    path = tmp_path / "math_data.json"
    path.write_text(json.dumps(adapters("Q", "4")))
    with pytest.raises(DataError, match="80 % of the very test sets"):
        load_examples(path)
    with pytest.raises(DataError, match="80 % of the very test sets"):
        load_examples({"path": str(path)})


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("[]")
    with pytest.raises(DataError, match="holds no records"):
        load_examples(path)


def test_gsm8k_answers_must_end_in_a_number(empty_cache):
    place(
        TRAIN_SETS["gsm8k-train"].pins[0],
        [{"question": "Q", "answer": "five"}],
        empty_cache / "data",
    )
    with pytest.raises(DataError, match="must end in '#### <number>'"):
        load_examples("gsm8k-train")


def test_tasks_may_be_given_as_records(data_folder):
    assert load_items(find_task("addsub"), limit=1)[0].item == "0"
