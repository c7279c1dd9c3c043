"""What every long stream owes the others: no thread and no database connection while it only waits."""

from __future__ import annotations

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections


async def let_thread_go() -> None:
    """Ends the thread that Django keeps for this request, with its connection to the database. One that is needed later
    comes by itself."""
    await sync_to_async(connections.close_all)()
    context = SyncToAsync.thread_sensitive_context.get(None)
    thread = SyncToAsync.context_to_thread_executor.pop(context, None) if context else None
    if thread:
        thread.shutdown(wait=False)
