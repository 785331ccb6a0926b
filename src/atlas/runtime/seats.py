"""From a configuration to student and teacher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from atlas.agents import (
    Agent,
    AnyTool,
    Gate,
    HttpAgent,
    McpAgent,
    McpSession,
    ModelAgent,
    ProcessAgent,
    Surroundings,
    Tool,
    World,
    WorldAgent,
    agent_of,
    load_object,
)
from atlas.config import (
    AtlasConfig,
    GivenAgentConfig,
    HttpAgentConfig,
    LLMConfig,
    ModelAgentConfig,
    ProcessAgentConfig,
    PythonAgentConfig,
    Seat,
)
from atlas.models import HttpPool, Model, open_model
from atlas.roles import Student, StudentLimits, StudentPrompts, Teacher, TeacherLimits, TeacherPrompts
from atlas.schema.errors import ConfigError


class Models:
    """The models of a configuration; seats that name the same one share it."""

    def __init__(self, config: AtlasConfig, http: HttpPool, folder: Path) -> None:
        self._config = config
        self.http = http
        self._folder = folder
        self._open: dict[str, Model] = {}

    def seat(self, seat: Seat) -> Model | None:
        """The model in a seat; None where the configuration names none.

        Raises:
            ConfigError: unknown provider, missing key, or a checkpoint that cannot be read.
        """
        llm = self._config.llm_of(seat)
        return None if llm is None else self.open(llm)

    def open(self, llm: LLMConfig) -> Model:
        """The model of a block."""
        key = llm.model_dump_json()
        if key not in self._open:
            self._open[key] = open_model(llm, self.http, base=self._folder)
        return self._open[key]

    def put(self, llm: LLMConfig, model: Model) -> None:
        """Let a model that is open already answer wherever the configuration has this block."""
        self._open[llm.model_dump_json()] = model

    @property
    def opened(self) -> tuple[Model, ...]:
        """The models that are open."""
        return tuple(self._open.values())

    async def close(self) -> None:
        """Close every model, then the connections."""
        for model in self._open.values():
            await model.close()
        await self.http.close()


def open_agent(
    config: AtlasConfig,
    models: Models,
    folder: Path,
    *,
    given: Callable[..., Any] | Agent | None,
    user_loop: asyncio.AbstractEventLoop | None,
) -> Agent:
    """The user's agent.

    Raises:
        ConfigError: its code cannot be imported, or no callable was given where one is needed.
    """
    gate = _gate(config, folder, user_loop)
    agent = _bare_agent(config, models, folder, Surroundings(gate, user_loop), given)
    if gate.holds and not agent.abilities.steps:
        raise ConfigError(
            f"orchestration.step_gate cannot hold back {agent.name}: its steps are not seen.",
            "Let its code take its steps by ctx.step, or remove step_gate.",
        )
    if config.environment is None:
        return agent
    make = _callable(config.environment.import_path, folder, "environment.import_path")
    return WorldAgent(agent, World(make, config.environment.arguments, config.environment.max_steps))


def _bare_agent(
    config: AtlasConfig,
    models: Models,
    folder: Path,
    around: Surroundings,
    given: Callable[..., Any] | Agent | None,
) -> Agent:
    """The agent without a world."""
    match config.agent:
        case ModelAgentConfig() as agent:
            own = [Tool.load(tool, root=folder, loop=around.loop) for tool in agent.tools]

            def make(more: Sequence[AnyTool]) -> ModelAgent:
                return ModelAgent(
                    models.open(config.llm_of("student") or agent.llm),
                    system_prompt=agent.system_prompt or "",
                    tools=[*own, *more],
                    tool_choice=config.student.tool_choice,
                    gate=around.gate,
                )

            sessions = [McpSession(server, folder=folder) for server in agent.tool_servers]
            return McpAgent(make, sessions) if sessions else make(())
        case PythonAgentConfig() as agent:
            return agent_of(load_object(agent.target, root=folder), around, where=agent.target)
        case HttpAgentConfig() as agent:
            return HttpAgent(agent, models.http)
        case ProcessAgentConfig() as agent:
            return ProcessAgent(agent, folder=folder)
        case GivenAgentConfig():
            if given is None:
                raise ConfigError("agent.type given needs a callable.", "Call run(task, agent=my_function).")
            return agent_of(given, around, where="agent")


def _gate(config: AtlasConfig, folder: Path, loop: asyncio.AbstractEventLoop | None) -> Gate:
    path = config.orchestration.step_gate
    return Gate(None if path is None else _callable(path, folder, "orchestration.step_gate"), loop=loop)


def _callable(path: str, folder: Path, key: str) -> Callable[..., Any]:
    found = load_object(path, root=folder)
    if not callable(found):
        raise ConfigError(f"{path} is not callable.", f"Name a function or a class in {key}.")
    return found


def student_of(config: AtlasConfig, agent: Agent) -> Student:
    """The student as configured."""
    prompts, extra, shipped = config.student.prompts, config.student.prompt_guidance, StudentPrompts.default()
    own = prompts.executor or ("" if _has_own_prompt(config) else shipped.answer)
    return Student(
        agent,
        StudentPrompts(
            answer=_with(own, extra.get("executor")),
            plan=_with(prompts.planner or shipped.plan, extra.get("planner")),
            synthesis=_with(prompts.synthesizer or shipped.synthesis, extra.get("synthesizer")),
        ),
        StudentLimits(
            max_plan_tokens=config.student.max_plan_tokens,
            max_step_tokens=config.student.max_step_tokens,
            max_synthesis_tokens=config.student.max_synthesis_tokens,
            step_timeout_s=config.orchestration.step_timeout_seconds,
        ),
    )


def teacher_of(config: AtlasConfig, model: Model | None) -> Teacher | None:
    """The teacher as configured; None without a model."""
    if model is None:
        return None
    shipped = TeacherPrompts.default()
    return Teacher(
        model,
        TeacherPrompts(
            verify=config.teacher.prompts.validation or shipped.verify,
            plan=config.teacher.prompts.plan_review or shipped.plan,
        ),
        TeacherLimits(
            max_review_tokens=config.teacher.max_review_tokens,
            max_verify_tokens=config.teacher.validation_max_tokens,
            max_guidance_tokens=config.teacher.guidance_max_tokens,
        ),
    )


def _with(text: str, more: str | None) -> str:
    return f"{text}\n{more}".strip() if more else text


def _has_own_prompt(config: AtlasConfig) -> bool:
    return isinstance(config.agent, ModelAgentConfig) and bool(config.agent.system_prompt)
