"""`atlas proxy` as a person runs it, and as the machine kills it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from proxy_kit import Upstream, chat, chat_stream, reply, stream, user

from atlas.cli.app import run_command

BODY = {"model": "m", "messages": [user("Weather?")]}
Process = subprocess.Popen[bytes]


@pytest.fixture
def project(place: Path) -> Path:
    folder = place / f"p{os.urandom(4).hex()}"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def start(project: Path, upstream: Upstream) -> Iterator[Any]:
    running: list[Process] = []

    async def begin(*options: str) -> Process:
        given = ["--upstream", upstream.url, "--port", "0", "--path", str(project), *options]
        command = [sys.executable, "-m", "atlas", "proxy", *given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: ASYNC220
        running.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert b"Listening" in await asyncio.to_thread(process.stdout.readline)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def run(*command: str, **options: Any) -> str:
    """A command's output; the event loop goes on meanwhile, for it serves the upstream."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def atlas(project: Path, *words: str) -> str:
    return await run(sys.executable, "-m", "atlas", *words, "--path", str(project))


async def environment(project: Path) -> dict[str, str]:
    """What a shell has after `eval "$(atlas proxy env)"`."""
    said = await run(sys.executable, "-m", "atlas", "proxy", "--path", str(project), "env")
    clean = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    names = "OPENAI_BASE_URL OPENAI_API_KEY ANTHROPIC_BASE_URL ANTHROPIC_API_KEY"
    script = f'eval "$SAID"; for n in {names}; do eval "echo $n=\\$$n"; done'
    shown = await run("sh", "-c", script, env=clean | {"SAID": said})
    return dict(line.split("=", 1) for line in shown.splitlines())


async def post(url: str, body: Any, key: str) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}) as response,
    ):
        return response.status, await response.read()


async def test_a_shell_is_pointed_at_it_and_ctrl_c_ends_it(start: Any, project: Path) -> None:
    process = await start()
    known = await environment(project)
    assert (await post(known["OPENAI_BASE_URL"], BODY, known["OPENAI_API_KEY"]))[0] == 200
    assert (project / ".atlas" / "proxy.json").stat().st_mode & 0o777 == 0o600
    process.send_signal(signal.SIGINT)
    said, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0, errors
    assert b"1 sessions; 1 calls: 1 recorded, 0 passed on unrecorded, 0 refused" in said
    row = json.loads(await atlas(project, "session", "list", "--json"))
    assert (row["prompt"], row["status"]) == ("Weather?", "succeeded")
    assert "It is sunny." in await atlas(project, "session", "show", row["id"])


async def test_kill_9_in_the_middle_of_a_stream_loses_nothing_that_was_answered(
    start: Any, project: Path, upstream: Upstream
) -> None:
    process = await start()
    known = await environment(project)
    url, key = known["OPENAI_BASE_URL"], known["OPENAI_API_KEY"]
    upstream.play(reply(chat(None, ("c1", "look", "{}"))), stream(*chat_stream(*["word "] * 200), pause_s=0.02))
    said = json.loads((await post(url, BODY, key))[1])["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "c1", "content": "blue"}
    more = {"model": "m", "messages": [user("Weather?"), said, result], "stream": True}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/chat/completions", json=more) as response:
        await response.content.readany()
        process.kill()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    await asyncio.to_thread(process.wait)
    await start()
    assert (await environment(project))["OPENAI_API_KEY"] == key  # the token outlives the proxy
    row = json.loads(await atlas(project, "session", "list", "--json"))
    assert row["status"] == "interrupted"
    events = await atlas(project, "session", "show", row["id"], "--events", "--json")
    told = [json.loads(line) for line in events.splitlines()]
    kinds = [event["body"]["type"] for event in told]
    assert kinds[0] == "session_started"
    assert kinds[-2:] == ["model_called", "tool_called"]
    assert told[-1]["body"]["use"]["output"] == "blue"
    (project / "atlas.yaml").write_text("agent: {type: openai, llm: {provider: scripted, model: x.yaml}}\n")
    (project / "x.yaml").write_text('[{when: "", reply: "x"}]')
    command = [sys.executable, "-m", "atlas", "resume", row["id"], "--path", str(project)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "runs elsewhere" in done.stderr) == (2, True)


async def test_a_second_proxy_is_told_of_the_first_and_each_shell_where_it_is(start: Any, project: Path) -> None:
    await start("--no-token")
    for shell, first in (("fish", "set -gx OPENAI"), ("powershell", "$env:OPENAI")):
        said = await run(sys.executable, "-m", "atlas", "proxy", "--path", str(project), "env", "--shell", shell)
        assert said.startswith(first)
        assert "/t/" not in said
    command = [sys.executable, "-m", "atlas", "proxy", "--path", str(project), "--port", "0"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "runs for this project already" in done.stderr) == (2, True)


def test_what_is_wrong_is_said_in_one_line(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = ["proxy", "--path", str(project)]
    for command, said in (
        ([*base, "env"], "Start one: atlas proxy"),
        ([*base, "--no-token", "--host", "0.0.0.0", "--port", "0"], "open to the network"),
        ([*base, "--upstream", "ftp://x"], "http"),
        ([*base, "--config", str(project / "none.yaml")], "There is no file"),
    ):
        assert run_command(command) == 2, command
        told = capfd.readouterr().err
        assert said in told
        assert "Traceback" not in told


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_the_node_sdk_is_a_client(start: Any, project: Path, upstream: Upstream) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "openai@6"]
    done = await asyncio.to_thread(
        subprocess.run, install, cwd=project, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"the openai package of npm cannot be had: {done.stderr.strip()[-200:]}")
    await start()
    upstream.play(
        reply(chat(None, ("c1", "look", '{"at": 1}'))),
        stream(*chat_stream("Blue ", "sky."), pause_s=0.01),
        reply({"error": {"message": "No such thing.", "type": "t", "code": "c"}}, status=404),
    )
    (project / "agent.mjs").write_text(NODE)
    said = await run("node", "agent.mjs", cwd=project, env=os.environ | await environment(project))
    assert json.loads(said) == {
        "call": '{"at": 1}',
        "text": "Blue sky.",
        "status": 404,
        "message": "404 No such thing.",
    }


NODE = """
import OpenAI from "openai";
const client = new OpenAI();
const messages = [{ role: "user", content: "Weather?" }];
const tools = [{ type: "function", function: { name: "look", parameters: { type: "object", properties: {} } } }];
const first = await client.chat.completions.create({ model: "m", messages, tools });
const said = first.choices[0].message;
messages.push(said, { role: "tool", tool_call_id: "c1", content: "blue" });
let text = "";
for await (const piece of await client.chat.completions.create({ model: "m", messages, tools, stream: true })) {
  text += piece.choices[0]?.delta?.content ?? "";
}
try {
  await client.chat.completions.create({ model: "none", messages: [{ role: "user", content: "Else?" }] });
} catch (error) {
  console.log(JSON.stringify({ call: said.tool_calls[0].function.arguments, text, status: error.status,
    message: error.message }));
}
"""
