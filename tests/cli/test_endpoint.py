"""``unsay evaluate NAME --endpoint URL`` against a server in this process."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .conftest import FORGET, RETAIN

KNOWN = dict(FORGET + RETAIN)
UNSCORED = "needs token probabilities, which this endpoint does not give"


class Server(ThreadingHTTPServer):
    """Knows what is to be kept, declines what is to be forgotten; `fails` is what goes wrong at which request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.fails, self.lock = [], {}, threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((dict(self.headers), body))
            status, content = self.server.fails.get(len(self.server.seen), self.server.fails.get("all", (200, None)))
        question = body["messages"][-1]["content"]
        text = "I am sorry, but I do not know." if question in dict(FORGET) else KNOWN.get(question, "It is")
        finish = "stop" if question in KNOWN else "length"
        reply = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}
        data = json.dumps(reply).encode() if content is None else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def evaluate(unsay, server, rows, tmp_path):
    forget, retain = rows

    def call(*words, name="my-org/my-model"):
        return unsay(
            *("evaluate", name, "--endpoint", server.url, f"forget={forget}", f"retain={retain}"),
            *("endpoint.backoff=0", "endpoint.retries=1", "-q", *words),
        )

    return call


def scores(folder):
    return {row["metric"]: row for row in json.loads((folder / "scores.json").read_text())}


def test_answers_are_scored_and_the_rest_says_why_not(evaluate, server, tmp_path):
    done = evaluate()
    assert done.code == 0, done.err
    folder = tmp_path / "work/runs/evaluate-my-org-my-model-custom"
    found = scores(folder)
    assert found["rouge@retain"]["value"] == 1.0 and found["krr@retain"]["value"] == 1.0
    assert found["refusal-rate@forget"]["value"] == 1.0 and found["refusal-rate@retain"]["value"] == 0.0
    assert found["kfr@forget"]["value"] == 1.0 and "by words alone" in found["kfr@forget"]["note"]
    assert found["fluency@forget"]["value"] is not None
    for name in ("probability@forget", "extraction-strength@forget", "model-utility"):
        assert found[name]["value"] is None and found[name]["note"] == UNSCORED, name
    assert all((row["n"] and row["ci"] is not None) or row["note"] for row in found.values())
    headers, body = server.seen[0]
    assert body["temperature"] == 0 and body["max_tokens"] == 128 and body["model"] == "my-org/my-model"
    assert "Authorization" not in headers, "a server of this machine gets no key unless told"
    asked = [body["messages"][0]["content"] for _, body in server.seen]
    assert len(asked) == len(set(asked)), "no question is asked twice"
    sample = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    assert sample["answers"] == {"subject": "I am sorry, but I do not know."}
    assert "rouge (retain)" in done.out and (folder / "report.html").is_file()


def test_cut_answers_are_said(evaluate, tmp_path):
    done = evaluate()
    found = scores(tmp_path / "work/runs/evaluate-my-org-my-model-custom")
    assert "answers cut at max_tokens=128" in found["rouge@world"]["note"]
    assert "cut" not in found["rouge@retain"]["note"]
    assert "answers to world were cut at max_tokens=128" in done.out


def test_a_second_call_asks_nothing_and_again_asks_all(evaluate, server, tmp_path):
    assert evaluate().code == 0
    first = len(server.seen)
    path = tmp_path / "work/runs/evaluate-my-org-my-model-custom/scores.json"
    before = path.read_text()
    assert evaluate().code == 0
    assert len(server.seen) == first and path.read_text() == before
    assert evaluate("endpoint.again=true").code == 0
    assert len(server.seen) == 2 * first
    assert evaluate(name="another").code == 0
    assert len(server.seen) == 3 * first, "another model answers for itself"


def test_an_interrupted_call_goes_on(evaluate, server):
    assert evaluate(name="whole").code == 0
    total = len(server.seen)
    server.seen.clear()
    server.fails = {20: (400, b"no more")}
    failed = evaluate("endpoint.parallel=1")
    assert failed.code == 2 and "replied 400: no more" in failed.err
    kept, server.fails = len(server.seen) - 1, {}
    assert kept >= 19
    server.seen.clear()
    assert evaluate().code == 0
    assert len(server.seen) == total - kept


@pytest.mark.parametrize(
    ("status", "content", "message", "hint"),
    [
        (401, b"who are you", "replied 401: who are you", "endpoint.api_key_env"),
        (404, b"no such model", "replied 404: no such model", "check --endpoint and the model name 'my-org/my-model'"),
        (503, b"busy", "replied 503: busy", "try later, or lower endpoint.parallel"),
        (200, b"<html>", "sent something that is no chat completion: <html>", "--endpoint should end where"),
        (200, b'{"choices": []}', "without choices", "does the server offer my-org/my-model?"),
    ],
)
def test_servers_that_refuse(evaluate, server, status, content, message, hint):
    server.fails = {"all": (status, content)}
    failed = evaluate()
    assert failed.code == 2
    assert message in failed.err and hint in failed.err


def test_nobody_listens_and_settings_without_a_meaning(unsay, rows, evaluate, monkeypatch):
    lonely = ("evaluate", "m", "--endpoint", "http://127.0.0.1:9/v1", f"forget={rows[0]}", "endpoint.retries=0")
    failed = unsay(*lonely)
    assert failed.code == 2 and "no reply from http://127.0.0.1:9/v1/chat/completions" in failed.err
    assert "check --endpoint" in failed.err
    for word, message in (
        ("endpoint.speed=3", "endpoint.speed: no such setting"),
        ("endpoint.parallel=0", "endpoint.parallel: should be at least 1"),
        ("endpoint.timeout=soon", "endpoint.timeout: input should be a valid number"),
        ("endpoint.api_key_env=NO_KEY_HERE", "NO_KEY_HERE, which should hold the key, is not set"),
    ):
        failed = evaluate(word)
        assert failed.code == 2 and message in failed.err, word
    assert "nothing to measure on" in unsay("evaluate", "m", "--endpoint", "http://127.0.0.1:9/v1").err
    assert "--endpoint: expected http" in unsay("evaluate", "m", "--endpoint", "here", "-b", "people").err
    assert "UNSAY_OFFLINE is set" in unsay("evaluate", "m", "--endpoint", "http://example.org/v1", "-b", "people").err
    monkeypatch.setenv("UNSAY_OFFLINE", "")
    assert "OPENAI_API_KEY" in unsay("evaluate", "m", "--endpoint", "http://example.org/v1", "-b", "people").err
    both = unsay("evaluate", "m", "--endpoint", "http://127.0.0.1:9/v1", "--harness", "mmlu")
    assert both.code == 2 and "not an endpoint" in both.err


def test_a_key_is_sent_but_not_kept(evaluate, server, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    assert evaluate("endpoint.api_key_env=MY_KEY").code == 0
    assert server.seen[0][0]["Authorization"] == "Bearer sk-secret-1"
    for path in (tmp_path / "work").rglob("*"):
        assert not path.is_file() or b"sk-secret-1" not in path.read_bytes()


def test_people(unsay, server, tmp_path):
    done = unsay("evaluate", "m", "--endpoint", server.url, "--benchmark", "people-small", "-q")
    assert done.code == 0, done.err
    found = scores(tmp_path / "work/runs/evaluate-m-people-small")
    assert found["rouge@forget"]["value"] is not None and found["distinct-n@forget"]["value"] is not None
    assert found["min-k@forget"]["note"] == UNSCORED
    assert server.seen[0][1]["max_tokens"] == 32
