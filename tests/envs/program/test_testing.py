"""Test files run as pytest and unittest would run them, and programs end as under Python."""

import pytest

from overopt.envs.program import Outcome, Status, call_function, run_file, run_test_file, run_tests, run_text

SUBJECT = "def double(n):\n    return 2 * n\n"


def outcomes(test_file: str, **more: str) -> dict[str, str]:
    files = {"subject.py": SUBJECT, "test_subject.py": test_file} | {f"{name}.py": text for name, text in more.items()}
    return {test.name: test.outcome.value for test in run_tests(files, "test_subject.py").tests}


def test_functions_pass_fail_skip_and_are_expected_to_fail():
    found = outcomes(
        "import pytest\nfrom subject import double\n"
        "def helper():\n    assert False\n"
        "def test_passes():\n    assert double(2) == 4\n"
        "def test_fails():\n    assert double(2) == 5\n"
        "def test_raises():\n    double()\n"
        "@pytest.mark.skip\ndef test_marked():\n    assert False\n"
        "def test_skips():\n    pytest.skip('why')\n"
        "@pytest.mark.xfail\ndef test_expected():\n    assert False\n"
        "@pytest.mark.slow\ndef test_other_mark():\n    pass\n"
        "def test_error():\n    with pytest.raises(TypeError):\n        double()\n"
        "def test_no_error():\n    with pytest.raises(TypeError):\n        double(1)\n"
        "def test_near():\n    assert 0.1 + 0.2 == pytest.approx(0.3)\n"
        "def test_fixture(tmp_path):\n    pass\n"
        "def test_unknown_fixture(thing):\n    pass\n"
        "def test_leaves():\n    import sys\n    sys.exit(0)\n"
    )
    assert found == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_raises": "failed",
        "test_marked": "skipped",
        "test_skips": "skipped",
        "test_expected": "xfailed",
        "test_other_mark": "passed",
        "test_error": "passed",
        "test_no_error": "failed",
        "test_near": "passed",
        "test_fixture": "blocked",
        "test_unknown_fixture": "error",
        "test_leaves": "failed",
    }


def test_each_row_of_a_parametrised_test_counts():
    found = outcomes(
        "import pytest\nfrom subject import double\n"
        "@pytest.mark.parametrize('n, wanted', [(1, 2), (2, 5)])\n"
        "def test_rows(n, wanted):\n    assert double(n) == wanted\n"
    )
    assert found == {"test_rows[0]": "passed", "test_rows[1]": "failed"}


def test_classes_of_both_styles_get_their_hooks():
    found = outcomes(
        "import unittest\nfrom subject import double\n"
        "class Shared(unittest.TestCase):\n    def setUp(self):\n        self.n = 3\n"
        "class Doubling(Shared):\n"
        "    def test_equal(self):\n        self.assertEqual(double(self.n), 6)\n"
        "    def test_near(self):\n        self.assertAlmostEqual(double(0.5), 1.00000001)\n"
        "    def test_less(self):\n        self.assertLess(double(self.n), 6, 'too much')\n"
        "    def test_error(self):\n        with self.assertRaises(TypeError):\n            double()\n"
        "    def test_call(self):\n        self.assertRaises(TypeError, double)\n"
        "    @unittest.skip('why')\n    def test_skipped(self):\n        self.fail('no')\n"
        "class TestPlain:\n    def setup_method(self, method):\n        self.n = 4\n"
        "    def test_it(self):\n        assert double(self.n) == 8\n"
        "class Other:\n    def test_not_collected(self):\n        assert False\n"
    )
    assert found == {
        "Doubling::test_equal": "passed",
        "Doubling::test_near": "passed",
        "Doubling::test_less": "failed",
        "Doubling::test_error": "passed",
        "Doubling::test_call": "passed",
        "Doubling::test_skipped": "skipped",
        "TestPlain::test_it": "passed",
    }


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("from subject import double\ndef test_a():\n    assert double(1) == 2\n", 0, "1 passed"),
        ("def test_a():\n    assert 1 == 2\n", 1, "FAILED test_subject.py::test_a"),
        ("import nothing_known\n", 2, "ModuleNotFoundError: No module named 'nothing_known'"),
        ("def test_a(:\n", 2, "SyntaxError: invalid syntax"),
        ("import os\ndef test_a():\n    os.remove('x')\n", 3, "os.remove"),
        ("x = 1\n", 5, "no tests ran"),
    ],
)
def test_the_exit_code_and_text_are_those_of_pytest(text, code, words):
    report = run_tests({"subject.py": SUBJECT, "test_subject.py": text}, "test_subject.py")
    assert report.exit_code == code
    assert words in report.output
    assert report.passed == (code in (0, 5))


def test_a_test_file_run_as_a_program_runs_its_own_tests():
    text = "import unittest\nclass A(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(1, {})\n"
    text += "if __name__ == '__main__':\n    unittest.main()\n"
    good = run_test_file({"test_a.py": text.format(1)}, "test_a.py")
    bad = run_test_file({"test_a.py": text.format(2)}, "test_a.py")
    assert (good.exit_code, good.status) == (0, Status.OK)
    assert good.error.endswith("Ran 1 test\n\nOK\n")
    assert bad.exit_code == 1
    assert "AssertionError: 1 != 2" in bad.error
    assert bad.error.endswith("FAILED (failures=1)\n")
    assert run_file({"test_a.py": text.format(1)}, "test_a.py").status is Status.UNSUPPORTED


