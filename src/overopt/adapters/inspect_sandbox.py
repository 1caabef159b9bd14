"""The simulated machine as a sandbox of Inspect: ``sandbox="simfs"``. No process is ever started.

In our tasks a sample's scenario lays out the files; elsewhere the machine begins empty and takes the sample's files.
Commands come as ``bash -c TEXT`` or ``bash --login -c TEXT``, which is what Inspect's own ``bash()`` sends. Tools that
put programs into a sandbox (an editor, a session with a terminal) need a real machine and fail here. A shell goes on
from one command to the next, as in the text protocol: its folder and variables stay.
"""

from typing import Any, Literal, overload

from inspect_ai.util import (
    ExecResult,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel

from overopt.adapters.inspect_samples import scenario_of
from overopt.envs.episode import Scenario, absolute
from overopt.envs.interpreter import bounded_python
from overopt.envs.machine import Machine, neutralise
from overopt.envs.machine.text import from_bytes, to_bytes
from overopt.envs.session import STOPPED, Session
from overopt.errors import ConfigError

USERS = ("user", "1000")
_FORMS = (["bash", "-c"], ["bash", "--login", "-c"])
_REFUSED = "this sandbox is simulated and runs shell commands only: bash -c TEXT, without input, folder or variables\n"


@sandboxenv(name="simfs")
class SimulatedSandbox(SandboxEnvironment):
    """One machine for one sample.

    Parameters
    ----------
    scenario : Scenario, optional
        Lays out the files; an empty machine with ``python3`` and ``pytest`` unless given.

    Notes
    -----
    A face that speaks the text protocol drives :attr:`session`; one that calls tools goes through :meth:`exec`, and
    its episode is made from the messages and :attr:`ran` afterwards. Both act on the same machine.
    """

    def __init__(self, scenario: Scenario | None = None) -> None:
        super().__init__()
        self.scenario = scenario
        self.session = None if scenario is None else Session(scenario)
        self._machine = Machine(profile="py", interpreter=bounded_python) if scenario is None else None
        self.ran: list[str] = []
        """Commands that came through :meth:`exec`."""

    @property
    def machine(self) -> Machine:
        """Made when it is first needed, where a scenario lays it out."""
        if self.session is not None:
            return self.session.machine
        assert self._machine is not None
        return self._machine

    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, Any]
    ) -> dict[str, SandboxEnvironment]:
        """A machine with the files of the sample's scenario.

        Raises
        ------
        ConfigError
            If the sample is of another version of the environment.
        """
        is_ours = "sha" in metadata and "environment" in metadata
        return {"default": cls(scenario_of(metadata) if is_ours else None)}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Nothing is left: the machine is an object of this process."""

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """There is nothing to set.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(f"the sandbox simfs takes no settings; got {config}")

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run one command on the machine; ``timeout`` is not needed, since every command ends by its step budget.

        What cannot be run is an ordinary failure, never a process of the host. Hidden characters, tags of the text
        protocol and bytes that are no UTF-8 are shown as escapes.

        Raises
        ------
        SandboxUserUnsupportedError
            For any other user than the machine's own, root included.
        """
        if user is not None and user not in USERS:
            raise SandboxUserUnsupportedError(f"the simulated machine has one user, {USERS[0]}; not {user!r}")
        if len(cmd) < 3 or cmd[:-1] not in _FORMS or input is not None or cwd is not None or env:
            return ExecResult(success=False, returncode=126, stdout="", stderr=_REFUSED)
        if self.scenario is not None and len(self.ran) >= self.scenario.most_turns:
            return ExecResult(success=False, returncode=126, stdout="", stderr=f"{STOPPED}\n")
        self.ran.append(cmd[-1])
        result = self.machine.run(cmd[-1])
        return ExecResult(
            success=result.status == 0,
            returncode=result.status,
            stdout=neutralise(result.stdout),
            stderr=neutralise(result.stderr),
        )

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file of the machine, as whoever laid it out.

        Raises
        ------
        IsADirectoryError
            If there is a folder of that name.
        PermissionError
            If the machine cannot hold it.
        """
        if self._kind(file) == "folder":
            raise IsADirectoryError(file)
        try:
            self.machine.put(file, contents if isinstance(contents, str) else from_bytes(contents))
        except ConfigError as error:
            raise PermissionError(str(error)) from error

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """A file of the machine; looking leaves no record.

        Raises
        ------
        FileNotFoundError, IsADirectoryError
            If there is none, or it is a folder.
        UnicodeDecodeError
            If it is asked for as text and is no UTF-8.
        """
        found = self.machine.text(file)
        if found is None:
            if self._kind(file) == "folder":
                raise IsADirectoryError(file)
            raise FileNotFoundError(file)
        data = to_bytes(found)
        return data.decode() if text else data

    def _kind(self, file: str) -> str | None:
        entry = self.machine.tree().get(absolute(file))
        return None if entry is None else entry.kind
