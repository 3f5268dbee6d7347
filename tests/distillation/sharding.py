"""FSDP2 on CPUs, for tests alone: accelerate shards on accelerators only, torch wherever gloo runs."""

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor, Shard

_as_installed = AcceleratorState.__init__


def _sharding(self, *args, fsdp_plugin=None, **kwargs) -> None:
    _as_installed(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        assert fsdp_plugin.fsdp_version == 2
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def shard_on_cpus() -> None:
    """From now on accelerate treats several CPU processes as it treats accelerators."""
    AcceleratorState.__init__ = _sharding


def assert_sharded(model: torch.nn.Module) -> None:
    """Every weight is cut along its rows, and this process holds its part of them alone."""
    for name, weight in model.named_parameters():
        assert isinstance(weight, DTensor), f"{name} is not sharded"
        assert weight.placements == (Shard(0),), f"{name}: {weight.placements}"
        rows, own = weight.shape[0], weight.to_local().shape[0]
        assert own == rows // 2, f"{name}: {own} of {rows} rows"  # all have an even number
        assert weight.to_local().untyped_storage().nbytes() < weight.numel() * weight.itemsize, name
