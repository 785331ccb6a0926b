"""Samples from the model as it is now, by the very code that serves it."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import nn

from atlas.models.blas import one_blas_thread
from atlas.models.generation import Generator, Sampling
from atlas.models.llama import Llama, Shape
from atlas.train.network import hf_names


def served_weights(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights, adapters merged, as the serving model takes them."""
    named = hf_names(network)  # pyright: ignore[reportArgumentType]
    return {name: weight.detach().float().cpu().numpy() for name, weight in named.items()}


def shape_of(config: dict[str, Any]) -> Shape:
    """The serving model's shape of a training configuration."""
    stops = config["eos_token_id"]
    return Shape(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        key_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        eps=config["rms_norm_eps"],
        theta=config["rope_theta"],
        stops=tuple(stops) if type(stops) is list else (stops,),
    )


def seed_of(text: str) -> int:
    """A seed that follows from a text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Writer:
    """Writes replies with a network's present weights; each depends on its prompt and seed alone."""

    def __init__(self, network: nn.Module, temperature: float, max_new_tokens: int) -> None:
        self._shape = shape_of(network.config)  # pyright: ignore[reportArgumentType]
        self._model = Llama(self._shape, served_weights(network))
        self._temperature = temperature
        self._limit = max_new_tokens

    def write(self, prompt: list[int], seed: str) -> list[int]:
        """The sampled tokens of one reply."""
        generator = Generator(self._model)  # A cache of its own: what was written before must not move a last bit.
        sampling = Sampling(temperature=self._temperature, seed=seed_of(seed))
        with one_blas_thread():
            generated = generator.run(prompt, limit=self._limit, sampling=sampling)
        return list(generated.tokens) if generated else []
