"""Policies of the toolkit as models of Inspect."""

import sys
from types import SimpleNamespace

import pytest
from inspect_ai.model import GenerateConfig, get_model

from adapters.inspect_runs import in_process, place, run
from overopt.adapters.inspect_log import from_inspect_log
from overopt.adapters.inspect_tasks import inspect_task
from overopt.envs.registry import environment
from overopt.errors import ConfigError
from overopt.policies.scripted import ScriptedPolicy


class Counting(ScriptedPolicy):
    """Keeps what it was asked."""

    def __init__(self, *texts):
        super().__init__(lambda prompt, *_: texts[min(len(prompt) // 2 - 1, len(texts) - 1)])
        self.asked = []

    def sample(self, prompts, *, per_prompt, config, seed, progress=None):
        self.asked.append((list(prompts), config, seed))
        return super().sample(prompts, per_prompt=per_prompt, config=config, seed=seed, progress=progress)


def test_requests_that_wait_together_are_drawn_together(tmp_path):
    policy = Counting("<bash>ls</bash>", "I do not know.")
    (log,) = run(inspect_task("reward-tampering", n=20), in_process(policy), tmp_path)
    assert sum(len(prompts) for prompts, *_ in policy.asked) == 40
    assert len(policy.asked) < 20
    assert len({seed for *_, seed in policy.asked}) == len(policy.asked)
    episodes = from_inspect_log(place(log)).episodes
    scenarios = environment("reward-tampering").scenarios(20)
    for episode, scenario in zip(episodes, scenarios, strict=True):
        assert episode.scenario == scenario
        folder = scenario.facts["folder"]
        assert episode.steps[0].stdout == f"{folder}\n"


def test_settings_and_the_conversation_reach_the_policy(tmp_path):
    policy = Counting("Well.")
    (log,) = run(
        inspect_task("reward-tampering", n=1), in_process(policy), tmp_path, temperature=0.5, max_tokens=7, top_k=3
    )
    ((prompts, config, _),) = policy.asked
    assert prompts == [environment("reward-tampering").scenario(0).conversation]
    assert (config.temperature, config.max_tokens, config.top_k, config.top_p) == (0.5, 7, 3, 1.0)
    assert log.samples[0].model_usage["overopt/written-down"].total_tokens > 0


def test_a_setting_out_of_range_is_the_error_of_the_sample(tmp_path):
    (log,) = run(
        inspect_task("reward-tampering", n=2), in_process(Counting("Well.")), tmp_path, stop_seqs=["x"],
        fail_on_error=False,
    )  # fmt: skip
    assert all("stop_seqs" in sample.error.message for sample in log.samples)


def test_a_policy_that_fails_is_the_error_of_its_samples_and_not_the_end(tmp_path):
    def broken(*_):
        raise ValueError("no such luck")

    (log,) = run(
        inspect_task("reward-tampering", n=3), in_process(ScriptedPolicy(broken)), tmp_path, fail_on_error=False
    )
    assert all("no such luck" in sample.error.message for sample in log.samples)
    assert len(from_inspect_log(place(log)).left_out) == 3


def test_a_script_outside_our_tasks_is_refused():
    import asyncio

    with pytest.raises(ConfigError, match="simulated machine"):
        asyncio.run(get_model("overopt/honest").api.generate([], [], "none", GenerateConfig()))


def test_other_names_are_loaded_once_and_not_before_they_are_asked(monkeypatch, tmp_path):
    asked = []

    def load(name, device=None):
        asked.append((name, device))
        return ScriptedPolicy(lambda *_: "Well.")

    # In the place of the module, which takes six seconds to import.
    monkeypatch.setitem(sys.modules, "overopt.policies.models", SimpleNamespace(HFPolicy=SimpleNamespace(load=load)))
    model = get_model("overopt/some/folder", device="cpu", memoize=False)
    assert asked == []
    run(inspect_task("reward-tampering", n=3), model, tmp_path)
    assert asked == [("some/folder", "cpu")]
