"""One training run from sessions to a checkpoint: read, choose, encode, train, write, record."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from atlas.models.llama import Shape
from atlas.schema import Task, new_id, now
from atlas.schema.errors import AtlasError, ConfigError, TrainError
from atlas.store.ledger import RunRow, open_ledger
from atlas.train.config import GkdConfig, GrpoConfig, SftConfig
from atlas.train.encoding import Codec, Encoded, encode
from atlas.train.inspect import Summary, summary
from atlas.train.manifest import (
    Manifest,
    fingerprint,
    git_commit,
    read_manifest,
    versions,
    weights_sha256,
    write_manifest,
)
from atlas.train.places import checkpoint_folder, serving_name
from atlas.train.select import Chosen, choose
from atlas.train.source import Read, need_examples, read_examples

if TYPE_CHECKING:
    from atlas.train.engine import Algorithm, StepLog
    from atlas.train.network import Llama
    from atlas.train.playing import Rollouts
    from atlas.train.teachers import Teacher
    from atlas.train.world import World

AnyConfig: TypeAlias = "SftConfig | GkdConfig | GrpoConfig"
FINAL = "final"
"""Folder of the trained checkpoint inside a run's."""


@dataclass(frozen=True, slots=True)
class Order:
    """A run as somebody asks for it."""

    config: AnyConfig
    """What it goes by."""
    source: str
    """Where the sessions are."""
    output: Path
    """The run's folder."""
    base: Path = Path()
    """Folder from which checkpoints and configuration files are named."""
    resume: bool = False
    """Whether to go on with the run that is in the folder."""
    ledger: str | Path | None = None
    """The database where the run is recorded, beside `run.json`; None records it nowhere else."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a run needs before a model is loaded."""

    read: Read
    """What the source holds."""
    chosen: Chosen
    """What is trained on, and what is held out."""
    encoded: Encoded
    """The same as token ids."""
    codec: Codec
    """Tokenizer and template of the start model."""
    folder: Path
    """The start model."""
    longest: int
    """Tokens of a row at most."""

    @property
    def tasks(self) -> list[Task]:
        """The questions that are trained on, each once."""
        asked = (self.read.tasks[example.session_id] for example in self.chosen.train)
        return list({task.identity: task for task in asked}.values())

    @property
    def held_out_tasks(self) -> list[Task]:
        """The questions that are kept for evaluation, each once."""
        asked = (self.read.tasks[example.session_id] for example in self.chosen.evaluation)
        return list({task.identity: task for task in asked}.values())

    @property
    def summary(self) -> Summary:
        """In numbers."""
        return summary(self.read, self.chosen, self.encoded)


async def prepare(order: Order) -> Prepared:
    """Read and choose the data; needs no torch.

    Raises:
        ConfigError: source, checkpoint or configuration is wrong, or there is nothing to learn from.
        StoreError: the database cannot be read.
        TrainError: the file or the chat template cannot be used.
    """
    config = order.config
    folder = checkpoint_folder(config.model, order.base)
    context = Shape.load(folder / "config.json").context
    codec = Codec.load(folder, name=serving_name(config.model))
    online = config.method == "grpo" and config.rollouts == "online"
    take = "compare" if config.method == "grpo" else "imitate"
    role = "student" if online else config.role  # Online only the questions count, and every session has a student.
    read = await read_examples(order.source, config.data, role=role, take=take)
    need_examples(read, redacted(order.source))
    chosen = choose(read, config.data)
    if not chosen.train:
        raise ConfigError(
            f"All {len(read.examples)} examples were left out ({chosen.leaked} leaked, {chosen.weak} weak).",
            "See `atlas train inspect`, and loosen `data`.",
        )
    longest = min(config.max_tokens, context)
    encoded = Encoded(samples=(), too_long=0) if online else encode(chosen.train, codec, max_tokens=longest)
    return Prepared(read, chosen, encoded, codec, folder, longest)


