"""A Llama-type decoder in plain torch, that reads and writes the folders which `atlas.models.local` serves.

Axes in names: B batch, T time, D width, H heads, K width of a head, P tokens of a shared prefix, V vocabulary.
"""
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportCallIssue=false, reportReturnType=false

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rope_tables(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of shape (length, head_dim). Source: Su et al. 2021, in the half-rotated form of Llama."""
    rates = theta ** -(torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(length).float(), rates)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos(), both.sin()


def rotate(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Rotary positions."""
    first, second = x_BHTK.chunk(2, dim=-1)
    return x_BHTK * cos_TK + torch.cat((-second, first), dim=-1) * sin_TK


class Layer(nn.Module):
    """Attention and gated feed-forward, each behind an RMS norm."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, kv = (
            config["hidden_size"],
            config["num_key_value_heads"] * config["head_dim"],
        )
        self.heads, self.kv_heads, self.head_dim = (
            config["num_attention_heads"],
            config["num_key_value_heads"],
            config["head_dim"],
        )
        eps = config["rms_norm_eps"]
        self.input_layernorm = nn.RMSNorm(width, eps=eps)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=eps)
        inner = self.heads * self.head_dim
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(width, inner, bias=False),
            nn.Linear(width, kv, bias=False),
            nn.Linear(width, kv, bias=False),
            nn.Linear(inner, width, bias=False),
        )
        hidden = config["intermediate_size"]
        self.gate_proj, self.up_proj = (
            nn.Linear(width, hidden, bias=False),
            nn.Linear(width, hidden, bias=False),
        )
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def qkv(self, x_BTD: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, positions applied."""
        normed = self.input_layernorm(x_BTD)
        batch, time, _ = x_BTD.shape
        q, k, v = (
            project(normed).view(batch, time, -1, self.head_dim).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def attend(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The layer's output given all keys and values that may be seen; without a mask, those not after a token."""
        batch, heads, time, head_dim = q.shape
        if mask is None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            grouped = q.reshape(batch, self.kv_heads, -1, head_dim) * head_dim**-0.5
            scores = (grouped @ k.transpose(2, 3)).view(batch, heads, time, -1)
            seen = (scores + mask.to(scores.dtype)).softmax(dim=-1)
            mixed = (seen.view(batch, self.kv_heads, -1, seen.shape[-1]) @ v).view(batch, heads, time, head_dim)
        x = x + self.o_proj(mixed.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))


class Llama(nn.Module):
    """The decoder; embeddings and output share their weights where the configuration says so."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(config["hidden_size"], eps=config["rms_norm_eps"])
        tied = config.get("tie_word_embeddings", False)
        self.head = None if tied else nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        cos, sin = rope_tables(config["max_position_embeddings"], config["head_dim"], config["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                nn.init.zeros_(weight)
            elif weight.dim() == 2:
                nn.init.normal_(weight, std=0.1 if "embed" in name else weight.shape[1] ** -0.5)

    def forward(self, ids_BT: Tensor, prefix_P: Tensor | None = None, *, parts_BT: Tensor | None = None) -> Tensor:
        """Last hidden states of shape (B, T, D).

        A prefix that all rows share is computed once for all of them. `parts_BT` numbers the conversations that share
        a row: none sees another.
        """
        batch, time = ids_BT.shape
        past = 0 if prefix_P is None else len(prefix_P)
        x = self.embed_tokens(ids_BT)
        head = None if prefix_P is None else self.embed_tokens(prefix_P)[None]
        cos, sin = self.cos[past : past + time], self.sin[past : past + time]
        mask, seen = None, None
        if head is not None or parts_BT is not None:
            mask = torch.full((past + time, past + time), -torch.inf, device=ids_BT.device).triu(1)
            seen = mask[past:] if parts_BT is None else _apart(mask, parts_BT)
        for layer in self.layers:
            q, k, v = layer.qkv(x, cos, sin)
            if head is not None:
                q0, k0, v0 = layer.qkv(head, self.cos[:past], self.sin[:past])
                k = torch.cat((k0.expand(batch, -1, -1, -1), k), dim=2)
                v = torch.cat((v0.expand(batch, -1, -1, -1), v), dim=2)
                head = layer.attend(head, q0, k0, v0, None)
            x = layer.attend(x, q, k, v, seen)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary."""
        return hidden @ self.embed_tokens.weight.T if self.head is None else self.head(hidden)


def _apart(mask_TT: Tensor, parts_BT: Tensor) -> Tensor:
    """The causal mask, closed between conversations that share a row; (B, 1, T, T)."""
    other = parts_BT[:, None, :, None] != parts_BT[:, None, None, :]
    return mask_TT.masked_fill(other, -torch.inf)


class Lora(nn.Module):
    """A frozen linear layer with a low-rank update that starts at zero. Source: Hu et al., arXiv 2106.09685."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.normal_(self.down, std=base.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the update."""
        return self.base(x) + (x @ self.down.T) @ self.up.T * self.scale

    def merged(self) -> Tensor:
        """The weight that does the same without adapter."""
        return self.base.weight + self.up @ self.down * self.scale


def add_lora(model: Llama, *, rank: int, alpha: float, targets: tuple[str, ...]) -> int:
    """Freeze all weights and give adapters to the layers of these names; returns how many got one."""
    model.requires_grad_(False)
    found = 0
    for layer in model.layers:
        for name in targets:
            if hasattr(layer, name):
                setattr(layer, name, Lora(getattr(layer, name), rank, alpha))
                found += 1
    return found


_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def hf_names(model: Llama) -> dict[str, Tensor]:
    """The weights, adapters merged, under the names that the Llama format gives them."""
    return {name: weight for name, _, weight in _named(model)}


def _named(model: Llama) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name in the Llama format, module, weight."""
    yield "model.embed_tokens.weight", model.embed_tokens, model.embed_tokens.weight
    for number, layer in enumerate(model.layers):
        for name, module in layer.named_children():
            block = "self_attn." if name in _ATTENTION else "mlp." if name.endswith("_proj") else ""
            weight = module.merged() if isinstance(module, Lora) else module.weight
            yield f"model.layers.{number}.{block}{name}.weight", module, weight
    yield "model.norm.weight", model.norm, model.norm.weight
    if model.head is not None:
        yield "lm_head.weight", model.head, model.head.weight


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's `config.json` with the fields that a plain Llama may leave out.

    Raises:
        ConfigError: it is missing, damaged, or of another architecture.
    """
    from atlas.models.llama import Shape

    shape = Shape.load(folder / "config.json")
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return config | {
        "num_key_value_heads": shape.key_heads,
        "head_dim": shape.head_dim,
        "rope_theta": shape.theta,
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
    }


def load_network(folder: Path) -> Llama:
    """The model in a checkpoint folder, in single precision.

    Raises:
        ConfigError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    from atlas.models.safetensors import read_safetensors
    from atlas.schema.errors import ConfigError

    config = read_config(folder)
    weights = read_safetensors(folder / "model.safetensors")
    if not config["tie_word_embeddings"] and "lm_head.weight" not in weights:
        config["tie_word_embeddings"] = True
    model = Llama(config)
    named = hf_names(model)
    for name, weight in named.items():
        found = weights.get(name)
        if found is None or tuple(found.shape) != tuple(weight.shape):
            what = "is missing" if found is None else f"has the shape {found.shape}, not {tuple(weight.shape)}"
            raise ConfigError(f"{folder / 'model.safetensors'}: {name} {what}.", "Copy the checkpoint again.")
        with torch.no_grad():
            weight.copy_(torch.from_numpy(found))
    return model
