"""Stand-ins of published checkpoints: the prompts, the tokens and the ends of their own models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llava_tools.engine import scoring
from tests.families import reference
from tests.families.loadable import LOADABLE, Loadable
from tests.families.stand_in import CONVERSATIONS, NEW_TOKENS, StandIn, loaded


def _name(row: Loadable) -> str:
    return row.name


@pytest.fixture(scope="module", params=LOADABLE, ids=_name)
def stand_in(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandIn]:
    with loaded(request.param, tmp_path_factory.mktemp("family")) as opened:
        yield opened


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_prompt_is_the_published_one(stand_in: StandIn, conversation: str) -> None:
    assert stand_in.prompt(conversation) == stand_in.published(conversation)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_prompt_has_the_tokens_of_training(stand_in: StandIn, conversation: str) -> None:
    assert stand_in.token_ids(conversation) == stand_in.reference_ids(conversation)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_greedy_tokens_equal_generate(stand_in: StandIn, conversation: str) -> None:
    expected = stand_in.reference_answer(conversation)
    assert list(stand_in.answer(conversation).token_ids) == expected


def test_answers_end_at_the_end_of_a_turn(stand_in: StandIn) -> None:
    tied = stand_in.row.config["text_config"].get("tie_word_embeddings", False)
    if tied or stand_in.row.storage == "adapter":
        pytest.skip("the writer lets no answer of these end early")
    answer = stand_in.answer("one_image")
    tokenizer = stand_in.engine.loaded.tokenizer.tokenizer
    assert answer.finish_reason == "stop"
    assert len(answer.token_ids) < NEW_TOKENS
    assert tokenizer.convert_ids_to_tokens(answer.token_ids[-1]) == stand_in.row.published.ends[0]
    assert stand_in.row.published.ends[0] not in answer.text


def test_labels_are_scored_by_the_tokens_of_answers(stand_in: StandIn) -> None:
    published, tokenizer = stand_in.row.published, stand_in.engine.loaded.tokenizer
    end = published.three_turns.index(published.ends[0], len(published.one_image))
    answered = published.three_turns[: end + len(published.ends[0])]
    expected = reference.tokens(stand_in.row, stand_in.folder, answered)
    label = scoring.label_ids("A red circle.", tokenizer)
    assert [*stand_in.token_ids("one_image"), *label] == expected
