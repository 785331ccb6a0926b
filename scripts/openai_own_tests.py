"""openai-python's own tests, straight to a mock server and through the proxy: both must come to the same.

    python scripts/openai_own_tests.py --repo openai-python [TEST …]

`--repo` is a checkout of openai-python; its own source is tested, not an installed one. Its authors run these tests
against a mock made of the OpenAPI description, which is fetched at each run; this one needs no network: it answers each
path with a small value of the type that the SDK expects there. So it holds replies, not requests, to the description.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import typing
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from aiohttp import web
from pydantic import BaseModel

from atlas.config import AtlasConfig
from atlas.proxy import OpenProxy

TESTS = (
    "tests/api_resources/chat/test_completions.py",
    "tests/api_resources/chat/completions/test_messages.py",
    "tests/api_resources/test_responses.py",
    "tests/api_resources/responses/test_input_items.py",
    "tests/api_resources/responses/test_input_tokens.py",
    "tests/api_resources/test_models.py",
    "tests/api_resources/test_embeddings.py",
)
TYPES = (
    (r"POST /chat/completions(/[^/]+)?|GET /chat/completions/[^/]+", "chat.ChatCompletion"),
    (r"DELETE /chat/completions/[^/]+", "chat.ChatCompletionDeleted"),
    (r"POST /responses(/[^/]+/cancel)?|GET /responses/[^/]+", "responses.Response"),
    (r"POST /responses/compact", "responses.CompactedResponse"),
    (r"POST /responses/input_tokens", "responses.InputTokenCountResponse"),
    (r"GET /models/[^/]+", "Model"),
    (r"DELETE /models/[^/]+", "ModelDeleted"),
    (r"POST /embeddings", "CreateEmbeddingResponse"),
)
"""What the SDK expects where; every other GET gives an empty page."""
PAGE = {"object": "list", "data": [], "first_id": "a", "last_id": "a", "has_more": False}
DEEPEST = 6
LINE = re.compile(r"^(tests/\S+?)::(\S+) (PASSED|FAILED|ERROR|SKIPPED)")
Outcomes = dict[str, str]


def sample(kind: Any, deep: int = 0) -> Any:
    """A small value of a type: what is required, and one element in every list."""
    origin = get_origin(kind)
    if origin is typing.Annotated:
        return sample(get_args(kind)[0], deep)
    if origin is Literal:
        return get_args(kind)[0]
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        options = get_args(kind)
        return None if type(None) in options else sample(options[0], deep)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return {
            field.alias or name: sample(field.annotation, deep + 1) for name, field in fields if field.is_required()
        }
    if origin is list:
        return [sample(get_args(kind)[0], deep + 1)] if deep < DEEPEST else []
    if origin is dict or kind is dict or kind is object:
        return {}
    plain: dict[Any, Any] = {str: "text", int: 1, float: 1.0, bool: True}
    return plain.get(kind)


def reply_to(method: str, path: str) -> bytes:
    """The body for a request."""
    import openai.types

    for pattern, name in TYPES:
        if re.fullmatch(pattern, f"{method} {path}"):
            kind: Any = openai.types
            for part in name.split("."):
                kind = getattr(kind, part)
            return json.dumps(sample(kind)).encode()
    return json.dumps(PAGE).encode()


async def answer(request: web.Request) -> web.StreamResponse:
    """The mock."""
    body = await request.read()
    if b'"stream":true' in body.replace(b" ", b"") or request.query.get("stream") == "true":
        return web.Response(body=b"data: [DONE]\n\n", content_type="text/event-stream")
    reply = reply_to(request.method, request.path.removeprefix("/v1"))
    return web.Response(body=reply, content_type="application/json")


async def run_tests(repo: Path, tests: list[str], url: str) -> Outcomes:
    """What became of each test."""
    command = [sys.executable, "-m", "pytest", "-v", "-o", "addopts=", "-p", "no:cacheprovider", "-W", "ignore", *tests]
    known = os.environ | {"TEST_API_BASE_URL": url, "PYTHONPATH": str(repo / "src"), "COLUMNS": "300"}
    options: dict[str, Any] = {"cwd": repo, "env": known, "capture_output": True, "text": True}
    done = await asyncio.to_thread(subprocess.run, command, **options)
    found = {f"{hit[1]}::{hit[2]}": hit[3] for line in done.stdout.splitlines() if (hit := LINE.match(line))}
    if not found:
        raise SystemExit(f"The tests did not run:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return found


async def both(repo: Path, tests: list[str]) -> tuple[Outcomes, Outcomes, str]:
    """The outcomes straight and through the proxy, and what the proxy says it did."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    direct = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    with tempfile.TemporaryDirectory() as folder:
        tree = {"agent": {"type": "given"}, "storage": None, "proxy": {"openai_base": direct}}
        proxy = OpenProxy(AtlasConfig.model_validate(tree), Path(folder), token="token")
        port = await proxy.open("127.0.0.1", 0)
        straight = await run_tests(repo, tests, direct)
        through = await run_tests(repo, tests, f"http://127.0.0.1:{port}/t/token/v1")
        counts = proxy.sessions.counts()
        await proxy.close()
    await runner.cleanup()
    return straight, through, f"{counts.calls} model calls passed on, {counts.recorded} of them recorded"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, required=True, help="a checkout of openai-python")
    parser.add_argument("tests", nargs="*", default=list(TESTS), help="test files in it")
    options = parser.parse_args()
    repo = options.repo.resolve()
    sys.path.insert(0, str(repo / "src"))
    straight, through, told = asyncio.run(both(repo, options.tests))
    print("| file | tests | pass straight | pass through the proxy | differ |\n|---|---|---|---|---|")
    differ = {name for name in straight.keys() | through.keys() if straight.get(name) != through.get(name)}
    for file in options.tests:
        names = [name for name in straight if name.startswith(file + "::")]
        passed = [Counter(outcomes.get(name) for name in names)["PASSED"] for outcomes in (straight, through)]
        count = sum(name.startswith(file + "::") for name in differ)
        print(f"| {file.removeprefix('tests/api_resources/')} | {len(names)} | {passed[0]} | {passed[1]} | {count} |")
    print(f"\n{told}.")
    for name in sorted(differ):
        print(f"differs: {name}: straight {straight.get(name)}, through the proxy {through.get(name)}")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
