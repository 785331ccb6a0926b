"""Recorded votes and outcomes of real models, in the formats in which they were published, as Atlas reads them.

Formats are told by their fields, so that other files of the same kinds are found too: LLMBar results (`votes`,
`label`), tau2 judge runs (`judge_verdict`, `simulation_id`), Atlas gold cases (`gold`, `scores`).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from atlas.judges import GoldCase

ORDERS = ("swap = False", "swap = True")
PASSED = frozenset({"pass", "passed", "satisfied", "satisfactory", "compliant", "correct", "success", "yes"})
FAILED = frozenset({"fail", "failed", "unsatisfied", "not_satisfied", "unsatisfactory", "non_compliant", "incorrect"})
PARTLY = frozenset({"partial", "partially_satisfied", "partially_compliant", "partially_correct"})


@dataclass(frozen=True)
class Votes:
    """Everything that judges said about a set of tasks whose truth is known."""

    name: str
    """What it is called in tables."""
    cases: list[GoldCase]
    """One for each task."""
    mirrored: list[GoldCase] = field(default_factory=list)
    """The same pairs with the two outputs exchanged, where judges were asked in both orders; for fitting only."""
    calls: Mapping[str, float] = field(default_factory=dict)
    """Model calls behind one score of a judge."""
    units: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The scores of one judge: in both orders, or just one."""
    unread: int = 0
    """Votes that could not be read; they are missing, not 0."""


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file, packed or not."""
    opened = partial(lzma.open, path, "rt") if path.suffix == ".xz" else path.open
    with opened(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def votes_in(folder: Path) -> list[Votes]:
    """Every file of recorded votes below a folder."""
    found: list[Votes] = []
    for path in sorted([*folder.rglob("*.jsonl"), *folder.rglob("*.jsonl.xz")]):
        first = next(rows(path), {})
        name = path.name.split(".")[0]
        if {"votes", "label", "output_1"} <= first.keys():
            found.append(_pairs(name, list(rows(path))))
        elif {"judge_verdict", "simulation_id"} <= first.keys():
            found.append(_simulations(name, list(rows(path))))
        elif {"gold", "scores"} <= first.keys():
            cases = [GoldCase.model_validate(row) for row in rows(path)]
            names = sorted({judge for case in cases for judge in case.scores})
            found.append(Votes(name, cases, calls=dict.fromkeys(names, 1.0), units={one: (one,) for one in names}))
    return found


def _pairs(name: str, table: list[dict[str, Any]]) -> Votes:
    """LLMBar: a score of 1 says that the first output is better. A judge in another order is another judge."""
    judges = sorted({judge for row in table for judge, said in row["votes"].items() if said})
    calls = {f"{judge}|{order}": _calls(table, judge) for judge in judges for order in ORDERS}
    cases, mirrored, unread = [], [], 0
    for row in table:
        told, turned = {}, {}
        for judge in judges:
            said = row["votes"].get(judge) or []
            for at, order in enumerate(ORDERS):
                winner = _winner(said, order)
                if winner not in ("1", "2"):
                    unread += 1
                    continue
                told[f"{judge}|{order}"] = float(winner == "1")
                turned[f"{judge}|{ORDERS[1 - at]}"] = float(winner == "2")
        case_id, first = f"{row['part']}/{row['i']}", float(row["label"] == 1)
        cases.append(GoldCase(id=case_id, key=row["part"], gold=first, scores=told))
        mirrored.append(GoldCase(id=case_id, key=row["part"], gold=1 - first, scores=turned))
    units = {judge: tuple(f"{judge}|{order}" for order in ORDERS) for judge in judges}
    return Votes(name, cases, mirrored, calls, units, unread)


def _winner(said: list[Any], order: str) -> object:
    """The vote in one order; None where nothing readable was recorded."""
    last = said[-1] if said else None
    vote = last.get(order) if isinstance(last, dict) else None
    return vote.get("winner") if isinstance(vote, dict) else None


def _calls(table: list[dict[str, Any]], judge: str) -> float:
    """Calls for one order: what was generated before, then the vote; a rating rates each output on its own."""
    said = [row["votes"][judge] for row in table if row["votes"].get(judge)]
    return sum(len(one) - 1 + (2 if "score_1" in one[-1] else 1) for one in said) / len(said)


def _simulations(name: str, table: list[dict[str, Any]]) -> Votes:
    """tau2: several judge prompts about each simulated conversation, against the environment's reward."""
    cases: dict[str, dict[str, Any]] = {}
    unread = 0
    many = len({row.get("judge_model") for row in table}) > 1
    names: set[str] = set()
    for row in table:
        if row["tau2_reward"] is None:
            continue
        judge = f"{row['judge_prompt_name']}|{row['judge_model']}" if many else row["judge_prompt_name"]
        names.add(judge)
        case = cases.setdefault(
            row["simulation_id"],
            {"id": f"{row['domain']}/{row['task_id']}", "key": row["domain"], "gold": row["tau2_reward"], "scores": {}},
        )
        score = verdict_score(row["judge_verdict"])
        if score is None:
            unread += 1
        else:
            case["scores"][judge] = score
    gold = [GoldCase.model_validate(case) for case in cases.values()]
    return Votes(name, gold, [], dict.fromkeys(sorted(names), 1.0), {one: (one,) for one in sorted(names)}, unread)


def verdict_score(said: object) -> float | None:
    """A verdict's word as a score; None for a word that nobody can read."""
    word = str(said).strip().lower().replace("-", "_").replace(" ", "_")
    if word in PASSED:
        return 1.0
    if word in FAILED:
        return 0.0
    return 0.5 if word in PARTLY else None
