"""A checkpoint on disk as a model, in numpy: the pocket family that ships with Atlas, or another small Llama."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

from atlas.config.llm import LLMConfig
from atlas.models.base import OnText
from atlas.models.blas import one_blas_thread
from atlas.models.generation import Chosen, Generated, Generator, Sampling
from atlas.models.llama import Llama
from atlas.models.rendering import ChatTemplate
from atlas.models.tokenizer import Tokenizer
from atlas.schema import Completion, Message, Request, ToolCall, Usage
from atlas.schema.errors import ConfigError, ModelRefused, ModelTimeout

POCKET = ("pocket-student", "pocket-teacher")
"""Names of the checkpoints that ship with Atlas."""
MAX_NEW_TOKENS = 256
"""Length of a reply when nobody says otherwise, in tokens."""

T = TypeVar("T")
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def open_local(config: LLMConfig, base: Path) -> LocalModel:
    """The checkpoint that a configuration names: one of the pocket family, else a folder under `base`.

    Raises:
        ConfigError: the checkpoint is missing or damaged; the message names the file.
    """
    name = config.model.removeprefix("local/")
    if name in POCKET:
        with as_file(files("atlas.models").joinpath("pocket", name)) as folder:
            return LocalModel(folder, name=name, config=config)
    folder = base / name
    if not folder.is_dir():
        raise ConfigError(f"There is no checkpoint folder {folder}.", f"Name a folder, or one of {', '.join(POCKET)}.")
    # A policy's folder is a link that moves; the name pins which checkpoint it led to.
    pinned = f"{name}@{folder.resolve().name}" if folder.is_symlink() else name
    return LocalModel(folder, name=pinned, config=config)


class LocalModel:
    """Answers requests with a checkpoint, one after the other, in a thread of its own: the event loop never waits."""

    def __init__(self, folder: Path, *, name: str, config: LLMConfig) -> None:
        """Load the checkpoint.

        Raises:
            ConfigError: a file is missing or damaged, or the architecture is not a plain Llama.
        """
        self._name = f"local:{name}"
        self._config = config
        self.tokenizer = Tokenizer.load(folder / "tokenizer.json")
        self._template = ChatTemplate.load(folder / "tokenizer_config.json", shield=self.tokenizer.shield)
        self._generator = Generator(Llama.load(folder))
        self._default_temperature = _default_temperature(folder / "generation_config.json")
        self._closed = False

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)

    @property
    def name(self) -> str:
        """`local:<checkpoint>`."""
        return self._name

    async def complete(self, request: Request, *, timeout_s: float, on_text: OnText | None = None) -> Completion:
        """Answer one request; requests at the same time wait for each other. `on_text` gets the whole text at once.

        Raises:
            ModelTimeout: the answer was not complete in time, the wait for other requests included.
            ModelRefused: the conversation is longer than the checkpoint's context, or the model is closed.
        """
        prompt = self.prompt(request)
        limit = request.max_output_tokens or self._config.max_output_tokens or MAX_NEW_TOKENS
        generated = await self.generate(prompt, limit=limit, sampling=self.sampling(request), timeout_s=timeout_s)
        completion = self.completion(request, generated, len(prompt))
        if on_text is not None and completion.message.content:
            await on_text(completion.message.content)
        return completion

    def prompt(self, request: Request) -> list[int]:
        """The tokens that a request is read as.

        Raises:
            ModelRefused: the conversation is longer than the checkpoint's context, or its template refuses it.
        """
        tools = () if request.tool_choice == "none" else request.tools
        prompt = self.tokenizer.encode_chat(self._template.render(request.messages, tools))
        self._fits(prompt)
        return prompt

    async def generate(
        self, prompt: list[int], *, limit: int, sampling: Sampling, timeout_s: float, best: int | None = None
    ) -> Generated:
        """What follows a prompt; with `best` each token with its log-probability and so many rivals.

        Raises:
            ModelTimeout: it was not complete in time.
            ModelRefused: the prompt is empty or too long, or the model is closed.
        """
        self._fits(prompt)
        return await self._in_thread(
            lambda go_on: self._generator.run(prompt, limit=limit, sampling=sampling, best=best, go_on=go_on), timeout_s
        )

    async def read(self, tokens: list[int], *, best: int, timeout_s: float) -> list[Chosen]:
        """How probable each token of a text is where it stands, from the second one on, and its rivals.

        Raises:
            ModelTimeout: it was not done in time.
            ModelRefused: the text is empty or too long, or the model is closed.
        """
        self._fits(tokens)
        return await self._in_thread(lambda go_on: self._generator.read(tokens, best=best), timeout_s)

    def _fits(self, prompt: list[int]) -> None:
        if not prompt:
            raise ModelRefused("There is nothing to read.", "Give a prompt.")
        if not 0 <= min(prompt) <= max(prompt) < self._generator.shape.vocabulary:
            raise ModelRefused(f"{self._name} has no such token.", "Use the tokenizer of this checkpoint.")
        if len(prompt) >= self._generator.context:
            raise ModelRefused(
                f"The conversation has {len(prompt)} tokens; {self._name} reads {self._generator.context}.",
                "Shorten it, or use a model with a longer context.",
            )

    async def _in_thread(self, work: Callable[[Callable[[], bool]], T | None], timeout_s: float) -> T:
        """Work in the model's thread, which is given up at the deadline or when the caller leaves."""
        if self._closed:
            raise ModelRefused(f"{self._name} is closed.", "Open it again.")
        given_up = threading.Event()
        deadline = time.monotonic() + timeout_s

        def go_on() -> bool:
            return not given_up.is_set() and time.monotonic() < deadline

        def alone() -> T | None:
            with one_blas_thread():
                return work(go_on)

        running = asyncio.get_running_loop().run_in_executor(self._thread, alone)
        try:
            async with asyncio.timeout(timeout_s):
                done = await running
        except TimeoutError:
            done = None
        finally:
            given_up.set()
        if done is None:
            raise ModelTimeout(f"{self._name} did not answer within {timeout_s:g} s.", "Raise llm.timeout_seconds.")
        return done

    def use(self, weights: dict[str, Any]) -> None:
        """Answer with these weights from now on: named and shaped as in the checkpoint, as a trainer has them."""
        self._generator = Generator(Llama(self._generator.shape, weights))

    def forget(self) -> None:
        """Empty the prefix cache. It never changes an answer's meaning, but it may change a sum's last bits."""
        self._generator.forget()

    async def close(self) -> None:
        """End the thread; what it works on stops at the next token."""
        self._closed = True
        if "_thread" in self.__dict__:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def sampling(self, request: Request) -> Sampling:
        """How a request is sampled: as it says, else as the configuration, else as the checkpoint."""
        wanted = (request.temperature, self._config.temperature, self._default_temperature)
        top_p = (request.top_p, self._config.top_p, 1.0)
        return Sampling(
            temperature=next(value for value in wanted if value is not None),
            top_p=next(value for value in top_p if value is not None),
            seed=request.seed,
        )

    def completion(self, request: Request, generated: Generated, prompt_tokens: int) -> Completion:
        """What was generated, as an answer to the request."""
        words = generated.tokens[:-1] if generated.stopped else generated.tokens
        text = self.tokenizer.decode(words)
        known = sum(len(message.tool_calls) for message in request.messages)
        message = parse_reply(text, first_id=known + 1) if request.tools else Message(role="assistant", content=text)
        reason = "tool_calls" if message.tool_calls else "stop" if generated.stopped else "length"
        return Completion(
            message=message,
            finish_reason=reason,
            usage=Usage(
                calls=1,
                prompt_tokens=prompt_tokens,
                cached_tokens=generated.cached,
                completion_tokens=len(generated.tokens),
                cost_usd=0.0,
            ),
            model=self._name,
            token_ids=generated.tokens,
            logprob=generated.logprob,
        )


def parse_reply(text: str, *, first_id: int = 1) -> Message:
    """The assistant's message in a text; `<tool_call>` blocks become calls when all of them are well formed."""
    calls: list[ToolCall] = []
    for number, block in enumerate(_CALL.findall(text), start=first_id):
        try:
            found: Any = json.loads(block)
            name, arguments = found["name"], found["arguments"]
            text_of_arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except (ValueError, KeyError, TypeError, RecursionError):
            return Message(role="assistant", content=text)
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return Message(role="assistant", content=text)
        calls.append(ToolCall(id=f"call_{number}", name=name, arguments=text_of_arguments))
    return Message(role="assistant", content=_CALL.sub("", text) if calls else text, tool_calls=tuple(calls))


def _default_temperature(path: Path) -> float:
    """What `generation_config.json` says, else 0.

    Raises:
        ConfigError: the file is damaged.
    """
    if not path.is_file():
        return 0.0
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return float(config.get("temperature") or 1.0) if config.get("do_sample") else 0.0
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged.", "Copy the checkpoint again.") from error
