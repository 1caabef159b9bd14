"""Solvers of Inspect that play our scenarios: in the text protocol, which any model can follow, or by calls of a tool.

Both lead to the episode that the native runner makes of the same completions. Commands are put to Inspect's approvers
in both: what they reject is not run, and the policy is told why. Sandboxes that run commands on this machine, or on
another, are refused.
"""

from collections import deque
from collections.abc import Sequence

from inspect_ai.approval._apply import have_tool_approval
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageTool, ModelOutput, execute_tools
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import Tool, ToolCall, bash, tool
from inspect_ai.util import sandbox

from overopt.adapters.inspect_samples import chat_message, has_shell
from overopt.adapters.inspect_sandbox import SimulatedSandbox
from overopt.envs.episode import Scenario
from overopt.envs.machine import scan
from overopt.envs.session import Completion, Session
from overopt.errors import ConfigError

SHELL, SUBMIT = "bash", "submit"
"""Names of Inspect's tools: the shell, and how its agents hand in an answer."""
_REJECTED = "this command was rejected and not run"


def simulated() -> SimulatedSandbox:
    """The simulated machine of the sample under way.

    Raises
    ------
    ConfigError
        If its sandbox is another one, or was made for another task.
    """
    try:
        found = sandbox().as_type(SimulatedSandbox)
    except (ProcessLookupError, TypeError):
        raise ConfigError(
            "this task runs on the simulated machine, sandbox 'simfs', and nowhere else: a sandbox such as 'local' "
            "runs a model's commands for real"
        ) from None
    if found.session is None:
        raise ConfigError("the sample has no scenario of ours; make tasks with overopt.adapters.inspect_tasks")
    return found


@solver
def simulated_only() -> Solver:
    """Refuse a sample whose sandbox is another one, before any other solver has its turn."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        simulated()
        return state

    return solve


@solver
def text_protocol() -> Solver:
    """Thought, command and answer between tags of the text; each command comes back as a turn of the user."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        session = simulated().session
        assert session is not None
        while not session.is_over:
            state = await generate(state, tool_calls="none")
            completion = Completion(state.output.completion, is_cut=was_cut(state.output))
            before = len(session.conversation)
            await _say(session, completion, state.messages)
            kept, *seen = session.conversation[before:]
            if state.messages[-1].text != kept["content"]:
                # What stands behind a command was never seen by anybody, nor will it be.
                state.messages[-1] = state.messages[-1].model_copy(update={"content": kept["content"]})
            state.messages.extend(chat_message(said, len(state.messages)) for said in seen)
        return state

    return solve


@solver
def tool_protocol(danger_local_sandbox: bool = False) -> Solver:
    """Commands as calls of Inspect's own ``bash()``.

    Parameters
    ----------
    danger_local_sandbox : bool
        Take whatever sandbox there is, such as Inspect's ``local``, which **runs a model's commands on this machine**.
        It holds none of the scenario's files, and nothing is judged.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        turns, is_told = 12, True
        if not danger_local_sandbox:
            scenario = simulated().scenario
            assert scenario is not None
            turns, is_told = scenario.most_turns, has_shell(scenario)
        if is_told:
            state.tools = [*state.tools, bash()]
        while turns > 0:
            state = await generate(state, tool_calls="none")
            calls = state.output.message.tool_calls or []
            if not calls:
                break
            state.messages.extend((await execute_tools(state.messages, state.tools)).messages)
            turns -= len(calls)
        return state

    return solve


def replayed(
    scenario: Scenario, messages: Sequence[ChatMessage], ran: Sequence[str], *, is_cut: bool = False
) -> Session:
    """The session that a conversation with calls of a tool was, whatever solver or agent led it.

    Parameters
    ----------
    messages : sequence of ChatMessage
        All of the sample.
    ran : sequence of str
        Commands that reached the machine, in order; not those that an approver rejected, and as it changed them.
    is_cut : bool
        Whether a limit on tokens ended the last text.

    Notes
    -----
    The machine gives the same answers to the same commands, so running them again loses nothing. Text without a call
    goes before the next one; the last text is the answer, or what was handed in by Inspect's ``submit``.
    """
    session, left = Session(scenario), deque(ran)
    results = {one.tool_call_id: one for one in messages if isinstance(one, ChatMessageTool)}
    turns = [one for one in messages if isinstance(one, ChatMessageAssistant)]
    text: list[str] = []
    for turn in turns:
        text += [turn.text] if turn.text else []
        for call in turn.tool_calls or []:
            if session.is_over:
                return session
            if call.function == SUBMIT and turn is turns[-1]:
                text.append(str(call.arguments.get("answer", "")))
                session.answer("\n".join(text), is_cut=is_cut)
            elif call.function == SHELL and _take(session, call, results.get(call.id), left, "\n".join(text)):
                text = []
    if not session.is_over and turns and not turns[-1].tool_calls:
        session.answer("\n".join(text), is_cut=is_cut)
    return session


def _take(session: Session, call: ToolCall, result: ChatMessageTool | None, left: deque[str], text: str) -> bool:
    """Take one call into the session, unless it never got as far as the machine."""
    if result is None:
        return False
    if result.error is None and left:
        session.call(left.popleft(), text=text)
        return True
    if result.error is not None and result.error.type == "approval":
        session.call(str(call.arguments.get("command", "")), text=text, refused=_reason(result))
        return True
    return False


async def _say(session: Session, completion: Completion, messages: list[ChatMessage]) -> None:
    """Say a completion; with approvers about, its command goes the way of Inspect's tools, which asks them.

    Without them it does not, as the record of a tool's call would double the size of the log.
    """
    turn = scan(completion.text)
    if turn.command is None or not have_tool_approval():
        session.say(completion)
        return
    call = ToolCall(id=f"call-{len(messages)}", function=SHELL, arguments={"command": turn.command})
    asked = ChatMessageAssistant(content=turn.kept, tool_calls=[call])
    before = len(session.conversation)
    done = await execute_tools([*messages[:-1], asked], [_shell(session, completion, turn.command)])
    if len(session.conversation) == before:
        session.say(completion, refused=_reason(done.messages[0]))


@tool(name=SHELL)
def _shell(session: Session, completion: Completion, command: str) -> Tool:
    said, wanted = completion, command

    async def execute(command: str) -> str:
        """Run a command on the simulated machine.

        Args:
          command: The command.
        """
        if command == wanted:
            session.say(said)
        else:
            # As an approver changed it: the record shows what was run.
            session.call(command, text=scan(said.text).kept.replace(f"<bash>{wanted}</bash>", ""))
        return session.conversation[-1]["content"]

    return execute


def _reason(message: ChatMessage) -> str:
    error = message.error if isinstance(message, ChatMessageTool) else None
    return (error.message if error is not None else "") or _REJECTED


def was_cut(output: ModelOutput) -> bool:
    """Whether a limit on tokens ended what a model wrote."""
    return not output.empty and output.stop_reason in ("max_tokens", "model_length")
