"""Policies of the toolkit as models of Inspect, in this process: ``overopt/honest``, ``overopt/FOLDER-OR-HUB-NAME``.

Names of personas (``honest``, ``gamer``, ``confused``, ``instructed``, ``discloser``) play an environment's scripts and
need one of our tasks. Anything else is loaded as a causal language model. Requests that wait at the same time are drawn
together. Usage is always set: without it Inspect counts tokens with a tokenizer that it would have to download.
"""

import asyncio
from collections.abc import Sequence

import anyio.to_thread
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo

from overopt.adapters.inspect_samples import known_environment
from overopt.adapters.inspect_solver import SHELL, simulated
from overopt.envs.environment import PERSONAS, Persona
from overopt.envs.machine import scan
from overopt.errors import ConfigError
from overopt.protocols import Message, Policy, Reply, SamplerConfig
from overopt.seeding import stream_seed

BATCH = 64
"""Requests that are drawn together, and samples that Inspect runs at once."""
_MAX_TOKENS = 256


@modelapi(name="overopt")
class InProcess(ModelAPI):
    """A script or a policy behind Inspect's interface of models.

    Parameters
    ----------
    model_name : str
        A persona, or a folder or hub name of a causal language model.
    config : GenerateConfig
        Settings of all requests; a request's own come first.
    policy : Policy, optional
        In place of loading one: ``get_model("overopt/mine", policy=...)``.
    device : str, optional
        Of a model that is loaded; the fastest there is unless named.

    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (as Inspect declares it; it is frozen by use)
        policy: Policy | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self._persona: Persona | None = None
        self._waiting: list[tuple[list[Message], SamplerConfig, int | None, asyncio.Future[Reply]]] = []
        self._drawn = 0
        self._is_drawing = False
        self._policy, self._device = policy, device
        if policy is None:
            self._persona = next((persona for persona in PERSONAS if persona == model_name), None)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One completion; a script calls the tool ``bash`` where it is offered, a model only writes text.

        Raises
        ------
        ConfigError
            If there is no such model, a script is asked outside our tasks, or a setting is out of range.
        """
        if self._persona is not None:
            return _output(self.model_name, len(input), *_line(self._persona, input, tools))
        reply = await self._reply(input, config)
        usage = _usage(input, reply.text, len(reply.token_ids) or None)
        message = ChatMessageAssistant(content=reply.text)
        return _output(self.model_name, len(input), message, usage, is_cut=not reply.finished)

    def max_connections(self) -> int:
        """As many requests at once as are drawn together."""
        return BATCH

    async def _reply(self, input: list[ChatMessage], config: GenerateConfig) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        prompt = [_message(said) for said in input]
        self._waiting.append((prompt, _sampler(config), config.seed, future))
        if not self._is_drawing:
            self._is_drawing = True
            try:
                # Those that became ready together come together.
                await asyncio.sleep(0)
                while self._waiting:
                    await self._draw()
            finally:
                self._is_drawing = False
        return await future

    def _loaded(self) -> Policy:
        """The policy; loaded when it is first asked, since Inspect makes further models only to look at their names."""
        if self._policy is None:
            from overopt.policies.models import HFPolicy

            self._policy = HFPolicy.load(self.model_name, device=self._device)
        return self._policy

    async def _draw(self) -> None:
        """Draw a reply for the requests that wait and share the settings of the first one."""
        _, config, seed, _ = self._waiting[0]
        part = [one for one in self._waiting if one[1:3] == (config, seed)][:BATCH]
        self._waiting = [one for one in self._waiting if one not in part]
        prompts = [prompt for prompt, *_ in part]
        number = stream_seed(seed or 0, "inspect", self._drawn)
        self._drawn += 1
        try:
            replies = await anyio.to_thread.run_sync(
                lambda: self._loaded().sample(prompts, per_prompt=1, config=config, seed=number)
            )
        except Exception as error:
            for *_, future in part:
                future.set_exception(error)
            return
        for (*_, future), reply in zip(part, sorted(replies, key=lambda reply: reply.prompt), strict=True):
            if not future.done():
                future.set_result(reply)


def _line(
    persona: Persona, input: Sequence[ChatMessage], tools: Sequence[ToolInfo]
) -> tuple[ChatMessageAssistant, ModelUsage]:
    """What the script says next, as text or as a call."""
    scenario = simulated().scenario
    assert scenario is not None
    lines = known_environment(scenario.environment).script(scenario, persona)
    done = sum(isinstance(said, ChatMessageAssistant) for said in input)
    text = lines[min(done, len(lines) - 1)]
    turn = scan(text)
    usage = _usage(input, text)
    if turn.command is None or not any(tool.name == SHELL for tool in tools):
        return ChatMessageAssistant(content=text), usage
    before = turn.kept.removesuffix(f"<bash>{turn.command}</bash>")
    call = ToolCall(id=f"call-{done}", function=SHELL, arguments={"command": turn.command})
    return ChatMessageAssistant(content=before, tool_calls=[call]), usage


def _output(
    model: str, place: int, message: ChatMessageAssistant, usage: ModelUsage, *, is_cut: bool = False
) -> ModelOutput:
    message.id, message.model, message.source = f"assistant-{place}", model, "generate"
    stop: StopReason = "max_tokens" if is_cut else "tool_calls" if message.tool_calls else "stop"
    return ModelOutput(model=model, choices=[ChatCompletionChoice(message=message, stop_reason=stop)], usage=usage)


def _usage(input: Sequence[ChatMessage], text: str, tokens: int | None = None) -> ModelUsage:
    """Tokens where they are known, else words."""
    read = sum(len(said.text.split()) for said in input)
    written = len(text.split()) if tokens is None else tokens
    return ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _message(said: ChatMessage) -> Message:
    role = "user" if isinstance(said, ChatMessageTool) else said.role
    return Message(role=role, content=said.text)


def _sampler(config: GenerateConfig) -> SamplerConfig:
    if config.stop_seqs:
        raise ConfigError("a model of this process ends at its own end tokens; leave out stop_seqs")
    return SamplerConfig(
        max_tokens=_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
        temperature=1.0 if config.temperature is None else config.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        top_k=config.top_k,
    )
