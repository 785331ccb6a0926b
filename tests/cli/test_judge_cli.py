"""`atlas judge` and `atlas route` as a user types them, on scripted models and a store in use."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from atlas.cli.app import run_command
from atlas.judges import load_attacks, load_weights


def rule(when: str, score: float, rationale: str) -> dict[str, str]:
    told = {"principles": [], "rationale": rationale, "score": score, "uncertainty": 0.1}
    return {"when": when, "reply": json.dumps(told | {"student_note": None, "teacher_note": None})}


RULES = [rule("42", 0.9, "right"), rule("score of 1.0", 1.0, "as told"), rule("", 0.1, "wrong")]
CONFIG = """\
agent: {type: python, import_path: "judged_agent:solve"}
rim:
  small_model: {provider: scripted, model: judge.yaml}
storage: null
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "judged_agent.py").write_text("def solve(prompt):\n    return '42'\n")
    (tmp_path / "judge.yaml").write_text(json.dumps(RULES))
    (tmp_path / "atlas.yaml").write_text(CONFIG)
    return tmp_path


def said(*line: str, out: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run_command(list(line))
    shown = out.readouterr()
    return code, shown.out, shown.err


def at(project: Path, *line: str) -> list[str]:
    return [*line, "--path", str(project)]


def test_answers_are_scored_and_compared(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(
        *at(project, "judge", "score", "--task", "6 x 7?", "--answer", "it is 41", "--answer", "it is 42"), out=capsys
    )
    assert code == 0
    assert "0.10 by judges" in out
    assert "0.90 by judges" in out
    assert "answer 2 is best" in out
    code, out, _ = said(
        *at(project, "judge", "score", "--task", "6 x 7?", "--answer", "it is 42", "--json"), out=capsys
    )
    assert json.loads(out)["value"] == pytest.approx(0.9)


def test_an_answer_nobody_can_judge_is_no_zero(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(*at(project, "judge", "score", "--task", "6 x 7?", "--answer", ":"), out=capsys)
    assert code == 1
    assert out.startswith("none by none")


@pytest.mark.parametrize("line", [["--task", "x"], [], ["--session", "0190", "--task", "x", "--answer", "y"]])
def test_half_an_order_is_a_usage_error(line: list[str], project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(*at(project, "judge", "score", *line), out=capsys)
    assert code == 2
    assert "--session" in err


def test_judges_are_calibrated_on_answers_and_serve_afterwards(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = [
        {"gold": float(n % 2), "task": f"6 x 7? ({n})", "answer": "it is 42" if n % 2 else "it is 41"}
        for n in range(40)
    ]
    (project / "gold.jsonl").write_text("\n".join(map(json.dumps, gold)))
    weights = project / "weights.json"
    code, out, _ = said(
        *at(project, "judge", "calibrate", "--gold", str(project / "gold.jsonl"), "--output", str(weights)),
        out=capsys,
    )
    assert code == 0
    assert "agreement 1.000" in out
    assert "bias for length: not measured" in out
    assert "right 1.000" in out
    assert load_weights(weights).judges
    (project / "atlas.yaml").write_text(CONFIG.replace("rim:", "rim:\n  weights: weights.json"))
    code, out, _ = said(
        *at(project, "judge", "score", "--task", "6 x 7?", "--answer", "it is 42", "--json"), out=capsys
    )
    assert code == 0
    assert json.loads(out)["thresholds"]["clear"] == load_weights(weights).clear


def test_recorded_scores_need_no_model_and_show_biases(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(0)
    rows = []
    for n in range(60):
        gold = float(draw.random() < 0.5)
        score = gold if draw.random() < 0.8 else 1 - gold
        rows.append({"id": str(n), "gold": gold, "scores": {"a": score}, "swapped": {"a": score}, "length": n})
    (project / "gold.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = said(*at(project, "judge", "calibrate", "--gold", str(project / "gold.jsonl"), "--json"), out=capsys)
    assert code == 0
    told = json.loads(out)
    assert told["judges"][0]["position"]["mean"] == 0.0
    assert told["weights"]["judges"] == ["a"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "gold.jsonl:1"),
        ('{"gold": 2, "scores": {}}', "gold"),
        ('{"gold": 1}', "give scores"),
        ('{"gold": 1, "task": "x"}', "give scores"),
        ('{"gold": 1, "scores": {"a": NaN}}', "gold.jsonl:1"),
        ("", "holds no gold"),
        ('{"gold": 1, "scores": {"a": 1}, "colour": 3}', "colour"),
    ],
)
def test_a_bad_gold_file_names_its_line(
    line: str, problem: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "gold.jsonl").write_text(line)
    code, _, err = said(*at(project, "judge", "calibrate", "--gold", str(project / "gold.jsonl")), out=capsys)
    assert code == 2
    assert problem in err
    assert "Traceback" not in err


def test_a_gullible_judge_is_found_and_nothing_is_learnt_from_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    report = project / "attacks.json"
    code, out, _ = said(*at(project, "judge", "attack", "--output", str(report)), out=capsys)
    assert code == 1
    assert "order x12" in out
    assert "learning from it is off" in out
    assert all(one.asked == 360 for one in load_attacks(report).reports)
    (project / "atlas.yaml").write_text(CONFIG.replace("rim:", "rim:\n  attacks: attacks.json"))
    from atlas.core import run

    settled = run("6 x 7?", config_path=project / "atlas.yaml").wait()
    assert settled.reward is not None
    assert settled.reward.value == pytest.approx(0.9)
    assert settled.reward.barred is not None
    failures = [event.body for event in settled.events if event.body.type == "learning_failed"]
    assert failures
    assert "attacks through" in failures[0].failure.message


def test_routes_need_sessions_of_both_kinds(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "atlas.yaml").write_text(CONFIG.replace("storage: null\n", ""))
    code, _, err = said(*at(project, "route", "fit", "--output", str(project / "r.json")), out=capsys)
    assert code == 2
    assert ".atlas" in err


@pytest.mark.parametrize("line", [["judge", "score"], ["judge", "calibrate"], ["judge", "attack"], ["route", "fit"]])
def test_help_shows_an_example(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(*line, "--help", out=capsys)
    assert code == 0
    assert f"atlas {' '.join(line)} " in out
