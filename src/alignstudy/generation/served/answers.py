"""Prompts to a server, and its answers to responses: each held against what was asked."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from alignstudy.errors import GuardError, shortened
from alignstudy.generation.decoding import prompt_seed
from alignstudy.generation.served.client import Client, RefusedRequestError
from alignstudy.generation.served.completion import Completion
from alignstudy.generation.served.folder import write_model
from alignstudy.generation.served.kept import KeptResponses, Key
from alignstudy.generation.served.process import started
from alignstudy.generation.served.proof import probes_of, prove
from alignstudy.generation.writer import Asked, Task, as_response
from alignstudy.models.load import read_config
from alignstudy.models.rendering import Rendering, load_rendering
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.progress import Progress
from alignstudy.records import Response, StopReason
from alignstudy.runtime.device import context_length

_HOT = 5.0
"""Temperature at which no text is drawn twice: a server that always draws the same ignores it."""


def answers(
    task: Task,
    asked: Sequence[Asked],
    *,
    work: Path | None,
    progress: Progress,
    facts: dict[str, str] | None,
) -> dict[Key, Response]:
    """Have a server write the responses; return them by prompt and number.

    The server is held against the model before an answer of it is believed.

    Args:
        task: What is asked, of which model.
        asked: The prompts, in tokens.
        work: Folder that outlives a kill: responses that it holds aren't asked for again.
        progress: Advanced after every response.
        facts: Filled with what the server showed, and what it calls the model.

    Raises:
        GuardError: If an answer isn't the model's, or contradicts itself or what was asked.
        EnvironmentFault: If the server isn't there, or gives no answer that can be used.
    """
    with ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = KeptResponses(work / "answers.sqlite")
        responses = kept.read([_key(item) for item in asked])
        progress.advance(len(responses))
        missing = [item for item in asked if _key(item) not in responses]
        if missing:
            rendering = load_rendering(task.weights.base or task.weights.folder, task.template)
            write_model(task, rendering, work / "served")
            with kept.told(len(asked)):
                at = stack.enter_context(_address(task, work))
                client = Client(at, timeout=task.settings.request_timeout)
                server = _Server(task, rendering, client, str(work / "served"))
                kept.store_proof(server.prove(missing))
                begun, tokens = time.perf_counter(), 0
                for response in stack.enter_context(closing(server.responses(missing))):
                    kept.store(response)
                    responses[response.prompt_id, response.sample] = response
                    tokens += response.num_tokens
                    rate = tokens / max(time.perf_counter() - begun, 1e-9)
                    progress.advance(1, tokens_per_second=rate)
        if facts is not None:
            facts |= kept.proof()
    return responses


def _key(item: Asked) -> Key:
    return item.prompt.id, item.sample


def _address(task: Task, work: Path) -> AbstractContextManager[str]:
    settings = task.settings
    if settings.serve is None:
        return nullcontext(str(settings.base_url))
    log, timeout = work / "server.log", settings.request_timeout
    return started(settings.serve, work / "served", log=log, timeout=timeout)


@dataclass
class _Server:
    """A server and how it is asked.

    Attributes:
        model: What requests name: the folder.
        texts: Prompts as texts, by their tokens, for a server that takes no tokens; None: it does.
        counts_end: Whether its count of tokens has the one that ends a response.
        called: What it calls the model.
    """

    task: Task
    rendering: Rendering
    client: Client
    model: str
    texts: dict[tuple[int, ...], str] | None = None
    counts_end: bool = True
    called: str = ""

    def __post_init__(self) -> None:
        template, vocabulary = self.rendering.template, self.rendering.tokenizer.get_vocab()
        self._stops = self.task.stop_strings(template)
        self._longest, self._one_at_a_time = max(map(len, vocabulary)), Lock()
        self._context = context_length(read_config(Path(self.model)))

    def prove(self, asked: Sequence[Asked]) -> dict[str, str]:
        """Hold the server against the model; return what it showed."""
        probes = probes_of(asked)
        try:
            self._ask(probes[0], most=1)
        except RefusedRequestError:
            self.texts = _as_texts(asked, Path(self.model))
        proof = prove(
            self.task, self.rendering, probes, lambda item, most: self._ask(item, most=most)
        )
        self.counts_end = proof.counts_end
        if self.task.settings.do_sample:
            self._draws(probes[-1])
        return {"server": proof.detail, "served_model": self.called}

    def responses(self, asked: Sequence[Asked]) -> Generator[Response, None, None]:
        """Ask for all responses, several at once; yield each as it comes.

        What came before a fault is yielded before it is raised.
        """
        pool = ThreadPoolExecutor(self.task.settings.parallel_requests)
        futures = [pool.submit(self._respond, item) for item in asked]
        fault: Exception | None = None
        try:
            for future in as_completed(futures):
                fault = fault or _failed(future)
                if fault is not None:
                    self._give_up(futures)
                elif not future.cancelled():
                    yield future.result()
        finally:
            self._give_up(futures)
            pool.shutdown()
        if fault is not None:
            raise fault

    def _give_up(self, futures: Sequence[Future[Response]]) -> None:
        for each in futures:
            each.cancel()
        self.client.close()

    def _respond(self, item: Asked) -> Response:
        """Ask for one response as the study says."""
        settings, most = self.task.settings, self.task.settings.max_new_tokens
        more: dict[str, object] = {"stop": list(self._stops)} if self._stops else {}
        if settings.do_sample:
            seed = prompt_seed(self.task.seed, item.prompt.id, item.sample)
            more |= _drawing(settings.temperature or 1.0, settings.top_p, seed)
        answer = self._ask(item, most=most, **more)
        reason, number = self._ending(item, answer), answer.num_tokens
        if reason is StopReason.CAP and self._ended_at_cap(item, answer, more):
            reason = StopReason.EOS
        if reason is StopReason.EOS and self.counts_end:
            number = max(0, number - 1)
        return as_response(
            item, answer.text, number, reason, task=self.task, rendering=self.rendering
        )

    def _ended_at_cap(self, item: Asked, answer: Completion, more: Mapping[str, object]) -> bool:
        """Whether the last token allowed was an end, which some servers call `length`.

        Where the text may have fewer tokens than were written, it is asked for once more, with room
        for one more. Draws aren't: they needn't be the same again.
        """
        text, most = answer.text, answer.num_tokens + 1
        with self._one_at_a_time:  # tokenizers aren't for several threads
            spelled = self.rendering.tokenizer(text, add_special_tokens=False)["input_ids"]
        as_many = len(spelled) >= answer.num_tokens and "\N{REPLACEMENT CHARACTER}" not in text
        too_many = len(item.tokens or ()) + most > self._context
        if self.task.settings.do_sample or as_many or too_many:
            return False
        longer = self._ask(item, most=most, **more)
        return longer.finish == "stop" and longer.num_tokens < most and longer.text == text

    def _ending(self, item: Asked, answer: Completion) -> StopReason:
        ends = [(answer.text.find(stop), len(stop)) for stop in self._stops]
        beyond = [len(answer.text) - at - size for at, size in ends if at >= 0]
        if beyond and max(beyond) > self._longest:
            raise _contradiction(item, answer, "writes on after a stop string")
        if beyond or (answer.stopped_by in self._stops and answer.finish == "stop"):
            return StopReason.STOP_STRING
        return StopReason.CAP if answer.finish == "length" else StopReason.EOS

    def _ask(self, item: Asked, *, most: int, **more: object) -> Completion:
        """Ask for one completion, greedy unless more is said, and hold it against the request."""
        tokens = item.tokens or ()
        prompt = list(tokens) if self.texts is None else self.texts[tokens]
        asked = {"model": self.model, "prompt": prompt, "max_tokens": most, "temperature": 0.0}
        answer = self.client.complete({**asked, **more})
        self.called = answer.model
        if answer.prompt_tokens != len(tokens):
            fault = f"read {answer.prompt_tokens} tokens of a prompt that has {len(tokens)}"
            raise _contradiction(item, answer, fault)
        if answer.num_tokens > most:
            fault = f"wrote {answer.num_tokens} tokens where {most} were allowed"
            raise _contradiction(item, answer, fault)
        if answer.finish == "length" and answer.num_tokens < most:
            fault = f"was cut after {answer.num_tokens} tokens where {most} were allowed"
            raise _contradiction(item, answer, fault)
        if len(answer.text) > answer.num_tokens * self._longest:
            fault = f"has {len(answer.text)} letters, of {answer.num_tokens} tokens"
            raise _contradiction(item, answer, fault)
        return answer

    def _draws(self, item: Asked) -> None:
        """Refuse a server that doesn't draw."""
        most = self.task.settings.max_new_tokens
        drawn = {
            self._ask(item, most=most, **_drawing(_HOT, None, seed)).text for seed in range(1, 4)
        }
        if len(drawn) == 1:
            raise GuardError(
                "the server doesn't draw: it writes the same at every seed",
                why=f"three times at temperature {_HOT:g} it wrote {shortened(drawn.pop(), 200)!r}",
                hint="use a server that heeds `temperature` and `seed`, or do_sample: false",
            )


