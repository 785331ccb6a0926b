"""A conversation as the text a checkpoint was trained on: its own Jinja chat template, run in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from atlas.schema import Message, ToolSpec
from atlas.schema.errors import ConfigError, ModelRefused


class ChatTemplate:
    """The `chat_template` of a `tokenizer_config.json`, with the variables that Hugging Face gives it."""

    def __init__(self, source: str, *, shield: Callable[[str], str] = str) -> None:
        """`shield` marks every text that the template inserts, so that it cannot pose as a control token.

        Raises:
            ConfigError: the template is not valid Jinja.
        """
        from jinja2 import TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _to_json
        self._shield = shield
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"The chat template is not valid: {error.message}.", "Copy the checkpoint again."
            ) from error

    @classmethod
    def load(cls, path: Path, *, shield: Callable[[str], str] = str) -> ChatTemplate:
        """The template in a `tokenizer_config.json`.

        Raises:
            ConfigError: the file is missing or damaged, or has no template.
        """
        try:
            source: Any = json.loads(path.read_text("utf-8")).get("chat_template")
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check the checkpoint's folder.") from error
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{path} is damaged.", "Copy the checkpoint again.") from error
        if not source:
            raise ConfigError(f"{path} has no chat_template.", "Use a checkpoint that was tuned for chat.")
        return cls(str(source), shield=shield)

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), *, ask: bool = True) -> str:
        """The conversation as text; with `ask` it ends where the assistant is to speak.

        Raises:
            ModelRefused: the template refuses this conversation.
        """
        from jinja2 import TemplateError

        try:
            return self._template.render(
                messages=[self._message(message) for message in messages],
                tools=[self._tool(tool) for tool in tools] or None,
                add_generation_prompt=ask,
            )
        except TemplateError as error:
            raise ModelRefused(f"The chat template failed: {error}.", "Use a template for chats with tools.") from error

    def _message(self, message: Message) -> dict[str, Any]:
        said: dict[str, Any] = {"role": message.role, "content": self._shield(message.content)}
        if message.tool_calls:
            said["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": self._shield(call.name), "arguments": self._shield(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            said["tool_call_id"] = message.tool_call_id
        return said

    def _tool(self, tool: ToolSpec) -> dict[str, Any]:
        function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        shielded: dict[str, Any] = json.loads(self._shield(json.dumps(function, ensure_ascii=False)))
        return {"type": "function", "function": shielded}


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
