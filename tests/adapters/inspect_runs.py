"""Runs of our tasks in Inspect, quiet and offline, and what they left."""

import warnings
from pathlib import Path

import inspect_ai
from inspect_ai.approval import ApprovalPolicy
from inspect_ai.model import get_model

from overopt.adapters import inspect_registry  # noqa: F401  (what the entry point loads)
from overopt.envs.actors import Script
from overopt.envs.runner import run_episodes

NEVER_SAME = {"policy": {}, "versions": {}}
"""In what episodes of two faces differ, made alike."""


def run(tasks, model, folder, **options):
    """The logs, in the order of tasks and then models; all of them finished."""
    settings = {"display": "log", "log_realtime": False, "log_level": "error", "score_display": False}
    with warnings.catch_warnings():
        # Inspect's own: a word that a library of its renamed. (The streams that it leaves open: conftest.py.)
        warnings.filterwarnings("ignore", "The 'initial' parameter is deprecated", DeprecationWarning)
        logs = inspect_ai.eval(tasks, model=model, log_dir=str(folder), **{**settings, **options})
    assert not [log.error.message for log in logs if log.status != "success"]
    return logs


def place(log):
    return Path(log.location.removeprefix("file://"))


def native(environment, persona, scenarios, reps=1):
    return run_episodes(environment, Script(environment, persona), scenarios, reps=reps)


def asks(*approvers):
    return [ApprovalPolicy(approver=approver, tools="*") for approver in approvers]


def in_process(policy):
    return get_model("overopt/written-down", policy=policy, memoize=False)
