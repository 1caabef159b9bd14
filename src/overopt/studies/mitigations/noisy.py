"""Methods against over-optimization where a share of the labels was turned round."""

from overopt.records.answers import Answer
from overopt.studies.mitigations.comparison import answer_about
from overopt.studies.study_tables import StudyTables


def answer(tables: StudyTables) -> Answer:
    """Each method beside one proxy."""
    return answer_about(tables, "noisy", tables.settings["flip_rate"])
