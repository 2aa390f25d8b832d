"""A model while it predicts: in evaluation mode, without gradients; and a checksum of what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import xxhash
from torch import Tensor


@contextmanager
def evaluating(model: Any, device: Any) -> Iterator[torch.device]:
    """Put every module in evaluation mode, without gradients, and back into its own afterwards; yields the model's device."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [module.training for module in modules]
    if modules:
        model.eval()
        if device is not None:
            model.to(device)
    parameter = next(iter(model.parameters()), None) if modules else None
    place = torch.device(device) if device is not None else torch.device("cpu") if parameter is None else parameter.device
    try:
        with torch.no_grad():
            yield place
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def fingerprint(model: Any) -> str:
    """Return a checksum of the model's kind, as its name and text tell it, and of its weights."""
    kind = model if hasattr(model, "__qualname__") else type(model)  # without its module: a script's is __main__ today
    text = re.sub(" at 0x[0-9a-f]+", "", repr(model)) if isinstance(model, torch.nn.Module) else ""
    digest = xxhash.xxh3_128(f"{kind.__qualname__} {text}".encode())
    state = model.state_dict() if isinstance(model, torch.nn.Module) else {}
    for name, value in state.items():
        digest.update(name.encode())
        if isinstance(value, Tensor) and not torch.nn.parameter.is_lazy(value):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
            dense = dense.cpu().resolve_conj().resolve_neg().contiguous()
            digest.update(dense.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
