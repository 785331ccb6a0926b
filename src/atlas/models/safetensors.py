"""Reads a `.safetensors` file: an 8-byte length, a JSON header, then the raw numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of the file as float32; bfloat16 is widened.

    Raises:
        ConfigError: the file is missing, cut short, or damaged.
    """
    import numpy as np

    try:
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        if not 2 <= length <= len(raw) - 8:
            raise ValueError("the header's length is wrong")
        header: dict[str, Any] = json.loads(raw[8 : 8 + length])
        body = memoryview(raw)[8 + length :]
        tensors: dict[str, NDArray[Any]] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            if not 0 <= start <= stop <= len(body):
                raise ValueError(f"{name} lies outside the file")
            if entry["dtype"] == "BF16":
                wide = np.frombuffer(body[start:stop], "<u2").astype("<u4") << 16
                flat = wide.view("<f4")
            else:
                flat = np.frombuffer(body[start:stop], _TYPES[entry["dtype"]]).astype(np.float32)
            tensors[name] = flat.reshape(entry["shape"])
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check the checkpoint's folder.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged.", "Copy the checkpoint again.") from error
    return tensors
