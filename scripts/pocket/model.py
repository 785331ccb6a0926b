"""A Llama-type decoder in plain torch, for training the pocket models.

Axes in names: B batch, T time, D width, H heads, K width of a head, P tokens of a shared prefix, V vocabulary.
"""

from __future__ import annotations

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

    def attend(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """The layer's output given all keys and values that may be seen."""
        batch, heads, time, head_dim = q.shape
        grouped = q.reshape(batch, self.kv_heads, -1, head_dim) * head_dim**-0.5
        scores = (grouped @ k.transpose(2, 3)).view(batch, heads, time, -1)
        seen = (scores + mask.to(scores.dtype)).softmax(dim=-1)
        mixed = (seen.view(batch, self.kv_heads, -1, seen.shape[-1]) @ v).view(batch, heads, time, head_dim)
        x = x + self.o_proj(mixed.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))


class Llama(nn.Module):
    """The decoder; embeddings and output share their weights."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(config["hidden_size"], eps=config["rms_norm_eps"])
        cos, sin = rope_tables(config["max_position_embeddings"], config["head_dim"], config["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                nn.init.zeros_(weight)
            elif weight.dim() == 2:
                nn.init.normal_(weight, std=0.1 if "embed" in name else weight.shape[1] ** -0.5)

    def forward(self, ids_BT: Tensor, prefix_P: Tensor | None = None) -> Tensor:
        """Last hidden states of shape (B, T, D). A prefix that all rows share is computed once for all of them."""
        batch, time = ids_BT.shape
        past = 0 if prefix_P is None else len(prefix_P)
        x = self.embed_tokens(ids_BT)
        head = None if prefix_P is None else self.embed_tokens(prefix_P)[None]
        cos, sin = self.cos[past : past + time], self.sin[past : past + time]
        mask = torch.full((past + time, past + time), -torch.inf).triu(1)
        for layer in self.layers:
            q, k, v = layer.qkv(x, cos, sin)
            if head is not None:
                q0, k0, v0 = layer.qkv(head, self.cos[:past], self.sin[:past])
                k = torch.cat((k0.expand(batch, -1, -1, -1), k), dim=2)
                v = torch.cat((v0.expand(batch, -1, -1, -1), v), dim=2)
                head = layer.attend(head, q0, k0, v0, mask[:past, :past])
            x = layer.attend(x, q, k, v, mask[past:])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary."""
        return hidden @ self.embed_tokens.weight.T


def hf_names(model: Llama) -> dict[str, Tensor]:
    """The weights under the names that the Llama format gives them."""
    named: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        part = name.rsplit(".", 2)[-2]
        if part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            name = name.replace(part, "self_attn." + part)
        elif part in ("gate_proj", "up_proj", "down_proj"):
            name = name.replace(part, "mlp." + part)
        named["model." + name] = weight
    return named
