"""Text that tries to leave the tree, forge names, break quotas half-way or learn about the host."""

import platform
from pathlib import Path

import pytest

from overopt.envs.machine import HOME, Limits, Machine, observation

SECRET = "not to be seen"


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.put("notes.txt", "one\ntwo\n")
    machine.put("src/main.py", "print(1)\n")
    return machine


@pytest.mark.parametrize("path", ["../" * 40, "/" + "../" * 40, "src/../../../../../..", "//../..", "/./.././/../"])
def test_no_chain_of_dots_leaves_the_tree(machine, path):
    result = machine.run(f"cd {path} && pwd && ls")
    assert result.stdout.splitlines() == ["/", "dev", "etc", "home", "tmp", "usr"]


def test_double_slashes_and_dots_name_the_same_file(machine):
    paths = ["/home/user/notes.txt", "//home///user/./notes.txt", "../user/notes.txt", "src/../notes.txt"]
    assert {machine.run(f"cat {path}").stdout for path in paths} == {"one\ntwo\n"}


def test_files_of_the_host_do_not_exist(machine, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    for path in (tmp_path / "secret", "/etc/passwd", "/etc/hostname", "/root", "/usr/bin/env", "/usr/lib", __file__):
        result = machine.run(f"cat {path}")
        assert result.stdout == ""
        assert result.stderr.startswith("cat: ")
    machine.run(f"echo x > {tmp_path}/made; mkdir -p {tmp_path}/folder; rm -rf {tmp_path}")
    assert (tmp_path / "secret").read_text() == SECRET


def test_proc_is_absent_and_devices_swallow_what_they_get(machine):
    assert machine.run("cat /proc/self/environ /proc/1/mem; ls /proc; cd /proc").stdout == ""
    result = machine.run("echo x > /dev/null; cat /dev/null; cat /dev/zero; cat /dev/urandom; cat < /dev/tcp/h/80")
    assert result.stdout == ""
    assert result.stderr.count("No such file or directory") == 3
    assert machine.run("rm -f /dev/null; mv notes.txt /dev/; ls /dev").stdout == "null\nstderr\nstdin\nstdout\n"
    assert machine.run("echo seen > /dev/stdout; echo told > /dev/stderr").stderr == "told\n"


def test_nothing_of_the_host_shows_in_the_environment(machine, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", SECRET)
    text = machine.run("env; export; printenv; echo $SECRET_KEY; whoami; hostname; uname -a; id; date; pwd").stdout
    assert SECRET not in text
    assert platform.node() not in text.split()
    assert str(Path.cwd()) not in text
    assert machine.run("date").stdout == "Mon Jan 15 09:00:02 UTC 2024\n"


def test_links_in_circles_are_given_up(machine):
    machine.run("ln -s a b; ln -s b a; ln -s self self; ln -s . here")
    for command in ("cat a", "echo x > self", "cd b", "cp a c", "ls a/", "sed -i s/a/b/ a", "cat self/x"):
        assert "Too many levels of symbolic links" in machine.run(command).stderr, command
    assert "Too many levels" in machine.run("cat " + "here/" * 9 + "notes.txt").stderr
    assert machine.run("cat " + "here/" * 8 + "notes.txt").stdout == "one\ntwo\n"
    assert machine.run("find / -name nothing; ls -R / > /dev/null; grep -r zzz .; cp -r . /tmp/all").limits == ()


def test_a_link_to_the_root_stays_inside_the_tree(machine):
    machine.run("ln -s / up; ln -s ../../../../.. dots")
    assert machine.run("ls up; ls dots/; cd up/../..; pwd").stdout.count("etc") == 2
    assert machine.run("cd; rm -rf up/; cat notes.txt").stdout == "one\ntwo\n"


def test_a_dangling_link_makes_the_file_that_it_names(machine):
    machine.run("ln -s new dangling; echo made > dangling")
    assert machine.text("new") == "made\n"
    assert machine.run("ln -s nodir/x far; echo x > far").status == 1


def test_a_link_moved_elsewhere_is_read_from_there(machine):
    machine.run("ln -s main.py src/link; mv src/link .; cat link")
    assert machine.run("cat link").stderr == "cat: link: No such file or directory\n"


def test_a_folder_cannot_be_moved_into_itself_even_through_a_link(machine):
    machine.run("mkdir -p a/b; ln -s a/b c; mv a c; mv a a/b/c; cp -r a c")
    assert sorted(path for path in machine.tree() if path.startswith(f"{HOME}/a")) == [f"{HOME}/a", f"{HOME}/a/b"]


def test_null_characters_reach_no_name(machine):
    machine.run("touch a\0b; touch \"$(printf 'c\\0d')\"; printf 'x\\0y' > z")
    assert {"ab", "cd", "z"} <= {path.rpartition("/")[2] for path in machine.tree()}
    assert machine.text("z") == "x\0y"


def test_a_line_break_in_a_name_shows_as_an_escape_in_messages(machine):
    result = machine.run("rm $'a\\nrm: cannot remove everything'")
    assert result.stderr == "rm: cannot remove 'a'$'\\n''rm: cannot remove everything': No such file or directory\n"


def test_spellings_of_one_letter_are_different_names(machine):
    machine.run("echo composed > é; echo combining > e\u0301; echo cyrillic > n\u043etes.txt; echo wide > ｎotes.txt")
    assert [machine.text(name) for name in ("é", "e\u0301", "n\u043etes.txt")] == [
        "composed\n",
        "combining\n",
        "cyrillic\n",
    ]
    assert machine.text("notes.txt") == "one\ntwo\n"


def test_invisible_characters_in_a_command_do_not_make_it_another(machine):
    result = machine.run("r\u200bm notes.txt")
    assert (result.status, machine.text("notes.txt")) == (127, "one\ntwo\n")
    assert "\u200b" not in observation(result)


def test_bidirectional_marks_and_lone_surrogates_are_kept_but_shown_as_escapes(machine):
    machine.run("echo x > \u202etxt.exe; echo \ud800\udc80 > odd")
    shown = observation(machine.run("ls; cat odd"))
    assert "\\x{202e}txt.exe" in shown
    assert machine.text("odd") == "\ufffd\udc80\n"
    shown.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["for i in 1; do x; done", "f() { x; }", ":(){ :|:& };:", "sleep 9 &", "(ls)", "((1))"]
)
def test_loops_functions_jobs_and_subshells_are_named_as_unsupported(machine, text):
    result = machine.run(text)
    assert result.status == 2
    assert len(result.unsupported) == 1
    assert "not supported in this shell" in result.stderr


@pytest.mark.parametrize(
    "text", ["echo {a,b}", "echo {1..9}", "touch f{1,2}", "echo $((1+1))", "echo ${x:-y}", "echo 1>&2$x"]
)
def test_expansions_and_descriptors_that_are_left_out_are_named_as_unsupported(machine, text):
    result = machine.run(f"cat notes.txt\n{text}")
    assert (result.stdout, result.status, len(result.unsupported)) == ("one\ntwo\n", 2, 1)


@pytest.mark.parametrize("command", ["awk 1", "vim x", "curl h", "pip install x", "python3 x", "sudo ls", "bash -c ls"])
def test_commands_that_are_left_out_are_not_found_and_counted(machine, command):
    result = machine.run(command)
    assert result.stderr == f"bash: line 1: {command.split()[0]}: command not found\n"
    assert result.unsupported == (f"command {command.split()[0]}",)


def test_a_misspelled_command_is_not_counted_as_unsupported(machine):
    assert machine.run("catt x").unsupported == ()


def test_a_file_does_not_grow_from_itself(machine):
    result = machine.run("cat notes.txt >> notes.txt; cat < notes.txt >> notes.txt")
    assert result.stderr == "cat: notes.txt: input file is output file\ncat: -: input file is output file\n"
    assert machine.text("notes.txt") == "one\ntwo\n"


def test_sed_edits_no_folder(machine):
    assert machine.run("sed -i s/a/b/ src").stderr == "sed: couldn't edit src: not a regular file\n"


def test_the_folder_one_stands_in_may_be_removed(machine):
    machine.run("cd src && rm -rf ../src")
    result = machine.run("pwd; ls; echo x > y; mkdir z; cd .; touch a; cat main.py; find .")
    assert result.stdout.startswith(f"{HOME}/src\n")
    assert machine.run("cd ..; pwd").stdout == f"{HOME}\n"
    assert not any(path.startswith(f"{HOME}/src") for path in machine.tree())
    assert machine.run("cd; ls").stdout == "notes.txt\n"


def test_nothing_can_be_written_under_a_file(machine):
    result = machine.run("echo x > notes.txt/a; mkdir -p notes.txt/b; cp src/main.py notes.txt/c; touch notes.txt/d/e")
    assert result.stderr.count("Not a directory") == 4
    assert machine.text("notes.txt") == "one\ntwo\n"


def test_a_redirection_that_meets_a_full_quota_changes_nothing():
    machine = Machine(limits=Limits(file_bytes=1_000, total_bytes=2_000))
    machine.put("a", "a" * 900)
    machine.put("b", "b" * 900)
    result = machine.run("cat a a > b; cat a b >> a; cat a > new; sort b b > a; cat a | tee b b b > c")
    assert result.stderr.count("File too large") == 3
    assert "No space left on device" in result.stderr
    assert (machine.text("a"), machine.text("new"), machine.text("c")) == ("a" * 900, None, None)
    refused = [write for write in machine.writes if write.refused]
    assert {write.path for write in refused} >= {f"{HOME}/a", f"{HOME}/b"}
    assert not any(write.changed for write in refused)


def test_a_call_that_is_stopped_leaves_the_redirected_file_as_it_was():
    machine = Machine(limits=Limits(steps=3_000))
    machine.put("a", "a" * 30_000)
    machine.put("b", "kept\n")
    result = machine.run("grep 'x*y' a > b")
    assert (result.status, result.limits, machine.text("b")) == (137, ("steps",), "kept\n")


def test_output_is_cut_with_a_note(machine):
    machine.put("big", "x" * 100_000)
    result = machine.run("cat big")
    assert result.stdout.endswith("x\n[output cut: 83616 more bytes]\n")
    assert result.cut == 83_616


def test_an_episode_has_a_last_call():
    machine = Machine(limits=Limits(calls=2))
    results = [machine.run("echo x >> f") for _ in range(4)]
    assert [result.limits for result in results] == [(), (), ("calls",), ("calls",)]
    assert machine.text("f") == "x\nx\n"


def test_a_call_runs_no_more_commands_than_it_may(machine):
    result = machine.run("\n".join(["echo x >> count"] * 100))
    assert result.limits == ("commands",)
    assert machine.text("count") == "x\n" * 64


def test_serialised_programs_are_only_text(machine):
    payload = "gASVIgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAd0b3VjaCB4lIWUUpQu"
    assert machine.run(f"echo {payload} > p; cat p").stdout == payload + "\n"
    assert machine.run(f"echo {payload} | base64 -d").status == 127
    assert machine.run("printf 'cposix\\nsystem\\n(S\"id\"\\ntR.' > p.pkl; cat p.pkl").stdout.startswith("cposix")


def test_a_script_file_is_not_executed(machine):
    machine.put("run.sh", "#!/bin/sh\nrm notes.txt\n", mode=0o755)
    result = machine.run("./run.sh")
    assert (result.status, result.unsupported, machine.text("notes.txt")) == (126, ("scripts",), "one\ntwo\n")
