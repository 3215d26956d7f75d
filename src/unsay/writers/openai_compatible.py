"""A chat model behind an OpenAI-compatible web interface writes: ``POST {base_url}/chat/completions``.

The questions of the forget rows, and for alternatives their true answers too, are SENT TO THAT SERVER. For data that
must not leave the machine use `templates`, `local-chat`, or a server on localhost (vLLM, llama.cpp, Ollama, …).

Limits: most services do not promise the same texts twice; `writings.jsonl` and `replay` keep them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..data.example import Example
from ..errors import ModelError, PlanError
from ..naming import derive_seed
from ._prompts import ask, tidy

if TYPE_CHECKING:
    import requests

    from ..runs.run import Run

_AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)
"""Answers that are worth another try."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class OpenAICompatible:
    """Any server that speaks the chat-completions interface."""

    base_url: str
    """Such as https://api.openai.com/v1 or http://localhost:8000/v1."""
    model: str
    """The server's name for the model."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; "" sends none. The key itself is never stored or shown."""
    temperature: float = 1.0
    max_new_tokens: int = 300
    """Longest reply, sent as max_tokens."""
    spare: int = 3
    """Replies asked for beyond those wanted, to replace rejected ones."""
    parallel: int = 4
    """Requests at once."""
    timeout: float = 60.0
    """Seconds to wait for a reply."""
    retries: int = 5
    """Further tries after a failed connection or a busy server, each after a longer pause."""
    backoff: float = 1.0
    """The first retry follows at once, the second after twice so many seconds, the third after four times, …; a
    server's Retry-After goes first, 120 s at most."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise PlanError(f"base_url: expected http(s)://host/…, got {self.base_url!r}", "https://api.openai.com/v1")
        if url.username or url.password or url.query:
            raise PlanError("base_url: holds a user name, password or query", "keys go into api_key_env's variable")
        if not self.model:
            raise PlanError("model: is empty", "give the server's name for the model")
        for name, least in (("max_new_tokens", 1), ("parallel", 1), ("spare", 0), ("retries", 0), ("backoff", 0)):
            if getattr(self, name) < least:
                raise PlanError(f"{name}: should be at least {least}, got {getattr(self, name)!r}")
        if not self.timeout > 0 or not self.temperature > 0:
            raise PlanError(f"timeout and temperature: should be positive, got {self.timeout!r}, {self.temperature!r}")

    def write(
        self, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
    ) -> Mapping[str, tuple[str, ...]]:
        """See `Writer.write`.

        Raises:
            PlanError: the variable of `api_key_env` is not set.
            ModelError: no connection, a refused key, an unknown model, or replies that are no chat completions.
        """
        host = str(urlsplit(self.base_url).hostname)
        if host not in _LOOPBACK:
            if os.environ.get("UNSAY_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
                raise ModelError(f"UNSAY_OFFLINE is set, and {host} is another machine", "use templates or local-chat")
            what = "questions and answers" if role == "alternative" else "questions"
            run.note(f"{what} of the rows to forget were sent to {host}, which wrote the {role} texts")
        key = self._key()
        with self._session(key) as session, ThreadPoolExecutor(self.parallel) as workers:
            jobs = {
                row.id: workers.submit(self._row, session, key, row, role, count + self.spare, run.seed) for row in rows
            }
            try:
                found = {}
                for name, job in jobs.items():
                    run.check_stop()
                    found[name] = job.result()
                return found
            finally:
                for job in jobs.values():
                    job.cancel()

    def _key(self) -> str:
        if not self.api_key_env:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise PlanError(
                f"the environment variable {self.api_key_env}, which should hold the key, is not set",
                f"export {self.api_key_env}=…, or api_key_env='' for a server that needs none",
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise PlanError(f"the key in {self.api_key_env} holds blanks or characters that no key has", "set it again")
        return key

    @contextmanager
    def _session(self, key: str) -> Iterator[requests.Session]:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        retry = Retry(
            total=self.retries,
            backoff_factor=self.backoff,
            status_forcelist=_AGAIN,
            allowed_methods=None,  # asking twice writes two texts and changes nothing
            raise_on_status=False,
            respect_retry_after_header=True,
            retry_after_max=120,
        )

        def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # As a callable, so that no ~/.netrc entry can take the key's place.
            if key:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        with requests.Session() as session:
            session.auth = authorise
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=self.parallel))
            yield session

    def _row(
        self, session: requests.Session, key: str, row: Example, role: str, count: int, seed: int
    ) -> tuple[str, ...]:
        """`count` replies about one row; servers that ignore ``n`` are asked again for the rest."""
        found: list[str] = []
        for attempt in range(count):
            if len(found) >= count:
                break
            body = {
                "model": self.model,
                "messages": [{"role": m.role, "content": m.content} for m in ask(row, role)],
                "n": count - len(found),
                "temperature": self.temperature,
                "max_tokens": self.max_new_tokens,
                "seed": derive_seed(seed, role, row.id, attempt) % 2**31,
            }
            found += self._ask(session, key, body)
        return tuple(found[:count])

    def _ask(self, session: requests.Session, key: str, body: Mapping[str, Any]) -> list[str]:
        import requests

        url = f"{self.base_url.rstrip('/')}/chat/completions"
        try:
            reply = session.post(url, json=body, timeout=self.timeout, allow_redirects=False)
        except requests.RequestException as error:
            raise ModelError(
                f"no reply from {url}: {_safe(str(error), key)}", "check base_url and the connection, or raise timeout"
            ) from None
        if reply.status_code != 200:
            said = _safe(reply.text, key)
            raise ModelError(f"{url} replied {reply.status_code}: {said}", self._hint(reply.status_code))
        try:
            choices = reply.json()["choices"]
            texts = [(c["message"]["content"] or "", c.get("finish_reason") == "length") for c in choices]
            found = [tidy(text, cut=cut) for text, cut in texts]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ModelError(
                f"{url} sent something that is no chat completion: {_safe(reply.text, key)}",
                "base_url should end where /chat/completions begins",
            ) from None
        if not found:
            raise ModelError(f"{url} sent a chat completion without choices", f"does the server offer {self.model}?")
        return found

    def _hint(self, status: int) -> str:
        if status in (401, 403):
            return f"check the key in {self.api_key_env or 'a variable named by api_key_env'}"
        if status == 404:
            return f"check base_url and the model name {self.model!r}"
        return "try later, or lower parallel" if status in _AGAIN else "see the server's message"


def _safe(text: str, key: str) -> str:
    """The beginning of what a server said, without the key it may repeat."""
    text = " ".join((text.replace(key, "***") if key else text).split())
    return (text[:200] + "…" if len(text) > 200 else text) or "(nothing)"
