"""Run by torchrun: a few optimizer steps, whose weights the first process writes to a file."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from kdscope.distillation import training
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.cache_writing import write_cache
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.shared import SharedTeacher
from kdscope.distillation.signals import CachedTeacher
from kdscope.distillation.sources import ExactStates
from kdscope.distillation.training import Machine, Teaching, Trained, fit
from kdscope.divergences import Objective, fused_objective
from kdscope.models.adapters import add_adapter, save_trained
from tests.distillation.sharding import assert_sharded, shard_on_cpus
from tests.distillation.test_training import LORA, TRAIN, examples, teacher
from tests.tiny import random_model, tokenizer

# 7 examples in steps of 5: odd shares, and a last step of 2; then one of 1, where a process has none.
CASES = {
    "lora": {"objective": "forward_kl", "lora": LORA, "count": 7, "batch_size": 5, "epochs": 2},
    "full": {"objective": "nll", "lora": None, "count": 6, "batch_size": 5, "epochs": 1},
    "small": {"objective": "jsd", "lora": LORA, "count": 7, "batch_size": 5, "micro": 1, "epochs": 1},
    "sequence": {"objective": "reverse_kl", "lora": LORA, "count": 5, "batch_size": 5,
                 "reduction": "sequence", "epochs": 1},
    "tied": {"objective": "forward_kl", "lora": None, "count": 6, "batch_size": 5, "micro": 2,
             "epochs": 1, "tied": True, "cached": True},
    "best": {"objective": "jsd", "lora": None, "count": 6, "batch_size": 5, "epochs": 2,
             "held_out": 3, "select": "best_nll", "gradient_checkpointing": True},
    "killed": {"objective": "nll", "lora": None, "count": 6, "batch_size": 3, "epochs": 2, "killed": 3},
    "killed-lora": {"objective": "jsd", "lora": LORA, "count": 6, "batch_size": 3, "epochs": 2,
                    "killed": 3, "tied": True},
    "shared": {"objective": "forward_kl", "hard_weight": 0.5, "lora": LORA, "count": 6, "batch_size": 3,
               "micro": 1, "epochs": 1, "tied": True},
    "rollouts": {"objective": "reverse_kl", "lora": LORA, "count": 4, "batch_size": 4, "epochs": 1},
}  # fmt: skip
LOGGED = ("loss", "grad_norm", "validation_nll", "forward_kl", "student_entropy", "dropped_mass")


class Killed(Exception):
    pass


def student(tied: bool) -> torch.nn.Module:
    """The tiny model, with the head of its own or the embeddings as its head."""
    model = random_model()
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
        assert model.lm_head.weight is model.model.embed_tokens.weight
    return model


def trained_on(case: str, folder: Path, parallel: str = "replicas") -> Trained:
    """A case's training; one that is killed is begun again, by several processes alone."""
    options = dict(CASES[case])
    lora, objective = options.pop("lora"), options.pop("objective")
    objective = Objective(objective, hard_weight=options.pop("hard_weight", 0.0))
    count, micro = options.pop("count"), options.pop("micro", None)
    tied, cached = options.pop("tied", False), options.pop("cached", False)
    held_out, killed = options.pop("held_out", 0), options.pop("killed", 0)
    live = teacher() if objective.needs_teacher else None
    if cached:
        home = folder / f"cache{os.environ.get('RANK', '')}"
        home.mkdir(parents=True)
        write_cache(home, examples(count), ExactStates(live, 0), about={})
        live = CachedTeacher(TeacherCache(home), "cpu")
    rollouts = Rollouts(1.0, 1.0, 6, seed=2) if case == "rollouts" else None

    def attempt(dies_at: int) -> Trained:
        model = add_adapter(student(tied), lora, 0)
        signal = SharedTeacher(model, None) if case == "shared" else live

        def on_step(done, total, loss):
            if parallel == "sharded":
                assert_sharded(model)
            if done == dies_at:
                raise Killed

        return fit(
            model,
            tokenizer(),
            examples(count),
            objective,
            TRAIN | {"learning_rate": 1e-3} | options,
            0,
            Machine("cpu", micro, folder / "checkpoints", on_step, parallel=parallel),
            teaching=Teaching(signal, rollouts, signal if rollouts else None),
            validation=examples(held_out) if held_out else (),
        )

    if killed and "RANK" in os.environ:
        try:
            attempt(killed)
        except Killed:
            assert list((folder / "checkpoints").glob("checkpoint-*"))
    return attempt(0)


def head_gradient(rank: int, world: int) -> torch.Tensor:
    """Of a head that the objective meets as FSDP left it, sharded and not gathered."""
    torch.manual_seed(0)
    hidden, head, labels = torch.randn(7, 8), torch.randn(20, 8), torch.arange(7)
    if world > 1:
        head = distribute_tensor(head, init_device_mesh("cpu", (world,)), [Shard(0)])
    head.requires_grad_()
    own = slice(rank, None, world)
    weights = torch.full((7,), world / 7)
    fused_objective(hidden[own], head, labels[own], weights[own], Objective("nll")).loss.backward()
    return getattr(head.grad, "full_tensor", lambda: head.grad)()


def weights_of(trained: Trained) -> dict[str, torch.Tensor]:
    """The trained weights, what was logged of the steps, and the supervised tokens."""
    weights = {
        name: getattr(weight, "full_tensor", lambda w=weight: w)().detach().clone()
        for name, weight in trained.model.named_parameters()
        if weight.requires_grad
    }
    for measure in LOGGED:
        values = [row["value"] for row in trained.curves if row["measure"] == measure]
        weights[f"logged {measure}"] = torch.tensor(values)
    weights["tokens"] = torch.tensor(trained.supervised_tokens)
    return weights


if __name__ == "__main__":
    out, way = Path(sys.argv[1]), sys.argv[2]
    if way == "sharded on CPUs":
        shard_on_cpus()
    for name in sys.argv[3:]:
        training.CHECKPOINT_SECONDS = -1.0 if "killed" in CASES[name] else 120.0
        trained = trained_on(name, out / name, way.split()[0])
        save_trained(trained.model, out / name / "model")
        found = weights_of(trained)
        if torch.distributed.get_rank() == 0:
            torch.save(found, out / f"{name}.pt")
    gradient = head_gradient(torch.distributed.get_rank(), 2)
    if torch.distributed.get_rank() == 0:
        torch.save(gradient, out / "head.pt")
    torch.distributed.destroy_process_group()
