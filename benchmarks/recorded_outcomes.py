"""Recorded outcomes of several models on the same tasks, in the formats in which they were published.

Formats are told by their fields: BFCL outcomes (`m`, `c`, `i`, `ok`; questions beside them give the words), GSM8K model
solutions (`ground_truth`, `is_correct`), RouteLLM responses (a CSV with `prompt` and `<model>_response`), ExCyTIn runs
(`run`, `incident`, `index`, `reward`).
"""

from __future__ import annotations

import csv
import lzma
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from atlas.triage import Look, Signals, Tried
from recorded import rows

KNOWN_PAIRS = (
    ("gpt-3.5-turbo", "gpt-4o"),
    ("claude-3-haiku-20240307", "claude-3-5-sonnet-20240620"),
    ("claude-3-haiku-20240307", "claude-3-sonnet-20240229"),
    ("Llama-3-8B", "Llama-3-70B"),
    ("gemini-1.5-flash", "gemini-1.5-pro"),
    ("6b_verification", "175b_verification"),
    ("175b_finetuning", "175b_verification"),
    ("Mixtral", "gpt-4"),
    ("gpt-5-nano", "gpt-5-mini"),
    ("gpt-5-mini", "gpt-5_high"),
)
"""A weak and a strong arm of one maker, or of one published routing study."""


