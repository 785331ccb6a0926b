"""The root of the configuration."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from atlas.config.agent import AgentConfig, EnvironmentConfig
from atlas.config.judges import CheckConfig, RimConfig
from atlas.config.learning import LearningConfig
from atlas.config.llm import Block, LLMConfig, PriceConfig
from atlas.config.orchestration import OrchestrationConfig
from atlas.config.proxy import ProxyConfig
from atlas.config.roles import StudentConfig, TeacherConfig
from atlas.config.safety import RuntimeSafetyConfig
from atlas.config.storage import StorageConfig
from atlas.config.teaching import AdaptiveTeachingConfig
from atlas.config.telemetry import TelemetryConfig
from atlas.schema import Lane

Seat = Literal["student", "teacher", "judge", "arbiter", "probe", "curator"]
"""A role that asks a model."""


class AtlasConfig(Block):
    """Everything a run goes by. Only `agent` has no default."""

    agent: AgentConfig
    """The student."""
    environment: EnvironmentConfig | None = None
    """The world that the student acts in, step by step; without one it answers."""
    student: StudentConfig = StudentConfig()
    """How the student is asked."""
    teacher: TeacherConfig = TeacherConfig()
    """How the teacher is asked."""
    orchestration: OrchestrationConfig = OrchestrationConfig()
    """Retries, time and tokens."""
    checks: tuple[CheckConfig, ...] = ()
    """Checks that are executed on every answer, before any judge."""
    rim: RimConfig = RimConfig()
    """The judges."""
    adaptive_teaching: AdaptiveTeachingConfig = AdaptiveTeachingConfig()
    """How the lane is chosen."""
    storage: StorageConfig | None = StorageConfig()
    """Where sessions are kept; null keeps them in memory until the process ends."""
    learning: LearningConfig = LearningConfig()
    """The playbooks."""
    runtime_safety: RuntimeSafetyConfig = RuntimeSafetyConfig()
    """Drift alarms and the review gate."""
    telemetry: TelemetryConfig = TelemetryConfig()
    """Where sessions are told as OpenTelemetry traces."""
    proxy: ProxyConfig = ProxyConfig()
    """The door for agents that change only their base URL."""
    prices: dict[str, PriceConfig] = Field(default_factory=dict)
    """Prices by model name that overrule the built-in table; `price` of an `llm` block overrules both."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Labels of every session of this configuration (a payload)."""

    @property
    def forced_lane(self) -> Lane | None:
        """The lane for every session, if one is configured."""
        return self.orchestration.forced_mode or self.adaptive_teaching.mode_override

    @property
    def uses_user_code(self) -> bool:
        """Whether a session calls the user's own Python: agent, tools, checks, reward, triage, world or gate."""
        agent, teaching = self.agent, self.adaptive_teaching
        own_agent = agent.type in ("python", "given")
        if agent.type == "openai" or agent.type == "litellm":
            own_agent = bool(agent.tools)
        own_judge = teaching.reward.type == "python" or any(check.type == "python" for check in self.checks)
        own_world = self.environment is not None or self.orchestration.step_gate is not None
        return own_agent or own_judge or own_world or teaching.triage_adapter is not None

    @property
    def secret_variables(self) -> frozenset[str]:
        """Environment variables that hold the keys of the configured models."""
        seats: tuple[Seat, ...] = get_args(Seat)
        models = [llm for seat in seats if (llm := self.llm_of(seat)) is not None] + [*self.rim.more_models]
        return frozenset(llm.api_key_env for llm in models if llm.api_key_env is not None)

    def llm_of(self, seat: Seat) -> LLMConfig | None:
        """The model in a seat, with its price: its own, else the teacher's, else the agent's; None without one."""
        teacher = self.teacher.llm or self.agent.llm
        own: dict[Seat, LLMConfig | None] = {
            "student": self.agent.llm,
            "teacher": teacher,
            "judge": self.rim.small_model or teacher,
            "arbiter": self.rim.large_model or teacher,
            "probe": self.adaptive_teaching.probe.llm or teacher,
            "curator": self.learning.llm or teacher,
        }
        llm = own[seat]
        if llm is None or llm.price is not None or llm.model not in self.prices:
            return llm
        return llm.model_copy(update={"price": self.prices[llm.model]})
