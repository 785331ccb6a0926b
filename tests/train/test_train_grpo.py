"""Reinforcement: rewards are what happened, outages are masked, advantages are those of the papers, and it learns."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
from export_kit import Bases, exported, store_bodies
from hypothesis import given
from hypothesis import strategies as st
from train_kit import Traces, write_loop

torch = pytest.importorskip("torch", reason="torch is not installed: reinforcement is not tested")

from atlas.models.safetensors import read_safetensors  # noqa: E402
from atlas.schema import Attempt, Body, Reward, Task  # noqa: E402
from atlas.schema.errors import ConfigError, ModelUnavailable, TrainError  # noqa: E402
from atlas.schema.events import Answered, Attempted, Finished, Rewarded, SessionStarted  # noqa: E402
from atlas.train import GrpoConfig, Order, checkpoint_folder, load_train_config, prepare, train  # noqa: E402
from atlas.train.config import TeachingConfig  # noqa: E402
from atlas.train.engine import read_log  # noqa: E402
from atlas.train.grpo import Grpo, advantages, clip_of  # noqa: E402
from atlas.train.losses import LossRules, divergence_estimate, loss_of  # noqa: E402
from atlas.train.network import load_network  # noqa: E402
from atlas.train.playing import Group, Tally, TeacherRollouts, Tried  # noqa: E402
from atlas.train.rows import Row, logprobs  # noqa: E402
from atlas.train.run import _rollouts, algorithm_of  # noqa: E402
from atlas.train.teaching import Outcome, teaching_reward  # noqa: E402
from atlas.train.world import World  # noqa: E402

CPU = torch.device("cpu")
TEACHER = ("role=teacher", "model=pocket-teacher", "loop=loop.yaml")
STUDENT = ("loop=loop.yaml",)
VARIANTS = ["grpo", "dr_grpo", "dapo", "gspo"]
SMALL = ("steps=2", "questions=3", "group=4", "threads=1", "data.eval_ratio=0", "max_new_tokens=48")


def config(*more: str) -> GrpoConfig:
    found = load_train_config("grpo", None, (*SMALL, *more))
    assert isinstance(found, GrpoConfig)
    return found


def order(traces: Traces, folder: Path, *more: str, **loop: Any) -> Order:
    folder.mkdir(exist_ok=True)
    write_loop(folder, **loop)
    return Order(config(*more), str(traces.file), folder / "run", base=folder)


@given(st.lists(st.none() | st.floats(-2, 2), min_size=1, max_size=12), st.sampled_from(VARIANTS))
def test_advantages_are_relative_to_the_group_and_masks_stay(rewards: list[float | None], variant: str) -> None:
    found = advantages(rewards, variant)
    known = [reward for reward in rewards if reward is not None]
    if len(known) < 2:
        assert found == [None] * len(rewards)
        return
    assert all(value is None for value, reward in zip(found, rewards, strict=True) if reward is None)
    told = [value for value in found if value is not None]
    if not told:
        assert variant == "dapo"
        assert pstdev(known) == 0
        return
    scale = 1.0 if variant == "dr_grpo" else pstdev(known) + 1e-4
    assert told == pytest.approx([(reward - fmean(known)) / scale for reward in known])
    assert sum(told) == pytest.approx(0, abs=1e-6)


def test_clips_are_those_of_the_papers() -> None:
    assert [clip_of(config(f"variant={name}")) for name in ("grpo", "dapo", "gspo")] == [
        (0.2, 0.2), (0.2, 0.28), (3e-4, 4e-4)
    ]  # fmt: skip
    assert clip_of(config("variant=dapo", "clip=0.1", "clip_high=0.5")) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("outcome", "reward"),
    [
        ({"p_base": 0.0, "p_taught": 1.0, "tokens": 20}, 1.0 - 0.01),
        ({"p_base": 1.0, "p_taught": 0.0, "tokens": 20}, -2.0 - 0.01),
        ({"p_base": 1.0, "p_taught": 1.0, "tokens": 0}, 0.0),
        ({"p_base": 0.0, "p_taught": 1.0, "tokens": 20, "leaked": True}, 0.0 - 0.01),
        ({"p_base": 0.5, "p_taught": 0.5, "tokens": 10, "malformed": True}, -0.505),
    ],
)
def test_the_teaching_reward_is_its_formula(outcome: dict[str, Any], reward: float) -> None:
    assert teaching_reward(Outcome(**outcome), TeachingConfig()) == pytest.approx(reward)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 500))
def test_doing_harm_never_pays(base: float, taught: float, tokens: int) -> None:
    rules = TeachingConfig()
    value = teaching_reward(Outcome(p_base=base, p_taught=taught, tokens=tokens), rules)
    silent = teaching_reward(Outcome(p_base=base, p_taught=base, tokens=tokens), rules)
    gain = taught - base
    assert value - silent == pytest.approx(gain if gain >= 0 else 2 * gain, abs=1e-9)


async def test_a_teacher_learns_with_the_frozen_student_in_the_loop(desk_traces: Traces, tmp_path: Path) -> None:
    before = [read_safetensors(checkpoint_folder(name) / "model.safetensors") for name in ("pocket-student",)]
    told = await train(order(desk_traces, tmp_path, *TEACHER))
    assert told.status == "succeeded"
    steps = read_log(tmp_path / "run")
    assert {"reward", "kl", "p_base", "p_taught", "accepted", "masked", "telling_groups"} <= set(steps[0].metrics)
    assert steps[0].metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert steps[0].metrics["masked"] == 0
    after = [read_safetensors(checkpoint_folder(name) / "model.safetensors") for name in ("pocket-student",)]
    assert all((one[name] == other[name]).all() for one, other in zip(before, after, strict=True) for name in one)


async def made(desk_traces: Traces, folder: Path, *more: str) -> tuple[Grpo, Any, TeacherRollouts]:
    asked = order(desk_traces, folder, *more)
    prepared = await prepare(asked)
    network = load_network(prepared.folder)
    algorithm = algorithm_of(asked, prepared, network, World())
    return algorithm, network, algorithm._rollouts  # pyright: ignore


async def test_the_tokens_in_the_loss_are_the_tokens_that_were_sampled(desk_traces: Traces, tmp_path: Path) -> None:
    """Invariants 2 and 3: their log-probability under the trainer is the one the serving model had when it sampled."""
    _, network, rollouts = await made(desk_traces, tmp_path, *TEACHER)
    groups = await rollouts.groups(0, network, Tally())
    assert len(groups) == 3
    for group in groups:
        for one in group.tried:
            ((ids, ((start, stop),)),) = one.sequences
            assert stop == len(ids)
    spoken = rollouts.policy.spoken[0]
    ids, ((start, _),) = groups[-1].tried[-1].sequences[0]
    assert tuple(ids[start:]) == spoken.completion.token_ids
    assert spoken.completion.usage.prompt_tokens == start
    row = Row(ids=torch.tensor(ids).numpy(), imitate=(torch.arange(len(ids)) >= start).float().numpy())
    (logp,) = logprobs(network, [row], micro_batch=1, device=CPU)
    assert spoken.completion.logprob == pytest.approx(float(logp.sum()), abs=1e-3)
    await rollouts.close()


async def test_one_seed_gives_one_rollout(desk_traces: Traces, tmp_path: Path) -> None:
    one = await made(desk_traces, tmp_path, *TEACHER)
    other = await made(desk_traces, tmp_path, *TEACHER)
    await other[2].groups(0, other[1], Tally())  # What was played before must not matter.
    assert await one[2].groups(1, one[1], Tally()) == await other[2].groups(1, other[1], Tally())
    assert await one[2].groups(2, one[1], Tally()) != await other[2].groups(3, other[1], Tally())


async def test_an_outage_is_masked_and_never_a_reward(
    desk_traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 6."""
    algorithm, network, rollouts = await made(desk_traces, tmp_path, *TEACHER)
    real, calls = rollouts.stage.review, iter(range(1000))

    async def sometimes(*given: Any) -> Any:
        if next(calls) % 2:
            raise ModelUnavailable("the provider is down")
        return await real(*given)

    monkeypatch.setattr(rollouts.stage, "review", sometimes)
    tally = Tally()
    groups = await rollouts.groups(0, network, tally)
    masked = [one.reward is None for group in groups for one in group.tried]
    assert masked == [False, True] * 6
    assert tally.means()["masked"] == 0.5
    assert len(tally.values["reward"]) == 6
    batch = await algorithm.batch(0, network)
    assert len(batch.rows) <= 6

    async def never(*given: Any) -> Any:
        raise ModelUnavailable("the provider is down")

    monkeypatch.setattr(rollouts.stage, "review", never)
    assert (await algorithm.batch(0, network)).rows == ()


