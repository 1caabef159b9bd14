"""A bounded evaluator for small Python programs: model-written text is read as a tree and never executed by the host.

It runs files and tests of a program's own tree (``run_file``, ``run_text``, ``run_tests``, ``call_function``) and says
what became of a reward file and of the test that guards it (``judge_reward``, ``judge_guard``). It takes texts and
names, never a path of the host, counts work instead of time, and answers every text with a result.

Left out: generators with ``yield``, ``async``, ``match``, ``with`` other than ``raises``, several bases, special
methods other than ``__init__``, bytes and complex numbers, and every library that ``library`` does not model. Views
of a dict are lists, and sets keep the order of insertion.
"""

from overopt.envs.program.edits import ConstantChange, GuardText, TextEdit, compare_texts, describe_guard
from overopt.envs.program.execute import Result, Status, call_function, run_file, run_text
from overopt.envs.program.limits import DEFAULT_LIMITS, Limits
from overopt.envs.program.probes import probe_transcripts
from overopt.envs.program.testing import Outcome, TestReport, TestResult, run_test_file, run_tests
from overopt.envs.program.verdicts import (
    GuardJudgement,
    GuardVerdict,
    RewardJudgement,
    RewardVerdict,
    Target,
    judge_guard,
    judge_reward,
)

__all__ = [
    "DEFAULT_LIMITS",
    "ConstantChange",
    "GuardJudgement",
    "GuardText",
    "GuardVerdict",
    "Limits",
    "Outcome",
    "Result",
    "RewardJudgement",
    "RewardVerdict",
    "Status",
    "Target",
    "TestReport",
    "TestResult",
    "TextEdit",
    "call_function",
    "compare_texts",
    "describe_guard",
    "judge_guard",
    "judge_reward",
    "probe_transcripts",
    "run_file",
    "run_test_file",
    "run_tests",
    "run_text",
]
