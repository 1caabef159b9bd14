"""What Inspect finds by the entry point ``inspect_ai``: tasks, the sandbox, the models, solvers and the scorer."""

from overopt.adapters.inspect_model import InProcess
from overopt.adapters.inspect_sandbox import SimulatedSandbox
from overopt.adapters.inspect_scorer import episodes, high, low, rate, scenarios, tamper
from overopt.adapters.inspect_solver import simulated_only, text_protocol, tool_protocol
from overopt.adapters.inspect_tasks import TASKS

__all__ = [
    "TASKS",
    "InProcess",
    "SimulatedSandbox",
    "episodes",
    "high",
    "low",
    "rate",
    "scenarios",
    "simulated_only",
    "tamper",
    "text_protocol",
    "tool_protocol",
]
