"""What holds for every test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from atlas.store.place import OUTSIDE_PREFIX

# How long an example takes says something about the machine, not about Atlas: a busy one must not fail a test.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As root, databases below pytest's folder keep their data outside of it, where nobody else removes it."""
    yield
    ours = tmp_path_factory.getbasetemp().resolve()
    for target in Path(tempfile.gettempdir()).glob(f"{OUTSIDE_PREFIX}*"):
        said = target / "linked-from"
        if said.is_file() and Path(said.read_text()).is_relative_to(ours):
            shutil.rmtree(target, ignore_errors=True)
