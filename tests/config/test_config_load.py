"""A configuration file either loads or tells every problem with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.config import AtlasConfig, config_for, load_config, parse_config
from atlas.schema.errors import ConfigError

MINIMAL = "agent: {type: openai, llm: {model: gpt-5}}"


def problems(text: str, **options: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="atlas.yaml", **options)  # pyright: ignore[reportArgumentType]
    return caught.value.message.split("\n")


def test_the_smallest_configuration_has_every_default() -> None:
    config = parse_config(MINIMAL)
    assert config.orchestration.max_retries == 1
    assert config.orchestration.step_timeout_seconds == 900
    assert config.student.max_step_tokens == 2048
    assert config.adaptive_teaching.probe.thresholds.auto == 0.85
    assert config.adaptive_teaching.probe.fallback_mode == "paired"
    assert config.rim.variance_threshold == 0.15
    assert config.learning.pruning.min_transfer_sessions == 20
    assert config.runtime_safety.review.default_export_statuses == ("approved",)
    assert config.storage is not None
    assert config.storage.embedded


def test_storage_null_keeps_all_in_memory() -> None:
    assert parse_config(f"{MINIMAL}\nstorage: null").storage is None


def test_a_seat_without_a_model_takes_the_teachers_then_the_agents() -> None:
    alone = parse_config(MINIMAL)
    assert [alone.llm_of(seat) for seat in ("teacher", "judge", "arbiter", "probe", "curator")] == [alone.agent.llm] * 5
    both = parse_config(f"{MINIMAL}\nteacher: {{llm: {{model: big}}}}\nrim: {{small_model: {{model: small}}}}")
    named = {seat: llm.model for seat in ("teacher", "judge", "curator") if (llm := both.llm_of(seat)) is not None}
    assert named == {"teacher": "big", "judge": "small", "curator": "big"}


def test_a_python_agent_without_a_model_has_no_teacher() -> None:
    assert parse_config("agent: {type: python, import_path: 'shop:solve'}").llm_of("teacher") is None


def test_the_price_table_reaches_the_models_that_name_no_price() -> None:
    config = parse_config(f"{MINIMAL}\nprices: {{gpt-5: {{input: 2, output: 8}}}}")
    teacher = config.llm_of("teacher")
    assert teacher is not None
    assert teacher.price is not None
    assert (teacher.price.input, teacher.price.cached, teacher.price.output) == (2, None, 8)


def test_module_and_attribute_mean_the_same_as_one_path() -> None:
    one = parse_config("agent: {type: python, import_path: 'shop.agent:solve'}").agent
    two = parse_config("agent: {type: python, import_path: shop.agent, attribute: solve}").agent
    assert one.type == two.type == "python"
    assert one.target == two.target == "shop.agent:solve"
    assert problems("agent: {type: python, import_path: shop.agent}")


def test_a_tool_is_a_path_or_a_whole_block() -> None:
    agent = parse_config(
        "agent: {type: openai, llm: {model: m}, tools: ['shop:find', {import_path: 'shop:buy', effect: idempotent}]}"
    ).agent
    assert agent.type == "openai"
    assert [(tool.import_path, tool.effect) for tool in agent.tools] == [
        ("shop:find", "external"),
        ("shop:buy", "idempotent"),
    ]


def test_every_problem_is_told_with_its_line() -> None:
    text = """\
agent:
  type: openai
  llm:
    model: gpt-5
    retry: {attempts: "3", atempts: 2}
checks:
  - {type: regx}
  - {type: regex, pattern: "*"}
orchestration:
  forced_mode: solo
  max_retries: -1
  max_retries: 2
