"""A second opinion on mathematical answers: Math-Verify, in processes of its own.

Math-Verify parses LaTeX and expressions and compares them with SymPy. Its time limits need the main
thread of a process, and its parser can hang, so every comparison runs in a pool of worker
processes.

Source: https://github.com/huggingface/Math-Verify (extra ``symbolic``).
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context

from kdscope.errors import missing_extra


def symbolically_equal(
    golds: Sequence[str], texts: Sequence[str], *, workers: int = 1, seconds: int = 5
) -> list[bool]:
    """Whether each text's answer equals its gold as an expression; False where it cannot be told.

    Args:
        golds: gold answers; Math-Verify is not symmetric, so they come first.
        texts: generated texts or bare answers, one per gold.
        workers: processes; each takes about two seconds to start.
        seconds: time limit of one parse and of one comparison.

    Raises:
        MissingExtraError: Math-Verify is not installed.
    """
    if find_spec("math_verify") is None:
        raise missing_extra("symbolic", "math-verify", "symbolic comparison of answers")
    jobs = [(gold, text, seconds) for gold, text in zip(golds, texts, strict=True)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_equal, jobs, chunksize=max(1, len(jobs) // (4 * workers))))


def _equal(job: tuple[str, str, int]) -> bool:
    from math_verify import parse, verify  # slow

    gold, text, seconds = job
    try:
        known = parse(gold, parsing_timeout=seconds)
        given = parse(text, parsing_timeout=seconds)
        return bool(verify(known, given, timeout_seconds=seconds))
    except Exception:  # a parser of free text fails in ways that cannot be listed
        return False
