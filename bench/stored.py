"""What a server under test has kept in its database, read beside it."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID


class Store:
    """The SQLite file of a data folder, opened to read only."""

    def __init__(self, folder: Path) -> None:
        self._address = f"{(folder / 'switchboard.sqlite3').as_uri()}?mode=ro"

    def traces(self, messages: Sequence[str]) -> list[dict[str, Any]]:
        """What was recorded of these answers, in their order."""
        wanted = json.dumps([UUID(message).hex for message in messages])
        sql = "SELECT id, trace FROM privategpt_message WHERE id IN (SELECT value FROM json_each(?))"
        found = {str(UUID(pk)): json.loads(trace) for pk, trace in self._rows(sql, wanted)}
        return [found[message] for message in messages]

    def unfinished(self) -> int:
        """Sources that wait for vectors."""
        sql = "SELECT count(*) FROM privategpt_source WHERE state IN ('creation', 'processing')"
        return int(self._rows(sql)[0][0])

    def _rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._address, uri=True)) as database:
            return database.execute(sql, values).fetchall()
