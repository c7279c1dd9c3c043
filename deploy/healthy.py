"""The container's health check: whether the web server in it answers. Exit status 0 or 1, with the reason."""

import os
import sys
import urllib.error
import urllib.request

WITHIN = 2.5  # seconds


def main() -> int:
    """Asks `/health`, which needs no database: a container is not ended because another one is away."""
    url = f"http://127.0.0.1:{os.environ.get('PORT') or '8080'}/health"
    host = (os.environ.get("ALLOWED_HOSTS") or "localhost").split(",")[0].strip().lstrip(".").replace("*", "localhost")
    try:
        request = urllib.request.Request(url, headers={"Host": host, "X-Forwarded-Proto": "https"})
        with urllib.request.urlopen(request, timeout=WITHIN) as reply:  # noqa: S310 - our own
            return 0 if reply.status == 200 else 1
    except (urllib.error.URLError, OSError) as fault:
        sys.stderr.write(f"{url}: {fault}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
