"""Every failure Atlas raises, named by the boundary it crossed.

AtlasError
├── ConfigError            the configuration file, the environment or an argument
├── ModelError             a model provider
│   ├── ModelUnavailable   outage, 5xx, connection refused, rate limit after all retries
│   ├── ModelRefused       the provider refused the request itself (401, 403, 404, 400)
│   ├── ModelTimeout       no complete answer before the deadline
│   └── ModelBadReply      the reply is not what the protocol or the asked-for schema says
├── AgentError             the user's agent raised, hung, or returned nothing usable
├── ToolError              a tool raised or timed out
├── JudgeError             a judge gave no verdict
├── StoreError             the database or the local spool
│   ├── StoreUnavailable   it cannot be reached
│   └── StaleVersion       somebody else wrote a newer version first
├── TrainError             a training run
├── BudgetError            a token, money or time budget is spent
└── DiscoveryError         the user's project could not be read
"""

from __future__ import annotations


class AtlasError(Exception):
    """Root of all. `remedy` is one sentence that says what the user can do about it."""

    boundary = "atlas"
    session_id: str | None = None
    """The session it ended, once it has ended one."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Cause and remedy as two sentences, even where a provider's words are the cause."""
        cause = self.message.rstrip()
        stop = "" if not self.remedy or cause.endswith((".", "!", "?", "…", ":")) else "."
        return f"{cause}{stop} {self.remedy}".strip()


class ConfigError(AtlasError):
    """The configuration, an environment variable or an argument is wrong."""

    boundary = "config"


class ModelError(AtlasError):
    """A model provider failed. `retryable` says whether the same call may succeed later."""

    boundary = "model"
    retryable = False


class ModelUnavailable(ModelError):
    """The provider is down, overloaded or cannot be reached."""

    retryable = True

    def __init__(self, message: str, remedy: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s


class ModelRefused(ModelError):
    """The provider refused the request itself: bad key, unknown model, bad parameters."""


class ModelTimeout(ModelError):
    """No complete answer arrived before the deadline."""

    retryable = True


class ModelBadReply(ModelError):
    """The reply does not follow the protocol or the requested schema. `text` is what came."""

    def __init__(self, message: str, remedy: str = "", *, text: str = "") -> None:
        super().__init__(message, remedy)
        self.text = text


class AgentError(AtlasError):
    """The user's agent raised, hung, or returned nothing usable."""

    boundary = "agent"


class ToolError(AtlasError):
    """A tool raised or timed out."""

    boundary = "tool"


class JudgeError(AtlasError):
    """A judge gave no verdict."""

    boundary = "judge"


class StoreError(AtlasError):
    """The database or the local spool failed."""

    boundary = "store"


class StoreUnavailable(StoreError):
    """The database cannot be reached."""


class StaleVersion(StoreError):
    """A compare-and-swap lost: somebody else wrote a newer version first."""


class TrainError(AtlasError):
    """A training run cannot start or go on; its last checkpoint stands."""

    boundary = "train"


class BudgetError(AtlasError):
    """A token, money or time budget is spent."""

    boundary = "budget"


class DiscoveryError(AtlasError):
    """The user's project could not be read."""

    boundary = "discovery"
