"""Chat templates: the built-in ones, a model's own, and what happens without one."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from hf_relabel.builders.endpoint import Message, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints import templates
from hf_relabel.hub_tools.endpoints.dialects.tgi import TgiEndpoint
from hf_relabel.hub_tools.endpoints.templates import (
    BUILT_IN,
    TemplateUnavailable,
    answering,
    chatml,
    compile_template,
    model_template,
    plain,
    without_system,
)
from tests.facade import Facade, FunctionBackend

CHAT = (Message("system", "Judge."), Message("user", "Is it?"))
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("plain", "Judge.\n\nIs it?\n\n"),
        ("chatml", "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n"),
        (
            "llama3",
            "<|start_header_id|>system<|end_header_id|>\n\nJudge.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
            "Is it?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("gemma", "<start_of_turn>user\nJudge.\n\nIs it?<end_of_turn>\n<start_of_turn>model\n"),
        ("mistral", "[INST] Judge.\n\nIs it? [/INST]"),
    ],
)
def test_built_in_templates(name: str, prompt: str) -> None:
    assert BUILT_IN[name](CHAT) == prompt


def test_plain_names_the_speakers_where_there_are_several_turns() -> None:
    chat = (Message("user", "Is it?"), Message("assistant", "Yes."), Message("user", "Sure?"))
    assert plain(chat) == "User: Is it?\n\nAssistant: Yes.\n\nUser: Sure?\n\nAssistant:"


def test_system_texts_move_into_the_users_turn() -> None:
    assert without_system(CHAT) == [Message("user", "Judge.\n\nIs it?")]
    assert without_system((Message("system", "Judge."),)) == [Message("user", "Judge.")]


def test_a_models_template_is_rendered_without_the_first_token_that_tgi_adds() -> None:
    render = compile_template("{{ bos_token }}" + CHATML, bos_token="<s>")
    assert render(CHAT) == BUILT_IN["chatml"](CHAT)


def test_a_template_that_refuses_the_system_role_gets_its_text_in_the_users_turn() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    assert "<|im_start|>user\nJudge.\n\nIs it?<|im_end|>" in compile_template(refusing)(CHAT)


def test_a_template_cannot_reach_out_of_its_sandbox() -> None:
    with pytest.raises(TemplateUnavailable, match=r"unsafe|not safe"):
        compile_template(CHATML + "{{ ''.__class__.__mro__[1].__subclasses__() }}")


def test_prompts_are_the_same_every_day() -> None:
    assert compile_template("{{ strftime_now('%d %b %Y') }}" + CHATML)(CHAT).startswith("26 Jul 2024")


def test_generation_marks_and_loop_controls_are_understood() -> None:
    marked = "{% generation %}x{% endgeneration %}{% for i in [1, 2] %}{% break %}{% endfor %}" + CHATML
    assert compile_template(marked)(CHAT).startswith("x<|im_start|>")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts files on a pretended Hub, and the list of what was downloaded."""
    files: dict[str, str] = {}
    asked: list[tuple[str, str, str | None]] = []

    def download(repo_id: str, filename: str, *, revision: str | None, local_files_only: bool) -> str:
        assert not local_files_only
        asked.append((repo_id, filename, revision))
        if not files:
            raise LocalEntryNotFoundError("no network")
        if filename not in files:
            raise EntryNotFoundError(filename)
        path = tmp_path / filename
        path.write_text(files[filename], encoding="utf-8")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(templates, "_hub_answers", lambda: True)
    return files, asked


def test_auto_uses_the_template_of_the_served_revision(hub: Any) -> None:
    files, asked = hub
    files["tokenizer_config.json"] = json.dumps(
        {"bos_token": {"content": "<s>"}, "chat_template": "{{ bos_token }}" + CHATML}
    )
    prompts = []
    backend = FunctionBackend(lambda question: prompts.append(question.text) or "OK")  # type: ignore[func-returns-value]

    async def ask_twice(url: str) -> None:
        endpoint = TgiEndpoint(url)
        await asyncio.gather(endpoint.complete(Request(CHAT, 4)), endpoint.complete(Request(CHAT, 4)))
        await endpoint.close()

    with Facade(backend, model_id="org/judge", model_sha="abc") as server:
        asyncio.run(ask_twice(server.url))
    assert prompts == [BUILT_IN["chatml"](CHAT)] * 2
    assert asked == [("org/judge", "tokenizer_config.json", "abc"), ("org/judge", "chat_template.jinja", "abc")]


def test_a_template_in_a_file_of_its_own_wins(hub: Any) -> None:
    files, _ = hub
    files["tokenizer_config.json"] = json.dumps({"chat_template": [{"name": "default", "template": "old " + CHATML}]})
    assert model_template("org/judge", None)(CHAT).startswith("old ")
    files["chat_template.jinja"] = "new " + CHATML
    assert model_template("org/judge", None)(CHAT).startswith("new ")


def test_without_a_template_prompts_are_plain_and_one_warning_says_so(
    hub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert model_template("/data/model", None) is plain
    [record] = caplog.records
    assert "--chat-template chatml|" in record.getMessage()


def test_without_a_network_the_cache_is_looked_at_and_nothing_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def cached(repo_id: str, filename: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append(local_files_only)
        if filename == "chat_template.jinja":
            raise LocalEntryNotFoundError("not in the cache")
        (tmp_path / filename).write_text(json.dumps({"chat_template": CHATML}))
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert model_template("org/judge", "abc")(CHAT) == BUILT_IN["chatml"](CHAT)
    assert asked == [True, True]


def test_an_unknown_template_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="auto, plain, chatml"):
        TgiEndpoint("http://127.0.0.1:9", chat_template="alpaca")


def test_a_template_that_can_think_is_told_not_to() -> None:
    """As Qwen3's and DeepSeek V3.1's: by a variable that is not set, or set to false."""
    qwen = (
        "{% for m in messages %}{{ m.content }}|{% endfor %}"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    )
    deepseek = (
        "{% for m in messages %}{{ m.content }}|{% endfor %}{% if thinking %}<think>{% else %}</think>{% endif %}"
    )
    template = compile_template(qwen)
    assert template(CHAT).endswith("|")
    assert answering(template)(CHAT).endswith("<think>\n\n</think>\n\n")
    assert compile_template(deepseek, thinking=True)(CHAT).endswith("<think>")
    assert answering(compile_template(deepseek))(CHAT).endswith("</think>")
    assert answering(chatml) is chatml