lerning: {}
"""
    assert problems(text) == [
        "atlas.yaml:5: agent.llm.retry.attempts must be a whole number, got text",
        "atlas.yaml:5: unknown key 'atempts' in agent.llm.retry (did you mean 'attempts'?)",
        "atlas.yaml:7: checks[0].type must be one of python, json_schema, regex, exact, numeric, got 'regx'",
        "atlas.yaml:8: checks[1].pattern: this is no regular expression: nothing to repeat at position 0",
        "atlas.yaml:10: orchestration.forced_mode must be auto, paired or coach, got 'solo'",
        "atlas.yaml:11: orchestration.max_retries must be greater than or equal to 0",
        "atlas.yaml:12: duplicate key 'max_retries'",
        "atlas.yaml:13: unknown key 'lerning' (did you mean 'learning'?)",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "atlas.yaml: the file is empty; the smallest configuration is"),
        ("- a\n- b", "atlas.yaml: the file is not a mapping of blocks"),
        ("agent:\n\ttype: openai", "atlas.yaml:2: a tab is used to indent"),
        ("agent: {type: openai", "atlas.yaml:1: not YAML"),
        ("agent: {llm: {model: m}}", "atlas.yaml:1: missing key 'type' in agent"),
        ("agent:\n  type: openai\n  llm: {}", "atlas.yaml:3: missing key 'model' in agent.llm"),
        ("student: {}", "atlas.yaml:1: missing key 'agent'"),
        (f"{MINIMAL}\nteacher: {{llm: {{model: 3}}}}", "atlas.yaml:2: teacher.llm.model must be text, got 3"),
        (f"{MINIMAL}\nteacher: {{llm: gpt-5}}", "atlas.yaml:2: teacher.llm must be a mapping, got text"),
        (
            f"{MINIMAL}\nrim: {{parallel_workers: yes}}",
            "atlas.yaml:2: rim.parallel_workers must be a whole number, got true",
        ),
        (f"{MINIMAL}\nrim: {{variance_threshold: .inf}}", "atlas.yaml:2: '.inf' is no finite number"),
        (f"{MINIMAL}\nstorage: {{embedded: false}}", "atlas.yaml:2: storage: without the embedded database"),
        (
            f"{MINIMAL}\nstorage: {{database_url: 'mysql://x'}}",
            "atlas.yaml:2: storage.database_url must begin with postgresql://",
        ),
        (
            f"{MINIMAL}\nmetadata: !!python/object:os.system {{}}",
            "atlas.yaml:2: the tag tag:yaml.org,2002:python/object",
        ),
        (f'{MINIMAL}\nmetadata: {{a: "\\0"}}', "atlas.yaml:2: a text contains NUL"),
        ("agent: {type: given}", "atlas.yaml:1: agent.type given is for a callable handed to run() in Python"),
        (
            "agent: {type: openai, llm: {model: m}, tools: ['a:f', 'b:f']}",
            "atlas.yaml:1: agent.tools: two tools are called 'f'",
        ),
        (
            f"{MINIMAL}\nadaptive_teaching: {{probe: {{thresholds: {{auto: 0.1}}}}}}",
            "atlas.yaml:2: adaptive_teaching.probe.thresholds",
        ),
    ],
)
def test_one_problem(text: str, line: str) -> None:
    told = problems(text)
    assert len(told) == 1, told
    assert told[0].startswith(line), told


def test_a_variable_that_is_not_set_is_named_and_its_place_too() -> None:
    text = f"{MINIMAL}\nstorage:\n  database_url: ${{SHOP_DB}}"
    told = problems(text, environ={})
    assert told == ["atlas.yaml:3: The environment variable SHOP_DB is not set. Set it, or add it to .env: SHOP_DB=…"]
    config = parse_config(text, environ={"SHOP_DB": "postgresql://u:secret@h/d"})
    assert config.storage is not None
    assert config.storage.database_url == "postgresql://u:secret@h/d"
    assert "secret" not in repr(config)


def test_the_environment_is_read_only_where_it_may_be() -> None:
    text = "agent: {type: openai, system_prompt: 'say ${HOME}', llm: {model: m, headers: {X-Key: '${KEY}'}}}"
    agent = parse_config(text, environ={"HOME": "x", "KEY": "k"}).agent
    assert agent.type == "openai"
    assert agent.system_prompt == "say ${HOME}"
    assert agent.llm.headers == {"X-Key": "${KEY}"}  # the client that sends it replaces it
    assert problems(text, environ={}) == [
        "atlas.yaml:1: The environment variable KEY is not set. Set it, or add it to .env: KEY=…"
    ]


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    told = problems("agent: {type: openai, llm: {model: m, timeout_seconds: sk-verysecret, api_key: sk-verysecret}}")
    assert len(told) == 2
    assert "verysecret" not in "".join(told)


def test_anchors_and_merge_keys_work() -> None:
    text = "agent: {type: openai, llm: &big {model: m, temperature: 0.2}}\nteacher: {llm: {<<: *big, temperature: 0.0}}"
    teacher = parse_config(text).llm_of("teacher")
    assert teacher is not None
    assert (teacher.model, teacher.temperature) == ("m", 0.0)


def test_a_yaml_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "once anchors are expanded" in problems("\n".join(lines))[0]


def test_an_anchor_that_holds_itself_is_refused() -> None:
    assert "nested deeper" in problems("agent: &a [*a]")[0]


def test_deep_nesting_is_refused_before_the_parser_recurses() -> None:
    assert "nested deeper" in problems("[" * 300_000)[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    broken = tmp_path / "latin.yaml"
    broken.write_bytes(b"agent: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(broken)


def test_hello_world_needs_no_file() -> None:
    config = config_for("anthropic:claude-x", api_base="https://h.example")
    assert config.storage is None
    assert config.agent.llm is not None
    assert (config.agent.llm.provider, config.agent.llm.model) == ("anthropic", "claude-x")
    assert config_for("gpt-5").agent.llm.provider == "openai"  # pyright: ignore[reportOptionalMemberAccess]
    assert config_for(None).uses_user_code
    with pytest.raises(ConfigError, match="names no model"):
        config_for("openai:")


def test_user_code_is_known_from_the_configuration() -> None:
    assert not parse_config(MINIMAL).uses_user_code
    assert parse_config(f"{MINIMAL}\nchecks: [{{type: python, import_path: 'a:b'}}]").uses_user_code


def loads_or_says_why(text: str) -> None:
    try:
        config = parse_config(text, environ={})
    except ConfigError:
        return
    assert isinstance(config, AtlasConfig)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_loads_or_is_refused(text: str) -> None:
    loads_or_says_why(text)


KEYS = st.sampled_from([*AtlasConfig.model_fields, "type", "llm", "model", "tools", "import_path", "retry", "<<", "x"])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["openai", "python", "${X}", "regex"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_tree_loads_or_is_refused(tree: dict[str, object]) -> None:
    import yaml

    loads_or_says_why(yaml.safe_dump(tree))


@given(st.text(alphabet="agentlmodypi:{}[]&*!<>-|'\"#%@`\\ \n\t0123456789.,?~${}", max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_punctuation_loads_or_is_refused(text: str) -> None:
    loads_or_says_why(text)
