"""Nearest neighbours inside PostgreSQL, by pgvector's HNSW, for more passages than each process cares to hold.

A table beside the vectors, kept by the worker: whoever lacks the extension loses nothing but this."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from django.db import DatabaseError, connection, transaction

from privategpt.models import Vector
from privategpt.retrieval.index import Near, Visible, is_visible, visible_ids
from privategpt.retrieval.matrix import Floats

logger = logging.getLogger(__name__)

WORTHWHILE = 20_000  # vectors; fewer are compared exactly in each process's memory, in as many milliseconds
LONGEST = 4_000  # numbers in a vector that HNSW takes
FEW_VISIBLE = 10_000  # passages; so many are compared one by one, in the database
EFFORT = 400  # candidates that the search keeps at hand; recall in docs/retrieval.md
FARTHEST = 100_000  # tuples that it looks at for someone who may read few of them
SAMPLE = 2_000  # vectors that tell how near the index as a whole is to a question
BELIEVED = 30.0  # seconds
SAMPLED = 600.0
TENDED = 60.0
AT_ONCE = 1_000
TENDING = 0x5377_6974_6368_6E62  # the number of the lock under which one process tends
MEMORY = "256MB"  # for building: a graph that does not fit into it takes many times as long

TABLE = """
CREATE TABLE IF NOT EXISTS privategpt_neighbour (
    vector_id bigint PRIMARY KEY,
    passage_id bigint NOT NULL,
    source_id uuid NOT NULL,
    embedder text NOT NULL,
    embedding halfvec NOT NULL
);
ALTER TABLE privategpt_neighbour ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX IF NOT EXISTS privategpt_neighbour_source ON privategpt_neighbour (source_id);
CREATE INDEX IF NOT EXISTS privategpt_neighbour_embedder ON privategpt_neighbour (embedder);
CREATE OR REPLACE FUNCTION privategpt_vectors_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM privategpt_neighbour WHERE vector_id IN (SELECT id FROM gone);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER privategpt_vectors_gone AFTER DELETE ON privategpt_vector
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION privategpt_vectors_gone();
CREATE OR REPLACE FUNCTION privategpt_no_vectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE privategpt_neighbour;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER privategpt_no_vectors AFTER TRUNCATE ON privategpt_vector
    FOR EACH STATEMENT EXECUTE FUNCTION privategpt_no_vectors();
"""


@dataclass(slots=True)
class Known:
    """What was found out about one embedder's neighbours."""

    is_ready: bool
    at: float


