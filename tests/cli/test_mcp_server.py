"""`atlas mcp` as an agent uses it: a real client, a real process, a real database."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

mcp = pytest.importorskip("mcp", reason="mcp is not installed")

ATLAS = str(Path(sys.executable).parent / "atlas")
REVIEWS = [
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "half done", "reply": {"accepted": False, "guidance": "Finish it."}},
    {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
    {"when": "", "reply": {"entries": []}},
]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "script.yaml").write_text(json.dumps(REVIEWS))
    llm = "{provider: scripted, model: script.yaml}"
    text = f"agent: {{type: python, import_path: 'a:b', llm: {llm}}}\norchestration: {{forced_mode: paired}}\n"
    (tmp_path / "atlas.yaml").write_text(text)
    yield tmp_path
    data = tmp_path / ".atlas" / "pg"
    if data.is_symlink():
        shutil.rmtree(data.resolve())


def printed(*words: str) -> str:
    return subprocess.run([ATLAS, *words], capture_output=True, text=True, check=True, timeout=60).stdout


def said(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    return result.structured_content


async def test_an_agent_is_guided_and_its_outcome_kept(project: Path) -> None:
    server = mcp.StdioServerParameters(command=ATLAS, args=["mcp", "--path", str(project)])
    async with mcp.Client(server) as client:
        names = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(names) == {"begin_task", "finish_task"}
        assert "begin_task" in (client.instructions or "")
        begun = said(await client.call_tool("begin_task", {"task": "Sort the mail.", "kind": "mail"}))
        assert begun["lessons"] == ""
        again = said(await client.call_tool("finish_task", {"id": begun["id"], "answer": "half done"}))
        assert (again["done"], "Finish it." in again["guidance"]) == (False, True)
        end = said(await client.call_tool("finish_task", {"id": begun["id"], "answer": "all sorted", "score": 0.75}))
        assert end == {"done": True, "guidance": "", "accepted": True}
        late = await client.call_tool("finish_task", {"id": begun["id"], "answer": "more"})
        assert late.is_error
        assert "is under way" in late.content[0].text
        wrong = await client.call_tool("finish_task", {"id": begun["id"], "answer": "x", "score": 7})
        assert wrong.is_error
        left = said(await client.call_tool("begin_task", {"task": "Never finished."}))
    shown = printed("session", "show", begun["id"], "--path", str(project))
    assert "reward    0.75" in shown
    assert "all sorted" in shown
    listed = printed("session", "list", "--path", str(project))
    assert left["id"][:8] in listed
    assert "interrupted" in listed
