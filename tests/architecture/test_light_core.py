"""The core needs no torch and starts fast enough to be used without a thought."""

import subprocess
import sys

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "tokenizers", "safetensors", "vaderSentiment"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_core_imports_without_torch():
    modules = "overopt.measure.study, overopt.reports.page, overopt.workflow, overopt.cli.main, overopt.stats.laws"
    result = run(f"{BLOCK}import {modules}")
    assert result.returncode == 0, result.stderr


def test_importing_the_package_loads_no_library():
    loaded = run("import sys, overopt; print(sorted({'numpy', 'scipy', 'polars', 'altair'} & set(sys.modules)))")
    assert loaded.stdout.strip() == "[]"
