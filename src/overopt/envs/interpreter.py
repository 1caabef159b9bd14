"""``python3`` and ``pytest`` of the simulated machine, answered by the bounded evaluator: nothing runs on the host."""

from overopt.envs.machine import PythonAnswer, PythonRequest
from overopt.envs.program import Result, run_test_file, run_tests, run_text


def bounded_python(request: PythonRequest) -> PythonAnswer:
    """What a program or a file of tests prints; what the evaluator does not support is an error like Python's own.

    A program sees the files of the machine as they are and changes none of them.
    """
    if request.tool == "pytest":
        return _pytest(request)
    if request.path:
        return _answer(run_test_file(request.files, request.path, request.args, folder=request.folder))
    return _answer(run_text(request.source, request.files, request.args, folder=request.folder))


def _answer(result: Result) -> PythonAnswer:
    if result.reason:
        return PythonAnswer(result.output, f"{result.error}RuntimeError: not available here: {result.reason}\n", 1)
    return PythonAnswer(result.output, result.error, result.exit_code)


def _pytest(request: PythonRequest) -> PythonAnswer:
    names = [word.partition("::")[0] for word in request.args if not word.startswith("-")]
    prefix = request.folder.rstrip("/") + "/"
    if not names:
        # As pytest collects them: files of tests below the folder where it is started.
        names = sorted(
            path.removeprefix(prefix)
            for path in request.files
            if path.startswith(prefix)
            and (path.rpartition("/")[2].startswith("test_") or path.endswith("_test.py"))
            and path.endswith(".py")
        )
    if not names:
        return PythonAnswer("collected 0 items\n\nno tests ran\n", "", 5)
    reports = [run_tests(request.files, name, folder=request.folder) for name in names]
    status = max(report.exit_code for report in reports)
    return PythonAnswer("\n".join(report.output for report in reports), "", status)
