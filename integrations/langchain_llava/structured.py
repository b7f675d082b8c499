"""`with_structured_output`: a chat model and a schema in, a runnable that answers in it out.

All methods run under the grammar, so that an answer is of its schema or an error. `json_schema` has
the answer itself be the JSON, `function_calling` wraps it into a call of a tool of that name,
`json_mode` without a schema asks for any JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.base import OutputParserLike
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

from langchain_llava import binding
from llava_tools.core.constraints import Constraint
from llava_tools.errors import RequestError

Method = Literal["function_calling", "json_schema", "json_mode"]
Form = Mapping[str, Any] | type
Structured = Runnable[LanguageModelInput, dict[str, Any] | BaseModel]


def structured(
    model: BaseChatModel,
    form: Form | None,
    method: Method,
    *,
    include_raw: bool,
    strict: bool | None,
) -> Structured:
    """Return a runnable that answers in a form; see `ChatLlava.with_structured_output`.

    Raises:
        RequestError: An unknown method, or a form that is none.
    """
    if method not in ("function_calling", "json_schema", "json_mode"):
        raise RequestError(
            f"method={method!r} is not possible.",
            "Use 'json_schema', 'function_calling' or 'json_mode'.",
        )
    parser: OutputParserLike[Any]
    llm: Runnable[LanguageModelInput, AIMessage]
    if form is None:
        if method != "json_mode":
            raise RequestError(f"method={method!r} needs a schema.", "Pass one.")
        llm = model.bind(response_format={"type": "json_object"})
        return _answered(llm, JsonOutputParser(), include_raw)
    schema = binding.schema_of(form)
    Constraint(schema=schema)  # checks it
    known = {"kwargs": {"method": method, "strict": strict}, "schema": _for_traces(form, schema)}
    pydantic = isinstance(form, type) and is_basemodel_subclass(form)
    if method == "function_calling":
        tool = binding.tool_dict(cast(binding.Tool, form))
        name = tool["function"]["name"]
        llm = model.bind_tools(
            [tool],
            tool_choice=name,
            parallel_tool_calls=False,
            strict=strict,
            ls_structured_output_format=known,
        )
        parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        if pydantic:
            parser = PydanticToolsParser(tools=[cast(Any, form)], first_tool_only=True)
        return _answered(llm, parser, include_raw)
    answer = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    llm = model.bind(response_format=answer, strict=strict, ls_structured_output_format=known)
    parser = JsonOutputParser()
    if pydantic:
        parser = PydanticOutputParser(pydantic_object=cast(Any, form))
    return _answered(llm, parser, include_raw)


def _answered(
    llm: Runnable[LanguageModelInput, Any], parser: OutputParserLike[Any], include_raw: bool
) -> Structured:
    if not include_raw:
        return llm | parser
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _for_traces(form: Form, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema as LangChain writes it, where it can: a JSON schema needs a title."""
    if isinstance(form, Mapping) and not {"title", "name", "function"} & form.keys():
        return schema
    return convert_to_json_schema(cast(Any, form))
