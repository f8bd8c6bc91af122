"""Where settings come from, which source wins, and that every fault is named without naming a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from ruamel.yaml import YAML

from monitor.config import Settings
from monitor.config.keys import KEYS, MASK, masked
from monitor.config.loading import HINT, describe, load, load_with_origins, secret
from monitor.config.strictyaml import scalar
from monitor.errors import ConfigError

PUBLISH_IS_ONE_TRANSACTION = "publish_timeout must not exceed transaction_timeout: a publish is one transaction"
INVALID = sorted((Path(__file__).parent / "invalid_configs").glob("*.yaml"))
EXAMPLE = Path(__file__).parent.parent / "deploy" / "monitor.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "monitor.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def fault(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_with_origins(*args, **kwargs)
    return caught.value.message


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_file_is_refused_with_exactly_the_message_at_its_top(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_bytes().decode(errors="replace").splitlines()
    expected = [line.removeprefix("# ") for line in text if line.startswith(f"# {path.name}:")]
    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigError) as caught:
        load(Path(path.name), {})
    assert caught.value.message.splitlines() == expected
    assert caught.value.hint == HINT
    assert "hunter2" not in str(caught.value)


def test_the_folder_of_invalid_files_covers_every_section() -> None:
    texts = [path.read_bytes().decode(errors="replace") for path in INVALID]
    assert len(INVALID) >= 45
    for key in KEYS.values():
        if len(key.path) == 1:
            assert any(f": {key.dotted}." in text or f": {key.dotted}:" in text for text in texts), key.dotted


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "kafka: {group: from_file, client_id: from_file, instance_id: from_file}\n")
    environ = {"MONITOR_KAFKA__GROUP": "from_environment", "MONITOR_KAFKA__CLIENT_ID": "from_environment"}
    kafka = load(path, environ, {"kafka": {"group": "from_flag"}}).kafka
    assert (kafka.group, kafka.client_id, kafka.instance_id) == ("from_flag", "from_environment", "from_file")
    assert kafka.start_at == "earliest"


def test_a_key_of_the_top_level_has_its_three_sources_too(tmp_path: Path) -> None:
    path = write(tmp_path, "delivery: at_least_once\n")
    loaded = load_with_origins(path, {})
    assert loaded.settings.delivery == "at_least_once"
    assert describe(loaded.settings, loaded.origins)[0] == ("delivery", "at_least_once", f"{path}:1")
    assert load(path, {"MONITOR_DELIVERY": "exactly_once"}).delivery == "exactly_once"
    assert load(path, {"MONITOR_DELIVERY": "exactly_once"}, {"delivery": "at_least_once"}).delivery == "at_least_once"


SOURCES = st.fixed_dictionaries({}, optional={name: st.integers(1, 9) for name in ("file", "environment", "flag")})


@given(SOURCES, SOURCES)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_key_has_the_value_of_the_highest_source_that_gives_it(
    tmp_path: Path, stride: dict[str, int], streams: dict[str, int]
) -> None:
    keys = {"stride": stride, "max_streams": streams}
    lines = [f"  {name}: {given['file']}\n" for name, given in keys.items() if "file" in given]
    path = write(tmp_path, "windows:\n" + "".join(lines))
    environ = {
        f"MONITOR_WINDOWS__{name.upper()}": str(given["environment"])
        for name, given in keys.items()
        if "environment" in given
    }
    loaded = load(path, environ, {"windows": {name: given.get("flag") for name, given in keys.items()}})
    for name, sources in keys.items():
        default = getattr(Settings.model_construct().windows, name)
        expected = next((sources[s] for s in ("flag", "environment", "file") if s in sources), default)
        assert getattr(loaded.windows, name) == expected


def test_without_a_file_and_with_an_empty_one_everything_has_its_default(tmp_path: Path) -> None:
    expected = Settings.model_construct()
    assert load(None, {}) == expected
    for text in ("", "# nothing\n", "---\n", "kafka:\nweb:\n", "\ufeff"):
        assert load(write(tmp_path, text), {}) == expected


def test_a_default_written_out_is_the_same_configuration(tmp_path: Path) -> None:
    """The digest goes into every alert: `max_ahead: 300` must not change it."""
    assert load(write(tmp_path, "events: {max_ahead: 300}\n"), {}).digest() == load(None, {}).digest()


@pytest.mark.parametrize(
    "text",
    [
        "delivery: at_least_once",
        "recovery: {max_replay: 5, data_loss: fail, state_dir: /var/lib/monitor, snapshot_every: 1}",
        "dead_letters: {max_ratio: 0.1, window: 100}",
        "kafka: {group: other, poll_records: 7, poll_bytes: 4096, transaction_timeout: 20}",
        "topics: {state: {name: other}}",
    ],
)
def test_how_alerts_are_delivered_does_not_change_the_digest_they_carry(tmp_path: Path, text: str) -> None:
    loaded = load(write(tmp_path, text + "\n"), {})
    assert loaded != load(None, {})
    assert loaded.digest() == load(None, {}).digest()


def test_mappings_merge_and_lists_are_replaced(tmp_path: Path) -> None:
    path = write(
        tmp_path, "kafka: {options: {a: 1, b: 2}}\nevents: {features: [x, y]}\ntopics: {input: {partitions: 3}}\n"
    )
    environ = {
        "MONITOR_KAFKA__OPTIONS": '{"b": 3}',
        "MONITOR_KAFKA__OPTIONS__C": "[4]",
        "MONITOR_EVENTS__FEATURES": '["z"]',
    }
    loaded = load(path, environ)
    assert loaded.kafka.options == {"a": 1, "b": 3, "c": [4]}
    assert loaded.events.features == ["z"]
    assert loaded.topics.input.name == "events"
    assert loaded.topics.input.partitions == 3


@pytest.mark.parametrize("whole", ["null", '["a"]', "5"])
def test_an_entry_of_a_mapping_that_another_variable_says_is_none_is_no_crash(whole: str) -> None:
    environ = {"MONITOR_KAFKA__OPTIONS": whole, "MONITOR_KAFKA__OPTIONS__ACKS_X": "1"}
    assert fault(None, environ).startswith("MONITOR_KAFKA__OPTIONS: kafka.options: must be a mapping")


def test_one_variable_wins_over_its_whole_section_as_json() -> None:
    environ = {"MONITOR_WEB": '{"port": 1, "host": "::1"}', "MONITOR_WEB__PORT": "2"}
    web = load(None, environ).web
    assert (web.port, web.host) == (2, "::1")


def test_text_in_the_environment_is_not_parsed_where_text_is_wanted() -> None:
    environ = {
        "MONITOR_KAFKA__GROUP": "7",
        "MONITOR_KAFKA__SASL__PASSWORD": "0123",
        "MONITOR_KAFKA__OPTIONS__SASL_PASSWORD": "0123",
        "MONITOR_TOPICS__INPUT__CONFIG": '{"retention.ms": "5"}',
        "MONITOR_EVENTS__MAX_AGE": "null",
        "MONITOR_KAFKA__TLS__ENABLED": "true",
        "MONITOR_KAFKA__POLL_SECONDS": "1",
    }
    loaded = load(None, environ)
    assert loaded.kafka.group == "7"
    assert loaded.kafka.sasl.password == SecretStr("0123")
    assert loaded.kafka.options == {"sasl_password": "0123"}
    assert loaded.topics.input.config == {"retention.ms": "5"}
    assert loaded.events.max_age is None
    assert loaded.kafka.tls.enabled is True
    assert loaded.kafka.poll_seconds == 1.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MONITOR_KAFKA__GRUOP", "x", "unknown setting; did you mean MONITOR_KAFKA__GROUP?"),
        ("MONITOR_KAFKA__PORT", "1", "unknown setting; did you mean MONITOR_WEB__PORT?"),
        ("MONITOR_KAFKA__GROUP__NAME", "x", "unknown setting; did you mean MONITOR_KAFKA__GROUP?"),
        ("MONITOR_KAFAK__GROUP", "1", "unknown setting; did you mean MONITOR_KAFKA__GROUP?"),
        ("MONITOR_ZZ__QQ", "x", "unknown setting"),
        ("MONITOR_WEB__PORT", "many", 'web.port: must be a whole number, not the text "many"'),
        ("MONITOR_WEB__PORT", "", 'web.port: must be a whole number, not the text ""'),
        ("MONITOR_WEB__PORT", "70000", "web.port: must be at most 65535, not 70000"),
        ("MONITOR_KAFKA__TLS__ENABLED", "1", "kafka.tls.enabled: must be true or false, not 1"),
        ("MONITOR_EVENTS__FEATURES", "a,b", 'events.features: must be JSON, such as ["a", "b"]'),
        ("MONITOR_KAFKA", "{", 'kafka: must be JSON, such as {"key": "value"}'),
        ("MONITOR_KAFKA", "5", "kafka: must be a section (lines of `key: value`), not a number"),
        ("MONITOR_KAFKA", "[" * 100_000, 'kafka: must be JSON, such as {"key": "value"}'),
        ("MONITOR_KAFKA", '{"gruop": 1}', "kafka.gruop: unknown key; did you mean kafka.group?"),
        ("MONITOR_KAFKA__SASL__MECHANISM", "PLAIN", "kafka.sasl: mechanism PLAIN needs a username"),
        ("MONITOR_DELIVERY", "once", 'delivery: must be exactly_once or at_least_once, not the text "once"'),
        ("MONITOR_DELIVERY__MODE", "exactly_once", "unknown setting; did you mean MONITOR_DELIVERY?"),
        ("MONITOR_KAFKA__PUBLISH_TIMEOUT", "31", "kafka: " + PUBLISH_IS_ONE_TRANSACTION),
    ],
)
def test_a_fault_in_the_environment_names_the_variable(name: str, value: str, message: str) -> None:
    assert fault(None, {name: value}) == f"{name}: {message}"


def test_variables_that_kubernetes_injects_for_a_service_are_ignored() -> None:
    injected = {
        "MONITOR_SERVICE_HOST": "10.0.0.1",
        "MONITOR_SERVICE_PORT_HTTP": "9108",
        "MONITOR_PORT": "tcp://10.0.0.1:9108",
        "MONITOR_PORT_9108_TCP": "tcp://10.0.0.1:9108",
        "MONITOR_WEB_SERVICE_HOST": "10.0.0.2",
        "MONITOR_CONFIG": "monitor.yaml",
    }
    assert load(None, injected) == load(None, {})


def test_an_earlier_fault_is_told_although_a_later_source_sets_a_key_below_it(tmp_path: Path) -> None:
    path = write(tmp_path, "kafka: 5\n")
    assert fault(path, {"MONITOR_KAFKA__GROUP": "a"}) == (
        f"{path}:1: kafka: must be a section (lines of `key: value`), not a number"
    )


def test_faults_are_sorted_by_place_the_file_first(tmp_path: Path) -> None:
    path = write(tmp_path, "web: {port: -1}\nkafka: {group: 5}\n")
    text = fault(
        path, {"MONITOR_A__B": "", "MONITOR_LOG__LEVEL": "x"}, {"model": {"threads": 0}}, {"model.threads": "--threads"}
    )
    places = [line.split(": ")[0] for line in text.splitlines()]
    assert places == [f"{path}:1", f"{path}:2", "MONITOR_A__B", "MONITOR_LOG__LEVEL", "--threads"]


def test_a_path_is_relative_to_the_folder_it_was_written_in(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {path: models/pump}\nkafka: {tls: {ca_file: /etc/ca.pem}}\n")
    environ = {"MONITOR_KAFKA__TLS__KEY_FILE": "key.pem"}
    loaded = load(path, environ)
    assert loaded.model.path == tmp_path / "models/pump"
    assert loaded.kafka.tls.ca_file == Path("/etc/ca.pem")
    assert loaded.kafka.tls.key_file == Path("key.pem")
    assert load(path, environ, {"model": {"path": Path("here")}}).model.path == Path("here")


def test_a_file_that_cannot_be_read_is_an_error_with_its_name(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.yaml", {}) == f"{tmp_path}/none.yaml: no such file"
    assert fault(tmp_path, {}) == f"{tmp_path}: cannot be read: is a directory"
    assert fault(write(tmp_path, "#" * 300_000), {}).endswith("this is not a configuration")


SECRET_TEXT = st.text(min_size=5, max_size=30).filter(lambda text: len(set(text)) > 3 and not text.isascii())
PASSWORD_PATHS = ["kafka.sasl.password", "kafka.tls.key_password", "kafka.options.sasl_plain_password"]


@given(SECRET_TEXT, st.sampled_from(PASSWORD_PATHS), st.booleans(), st.sampled_from(["", "[", "{", "5", "x"]))
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_secret_text_appears_in_errors_descriptions_or_representations(
    tmp_path: Path, text: str, where: str, plain: bool, other: str
) -> None:
    """Plain (unquoted) secrets may be any broken YAML; then the whole file is an error, which must not quote them."""
    *sections, name = where.split(".")
    indented = "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
    value = text if plain else json.dumps(text)
    path = tmp_path / "monitor.yaml"
    path.write_bytes((f"{indented}    {name}: {value}\nmodel: {other}\n").encode(errors="surrogatepass"))
    try:
        loaded = load_with_origins(path, {})
    except ConfigError as error:
        said = str(error)
    else:
        said = repr(loaded) + str(loaded.settings) + repr(describe(loaded.settings, loaded.origins))
        assert MASK in said or plain  # a plain one may be a comment
    assert text not in said
    assert json.dumps(text)[1:-1] not in said


@given(SECRET_TEXT)
@hypothesis_settings(deadline=None)
def test_no_secret_text_from_the_environment_appears_anywhere(text: str) -> None:
    broken = {"MONITOR_KAFKA__SASL__PASSWORD": text, "MONITOR_KAFKA__OPTIONS": text, "MONITOR_KAFKA": text}
    assert text not in fault(None, broken)
    loaded = load_with_origins(None, {"MONITOR_KAFKA__SASL__PASSWORD": text, "MONITOR_KAFKA__OPTIONS__SSL_TOKEN": text})
    assert text not in repr(loaded) + repr(describe(loaded.settings, loaded.origins))


def test_describe_names_every_setting_its_value_and_its_source(tmp_path: Path) -> None:
    path = write(
        tmp_path, "kafka:\n  group: pumps\n  options: {nested: {token: x}, retries: 3}\nevents: {features: [a, b]}\n"
    )
    loaded = load_with_origins(path, {"MONITOR_WEB__PORT": "1"}, {"log": {"level": "debug"}}, {"log.level": "--level"})
    rows = {row.path: row[1:] for row in describe(loaded.settings, loaded.origins)}
    assert rows["kafka.group"] == ("pumps", f"{path}:2")
    assert rows["kafka.options.retries"] == ("3", f"{path}:3")
    assert rows["kafka.options.nested"] == (f'{{"token": "{MASK}"}}', f"{path}:3")
    assert rows["kafka.sasl.password"] == ("null", "default")
    assert rows["events.features"] == ('["a", "b"]', f"{path}:4")
    assert rows["web.port"] == ("1", "MONITOR_WEB__PORT")
    assert rows["log.level"] == ("debug", "--level")
    assert rows["model.path"] == ("model", "default")
    assert {key.dotted for key in KEYS.values() if key.kind not in ("section", "map")} <= set(rows)


def test_masking_reaches_every_depth() -> None:
    value = {"ssl_password": "a", "list": [{"api_token": "b"}], "plain": 1, "credentials": {"user": "c"}}
    assert masked(value, ("kafka", "options")) == {
        "ssl_password": MASK,
        "list": [{"api_token": MASK}],
        "plain": 1,
        "credentials": MASK,
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"pass\n", "pass"), (b"pass\r\n", "pass"), (b"pass", "pass"), (b" pass \n\n", " pass \n")],
)
def test_a_secret_file_loses_one_line_end_and_nothing_else(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert secret(None, file, "kafka.sasl.password") == expected


def test_a_secret_is_its_setting_or_nothing_where_no_file_is_given() -> None:
    assert secret(SecretStr("pass"), None, "x") == "pass"
    assert secret(None, None, "x") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "kafka.sasl.password_file: FILE does not exist"),
        (b"", "kafka.sasl.password_file: FILE is empty"),
        (b"\n", "kafka.sasl.password_file: FILE is empty"),
        (b"\xff", "kafka.sasl.password_file: FILE cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_secret_file_that_holds_none_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        secret(None, file, "kafka.sasl.password")
    assert caught.value.message == message.replace("FILE", str(file))


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not both"):
        secret(SecretStr("a"), tmp_path, "kafka.tls.key_password")


def test_every_setting_says_what_it_means() -> None:
    assert [key.dotted for key in KEYS.values() if not key.meaning] == []


def test_settings_have_no_rule_between_sections() -> None:
    """`load` validates section by section, so a rule on the whole would never run; put it into a section."""
    decorators = Settings.__pydantic_decorators__
    assert not decorators.model_validators
    assert not decorators.field_validators


def test_the_example_is_valid_and_uses_the_keys_it_shows() -> None:
    loaded = load_with_origins(EXAMPLE, {})
    assert loaded.settings.topics.input.name == "pump.events"
    assert {str(place[0]) for place in loaded.origins} == {"kafka", "topics", "model", "events", "incidents"}


@given(st.one_of(st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.booleans(), st.none()))
@hypothesis_settings(deadline=None)
def test_scalars_read_as_ruamel_reads_them(value: float | bool | None) -> None:
    text = json.dumps(value).replace("-Infinity", "-.inf").replace("Infinity", ".inf")
    read = YAML(typ="safe", pure=True).load(f"a: {text}")["a"]
    assert scalar(text) == value
    if not (
        isinstance(value, float) and "e" in text and "." not in text
    ):  # ruamel takes 1e+16 for text, the schema does not
        assert scalar(text) == read
