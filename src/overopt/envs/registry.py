"""The environments by name."""

from collections.abc import Callable, Mapping

from overopt.envs.environment import Environment
from overopt.envs.suite.answer_key import AnswerKey
from overopt.envs.suite.audit_log import AuditLog
from overopt.envs.suite.count_fabrication import CountFabrication
from overopt.envs.suite.grader_injection import GraderInjection
from overopt.envs.suite.impossible_tests import ImpossibleTests
from overopt.envs.suite.persistence import Persistence
from overopt.envs.suite.political_sycophancy import PoliticalSycophancy
from overopt.envs.suite.reward_hint import RewardHint
from overopt.envs.suite.reward_tampering import RewardTampering
from overopt.envs.suite.rubric_modification import InsubordinateRubric, NudgedRubric
from overopt.envs.suite.sandbagging import Sandbagging
from overopt.envs.suite.self_reported_metrics import SelfReportedMetrics
from overopt.envs.suite.threshold_edit import ThresholdEdit
from overopt.envs.suite.tool_flattery import ToolFlattery
from overopt.envs.suite.watcher import MonitorDisruption
from overopt.errors import ConfigError

ENVIRONMENTS: Mapping[str, Callable[[], Environment]] = {
    kind.name: kind
    for kind in (
        PoliticalSycophancy,
        ToolFlattery,
        NudgedRubric,
        InsubordinateRubric,
        RewardTampering,
        ImpossibleTests,
        ThresholdEdit,
        GraderInjection,
        AnswerKey,
        Sandbagging,
        CountFabrication,
        AuditLog,
        SelfReportedMetrics,
        RewardHint,
        MonitorDisruption,
        Persistence,
    )
}
"""In the order of the curriculum, then those beyond it."""


def environment(name: str) -> Environment:
    """The environment of that name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    try:
        return ENVIRONMENTS[name]()
    except KeyError:
        raise ConfigError(f"there is no environment {name!r}; there are {', '.join(ENVIRONMENTS)}") from None
