# ruff: noqa: E501 - bodies of replies on one line each
"""A model server for the frameworks' own clients: it asks for the tool once, then answers with what the tool said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class ModelServer:
    """Speaks `/v1/chat/completions` and `/v1/responses`, with and without streaming."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tool: str = "look_up"
    arguments: dict[str, Any] = field(default_factory=lambda: {"number": 7})
    turns: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Calls to ask for, one a turn, whatever the conversation says."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/responses", self.responses)
        return app

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        results = [each for each in body["messages"] if each["role"] == "tool"]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": f"The tool said: {_text(results[-1]['content'])}" if results else None,
        }
        finish = "stop"
        if self.turns:
            self.tool, self.arguments = self.turns.pop(0)
            results = []
        if not results and body.get("tools"):
            call = {"name": self.tool, "arguments": json.dumps(self.arguments)}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call, "index": 0}]
            finish = "tool_calls"
        elif not results:
            message["content"] = "There are no tools."
        usage = {
            "prompt_tokens": 30,
            "completion_tokens": 6,
            "total_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 10},
        }
        common = {"id": "c1", "created": 1, "model": "served-model", "usage": usage}
        return web.json_response(
            common
            | {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        )

    async def responses(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        said = [each for each in body["input"] if isinstance(each, dict) and each.get("type") == "function_call_output"]
        if said:
            text = {"type": "output_text", "text": f"The tool said: {said[-1]['output']}", "annotations": []}
            item: dict[str, Any] = {
                "type": "message",
                "id": "m1",
                "role": "assistant",
                "status": "completed",
                "content": [text],
            }
        else:
            item = {
                "type": "function_call",
                "id": "f1",
                "call_id": "call_1",
                "name": self.tool,
                "arguments": json.dumps(self.arguments),
            }
        usage = {"input_tokens": 30, "output_tokens": 6, "total_tokens": 36,
                 "input_tokens_details": {"cached_tokens": 10}, "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
        return web.json_response(
            {"id": "r1", "object": "response", "created_at": 1, "model": "served-model", "output": [item], "usage": usage,
             "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "status": "completed"}
        )  # fmt: skip


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
