"""Bad input: file, row and column named, all mistakes together."""

import pytest

from kdscope.errors import TableError
from kdscope.paper.grid import billions, build_grid
from kdscope.paper.reading import read_scores

HEAD = "teacher,student,method,seed,task,score"
GOOD = [
    ",s-1B,sft,0,gsm8k,40",
    ",t-7B,sft,0,gsm8k,70",
    "t-7B,s-1B,revkd,0,gsm8k,45",
]


def table(tmp_path, *lines, head=HEAD):
    path = tmp_path / "scores.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def refused(path):
    with pytest.raises(TableError) as caught:
        read_scores(path)
    text = str(caught.value)
    assert "scores.csv" in text
    return text


def test_a_good_table_is_read(tmp_path):
    found = read_scores(table(tmp_path, *GOOD))
    assert len(found.frame) == 3
    assert set(found.frame["task"]) == {"GSM8K"}


@pytest.mark.parametrize("dropped", ["teacher", "student", "method", "seed", "task", "score"])
def test_a_missing_column_is_named(tmp_path, dropped):
    names = HEAD.split(",")
    keep = [i for i, name in enumerate(names) if name != dropped]
    lines = [",".join(line.split(",")[i] for i in keep) for line in GOOD]
    text = refused(table(tmp_path, *lines, head=",".join(names[i] for i in keep)))
    assert f"'{dropped}'" in text


@pytest.mark.parametrize(("sign", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_named(tmp_path, sign, word):
    lines = [line.replace(",", sign) for line in GOOD]
    text = refused(table(tmp_path, *lines, head=HEAD.replace(",", sign)))
    assert f"separated by {word}" in text


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("104.2", "104.2 is out of [0, 100]"),
        ("-1", "-1 is out of [0, 100]"),
        ("nan", "is nan"),
        ("inf", "is inf"),
        ("", "is empty"),
        ("good", "'good' is not a number"),
        ("4_5", "'4_5' is not a number"),
    ],
)
def test_a_bad_score_names_row_and_column(tmp_path, cell, words):
    text = refused(table(tmp_path, *GOOD[:2], f"t-7B,s-1B,revkd,0,gsm8k,{cell}"))
    assert "row 3 (line 4), column 'score'" in text
    assert words in text


def test_a_duplicated_cell_names_both_rows(tmp_path):
    text = refused(table(tmp_path, *GOOD, "t-7B,s-1B,revkd,0,GSM8K,46"))
    assert "row 4 (line 5)" in text
    assert "already stands in row 3" in text


def test_a_method_without_its_baseline(tmp_path):
    text = refused(table(tmp_path, *GOOD, "t-7B,other-3B,revkd,0,gsm8k,46"))
    assert "row 4 (line 5), column 'student'" in text
    assert "no SFT baseline" in text


@pytest.mark.parametrize("content", ["", HEAD + "\n", "\n\n"])
def test_an_empty_table(tmp_path, content):
    path = tmp_path / "scores.csv"
    path.write_text(content, encoding="utf-8")
    assert "no row" in refused(path) or "empty" in refused(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(TableError, match="cannot be read"):
        read_scores(tmp_path / "none.csv")


def test_a_method_without_a_teacher_and_a_ragged_row(tmp_path):
    assert "must name its teacher" in refused(table(tmp_path, *GOOD, ",s-1B,gkd,0,gsm8k,46"))
    assert "7 cells, the header 6" in refused(table(tmp_path, *GOOD, "t,s,m,0,gsm8k,4,6"))


def test_all_mistakes_come_together(tmp_path):
    text = refused(table(tmp_path, ",s,sft,0,gsm8k,101", ",s,sft,x,gsm8k,abc"))
    assert text.count("row ") == 3


def test_one_bad_cell_is_one_mistake(tmp_path):
    path = table(tmp_path, ",s,sft,0,gsm8k,40,ten", head=HEAD + ",n")
    assert refused(path).count("row ") == 1


def test_wide_files_name_the_task_column(tmp_path):
    path = table(
        tmp_path, "-,s,SFT,40,50", "t,s,RevKD,abc,60", head="Teacher,Student,Method,gsm8k,SVAMP"
    )
    assert "row 2 (line 3), column 'gsm8k': 'abc' is not a number" in refused(path)


def test_fractions_are_taken_as_such_and_said(tmp_path):
    found = read_scores(table(tmp_path, ",s,sft,0,gsm8k,0.4", "t,s,kd,0,gsm8k,0.5"))
    assert found.frame["score"].max() == 50
    assert "fractions" in found.notes[0]


def test_a_baseline_of_the_pair_wins_over_one_of_the_student(tmp_path):
    lines = [",s-1B,sft,0,gsm8k,40", "t-7B,s-1B,sft,0,gsm8k,42", "t-7B,s-1B,kd,0,gsm8k,50"]
    grid = build_grid(read_scores(table(tmp_path, *lines)).frame)
    assert list(grid.cells["gain"]) == [8.0]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5),
        ("Llama-3.2-1B", 1),
        ("SmolLM2-135M", 0.135),
        ("llama7b", 7),
    ],
)
def test_sizes_are_read_from_names(name, size):
    assert billions(name) == size


def test_a_name_without_a_size():
    assert billions("tiny-student") != billions("tiny-student")
