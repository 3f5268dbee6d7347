"""Run by torchrun: a few optimizer steps, whose weights the first process writes to a file."""

import sys
from pathlib import Path

import torch
import torch.distributed

from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.training import Machine, Teaching, fit
from kdscope.divergences import Objective
from kdscope.models.adapters import add_adapter
from tests.distillation.test_training import LORA, TRAIN, examples, teacher
from tests.tiny import random_model, tokenizer

# 7 examples in steps of 5: odd shares, and a last step of 2; then one of 1, where a process has none.
CASES = {
    "lora": {"objective": "forward_kl", "lora": LORA, "count": 7, "batch_size": 5, "epochs": 2},
    "full": {"objective": "nll", "lora": None, "count": 6, "batch_size": 5, "epochs": 1},
    "small": {"objective": "jsd", "lora": LORA, "count": 7, "batch_size": 5, "micro": 1, "epochs": 1},
    "sequence": {"objective": "reverse_kl", "lora": LORA, "count": 5, "batch_size": 5,
                 "reduction": "sequence", "epochs": 1},
    "rollouts": {"objective": "reverse_kl", "lora": LORA, "count": 4, "batch_size": 4, "epochs": 1},
}  # fmt: skip


def weights_of(case: str, folder: Path, parallel: str = "replicas") -> dict[str, torch.Tensor]:
    """The trained weights of a case, the loss of its steps, and its supervised tokens."""
    options = dict(CASES[case])
    objective, lora = options.pop("objective"), options.pop("lora")
    count, micro = options.pop("count"), options.pop("micro", None)
    live = teacher() if objective != "nll" else None
    rollouts = Rollouts(1.0, 1.0, 6, seed=2) if case == "rollouts" else None
    trained = fit(
        add_adapter(random_model(), lora, 0),
        tokenizer(),
        examples(count),
        Objective(objective),
        TRAIN | {"learning_rate": 1e-3} | options,
        0,
        Machine("cpu", micro, folder / "checkpoints", parallel=parallel),
        teaching=Teaching(live, rollouts, live if rollouts else None),
    )
    weights = {
        name: getattr(weight, "full_tensor", lambda w=weight: w)().detach().clone()
        for name, weight in trained.model.named_parameters()
        if weight.requires_grad
    }
    losses = [row["value"] for row in trained.curves if row["measure"] == "loss"]
    weights["losses"] = torch.tensor(losses)
    weights["tokens"] = torch.tensor(trained.supervised_tokens)
    return weights


if __name__ == "__main__":
    out, parallel = Path(sys.argv[1]), sys.argv[2]
    for name in sys.argv[3:]:
        found = weights_of(name, out / name, parallel)
        if torch.distributed.get_rank() == 0:
            torch.save(found, out / f"{name}.pt")
    torch.distributed.destroy_process_group()
