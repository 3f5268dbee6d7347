"""The methods: each a source of sequences and an objective on them.

Pure data, without torch, so that a study can be planned where nothing can be trained.
"""

from dataclasses import dataclass

# What the k most probable tokens and one outcome for the rest can carry (`topk` and `server` signals).
GROUPED = ("forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_rkl", "tvd")


@dataclass(frozen=True)
class Method:
    """A named recipe.

    Attributes:
        name: as written under ``methods`` in a study.
        objective: default divergence per token (DESIGN: ``nll``, ``forward_kl``, ...).
        sequences: whose response the loss is taken on: ``reference`` text or ``teacher`` text
            (generated once). On-policy steps replace it by the student's own rollouts.
        on_policy: probability per optimizer step that the student's rollouts are used.
        needs_teacher_states: the objective compares with the teacher's distribution.
        settings: names that may be written under the method in a study.
        summary: one line for tables and the report.
        source: publication of the method.
    """

    name: str
    objective: str
    sequences: str
    on_policy: float
    needs_teacher_states: bool
    settings: frozenset[str]
    summary: str
    source: str


_HARD = frozenset({"epochs", "learning_rate", "init", "train_limit"})
_SOFT = _HARD | {
    "temperature",
    "scale_by_t2",
    "hard_weight",
    "sequences",
    "objective",
    "teacher_noise",
}

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "sft", "nll", "reference", 0.0, False, _HARD,
            "negative log-likelihood of the reference text",
            "supervised fine-tuning",
        ),
        Method(
            "seqkd", "nll", "teacher", 0.0, False, _HARD,
            "negative log-likelihood of text that the teacher generated (true sequence-level KD)",
            "Kim and Rush 2016, arXiv:1606.07947",
        ),
        Method(
            "fkl", "forward_kl", "reference", 0.0, True, _SOFT,
            "forward KL to the teacher on the reference text (what the paper calls SeqKD)",
            "Hinton et al. 2015, arXiv:1503.02531",
        ),
        Method(
            "revkd", "reverse_kl", "reference", 0.0, True, _SOFT,
            "reverse KL to the teacher on the reference text",
            "Gu et al. 2024, arXiv:2306.08543 (its objective, token by token)",
        ),
        Method(
            "gkd", "jsd", "reference", 0.5, True, _SOFT | {"on_policy", "beta", "sampling_temperature"},
            "generalised JSD, half of the optimizer steps on the student's own rollouts",
            "Agarwal et al. 2024, arXiv:2306.13649",
        ),
    )
}  # fmt: skip
