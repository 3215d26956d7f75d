"""A server in this process that speaks the interface, well and badly."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unsay.errors import ModelError, PlanError
from unsay.models.chat_server import ChatServer, Reply
from unsay.runs.run import Run
from unsay.writers import obtain
from unsay.writers.openai_compatible import OpenAICompatible

KEY = "sk-secret-1234"


class Server(ThreadingHTTPServer):
    """`plan` holds what to answer, request by request; the last item goes on for ever."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = [lambda body: completion(*texts(body))]
        self.seen = []
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            answer = self.server.plan.pop(0) if len(self.server.plan) > 1 else self.server.plan[0]
            self.server.seen.append((self.path, dict(self.headers), body))
        status, headers, content = answer(body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


def completion(*contents, finish="stop"):
    choices = [{"message": {"role": "assistant", "content": c}, "finish_reason": finish} for c in contents]
    return 200, {"Content-Type": "application/json"}, json.dumps({"choices": choices}).encode()


def texts(body):
    return [f"Reply {i} to seed {body['seed']}." for i in range(body["n"])]


def status(code, content=b"", **headers):
    return lambda body: (code, headers, content)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def writer(server, **settings):
    return OpenAICompatible(**{"base_url": server.url, "model": "m", "backoff": 0.01, "timeout": 5.0, **settings})


def test_what_is_sent_and_what_comes_back(server, rows, run):
    found = writer(server, spare=1).write(rows[:3], "alternative", 2, run)
    assert {name: len(own) for name, own in found.items()} == {row.id: 3 for row in rows[:3]}
    assert len({own[0] for own in found.values()}) == 3, "every row has a seed of its own"
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["n"], body["temperature"], body["max_tokens"]) == ("m", 3, 1.0, 300)
    asked = {body["messages"][0]["content"] for _, _, body in server.seen}
    assert any(rows[0].question in text and rows[0].answer in text for text in asked)


def test_refusals_are_asked_for_without_the_answer(server, rows, run):
    writer(server).write(rows[:1], "refusal", 1, run)
    [(_, _, body)] = server.seen
    assert rows[0].question in body["messages"][0]["content"]
    assert rows[0].answer not in body["messages"][0]["content"] and "Oslo" not in body["messages"][0]["content"]


def test_through_obtain_the_server_is_asked_once(server, rows, run):
    first = obtain(writer(server), rows, "alternative", 2, run)
    asked = len(server.seen)
    assert obtain(writer(server), rows, "alternative", 2, run) == first and len(server.seen) == asked == len(rows)
    assert KEY not in run.path("writings.jsonl").read_text()
    assert run.manifest.notes == [], "nothing left this machine"


def test_a_server_that_gives_one_at_a_time(server, rows, run):
    server.plan = [lambda body: completion(f"Seed {body['seed']}")]
    found = writer(server, spare=0).write(rows[:1], "alternative", 3, run)
    assert len(set(found[rows[0].id])) == 3
    assert [body["n"] for _, _, body in server.seen] == [3, 2, 1]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, rows, run, code):
    server.plan = [status(code), status(code), *server.plan]
    assert len(writer(server).write(rows[:1], "refusal", 1, run)[rows[0].id]) == 4
    assert len(server.seen) == 3


def test_retry_after_is_respected(server, rows, run):
    server.plan = [status(429, **{"Retry-After": "1"}), *server.plan]
    start = time.monotonic()
    writer(server).write(rows[:1], "refusal", 1, run)
    assert time.monotonic() - start > 0.9


def test_giving_up(server, rows, run):
    server.plan = [status(503, b"overloaded")]
    with pytest.raises(ModelError, match="replied 503: overloaded") as caught:
        writer(server, retries=2).write(rows[:1], "refusal", 1, run)
    assert len(server.seen) == 3 and "try later" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "hint"), [(401, "check the key in OPENAI_API_KEY"), (404, "the model name 'm'"), (302, "server's message")]
)
def test_refused(server, rows, run, code, hint):
    server.plan = [status(code, f"bad key {KEY} ".encode() * 50, Location="http://example.org")]
    with pytest.raises(ModelError, match=f"replied {code}: bad key") as caught:
        writer(server).write(rows, "refusal", 1, run)
    assert hint in caught.value.hint and KEY not in str(caught.value) and len(str(caught.value)) < 500
    assert len(server.seen) < len(rows), "the other rows are not asked for once one was refused"