def test_a_traceback_reads_like_pythons():
    files = {"main.py": "from rl import helper\n\ndef run():\n    helper.fails({})\n\nrun()\n"}
    files["rl/helper.py"] = "def fails(table):\n    return table['key']\n"
    result = run_file(files, "main.py", folder="/home")
    assert result.error == (
        "Traceback (most recent call last):\n"
        '  File "main.py", line 6, in <module>\n    run()\n'
        '  File "main.py", line 4, in run\n    helper.fails({})\n'
        "  File \"/home/rl/helper.py\", line 2, in fails\n    return table['key']\n"
        "KeyError: 'key'\n"
    )
    assert (result.status, result.error_type, result.exit_code) == (Status.ERROR, "KeyError", 1)


def test_both_layouts_of_importing_a_sibling_work_and_the_files_folder_goes_first():
    guard = "try:\n    from reward import VALUE\nexcept ImportError:\n    from rl.reward import VALUE\nprint(VALUE)\n"
    assert run_file({"rl/reward.py": "VALUE = 1\n", "rl/guard.py": guard}, "rl/guard.py").output == "1\n"
    assert run_file({"rl/reward.py": "VALUE = 2\n", "guard.py": guard}, "guard.py").output == "2\n"
    by_path = (
        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'rl'))\n"
    )
    assert run_file({"rl/reward.py": "VALUE = 3\n", "tests/g.py": by_path + guard}, "tests/g.py").output == "3\n"


def test_names_and_texts_of_the_tree_may_be_anything():
    files = {
        "../../etc/passwd": "x",
        "a\0b.py": "",
        "main.py": "print(__file__, __name__)\n",
        "//double//slash.py": "V = 1\n",
    }
    assert run_file(files, "main.py").output == "/main.py __main__\n"
    assert run_text("from double.slash import V\nprint(V)", files).output == "1\n"
    missing = run_file({}, "no/../such.py")
    assert missing.error == "python3: can't open file '/such.py': [Errno 2] No such file or directory\n"
    assert (missing.exit_code, run_tests({}, "such.py").exit_code) == (2, 4)
    odd = {"\ud800.py": "x = 1", "rtl\u202e.py": "", "main.py": "import rtl\n"}
    assert run_file(odd, "main.py").error_type == "ModuleNotFoundError"


def test_a_function_keeps_its_state_between_calls_of_one_row_only():
    files = {"count.py": "seen = []\ndef f(x):\n    seen.append(x)\n    print(x)\n    return len(seen)\n"}
    assert [result.value for result in call_function(files, "count.py", "f", [("a",), ("b",)])] == [1, 2]
    assert [result.value for result in call_function(files, "count.py", "f", [("a",)])] == [1]
    assert call_function(files, "count.py", "g", [()])[0].error_type == "AttributeError"
    assert call_function(files, "count.py", "f", [()])[0].error.endswith(
        "missing 1 required positional argument: 'x'\n"
    )


def test_a_value_that_is_no_plain_data_comes_back_as_its_type_alone():
    files = {
        "a.py": "class A: pass\ndef f(kind): return [A()] if kind else A\ndef g(): return {'a': [1, (2.5, None)]}\n"
    }
    first, second = call_function(files, "a.py", "f", [(1,), (0,)])
    assert (first.value, first.value_type, second.value, second.value_type) == (None, "list", None, "type")
    assert call_function(files, "a.py", "g", [()])[0].value == {"a": [1, (2.5, None)]}


def test_exit_codes_are_those_of_python():
    assert run_text("import sys\nsys.exit(3)").exit_code == 3
    assert run_text("import sys\nsys.exit()").exit_code == 0
    assert run_text("raise SystemExit('bye')").error == "bye\n"
    assert run_text("1/0").exit_code == 1
    assert run_text("print(1)").exit_code == 0


def test_a_blocked_test_says_why():
    report = run_tests({"test_a.py": "def test_a():\n    open('x')\n"}, "test_a.py")
    assert report.blocked == "built-in open"
    assert report.tests[0].outcome is Outcome.BLOCKED
    assert not report.passed


def test_a_conftest_on_the_way_to_a_test_is_executed_first():
    files = {
        "app/subject.py": SUBJECT,
        "app/test_a.py": "from subject import double\ndef test_a():\n    assert double(2) == 5\n",
    }
    patch = "import app.subject\nimport subject\nsubject.double = lambda n: 5\n"
    assert not run_tests(files, "app/test_a.py").passed
    for place in ("app/conftest.py", "conftest.py"):
        text = patch if place.startswith("app") else patch.replace("import subject\nsubject.", "app.subject.")
        assert run_tests(files | {place: text}, "app/test_a.py").passed, place
    # A folder beside the way does not count, and a fault in one that does is an error.
    assert not run_tests(files | {"other/conftest.py": patch}, "app/test_a.py").passed
    assert run_tests(files | {"conftest.py": "1/0\n"}, "app/test_a.py").exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        (
            "conftest.py",
            "def pytest_collection_modifyitems(items):\n    items.clear()\n",
            "pytest_collection_modifyitems",
        ),
        ("conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef f():\n    pass\n", "pytest.fixture"),
        ("pytest.ini", "[pytest]\naddopts = -k nothing\n", "options in pytest.ini"),
        ("setup.cfg", "[tool:pytest]\naddopts = -k nothing\n", "options in setup.cfg"),
    ],
)
def test_what_could_leave_out_any_test_is_not_followed(name, text, what):
    files = {"test_a.py": "def test_a():\n    assert 1 == 2\n", name: text}
    assert run_tests(files, "test_a.py").blocked.startswith(what)


def test_settings_of_other_tools_do_not_block_a_test():
    files = {"test_a.py": "def test_a():\n    pass\n", "setup.cfg": "[metadata]\nname = a\n"}
    assert run_tests(files, "test_a.py").passed
