"""What to say when a file lacks a column that was asked for: what it holds, and which name may have been meant."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

UNNAMED = "(unnamed)"
"""How a column without a name is shown, such as the index that pandas writes."""

_SHOWN_COLUMNS = 12


def absent_columns(held: Sequence[str], wanted: Mapping[str, str]) -> str | None:
    """What is wrong with a file that holds the columns ``held``, or ``None``.

    ``wanted`` maps what the user calls a role, such as the option ``--prompt``, to the name looked for.

    >>> absent_columns(["", "prompt_id", "score_a"], {"--prompt": "prompt", "--a": "a"})
    "has no columns 'prompt', 'a'; it has (unnamed), prompt_id, score_a; did you mean --prompt prompt_id --a score_a?"
    """
    absent = {option: name for option, name in wanted.items() if name not in held}
    if not absent:
        return None
    shown = ", ".join(name or UNNAMED for name in held[:_SHOWN_COLUMNS]) + (", …" if len(held) > _SHOWN_COLUMNS else "")
    free = [name for name in held if name and name not in wanted.values()]
    hints = []
    for option, name in absent.items():
        found = likely_column(name, free)
        if found is not None:
            shown_name = repr(found) if re.search(r"[^\w./:-]", found) else found
            hints.append(f"{option} {shown_name}" if option.startswith("--") else shown_name)
            free.remove(found)
    names = list(dict.fromkeys(absent.values()))
    noun = "column" if len(names) == 1 else "columns"
    hint = f"; did you mean {' '.join(hints)}?" if hints else ""
    return f"has no {noun} {', '.join(map(repr, names))}; it has {shown or 'none'}{hint}"


def likely_column(name: str, held: Sequence[str]) -> str | None:
    """The column that ``name`` may stand for: the same but for case, one that holds its words, or one spelled alike.

    >>> likely_column("step", ["epoch", "global_step"]), likely_column("gold", ["eval/gold", "eval/len"])
    ('global_step', 'eval/gold')
    >>> likely_column("prxy", ["gold", "proxy"]), likely_column("kl", ["loss"])
    ('proxy', None)
    """
    same = [column for column in held if column.lower() == name.lower()]
    if same:
        return same[0]
    words = _words(name)
    holding = [column for column in held if words and words <= _words(column)]
    if holding:
        return min(holding, key=lambda column: len(_words(column)))
    alike = get_close_matches(name.lower(), [column.lower() for column in held], n=1)
    if alike:
        return next(column for column in held if column.lower() == alike[0])
    shared = [column for column in held if words & _words(column)]
    return max(shared, key=lambda column: len(words & _words(column))) if shared else None


def _words(name: str) -> frozenset[str]:
    """The words of a name: ``eval/goldScore_2`` has eval, gold, score and 2."""
    return frozenset(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+", name))
