"""Pydantic models of third-party packages that are installed anyway, imported on demand."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pydantic import BaseModel

_NAMES = {
    "langsmith.schemas": [
        "APIFeedbackSource",
        "AgentEntry",
        "AnnotationQueue",
        "Dataset",
        "DatasetDiffInfo",
        "ExampleBase",
        "FeedbackCreate",
        "FeedbackFormula",
        "FileEntry",
        "InsightsReport",
        "Prompt",
        "RunBase",
        "TracerSession",
    ],
    "langsmith.types.code_evaluator_top_level": ["CodeEvaluatorTopLevel"],
    "huggingface_hub._webhooks_payload": [
        "WebhookPayload",
        "WebhookPayloadDiscussion",
        "WebhookPayloadRepo",
    ],
    "banks.types": ["ChatMessage", "ContentBlock", "Function", "Tool"],
    "banks.registries.directory": ["PromptFile"],
    "workflows.context.context_types": ["SerializedInProgressAttempt"],
    "workflows.representation.types": ["WorkflowGraphEdge", "WorkflowResourceConfigNode"],
    "llama_index.core.agent.workflow.workflow_events": ["ToolCall"],
    "llama_index.core.base.base_selector": ["SingleSelection"],
    "llama_index.core.base.llms.types": ["LLMMetadata"],
    "llama_index.core.chat_ui.models.artifact": ["Artifact"],
    "llama_index.core.evaluation.base": ["EvaluationResult"],
    "llama_index.core.evaluation.guideline": ["EvaluationData"],
    "llama_index.core.graph_stores.types": ["EntityNode"],
    "llama_index.core.node_parser.relational.base_element": ["TableOutput"],
    "llama_index.core.question_gen.types": ["SubQuestion"],
    "llama_index.core.tools.query_plan": ["QueryNode"],
    "llama_index.core.vector_stores.types": ["MetadataFilter", "VectorStoreQuerySpec"],
    "langchain_core.agents": ["AgentAction"],
    "langchain_core.documents.base": ["Blob", "Document"],
    "langchain_core.messages.ai": ["AIMessage"],
    "langchain_core.messages.tool": ["ToolMessage"],
    "langchain_core.outputs.generation": ["Generation"],
    "langchain_core.prompts.prompt": ["PromptTemplate"],
}

#: `module:Class` of every model.
NAMES = [f"{module}:{name}" for module, names in _NAMES.items() for name in names]


def load(name: str) -> type[BaseModel]:
    """Import one of `NAMES`."""
    module, _, attribute = name.partition(":")
    return cast(type[BaseModel], getattr(import_module(module), attribute))
