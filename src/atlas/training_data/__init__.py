"""Sessions for training, read straight from the database; only approved ones unless you ask for others."""

from atlas.export import SessionRecord
from atlas.training_data.client import (
    count_training_sessions,
    count_training_sessions_async,
    get_session_by_id,
    get_session_by_id_async,
    get_training_sessions,
    get_training_sessions_async,
    paginate_sessions,
)

__all__ = [
    "SessionRecord",
    "count_training_sessions",
    "count_training_sessions_async",
    "get_session_by_id",
    "get_session_by_id_async",
    "get_training_sessions",
    "get_training_sessions_async",
    "paginate_sessions",
]
