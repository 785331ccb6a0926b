"""Three thousand malformed replies: none becomes a verdict; every valid one, however it is wrapped, does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from atlas.judges import LLMJudge
from atlas.models import Caller, ScriptedModel
from atlas.schema import Session
from atlas.schema.errors import JudgeError

SessionOf = Callable[..., Session]
N = 3000
Reply = dict[str, Any]


def valid(draw: random.Random) -> Reply:
    """A reply that keeps the schema, at its edges too."""
    names = draw.sample(["correct", "complete", "safe", "kurz und bündig", "{braces}", "\u2603"], draw.randint(0, 4))
    return {
        "principles": [{"name": one, "weight": draw.choice([0, 0.5, 1]), "description": ""} for one in names],
        "rationale": draw.choice(["ok", "The 'score' is \"1.0\"", "line\nbreak", "x" * 5000, "```json"]),
        "score": draw.choice([0, 1, 0.0, 1.0, 0.5, 1e-9, round(draw.random(), 3)]),
        "uncertainty": draw.choice([0, 1, round(draw.random(), 3)]),
        "student_note": draw.choice([None, "", "read the total"]),
        "teacher_note": draw.choice([None, "ask for units"]),
    }


def wrapped(draw: random.Random, reply: Reply) -> str:
    """White space and a code fence are tolerated; nothing else."""
    text = json.dumps(reply, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, 2]))
    return draw.choice([text, f"\n {text}\t\n", f"```json\n{text}\n```", f"```\n{text}\n```"])


def number(draw: random.Random) -> object:
    """Something that is no score."""
    beyond = [1.0000001, -0.0000001, 2, -1, 10, 85, 1e308, draw.uniform(1.01, 100), -draw.random() - 0.001]
    return draw.choice([*beyond, "0.9", "high", "", None, True, False, [], [0.5], {}, {"value": 0.5}])


def broken(draw: random.Random) -> str:
    """One way among many in which a reply goes wrong."""
    reply = valid(draw)
    text = json.dumps(reply)
    field = draw.choice(sorted(reply))
    kind = draw.randrange(14)
    match kind:
        case 0:
            return text[: draw.randrange(len(text) - 1)]
        case 1:
            return json.dumps({key: one for key, one in reply.items() if key != field})
        case 2:
            return json.dumps({**reply, draw.choice(["score", "uncertainty"]): number(draw)})
        case 3:
            return json.dumps({**reply, draw.choice(["grade", "Score", "verdict", "scores"]): draw.random()})
        case 4:
            return f'{text[:-1]}, "score": {draw.random():.3f}}}'
        case 5:
            return draw.choice(["Sure! ", "Here is my verdict:\n", "Score: 1.0\n"]) + text
        case 6:
            return text + draw.choice([" I hope this helps.", text, "\n0.9", " //"])
        case 7:
            return f"[{text}]" if draw.random() < 0.5 else json.dumps(text)
        case 8:
            return text.replace('"', "'") if draw.random() < 0.5 else text[:-1] + ",}"
        case 9:
            return json.dumps({**reply, "rationale": draw.choice(["", None, 3, ["because"]])})
        case 10:
            weight = draw.choice([1.5, -0.1, "0.5", None])
            part = {"name": draw.choice(["x", ""]), "weight": weight, "description": ""}
            return json.dumps({**reply, "principles": [part]})
        case 11:
            return json.dumps({**reply, "score": float(draw.choice(["nan", "inf", "-inf"]))})
        case 12:
            return draw.choice(["", " ", "null", "true", "0.9", "{}", "[]", '"score"', "I cannot judge this.", "\x00"])
        case _:
            at = draw.randrange(len(text))
            junk = draw.choice(["{", "}", '"', ",", "\x00", "\\", "["])
            spoiled = text[:at] + junk + text[at + 1 :]
            return spoiled if not _keeps(spoiled) else ""


def _keeps(text: str) -> bool:
    """Whether a spoiled reply happens to be a good one still, by a reading of our own."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict)


async def test_no_malformed_reply_is_accepted(session_of: SessionOf, caller: Caller) -> None:
    draw, accepted, session = random.Random(20), [], session_of()
    for _ in range(N):
        said = broken(draw)
        try:
            await LLMJudge(ScriptedModel([said, said])).judge(session, caller)
        except JudgeError:
            continue
        accepted.append(said)
    assert not accepted, accepted[:3]


async def test_no_valid_reply_is_refused(session_of: SessionOf, caller: Caller) -> None:
    draw, session = random.Random(21), session_of()
    for _ in range(N):
        reply = valid(draw)
        verdict = await LLMJudge(ScriptedModel([wrapped(draw, reply)])).judge(session, caller)
        assert verdict.score == reply["score"]
        assert verdict.uncertainty == reply["uncertainty"]
