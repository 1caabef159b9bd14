"""``results.json`` of a study with questions: every answer, and every curve, fit and proxy behind the answers.

Needs no torch. The function ``answer`` of the module that has a question's name answers it.
"""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from overopt.errors import DataError, OveroptError
from overopt.measure.intervals import LEVEL
from overopt.measure.plain import plain
from overopt.measure.rl_run import SCHEMA
from overopt.measure.study import base_record
from overopt.records.answers import Answer
from overopt.records.tables import check_tables, settings_of
from overopt.studies.study_tables import SCORES, StudyTables

_SEED = re.compile(r"-s\d+$")


def question_results(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """All that can be answered from the tables of ``folder``; of other questions ``unanswered`` says why not.

    Raises
    ------
    DataError
        If a table is not what its name says, or no question can be answered.
    ArtifactError
        If a table is damaged, missing or new.
    """
    check_tables(folder / "tables")
    tables = StudyTables(folder, header)
    answers: list[Answer] = []
    unanswered: dict[str, str] = {}
    for question, needed in header["questions"].items():
        if not all((folder / "tables" / table).exists() for table in needed):
            unanswered[question] = "not all of its tables are there"
            continue
        try:
            answers.append(answer_of(header["study"], question)(tables))
        except OveroptError as error:
            unanswered[question] = str(error)
    if not answers:
        reasons = "; ".join(f"{question}: {reason}" for question, reason in unanswered.items())
        raise DataError(f"{folder} does not answer any question of {header['study']}: {reasons}")
    # A study of the small world has neither pairs nor proxies.
    behind: dict[str, Any] = _behind(tables) if tables.has("preferences") else {}
    results: dict[str, Any] = {
        "schema": SCHEMA,
        **{key: header[key] for key in ("study", "preset", "seed", "settings", "caveat") if key in header},
        "level": LEVEL,
        **behind,
        "questions": [answer.to_dict() for answer in answers],
        "unanswered": unanswered,
    }
    found = plain(results)
    assert isinstance(found, dict)
    return found


def _behind(tables: StudyTables) -> dict[str, Any]:
    """The data, proxies, curves and runs behind the answers."""
    pairs = settings_of(tables.root / "preferences.parquet", "preferences")
    return {
        "data": {
            "prompts": len(tables.prompt_ids),
            "samples_per_prompt": tables.gold().shape[1],
            "comparisons": pairs["comparisons"],
            "gold_ties": pairs["gold_ties"],
            "train_pairs": int((~tables.preferences["held_out"]).sum()),
            "held_out_pairs": int(tables.preferences["held_out"].sum()),
        },
        "base": base_record(tables.raw_pool(), tables.gold_map, tables.pool_settings()),
        "proxies": _proxies(tables),
        "bon": _best_of_n(tables),
        "rl": [_run(tables, name) for name in tables.runs()],
    }


def answer_of(study: str, question: str) -> Callable[[StudyTables], Answer]:
    """The function that answers a question of a study."""
    module = import_module(f"overopt.studies.{study}.{question.replace('-', '_')}")

    def answer(tables: StudyTables) -> Answer:
        found: Answer = module.answer(tables)
        if found.id != question:
            raise DataError(f"the question {question} is answered under the name {found.id}")
        return found

    return answer


def _proxies(tables: StudyTables) -> list[dict[str, Any]]:
    found = []
    for proxy in tables.proxies():
        keys = ("base", "width", "parameters", "pairs", "labels", "flipped")
        settings = {key: proxy.settings.get(key) for key in keys}
        record = {"id": proxy.name, **settings, "loss": proxy.loss}
        found.append(record | (tables.proxy_record(proxy.name) if tables.has(f"{SCORES}/{proxy.name}") else {}))
    return found


def _best_of_n(tables: StudyTables) -> list[dict[str, Any]]:
    groups: dict[str, list[str]] = {}
    for proxy in tables.proxies():
        if tables.has(f"{SCORES}/{proxy.name}"):
            groups.setdefault(_SEED.sub("", proxy.name), []).append(proxy.name)
    found = []
    for group, names in groups.items():
        settings = tables.proxy(names[0]).settings
        record = tables.best_of_n(names)
        found.append(
            {
                "group": group,
                **{key: settings.get(key) for key in ("base", "width", "parameters", "pairs")},
                "members": names,
                **record,
                "verdict": record["drop"]["verdict"],
            }
        )
    return found


def _run(tables: StudyTables, name: str) -> dict[str, Any]:
    settings = tables.run(name).settings
    known = {key: settings.get(key) for key in ("base", "width", "parameters", "pairs", "reference")}
    return {"group": name, **known, **tables.origin(name), "seed": settings["rl_seed"], **tables.run_record(name)}
