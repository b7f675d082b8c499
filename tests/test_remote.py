"""`base_url`: the same conversations through a server, whatever the server does."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from langchain_core import exceptions as langchain
from langchain_core.messages import HumanMessage
from PIL import Image

from langchain_llava import ChatLlava
from llava_tools import Llava, cli, open_image, prompt
from llava_tools.backend import Backend
from llava_tools.constraint import Constraint, ToolCall, ToolSpec
from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    EngineClosedError,
    EngineError,
    LlavaToolsError,
    ModelError,
    ModelNotFoundError,
    OutputError,
    QueueFullError,
    RequestError,
    SchemaError,
    ServerError,
)
from llava_tools.remote import RemoteBackend
from llava_tools.remote.enforcement import call_schema
from llava_tools.remote.faults import wanted_pause
from llava_tools.remote.pictures import squared
from llava_tools.testing import ScriptedBackend
from llava_tools.toolcall import write_call
from llava_tools.types import Answer, Message, Request, Sampling, Timings, fold
from tests.fake_server import FakeServer, Kind

ADD = ToolSpec(
    "add",
    "Add.",
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)
CALL = write_call(ToolCall("", "add", {"a": 3}))
FORM = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
QUESTION = (Message("user", ("What is this?",)),)

Connect = Callable[..., RemoteBackend]


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    """Starts servers that end with the test."""
    running: list[FakeServer] = []

    def start(*script: Any, **options: Any) -> FakeServer:
        given = script[0] if len(script) == 1 and callable(script[0]) else script or ("ok",)
        running.append(FakeServer(given, **options).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes backends that retry without waiting and are closed with the test."""
    made: list[RemoteBackend] = []

    def make(server: FakeServer, **options: Any) -> RemoteBackend:
        made.append(RemoteBackend(server.url, **{"pauses": (0, 0), **options}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def _answer(backend: Backend, request: Request) -> Answer:
    return fold(backend.stream(request), "")


def _same(answer: Answer) -> Answer:
    """Return an answer without what no two runs share."""
    calls = tuple(replace(call, id="") for call in answer.calls)
    return replace(answer, timings=Timings(), calls=calls)


def _picture(size: tuple[int, int] = (40, 20), colour: str = "red") -> Any:
    return open_image(Image.new("RGB", size, colour))


CONVERSATIONS = [
    (Request(QUESTION), "A red box."),
    (Request((Message("system", ("Be brief.",)), *QUESTION)), "Box."),
    (Request((Message("user", (_picture(), "What?")),)), "A box"),
    (
        Request(
            (
                Message("user", (_picture(), _picture(colour="blue"), "Which?")),
                Message("assistant", ("Both.",)),
                Message("user", ("Why?",)),
            ),
            Sampling(logprobs=True, stop=("END",), seed=3, temperature=0.5, top_k=4),
        ),
        "Because they are.END alike",
    ),
    (Request(QUESTION, Sampling(max_tokens=2)), "one two three"),
    (Request(QUESTION, constraint=Constraint((ADD,))), CALL),
    (Request(QUESTION, constraint=Constraint((ADD,))), f"{CALL}\n{CALL}"),
    (Request(QUESTION, constraint=Constraint((ADD,), choice="any")), CALL),
    (Request(QUESTION, constraint=Constraint((ADD,))), "Nothing to add."),
    (Request(QUESTION, constraint=Constraint(schema=FORM)), '{"n": 5}'),
    (
        Request(
            (
                *QUESTION,
                Message("assistant", (), calls=(ToolCall("c1", "add", {"a": 3}),)),
                Message("tool", ("4",), call_id="c1"),
            ),
            constraint=Constraint((ADD,)),
        ),
        "It is 4.",
    ),
]


@pytest.mark.parametrize(("request_", "text"), CONVERSATIONS)
def test_the_same_answers_as_any_other_backend(
    serve: Callable[..., FakeServer], connect: Connect, request_: Request, text: str
) -> None:
    server = serve(text)
    scripted = _answer(ScriptedBackend([text]), request_)
    assert _same(_answer(connect(server), request_)) == _same(scripted)
    pieces = prompt.build(request_.messages, constraint=request_.constraint)
    assert server.prompts == [prompt.render(pieces)]


def test_what_the_text_spells_is_no_structure(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve()
    _answer(connect(server), Request((Message("user", ("Is <image> or </s> a <b>tag</b>?",)),)))
    said = server.requests[0]["messages"][-1]["content"]
    assert "<image>" not in said
    assert "</s>" not in said
    assert said.replace("\u200b", "") == "Is <image> or </s> a <b>tag</b>?"


def test_a_picture_is_sent_as_llava_looks_at_it(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve()
    image = _picture((60, 20))
    backend = connect(server)
    for _ in range(2):
        _answer(backend, Request((Message("user", (image, "What?")),)))
    sent, again = (asked["messages"][-1]["content"][0] for asked in server.requests)
    assert set(sent) == {"type", "image_url"}
    assert set(sent["image_url"]) == {"url"}
    assert sent == again
    shown = Image.open(io.BytesIO(base64.b64decode(sent["image_url"]["url"].split(",")[1])))
    assert shown.size == (336, 336)
    assert shown.getpixel((168, 168)) == (255, 0, 0)
    assert shown.getpixel((168, 20)) == (122, 116, 104)


def test_pictures_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from llava_tools.remote import pictures

    seen: list[tuple[int, int]] = []

    def note(image: Image.Image, side: int) -> Image.Image:
        seen.append(image.size)
        return image

    monkeypatch.setattr(pictures, "squared", note)
    monkeypatch.setattr(pictures, "KEEP", 2)
    urls = pictures.DataUrls()
    first, second, third = (_picture((size, 5)) for size in (5, 6, 7))
    for image in (first, second, first, third, first, second):
        urls(image)
    assert seen == [(5, 5), (6, 5), (7, 5), (6, 5)]


def test_padding_is_the_official_one() -> None:
    tall = squared(Image.new("RGB", (2, 6), "white"), 6)
    assert [tall.getpixel((x, 3)) == (255, 255, 255) for x in range(6)] == [
        *(False, False, True, True, False, False)
    ]


# ---- what servers enforce -----------------------------------------------------------------------


def test_a_grammar_makes_a_call_of_what_would_be_none(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve("I would rather not.")
    forced = Request(QUESTION, constraint=Constraint((ADD,), choice="any"))
    answer = _answer(connect(server), forced)
    assert [call.name for call in answer.calls] == ["add"]
    assert not answer.best_effort
    assert CALL.split("{")[0] in server.requests[0]["structured_outputs"]["grammar"]


@pytest.mark.parametrize("kind", ["xgrammar", "schemas", "strict"])
def test_a_server_that_knows_schemas_only_makes_forced_calls(
    serve: Callable[..., FakeServer], connect: Connect, kind: Kind
) -> None:
    server = serve("I would rather not.", kind=kind)
    backend = connect(server)
    forced = Request(QUESTION, constraint=Constraint((ADD,), choice="any"))
    answer = _answer(backend, forced)
    assert [call.name for call in answer.calls] == ["add"]
    assert answer.best_effort
    assert "response_format" in server.requests[0]
    formed = _answer(backend, Request(QUESTION, constraint=Constraint(schema=FORM)))
    assert set(json.loads(formed.text)) == {"n"}


def test_a_vllm_with_xgrammar_is_asked_for_no_words_or_calls(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve("Nothing to add.", CALL, kind="xgrammar")
    backend = connect(server)
    request = Request(QUESTION, constraint=Constraint((ADD,)))
    words, called = _answer(backend, request), _answer(backend, request)
    assert words.text == "Nothing to add."
    assert [dict(call.arguments) for call in called.calls] == [{"a": 3}]
    assert words.best_effort
    assert called.best_effort
    assert not any("structured_outputs" in asked for asked in server.requests)


@pytest.mark.parametrize(
    ("text", "constraint", "says"),
    [
        ("I would rather not.", Constraint((ADD,), choice="any"), "had to call"),
        ("I would rather not.", Constraint(schema=FORM), "not JSON"),
        ('{"n": "five"}', Constraint(schema=FORM), "not of its schema"),
        (CALL.replace("3", '"x"'), Constraint((ADD,)), "not of its schema"),
        (CALL.replace("add", "rm"), Constraint((ADD,)), "not among the tools"),
        (CALL[:-20], Constraint((ADD,)), "cut off"),
    ],
)
def test_a_server_that_enforces_nothing_gets_no_wrong_answer_through(
    serve: Callable[..., FakeServer],
    connect: Connect,
    text: str,
    constraint: Constraint,
    says: str,
) -> None:
    backend = connect(serve(text, kind="deaf"))
    with pytest.raises(OutputError, match=says):
        _answer(backend, Request(QUESTION, constraint=constraint))


def test_a_right_answer_of_such_a_server_is_marked(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve(CALL, kind="deaf"))
    answer = _answer(backend, Request(QUESTION, constraint=Constraint((ADD,))))
    assert [dict(call.arguments) for call in answer.calls] == [{"a": 3}]
    assert answer.best_effort


def test_stop_strings_hold_even_where_they_are_ignored(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve("one two END three", kind="deaf"))
    answer = _answer(backend, Request(QUESTION, Sampling(stop=("END",))))
    assert (answer.text, answer.finish_reason) == ("one two", "stop")


def test_logprobs_that_are_ignored_are_an_error(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve(kind="deaf"))
    with pytest.raises(OutputError, match="ignored logprobs"):
        _answer(backend, Request(QUESTION, Sampling(logprobs=True)))


def test_a_schema_that_the_server_refuses(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve())
    odd = {"type": "object", "not": {"required": ["x"]}}
    with pytest.raises(SchemaError, match="cannot enforce"):
        _answer(backend, Request(QUESTION, constraint=Constraint(schema=odd)))


def test_a_call_s_schema_keeps_its_references() -> None:
    shape = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}}, "required": ["p"]}
    tools = [
        ToolSpec(name, "", {**shape, "$defs": {"P": {"type": kind}}})
        for name, kind in (("one", "integer"), ("two", "string"))
    ]
    schema = call_schema(Constraint(tuple(tools), choice="any"))
    import jsonschema

    jsonschema.validate({"name": "one", "arguments": {"p": 1}}, schema)
    jsonschema.validate({"name": "two", "arguments": {"p": "1"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "two", "arguments": {"p": 1}}, schema)


# ---- counting and scoring -----------------------------------------------------------------------


def test_tokens_are_counted_by_the_server(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve())
    request = Request(
        (Message("user", (_picture(), "What is it?")),), constraint=Constraint((ADD,))
    )
    assert backend.count_tokens(request) == ScriptedBackend().count_tokens(request)
    assert backend.token_ids("three plain words") == [0, 1, 2]


def test_labels_are_scored_by_a_vllm(serve: Callable[..., FakeServer], connect: Connect) -> None:
    backend = connect(serve())
    request = Request((Message("user", (_picture(), "Which?")),))
    assert backend.score(request, ["yes", "dark red"]) == [-1.75, -2.75]
    chosen = Llava(backend=backend).choose("Which?", _picture(), ["yes", "dark red"])
    assert chosen.label == "yes"


def test_other_servers_say_that_they_cannot(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve(kind="schemas"))
    with pytest.raises(ServerError, match="did not report"):
        backend.score(Request(QUESTION), ["yes"])
    with pytest.raises(ServerError, match="did not report"):
        backend.token_ids("words")


# ---- models -------------------------------------------------------------------------------------


def test_the_model_is_looked_up(serve: Callable[..., FakeServer], connect: Connect) -> None:
    server = serve(models=("a/llava", "b/llava"), context=2048)
    backend = connect(server, model="b/llava")
    assert (backend.model_name, backend.context) == ("b/llava", 2048)
    with pytest.raises(ModelNotFoundError, match="no 'a/lava'"):
        connect(server, model="a/lava")
    with pytest.raises(ModelNotFoundError, match="serves: a/llava, b/llava"):
        connect(server)
    with pytest.raises(RequestError, match="context=4096"):
        connect(server, model="b/llava", context=4096)


def test_a_server_without_a_list(serve: Callable[..., FakeServer], connect: Connect) -> None:
    server = serve(models=None, kind="deaf")
    assert connect(server, model="llava").model_name == "llava"
    with pytest.raises(ModelNotFoundError, match=r"does not list.*base_url"):
        connect(server)


def test_a_key_is_wanted(
    serve: Callable[..., FakeServer], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-others")
    server = serve(api_key="secret")
    assert connect(server, api_key="secret").model_name == "llava"
    with pytest.raises(ModelError, match="LLAVA_API_KEY"):
        connect(server)


# ---- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [429, 500, 503])
def test_a_request_is_repeated_before_its_first_token(
    serve: Callable[..., FakeServer], connect: Connect, fault: int
) -> None:
    server = serve("fine")
    server.faults = [fault, fault]
    assert _answer(connect(server), Request(QUESTION)).text == "fine"


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (429, QueueFullError, "too much to do: busy"),
        (500, ServerError, "failed \\(500\\): busy"),
        (400, RequestError, "refused the request: busy"),
        (404, ModelNotFoundError, "no such model"),
        ("html", ServerError, "no chat completion"),
    ],
)
def test_what_goes_on_failing_is_told(
    serve: Callable[..., FakeServer],
    connect: Connect,
    fault: int | str,
    kind: type[LlavaToolsError],
    says: str,
) -> None:
    server = serve()
    backend = connect(server)
    server.faults = [fault] * 3
    with pytest.raises(kind, match=says) as caught:
        _answer(backend, Request(QUESTION))
    assert "\n" not in str(caught.value)
    server.faults = []
    assert _answer(backend, Request(QUESTION)).text == "ok"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("drop", "broke the connection"),
        ("short", "dropped the stream"),
        ("noise", "no chat completion"),
        ("error", "out of memory"),
    ],
)
def test_what_breaks_midway_is_not_repeated(
    serve: Callable[..., FakeServer], connect: Connect, fault: str, says: str
) -> None:
    server = serve("one two three four")
    backend = connect(server)
    server.faults = [fault]
    stream = backend.stream(Request(QUESTION))
    assert next(stream).text == "one"
    with pytest.raises(ServerError, match=says):
        list(stream)
    assert len(server.requests) == 1
    assert _answer(backend, Request(QUESTION)).text == "one two three four"


def test_a_server_says_how_long_it_wants_to_be_left_alone(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve()
    backend = connect(server, pauses=())
    server.faults = ["later"]
    with pytest.raises(QueueFullError) as caught:
        _answer(backend, Request(QUESTION))
    assert wanted_pause(caught.value) == 7
    assert wanted_pause(QueueFullError("")) == 0


def test_a_silent_server_is_given_up(serve: Callable[..., FakeServer], connect: Connect) -> None:
    server = serve()
    backend = connect(server, silence=0.3)
    server.faults = ["silent"]
    with pytest.raises(AnswerTimeoutError, match="silent for too long"):
        _answer(backend, Request(QUESTION))
    assert len(server.requests) == 1


def test_nobody_listens() -> None:
    with FakeServer() as server:
        url = server.url
    with pytest.raises(ServerError, match="cannot be reached") as caught:
        RemoteBackend(url, pauses=())
    assert caught.value.retryable


def test_too_long(serve: Callable[..., FakeServer], connect: Connect) -> None:
    backend = connect(serve("one two three", context=60))
    assert _answer(backend, Request(QUESTION)).text == "one two three"  # fewer than 512 will do
    with pytest.raises(ContextOverflowError, match="maximum context length is 60"):
        _answer(backend, Request(QUESTION, Sampling(max_tokens=50)))
    with pytest.raises(ContextOverflowError):
        _answer(backend, Request((Message("user", ("word " * 80,)),)))


# ---- leaving, waiting, many at once -------------------------------------------------------------


def test_a_closed_stream_ends_the_request(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve("one two three")
    backend = connect(server, max_queue=1)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    with pytest.raises(QueueFullError, match="1 requests are in flight"):
        backend.stream(Request(QUESTION))
    reader = ThreadPoolExecutor(1).submit(list, stream)
    assert server.held.wait(20)
    stream.close()
    stream.close()
    assert "one two".startswith("".join(delta.text for delta in reader.result(20)))
    assert server.gone.wait(20)
    assert _answer(backend, Request(QUESTION)).text == "one two three"


def test_a_forgotten_stream_ends_the_request(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve("one two three")
    backend = connect(server)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    next(stream)
    del stream
    gc.collect()
    assert server.gone.wait(20)


def test_closing_the_backend_fails_what_is_in_flight(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve("one two three")
    backend = connect(server)
    server.faults = ["hold"]
    stream = backend.stream(Request(QUESTION))
    assert server.held.wait(20)
    backend.close()
    with pytest.raises(EngineClosedError):
        list(stream)
    with pytest.raises(EngineClosedError):
        backend.stream(Request(QUESTION))


async def test_a_cancelled_task_ends_the_request(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    server = serve("one two three")
    server.faults = ["hold"]
    task = asyncio.create_task(Llava(backend=connect(server)).aask("What?"))
    await asyncio.to_thread(server.held.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.gone.wait, 20)


def test_many_at_once_over_few_connections(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    def echo(asked: dict[str, Any]) -> str:
        return str(asked["messages"][-1]["content"])

    server = serve(echo)
    backend = connect(server)
    asked = [Request((Message("user", (f"number {i}",)),)) for i in range(100)]
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda request: _answer(backend, request).text, asked))
    assert texts == [f"number {i}" for i in range(100)]
    before = len(server.connections)
    for request in asked[:10]:
        _answer(backend, request)
    assert len(server.connections) == before <= 34


def test_constraints_found_out_by_many_at_once_are_found_out_once(
    serve: Callable[..., FakeServer], connect: Connect
) -> None:
    backend = connect(serve(CALL))
    forced = Request(QUESTION, constraint=Constraint((ADD,), choice="any"))
    barrier = threading.Barrier(8)

    def ask(_: int) -> Answer:
        barrier.wait()
        return _answer(backend, forced)

    with ThreadPoolExecutor(8) as pool:
        assert {answer.calls[0].name for answer in pool.map(ask, range(8))} == {"add"}


# ---- through the wrappers -----------------------------------------------------------------------


def test_llava_and_the_command_line(
    serve: Callable[..., FakeServer], capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve("A star.", api_key="secret")
    with Llava(base_url=server.url, api_key="secret") as model:
        answer = model.ask("What?", _picture())
    assert (answer.text, answer.model, answer.usage.image_tokens) == ("A star.", "llava", 576)
    assert "secret" not in repr(model.options)
    assert cli.main(["ask", "What?", "--base-url", serve("A box.").url]) == 0
    out = capsys.readouterr()
    assert (out.out, out.err) == ("A box.\n", "")


async def test_chat_llava(serve: Callable[..., FakeServer]) -> None:
    server = serve("A star, I think.", CALL, '{"n": 5}', "A star, I think.")
    model = ChatLlava(base_url=server.url, api_key="secret")
    message = HumanMessage(
        [
            {"type": "text", "text": "What?"},
            {"type": "image", "base64": _base64(), "mime_type": "image/png"},
        ]
    )
    assert "".join(str(chunk.text) for chunk in model.stream([message])) == "A star, I think."
    tools = [{"name": "add", "description": "Add.", "parameters": ADD.parameters}]
    called = model.bind_tools(tools).invoke([message])
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("add", {"a": 3})]
    assert model.with_structured_output({"title": "Form", **FORM}).invoke("How many?") == {"n": 5}
    answer = await model.ainvoke([message])
    assert answer.text == "A star, I think."
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 576
    assert answer.response_metadata["model_name"] == "llava"
    assert "secret" not in str(model._identifying_params)
    server.faults = [500] * 9
    with pytest.raises(langchain.ModelConnectionError):
        ChatLlava(base_url=server.url, backend=_impatient(server)).invoke("What?")
    model.close()


def test_llama_index(serve: Callable[..., FakeServer]) -> None:
    from llama_index.llms.llava import Llava as LlamaIndexLlava

    server = serve("A star.", api_key="secret")
    model = LlamaIndexLlava(base_url=server.url, api_key="secret")
    assert model.complete("What?").text == "A star."
    assert "".join(step.delta or "" for step in model.stream_complete("What?")) == "A star."
    assert "secret" not in model.to_json()
    model.close()


def _impatient(server: FakeServer) -> RemoteBackend:
    return RemoteBackend(server.url, pauses=())


def _base64() -> str:
    return base64.b64encode(_picture().data).decode()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "localhost:8000"}, "base_url='localhost:8000'"),
        ({"base_url": "http://x/v1", "quantization": "4bit"}, "does not go with base_url"),
        ({"base_url": "http://x/v1", "offline": True}, "does not go with base_url"),
    ],
)
def test_options_that_are_the_server_s(options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Llava(**options)


def test_nothing_asks_a_server_before_a_question() -> None:
    assert Llava(base_url="http://127.0.0.1:9/v1").options.base_url
    assert issubclass(ServerError, EngineError)
