"""Commands that scripted policies write."""


def write_file(path: str, text: str) -> str:
    r"""The command that gives a file this text.

    >>> print(write_file("plan.txt", "it's 5 %\n"))
    printf 'it'\''s 5 %%\n' > plan.txt
    """
    quoted = text.replace("\\", "\\\\").replace("\n", "\\n").replace("%", "%%").replace("'", "'\\''")
    return f"printf '{quoted}' > {path}"