async def train(order: Order, *, on_step: Callable[[StepLog], None] = lambda told: None) -> Manifest:
    """Do the run. Killed at any moment, the same order with `resume` gives the same weights, bit by bit.

    Raises:
        ConfigError: see `prepare`; or the folder holds another run.
        TrainError: the run failed; the manifest says why, and its last checkpoint stands.
    """
    import torch

    from atlas.train.world import World

    config = order.config
    if config.threads:
        torch.set_num_threads(config.threads)
    world = World.join(torch.device(config.device))
    try:
        manifest = _opened(order)
        prepared = await prepare(order)
        manifest = _filled(manifest, prepared, world)
        await _noted(order, manifest, world)
        try:
            metrics = await _train(order, prepared, world, on_step)
        except AtlasError as error:
            failed = {"status": "failed", "failure": error.message.splitlines()[0], "finished_at": now()}
            await _noted(order, manifest.model_copy(update=failed), world)
            raise
        done = {
            "status": "succeeded",
            "finished_at": now(),
            "metrics": metrics,
            "checkpoint": FINAL,
            "checkpoint_sha256": weights_sha256(order.output / FINAL),
        }
        manifest = manifest.model_copy(update=done)
        await _noted(order, manifest, world)
        return manifest
    finally:
        world.leave()


async def _noted(order: Order, manifest: Manifest, world: World) -> None:
    """Write the manifest down, and into the database where there is one."""
    if world.rank != 0:
        return
    write_manifest(order.output, manifest)
    if order.ledger is None:
        return
    made = {"checkpoint": None if manifest.checkpoint is None else str(order.output.resolve() / manifest.checkpoint)}
    told = manifest.model_dump(include=set(RunRow.model_fields)) | made
    async with open_ledger(order.ledger) as ledger:
        await ledger.put_run(RunRow.model_validate({**told, "manifest": manifest.model_dump(mode="json")}))


async def _train(
    order: Order, prepared: Prepared, world: World, on_step: Callable[[StepLog], None]
) -> dict[str, float]:
    """The torch part; returns the last step's metrics."""
    import torch

    from atlas.train.checkpoint import export_model
    from atlas.train.engine import Engine, read_log
    from atlas.train.network import add_lora, load_network
    from atlas.train.trackers import open_tracker

    config = order.config
    torch.manual_seed(config.seed)
    network = load_network(prepared.folder)
    if config.lora is not None:
        lora = config.lora
        if not add_lora(network, rank=lora.rank, alpha=lora.alpha, targets=lora.targets):
            raise ConfigError(f"No layer is named {', '.join(lora.targets)}.", "See lora.targets.")
    network.to(config.device)
    log, close = open_tracker(config, order.output) if world.rank == 0 else (None, None)

    def told(step: StepLog) -> None:
        on_step(step)
        if log is not None:
            log(step.step, {"loss": step.loss, "lr": step.lr, "grad_norm": step.grad_norm, **step.metrics})

    algorithm = algorithm_of(order, prepared, network, world)
    try:
        engine = Engine(network, algorithm, config, order.output, world, told)
        await engine.run(engine.resume() if order.resume else 0)
    finally:
        await algorithm.close()
        if close is not None:
            close()
    if world.rank == 0:
        export_model(network, prepared.folder, order.output / FINAL)
    world.wait()
    last = read_log(order.output)[-1]
    return {"loss": last.loss, **last.metrics}


def algorithm_of(order: Order, prepared: Prepared, network: Llama, world: World) -> Algorithm:
    """The algorithm that a configuration names.

    Raises:
        ConfigError: what it needs is missing.
    """
    from atlas.train.gkd import Gkd
    from atlas.train.grpo import Grpo
    from atlas.train.sft import Sft

    match order.config:
        case SftConfig() as config:
            return Sft(prepared.encoded.samples, config, world)
        case GkdConfig() as config:
            teacher = _teacher(config, order, prepared)
            return Gkd(prepared.chosen.train, prepared.codec, teacher, config=config, world=world)
        case GrpoConfig() as config:
            return Grpo(_rollouts(config, order, prepared, world), network, config, world)


