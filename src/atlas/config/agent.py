"""The student that the user brings: a model with tools, a Python object, an HTTP service, or a program."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from atlas.config.llm import Block, LLMConfig
from atlas.config.reference import ImportPath, PythonReference
from atlas.schema import Effect


class ToolConfig(Block):
    """A Python function that the model may call. In YAML its import path alone is enough."""

    import_path: ImportPath
    """`pkg.mod:fn`; sync or async."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """As the model sees it; None takes the function's name."""
    description: str | None = None
    """One sentence for the model; None takes the docstring."""
    parameters: dict[str, Any] | None = None
    """JSON Schema of the arguments (a payload); None derives it from the signature."""
    effect: Effect = "external"
    """What calling it twice would do: none, idempotent (the same again), external (something in the world)."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        return {"import_path": value} if isinstance(value, str) else value


class McpServerConfig(Block):
    """A server of tools that speaks the Model Context Protocol; one session is kept for the agent's life."""

    name: str
    """How errors call it."""
    command: tuple[str, ...] = ()
    """A program that speaks it over stdin and stdout, and its arguments."""
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Variables added to the program's environment."""
    url: str | None = None
    """Or the address of a server that speaks it over HTTP."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Request headers; `${NAME}` is read from the environment."""
    tools: tuple[str, ...] | None = None
    """Only these of its tools; None takes all."""

    @model_validator(mode="after")
    def _one_way(self) -> McpServerConfig:
        if bool(self.command) == (self.url is not None):
            raise ValueError("give either command or url")
        return self


class ModelAgentConfig(Block):
    """A model with tools; `llm.provider` says whose. The two names mean the same."""

    type: Literal["openai", "litellm"]
    """openai or litellm."""
    name: str = "agent"
    """How it is recorded."""
    system_prompt: str | None = None
    """Its role; it stands in front of every conversation. None takes the one that ships with Atlas."""
    tools: tuple[ToolConfig, ...] = ()
    """Functions it may call."""
    tool_servers: tuple[McpServerConfig, ...] = ()
    """MCP servers whose tools it may call; they need the package `mcp`."""
    llm: LLMConfig
    """Its model."""

    @field_validator("tools")
    @classmethod
    def _distinct(cls, tools: tuple[ToolConfig, ...]) -> tuple[ToolConfig, ...]:
        names = [tool.name or tool.import_path.rpartition(":")[2] for tool in tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tools are called {twice!r}; give one of them another name")
        return tools


class PythonAgentConfig(PythonReference):
    """A Python callable (function, generator, class with `act` or `__call__`), or an agent of a framework as it is."""

    type: Literal["python"]
    """python."""
    name: str = "agent"
    """How it is recorded."""
    system_prompt: str | None = None
    """Taken because existing files have it; a callable brings its own role."""
    llm: LLMConfig | None = None
    """The model of teacher, probe, judges and curator where they name none; the callable does not see it."""


class HttpAgentConfig(Block):
    """A service that takes a JSON body by POST and answers with JSON."""

    type: Literal["http_api"]
    """http_api."""
    name: str = "agent"
    """How it is recorded."""
    system_prompt: str | None = None
    """Put before the prompt that is sent."""
    url: str = Field(repr=False)
    """Where to post; `${NAME}` is read from the environment."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Request headers; `${NAME}` is read from the environment."""
    payload_template: dict[str, Any] = Field(default_factory=lambda: {"prompt": "{prompt}"})
    """The body (a payload); `{prompt}` inside a text is replaced by the request with guidance and playbook, `{task}`
    by the bare request, `{playbook}` and `{guidance}` by these alone."""
    result_path: tuple[str | int, ...] | str = ()
    """Where in the reply the answer is: `data.choices.0.text`, or a list of keys; empty takes the whole reply. Of a
    stream of server-sent events it is where each event's piece of text is."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """Seconds for one request."""
    llm: LLMConfig | None = None
    """The model of teacher, probe, judges and curator where they name none; the service does not see it."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url


class ProcessAgentConfig(Block):
    """A program, started anew for each turn; what it prints to stdout is its answer."""

    type: Literal["process"]
    """process."""
    name: str = "agent"
    """How it is recorded."""
    command: tuple[str, ...] = Field(min_length=1)
    """The program and its arguments, as they are, without a shell; with the same places as `input`."""
    input: str | None = "{prompt}"
    """What it reads from stdin: `{prompt}` is the request with guidance and playbook, `{task}` the bare request,
    `{playbook}` and `{guidance}` these alone; null gives it an empty stdin."""
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Variables added to its environment."""
    timeout_seconds: float = Field(default=300.0, gt=0)
    """Seconds for one turn."""
    llm: LLMConfig | None = None
    """The model of teacher, probe, judges and curator where they name none; the program does not see it."""


class EnvironmentConfig(Block):
    """A world with `reset` and `step` that the student acts in."""

    import_path: ImportPath
    """`pkg.mod:attr`: a class or a function that makes a new one for each try."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What it is made with (a payload)."""
    max_steps: int = Field(default=20, ge=1, le=10_000)
    """Actions of one try."""


class GivenAgentConfig(Block):
    """A callable that is handed to `run` in Python; a file cannot name it."""

    type: Literal["given"]
    """given."""
    name: str = "agent"
    """How it is recorded."""
    llm: LLMConfig | None = None
    """The model of teacher, probe, judges and curator where they name none; the callable does not see it."""


AgentConfig = Annotated[
    ModelAgentConfig | PythonAgentConfig | HttpAgentConfig | ProcessAgentConfig | GivenAgentConfig,
    Field(discriminator="type"),
]
