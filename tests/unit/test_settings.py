"""Settings: defaults, every variable, and bad values by their names."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from api.parsers import Rate
from api.serving.supervisor import without_password
from api.settings import Settings, StartError, variable_name
from api.startup import check, settings_for_wsgi_server
from models.address import Address, UnixAddress
from models.tokens import Tokens


NOT_SOCKETS = [
    f"unix:{rest}" for rest in ("", "kv.sock", "//kv.sock", "/s?mode=", "/s?mode=888", "/s?mode=660&x=1", "/s#")
]
GOOD = {
    "redis_url": ("redis://user:secret@localhost:6380/2", "redis://user:secret@localhost:6380/2"),
    "key_prefix": ("", ""),
    "max_value_bytes": ("5", 5),
    "max_body_bytes": ("5", 5),
    "store_timeout_seconds": ("0.5", 0.5),
    "keep_alive_seconds": ("60", 60),
    "store_connections": ("3", 3),
    "unavailable_status": ("503", 503),
    "max_held_bytes": ("2000000", 2_000_000),
    "max_lists": ("5", 5),
    "max_watchers": ("5", 5),
    "delete_all": ("false", False),
    "tokens_file": ("/some/where.json", Path("/some/where.json")),
    "open": ("true", True),
    "hosts": ("KV.example,10.0.0.1,[fd00::1]", ("kv.example", "10.0.0.1", "[fd00::1]")),
    "rate_limit": ("100/minute", Rate(100, 60)),
    "cors_origins": ("https://a.example,http://b:8080", ("https://a.example", "http://b:8080")),
    "trusted_proxies": ("1", 1),
    "log_level": ("debug", "debug"),
    "log_format": ("text", "text"),
    "statsd_host": ("localhost:9125", Address("localhost", 9125)),
    "statsd_prefix": ("a.b", "a.b"),
    "bind": ("unix:/run/kv.sock?mode=660", UnixAddress("/run/kv.sock", 0o660)),
    "server": ("granian", "granian"),
    "trust_clients": ("true", True),
    "workers": ("3", 3),
    "data_dir": ("/some/where", Path("/some/where")),
    "durability": ("always", "always"),
    "max_memory_bytes": ("16777216", 16_777_216),
}
BAD = {
    "redis_url": [
        "",
        "nonsense",
        "http://localhost",
        "redis://",
        "redis://host:x",
        "redis://host:99999",
        "redis://host/x",
        "redis+cluster://",
        "redis+cluster://host/1",
        "redis+cluster://host?db=1",
        "redis+cluster://host,",
        "redis+cluster://host:0,other",
        "redis+cluster://host,other:x",
        "redis+cluster://host,u:p@other:1:2",
        "rediss+cluster://host",
        "redis+sentinel://host",
        "redis+sentinel://host/",
        "redis+sentinel://host/service/x",
        "redis+sentinel://host/service?password=x",
        "redis://host,other",
        "unix://",
        "unix://relative?db=0",
        "redis://host?decode_responses=true",
        "redis://host?db=x",
        "redis://host?ssl_cert_reqs=none",
        "rediss://host?ssl_min_version=1",
        "unix://data/s",
        "redis://[",
        "redis://host?db",
    ],
    "key_prefix": ["\udcff"],
    "max_value_bytes": ["", "0", "-1", "1.5", "x", "536870913"],
    "max_body_bytes": ["", "0", "x"],
    "store_timeout_seconds": ["", "0", "-1", "x", "61", "nan", "1e1"],
    "keep_alive_seconds": ["", "0", "3601", "1.5"],
    "store_connections": ["", "0", "x"],
    "unavailable_status": ["", "200", "502", "x"],
    "max_held_bytes": ["", "0", "1000000", "x"],
    "max_lists": ["", "0", "x"],
    "max_watchers": ["", "0", "3001", "x"],
    "delete_all": ["", "no", "0"],
    "open": ["", "yes", "1", "True"],
    "hosts": ["", "*,a", "a,", "a:80", "http://a", "*.a", "a b", "::1", "a."],
    "rate_limit": ["", "100", "0/second", "100/week", "100 per minute", "-1/day"],
    "cors_origins": ["", "*,https://a.example", "a.example", "https://a.example/", "https://*.example", "ftp://a"],
    "trusted_proxies": ["", "-1", "x"],
    "log_level": ["", "loud"],
    "log_format": ["", "xml"],
    "bind": [
        "",
        "localhost",
        "localhost:",
        ":5000",
        "localhost:65536",
        "::1:5000",
        "a b:1",
        "localhost:x",
        *NOT_SOCKETS,
    ],
    "statsd_host": ["", "localhost"],
    "statsd_prefix": ["", "a b", "a:b", "a.", "%"],
    "server": ["", "uwsgi"],
    "trust_clients": ["", "yes"],
    "tokens_file": [""],
    "data_dir": [""],
    "workers": ["", "0", "-1", "257", "x"],
    "durability": ["", "sometimes"],
    "max_memory_bytes": ["", "0", "16777215", "1g", "549755813889"],
}
NAMES = list(Settings.__dataclass_fields__)


def test_every_setting_has_cases() -> None:
    assert set(GOOD) == set(NAMES)
    assert set(NAMES) == set(BAD)


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({"PATH": "/bin", "OTHER_WORKERS": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("FLASKVSTORE_TOKEN_FILE", "Did you mean FLASKVSTORE_TOKENS_FILE?"),
        ("FLASKVSTORE_TOKENS", "Did you mean FLASKVSTORE_TOKENS_FILE?"),
        ("FLASKVSTORE_REDISURL", "Did you mean FLASKVSTORE_REDIS_URL?"),
        ("FLASKVSTORE_STORE_TIMEOUT", "Did you mean FLASKVSTORE_STORE_TIMEOUT_SECONDS?"),
        ("flaskvstore_bind", "Did you mean FLASKVSTORE_BIND?"),
        ("FLASKVSTORE_PORT", "The README lists all settings."),
        ("FLASKVSTORE_", "The README lists all settings."),
    ],
)
@pytest.mark.parametrize("value", ["", "5000"])
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest(name: str, hint: str, value: str) -> None:
    with pytest.raises(StartError) as caught:
        Settings.from_env({"PATH": "/bin", name: value})
    assert str(caught.value) == f"{name} is not a setting. {hint}"


@pytest.mark.parametrize("service", ["FLASKVSTORE", "FLASKVSTORE_PRIMARY", "FLASKVSTORE_A_1"])
def test_the_variables_of_the_client_and_of_kubernetes_are_left_alone(service: str) -> None:
    assert (
        Settings.from_env(
            {
                "FLASKVSTORE_URL": "http://127.0.0.1:5000",
                "FLASKVSTORE_TOKEN": "fkv_a_0",
                f"{service}_SERVICE_HOST": "10.0.0.1",
                f"{service}_SERVICE_PORT": "5000",
                f"{service}_SERVICE_PORT_HTTP": "5000",
                f"{service}_PORT": "tcp://10.0.0.1:5000",
                f"{service}_PORT_5000_TCP": "tcp://10.0.0.1:5000",
                f"{service}_PORT_5000_TCP_PROTO": "tcp",
                f"{service}_PORT_5000_TCP_PORT": "5000",
                f"{service}_PORT_5000_TCP_ADDR": "10.0.0.1",
            }
        )
        == Settings()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_sets_its_setting(name: str) -> None:
    text, value = GOOD[name]

    assert getattr(Settings.from_env({variable_name(name): text}), name) == value


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_refused_by_the_name_of_its_variable(name: str, text: str) -> None:
    with pytest.raises(StartError, match=f"^{variable_name(name)} .*must be"):
        Settings.from_env({variable_name(name): text})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[::1]:0", Address("::1", 0)),
        ("unix:/s", UnixAddress("/s", 0o600)),
        ("unix:///a b", UnixAddress("/a b", 0o600)),
        ("unix:/s?mode=0666", UnixAddress("/s", 0o666)),
    ],
)
def test_an_address_to_listen_on_has_several_forms(text: str, value: object) -> None:
    assert Settings.from_env({"FLASKVSTORE_BIND": text}).bind == value


def test_a_bad_url_is_not_shown_because_it_may_hold_a_password() -> None:
    with pytest.raises(StartError) as caught:
        Settings.from_env({"FLASKVSTORE_REDIS_URL": "http://user:secret@host"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:s3cr3t#x/rd@127.0.0.1:6399/0", "a URL without #: in a user name or password"),
        ("redis://h#", "a URL without #"),
        ("redis://:s3cr3t/x@h", "# / ? @ are written %23 %2F %3F %40"),
        ("redis://:s3cr3t?x@h", "# / ? @ are written %23 %2F %3F %40"),
        ("redis://:1?s3cr3t=s3cr3t@h", "# / ? @ are written %23 %2F %3F %40"),
        ("redis://:s3cr3t@h?protocol=3", "a URL without the option 'protocol': redis takes db"),
        ("redis://:s3cr3t@h?ssl_cert_reqs=none", "a URL without the option 'ssl_cert_reqs'"),
        ("redis+cluster://:s3cr3t@h?db=1", "a URL without the option 'db': redis+cluster takes none"),
        ("redis+sentinel://:s3cr3t@h/s?password=s3cr3t", "a URL without the option 'password'"),
        ("rediss://:s3cr3t@h?ssl_cert_reqs=None", "ssl_cert_reqs is one of none, optional, required"),
        ("rediss://:s3cr3t@h?ssl_check_hostname=off", "ssl_check_hostname is one of true, false"),
        ("rediss://:s3cr3t@h?ssl_ca_certs=", "ssl_ca_certs is an absolute path"),
        ("rediss://:s3cr3t@h?ssl_ca_path=certs", "ssl_ca_path is an absolute path"),
        ("rediss://:s3cr3t@h?ssl_keyfile=/k.pem", "ssl_keyfile comes with ssl_certfile"),
        ("redis://:s3cr3t@h/1?db=1", "a URL that says each thing once"),
        ("redis://:s3cr3t@h?db=1&db=2", "a URL that says each thing once"),
        ("redis://:s3cr3t@h/x", "a URL whose database is a number"),
    ],
)
def test_what_is_wrong_with_a_url_is_named_and_its_password_is_not(url: str, reason: str) -> None:
    with pytest.raises(StartError) as caught:
        Settings.from_env({"FLASKVSTORE_REDIS_URL": url})
    assert reason in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_ca_path", "ssl_certfile"])
def test_a_file_of_a_url_that_is_missing_stops_the_start(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "missing.pem"

    with pytest.raises(StartError) as caught:
        check(Settings(redis_url=f"rediss://:s3cr3t@h?{name}={missing}"))

    assert str(caught.value) == f"FLASKVSTORE_REDIS_URL has the option {name}, but {missing} cannot be read."
    if name == "ssl_ca_path":
        missing.mkdir()
    else:
        missing.touch()
    check(Settings(redis_url=f"rediss://:s3cr3t@h?{name}={missing}"))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_in_the_place_of_one_stops_the_start(tmp_path: Path, make: Callable[[Path], None]) -> None:
    # To read it would never end.
    make(tmp_path / "ca.pem")

    with pytest.raises(StartError, match=r"ca\.pem cannot be read"):
        check(Settings(redis_url=f"rediss://h?ssl_ca_certs={tmp_path / 'ca.pem'}"))


def test_every_web_page_is_let_in_with_tokens_or_if_that_is_meant(tmp_path: Path) -> None:
    Tokens(tmp_path / "tokens.json").create("a", namespace="ns", scopes=["read"])

    check(Settings(cors_origins=("*",), open=True))
    check(Settings(cors_origins=("*",), tokens_file=tmp_path / "tokens.json"))
    check(Settings(cors_origins=("https://a.example",)))
    with pytest.raises(StartError, match="FLASKVSTORE_CORS_ORIGINS"):
        check(Settings(cors_origins=("*",)))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:s3cr3t@h:1/2?db=2", "redis://h:1/2"),
        ("valkey://h", "valkey://h"),
        ("unix:/run/kv.sock?db=1", "unix:///run/kv.sock"),
        ("unix://u:s3cr3t@/run/kv.sock", "unix:///run/kv.sock"),
        ("redis+sentinel://:s3cr3t@h/s?sentinel_password=s3cr3t%40", "redis+sentinel://h/s"),
    ],
)
def test_the_ready_line_shows_a_url_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_wsgi_server_needs_a_url(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FLASKVSTORE_REDIS_URL", raising=False)

    with pytest.raises(SystemExit) as caught:
        settings_for_wsgi_server()

    assert caught.value.code == 4
    assert "FLASKVSTORE_REDIS_URL is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "REDIS://h",
        "valkey://h:1/0",
        "valkeys://h?ssl_check_hostname=false",
        "valkey+cluster://h,other",
        "valkey+sentinel://h/service",
        "unix:/s",
        "unix:/s?db=1",
        " redis://h\n",
        "redis://u:%23%2F%3F%40@h",
        "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_cert_reqs=optional",
        "redis://h:1/0",
        "rediss://h?ssl_cert_reqs=none",
        "unix:///s?db=1",
        "unix://u:p@/s",
        "redis://[::1]:1",
        "redis+cluster://h",
        "redis+cluster://u:p@h,other:7000,[::1]:7001",
        "redis+sentinel://h/service",
        "redis+sentinel://u:p@h:1,other/service/3?sentinel_username=u&sentinel_password=p",
    ],
)
def test_the_usual_forms_of_a_url_are_taken(url: str) -> None:
    assert Settings.from_env({"FLASKVSTORE_REDIS_URL": url}).redis_url == url
