"""The shell answers as real bash, coreutils, grep, sed, find and diff did when the corpus was recorded."""

from overopt.envs.machine import Machine

from .corpus import FILES, corpus, scripts


def answer(script: str) -> dict:
    machine = Machine()
    for path, text in FILES.items():
        machine.put(path, text)
    result = machine.run(script)
    return {"script": script, "stdout": result.stdout, "stderr": result.stderr, "status": result.status}


def test_every_answer_is_that_of_the_real_tools():
    recorded = corpus()
    assert [(want, got) for want in recorded if (got := answer(want["script"])) != want] == []


def test_the_corpus_holds_an_answer_to_every_script():
    recorded = [entry["script"] for entry in corpus()]
    assert recorded == scripts()
    assert len(set(recorded)) >= 600


def test_messages_and_failures_are_a_large_part_of_the_corpus():
    recorded = corpus()
    assert sum(entry["stderr"] != "" for entry in recorded) >= 200
    assert sum(entry["status"] != 0 for entry in recorded) >= 150