@dataclass
class Outcomes:
    """How models fared on the same tasks."""

    name: str
    """What it is called in tables."""
    ok: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """Outcome by model and task, 0 to 1."""
    looks: dict[str, dict[str, Look]] = field(default_factory=lambda: defaultdict(dict))
    """First look at a model's answer, by model and task."""
    keys: dict[str, str] = field(default_factory=dict)
    """Category of each task."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Words of each task, where they are recorded."""

    def pairs(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Weak and strong arms: those that are asked for, else the known ones, else the median and the best model."""
        found = [(self._named(weak), self._named(strong)) for weak, strong in wanted or KNOWN_PAIRS]
        pairs = [(weak, strong) for weak, strong in found if weak and strong and weak != strong]
        if pairs or wanted or len(self.ok) < 2:
            return pairs
        ranked = sorted(self.ok, key=lambda model: sum(self.ok[model].values()) / len(self.ok[model]))
        return [(ranked[(len(ranked) - 1) // 2], ranked[-1])]

    def _named(self, part: str) -> str:
        """The model whose name is the part or, shortest first, holds it."""
        return min((model for model in self.ok if part in model), key=lambda model: (len(model), model), default="")

    def both(self, weak: str, strong: str) -> list[Tried]:
        """Every task both arms tried; the past is what models of other names did with it."""
        others = [model for model in self.ok if not _same(model, weak) and not _same(model, strong)]
        made: list[Tried] = []
        for task in sorted(self.ok[weak].keys() & self.ok[strong].keys()):
            signals = Signals(
                key=self.keys.get(task, "default"),
                prompt=self.prompts.get(task, ""),
                past={model: self.ok[model][task] for model in others if task in self.ok[model]},
                look=self.looks[weak].get(task),
            )
            made.append(Tried(task=task, signals=signals, alone=self.ok[weak][task], helped=self.ok[strong][task]))
        return made


def _same(model: str, other: str) -> bool:
    """Whether two names are one model in two dresses, such as with and without function calling."""
    stems = [re.sub(r"-(FC|FC-Any|FC-Auto|Prompt)$", "", name) for name in (model, other)]
    return stems[0].startswith(stems[1]) or stems[1].startswith(stems[0])


def outcomes_in(folder: Path) -> Iterator[Outcomes]:
    """Every file of recorded outcomes below a folder."""
    questions: dict[str, str] = {}
    later: list[tuple[str, list[dict[str, Any]]]] = []
    for path in sorted([*folder.rglob("*.jsonl"), *folder.rglob("*.jsonl.xz")]):
        first = next(rows(path), {})
        name = f"{path.parent.name}/{path.name.split('.')[0]}"
        if {"question", "function", "category", "i"} <= first.keys():
            questions |= {
                f"{row['category']}/{row['i']}": _words(row) for row in rows(path) if row["kind"] == "question"
            }
        elif {"m", "c", "i", "ok"} <= first.keys():
            later.append((name, list(rows(path))))
        elif "ground_truth" in first:
            yield _solutions(name, rows(path))
        elif {"run", "incident", "index", "reward"} <= first.keys():
            yield _runs(name, rows(path))
    for name, table in later:
        yield _bfcl(name, table, questions)
    for path in sorted([*folder.rglob("*.csv"), *folder.rglob("*.csv.xz")]):
        found = _responses(f"{path.parent.name}/{path.name.split('.')[0]}", path)
        if found is not None:
            yield found


def _words(row: Mapping[str, Any]) -> str:
    tools = row["function"] if isinstance(row["function"], list) else [row["function"]]
    return f"{row['question']}\n" + "\n".join(f"{tool['name']}: {tool.get('description', '')}" for tool in tools)


def _bfcl(name: str, table: list[dict[str, Any]], questions: Mapping[str, str]) -> Outcomes:
    """The newest record of each model."""
    found = Outcomes(name)
    for row in sorted(table, key=lambda row: str(row.get("d", ""))):
        task = f"{row['c']}/{row['i']}"
        if row["ok"] is None:
            continue
        found.ok[row["m"]][task] = float(row["ok"])
        found.keys[task] = row["c"]
        if _total(row.get("ot")):
            seconds = _total(row.get("lat"))
            found.looks[row["m"]][task] = Look(size=_total(row["ot"]), seconds=seconds or None)
    found.prompts = {task: questions[task] for task in found.keys if task in questions}
    return found


def _total(value: object) -> float:
    """A number, or the sum of what a run of several turns lists; 0 where there is none."""
    if isinstance(value, list):
        return sum(map(_total, value))
    return max(0.0, float(value)) if isinstance(value, int | float) else 0.0


def _solutions(name: str, table: Iterator[dict[str, Any]]) -> Outcomes:
    found = Outcomes(name)
    for number, row in enumerate(table):
        task = str(number)
        found.prompts[task] = row["question"]
        for model, said in row.items():
            if isinstance(said, dict) and "is_correct" in said:
                found.ok[model][task] = float(said["is_correct"])
                found.looks[model][task] = Look(size=len(said["solution"]))
    return found


def _runs(name: str, table: Iterator[dict[str, Any]]) -> Outcomes:
    """ExCyTIn: the run's name tells the model."""
    found = Outcomes(name)
    for row in table:
        task, model = f"{row['incident']}/{row['index']}", re.sub(r"^BaselineAgent_|_c\d+_.*$", "", row["run"])
        found.ok[model][task] = float(row["reward"])
        found.keys[task] = f"incident {row['incident']}"
        found.prompts[task] = f"{row['context']} {row['question']}"
        found.looks[model][task] = Look(size=sum(len(one["content"] or "") for one in row["messages"]))
    return found


def _responses(name: str, path: Path) -> Outcomes | None:
    """RouteLLM: a column of true or false, and a column of words, for each model."""
    opened = partial(lzma.open, path, "rt") if path.suffix == ".xz" else path.open
    with opened(encoding="utf-8", newline="") as lines:
        table = list(csv.DictReader(lines))
    models = [column for column in (table[0] if table else {}) if f"{column}_response" in table[0]]
    if not models or "prompt" not in table[0]:
        return None
    found = Outcomes(name)
    for number, row in enumerate(table):
        found.prompts[str(number)] = row["prompt"]
        for model in models:
            found.ok[model][str(number)] = float(row[model].strip().lower() == "true")
            found.looks[model][str(number)] = Look(size=len(row[f"{model}_response"]))
    return found
