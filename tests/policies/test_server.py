"""A policy on a server, against a server of our own in a thread that keeps what it was asked."""

import json
import math
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from overopt.errors import ConfigError, DataError, MissingExtraError
from overopt.policies.server import ServerPolicy
from overopt.protocols import SamplerConfig

pytest.importorskip("openai")

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]


class Server:
    """Answers as told; ``behaviour`` takes the path and the request and returns a status and a body."""

    def __init__(self, behaviour):
        self.requests = []
        self.behaviour = behaviour
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    def respond(self, path, body):
        with self._lock:
            self.requests.append((path, body))
            number = len(self.requests)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return self.behaviour(path, body, number)
        finally:
            with self._lock:
                self._at_once -= 1


def completion(texts, *, reason="stop", logprobs=None, **more):
    return 200, {
        "id": "1", "object": "text_completion", "created": 1, "model": "m",
        "choices": [
            {
                "index": index, "text": text, "finish_reason": reason,
                "logprobs": None if logprobs is None else {"tokens": ["?"] * len(logprobs), "token_logprobs": logprobs},
                **more,
            }
            for index, text in enumerate(texts)
        ],
    }  # fmt: skip


def chat_completion(texts, *, reason="stop", logprobs=None):
    return 200, {
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {
                "index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason,
                "logprobs": None
                if logprobs is None
                else {"content": [{"token": "?", "logprob": value, "top_logprobs": []} for value in logprobs]},
            }
            for index, text in enumerate(texts)
        ],
    }  # fmt: skip


def usual(path, body, number):
    """Texts that name the prompt, the seed and the choice."""
    make = chat_completion if "messages" in body else completion
    asked = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    return make([f"{asked}:{body['seed']}:{index}" for index in range(body.get("n", 1))])


def refusal(status, message):
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}


