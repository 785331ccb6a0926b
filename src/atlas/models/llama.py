"""The forward pass of a Llama-type decoder in numpy, with a key-value cache. For checkpoints of a few million weights.

Axes in names: T new tokens, D width, K width of a head, H heads, N key heads, G heads that share keys, R = G x T,
F width of the feed-forward, V vocabulary.
Source: Touvron et al. 2023 (the architecture); Su et al. 2021 (rotary positions); Ainslie et al. 2023 (shared keys).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.models.safetensors import read_safetensors
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a `config.json` that the forward pass needs."""

    width: int
    layers: int
    heads: int
    key_heads: int
    head_dim: int
    vocabulary: int
    context: int
    eps: float
    theta: float
    stops: tuple[int, ...]

    @classmethod
    def load(cls, path: Path) -> Shape:
        """Read it.

        Raises:
            ConfigError: the file is missing or damaged, or describes another architecture.
        """
        try:
            config: dict[str, Any] = json.loads(path.read_text("utf-8"))
            plain = not config.get("rope_scaling") and config.get("hidden_act", "silu") == "silu"
            if config["model_type"] != "llama" or not plain or config.get("attention_bias"):
                raise ConfigError(
                    f"{path} is a {config['model_type']} variant that Atlas does not run.",
                    "Serve it with vLLM instead.",
                )
            heads, stops = int(config["num_attention_heads"]), config["eos_token_id"]
            return cls(
                width=int(config["hidden_size"]),
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                key_heads=int(config.get("num_key_value_heads") or heads),
                head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
                vocabulary=int(config["vocab_size"]),
                context=int(config["max_position_embeddings"]),
                eps=float(config["rms_norm_eps"]),
                theta=float(config.get("rope_theta", 10000.0)),
                stops=tuple(map(int, stops)) if isinstance(stops, list) else (int(stops),),  # pyright: ignore
            )
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check the checkpoint's folder.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} is damaged.", "Copy the checkpoint again.") from error


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's weights, norms folded in and projections joined so that a token needs four products."""

    into: Array
    """(D, 2(HK + NK) + NK): queries and keys, the same half-rotated, values."""
    out: Array
    """(HK, D)."""
    gate_up: Array
    """(D, 2F)."""
    down: Array
    """(F, D)."""


class State:
    """Keys and values of one conversation, and the tokens they belong to."""

    def __init__(self, shape: Shape, capacity: int) -> None:
        import numpy as np

        self.tokens: list[int] = []
        self.keys = np.empty((shape.layers, shape.key_heads, capacity, shape.head_dim), np.float32)
        self.values = np.empty_like(self.keys)

    def take(self, other: State, length: int) -> None:
        """Begin as the other's first `length` tokens."""
        self.tokens = other.tokens[:length]
        self.keys[:, :, :length] = other.keys[:, :, :length]
        self.values[:, :, :length] = other.values[:, :, :length]


