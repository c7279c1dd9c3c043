"""Keys as values: how they are made, found again and, for the relay's, kept readable.

Only the digest of a key is stored. Contract 1 lists relay tokens in clear to the
holder of the admin key, so those are kept encrypted as well; and so are the secrets
of second factors, which are needed to tell what the app shows."""

import base64
import hmac
import secrets
import uuid
from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

LONGEST_KEY = 256  # characters; nothing longer is looked up
NONCE = 12  # bytes, as AES-GCM takes them


def new_relay_key() -> str:
    """A version 4 UUID in lower case, the shape that contract 1 shows."""
    return str(uuid.uuid4())


def new_agent_key() -> str:
    """256 random bits behind a mark that secret scanners can find; safe inside a URL's path."""
    return "sba_" + secrets.token_urlsafe(32)


def new_api_secret() -> str:
    """The part behind the pipe of contract 2's `number|secret`, 240 random bits."""
    return secrets.token_urlsafe(30)


@lru_cache(maxsize=8)
def derived(purpose: str, secret_key: str) -> bytes:
    """32 bytes for one purpose from the secret key (HKDF, RFC 5869)."""
    return HKDF(SHA256(), length=32, salt=None, info=f"switchboard {purpose}".encode()).derive(secret_key.encode())


def digest(key: str | bytes) -> bytes:
    """HMAC-SHA256 of a key under the secret key, 32 bytes: what the table of tokens is searched by."""
    raw = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    return digester()(raw)


def digester() -> Callable[[bytes], bytes]:
    """`digest` for many keys, with the secret derived once."""
    secret = derived("token digest", settings.SECRET_KEY)
    return lambda key: hmac.digest(secret, key, "sha256")


def seal(key: str) -> str:
    """The key encrypted (Fernet) under a key derived from the secret key."""
    return _fernet().encrypt(key.encode()).decode()


def unseal(sealed: str) -> str | None:
    """The key again; None when it was sealed under another secret key."""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken:
        return None


def seal_for(owner: str, secret: bytes) -> str:
    """A short secret encrypted (AES-256-GCM) for one owner: in another owner's row it opens nothing."""
    nonce = secrets.token_bytes(NONCE)
    return base64.urlsafe_b64encode(nonce + _aes().encrypt(nonce, secret, owner.encode())).decode()


def unseal_for(owner: str, sealed: str) -> bytes | None:
    """The secret again; None when it was sealed under another secret key, or for somebody else."""
    try:
        raw = base64.urlsafe_b64decode(sealed)
        return _aes().decrypt(raw[:NONCE], raw[NONCE:], owner.encode())
    except (InvalidTag, ValueError):
        return None


def _aes() -> AESGCM:
    return AESGCM(derived("second factor", settings.SECRET_KEY))


def _fernet() -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derived("relay token", settings.SECRET_KEY)))
