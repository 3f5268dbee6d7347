"""What is tried again, and how: only want of memory makes the micro-batch smaller."""

from kdscope.study.engine import Report, memory_kills
from kdscope.study.retry import PATIENCE, judge

FIELDS = {"train": {"batch_size": 16}}


def lost(**content):
    return Report("k", "lost", {"message": "its worker was killed (signal 9)", **content})


def test_a_killed_worker_is_tried_again_with_the_same_micro_batch():
    history = []
    for _ in range(PATIENCE["killed"] - 1):
        verdict = judge(lost(code=-9), history, FIELDS, None)
        assert (verdict.cause, verdict.again, verdict.micro_batch) == ("killed", True, None)
        history.append(verdict.cause)
    assert not judge(lost(code=-9), history, FIELDS, None).again


def test_a_worker_that_the_kernel_ended_for_memory_gets_half_the_micro_batch():
    verdict = judge(lost(code=-9, memory=True), [], FIELDS, None)
    assert (verdict.cause, verdict.again, verdict.micro_batch) == ("memory", True, 8)
    assert judge(lost(code=-9, memory=True), ["memory"], FIELDS, 8).micro_batch == 4
    assert not judge(lost(code=-9, memory=True), ["memory"], FIELDS, 1).again


def test_kills_for_memory_are_counted():
    assert memory_kills() >= 0
