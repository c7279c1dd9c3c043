"""A worker in a process of its own, with the tests' embedder, slow enough to be killed in the middle.

python -m tests.killed_worker DATABASE SECONDS"""

import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.db import connections  # noqa: E402

from privategpt.worker import Worker  # noqa: E402
from tests.embedding import FakeEmbedding  # noqa: E402


class Slow(FakeEmbedding):
    pause = float(sys.argv[2])

    def passages(self, texts):  # type: ignore[no-untyped-def]
        time.sleep(self.pause if len(texts) > 1 else 0)
        return super().passages(texts)


connections["default"].settings_dict["NAME"] = sys.argv[1]
Worker(Slow()).run()