@contextmanager
def serving(behaviour=usual, **options):
    """A policy on a server that behaves so."""
    server = Server(behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = server.respond(self.path, body)
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    policy = ServerPolicy("m", base_url=f"http://127.0.0.1:{http.server_port}/v1", **{"retries": 0, **options})
    try:
        yield policy, server
    finally:
        policy._client.close()
        http.shutdown()
        http.server_close()
        thread.join()


def draw(policy, prompts, *, per_prompt=1, seed=0, **settings):
    return policy.sample(prompts, per_prompt=per_prompt, config=SamplerConfig(**settings), seed=seed)


def test_texts_and_conversations_go_where_they_belong():
    with serving() as (policy, server):
        replies = draw(policy, ["Once", CHAT], max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n", "END"))
    assert [reply.text.split(":")[0] for reply in replies] == ["Once", "Hi"]
    asked = dict(server.requests)
    assert set(asked) == {"/v1/completions", "/v1/chat/completions"}
    assert asked["/v1/completions"]["prompt"] == "Once"
    assert asked["/v1/chat/completions"]["messages"] == CHAT
    for body in asked.values():
        assert body["model"] == "m"
        assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 0.9)
        assert body["stop"] == ["\n", "END"]
        assert "top_k" not in body
        assert "n" not in body


def test_replies_are_sorted_and_numbered_and_come_in_one_request_each_prompt():
    told = []
    prompts = [f"p{place}" for place in range(5)]
    with serving() as (policy, server):
        replies = policy.sample(
            prompts, per_prompt=3, config=SamplerConfig(), seed=0, progress=lambda *progress: told.append(progress)
        )
    assert [(r.prompt, r.sample) for r in replies] == [(p, s) for p in range(5) for s in range(3)]
    assert [r.text.split(":")[0] for r in replies] == [prompts[r.prompt] for r in replies]
    assert [r.text.split(":")[2] for r in replies] == [str(r.sample) for r in replies]
    assert sorted(body["n"] for _, body in server.requests) == [3] * 5
    assert told == [(done, 15, "replies") for done in (3, 6, 9, 12, 15)]


def test_seeds_are_passed_on_and_differ_between_prompts():
    with serving() as (policy, server):
        first, again, other = (draw(policy, ["a", "a"], seed=seed) for seed in (4, 4, 5))
    assert first[0].text == again[0].text
    assert first[1].text == again[1].text
    assert len({reply.text for reply in [*first, *other]}) == 4
    assert all(0 <= body["seed"] < 2**31 for _, body in server.requests)


@pytest.mark.parametrize("how", ["refused", "ignored", "capped"])
def test_a_server_that_gives_one_reply_at_a_time_is_asked_again(how):
    def behaviour(path, body, number):
        if how == "refused" and "n" in body:
            return refusal(400, "only n=1 is supported")
        given = min(body.get("n", 1), 2 if how == "capped" else 1)
        return completion([f"{body['seed']}:{index}" for index in range(given)])

    with serving(behaviour, concurrency=1) as (policy, server):
        replies = draw(policy, ["a", "b"], per_prompt=5)
    assert [(r.prompt, r.sample) for r in replies] == [(p, s) for p in range(2) for s in range(5)]
    assert len({reply.text for reply in replies}) == 10, "each request needs a seed of its own"
    assert len(server.requests) == {"refused": 11, "ignored": 10, "capped": 6}[how]


def test_more_choices_than_asked_for_are_left_out():
    with serving(lambda path, body, number: completion(["x", "y", "z"])) as (policy, _):
        assert [reply.text for reply in draw(policy, ["a"], per_prompt=2)] == ["x", "y"]


@pytest.mark.parametrize(
    ("reason", "finished"), [("stop", True), ("length", False), ("content_filter", False), ("eos", True), (None, False)]
)
def test_only_a_reply_that_came_to_its_end_is_finished(reason, finished):
    with serving(lambda path, body, number: completion(["x"], reason=reason)) as (policy, _):
        (reply,) = draw(policy, ["a"])
    assert reply.finished is finished


def test_logprobs_are_summed_where_they_are_those_of_the_sampled_distribution():
    def behaviour(path, body, number):
        make = chat_completion if "messages" in body else completion
        return make(["x"], logprobs=[-0.5, -1.25])

    with serving(behaviour) as (policy, server):
        plain = draw(policy, ["a", CHAT])
        assert [reply.logprob for reply in plain] == [-1.75, -1.75]
        assert {path: body["logprobs"] for path, body in server.requests} == {
            "/v1/completions": 1,
            "/v1/chat/completions": True,
        }
        for settings in ({"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}):
            assert all(math.isnan(reply.logprob) for reply in draw(policy, ["a", CHAT], **settings))
    assert all(math.isnan(reply.entropy) for reply in plain)
    assert all(reply.token_ids == [] for reply in plain)


@pytest.mark.parametrize("logprobs", [None, [], [-0.5, None]])
def test_logprobs_that_do_not_come_are_unknown(logprobs):
    with serving(lambda path, body, number: completion(["x"], logprobs=logprobs)) as (policy, _):
        (reply,) = draw(policy, ["a"])
    assert math.isnan(reply.logprob)


def test_a_server_that_takes_no_logprobs_is_asked_without():
    def behaviour(path, body, number):
        if "logprobs" in body:
            return refusal(400, "'logprobs' is not supported with this model")
        return usual(path, body, number)

    with serving(behaviour, concurrency=1) as (policy, server):
        assert math.isnan(draw(policy, ["a", "b"])[0].logprob)
    assert ["logprobs" in body for _, body in server.requests] == [True, False, False]


def test_a_server_that_calls_the_length_otherwise_is_asked_so():
    def behaviour(path, body, number):
        if "max_tokens" in body:
            return refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return usual(path, body, number)

    with serving(behaviour) as (policy, server):
        draw(policy, [CHAT], max_tokens=9)
    assert server.requests[-1][1]["max_completion_tokens"] == 9


def test_what_a_server_says_of_a_long_prompt_changes_no_later_request():
    """It names settings that it would take for a shorter one."""

    def behaviour(path, body, number):
        if "long" in body["messages"][-1]["content"]:
            return refusal(400, "8 tokens are too many: 6 of the prompt and 2 of max_tokens")
        return usual(path, body, number)

    with serving(behaviour, concurrency=1) as (policy, server):
        with pytest.raises(DataError, match="refuses prompt 0 or its settings: 8 tokens are too many"):
            draw(policy, [[{"role": "user", "content": "long"}]])
        assert len(server.requests) == 1
        draw(policy, [CHAT], max_tokens=9)
    assert server.requests[-1][1]["max_tokens"] == 9


def test_top_k_is_sent_and_its_refusal_told():
    with serving() as (policy, server):
        draw(policy, ["a"], top_k=5)
        assert server.requests[0][1]["top_k"] == 5

    def behaviour(path, body, number):
        return refusal(400, "Unrecognized request argument supplied: top_k")

    with serving(behaviour) as (policy, _), pytest.raises(ConfigError, match=r"refuses sampler\.top_k: Unrecognized"):
        draw(policy, ["a"], top_k=5)


def test_further_settings_are_sent_and_token_ids_kept():
    def behaviour(path, body, number):
        assert body["return_token_ids"] is True
        return completion(["x"], token_ids=[7, 8, 2])

    with serving(behaviour, extra_body={"return_token_ids": True}) as (policy, _):
        (reply,) = draw(policy, ["a"])
    assert reply.token_ids == [7, 8, 2]


def test_an_empty_reply_is_a_reply():
    with serving(lambda path, body, number: chat_completion([None])) as (policy, _):
        (reply,) = draw(policy, [CHAT])
    assert reply.text == ""
    assert reply.finished


def test_requests_run_at_once_up_to_the_limit():
    def behaviour(path, body, number):
        time.sleep(0.05)
        return usual(path, body, number)

    with serving(behaviour, concurrency=3) as (policy, server):
        draw(policy, list("abcdefghi"))
    assert server.most_at_once == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hiccup_is_tried_again(status):
    def behaviour(path, body, number):
        return refusal(status, "busy") if number == 1 else usual(path, body, number)

    with serving(behaviour, retries=1) as (policy, server):
        assert len(draw(policy, ["a"])) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (400, DataError, r"refuses prompt \d or its settings: oh"),
        (401, ConfigError, "does not take the key: oh; set OPENAI_API_KEY"),
        (404, ConfigError, "does not have 'm': oh"),
        (429, ConfigError, "asks for fewer requests at once: oh"),
        (500, ConfigError, "failed: oh"),
    ],
)
def test_what_a_server_says_is_told_in_a_sentence(status, kind, sentence):
    with serving(lambda path, body, number: refusal(status, "oh")) as (policy, _):
        with pytest.raises(kind, match=sentence) as caught:
            draw(policy, ["a", "b", "c"])
        assert str(caught.value).startswith(f"the server at {policy._client.base_url}".rstrip("/"))
        assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named():
    policy = ServerPolicy("m", base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ConfigError, match=r"the server at http://127\.0\.0\.1:9/v1 cannot be reached: "):
        draw(policy, ["a"])


def test_a_slow_server_is_not_waited_for_without_end():
    def behaviour(path, body, number):
        time.sleep(0.5)
        return usual(path, body, number)

    with serving(behaviour, timeout=0.1) as (policy, _), pytest.raises(ConfigError, match="did not answer in time"):
        draw(policy, ["a"])


@pytest.mark.parametrize("answer", ["<html>Welcome</html>", {"hello": "there"}, {"choices": []}])
def test_a_server_of_something_else_is_seen(answer):
    sentence = "answered without replies; is it a server of the OpenAI protocol"
    with serving(lambda path, body, number: (200, answer)) as (policy, _), pytest.raises(ConfigError, match=sentence):
        draw(policy, ["a"])


def test_the_first_failure_stops_the_rest():
    with serving(lambda path, body, number: refusal(404, "gone"), concurrency=2) as (policy, server):
        with pytest.raises(ConfigError):
            draw(policy, ["a"] * 100)
        assert len(server.requests) < 20


def test_an_empty_prompt_is_named():
    with serving() as (policy, server):
        with pytest.raises(DataError, match="prompt 1 is empty"):
            draw(policy, ["a", ""])
        assert server.requests == []


def test_it_says_what_it_is_without_its_password(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    policy = ServerPolicy("m", base_url="http://me:secret@127.0.0.1:9/v1", name="judge")
    assert policy.name == "judge"
    assert policy.describe() == {
        "engine": "openai-compatible server",
        "policy": "m",
        "server": "http://127.0.0.1:9/v1",
        "extra_body": {},
    }


def test_neither_key_nor_address_is_refused(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="a server needs its address, base_url, or a key in OPENAI_API_KEY"):
        ServerPolicy("m")


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"retries": -1}, {"timeout": 0.0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="a server needs a concurrency of at least 1"):
        ServerPolicy("m", base_url="http://127.0.0.1:9/v1", **options)


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"overopt\[api\]"):
        ServerPolicy("m", base_url="http://127.0.0.1:9/v1")
