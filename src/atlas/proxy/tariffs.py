"""What the tokens of each model cost, whichever models the clients ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from atlas.config.llm import PriceConfig
from atlas.models.prices import Tariff
from atlas.schema import Usage

MOST_MODELS = 1_000
"""Models whose prices are remembered; a client may ask for any name."""


class Tariffs:
    """Prices by model, looked up once each."""

    def __init__(self, own: Mapping[str, PriceConfig]) -> None:
        """`own` are the user's prices by model name; they win."""
        self._own = own
        self._known: dict[str, Tariff] = {}

    async def price(self, model: str, *, listed: str | None) -> Callable[[Usage], float | None]:
        """What a usage of `provider:name` costs in US dollars; the first look at a model may take some 70 ms.

        `listed` is the provider's id in genai-prices; None where its tokens have no list price.
        """
        tariff = self._known.get(model)
        if tariff is None:
            name = model.partition(":")[2]
            tariff = Tariff(listed, name, self._own.get(name))
            if len(self._known) < MOST_MODELS:
                self._known[model] = tariff
        if not tariff.ready:
            await asyncio.to_thread(tariff.resolve)
        return tariff.cost
