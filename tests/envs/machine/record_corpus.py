"""Record what real bash answers to ``scripts.txt``; the tests replay the JSON and never run this.

Run: python tests/envs/machine/record_corpus.py      writes corpus.json beside this file

Each script runs in a new folder that is its home, as an account without rights (start it as root for that), in the
locale C.UTF-8 and the time zone UTC, with nothing on standard input. The folder's path is recorded as ``/home/user``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine.corpus import CORPUS, FILES, scripts

NOBODY = 65534
TOOLS = ("bash", "ls", "grep", "sed", "find", "diff")


def main() -> None:
    answers = [answer(script) for script in scripts()]
    versions = {
        tool: subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        for tool in TOOLS
    }
    CORPUS.write_text(
        json.dumps({"versions": versions, "answers": answers}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    sys.stdout.write(f"{len(answers)} scripts recorded\n")


def answer(script: str) -> dict:
    """What bash prints and how it ends."""
    folder = Path(tempfile.mkdtemp(prefix="corpus")).resolve()
    try:
        home = folder / "home"
        for name, text in FILES.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        options = {}
        if os.geteuid() == 0:
            for path in [folder, home, *home.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
            options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
            umask=0o022,
            **options,
        )
    finally:
        shutil.rmtree(folder)
    streams = [
        stream.decode("utf-8", "surrogateescape").replace(str(home), "/home/user")
        for stream in (result.stdout, result.stderr)
    ]
    return {"script": script, "stdout": streams[0], "stderr": streams[1], "status": result.returncode}


if __name__ == "__main__":
    main()
