"""What a teacher signal cannot carry is a mistake of the study; a server is no part of a key."""

import pytest
import yaml

from kdscope.errors import ConfigError
from kdscope.study.context import SERVER, StepContext
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study
from kdscope.study.steps import distill, teacher_cache
from tests.distillation.served import serving
from tests.study.test_config import GOOD

SERVED = {
    "teacher_signal": "server",
    "server": {"url": "http://127.0.0.1:1/v1", "model": "big"},
    "teacher_adapted": False,
    "top_k": 5,
}


def written(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
    return str(path)


def message(folder, **changes) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(written(folder, **changes))
    return str(caught.value)


@pytest.mark.parametrize("more", [{"teacher_signal": "topk"}, SERVED], ids=["topk", "server"])
def test_what_needs_all_logits_is_a_mistake_with_its_place(tmp_path, more):
    text = message(
        tmp_path,
        methods={
            "sft": {},
            "fkl": {"temperature": [1, 2], "objective": ["forward_kl", "mse"]},
            "revkd": {"teacher_noise": 1},
        },
        ablations={"temperature": [4], "teacher_noise": [0, 2]},
        teacher_noise=0.5,
        **more,
    )
    signal = f"teacher_signal: {more['teacher_signal']} has top_k tokens"
    assert text.count(signal) == 6
    for part in (
        "methods.fkl.temperature (line 11): temperature 2 needs all of the teacher's logits",
        "methods.fkl.objective (line 14): objective mse needs all",
        "methods.revkd.teacher_noise (line 18): teacher_noise 1 needs all",
        "ablations.temperature (line 23): temperature 4 needs all",
        "ablations.teacher_noise (line 25): teacher_noise 2 needs all",
        ": noise of 0.5 needs all",
    ):
        assert part in text, text


def test_other_signals_and_methods_without_a_signal_are_free(tmp_path):
    methods = {"fkl": {"temperature": [1, 2], "objective": ["mse"]}}
    load_study(written(tmp_path, methods=methods))
    allowed = {
        "fkl": {"objective": ["forward_kl", "tvd", "jsd_normalised"]},
        "sft": {},
        "seqkd": {},
    }
    load_study(written(tmp_path, methods=allowed, teacher_signal="topk"))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"server": None}, "server (line 15): is missing: teacher_signal: server needs"),
        (
            {"teacher_adapted": True},
            "teacher_adapted (line 18): a served teacher is taken as it is",
        ),
        (
            {"ablations": {"teacher_adapted": [True]}},
            "ablations.teacher_adapted (line 21): a served",
        ),
        ({"teacher_signal": "cached"}, "server (line 15): is only asked under"),
        ({"teachers": ["tiny-teacher", "tiny-student-small"]}, "one server serves one teacher"),
        (
            {"server": {"url": "http://me:pw@host/v1", "model": "x"}},
            "server.url (line 16): must be http",
        ),
        ({"server": {"url": "host:8000", "model": "x"}}, "server.url (line 16): must be http"),
        ({"server": {"url": "http://host"}}, "server.model (line 15): is missing"),
    ],
)
def test_a_server_is_described_in_full_or_not_at_all(tmp_path, change, part):
    text = message(tmp_path, **SERVED | change)
    assert part in text
    assert "pw" not in text


def test_where_the_server_is_changes_no_key_but_what_it_serves_does(tmp_path):
    plans = []
    for url, model in (("http://a/v1", "big"), ("http://b/v1", "big"), ("http://b/v1", "other")):
        server = {"url": url, "model": model}
        resolved = load_study(written(tmp_path, **SERVED | {"server": server}))
        plans.append(build_plan(resolved))
        assert plans[-1].locations[SERVER] == url
    one, moved, other = (
        {key for key, step in plan.steps.items() if step.kind in {"teacher_cache", "distill"}}
        for plan in plans
    )
    assert one == moved
    assert not one & other
    plain = build_plan(load_study(written(tmp_path))).steps.values()
    assert not any("server" in step.fields for step in plain)


def test_the_steps_learn_from_the_server(tmp_path):
    with serving() as teacher:
        server = {"url": teacher.url, "model": "big"}
        study = SERVED | {
            "server": server,
            "train": {"data": "tiny-train", "limit": 6, "epochs": 1},
        }
        plan = build_plan(load_study(written(tmp_path, **study)))
        cache, student = (
            next(s for s in plan.steps.values() if s.kind == kind)
            for kind in ("teacher_cache", "distill")
        )
        folders = [tmp_path / name for name in ("resume", "cache", "student")]
        for folder in folders:
            folder.mkdir()
        context = StepContext(folders[0], tmp_path, locations=plan.locations)
        found = teacher_cache.run(dict(cache.fields), {}, folders[1], context)
        assert found["cached_examples"] == len(teacher.requests) == 6
        assert {body["logprobs"] for _, body, _ in teacher.requests} == {5}
        trained = distill.run(dict(student.fields), {"cache": [folders[1]]}, folders[2], context)
        assert trained["optimizer_steps"] == 1
        assert len(teacher.requests) == 6
