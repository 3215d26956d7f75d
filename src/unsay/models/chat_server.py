"""A chat model behind an OpenAI-compatible web interface: ``POST {base_url}/chat/completions``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import ModelError, PlanError

if TYPE_CHECKING:
    import requests

_AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)
"""Answers that are worth another try."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Reply(NamedTuple):
    """One answer."""

    text: str
    cut: bool
    """It ran into its length limit."""


@dataclass(frozen=True, kw_only=True)
class ChatServer:
    """Where the model is and how patiently it is asked."""

    base_url: str
    """Such as https://api.openai.com/v1 or http://localhost:8000/v1."""
    model: str
    """The server's name for the model."""
    api_key_env: str
    """Name of the environment variable that holds the key; "" sends none."""
    parallel: int
    """Requests at once."""
    timeout: float
    """Seconds to wait for a reply."""
    retries: int
    """Further tries after a failed connection or a busy server, each after a longer pause."""
    backoff: float
    """Seconds that the pauses grow from."""
    option: str = "base_url"
    """What the user typed the address for, in errors."""
    prefix: str = ""
    """Before the names of the other settings, in errors."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            problem = f"{self.option}: expected http(s)://host/…, got {self.base_url!r}"
            raise PlanError(problem, "https://api.openai.com/v1")
        if url.username or url.password or url.query:
            problem = f"{self.option}: holds a user name, password or query"
            raise PlanError(problem, f"keys go into {self.prefix}api_key_env's variable")
        if not self.model:
            raise PlanError("model: is empty", "give the server's name for the model")
        for name, least in (("parallel", 1), ("retries", 0), ("backoff", 0)):
            if getattr(self, name) < least:
                problem = f"{self.prefix}{name}: should be at least {least}, got {getattr(self, name)!r}"
                raise PlanError(problem)
        if not self.timeout > 0:
            raise PlanError(f"{self.prefix}timeout: should be positive, got {self.timeout!r}")

    @property
    def host(self) -> str:
        """Its name in the network."""
        return str(urlsplit(self.base_url).hostname)

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.host in _LOOPBACK

    def check_allowed(self, instead: str) -> None:
        """Stop where nothing may leave the machine.

        Raises:
            ModelError: UNSAY_OFFLINE is set and the server is another machine.
        """
        if not self.is_local and os.environ.get("UNSAY_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
            raise ModelError(f"UNSAY_OFFLINE is set, and {self.host} is another machine", instead)

    def key(self) -> str:
        """The key, "" when none is sent.

        Raises:
            PlanError: the variable is not set, or holds no key.
        """
        if not self.api_key_env:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise PlanError(
                f"the environment variable {self.api_key_env}, which should hold the key, is not set",
                f"export {self.api_key_env}=…, or {self.prefix}api_key_env='' for a server that needs none",
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise PlanError(f"the key in {self.api_key_env} holds blanks or characters that no key has", "set it again")
        return key

    @contextmanager
    def session(self, key: str) -> Iterator[requests.Session]:
        """Connections that send `key` and try again."""
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

    def ask(self, session: requests.Session, key: str, body: Mapping[str, Any]) -> list[Reply]:
        """The replies to one request, at least one, as the server wrote them.

        Args:
            session: From `session`.
            key: As given there; it is kept out of errors.
            body: The request; the model's name is added.

        Raises:
            ModelError: no connection, a refused key, an unknown model, or a reply that is no chat completion.
        """
        import requests

        url = f"{self.base_url.rstrip('/')}/chat/completions"
        try:
            sent = {"model": self.model, **body}
            reply = session.post(url, json=sent, timeout=self.timeout, allow_redirects=False)
        except requests.RequestException as error:
            hint = f"check {self.option} and the connection, or raise {self.prefix}timeout"
            raise ModelError(f"no reply from {url}: {_safe(str(error), key)}", hint) from None
        if reply.status_code != 200:
            said = _safe(reply.text, key)
            raise ModelError(f"{url} replied {reply.status_code}: {said}", self._hint(reply.status_code))
        try:
            choices = reply.json()["choices"]
            found = [Reply(c["message"]["content"] or "", c.get("finish_reason") == "length") for c in choices]
            if not all(isinstance(one.text, str) for one in found):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ModelError(
                f"{url} sent something that is no chat completion: {_safe(reply.text, key)}",
                f"{self.option} should end where /chat/completions begins",
            ) from None
        if not found:
            raise ModelError(f"{url} sent a chat completion without choices", f"does the server offer {self.model}?")
        return found

    def _hint(self, status: int) -> str:
        if status in (401, 403):
            return f"check the key in {self.api_key_env or f'a variable named by {self.prefix}api_key_env'}"
        if status == 404:
            return f"check {self.option} and the model name {self.model!r}"
        return f"try later, or lower {self.prefix}parallel" if status in _AGAIN else "see the server's message"


def _safe(text: str, key: str) -> str:
    """The beginning of what a server said, without the key it may repeat."""
    text = " ".join((text.replace(key, "***") if key else text).split())
    return (text[:200] + "…" if len(text) > 200 else text) or "(nothing)"