class Llama:
    """A checkpoint in memory."""

    def __init__(self, shape: Shape, weights: dict[str, Array]) -> None:
        """`weights` by their names in the Llama format.

        Raises:
            KeyError: a weight is missing.
            ValueError: a weight has the wrong shape.
        """
        import numpy as np

        self.shape = shape
        self.embedding = _checked(weights, "model.embed_tokens.weight", (shape.vocabulary, shape.width))
        head = weights.get("lm_head.weight", self.embedding)
        norm = _checked(weights, "model.norm.weight", (shape.width,))
        self._head = np.ascontiguousarray((head * norm).T)
        self._layers = [_fold(shape, weights, f"model.layers.{number}.") for number in range(shape.layers)]
        rates = shape.theta ** -(np.arange(0, shape.head_dim, 2) / shape.head_dim)
        angles = np.outer(np.arange(shape.context), rates)
        both = np.concatenate((angles, angles), axis=1)
        repeat = shape.heads + shape.key_heads
        self._cos = np.tile(np.cos(both).astype(np.float32), repeat)
        self._sin = np.tile(np.sin(both).astype(np.float32), repeat)

    @classmethod
    def load(cls, folder: Path) -> Llama:
        """The checkpoint in a folder with `config.json` and `model.safetensors`.

        Raises:
            ConfigError: a file is missing or damaged, or the weights do not fit the configuration.
        """
        shape = Shape.load(folder / "config.json")
        path = folder / "model.safetensors"
        weights = read_safetensors(path)
        try:
            return cls(shape, weights)
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"{path} does not fit {folder / 'config.json'}: {error}.", "Copy the checkpoint again."
            ) from error

    def forward(self, state: State, tokens: list[int]) -> Array:
        """Read tokens after those in the state, which grows; the scores (V) of what follows the last one."""
        last = self._hidden(state, tokens)[-1]
        return (last @ self._head) * self._scale(last[None])[0]

    def forward_all(self, state: State, tokens: list[int]) -> Array:
        """The same with the scores (T, V) of what follows each of them."""
        hidden_TD = self._hidden(state, tokens)
        return (hidden_TD @ self._head) * self._scale(hidden_TD)

    def _hidden(self, state: State, tokens: list[int]) -> Array:
        """Read tokens; what the last layer made of each, before the last norm."""
        import numpy as np

        past, time = len(state.tokens), len(tokens)
        total = past + time
        x_TD = self.embedding[tokens]
        cos, sin = self._cos[past:total], self._sin[past:total]
        hidden = None if time == 1 else np.triu(np.full((time, total), -np.inf, np.float32), past + 1)
        for number, layer in enumerate(self._layers):
            x_TD = x_TD + self._attention(
                layer, x_TD, state.keys[number], state.values[number], (cos, sin, past, hidden)
            )
            both = (x_TD @ layer.gate_up) * self._scale(x_TD)
            gate, up = both[:, : layer.down.shape[0]], both[:, layer.down.shape[0] :]
            x_TD = x_TD + (up * gate / (1.0 + np.exp(-gate))) @ layer.down
        state.tokens.extend(tokens)
        return x_TD

    def _scale(self, x_TD: Array) -> Array:
        """One over the root mean square of each row, as (T, 1)."""
        import numpy as np

        return 1.0 / np.sqrt(np.einsum("td,td->t", x_TD, x_TD)[:, None] / self.shape.width + self.shape.eps)

    def _attention(
        self, layer: _Layer, x_TD: Array, keys: Array, values: Array, at: tuple[Array, Array, int, Array | None]
    ) -> Array:
        import numpy as np

        shape, time = self.shape, len(x_TD)
        cos, sin, past, hidden = at
        turned = (shape.heads + shape.key_heads) * shape.head_dim
        queried = shape.heads * shape.head_dim
        joined = (x_TD @ layer.into) * self._scale(x_TD)
        both = joined[:, :turned] * cos + joined[:, turned : 2 * turned] * sin
        total = past + time
        keys[:, past:total] = both[:, queried:].reshape(time, shape.key_heads, -1).swapaxes(0, 1)
        values[:, past:total] = joined[:, 2 * turned :].reshape(time, shape.key_heads, -1).swapaxes(0, 1)
        shared = shape.heads // shape.key_heads
        q_NGTK = both[:, :queried].reshape(time, shape.key_heads, shared, -1).transpose(1, 2, 0, 3)
        q_NRK = q_NGTK.reshape(shape.key_heads, shared * time, -1)
        scores = q_NRK @ keys[:, :total].swapaxes(1, 2)
        if hidden is not None:
            scores = (scores.reshape(-1, time, total) + hidden).reshape(scores.shape)
        scores = np.exp(scores - np.maximum.reduce(scores, axis=-1, keepdims=True))
        mixed = (scores @ values[:, :total]) / np.add.reduce(scores, axis=-1, keepdims=True)
        flat = mixed.reshape(shape.key_heads, shared, time, -1).transpose(2, 0, 1, 3).reshape(time, queried)
        return flat @ layer.out


def _fold(shape: Shape, weights: dict[str, Array], prefix: str) -> _Layer:
    """Join a layer's projections, put the norms' gains and the attention's scale into them."""
    import numpy as np

    width, queried, keyed = shape.width, shape.heads * shape.head_dim, shape.key_heads * shape.head_dim
    gain = _checked(weights, prefix + "input_layernorm.weight", (width,))
    q = _checked(weights, prefix + "self_attn.q_proj.weight", (queried, width)) * shape.head_dim**-0.5
    k = _checked(weights, prefix + "self_attn.k_proj.weight", (keyed, width))
    v = _checked(weights, prefix + "self_attn.v_proj.weight", (keyed, width))
    both = np.concatenate((q, k))
    halves = both.reshape(-1, 2, shape.head_dim // 2, width)
    turned = np.stack((-halves[:, 1], halves[:, 0]), axis=1).reshape(both.shape)
    gain_after = _checked(weights, prefix + "post_attention_layernorm.weight", (width,))
    gate, up = weights[prefix + "mlp.gate_proj.weight"], weights[prefix + "mlp.up_proj.weight"]
    return _Layer(
        into=np.ascontiguousarray((np.concatenate((both, turned, v)) * gain).T),
        out=np.ascontiguousarray(_checked(weights, prefix + "self_attn.o_proj.weight", (width, queried)).T),
        gate_up=np.ascontiguousarray((np.concatenate((gate, up)) * gain_after).T),
        down=np.ascontiguousarray(_checked(weights, prefix + "mlp.down_proj.weight", (width, gate.shape[0])).T),
    )


def _checked(weights: dict[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    if name not in weights:
        raise KeyError(f"{name} is missing")
    if weights[name].shape != shape:
        raise ValueError(f"{name} has the shape {weights[name].shape}, not {shape}")
    return weights[name]
