"""The index of the database in use."""

from functools import cache

from django.db import connection

from privategpt.retrieval.index import Index
from privategpt.retrieval.index_postgres import PostgresIndex
from privategpt.retrieval.index_sqlite import SqliteIndex


@cache
def index() -> Index:
    """This process's; it remembers how much there is."""
    return PostgresIndex() if connection.vendor == "postgresql" else SqliteIndex()
