"""Gold files: lines of truth, each with recorded scores, a stored session, or an answer that is judged now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from atlas.schema import Noun
from atlas.schema.errors import AtlasError, ConfigError, StoreError
from atlas.schema.judgement import Score

if TYPE_CHECKING:
    from atlas.judges import GoldCase, Judge, Piece
    from atlas.store import Store


class GoldRow(Noun):
    """One line of a gold file."""

    gold: Score
    """1 right, 0 wrong, or a graded truth between."""
    id: str = ""
    """Names the task; lines of one task stay together. The line's number where it is left out."""
    key: str = "default"
    """Learning key."""
    scores: dict[str, Score] | None = None
    """Recorded scores by judge."""
    session_id: str | None = None
    """A stored session; its recorded verdicts are taken."""
    task: str | None = None
    """Words of a task whose answer is to be judged now."""
    answer: str | None = None
    """That answer."""
    payload: dict[str, Any] = Field(default_factory=dict)
    """What checks compare with (a payload)."""
    swapped: dict[str, Score] = Field(default_factory=dict)
    """For a pair: scores of the same output when it was shown second."""
    length: int | None = Field(default=None, ge=0)
    """Characters of the answer."""
    author: str | None = None
    """Model that wrote the answer."""

    @model_validator(mode="after")
    def _one_source(self) -> GoldRow:
        sources = [self.scores is not None, self.session_id is not None, self.task is not None]
        if sum(sources) != 1 or (self.task is None) != (self.answer is None):
            raise ValueError("give scores, or session_id, or task and answer")
        return self


def read_gold(path: Path) -> list[GoldRow]:
    """The rows of a JSONL file.

    Raises:
        ConfigError: it cannot be read, or a line is no gold row; the line is named.
    """
    rows: list[GoldRow] = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = GoldRow.model_validate(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}:{number}: {_cause(error)}", "See: docs/judges.md") from error
        rows.append(row if row.id else row.model_copy(update={"id": row.session_id or row.task or f"line {number}"}))
    if not rows:
        raise ConfigError(f"{path} holds no gold.")
    return rows


def _cause(error: ValueError | RecursionError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}".removeprefix(": ")
    return f"not JSON: {error}"


async def stored_cases(rows: Sequence[GoldRow], store: Store) -> tuple[list[GoldCase], dict[str, float]]:
    """Cases of the rows that name a stored session; and the reward of each session, by its id.

    Raises:
        ConfigError: there is no such session.
    """
    from atlas.judges import GoldCase
    from atlas.judges.weighing import scores_of

    cases: list[GoldCase] = []
    rewards: dict[str, float] = {}
    for row in rows:
        session = await store.session(row.session_id or "")
        if session is None:
            raise ConfigError(f"There is no session {row.session_id}.", "See: atlas session list")
        verdicts = session.reward.verdicts if session.reward else ()
        if session.reward and session.reward.value is not None:
            rewards[session.id] = session.reward.value
        cases.append(
            GoldCase(
                id=session.task.identity,
                key=session.task.learning_key,
                gold=row.gold,
                scores=scores_of(verdicts),
                length=len(session.answer or ""),
                author=row.author,
            )
        )
    return cases, rewards


async def judged_cases(
    rows: Sequence[GoldRow], judges: Sequence[Judge], at_once: int, told: Callable[[], object]
) -> list[GoldCase]:
    """Cases of the rows whose answer is judged now, by every judge once; a judge that fails is missing."""
    from atlas.judges import GoldCase
    from atlas.models import Caller
    from atlas.runtime.scoring import Unkept

    gate = asyncio.Semaphore(at_once)

    async def score(judge: Judge, piece: Piece) -> float | None:
        async with gate:
            session = piece.session()
            try:
                return (await judge.judge(session, Caller(Unkept(session.id)))).score
            except StoreError:
                raise
            except AtlasError:
                return None
            finally:
                told()

    async def case(row: GoldRow) -> GoldCase:
        piece = piece_of(row)
        said = await asyncio.gather(*(score(judge, piece) for judge in judges))
        scores = {judge.name: one for judge, one in zip(judges, said, strict=True) if one is not None}
        return GoldCase(
            id=row.id, key=row.key, gold=row.gold, scores=scores, length=len(piece.answer), author=row.author
        )

    return list(await asyncio.gather(*map(case, rows)))


def recorded_case(row: GoldRow) -> GoldCase:
    """The case of a row with recorded scores."""
    from atlas.judges import GoldCase

    return GoldCase(
        id=row.id,
        key=row.key,
        gold=row.gold,
        scores=row.scores or {},
        swapped=row.swapped,
        length=row.length,
        author=row.author,
    )


def piece_of(row: GoldRow) -> Piece:
    """The answer of a row."""
    from atlas.judges import Piece

    return Piece(prompt=row.task or "", answer=row.answer or "", learning_key=row.key, payload=row.payload)
