"""Checkpoints that a run is resumed from: atomic, safetensors only, and complete down to the random generator."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.schema import Noun
from atlas.schema.errors import TrainError
from atlas.train.network import Llama, hf_names

FOLDER = "checkpoints"
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
COPIED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json")
"""Files of the start model that a trained checkpoint keeps."""


class State(Noun):
    """Where a run stood."""

    step: int
    """Optimizer steps that were done."""
    config: dict[str, Any]
    """The run's configuration (a payload)."""
    sha256: dict[str, str]
    """Hash of each file beside this one."""


def save_state(run: Path, network: nn.Module, optimizer: torch.optim.Optimizer, state: State, *, keep: int) -> Path:
    """Write a checkpoint: it appears whole or not at all; then the oldest ones beyond `keep` go.

    Raises:
        TrainError: the disk refused it; earlier checkpoints stand.
    """
    target = run / FOLDER / f"step-{state.step:08d}"
    part = target.with_suffix(".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write(part / WEIGHTS, {name: weight.detach() for name, weight in network.state_dict().items()})
        _write(part / OPTIMIZER, _optimizer_tensors(network, optimizer))
        hashes = {name: _sha256(part / name) for name in (WEIGHTS, OPTIMIZER)}
        _write_text(part / STATE, state.model_copy(update={"sha256": hashes}).model_dump_json())
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        _sync(target.parent)
    except (OSError, RuntimeError) as error:  # safetensors reports a full disk as its own RuntimeError subclass.
        shutil.rmtree(part, ignore_errors=True)
        raise TrainError(
            f"The checkpoint of step {state.step} could not be written ({error}).",
            "Free space and resume; earlier checkpoints stand.",
        ) from error
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path.parent for path in (run / FOLDER).glob(f"step-????????/{STATE}"))


def restore(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any]) -> int:
    """Bring model, optimizer and random generator to where a checkpoint stood; returns the number of steps done.

    Raises:
        TrainError: it is damaged, or the run was started with another configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    earlier = f"Delete {path} to go on from the one before, or start anew in another folder."
    try:
        state = State.model_validate_json((path / STATE).read_text("utf-8"))
        for name, wanted in state.sha256.items():
            if _sha256(path / name) != wanted:
                raise TrainError(f"{path / name} is damaged: its hash is not the one that was noted.", earlier)
        _same(state.config, config, path)
        network.load_state_dict(load_file(path / WEIGHTS))
        _restore_optimizer(network, optimizer, load_file(path / OPTIMIZER))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise TrainError(f"The checkpoint {path} is damaged ({type(error).__name__}).", earlier) from error
    return state.step


def export_model(network: Llama, start: Path, target: Path, *, dtype: str = "float32") -> None:
    """Write a folder that `atlas serve`, `provider: local`, transformers and vLLM load; adapters are merged.

    Raises:
        TrainError: the disk refused it.
    """
    part = target.with_suffix(".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        kind = getattr(torch, dtype)
        _write(part / "model.safetensors", {name: w.detach().to(kind) for name, w in hf_names(network).items()})
        config = json.loads((start / "config.json").read_text("utf-8")) | {"torch_dtype": dtype}
        config |= {name: network.config[name] for name in ("hidden_size", "num_hidden_layers", "tie_word_embeddings")}
        _write_text(part / "config.json", json.dumps(config, indent=1) + "\n")
        for name in COPIED:
            if (start / name).is_file():
                shutil.copyfile(start / name, part / name)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        _sync(target.parent)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise TrainError(f"{target} could not be written ({error}).", "Free space and resume the run.") from error


def _same(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    free = ("keep_checkpoints", "checkpoint_every", "threads", "tracker", "project")
    differing = [key for key in {*before, *now} if before.get(key) != now.get(key) and key not in free]
    if differing:
        raise TrainError(
            f"{path} belongs to a run with another {', '.join(sorted(differing))}.",
            "Resume with the configuration it was started with, or give another --output.",
        )


def _optimizer_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"rng": torch.get_rng_state()}
    for name, weight in network.named_parameters():
        for key, value in optimizer.state.get(weight, {}).items():
            tensors[f"{key}/{name}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return tensors


def _restore_optimizer(network: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors.pop("rng"))
    weights = dict(network.named_parameters())
    for name, value in tensors.items():
        key, _, weight = name.partition("/")
        optimizer.state[weights[weight]][key] = value if key == "step" else value.to(weights[weight].device)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save

    raw = save({name: value.contiguous().cpu() for name, value in tensors.items()}, metadata={"format": "pt"})
    _write_bytes(path, raw)


def _write_text(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, raw: bytes) -> None:
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
