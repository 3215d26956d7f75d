"""A chat model behind an OpenAI-compatible web interface writes: ``POST {base_url}/chat/completions``.

The questions of the forget rows, and for alternatives and vague answers their true answers too, are SENT TO THAT
SERVER. For data that must not leave the machine use `templates`, `local-chat`, or a server on localhost (vLLM,
llama.cpp, Ollama, …).

Limits: most services do not promise the same texts twice; `writings.jsonl` and `replay` keep them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..data.example import Example
from ..errors import PlanError
from ..models.chat_server import ChatServer
from ..naming import derive_seed
from ._prompts import ask, tidy

if TYPE_CHECKING:
    import requests

    from ..runs.run import Run

_SERVER = {f.name for f in fields(ChatServer)}


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
        _ = self._server  # checks what it is given
        for name, least in (("max_new_tokens", 1), ("spare", 0)):
            if getattr(self, name) < least:
                raise PlanError(f"{name}: should be at least {least}, got {getattr(self, name)!r}")
        if not self.temperature > 0:
            raise PlanError(f"temperature: should be positive, got {self.temperature!r}")

    @property
    def _server(self) -> ChatServer:
        return ChatServer(**{f.name: getattr(self, f.name) for f in fields(self) if f.name in _SERVER})

    def write(
        self, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
    ) -> Mapping[str, tuple[str, ...]]:
        """See `Writer.write`.

        Raises:
            PlanError: the variable of `api_key_env` is not set.
            ModelError: no connection, a refused key, an unknown model, or replies that are no chat completions.
        """
        server = self._server
        server.check_allowed("use templates or local-chat")
        if not server.is_local:
            what = "questions and answers" if role in ("alternative", "vague") else "questions"
            run.note(f"{what} of the rows to forget were sent to {server.host}, which wrote the {role} texts")
        key = server.key()
        with server.session(key) as session, ThreadPoolExecutor(self.parallel) as workers:
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

    def _row(
        self, session: requests.Session, key: str, row: Example, role: str, count: int, seed: int
    ) -> tuple[str, ...]:
        """`count` replies about one row; servers that ignore ``n`` are asked again for the rest."""
        found: list[str] = []
        for attempt in range(count):
            if len(found) >= count:
                break
            body = {
                "messages": [{"role": m.role, "content": m.content} for m in ask(row, role)],
                "n": count - len(found),
                "temperature": self.temperature,
                "max_tokens": self.max_new_tokens,
                "seed": derive_seed(seed, role, row.id, attempt) % 2**31,
            }
            found += [tidy(reply.text, cut=reply.cut) for reply in self._server.ask(session, key, body)]
        return tuple(found[:count])
