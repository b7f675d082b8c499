"""`with_structured_output`: from a chat model and a schema to a runnable that returns objects.

Every method constrains decoding with a grammar, so that an answer satisfies its schema or raises
an error. With `json_schema` the answer is the JSON itself; `function_calling` wraps it into a call
of a tool named after the schema; `json_mode` without a schema allows any JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal, cast, get_args

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.base import OutputParserLike
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel

from langchain_llava import constraints
from llava_tools.core.constraints import Constraint
from llava_tools.errors import RequestError

Method = Literal["function_calling", "json_schema", "json_mode"]
OutputSchema = Mapping[str, Any] | type
StructuredModel = Runnable[LanguageModelInput, dict[str, Any] | BaseModel]


def structured_output(
    model: BaseChatModel,
    schema: OutputSchema | None,
    method: Method,
    *,
    include_raw: bool,
    strict: bool | None,
) -> StructuredModel:
    """See `ChatLlava.with_structured_output`.

    Raises:
        RequestError: An unknown method, or an impossible schema.
    """
    if method not in get_args(Method):
        raise RequestError(
            f"method={method!r} is not possible.",
            "Use 'json_schema', 'function_calling' or 'json_mode'.",
        )
    llm: Runnable[LanguageModelInput, AIMessage]
    parser: OutputParserLike[Any]
    if schema is None:
        if method != "json_mode":
            raise RequestError(f"method={method!r} needs a schema.", "Pass one.")
        llm = model.bind(response_format={"type": "json_object"})
        return _with_parser(llm, JsonOutputParser(), include_raw)
    json_schema = constraints.json_schema(schema)
    Constraint(schema=json_schema)  # raises if it is no JSON schema
    kwargs = {"method": method, "strict": strict}
    traced = {"kwargs": kwargs, "schema": _traced_schema(schema, json_schema)}
    pydantic_class: Any = schema if constraints.is_pydantic(schema) else None
    if method == "function_calling":
        tool = constraints.tool_dict(cast(constraints.Tool, schema))
        name = tool["function"]["name"]
        llm = model.bind_tools(
            [tool],
            tool_choice=name,
            parallel_tool_calls=False,
            strict=strict,
            ls_structured_output_format=traced,
        )
        parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        if pydantic_class:
            parser = PydanticToolsParser(tools=[pydantic_class], first_tool_only=True)
    else:
        answer = {"type": "json_schema", "json_schema": {"name": "answer", "schema": json_schema}}
        llm = model.bind(response_format=answer, strict=strict, ls_structured_output_format=traced)
        parser = JsonOutputParser()
        if pydantic_class:
            parser = PydanticOutputParser(pydantic_object=pydantic_class)
    return _with_parser(llm, parser, include_raw)


def _with_parser(
    llm: Runnable[LanguageModelInput, Any], parser: OutputParserLike[Any], include_raw: bool
) -> StructuredModel:
    if not include_raw:
        return llm | parser
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _traced_schema(schema: OutputSchema, json_schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema in LangChain's layout where possible: it needs a JSON schema's title."""
    if isinstance(schema, Mapping) and "title" not in schema:
        return json_schema
    try:
        return convert_to_json_schema(cast(Any, schema))
    except RecursionError:  # LangChain inlines references
        return json_schema