class Neighbours:
    """One for each process. All of it is optional: without it `Matrix` finds the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Known] = {}
        self._samples: dict[str, tuple[Floats, float]] = {}
        self._has_table: bool | None = None
        self._tended = float("-inf")

    # -- asking ---------------------------------------------------------------------------------

    def nearest(self, embedder: str, question: Floats, visible: Visible, limit: int) -> Near | None:
        """None when they are too few, or not all there."""
        if not self._is_ready(embedder, len(question)):
            return None
        sample = self._sample(embedder, len(question))
        find = self._all if visible_count(visible) <= FEW_VISIBLE else self._walk
        return Near(find(embedder, question, visible, limit), sample @ question)

    def _all(self, embedder: str, question: Floats, visible: Visible, limit: int) -> list[tuple[int, float]]:
        """Compares every visible one."""
        readable, parameters = visible_ids(visible)
        sql = f"""
            SELECT passage_id, -(embedding <#> %s::halfvec) AS cosine FROM privategpt_neighbour
            WHERE embedder = %s AND source_id IN ({readable}) ORDER BY cosine DESC, passage_id LIMIT %s
        """  # noqa: S608 - the subquery is Django's own
        return _rows(sql, [_text(question), embedder, *parameters, limit])

    def _walk(self, embedder: str, question: Floats, visible: Visible, limit: int) -> list[tuple[int, float]]:
        """Along the graph, until enough are found that may be read."""
        readable, parameters = is_visible(visible)
        place = f"(embedding::halfvec({len(question)}) <#> %s::halfvec({len(question)}))"
        # A plain value, no join: the order in which the graph hands them out must stay.
        sql = f"""
            SELECT passage_id, -{place} FROM privategpt_neighbour AS passage
            WHERE embedder = {_quoted(embedder)} AND (SELECT true FROM ({readable}) AS mine LIMIT 1)
            ORDER BY {place} LIMIT %s
        """  # noqa: S608 - as above
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"SET LOCAL hnsw.ef_search = {EFFORT}; SET LOCAL hnsw.iterative_scan = strict_order;"
                f"SET LOCAL hnsw.max_scan_tuples = {FARTHEST}; SET LOCAL enable_seqscan = off;"
                "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"
            )
            cursor.execute(sql, [_text(question), *parameters, _text(question), limit])
            return sorted(cursor.fetchall(), key=lambda row: (-row[1], row[0]))

    def _is_ready(self, embedder: str, size: int) -> bool:
        known = self._known.get((embedder, size))
        if known is None or time.monotonic() - known.at > BELIEVED:
            known = Known(self._look(embedder, size), time.monotonic())
            self._known[embedder, size] = known
        return known.is_ready

    def _look(self, embedder: str, size: int) -> bool:
        """Whether every vector stands in the graph."""
        return (
            size <= LONGEST
            and (total := Vector.objects.filter(embedder=embedder).count()) >= WORTHWHILE
            and self._exists()
            and _is_built(_graph(embedder, size)) is True
            and _rows("SELECT count(*) FROM privategpt_neighbour WHERE embedder = %s", [embedder])[0][0] >= total
        )

    def _exists(self) -> bool:
        """Once there, the table stays."""
        if not self._has_table:
            self._has_table = bool(_rows("SELECT to_regclass('privategpt_neighbour') IS NOT NULL", [])[0][0])
        return self._has_table

    def _sample(self, embedder: str, size: int) -> Floats:
        found, at = self._samples.get(embedder, (None, 0.0))
        if found is None or found.shape[1] != size or time.monotonic() - at > SAMPLED:
            total = Vector.objects.filter(embedder=embedder).count()
            # REPEATABLE: asked twice, it says the same.
            sql = """
                SELECT data FROM privategpt_vector TABLESAMPLE BERNOULLI (%s) REPEATABLE (1)
                WHERE embedder = %s AND length(data) = %s
            """
            rows = _rows(sql, [min(100.0, 100.0 * SAMPLE / max(total, 1)), embedder, 2 * size])
            found = np.frombuffer(b"".join(bytes(data) for (data,) in rows), "<f2").astype(np.float32)
            found = found.reshape(len(rows), size)
            self._samples[embedder] = (found, time.monotonic())
        return found

    # -- keeping --------------------------------------------------------------------------------

    def add(self, vectors: Sequence[Vector]) -> None:
        """The neighbours of vectors that have just been saved, in the same transaction."""
        if vectors and self._exists():
            _insert(_missing("AND vector.passage_id = ANY(%s)", [[row.passage_id for row in vectors]], len(vectors)))

    def tend(self, *, now: bool = False) -> None:
        """The worker's part: the table, what is missing in it, the graphs. Does nothing more often than each minute."""
        if not now and time.monotonic() - self._tended < TENDED:
            return
        self._tended = time.monotonic()
        if not self._exists() and not _create():
            return
        if not _rows("SELECT pg_try_advisory_lock(%s)", [TENDING])[0][0]:
            return  # another worker is at it
        try:
            while rows := _missing("", [], AT_ONCE):
                _insert(rows)
            self._build()
        finally:
            _rows("SELECT pg_advisory_unlock(%s)", [TENDING])
        self._known.clear()

    def _build(self) -> None:
        counted = "SELECT embedder, vector_dims(embedding), count(*) FROM privategpt_neighbour GROUP BY 1, 2"
        for embedder, size, count in _rows(counted, []):
            name = _graph(embedder, size)
            if count < WORTHWHILE or size > LONGEST or _is_built(name):
                continue
            logger.info("Building the graph of %d neighbours.", count)
            with connection.cursor() as cursor:
                cursor.execute(f"DROP INDEX IF EXISTS {name}")  # of a build that was broken off
                cursor.execute(f"SET maintenance_work_mem = '{MEMORY}'")
                cursor.execute(
                    f"CREATE INDEX CONCURRENTLY {name} ON privategpt_neighbour "
                    f"USING hnsw ((embedding::halfvec({size})) halfvec_ip_ops) WHERE embedder = {_quoted(embedder)}"
                )
                cursor.execute("RESET maintenance_work_mem")


def _create() -> bool:
    """The table, where the extension is there or may be brought in."""
    if not _rows("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'", [])[0][0]:
        return False
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            cursor.execute(TABLE)
    except DatabaseError as reason:
        logger.info("pgvector is not used: %s", re.sub(r"\s+", " ", str(reason)))
        return False
    return True


def _missing(where: str, values: list[Any], most: int) -> list[tuple[Any, ...]]:
    """Vectors that are not in the table yet."""
    sql = f"""
        SELECT vector.id, vector.passage_id, passage.source_id, vector.embedder, vector.data
        FROM privategpt_vector AS vector JOIN privategpt_passage AS passage ON passage.id = vector.passage_id
        WHERE NOT EXISTS (SELECT FROM privategpt_neighbour WHERE vector_id = vector.id) {where} LIMIT %s
    """  # noqa: S608 - the condition is ours
    return _rows(sql, [*values, most])


def _insert(rows: Sequence[tuple[Any, ...]]) -> None:
    sql = """
        INSERT INTO privategpt_neighbour (vector_id, passage_id, source_id, embedder, embedding)
        VALUES (%s, %s, %s, %s, %s::halfvec) ON CONFLICT DO NOTHING
    """
    values = [(*row[:4], _text(np.frombuffer(bytes(row[4]), "<f2").astype(np.float32))) for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(sql, values)


def _is_built(graph: str) -> bool | None:
    """None when there is none, False when its building was broken off."""
    found = _rows("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [graph])
    return bool(found[0][0]) if found else None


def _graph(embedder: str, size: int) -> str:
    """The name of its index."""
    return f"privategpt_near_{size}_{blake2b(embedder.encode(), digest_size=8).hexdigest()}"


def visible_count(visible: Visible) -> int:
    """How many passages may be read."""
    readable, parameters = visible_ids(visible)
    sql = f"SELECT coalesce(sum(passages_total), 0) FROM privategpt_source WHERE id IN ({readable})"  # noqa: S608
    return int(_rows(sql, parameters)[0][0])


def _text(vector: Floats) -> str:
    """As pgvector reads it."""
    return "[" + ",".join(f"{number:.6g}" for number in vector.tolist()) + "]"


def _quoted(text: str) -> str:
    """As a literal: a partial index is only used for a value that the planner sees."""
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


def _rows(sql: str, values: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())
