"""The configuration: a typed, frozen tree, read from YAML, every error with its file and line."""

from atlas.config.agent import (
    AgentConfig,
    EnvironmentConfig,
    GivenAgentConfig,
    HttpAgentConfig,
    McpServerConfig,
    ModelAgentConfig,
    ProcessAgentConfig,
    PythonAgentConfig,
    ToolConfig,
)
from atlas.config.dotenv import load_dotenv, parse_dotenv
from atlas.config.env import expand_env
from atlas.config.judges import (
    CheckConfig,
    ExactCheck,
    JsonSchemaCheck,
    NumericCheck,
    PythonCheck,
    RegexCheck,
    RimConfig,
)
from atlas.config.learning import (
    CompareConfig,
    FlipGateConfig,
    LearningConfig,
    LearningPrompts,
    PruningConfig,
    RentConfig,
)
from atlas.config.llm import Block, LLMConfig, PriceConfig, RetryConfig
from atlas.config.load import config_for, load_config, parse_config
from atlas.config.orchestration import OrchestrationConfig
from atlas.config.proxy import ProxyBudgetConfig, ProxyConfig
from atlas.config.reference import PythonReference
from atlas.config.roles import StudentConfig, StudentPrompts, TeacherConfig, TeacherPrompts
from atlas.config.safety import DriftConfig, RedactionConfig, ReviewConfig, RuntimeSafetyConfig
from atlas.config.storage import StorageConfig
from atlas.config.teaching import AdaptiveTeachingConfig, HistoryConfig, ProbeConfig, RewardConfig, ThresholdsConfig
from atlas.config.telemetry import TelemetryConfig
from atlas.config.tree import AtlasConfig, Seat

__all__ = [
    "AdaptiveTeachingConfig",
    "AgentConfig",
    "AtlasConfig",
    "Block",
    "CheckConfig",
    "CompareConfig",
    "DriftConfig",
    "EnvironmentConfig",
    "ExactCheck",
    "FlipGateConfig",
    "GivenAgentConfig",
    "HistoryConfig",
    "HttpAgentConfig",
    "JsonSchemaCheck",
    "LLMConfig",
    "LearningConfig",
    "LearningPrompts",
    "McpServerConfig",
    "ModelAgentConfig",
    "NumericCheck",
    "OrchestrationConfig",
    "PriceConfig",
    "ProbeConfig",
    "ProcessAgentConfig",
    "ProxyBudgetConfig",
    "ProxyConfig",
    "PruningConfig",
    "PythonAgentConfig",
    "PythonCheck",
    "PythonReference",
    "RedactionConfig",
    "RegexCheck",
    "RentConfig",
    "RetryConfig",
    "ReviewConfig",
    "RewardConfig",
    "RimConfig",
    "RuntimeSafetyConfig",
    "Seat",
    "StorageConfig",
    "StudentConfig",
    "StudentPrompts",
    "TeacherConfig",
    "TeacherPrompts",
    "TelemetryConfig",
    "ThresholdsConfig",
    "ToolConfig",
    "config_for",
    "expand_env",
    "load_config",
    "load_dotenv",
    "parse_config",
    "parse_dotenv",
]
