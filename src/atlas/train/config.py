"""What a training run goes by. Importing this needs no torch.

`method` chooses the algorithm; every other key has a default, and a key that does not exist is an error with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

from atlas.config.explain import explain
from atlas.config.llm import Block
from atlas.config.yaml_text import Document, Problem, read_yaml
from atlas.export import Role
from atlas.schema.errors import ConfigError
from atlas.train.source import DataConfig

Method = Literal["sft", "gkd", "grpo"]
METHODS: tuple[Method, ...] = ("sft", "gkd", "grpo")


class OptimizerConfig(Block):
    """AdamW and its rate."""

    lr: float = Field(default=1e-3, gt=0)
    """Peak rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the two moments."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    warmup: int = Field(default=5, ge=0)
    """Steps until the peak."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls to zero at the last step."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""


class LoraConfig(Block):
    """Low-rank adapters instead of all weights; they are merged into the checkpoint at the end.

    Source: Hu et al., arXiv 2106.09685.
    """

    rank: int = Field(default=8, ge=1)
    """Rank of each update."""
    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear layers that get one."""


class RunConfig(Block):
    """What every method shares."""

    role: Role = "student"
    """Whose turns are trained."""
    model: str = "pocket-student"
    """The checkpoint to start from: a folder, or the name of one that ships with Atlas."""
    data: DataConfig = DataConfig()
    """Which sessions."""
    steps: int = Field(default=100, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(default=32, ge=1)
    """Sequences of one step, on all processes together."""
    micro_batch: int = Field(default=32, ge=1)
    """Sequences that go through the model at once; smaller needs less memory and changes nothing else."""
    max_tokens: int = Field(default=1024, ge=8)
    """Longer sequences are left out, and counted."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer."""
    lora: LoraConfig | None = None
    """Adapters; without them all weights are trained."""
    seed: int = 0
    """Of data order, sampling and new weights."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between checkpoints from which a run can be resumed."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of them stay."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None leaves it to torch."""
    device: str = "cpu"
    """`cpu`, `cuda`, `cuda:1`, …"""
    tracker: Literal["none", "tensorboard", "wandb"] = "none"
    """Where metrics go beside `log.jsonl`; needs the package of that name."""
    project: str = "atlas"
    """The tracker's project."""


class SftConfig(RunConfig):
    """Imitation of what stood: cross-entropy on the role's own tokens, and on nothing else."""

    method: Literal["sft"] = "sft"
    """Which method."""
    pack: bool = False
    """Whether several conversations share a row, each blind to the others: less padding."""


class GkdConfig(RunConfig):
    """Generalised knowledge distillation on the student's own samples. Source: Agarwal et al., arXiv 2306.13649."""

    method: Literal["gkd"] = "gkd"
    """Which method."""
    teacher: str | None = None
    """The teacher's checkpoint, or the URL of a server that returns `prompt_logprobs`; None: the start model itself."""
    teacher_sees: Literal["prompt", "guidance"] = "prompt"
    """`guidance`: the teacher reads the prompt under guidance, the student the first one: guidance is distilled."""
    on_policy: float = Field(default=0.5, ge=0, le=1, alias="lambda")
    """Lambda: share of the batches whose replies the student samples itself."""
    beta: float = Field(default=0.5, ge=0, le=1)
    """0 is KL(teacher, student), 1 is KL(student, teacher), between them the generalised Jensen-Shannon divergence."""
    temperature: float = Field(default=1.0, gt=0)
    """Of both distributions in the loss, and of the student's samples."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Length of a sampled reply."""
    top_k: int = Field(default=20, ge=1)
    """Log-probabilities per token that are asked from a server; the rest of the mass counts as one outcome."""


class TeachingConfig(Block):
    """The reward of a teacher's word, verifier first.

    r = (p_taught - p_base) - lambda * max(0, p_base - p_taught) - cost * tokens - leak.
    """

    harm: float = Field(default=1.0, ge=0)
    """Lambda: how much more a lost success weighs than a won one."""
    token_cost: float = Field(default=0.0005, ge=0)
    """Per token that the teacher wrote."""
    leak: float = Field(default=1.0, ge=0)
    """Taken off when the guidance hands over the expected answer."""
    malformed: float = Field(default=0.5, ge=0)
    """Taken off when no review can be read from the reply."""
    base_samples: int = Field(default=1, ge=1)
    """Drafts of the frozen student per question (k); p_base is their mean."""
    taught_samples: int = Field(default=1, ge=1)
    """Answers of the frozen student per guidance (m); p_taught is their mean."""


class GrpoConfig(RunConfig):
    """Group-relative policy optimisation, of a teacher with the frozen student in the loop, or of a student.

    Source: Shao et al., arXiv 2402.03300.
    """

    method: Literal["grpo"] = "grpo"
    """Which method."""
    variant: Literal["grpo", "dr_grpo", "dapo", "gspo"] = "grpo"
    """grpo (2402.03300); dr_grpo without length and deviation bias (2503.20783); dapo with token-level loss, a higher
    upper clip, and groups of one reward left out (2503.14476); gspo with one ratio per sequence (2507.18071)."""
    rollouts: Literal["online", "offline"] = "online"
    """online: the loop of `loop` is played with the model as it is now; offline: recorded tries in groups."""
    loop: str | None = None
    """The configuration file of the loop that is played; needed online."""
    questions: int = Field(default=8, ge=1)
    """Questions of one step."""
    group: int = Field(default=8, ge=2)
    """Samples for each question."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the samples."""
    updates: int = Field(default=1, ge=1)
    """Optimizer steps on one set of rollouts."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Length of a sample; dr_grpo divides by it."""
    clip: float | None = Field(default=None, gt=0, lt=1)
    """The ratio's lower distance from 1; None: 0.2, for gspo 3e-4."""
    clip_high: float | None = Field(default=None, gt=0)
    """The upper one; None: as `clip`, for dapo 0.28, for gspo 4e-4."""
    kl: float = Field(default=0.02, ge=0)
    """Weight of the divergence from the start model; it is logged in any case."""
    teaching: TeachingConfig = TeachingConfig()
    """The reward of a teacher."""


TrainConfig = Annotated[SftConfig | GkdConfig | GrpoConfig, Field(discriminator="method")]
_POWER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_CONFIG: TypeAdapter[SftConfig | GkdConfig | GrpoConfig] = TypeAdapter(TrainConfig)
_CLASSES: dict[str, type[RunConfig]] = {"sft": SftConfig, "gkd": GkdConfig, "grpo": GrpoConfig}


def load_train_config(
    method: Method, path: Path | None, assignments: Sequence[str] = ()
) -> SftConfig | GkdConfig | GrpoConfig:
    """The configuration of a run: a YAML file, if one is given, then `key=value` pairs in the order they are given.

    Raises:
        ConfigError: one line for each problem, with file and line.
    """
    document = Document(value={})
    if path is not None:
        try:
            document = read_yaml(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({type(error).__name__}).", "Give a YAML file.") from error
    tree = document.value if document.value is not None else {}
    if document.problems or not isinstance(tree, dict):
        problems = document.problems or [Problem(0, "the file is not a mapping of keys")]
        raise ConfigError("\n".join(_line(str(path), problem) for problem in problems))
    named: Any = tree.setdefault("method", method)
    if named != method:
        raise ConfigError(f"{path} says method: {named}, the command says {method}.", "Change one of them.")
    for assignment in assignments:
        _assign(tree, assignment)
    document.value = tree = _powers(tree)
    try:
        return _CONFIG.validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        details = [{**one, "loc": one["loc"][1:]} for one in error.errors(include_url=False)]
        told = [explain(one, document, _CLASSES[method]) for one in details]  # pyright: ignore[reportArgumentType]
        lines = [_line(str(path or "--set"), problem) for problem in sorted({one for one in told if one})]
        raise ConfigError("\n".join(lines)) from error


def _assign(tree: dict[str, Any], assignment: str) -> None:
    """Set `a.b=value`; the value is read as YAML.

    Raises:
        ConfigError: it has no `=`, or leads through something that is no block.
    """
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set {assignment!r} is no assignment.", "Write --set key=value, as in --set steps=20.")
    read = read_yaml(text)
    if read.problems:
        raise ConfigError(f"--set {assignment!r} has no readable value.", "Quote it.")
    value: Any = read.value
    place = tree
    *blocks, last = name.strip().split(".")
    for block in blocks:
        inner: Any = place.setdefault(block, {})
        if type(inner) is not dict:
            raise ConfigError(f"--set {assignment!r}: {block} is no block.", "Write --set block.key=value.")
        place = cast("dict[str, Any]", inner)
    place[last] = value


def _powers(value: Any) -> Any:
    """The tree with texts such as `1e-4` as numbers: YAML takes them for texts, nobody else does."""
    if type(value) is dict:
        return {key: _powers(child) for key, child in cast("dict[str, Any]", value).items()}
    return float(value) if type(value) is str and _POWER.fullmatch(value) else value


def _line(name: str, problem: Problem) -> str:
    return f"{name}:{problem.line}: {problem.text}" if problem.line else f"{name}: {problem.text}"
