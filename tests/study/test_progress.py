"""What a running step reports reaches whoever looks on, through a file of the run's folder."""

import io
import json

import pytest

from kdscope.study.display import Silent
from kdscope.study.graph import Graph
from kdscope.study.progress import FILE, SPAN, Pace, Progress, loss_curve, read_progress
from kdscope.study.status import follow, status_lines
from kdscope.study.store import METRICS, Run


class Told(Silent):
    """Remembers what was passed on."""

    def __init__(self):
        super().__init__()
        self.words: list[str] = []

    def started(self, step, attempt):
        self.words.append(f"started {step.path} {attempt}")

    def progress(self, step, content):
        self.words.append(f"progress {content}")

    def ended(self, step, state, message):
        self.words.append(f"{state} {message}")

    def tick(self, remaining):
        self.words.append(f"left {remaining}")


@pytest.fixture
def step():
    graph = Graph()
    return graph.steps[graph.add("predict", "one", {"name": "one"}, {})]


def test_a_rate_is_taken_between_reports_not_from_the_start():
    pace = Pace()
    pace.note(100.0, 700, 1000)  # resumed: what was there before was not done now
    assert pace.rate is None
    assert pace.left(100.0) is None
    pace.note(104.0, 720, 1000)
    assert pace.rate == 5
    assert pace.left(104.0) == 56
    assert pace.left(110.0) == 50
    assert pace.left(900.0) == 0


def test_a_rate_forgets_what_is_a_minute_old():
    pace = Pace()
    for second in range(200):
        pace.note(float(second), min(second, 100) + 3.0 * max(0, second - 100), 1000)
    assert pace.rate == 3
    assert len(pace._reports) <= SPAN + 2


def test_a_step_that_begins_anew_has_no_rate_yet():
    pace = Pace()
    pace.note(0.0, 5, 10)
    pace.note(1.0, 9, 10)
    pace.note(2.0, 1, 10)
    assert pace.rate is None


def test_reports_are_written_passed_on_and_forgotten(tmp_path, step):
    told, clock = Told(), iter(range(100))
    progress = Progress(tmp_path, told, lambda: float(next(clock)))
    (tmp_path / FILE).write_text("from a run that was killed")
    progress.begin(1, 0)
    assert not (tmp_path / FILE).exists()
    progress.started(step, 1)
    progress.progress(step, {})
    progress.progress(step, {"done": 2.0, "total": 8.0, "memory": 5, "loss": float("nan")})
    progress.progress(step, {"done": 4.0, "total": 8.0, "memory": 6})
    progress.tick(33.3333)
    found = read_progress(Run(tmp_path))
    assert found["seconds_left"] == 33.3
    assert found["steps"] == {
        step.path: {
            "done": 4.0, "total": 8.0, "memory": 6, "unit": "answers", "rate": 2.0,
            "seconds_left": 1.0,
        }
    }  # fmt: skip
    progress.ended(step, "done", "")
    progress.tick(None)
    assert read_progress(Run(tmp_path)) == {"seconds_left": None, "steps": {}}
    progress.close()
    assert not list(tmp_path.iterdir())
    assert told.words[0].startswith("started")
    assert told.words[-3:] == ["left 33.3333", "done ", "left None"]


def test_a_run_takes_as_long_as_its_slowest_step_says(tmp_path, step):
    clock = iter([0.0, *[10.0] * 9])
    progress = Progress(tmp_path, Silent(), lambda: next(clock))
    progress.started(step, 1)
    for done in (0.0, 1.0):
        progress.progress(step, {"done": done, "total": 11.0})
    progress.tick(30.0)
    assert read_progress(Run(tmp_path))["seconds_left"] == 100
    progress.tick(300.0)
    assert read_progress(Run(tmp_path))["seconds_left"] == 300
    progress.tick(None)
    assert read_progress(Run(tmp_path))["seconds_left"] is None


def test_a_number_that_json_lacks_is_left_out(tmp_path, step):
    progress = Progress(tmp_path, Silent())
    progress.started(step, 1)
    progress.progress(step, {"done": 1.0, "total": 2.0, "loss": float("nan")})
    progress.tick(None)
    text = (tmp_path / FILE).read_text()
    assert "NaN" not in text
    assert "loss" not in json.loads(text)["steps"][step.path]


def test_a_file_in_the_writing_is_no_progress(tmp_path):
    (tmp_path / FILE).write_text('{"steps": {')
    assert read_progress(Run(tmp_path)) == {"seconds_left": None, "steps": {}}


def test_a_loss_curve_ends_at_the_last_step_and_hears_the_later_word(tmp_path):
    run = Run(tmp_path)
    assert loss_curve(run, "sft/x") == []
    place = run.steps / "sft/x.work"
    place.mkdir(parents=True)
    lines = [{"step": n, "loss": 9.0} for n in range(1, 101)]
    lines += [{"step": n, "loss": 1.0 / n} for n in range(50, 201)]
    lines += [{"step": 200, "train_runtime": 3.0}, {"step": 150, "loss": float("nan")}]
    (place / METRICS).write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 201')
    curve = loss_curve(run, "sft/x")
    assert curve[-1] == (200, 1 / 200)
    assert 30 <= len(curve) <= 60
    assert all(loss == (9.0 if n < 50 else 1.0 / n) for n, loss in curve)


STATE = {
    "name": "s", "folder": "runs/s", "active": True, "steps": 3, "done": 1, "left": 2, "damaged": 0,
    "predicted_seconds_left": 90.0, "seconds_left": 61.0, "failed": {},
    "kinds": {"sft": {"steps": 3, "left": 2}},
    "running": [
        {
            "step": "sft/a", "since": "2026-01-01T00:00:00+00:00", "seconds": 12.0,
            "predicted_seconds": 40.0, "done": 30.0, "total": 1200.0, "unit": "optimizer steps",
            "rate": 2.5, "seconds_left": 468.0, "curve": [[1, 4.0], [2, 2.0], [30, 0.5]],
        },
        {
            "step": "predict/b", "since": "2026-01-01T00:00:00+00:00", "seconds": 3.0,
            "predicted_seconds": None, "curve": [],
        },
    ],
}  # fmt: skip


def test_a_terminal_says_what_the_page_says():
    text = "\n".join(status_lines(STATE))
    assert (
        "  running sft/a\n    12 s of about 40 s; 30 of 1,200 optimizer steps, 2.5 a second; "
        in text
    )
    assert "about 7 min 48 s left\n    loss 4 █▄▁ 0.5\n" in text
    assert "  running predict/b\n    3 s\n" in text
    assert text.endswith("2 steps left, about 1 min 1 s")


def test_following_ends_with_the_run():
    states = iter([STATE, STATE, {**STATE, "active": False, "running": []}])
    stream = io.StringIO()
    follow(lambda: next(states), stream, every=0.0)
    assert stream.getvalue().count("running sft/a") == 2
    assert next(states, None) is None
