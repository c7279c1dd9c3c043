"""Django's settings. Every value an administrator may change comes from the environment (README, "Settings")."""

import socket
import sys
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from project import database
from project.environment import (
    found_secret,
    kept_secret,
    long_enough,
    names,
    number,
    one_of,
    redis_url,
    switch,
    text,
    whole,
)
from project.llm import openai_backend

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(text("DATA_DIR", str(BASE_DIR / "data"))).expanduser().resolve()

# -- where it listens, and for whom -------------------------------------------------------------
HOST = text("HOST", "127.0.0.1")
PORT = whole("PORT", 8080, least=0)
DEBUG = switch("DEBUG", default=False)


def own_names() -> list[str]:
    """The names under which this machine may be addressed, besides loopback."""
    if HOST in {"127.0.0.1", "localhost", "::1"}:
        return []
    if HOST not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return [HOST]
    name = socket.gethostname()
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        addresses = set()
    return [name, *(f"[{address}]" if ":" in address else address for address in sorted(addresses))]


ALLOWED_HOSTS = names("ALLOWED_HOSTS") or ["localhost", "127.0.0.1", "[::1]", *own_names()]
CSRF_TRUSTED_ORIGINS = names("CSRF_TRUSTED_ORIGINS")
# Behind a proxy that ends TLS: cookies only over TLS, and the proxy's word on the scheme is taken.
BEHIND_TLS = switch("BEHIND_TLS", default=False)

# -- secrets: made at random at the first start, kept in the data folder with mode 0600 ---------
COMMAND = sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[0]).name == "manage.py" else ""
SECRET_KEY = long_enough("SECRET_KEY", text("SECRET_KEY"))
if not SECRET_KEY and COMMAND == "backup" and not (DATA_DIR / "secret_key").exists():
    # The server has it from its environment. One that is made up would void every key of what is restored.
    raise ImproperlyConfigured(f"SECRET_KEY is not in {DATA_DIR}; set it as the server has it.")
SECRET_KEY = SECRET_KEY or kept_secret(DATA_DIR / "secret_key", size=48)[0]
# Only who asks for it, or shows it, makes one: whoever backs up would store a key that opens nothing.
WITHOUT_ADMIN_KEY = {"backup", "restore", "rehearse", "worker", "runagent"}
ADMIN_KEY = text("ADMIN_KEY") or (
    found_secret(DATA_DIR / "admin_key") if COMMAND in WITHOUT_ADMIN_KEY else kept_secret(DATA_DIR / "admin_key")[0]
)
# The first administrator. Without a password one is made at random and shown once.
ADMIN_EMAIL = text("ADMIN_EMAIL", "admin@switchboard.local")
ADMIN_PASSWORD = text("ADMIN_PASSWORD")

# -- the house ----------------------------------------------------------------------------------
INSTALLED_APPS = [
    # It drives `runserver`; to any other process it is 23 MiB and half a second of start for nothing.
    *(["daphne"] if "runserver" in sys.argv else []),
    "project.admin_site.Admin",
    "accounts",  # before Django's own, whose command `changepassword` it takes the place of
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "rest_framework",
    "relay",
    "privategpt",
]

MIDDLEWARE = [
    "privategpt.api.door.ApiDoor",
    "django.middleware.security.SecurityMiddleware",
    "project.headers.ContentPolicy",
    "project.static.HashedFiles",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "project.reader.Reader",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "project.bounds.Bounds",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WEB_SERVER = "project.server.run"  # by name, as the two above: the apps import nothing of the project
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "privategpt.pages.shell.frame",
            ],
        },
    }
]