def _drawing(temperature: float, top_p: float | None, seed: int) -> dict[str, object]:
    return {"temperature": temperature, "top_p": top_p or 1.0, "seed": seed & 0x7FFFFFFF}


def _failed(future: Future[Response]) -> Exception | None:
    error = None if future.cancelled() else future.exception()
    if isinstance(error, Exception) or error is None:
        return error
    raise error


def _as_texts(asked: Sequence[Asked], folder: Path) -> dict[tuple[int, ...], str]:
    """Spell prompts for a server that reads texts by the tokenizer in a folder.

    Raises:
        GuardError: If one can't be spelled so that the tokenizer reads its tokens.
    """
    tokenizer = load_tokenizer(folder, check_rows=False)
    found = {}
    for item in asked:
        tokens = item.tokens or ()
        text = tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
        if tuple(tokenizer(text, verbose=False)["input_ids"]) != tokens:
            raise GuardError(
                f"the prompt {item.prompt.id} can't be sent to this server",
                why="it takes texts, not tokens, and no text has the tokens of this prompt, which"
                f" may spell out a special token: {text[-60:]!r}",
                hint="use a server that takes tokens (vLLM, SGLang, llama.cpp), or engine:"
                " transformers",
            )
        found[tokens] = text
    return found


def _contradiction(item: Asked, answer: Completion, fault: str) -> GuardError:
    return GuardError(
        f"the server's answer to the prompt {item.prompt.id} {fault}",
        why=f"it says {shortened(answer.text, 120)!r} ({answer.num_tokens} tokens,"
        f" {answer.finish})",
        hint="look at the server's own limits (context, most tokens), or use engine: transformers",
    )
