"""Thirty writers at once, in three processes: each waits its turn, none fails (fault 16)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import databases
from tests.patience import PATIENCE
from tests.running import ROOT, environment, settled

PROCESSES, THREADS, EACH = 3, 10, 3
WRITERS = f"""
import os, sys, threading, django
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
from django.db import connection
from privategpt import ingest
faults = []
def write(writer):
    try:
        for number in range({EACH}):
            text = f"Writer {{writer}} of {{sys.argv[1]}} says {{number}}. " * 40
            ingest.store(None, title=f"{{sys.argv[1]}} {{writer}} {{number}}", content=text, groups=[], public=True)
    except Exception as fault:
        faults.append(repr(fault))
    finally:
        connection.close()
threads = [threading.Thread(target=write, args=(writer,)) for writer in range({THREADS})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
sys.exit("; ".join(faults) or 0)
"""


def test_thirty_writers_lose_nothing(tmp_path: Path) -> None:
    data = settled(tmp_path)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITERS, str(process)],
            env=environment(data),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(PROCESSES)
    ]
    said = [writer.communicate(timeout=PATIENCE)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, said
    ((sources,),) = databases.sql(data, "SELECT count(DISTINCT title) FROM privategpt_source")
    ((found,),) = databases.sql(data, "SELECT count(*) FROM privategpt_words")
    ((passages,),) = databases.sql(data, "SELECT count(*) FROM privategpt_passage")
    assert sources == PROCESSES * THREADS * EACH
    assert found == passages >= sources
