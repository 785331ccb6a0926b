"""What a call costs: the user's own price, else the list price of genai-prices, else unknown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from functools import cache

from atlas.config.llm import PriceConfig
from atlas.schema import Usage

_LOG = logging.getLogger("atlas.models")
_MILLION = 1_000_000
_Cost = Callable[[Usage], float]


class Tariff:
    """The price of one model's tokens; looked up once, since importing the list costs tens of milliseconds."""

    def __init__(self, provider: str | None, model: str, override: PriceConfig | None = None) -> None:
        """`provider` is its id in genai-prices; None when its tokens have no list price."""
        self._provider = provider
        self._model = model
        self._cost: _Cost | None = _flat(override) if override else None
        self.ready = override is not None or provider is None

    def resolve(self) -> None:
        """Look the list price up; blocks for some 70 ms at the first use in a process."""
        if not self.ready:
            self._cost = _listed(self._provider or "", self._model)
            self.ready = True

    def cost(self, usage: Usage) -> float | None:
        """US dollars; None when no price is known or `resolve` has not been called."""
        return self._cost(usage) if self._cost else None


def _flat(price: PriceConfig) -> _Cost:
    cached = price.input if price.cached is None else price.cached

    def cost(usage: Usage) -> float:
        fresh = usage.prompt_tokens - usage.cached_tokens
        dollars = fresh * price.input + usage.cached_tokens * cached + usage.completion_tokens * price.output
        return dollars / _MILLION

    return cost


def _listed(provider: str, model: str) -> _Cost | None:
    """The list price; one that depends on the hour or on the prompt's length is worked out anew at each call."""
    try:
        from genai_prices import Usage as PricedUsage
        from genai_prices import calc_price
    except ImportError:
        _tell_once()
        return None

    def cost(usage: Usage) -> float:
        counted = PricedUsage(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=usage.cached_tokens,
            output_tokens=usage.completion_tokens,
        )
        return float(calc_price(counted, model_ref=model, provider_id=provider).total_price)

    try:
        found = calc_price(PricedUsage(input_tokens=1, output_tokens=1), model_ref=model, provider_id=provider)
    except LookupError:
        return None
    price = found.model_price
    fresh, cached, output = price.input_mtok, price.cache_read_mtok, price.output_mtok
    always = not isinstance(found.model.prices, list) and price.requests_kcount is None
    if always and isinstance(fresh, Decimal) and isinstance(output, Decimal) and isinstance(cached, Decimal | None):
        flat = PriceConfig(input=float(fresh), cached=None if cached is None else float(cached), output=float(output))
        return _flat(flat)
    return cost


@cache
def _tell_once() -> None:
    _LOG.info("List prices are not installed, so costs are unknown; pip install 'atlas-loop[prices]' brings them.")