def _rollouts(config: GrpoConfig, order: Order, prepared: Prepared, world: World) -> Rollouts:
    """Where the groups come from.

    Raises:
        ConfigError: the loop cannot be played, or the recorded tries say nothing.
    """
    from atlas.train.playing import RecordedGroups, StudentRollouts, TeacherRollouts
    from atlas.train.stage import Stage, local_policy, read_loop

    if config.rollouts == "offline":
        return RecordedGroups(prepared.chosen.train, prepared.codec, config, world)
    if config.role == "judge":
        raise ConfigError("A judge has no rollouts of its own.", "Set rollouts=offline, or train it by sft.")
    loop, folder = read_loop(config.loop, order.base)
    policy = local_policy(
        prepared.folder, config.model, temperature=config.temperature, max_new_tokens=config.max_new_tokens
    )
    stage = Stage.open(loop, folder, policy=policy, role=config.role)
    kind = TeacherRollouts if config.role == "teacher" else StudentRollouts
    return kind(prepared.tasks, stage, policy, prepared.codec, config=config, world=world)


def _teacher(config: GkdConfig, order: Order, prepared: Prepared) -> Teacher:
    """Who tells the distribution.

    Raises:
        ConfigError: there is no such checkpoint, or a server is asked for what only a checkpoint can do.
    """
    from atlas.train.network import load_network
    from atlas.train.teachers import LocalTeacher, ServerTeacher

    name = config.teacher or config.model
    if "://" in name:
        if config.temperature != 1.0:
            raise ConfigError("A server tells log-probabilities at temperature 1 only.", "Set temperature=1.")
        return ServerTeacher(name, prepared.codec, top_k=config.top_k)
    folder = checkpoint_folder(name, order.base)
    network = load_network(folder).to(config.device).requires_grad_(False)
    codec = Codec.load(folder)
    return LocalTeacher(network, codec, prepared.codec, config.temperature, config.micro_batch)


def _opened(order: Order) -> Manifest:
    """The manifest of a new run, or of the one that goes on.

    Raises:
        ConfigError: the folder holds a run and this is not to resume it, or there is none to resume.
    """
    found = read_manifest(order.output)
    config = order.config
    if found is not None and not order.resume:
        raise ConfigError(
            f"{order.output} holds a run already ({found.status}).", "Give another --output, or --resume."
        )
    if order.resume:
        if found is None:
            raise ConfigError(f"There is no run in {order.output}.", "Leave --resume out.")
        return found.model_copy(update={"status": "running", "failure": None, "finished_at": None})
    return Manifest(
        id=new_id(),
        method=config.method,
        role=config.role,
        status="running",
        config=config.model_dump(mode="json", by_alias=True),
        seed=config.seed,
        source=redacted(order.source),
        data="",
        examples=0,
        sessions=(),
        base=config.model,
        base_sha256="",
        git=git_commit(),
        versions=versions(),
        processes=1,
        started_at=now(),
    )


def _filled(manifest: Manifest, prepared: Prepared, world: World) -> Manifest:
    """The manifest with what was read.

    Raises:
        TrainError: the run goes on with other data than it began with.
    """
    told = fingerprint(prepared.chosen.train)
    if manifest.data not in ("", told):
        raise TrainError(
            "The source gives other examples than when the run began.",
            "Resume from an export instead of a live database, or start anew in another folder.",
        )
    return manifest.model_copy(
        update={
            "data": told,
            "examples": len(prepared.chosen.train),
            "sessions": tuple(dict.fromkeys(example.session_id for example in prepared.chosen.train)),
            "base_sha256": weights_sha256(prepared.folder),
            "processes": world.size,
        }
    )


def redacted(source: str) -> str:
    """A source without the password in its URL."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", source)