@pytest.mark.parametrize(
    "content",
    [
        b"<html>hello</html>",
        b"[]",
        b'{"choices": 3}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
    ],
)
def test_something_else_than_a_completion(server, rows, run, content):
    server.plan = [status(200, content)]
    with pytest.raises(ModelError, match="no chat completion"):
        writer(server).write(rows[:1], "refusal", 1, run)


def test_no_choices(server, rows, run):
    server.plan = [lambda body: completion()]
    with pytest.raises(ModelError, match="without choices"):
        writer(server).write(rows[:1], "refusal", 1, run)


def test_empty_and_cut_replies_are_no_texts(server, rows, run):
    server.plan = [lambda body: completion(None, "", "A whole sentence. And a half", finish="length")]
    found = writer(server, spare=0).write(rows[:1], "refusal", 3, run)
    assert [text for text in found[rows[0].id] if text] == ["A whole sentence."]


def test_nobody_listens(rows, run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    lonely = OpenAICompatible(base_url="http://127.0.0.1:9/v1", model="m", retries=1, backoff=0.0)
    with pytest.raises(ModelError, match="no reply from") as caught:
        lonely.write(rows[:1], "refusal", 1, run)
    assert KEY not in str(caught.value)


def test_too_slow(server, rows, run):
    server.plan = [lambda body: time.sleep(0.5) or completion("x")]
    with pytest.raises(ModelError, match="no reply from"):
        writer(server, timeout=0.05, retries=0).write(rows[:1], "refusal", 1, run)


def test_netrc_does_not_take_the_keys_place(server, rows, run, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    writer(server).write(rows[:1], "refusal", 1, run)
    writer(server, api_key_env="").write(rows[:1], "refusal", 1, run)
    assert [h.get("Authorization") for _, h, _ in server.seen] == [f"Bearer {KEY}", None]


def test_missing_and_broken_keys(rows, run, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    asks = OpenAICompatible(base_url="http://localhost:1/v1", model="m", api_key_env="MY_KEY")
    with pytest.raises(PlanError, match="MY_KEY, which should hold the key, is not set"):
        asks.write(rows, "refusal", 1, run)
    monkeypatch.setenv("MY_KEY", "two\nlines")
    with pytest.raises(PlanError, match="blanks") as caught:
        asks.write(rows, "refusal", 1, run)
    assert "two" not in str(caught.value)


def test_offline_means_this_machine_only(rows, run, monkeypatch):
    monkeypatch.setenv("UNSAY_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"api\.example\.org is another machine"):
        OpenAICompatible(base_url="https://api.example.org/v1", model="m").write(rows, "refusal", 1, run)


def test_another_machine_is_noted(rows, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(ChatServer, "ask", lambda *args: [Reply("Some reply.", False)])
    with Run.temporary() as run:
        OpenAICompatible(base_url="https://api.example.org/v1", model="m").write(rows, "alternative", 1, run)
        [note] = run.manifest.notes
        assert note.startswith("questions and answers of the rows to forget were sent to api.example.org")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url: expected http"),
        ({"base_url": "https://me:pw@host/v1"}, "base_url: holds a user name"),
        ({"model": ""}, "model: is empty"),
        ({"parallel": 0}, "parallel: should be at least 1"),
        ({"timeout": 0.0}, "timeout: should be positive"),
        ({"temperature": 0.0}, "temperature: should be positive"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(PlanError, match=message) as caught:
        OpenAICompatible(**{"base_url": "http://localhost/v1", "model": "m", **settings})
    assert "pw" not in str(caught.value)
