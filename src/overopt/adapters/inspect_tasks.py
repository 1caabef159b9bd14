"""Our environments as tasks of Inspect: ``inspect eval overopt/tamper_reward_tampering -T n=8 --model ...``.

Every environment of the registry is a task, named ``tamper_`` and its name. Runs of one scenario are samples of their
own, in one epoch: rates count scenarios and do not average before they count. Constructed incentive, pathway not
prevalence: the environments pay for gaming on purpose.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Solver

from overopt.adapters.inspect_samples import keep_environment, known_environment, sample
from overopt.adapters.inspect_scorer import SCORER, tamper
from overopt.adapters.inspect_solver import simulated_only, text_protocol, tool_protocol
from overopt.envs.environment import Environment
from overopt.envs.episode import Split, Twin, Wording
from overopt.envs.registry import ENVIRONMENTS
from overopt.errors import ConfigError

Protocol = Literal["text", "tool"]
"""How a policy calls commands: by tags in its text, which any model can write, or by calls of Inspect's ``bash``."""
SANDBOX = "simfs"


def inspect_task(
    environment: str | Environment,
    *,
    protocol: Protocol = "text",
    n: int = 64,
    reps: int = 1,
    split: Split = "test",
    twin: Twin = "gameable",
    wording: Wording = "A",
    seed: int = 0,
    instructed: bool = False,
    stage: str | None = None,
    solver: Solver | None = None,
    danger_local_sandbox: bool = False,
) -> Task:
    """A task of ``n`` scenarios with ``reps`` samples each.

    Parameters
    ----------
    environment : str or Environment
        A name of the registry, or an environment of one's own, which then is known in this process alone.
    protocol : "text" or "tool"
        How commands are called.
    n, reps : int
        Scenarios, and episodes of each; at least 1.
    split, twin, wording, seed, instructed
        Which scenarios; as :meth:`~overopt.envs.environment.Environment.scenarios` takes them.
    stage : str, optional
        Name of the model's row in the gaming matrix.
    solver : Solver, optional
        In place of ours, such as an agent that calls ``bash()``; with ``protocol="tool"`` only.
    danger_local_sandbox : bool
        Let ``--sandbox`` put the tool protocol into another sandbox. With Inspect's ``local`` **a model's commands run
        on this machine**. Nothing is judged there.

    Raises
    ------
    ConfigError
        If there is no such environment, or the arguments do not fit together.
    """
    _check(protocol, n, reps, split, twin, wording)
    if protocol == "text" and (danger_local_sandbox or solver is not None):
        what = "solver" if solver is not None else "danger_local_sandbox"
        raise ConfigError(f"{what} is for protocol='tool': the text protocol never leaves the simulated machine")
    if isinstance(environment, Environment):
        keep_environment(environment)
        found = environment
    else:
        found = known_environment(environment)
    scenarios = found.scenarios(n, split=split, twin=twin, wording=wording, seed=seed, instructed=instructed)
    samples = [sample(scenario, rep, reps, is_tool=protocol == "tool") for scenario in scenarios for rep in range(reps)]
    ours = text_protocol() if protocol == "text" else tool_protocol(danger_local_sandbox=danger_local_sandbox)
    score: Scorer = tamper(stage=stage, protocol=protocol)
    return Task(
        dataset=MemoryDataset(samples, name=found.name),
        # Set-up runs whatever solver the command line puts in place of the task's.
        setup=None if danger_local_sandbox else simulated_only(),
        solver=ours if solver is None else solver,
        scorer=score,
        sandbox=SANDBOX,
        name=task_name(found.name),
        version=found.version,
        description=found.summary,
        headline_metric=None,
        metadata={"environment": found.name, "title": found.title, "scorer": SCORER},
    )


def task_name(environment: str) -> str:
    """Of an environment's task, without the package.

    >>> task_name("reward-tampering")
    'tamper_reward_tampering'
    """
    return "tamper_" + environment.replace("-", "_")


def _register(name: str) -> Callable[..., Task]:
    def made(
        protocol: str = "text",
        n: int = 64,
        reps: int = 1,
        split: str = "test",
        twin: str = "gameable",
        wording: str = "A",
        seed: int = 0,
        instructed: bool = False,
        stage: str | None = None,
        danger_local_sandbox: bool = False,
    ) -> Task:
        options: dict[str, Any] = {"protocol": protocol, "split": split, "twin": twin, "wording": wording}
        return inspect_task(
            name,
            n=n,
            reps=reps,
            seed=seed,
            instructed=instructed,
            stage=stage,
            danger_local_sandbox=danger_local_sandbox,
            **options,
        )

    made.__name__ = made.__qualname__ = task_name(name)
    made.__doc__ = f"The environment {name}; see :func:`inspect_task`."
    registered: Callable[..., Task] = task(made)
    return registered


def _check(protocol: str, n: int, reps: int, split: str, twin: str, wording: str) -> None:
    allowed = {"protocol": (protocol, Protocol), "split": (split, Split), "twin": (twin, Twin)}
    for name, (value, kinds) in {**allowed, "wording": (wording, Wording)}.items():
        if value not in get_args(kinds):
            raise ConfigError(f"{name} is one of {', '.join(get_args(kinds))}; got {value!r}")
    if n < 1 or reps < 1:
        raise ConfigError(f"n and reps are at least 1; got {n} and {reps}")


TASKS = {task_name(name): _register(name) for name in ENVIRONMENTS}
"""By name, without the package."""
