"""What the database says when the fault is not the asker's: lost to another, away, or not to be written to."""

from __future__ import annotations

import sqlite3

from django.db import DatabaseError, InterfaceError, OperationalError

LOST = {"40P01", "40001"}  # a deadlock's victim, and who could not be put in one order with the others
READ_ONLY = {"25006"}  # a standby, or one that was told to take no writes
READ_ONLY_WORDS = ("readonly database", "read-only transaction")


def sqlstate(fault: BaseException) -> str:
    """The server's own code, "" where there is none."""
    return str(getattr(fault.__cause__, "sqlstate", "") or "")


def is_lost(fault: BaseException) -> bool:
    """Whether the whole transaction was rolled back only because of others, and may be made again."""
    return isinstance(fault, DatabaseError) and sqlstate(fault) in LOST


def is_read_only(fault: BaseException | None) -> bool:
    """Whether it is there and takes no writes."""
    if not isinstance(fault, DatabaseError):
        return False
    return sqlstate(fault) in READ_ONLY or any(words in str(fault) for words in READ_ONLY_WORDS)


def is_away(fault: BaseException | None) -> bool:
    """Whether it cannot serve now, whatever was asked."""
    if isinstance(fault, OperationalError | InterfaceError):
        return not _is_mistaken(fault)
    return is_read_only(fault)


def _is_mistaken(fault: BaseException) -> bool:
    """SQLite calls a statement that it does not understand an operational error as well."""
    code = getattr(fault.__cause__, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_ERROR  # the other bits say more of the same
