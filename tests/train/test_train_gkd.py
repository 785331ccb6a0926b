"""Distillation: the divergence is right, a model learns nothing from itself, tokenizers may differ."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_kit import Traces

torch = pytest.importorskip("torch", reason="torch is not installed: distillation is not tested")

from atlas.models.tokenizer import Tokenizer, byte_alphabet  # noqa: E402
from atlas.schema.errors import ConfigError, TrainError  # noqa: E402
from atlas.train import Codec, GkdConfig, Order, checkpoint_folder, load_train_config, read_examples, train  # noqa: E402
from atlas.train.alignment import align  # noqa: E402
from atlas.train.gkd import Gkd, moments  # noqa: E402
from atlas.train.losses import LossRules, jensen_shannon, loss_of  # noqa: E402
from atlas.train.network import Llama, load_network  # noqa: E402
from atlas.train.source import DataConfig  # noqa: E402
from atlas.train.teachers import LocalTeacher, View  # noqa: E402
from atlas.train.world import World  # noqa: E402

CPU = torch.device("cpu")
STUDENT = checkpoint_folder("pocket-student")


def config(*more: str) -> GkdConfig:
    small = ("steps=2", "batch_size=4", "threads=1", "data.eval_ratio=0", "max_new_tokens=16")
    found = load_train_config("gkd", None, (*small, *more))
    assert isinstance(found, GkdConfig)
    return found


def distributions(seed: int, shape: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    maker = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(shape, generator=maker) * 2 for _ in range(2))
    return one.log_softmax(-1), other.log_softmax(-1)


def by_hand(teacher: np.ndarray, student: np.ndarray, beta: float) -> float:
    """Equation 1 of the paper, in plain Python."""

    def kl(one: np.ndarray, other: np.ndarray) -> float:
        return float(sum(a * math.log(a / b) for a, b in zip(one, other, strict=True)))

    if beta in (0, 1):
        return kl(student, teacher) if beta else kl(teacher, student)
    mixed = beta * teacher + (1 - beta) * student
    return beta * kl(teacher, mixed) + (1 - beta) * kl(student, mixed)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_divergence_is_that_of_the_paper(seed: int, beta: float) -> None:
    teacher, student = distributions(seed)
    found = jensen_shannon(teacher, student, beta)
    for place in range(len(found)):
        wanted = by_hand(teacher[place].exp().numpy().astype(float), student[place].exp().numpy().astype(float), beta)
        assert float(found[place]) == pytest.approx(wanted, abs=1e-5)
        assert float(found[place]) >= -1e-6
    assert float(jensen_shannon(teacher, teacher, beta).abs().max()) < 1e-6


@pytest.mark.parametrize("beta", [0.0, 1e-4, 1 - 1e-4, 1.0])
def test_between_the_ends_it_tends_to_the_divergences_at_the_ends(beta: float) -> None:
    teacher, student = (one.double() for one in distributions(3))
    found = jensen_shannon(teacher, student, beta)
    scale = beta if 0 < beta < 0.5 else 1 - beta if 0.5 < beta < 1 else 1.0
    end = jensen_shannon(teacher, student, 0.0 if beta < 0.5 else 1.0)
    assert torch.allclose(found / scale, end, rtol=1e-2)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
async def test_a_model_learns_nothing_from_itself(
    desk_traces: Traces, beta: float, lam: float, temperature: float
) -> None:
    """Invariant 1, in every setting; also through the code for two tokenizers."""
    settings = config(f"beta={beta}", f"lambda={lam}", f"temperature={temperature}")
    read = await read_examples(desk_traces.file, DataConfig(), role="student", take="imitate")
    network = load_network(STUDENT)
    codec = Codec.load(STUDENT)
    for shared in (False, True):
        teacher = LocalTeacher(load_network(STUDENT), codec, codec, temperature)
        if shared:
            teacher.shared = [(index, index) for index in range(len(codec.tokenizer))]
        algorithm = Gkd(read.examples, codec, teacher, config=settings, world=World())
        batch = await algorithm.batch(0, network)
        loss, _ = loss_of(network, batch.rows, algorithm.rules, CPU)
        loss.backward()
        assert abs(float(loss.detach())) < 1e-5
        assert max(float(weight.grad.abs().max()) for weight in network.parameters()) < 1e-4
        network.zero_grad()


async def test_the_students_own_replies_are_what_the_teacher_reads(desk_traces: Traces) -> None:
    read = await read_examples(desk_traces.file, DataConfig(), role="student", take="imitate")
    network, codec = load_network(STUDENT), Codec.load(STUDENT)
    seen: list[View] = []

    class Spy(LocalTeacher):
        async def targets(self, views):
            seen.extend(views)
            return await super().targets(views)

    for lam in (0.0, 1.0):
        seen.clear()
        spy = Spy(load_network(STUDENT), codec, codec)
        algorithm = Gkd(read.examples, codec, spy, config=config(f"lambda={lam}", "temperature=1.5"), world=World())
        batch = await algorithm.batch(0, network)
        assert [row.ids[row.learnt].tolist() for row in batch.rows] == [view.reply for view in seen]
        recorded = {
            tuple(one.reply) for example in read.examples for one in moments(example, codec, codec, guided=False)
        }
        assert all(tuple(view.reply) in recorded for view in seen) is (lam == 0.0)
        again = await algorithm.batch(0, network)
        assert [row.ids.tolist() for row in again.rows] == [row.ids.tolist() for row in batch.rows]


async def test_guidance_moves_into_the_weights(desk_traces: Traces, tmp_path: Path) -> None:
    """The teacher is the student itself, under guidance; the student, without it, comes to answer as if it had it."""
    more = ("teacher_sees=guidance", "steps=20", "batch_size=12", "lambda=0.3", "beta=0.5", "optimizer.lr=1e-3")
    await train(Order(config(*more), str(desk_traces.file), tmp_path / "run"))
    read = await read_examples(desk_traces.file, DataConfig(), role="student", take="imitate")
    codec = Codec.load(STUDENT)
    teacher = LocalTeacher(load_network(STUDENT), codec, codec)
    every = config("teacher_sees=guidance", "batch_size=30", "lambda=0")
    guided = [example for example in read.examples if example.guided]
    losses = []
    for folder in (STUDENT, tmp_path / "run" / "final"):
        network = load_network(folder)
        algorithm = Gkd(guided, codec, teacher, config=every, world=World())
        batch = await algorithm.batch(0, network)
        losses.append(float(loss_of(network, batch.rows, algorithm.rules, CPU)[0].detach()))
    assert losses[1] < 0.7 * losses[0]


def letters(*merges: tuple[str, str]) -> Tokenizer:
    """A byte-level tokenizer with a few merges; two of them have vocabularies of different size."""
    alphabet = byte_alphabet()
    base = [alphabet[byte] for byte in range(256)] + [left + right for left, right in merges]
    added = {"<|user|>": len(base), "<|assistant|>": len(base) + 1, "<|end|>": len(base) + 2}
    vocabulary = {token: index for index, token in enumerate([*base, *added])}
    return Tokenizer(vocabulary, merges, pattern=r"\w+|\s+|[^\w\s]+", added=added)


def tiny(vocabulary: int, seed: int) -> Llama:
    torch.manual_seed(seed)
    return Llama(
        {
            "vocab_size": vocabulary,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 256,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            "eos_token_id": vocabulary - 1,
        }
    )


async def test_distillation_across_tokenizers_aligns_and_learns() -> None:
    """Invariant 15: other vocabulary sizes, other cuts; the pieces carry the same text, and the student learns."""
    one, other = letters(), letters(("t", "h"), ("th", "e"), ("c", "a"))
    template = Codec.load(STUDENT)._template
    student_codec, teacher_codec = Codec(one, template), Codec(other, template)
    teacher = LocalTeacher(tiny(len(other), 1), teacher_codec, student_codec)
    reply = one.encode("the cat<|end|>")
    prompt = one.encode("<|user|>what<|end|><|assistant|>")
    (target,) = await teacher.targets([View(other.encode("<|user|>what<|end|><|assistant|>"), reply)])
    assert target.spans is not None
    assert [(span.start, span.length, span.teacher_length) for span in target.spans] == [
        (0, 3, 1), (3, 1, 1), (4, 2, 1), (6, 1, 1), (7, 1, 1)
    ]  # fmt: skip
    assert [one.decode(reply[span.start : span.start + span.length]) for span in target.spans] == [
        "the", " ", "ca", "t", "<|end|>"
    ]  # fmt: skip
    from atlas.train.gkd import _row

    student = tiny(len(one), 2)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss, _ = loss_of(student, [_row(prompt, reply, 1 / len(reply), target)], LossRules(beta=0.5), CPU)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.lists(st.integers(1, 5), min_size=1, max_size=30))
def test_pieces_cover_the_common_text_and_cannot_be_cut_further(one: list[int], other: list[int]) -> None:
    pieces = align(one, other)
    for piece, after in pairwise(pieces):
        assert (piece.stop, piece.other_stop) == (after.start, after.other_start)
    for piece in pieces:
        left, right = one[piece.start : piece.stop], other[piece.other_start : piece.other_stop]
        assert sum(left) == sum(right) > 0
        inner = {sum(left[:n]) for n in range(1, len(left))} & {sum(right[:n]) for n in range(1, len(right))}
        assert not inner
    if sum(one) == sum(other):
        assert (pieces[-1].stop, pieces[-1].other_stop) == (len(one), len(other))


async def test_half_a_character_ends_the_comparison() -> None:
    one, other = letters(), letters(("t", "h"))
    template = Codec.load(STUDENT)._template
    teacher = LocalTeacher(tiny(len(other), 1), Codec(other, template), Codec(one, template))
    broken = [*one.encode("ab"), *one.encode("é")[:1], *one.encode("cd")]
    (target,) = await teacher.targets([View(other.encode("x"), broken)])
    assert target.spans is not None
    assert [span.start for span in target.spans] == [0, 1]


async def test_bad_orders_are_refused(desk_traces: Traces, tmp_path: Path) -> None:
    def order(name: str, *more: str) -> Order:
        return Order(config(*more), str(desk_traces.file), tmp_path / name)

    with pytest.raises(ConfigError, match="no checkpoint"):
        await train(order("a", "teacher=nowhere"))
    with pytest.raises(ConfigError, match="temperature 1 only"):
        await train(order("b", "teacher=http://127.0.0.1:1/v1", "temperature=2"))
    with pytest.raises(TrainError, match="cannot be reached"):
        await train(order("c", "teacher=http://127.0.0.1:1/v1"))
    assert json.loads((tmp_path / "c" / "run.json").read_text("utf-8"))["status"] == "failed"
    with pytest.raises(ConfigError, match="No example has guidance"):
        await train(order("d", "teacher_sees=guidance", "role=teacher", "model=pocket-teacher"))


async def test_a_server_tells_what_the_checkpoint_tells(desk_traces: Traces, tmp_path: Path) -> None:
    from aiohttp import web

    from atlas.deploy import ServeOptions, make_app
    from atlas.train.teachers import ServerTeacher

    runner = web.AppRunner(make_app(ServeOptions(STUDENT, "teacher")))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    read = await read_examples(desk_traces.file, DataConfig(), role="student", take="imitate")
    codec = Codec.load(STUDENT)
    view = View(*moments(read.examples[0], codec, codec, guided=False)[0][1:])
    (local,) = await LocalTeacher(load_network(STUDENT), codec, codec).targets([view])
    (told,) = await ServerTeacher(url, codec, top_k=5).targets([view])
    assert told.ids_NK is not None
    best = local.logp_NK.topk(5)
    assert torch.allclose(told.logp_NK, best.values, atol=1e-4)
    settings = config(f"teacher={url}", "lambda=1", "top_k=10")
    assert (await train(Order(settings, str(desk_traces.file), tmp_path / "run"))).metrics["loss"] < 1e-3
    await runner.cleanup()
