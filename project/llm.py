"""The OpenAI-compatible endpoints that the environment names, as an entry of LLM_BACKENDS."""

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from project.environment import names, number, text, whole

LEAST_CONTEXT = 256  # tokens


def openai_backend() -> dict[str, dict[str, Any]]:
    """Nothing when OPENAI_BASE_URL is not set. Raises ImproperlyConfigured."""
    urls, keys, model = names("OPENAI_BASE_URL"), names("OPENAI_API_KEY"), text("OPENAI_MODEL")
    if not urls:
        return {}
    for url in urls:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
            raise ImproperlyConfigured(f"OPENAI_BASE_URL holds {url!r}; it must look like http://127.0.0.1:11434/v1.")
    if not model:
        raise ImproperlyConfigured("OPENAI_BASE_URL is set and OPENAI_MODEL is not; name the model that is to answer.")
    if len(keys) not in {0, 1, len(urls)}:
        raise ImproperlyConfigured(
            f"OPENAI_API_KEY holds {len(keys)} keys for {len(urls)} endpoints; give one for all, or one for each."
        )
    context = whole("OPENAI_CONTEXT", 0)
    if 0 < context < LEAST_CONTEXT:
        raise ImproperlyConfigured(f"OPENAI_CONTEXT is {context}; a model reads at least {LEAST_CONTEXT} tokens.")
    config = {
        "urls": urls,
        "keys": keys,
        "model": model,
        "connect_timeout": number("OPENAI_CONNECT_SECONDS", 5, least=0.1),
        "silence": number("OPENAI_SILENCE_SECONDS", 120, least=1),
        "context": context,
    }
    return {"openai": {"BACKEND": "privategpt.llm.endpoints.EndpointsBackend", "CONFIG": config}}