async def test_a_student_that_cannot_be_judged_is_left_out(
    desk_traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm, network, rollouts = await made(desk_traces, tmp_path, *TEACHER)

    async def down(*given: Any) -> Any:
        raise ModelUnavailable("the student is down")

    monkeypatch.setattr(rollouts.stage, "draft", down)
    batch = await algorithm.batch(0, network)
    assert batch.rows == ()
    assert batch.metrics["no_draft"] == 1.0
    monkeypatch.undo()
    assert (await algorithm.batch(0, network)).metrics["no_draft"] == 0.0  # After the outage it is tried again.


async def test_a_word_that_cannot_be_read_costs_and_changes_nothing(
    desk_traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, network, rollouts = await made(desk_traces, tmp_path, *TEACHER, "max_new_tokens=3")
    tally = Tally()
    groups = await rollouts.groups(0, network, tally)
    assert tally.means()["malformed"] == 1.0
    assert {round(one.reward, 4) for group in groups for one in group.tried if one.reward is not None} == {
        round(-0.5 - 3 * 0.0005, 4)
    }


async def test_guidance_that_hands_over_the_answer_is_fined(desk_traces: Traces, tmp_path: Path) -> None:
    _, network, rollouts = await made(desk_traces, tmp_path, *TEACHER, "questions=8", "group=2")
    plain, fined = Tally(), Tally()
    await rollouts.groups(0, network, plain)
    rollouts.tasks = [task.model_copy(update={"payload": {**task.payload, "answer": "use"}}) for task in rollouts.tasks]
    await rollouts.groups(0, network, fined)
    assert plain.means()["leaked"] == 0.0
    assert fined.means()["leaked"] > 0.0
    lost = sum(plain.values["reward"]) - sum(fined.values["reward"])
    assert lost == pytest.approx(sum(fined.values["leaked"]))


class Told:
    """Rollouts with known rewards: one of two replies to one prompt is good."""

    fresh = True

    def __init__(self, good: list[int], bad: list[int]) -> None:
        self.pair = (good, bad)

    async def groups(self, step: int, network: Any, tally: Tally) -> list[Group]:
        prompt = [5, 6, 7]
        return [
            Group("q", tuple(
                Tried((([*prompt, *reply], ((3, 3 + len(reply)),)),), reward)
                for reply, reward in zip(self.pair, (1.0, 0.0), strict=True)
            ))
        ]  # fmt: skip

    async def close(self) -> None: ...


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("updates", [1, 3])
async def test_every_variant_makes_the_better_reply_more_likely(variant: str, updates: int) -> None:
    network = load_network(checkpoint_folder("pocket-student"))
    told = Told([10, 11, 12], [20, 21, 22, 23, 24])
    algorithm = Grpo(told, network, config(f"variant={variant}", "kl=0.01"), World())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    rows = [
        Row(ids=torch.tensor([5, 6, 7, *reply]).numpy(), imitate=(torch.arange(3 + len(reply)) > 2).float().numpy())
        for reply in told.pair
    ]

    def gap() -> float:
        good, bad = logprobs(network, rows, micro_batch=2, device=CPU)
        return float(good.sum() / 3 - bad.sum() / 5)

    before = gap()
    for step in range(4):
        batch = await algorithm.batch(step, network)
        for _ in range(updates):
            optimizer.zero_grad()
            loss_of(network, batch.rows, algorithm.rules, CPU)[0].backward()
            optimizer.step()
    assert gap() > before + 0.5


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"), [(1.5, 1.0, False), (1.5, -1.0, True), (0.5, 1.0, True), (0.5, -1.0, False)]
)
def test_the_clip_stops_where_the_paper_says(ratio: float, advantage: float, moves: bool) -> None:
    network = load_network(checkpoint_folder("pocket-student"))
    ids, marked = torch.tensor([5, 6, 7]).numpy(), torch.tensor([0.0, 0.0, 1.0]).numpy()
    (now,) = logprobs(network, [Row(ids=ids, imitate=marked)], micro_batch=1, device=CPU)
    row = Row(ids=ids, advantage=marked * advantage, old=now - math.log(ratio))
    loss, _ = loss_of(network, [row], LossRules(clip_low=0.2, clip_high=0.2), CPU)
    loss.backward()
    moved = any(float(weight.grad.abs().max()) > 0 for weight in network.parameters() if weight.grad is not None)
    assert moved is moves
    held = min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
    assert float(loss.detach()) == pytest.approx(-held, rel=1e-4)


@given(st.floats(-6, 0), st.floats(-6, 0))
def test_the_divergence_estimate_is_never_negative(one: float, other: float) -> None:
    value = float(divergence_estimate(torch.tensor(one), torch.tensor(other)))
    assert value >= -1e-5
    if one == other:
        assert value == 0


async def test_a_student_learns_from_its_own_sessions(desk_traces: Traces, tmp_path: Path) -> None:
    more = (*STUDENT, "steps=3", "questions=3", "group=3", "optimizer.lr=5e-4", "optimizer.warmup=0")
    await train(order(desk_traces, tmp_path, *more))
    steps = read_log(tmp_path / "run")
    assert all(0 <= step.metrics["reward"] <= 1 for step in steps)
    told = any(step.metrics["telling_groups"] for step in steps[:-1])
    assert steps[-1].metrics["kl"] > 0 or not told


async def test_recorded_tries_are_compared_in_groups(bases: Bases, tmp_path: Path) -> None:
    url = await bases.new()
    for value in (0.0, 1.0, 1.0):
        bodies: list[Body] = [
            SessionStarted(task=Task(prompt="Question?")),
            Attempted(attempt=Attempt(output=f"answer {value}")),
            Answered(answer=f"answer {value}"),
            Finished(status="succeeded"),
            Rewarded(reward=Reward(value=value, source="check")),
        ]
        await store_bodies(tmp_path, url, bodies)
    await exported(url, tmp_path / "t.jsonl")
    offline = config("rollouts=offline", "data.reviews=[pending]", "data.deduplicate=false")
    asked = Order(offline, str(tmp_path / "t.jsonl"), tmp_path / "run")
    prepared = await prepare(asked)
    rollouts = _rollouts(asked.config, asked, prepared, World())  # pyright: ignore
    (first, *_) = await rollouts.groups(0, None, Tally())  # pyright: ignore
    assert [one.reward for one in first.tried] == [0.0, 1.0, 1.0]
    assert (await train(asked)).status == "succeeded"


async def test_bad_orders_are_refused(desk_traces: Traces, bases: Bases, tmp_path: Path) -> None:
    def asked(*more: str, **loop: Any) -> Order:
        return order(desk_traces, tmp_path / str(len(list(tmp_path.iterdir()))), *more, **loop)

    with pytest.raises(ConfigError, match="none is named"):
        await train(asked("role=teacher", "model=pocket-teacher"))
    with pytest.raises(ConfigError, match="judge has no rollouts"):
        await train(asked("role=judge", "loop=loop.yaml"))
    with pytest.raises(ConfigError, match="no model"):
        await train(asked("loop=loop.yaml", agent={"type": "python", "import_path": "json:dumps"}))
    silent = {
        "checks": [],
        "teacher": {"llm": None},
        "rim": {"active_judges": {"process": False, "helpfulness": False}},
    }
    with pytest.raises(TrainError, match="10 steps in a row had nothing"):
        await train(asked(*STUDENT, "steps=12", "questions=1", "group=2", **silent))
    one = tmp_path / "one.jsonl"
    lines = desk_traces.file.read_text("utf-8").splitlines()
    one.write_text("\n".join([line for line in lines if json.loads(line)["session_reward"]["score"] == 1][:3]), "utf-8")
    with pytest.raises(ConfigError, match="has two different rewards"):
        await train(Order(config("rollouts=offline"), str(one), tmp_path / "same"))
