"""`atlas serve`: a small checkpoint behind an OpenAI-compatible address."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import click


@click.command(
    "serve",
    epilog="\b\nExamples:\n  atlas serve runs/grpo/final\n  atlas serve pocket-student --port 8010\n"
    "  ATLAS_SERVE_KEY=… atlas serve runs/grpo/final --host 0.0.0.0 --key-env ATLAS_SERVE_KEY\n\n\b\n"
    "A checkpoint of more than a few million weights belongs on a GPU:\n  vllm serve runs/big/final",
)
@click.argument("checkpoint")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8008, show_default=True, help="0 takes a free one.")
@click.option("--name", help="What clients call the model; the checkpoint's name by default.")
@click.option("--key-env", metavar="NAME", help="Environment variable with the key that clients must send.")
def command(checkpoint: str, *, host: str, port: int, name: str | None, key_env: str | None) -> None:
    """Serve CHECKPOINT (a folder, or a shipped model's name) with log-probabilities, on CPU.

    Use it by `provider: vllm` and `api_base`. Beyond this machine it needs a key.
    """
    from atlas.deploy import ServeOptions, serve
    from atlas.schema.errors import ConfigError
    from atlas.train import checkpoint_folder

    key = os.environ.get(key_env, "").strip() if key_env else None
    if key_env and not key:
        raise ConfigError(f"{key_env} is not set.", f"Export {key_env}, or leave --key-env out.")
    if key is None and host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(f"{host} is reachable by others, and no key is asked for.", "Give --key-env.")
    options = ServeOptions(checkpoint_folder(checkpoint), name or Path(checkpoint).name, host, port, key)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options, on_start=lambda url: click.echo(url)))
