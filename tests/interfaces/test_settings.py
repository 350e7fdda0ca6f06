"""The environment becomes settings, or one error that says everything that is wrong."""

import re
from pathlib import Path

import pytest

from domain.transparency.note import COSIGNATURE_V1, VerifierKey
from interfaces.environment import Environment, SettingsInvalid
from interfaces.settings import Settings, read

EXAMPLE = Path(__file__).parents[2] / ".env.example"
PRODUCTION = {
    "LINK_DATABASE_URL": "postgresql://link:secret@db.internal/link",
    "LINK_REDIS_URL": "rediss://cache.internal:6379/0",
    "LINK_ISSUER": "https://id.example.com",
    "LINK_PALM_VENDOR_URL": "https://palm.example.com",
    "LINK_OTP_CHANNEL": "smtp",
    "LINK_SMTP_HOST": "mail.internal",
    "LINK_SMTP_SENDER": "verify@example.com",
}


def test_an_empty_environment_gives_a_development_set_up_on_loopback() -> None:
    settings = Settings.from_environment({})
    assert settings.development
    assert settings.database_url is None
    assert settings.redis_url is None
    assert (settings.public_host, settings.device_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.issuer == "https://localhost:8443"
    assert settings.keys.file == Path(".link-identity/keys/master.key")
    assert any("Development mode" in notice for notice in settings.notices())


def test_the_default_issuer_and_key_file_follow_what_is_set() -> None:
    settings = Settings.from_environment({"LINK_PUBLIC_PORT": "9443", "LINK_DATA_DIR": "/srv/link"})
    assert settings.issuer == "https://localhost:9443"
    assert settings.keys.file == Path("/srv/link/keys/master.key")
    assert not settings.keys.file_given


def test_a_key_file_that_is_named_is_not_one_to_be_made() -> None:
    settings = Settings.from_environment({"LINK_KEY_FILE": "/etc/link/master.key"})
    assert settings.keys.file == Path("/etc/link/master.key")
    assert settings.keys.file_given


def test_external_servers_end_development_mode() -> None:
    settings = Settings.from_environment(PRODUCTION)
    assert not settings.development
    assert settings.notices() == []
    assert settings.smtp is not None
    assert (settings.smtp.host, settings.smtp.port) == ("mail.internal", 587)


def test_development_mode_can_be_asked_for_beside_external_servers() -> None:
    given = {"LINK_DATABASE_URL": "postgresql://db/link", "LINK_DEVELOPMENT": "true"}
    assert Settings.from_environment(given).development


def test_a_listener_beyond_loopback_ends_development_mode() -> None:
    with pytest.raises(SettingsInvalid, match="LINK_ISSUER is not set"):
        Settings.from_environment({"LINK_DEVICE_HOST": "0.0.0.0"})  # noqa: S104 - never bound


def test_outside_development_nothing_falls_back_to_a_development_default() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment({"LINK_DEVELOPMENT": "false"})
    named = {problem.split()[0] for problem in refused.value.problems}
    assert named == {"LINK_ISSUER", "LINK_PALM_VENDOR_URL", "LINK_OTP_CHANNEL"}


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.from_environment({"LINK_DATABASE_URL": " "}).database_url is None


def test_a_typo_is_an_error_that_names_the_nearest_variable() -> None:
    with pytest.raises(SettingsInvalid, match=r"LINK_PUBLC_PORT .* did you mean LINK_PUBLIC_PORT"):
        Settings.from_environment({"LINK_PUBLC_PORT": "8443"})


def test_variables_of_others_are_left_alone() -> None:
    assert Settings.from_environment({"LINKER": "x", "PATH": "/bin"}).development


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINK_PUBLIC_PORT", "0"),
        ("LINK_PUBLIC_PORT", "65536"),
        ("LINK_PUBLIC_PORT", "-1"),
        ("LINK_PUBLIC_PORT", "\u0664"),
        ("LINK_PUBLIC_PORT", "8444"),
        ("LINK_POSTGRES_PORT", "http"),
        ("LINK_PUBLIC_HOST", "no such host"),
        ("LINK_ISSUER", "http://id.example.com"),
        ("LINK_ISSUER", "https://id.example.com/"),
        ("LINK_ISSUER", "https://user@id.example.com"),
        ("LINK_ISSUER", "https://id.example.com:port"),
        ("LINK_TRUST_DOMAIN", "Link.example"),
        ("LINK_DATABASE_URL", "mysql://db/link"),
        ("LINK_REDIS_URL", "cache.internal"),
        ("LINK_DEVICE_URL", "http://gate.example.com"),
        ("LINK_PALM_VENDOR_URL", "ftp://palm"),
        ("LINK_OTP_CHANNEL", "pigeon"),
        ("LINK_DEVELOPMENT", "perhaps"),
        ("LINK_EGRESS_ALLOW", "10.0.0.0/8,#"),
        ("LINK_SMS_HEADERS", "not json"),
        ("LINK_SMTP_RECIPIENT", "someone@example.com"),
        ("LINK_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment({"LINK_DEVELOPMENT": "true", name: value})
    other = "LINK_DEVICE_PORT" if value == "8444" else name
    assert any(problem.startswith(other) for problem in refused.value.problems)


def test_every_problem_is_told_at_once_with_what_was_found_and_what_was_wanted() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment({"LINK_PUBLIC_PORT": "abc", "LINK_LOG_LEVEL": "loud"})
    assert refused.value.problems == (
        'LINK_PUBLIC_PORT is "abc"; wanted a whole number from 1 to 65535.',
        'LINK_LOG_LEVEL is "loud"; wanted one of debug, info, warning, error.',
    )


@pytest.mark.parametrize(
    ("channel", "missing"),
    [
        ("smtp", {"LINK_SMTP_HOST", "LINK_SMTP_SENDER"}),
        ("sms_http", {"LINK_SMS_URL", "LINK_SMS_BODY"}),
    ],
)
def test_a_channel_demands_its_own_variables(channel: str, missing: set[str]) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment({"LINK_OTP_CHANNEL": channel})
    assert {problem.split()[0] for problem in refused.value.problems} == missing


def test_the_sms_gateway_is_read_whole() -> None:
    settings = Settings.from_environment(
        {
            "LINK_OTP_CHANNEL": "sms_http",
            "LINK_SMS_URL": "https://sms.example.com/send",
            "LINK_SMS_BODY": "to={to}&text={text}",
            "LINK_SMS_CONTENT_TYPE": "application/x-www-form-urlencoded",
            "LINK_SMS_HEADERS": '{"X-Api-Key":"k"}',
        }
    )
    assert settings.sms is not None
    assert settings.sms.headers == {"X-Api-Key": "k"}
    assert settings.smtp is None


@pytest.mark.parametrize("name", ["LINK_DATABASE_URL", "LINK_REDIS_URL", "LINK_SMS_HEADERS"])
def test_a_wrong_secret_is_not_repeated_in_the_error(name: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment({"LINK_DEVELOPMENT": "true", name: "hunter2"})
    assert name in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_settings_do_not_show_their_secrets_when_printed() -> None:
    given = PRODUCTION | {"LINK_PALM_VENDOR_KEY": "hunter2", "LINK_SMTP_PASSWORD": "hunter3"}
    settings = Settings.from_environment(given)
    shown = f"{settings!r} {settings.smtp!r}"
    assert "secret" not in shown
    assert "hunter" not in shown


def test_the_example_file_lists_every_variable_with_its_default() -> None:
    env = Environment({})
    read(env)
    documented = dict(
        re.findall(
            r"^(#?(?:LINK|PLATFORM_ADMIN)_\w+)=(.*)$",
            EXAMPLE.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    assert {name.removeprefix("#") for name in documented} == set(env.known)
    for name, default in env.known.items():
        if default is None:
            assert f"#{name}" in documented, f"{name} has no default and must be commented out"
        else:
            assert documented.get(name) == default


def test_the_example_file_as_it_stands_is_a_valid_environment() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line.startswith("LINK_"))
    assert Settings.from_environment(given) == Settings.from_environment({})


def test_the_compose_file_sets_no_variable_that_does_not_exist() -> None:
    env = Environment({})
    read(env)
    named = set(re.findall(r"LINK_\w+", (EXAMPLE.parent / "docker-compose.yml").read_text()))
    assert named
    assert named <= set(env.known)


WITNESS = VerifierKey("witness.example/w1", bytes(32), COSIGNATURE_V1).vkey()
OTHER = VerifierKey("witness.example/w2", bytes(31) + b"\1", COSIGNATURE_V1).vkey()


def test_witnesses_and_how_many_must_cosign() -> None:
    assert Settings.from_environment({}).witnesses == ()
    assert Settings.from_environment({}).witnesses_required == 0
    two = f"{WITNESS} http://127.0.0.1:9500, {OTHER} https://w.example/two"
    settings = Settings.from_environment({"LINK_WITNESSES": two})
    assert [witness.key.vkey() for witness in settings.witnesses] == [WITNESS, OTHER]
    assert settings.witnesses[1].url == "https://w.example/two"
    assert settings.witnesses_required == 2
    one = {"LINK_WITNESSES": two, "LINK_WITNESSES_REQUIRED": "1"}
    assert Settings.from_environment(one).witnesses_required == 1


@pytest.mark.parametrize(
    "given",
    [
        {"LINK_WITNESSES": WITNESS},
        {"LINK_WITNESSES": f"{WITNESS} ftp://w.example"},
        {"LINK_WITNESSES": f"{WITNESS} https://w.example/"},
        {"LINK_WITNESSES": f"{VerifierKey('w', bytes(32)).vkey()} https://w.example"},
        {"LINK_WITNESSES": f"{WITNESS[:-2]}BB https://w.example"},
        {"LINK_WITNESSES": f"{WITNESS} https://a.example, {WITNESS} https://b.example"},
        {"LINK_WITNESSES": f"{WITNESS} https://a.example", "LINK_WITNESSES_REQUIRED": "0"},
        {"LINK_WITNESSES": f"{WITNESS} https://a.example", "LINK_WITNESSES_REQUIRED": "2"},
        {"LINK_WITNESSES_REQUIRED": "1"},
        PRODUCTION | {"LINK_WITNESSES": f"{WITNESS} http://w.example"},
        {"LINK_LOG_ORIGIN": "https://id.example.com"},
        {"LINK_LOG_ORIGIN": "id.example.com/"},
        {"LINK_LOG_ORIGIN": "id example"},
    ],
)
def test_witnesses_and_origins_that_make_no_sense(given: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid, match=r"LINK_(WITNESSES|LOG_ORIGIN)"):
        Settings.from_environment(given)


TOKEN = {
    "LINK_PKCS11_MODULE": "/usr/lib/softhsm/libsofthsm2.so",
    "LINK_PKCS11_TOKEN": "link",
    "LINK_PKCS11_PIN_FILE": "/etc/link/pin",
}


@pytest.mark.parametrize("keeper", ["file", "token"])
def test_a_token_is_known_whichever_keeper_makes_new_keys(keeper: str) -> None:
    keys = Settings.from_environment({"LINK_KEY_KEEPER": keeper, **TOKEN}).keys
    assert keys.keeper == keeper
    assert keys.token is not None
    assert (keys.token.token, keys.token.pin_file) == ("link", Path("/etc/link/pin"))


@pytest.mark.parametrize(
    "given", [{"LINK_KEY_KEEPER": "token"}, *({k: v} for k, v in TOKEN.items())]
)
def test_a_token_that_is_half_described_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment(given)
    for name in TOKEN.keys() - given.keys():
        assert f"{name} is not set" in str(refused.value)
