"""The numpy forward pass computes what torch computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.models.generation import Generator, Sampling
from atlas.models.llama import Llama, Shape, State
from atlas.models.safetensors import read_safetensors
from atlas.schema.errors import ConfigError

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "eos_token_id": 0,
}


def random_weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    d, f, h, n = 48, 80, 48, 16
    weights = {"model.embed_tokens.weight": rng.normal(0, 0.5, (97, d)), "model.norm.weight": rng.uniform(0.5, 1.5, d)}
    for number in range(3):
        prefix = f"model.layers.{number}."
        for name, shape in {"q": (h, d), "k": (n, d), "v": (n, d), "o": (d, h)}.items():
            weights[f"{prefix}self_attn.{name}_proj.weight"] = rng.normal(0, 0.2, shape)
        for name, shape in {"gate": (f, d), "up": (f, d), "down": (d, f)}.items():
            weights[f"{prefix}mlp.{name}_proj.weight"] = rng.normal(0, 0.2, shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = rng.uniform(0.5, 1.5, d)
    return {name: weight.astype(np.float32) for name, weight in weights.items()}


def save(folder: Path, weights: dict[str, np.ndarray], dtype: str = "F32") -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, weight in weights.items():
        raw = weight.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()
        offsets = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(weight.shape), "data_offsets": offsets}
        body += raw
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + body)
    (folder / "config.json").write_text(json.dumps(CONFIG))


@pytest.fixture
def model(tmp_path: Path) -> Llama:
    save(tmp_path, random_weights(0))
    return Llama.load(tmp_path)


def test_scores_equal_torch(model: Llama) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: equality with torch is not tested")
    from atlas.train.network import Llama as Reference
    from atlas.train.network import hf_names

    reference = Reference(CONFIG | {"tie_word_embeddings": True})
    weights = random_weights(0)
    named = hf_names(reference)
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(torch.from_numpy(weights[name]))
        tokens = np.random.default_rng(1).integers(0, 97, 50).tolist()
        wanted = reference.logits(reference(torch.tensor([tokens])))[0].numpy()
        split = reference.logits(reference(torch.tensor([tokens[20:]]), torch.tensor(tokens[:20])))[0].numpy()
    assert np.abs(split - wanted[20:]).max() < 1e-4
    state = State(model.shape, 64)
    assert np.abs(model.forward(state, tokens[:30]) - wanted[29]).max() < 1e-4
    for at in range(30, 50):
        assert np.abs(model.forward(state, [tokens[at]]) - wanted[at]).max() < 1e-4


def test_the_prefix_cache_changes_nothing_but_the_work(model: Llama) -> None:
    prompt = list(range(1, 31))
    fresh = [Generator(model).run(prompt[:n], limit=8, sampling=Sampling()) for n in (30, 20, 30)]
    kept = Generator(model)
    again = [kept.run(prompt[:n], limit=8, sampling=Sampling()) for n in (30, 20, 30)]
    for one, other in zip(fresh, again, strict=True):
        assert one is not None
        assert other is not None
        assert one.tokens == other.tokens
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    assert [each.cached for each in again if each] == [0, 19, 29]


def test_a_seed_repeats_and_a_temperature_varies(model: Llama) -> None:
    generator = Generator(model)

    def draw(seed: int, temperature: float = 1.5, top_p: float = 1.0) -> tuple[int, ...]:
        sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
        generated = generator.run([5, 6, 7], limit=10, sampling=sampling)
        assert generated is not None
        return generated.tokens

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(8)}) > 1
    assert {draw(seed, top_p=1e-6) for seed in range(4)} == {draw(0, temperature=0.0)}


def test_it_stops_at_the_limit_at_the_context_and_when_told(model: Llama) -> None:
    generator = Generator(model)
    short = generator.run([5], limit=3, sampling=Sampling(temperature=1.0, seed=3))
    assert short is not None
    assert len(short.tokens) <= 3
    full = generator.run(list(range(1, 61)), limit=100, sampling=Sampling())
    assert full is not None
    assert len(full.tokens) <= 4
    assert generator.run([5], limit=3, sampling=Sampling(), go_on=lambda: False) is None


def test_half_precision_is_read(tmp_path: Path) -> None:
    weights = random_weights(0)
    save(tmp_path, weights, "F16")
    read = read_safetensors(tmp_path / "model.safetensors")
    assert all(np.array_equal(read[name], weight.astype(np.float16)) for name, weight in weights.items())


@pytest.mark.parametrize("keep", [0, 4, 20, 5000])
def test_a_file_cut_short_is_named(tmp_path: Path, keep: int) -> None:
    save(tmp_path, random_weights(0))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConfigError, match=r"model\.safetensors is damaged"):
        Llama.load(tmp_path)


def test_weights_that_do_not_fit_the_configuration_are_named(tmp_path: Path) -> None:
    weights = random_weights(0)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save(tmp_path, weights)
    with pytest.raises(ConfigError, match="up_proj"):
        Llama.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("model_type", "mamba"), ("rope_scaling", {"type": "linear"}), ("hidden_size", "wide")]
)
def test_another_architecture_is_refused(tmp_path: Path, field: str, value: object) -> None:
    save(tmp_path, random_weights(0))
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, field: value}))
    with pytest.raises(ConfigError, match=r"config\.json"):
        Shape.load(tmp_path / "config.json")
