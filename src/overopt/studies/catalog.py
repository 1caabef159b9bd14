"""Which studies there are; light, since a study itself needs torch."""

import difflib
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from overopt.errors import ConfigError

if TYPE_CHECKING:
    from overopt.studies.study import Study

STUDIES = {
    "chitchat": "overopt.studies.chitchat:chitchat",
    "gao2022": "overopt.studies.gao2022.plan:gao2022",
    "grm2024": "overopt.studies.grm2024.plan:grm2024",
    "denison2024": "overopt.studies.denison2024.plan:denison2024",
    "mitigations": "overopt.studies.mitigations.plan:mitigations",
}
"""Module and function, called with a preset and the keywords ``seed`` and ``assignments``."""


def check_name(name: str) -> None:
    """Refuse the name of a study that does not exist.

    Raises
    ------
    ConfigError
        With the names that there are, or the one that was probably meant.
    """
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        raise ConfigError(
            f"there is no study {name!r}; " + (f"did you mean {near[0]}?" if near else f"there is {', '.join(STUDIES)}")
        )


def build_study(name: str, preset: str, *, seed: int = 0, assignments: Sequence[str] = ()) -> "Study":
    """The study of that name with its settings."""
    check_name(name)
    module, _, function = STUDIES[name].partition(":")
    study: Study = getattr(import_module(module), function)(preset, seed=seed, assignments=assignments)
    return study
