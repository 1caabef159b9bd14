"""Hundreds of odd files: each is refused in one sentence, or answered; never a traceback, never a warning."""

import gzip
import io
import json
import random
import sys

import numpy as np
import polars as pl
import pytest

from overopt.cli import main as cli

COMMANDS = {
    "bon": (("bon",), ("prompt", "proxy", "gold")),
    "fit": (("fit", "--group", "group"), ("kl", "gold", "group")),
    "diagnose": (("diagnose",), ("step", "proxy", "gold")),
    "eval_rm": (("eval-rm", "scores"), ("a", "b", "label")),
}
ODD_CELLS = (
    "1", "2", "0", "-1", "0.5", "1e99", "-1e99", "1e308", "1e400", "nan", "inf", "-inf", "", "abc", "1,5", " 3 ", "NA",
    "1e-320", "0x10", "1_000", "--1", "ten", "None", "true", "½", "１",
)  # fmt: skip
ROWS = (0, 1, 2, 3, 5, 8, 20, 60)
FILES_A_COMMAND = 150


def cell(column, row, rng, *, is_clean):
    if column in ("prompt", "group"):
        return rng.choice("ab") if is_clean or rng.random() < 0.9 else rng.choice(("", "née 🙂", "a" * 3000, "nan"))
    if column == "label":
        return rng.choice(("A", "B", "1", "0")) if is_clean or rng.random() < 0.9 else rng.choice(("C", "", "A=B"))
    if is_clean or rng.random() < 0.6:
        if column == "step":
            return str(rng.choice((row, row // 2, 0)))
        if column == "kl":
            return rng.choice((f"{row * 0.3:.2f}", "0", "-0.1", str(row)))
        return (
            f"{rng.gauss(0, 1):.3f}" if rng.random() < 0.5 else rng.choice(("0", "1", "1", "1e99", "-1e99", "1e-300"))
        )
    return rng.choice(ODD_CELLS)


def table(columns, rng):
    """Rows of one odd file."""
    is_clean = rng.random() < 0.5
    return [[cell(column, row, rng, is_clean=is_clean) for column in columns] for row in range(rng.choice(ROWS))]


def as_csv(columns, rows, rng):
    separator = rng.choice(",;\t|")
    lines = [separator.join(columns), *(separator.join(row) for row in rows)]
    if rng.random() < 0.15 and rows:
        lines[rng.randrange(len(lines))] += separator + "extra"
    if rng.random() < 0.1 and rows:
        lines[-1] = lines[-1].split(separator)[0]
    if rng.random() < 0.05:
        lines[0] = separator.join([*columns[:-1], columns[0]])
    text = rng.choice(("\n", "\r\n", "\r")).join(lines) + rng.choice(("", "\n", "\n\n", '"'))
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return text.encode(encoding, errors="replace")


def as_json_lines(columns, rows, rng):
    def value(text):
        if rng.random() < 0.05:
            return rng.choice((None, True, [1], {"a": 1}, 10**400, float("nan"), float("inf")))
        try:
            return float(text) if abs(float(text)) < 1e300 else text
        except ValueError:
            return text

    lines = [json.dumps({name: value(text) for name, text in zip(columns, row, strict=True)}) for row in rows]
    if rng.random() < 0.1 and lines:
        lines[rng.randrange(len(lines))] = rng.choice(("{", "[1]", "1", '"a"', "{}", "[" * 2000))
    return ("\n".join(lines) if rng.random() < 0.8 else f"[{','.join(lines)}]").encode()


def odd_file(columns, rng):
    kind = rng.random()
    rows = table(columns, rng)
    if kind < 0.6:
        content = as_csv(columns, rows, rng)
    elif kind < 0.85:
        content = as_json_lines(columns, rows, rng)
    elif kind < 0.9:
        content = rng.randbytes(rng.choice((0, 1, 10, 500)))
    else:
        frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        content = buffer.getvalue()
    if rng.random() < 0.05:
        content = gzip.compress(content)
    if rng.random() < 0.05:
        content = content[: rng.randrange(len(content) + 1)]
    return content


@pytest.fixture
def answer(tmp_path, capsys, monkeypatch):
    """Run a command on a file with this content: the JSON it prints, or the sentence that refuses it."""

    def run(args, content):
        path = tmp_path / "file"
        path.write_bytes(content)
        at = 2 if args[0] == "eval-rm" else 1
        monkeypatch.setattr(sys, "argv", ["overopt", *args[:at], str(path), *args[at:], "--json"])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        if status == 2:
            assert out == ""
            assert err.startswith("overopt: ")
            assert err.count("\n") == 1
            return err.replace(str(path), "FILE")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_odd_files_are_refused_or_answered(answer, name):
    args, columns = COMMANDS[name]
    rng = random.Random(f"odd {name}")
    outcomes = [answer(args, odd_file(columns, rng)) for _ in range(FILES_A_COMMAND)]
    answered = [found for found in outcomes if isinstance(found, dict)]
    assert all(found["schema"] == f"overopt.{name}/1" for found in answered)
    assert 10 < len(answered) < FILES_A_COMMAND - 10  # the generator makes both kinds


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"prompt,proxy,gold\n", "no rows"),
        (b"prompt,proxy,gold\na,1,x\na,2,3\n", "'x' in row 1"),
        (b"prompt,proxy,gold\na,1,2\na,inf,3\n", "'inf' in row 2"),
        (b"prompt,proxy,gold\na,nan,2\nb,1,\n", "all 2 rows"),
        (b"prompt,proxy,gold\na,1,2\n", "one sample"),
        (b"prompt,proxy,gold\na,1,2\nb,1,2\nc,2,2\n", "one sample"),
        (b"prompt,proxy,proxy,gold\na,1,2,3\na,1,2,3\n", "2 times"),
        (b"prompt,proxy,gold\na,1,2,3\na,1,2\n", "row 1 has 4 fields"),
        (b'prompt,proxy,gold\na,1,"2\na,1,2\n', "line"),
        (b"prompt,proxy,gold\n\xff\xfea,1,2\n", "UTF-8"),
        (b"prompt,proxy,gold\na,1\x00,2\n", "zero bytes"),
        (b"PK\x03\x04rest", "Excel"),
        (b"PAR1rest", "Parquet"),
        (b"\x1f\x8brest", "gzipped"),
        (b'{"prompt": "a"\n', "line 1"),
        (b'{"prompt": "a", "proxy": 1, "gold": 2}\n[1]\n', "line 2"),
        (b"[" * 100_000, "JSON"),
        (b"Prompt,Proxy,Gold\na,1,2\na,1,2\n", "has no columns"),
    ],
)
def test_a_refusal_says_what_and_where(answer, content, words):
    refusal = answer(("bon",), content)
    assert isinstance(refusal, str)
    assert words in refusal