# -- stores -------------------------------------------------------------------------------------
DATABASE_URL = text("DATABASE_URL")
DATABASES = {
    "default": database.postgres(DATABASE_URL, pool=whole("DATABASE_POOL", 20, least=4))
    if DATABASE_URL
    else database.sqlite(DATA_DIR / "switchboard.sqlite3")
}
# The line between several processes (docs/scaling.md); without it there can be one web process only.
REDIS_URL = redis_url("REDIS_URL")
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"switchboard-{sha256(SECRET_KEY.encode()).hexdigest()[:16]}"},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- people -------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.RoleBackend"]
PASSWORD_HASHERS = [
    "accounts.hashers.Argon2Hasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        # Equal or nearly so: passwords that only begin like a name are made by programs in plenty, and are long.
        "OPTIONS": {"user_attributes": ("email", "name"), "max_similarity": 0.95},
    },
    {"NAME": "accounts.passwords.LengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "accounts.passwords.GuessableValidator"},
]
SESSION_ENGINE = "accounts.sessions"
# A session ends so long after its last use, and so long after its beginning.
SESSION_IDLE = timedelta(hours=number("SESSION_IDLE_HOURS", 72, least=0.01))
SESSION_COOKIE_AGE = int(number("SESSION_DAYS", 14, least=0.01) * 24 * 3600)
OTP_TOTP_ISSUER = "Switchboard"
OTP_ADMIN_HIDE_SENSITIVE_DATA = True
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "/"
# Failed sign-ins within so many minutes that lock an e-mail address, or a network address, for as long.
SIGN_IN: dict[str, Any] = {
    "failures": whole("SIGN_IN_FAILURES", 10, least=1),
    "failures_per_address": whole("SIGN_IN_FAILURES_PER_ADDRESS", 100, least=1),
    "minutes": number("SIGN_IN_LOCK_MINUTES", 10, least=0.01),
    "log_days": number("SIGN_IN_LOG_DAYS", 90, least=1),  # that the audit log keeps sign-ins, failures and sign-outs
}
# What one person may have at once. Generous: they are there so that nobody fills the server, by a script or by mistake.
PER_USER: dict[str, int] = {
    "sessions": whole("SESSIONS_PER_USER", 100, least=1),  # beyond that the one longest unused ends
    "streams": whole("STREAMS_PER_USER", 200, least=1),  # of answers that are followed, in each process
    "sources": whole("SOURCES_PER_USER", 100_000, least=1),
    "passages": whole("PASSAGES_PER_USER", 5_000_000, least=1),  # of them: about a kilobyte of text each
}
# Wrong admin keys from one network address that have no more compared for as long; in each process by itself.
ADMIN_KEY_FAILURES = whole("ADMIN_KEY_FAILURES", 100, least=1)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "project.missing.form_refused"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
# Who once came by TLS never comes without it again. Programs of this machine may, and whoever looks after it.
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if BEHIND_TLS else 0
SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_REDIRECT_EXEMPT = [r"^(health|ready|metrics|client/register|api/ask|api/connections)/?$"]
# Of `check --deploy`. For all other names under this one's domain we cannot speak: W005, W021.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if not BEHIND_TLS:
    # Plain HTTP on purpose, for this machine alone: cookies that want TLS would sign nobody in. What this silences is
    # said by a check of our own as soon as others can reach the server (privategpt/checks.py).
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W008", "security.W012", "security.W016"]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# -- words and clocks ---------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # of the pages; people write and read in many more
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served from the packages themselves: nothing to collect before the first start.
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "project.static.HashedStorage"},
}

REST_FRAMEWORK = {
    # The browsable API had script injections of its own; programs want JSON.
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "project.openapi.Schema",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Switchboard",
    "DESCRIPTION": "Two contracts: the relay's (`/api/ask` and its administration) and PrivateGPT API v1 (`/api/v1`).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_PATCH": False,
    "APPEND_COMPONENTS": {
        "securitySchemes": {name: {"type": "http", "scheme": "bearer"} for name in ("apiToken", "relayKey")}
    },
}

