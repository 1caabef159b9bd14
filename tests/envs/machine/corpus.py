"""The frozen corpus: scripts, what real bash and coreutils answered, and the files that each script starts from."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus.json"
FILES = {
    ".hidden": "secret\n",
    "blank.txt": "a\n\n\nb\n",
    "dup.txt": "a\na\nb\nc\nc\nc\na\n",
    "empty.txt": "",
    "fruit.txt": "apple\nbanana\ncherry\n",
    "mixed.txt": "The quick brown fox\njumps over the lazy dog\nThe end.\n",
    "noeol.txt": "first\nlast",
    "numbers.txt": "10\n9\n2\n33\n2\n",
    "src/deep/notes.md": "# Notes\n\n- item TODO\n",
    "src/main.py": "import os\n\ndef main():\n    return 1  # TODO\n",
    "src/util.py": "def helper(x):\n    return x + 1\n",
    "table.csv": "name,age,city\nann,30,york\nbob,25,bath\ncid,41,york\n",
    "tabs.txt": "a\tb\tc\n1\t2\t3\n",
    "unicode.txt": "naïve café\nüber\n",
    "with space.txt": "spaced\n",
}


def scripts() -> list[str]:
    """The scripts in the order of ``scripts.txt``."""
    found: list[str] = []
    for line in (FOLDER / "scripts.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            found[-1] += "\n" + line[1:]
        elif line and not line.startswith("#"):
            found.append(line)
    return found


def corpus() -> list[dict]:
    """The recorded answers: script, stdout, stderr, status."""
    return json.loads(CORPUS.read_text(encoding="utf-8"))["answers"]
