"""From a configuration to a proxy: its upstreams, its budget, its teacher and its sessions."""

from __future__ import annotations

import os
from pathlib import Path

from atlas.config import AtlasConfig, GivenAgentConfig, LLMConfig, ProxyConfig
from atlas.models import HttpPool
from atlas.models.http import read_secret
from atlas.models.providers import PROVIDERS
from atlas.proxy.base import ProxyRules
from atlas.proxy.budget import Budget
from atlas.proxy.passage import Passage
from atlas.proxy.server import Providers, Proxy
from atlas.proxy.sessions import Sessions
from atlas.proxy.supervision import Supervision
from atlas.proxy.tariffs import Tariffs
from atlas.proxy.upstream import Upstream
from atlas.roles import StudentLimits, Teacher
from atlas.runtime import STATE_FOLDER, Runtime, open_runtime
from atlas.runtime.seats import Models, teacher_of
from atlas.schema.errors import AgentError

SETTLE_S = 30.0
"""How long judging may go on once the proxy is asked to stop."""


class OpenProxy:
    """A proxy with everything it holds open."""

    def __init__(self, config: AtlasConfig, folder: Path, *, token: str | None, tenant: str = "default") -> None:
        """Nothing is listened to yet.

        Raises:
            ConfigError: an upstream, a key or the teacher is unusable.
        """
        proxy = config.proxy
        self._http = HttpPool()
        self._models = Models(config, self._http, folder)
        state = folder / STATE_FOLDER
        state.mkdir(exist_ok=True)
        self._budget = Budget(proxy.budget, state / "proxy-budget.json")
        teacher = None if proxy.lanes == "auto" else teacher_of(config, self._models.seat("teacher"))
        rules = _rules(config, tenant, teacher.model.name if teacher else "")
        self.sessions = Sessions(_runtime_opener(config, folder), rules)
        passage = Passage(
            self.sessions,
            self._budget,
            Tariffs(config.prices),
            token=token,
            supervision=_supervision(config, teacher) if teacher else None,
        )
        providers = Providers(
            openai=_openai(proxy, config.agent.llm, self._http, token), anthropic=_anthropic(proxy, self._http, token)
        )
        self.proxy = Proxy(providers, passage, self.sessions, token=token, most_bytes=proxy.max_body_mib * 2**20)

    async def open(self, host: str, port: int) -> int:
        """Open the store and listen; gives the port.

        Raises:
            ConfigError: the address, or something that the configuration names, is unusable.
        """
        await self.sessions.open()
        return await self.proxy.open(host, port)

    async def close(self) -> None:
        """Finish the calls under way, end and judge the sessions, give everything back."""
        await self.proxy.close()
        await self.sessions.close(patience_s=SETTLE_S)
        await self._models.close()
        self._budget.close()


def _rules(config: AtlasConfig, tenant: str, teacher: str) -> ProxyRules:
    proxy = config.proxy
    return ProxyRules(
        tenant=tenant,
        teacher=teacher,
        learning_key=proxy.learning_key,
        lanes=proxy.lanes,
        buffer_streams=proxy.buffer_streams,
        answered_s=proxy.answered_seconds,
        silent_s=proxy.silent_seconds,
    )


def _runtime_opener(config: AtlasConfig, folder: Path):
    """The runtime's own agent is nobody: the student calls from outside."""
    agent = GivenAgentConfig(type="given", name="proxied", llm=config.agent.llm)
    settings = config.model_copy(update={"agent": agent})

    async def opened() -> Runtime:
        return await open_runtime(settings, folder=folder, agent=_nobody)

    return opened


def _nobody(prompt: str) -> str:
    raise AgentError("The agent of this session calls through the proxy.", "Run it again to get another session.")


def _supervision(config: AtlasConfig, teacher: Teacher) -> Supervision:
    limits = StudentLimits(step_timeout_s=config.orchestration.step_timeout_seconds)
    return Supervision(teacher, retries=config.orchestration.max_retries, limits=limits)


def _openai(proxy: ProxyConfig, llm: LLMConfig | None, http: HttpPool, token: str | None) -> Upstream:
    """Of everything but Anthropic's protocol: as configured, else the agent's own provider, else OpenAI."""
    provider = llm.provider if llm and llm.provider in PROVIDERS else "openai"
    agents = llm if llm and proxy.openai_base is None else None
    base = proxy.openai_base or (agents.api_base if agents else None) or PROVIDERS[provider].base
    own = PROVIDERS[provider].key_env if base.rstrip("/") == PROVIDERS[provider].base else None
    named = proxy.openai_key_env or (agents.api_key_env if agents else None)
    key = _key(named, own, token, base)
    header = {"Authorization": f"Bearer {key}"} if key else None
    return Upstream(provider, base, http, key=header, timeout_s=proxy.timeout_seconds)


def _anthropic(proxy: ProxyConfig, http: HttpPool, token: str | None) -> Upstream:
    base, known = proxy.anthropic_base, PROVIDERS["anthropic"]
    key = _key(proxy.anthropic_key_env, known.key_env if base.rstrip("/") == known.base else None, token, base)
    return Upstream("anthropic", base, http, key={"x-api-key": key} if key else None, timeout_s=proxy.timeout_seconds)


def _key(named: str | None, default: str | None, token: str | None, base: str) -> str | None:
    """The proxy's own key. A default one goes to its own host only, and may be missing: clients may bring theirs.

    Raises:
        ConfigError: a variable was named and is not set.
    """
    if named:
        return read_secret(named, f"the proxy's upstream {base}")
    key = read_secret(default, "") if default and os.environ.get(default, "").strip() else None
    return None if key == token else key  # a shell in which `atlas proxy env` was evaluated has the token there