# -- the relay (docs/relay.md); times in seconds, sizes in bytes --------------------------------
RELAY: dict[str, Any] = {
    "ask_timeout": number("ASK_TIMEOUT", 240, least=0.1),  # from the ask's arrival to its answer, waiting included
    "agent_timeout": number("AGENT_TIMEOUT", 120, least=0.1),  # an agent's silence on one ask
    "queue_wait": number("QUEUE_WAIT", 30),
    "queue_size": whole("QUEUE_SIZE", 1024),
    "queue_per_user": whole("QUEUE_PER_USER", 256),
    "max_ask_bytes": whole("MAX_ASK_BYTES", 1 << 20, least=1024),
    "max_frame_bytes": whole("MAX_FRAME_BYTES", 8 << 20, least=1024),
    "max_agents": whole("MAX_AGENTS", 10_000, least=1),
    "ping_every": number("PING_EVERY", 4, least=0.05),
    "pong_within": number("PONG_WITHIN", 5, least=0.05),
    "agent_return": number("AGENT_RETURN", 5),  # how long a conversation waits for its agent to come back
    "agent_rest": number("AGENT_REST", 10),  # no asks for an agent that fails again and again, or comes and goes
    "claim_ping": number("CLAIM_PING", 2, least=0.05),  # in which a connection id's holder has to show that it lives
    "confirm_within": number("CONFIRM_WITHIN", 60, least=0.05),  # from the hello to the agent's first frame
    "conversation_days": number("CONVERSATION_DAYS", 90, least=1),
}
# Whom this machine's address lets in without a key. Behind a proxy on the same machine all the world has that address,
# and only what the proxy adds tells them apart: so there it takes a word of the administrator.
AGENTS_FROM_LOOPBACK = switch("AGENTS_FROM_LOOPBACK", default=not BEHIND_TLS)
CONNECTIONS_FROM_LOOPBACK = switch("CONNECTIONS_FROM_LOOPBACK", default=not BEHIND_TLS)
METRICS_FROM_LOOPBACK = switch("METRICS_FROM_LOOPBACK", default=not BEHIND_TLS)
# Pages that may dial in from loopback without a credential. Any other page needs an agent token.
AGENT_ORIGINS = names("AGENT_ORIGINS", "https://chat.openai.com,https://chatgpt.com")
METRICS_TOKEN = text("METRICS_TOKEN")  # empty: only this machine reads /metrics, if it may
RELAY_FAST_LANE = switch("RELAY_FAST_LANE", default=True)
BUILTIN_AGENT = switch("BUILTIN_AGENT", default=True)
EMBEDDER = switch("EMBEDDER", default=True)  # off: `serve` starts none, and search goes by words
DRAIN_SECONDS = number("DRAIN_SECONDS", 30)
# What `/ready` asks beside the database: why it is not, "" when it is; and what is missing all the same.
READINESS = ("privategpt.health.not_ready", "privategpt.health.details")
LEAVE_NOTICE = number("LEAVE_NOTICE", 3)  # seconds: more than proxies let pass between two looks at `/ready`
START_PATIENCE = number("START_PATIENCE", 20)  # seconds that a start waits for databases that are away
MAX_BODY_BYTES = whole("MAX_BODY_BYTES", 16 << 20, least=1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES  # a source that is pasted comes as a form's field
DATA_UPLOAD_MAX_NUMBER_FILES = 1000
HEAD_TIMEOUT = number("HEAD_TIMEOUT", 30, least=0.1)  # seconds for a request's headers
BODY_TIMEOUT = number("BODY_TIMEOUT", 60, least=0.1)  # seconds for its body

# -- PrivateGPT API v1 (docs/api.md) ------------------------------------------------------------
API: dict[str, Any] = {
    "login_days": number("LOGIN_DAYS", 0),  # that a login's token lives; 0: until it is revoked
    "logins_per_user": whole("LOGINS_PER_USER", 1000, least=1),  # beyond that the one longest unused ends
    "source_objects": switch("API_SOURCE_OBJECTS", default=False),  # `sources` of an answer as release 1.4 gives them
    "groups_required": switch("API_GROUPS_REQUIRED", default=False),  # as release 1.5: no source without `groups`
    "answer_timeout": number("ANSWER_TIMEOUT", 120, least=0.1),  # seconds that a plain call waits for its answer
    "max_body_bytes": whole("MAX_API_BODY_BYTES", 1 << 20, least=1024),  # of anything but a source
}

# -- what generates (docs/answers.md) -----------------------------------------------------------
# A name to a dotted path and its arguments; any class with `generate` and `aclose` will do (privategpt/llm/base.py).
LLM_BACKENDS: dict[str, dict[str, Any]] = {
    "relay": {
        "BACKEND": "privategpt.llm.relay.RelayBackend",
        "CONFIG": {"reads": whole("AGENT_PROMPT_TOKENS", 3_584, least=256)},
    },
    "quoting": {"BACKEND": "privategpt.llm.quoting.QuotingBackend"},
    **openai_backend(),
}
# Empty: the endpoint when there is one, else an agent that is not the built-in model, else quotes
# when sources were searched and the built-in model when not.
LLM_BACKEND = one_of("LLM_BACKEND", LLM_BACKENDS)
LLM_PROMPT_TOKENS = whole("LLM_PROMPT_TOKENS", 6_000, least=500)
ANSWERS_AT_ONCE = whole("ANSWERS_AT_ONCE", 128, least=1)
ANSWERS_WAITING = whole("ANSWERS_WAITING", 512)
ANSWERS_PER_USER = whole("ANSWERS_PER_USER", 32, least=1)
ANSWER_SECONDS = number("ANSWER_SECONDS", 900, least=1)

# Hours between two backups that the worker makes by itself; 0: none.
BACKUP_EVERY = number("BACKUP_EVERY", 0)
BACKUP_KEEP = whole("BACKUP_KEEP", 7, least=1)

LOG_FORMATS = ("line", "json")
LOG_FILE = text("LOG_FILE")  # empty: standard error
LOG_HANDLER: dict[str, Any] = {"class": "project.logs.Stderr"}
if LOG_FILE:
    LOG_HANDLER = {
        "class": "project.logfile.LogFile",
        "path": LOG_FILE,
        "most_bytes": int(number("LOG_FILE_MB", 20, least=0.001) * (1 << 20)),
        "kept": whole("LOG_FILES", 5),
    }
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "project.logs.LineFormatter"},
        "json": {"()": "project.logs.JsonFormatter"},
    },
    "filters": {"refused": {"()": "project.logs.Refused"}, "no_trace": {"()": "project.logs.NoTrace"}},
    "handlers": {
        "log": {
            **LOG_HANDLER,
            "filters": ["refused", "no_trace"],
            "formatter": one_of("LOG_FORMAT", LOG_FORMATS) or "line",
        }
    },
    "root": {"handlers": ["log"], "level": text("LOG_LEVEL", "INFO").upper()},
    "loggers": {
        "uvicorn": {"level": "WARNING"},
        "django": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        # It tells with a traceback each second that Redis is away; the relay says it once.
        "channels_redis": {"level": "CRITICAL"},
        "django.request": {"level": "ERROR"},
    },
}