def test_spelling_of_a_file_does_not_change_the_answer(answer):
    rng = np.random.default_rng(0)
    rows = [(f"p{i // 8}", round(rng.normal(), 3), round(rng.normal(), 3)) for i in range(64)]
    plain = "prompt,proxy,gold\n" + "".join(f"{p},{a},{b}\n" for p, a, b in rows)
    european = "prompt;proxy;gold\r\n" + "".join(f"{p};{a};{b}\r\n" for p, a, b in rows).replace(".", ",")
    quoted = '"gold","prompt","proxy"\n' + "".join(f'"{b}","{p}","{a}"\n\n' for p, a, b in rows)
    lines = "".join(json.dumps({"prompt": p, "proxy": a, "gold": str(b)}) + "\n" for p, a, b in rows)
    buffer = io.BytesIO()
    pl.DataFrame(rows, schema=["prompt", "proxy", "gold"], orient="row").write_parquet(buffer)
    expected = answer(("bon",), plain.encode())
    for content in (
        european.encode("utf-8-sig"), european.encode("utf-16"), quoted.encode(), lines.encode(),
        gzip.compress(plain.encode()), plain.replace(",", "\t").encode(), plain.replace("\n", "\r").encode(),
        buffer.getvalue(),
    ):  # fmt: skip
        assert answer(("bon",), content) == expected


def test_a_million_rows_are_answered(answer):
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 1_000_000)).round(2)
    frame = pl.DataFrame({"prompt": np.repeat(np.arange(1000), 1000), "proxy": proxy, "gold": gold})
    found = answer(("bon",), frame.write_csv().encode())
    assert (found["prompts"], found["samples"], found["missing"]) == (1000, 1_000_000, 0)
