"""How the server is reached: addresses, proxies, certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.bootstrap import Bootstrap, resolve
from medagent.config.in_force import describe_start
from medagent.config.link import without_password
from medagent.config.options import Flags
from medagent.errors import ConfigError
from medagent.testing.certificates import Authority

SERVER = {
    "MEDAGENT_BASE_URL": "https://fhir.example.org/",
    "MEDAGENT_CLIENT_ID": "c",
    "MEDAGENT_CLIENT_SECRET": "s",
    "MEDAGENT_AGENT_ID": "a",
}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("", ""),
        ("none", "none"),
        ("NONE", "none"),
        ("http://proxy.example.org:3128", "http://proxy.example.org:3128"),
        ("http://u:p@[::1]:3128/", "http://u:p@[::1]:3128/"),
        ("proxy:3128", "proxy:3128"),
    ],
)
def test_proxies(given: str, used: str) -> None:
    bootstrap = resolve(Flags(), {**SERVER, "MEDAGENT_PROXY": given})
    assert bootstrap.proxy == used
    assert bootstrap.warnings == ()


@pytest.mark.parametrize(
    "given", ["https://u:hush@x", "socks5://u:hush@x", "http://u:hush@x:port", "http://u:hush@x/path", "http://[u:hush"]
)
def test_no_proxies(given: str) -> None:
    with pytest.raises(ConfigError, match="--proxy: not the address of an HTTP proxy") as caught:
        resolve(Flags(proxy=given), SERVER)
    assert "hush" not in str(caught.value)


def test_a_password_of_a_proxy_is_not_shown_and_warned_of_on_the_command_line() -> None:
    bootstrap = resolve(Flags(proxy="http://u:hush@x:1"), SERVER)
    assert bootstrap.proxy == "http://u:hush@x:1"
    (warning,) = bootstrap.warnings
    assert "MEDAGENT_PROXY" in warning
    assert "hush" not in warning + repr(bootstrap) + repr(Flags(proxy="http://u:hush@x:1"))


@pytest.mark.parametrize(
    ("environ", "proxy", "origin"),
    [
        ({"HTTPS_PROXY": "http://u:hush@proxy:3128"}, "http://u:hush@proxy:3128", "HTTPS_PROXY"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128", "https_proxy"),
        ({"ALL_PROXY": "http://proxy"}, "http://proxy:80", "ALL_PROXY"),
        ({"HTTP_PROXY": "http://proxy"}, "", None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "example.org"}, "none", "NO_PROXY"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "example.com"}, "http://proxy:80", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://proxy", "MEDAGENT_PROXY": "none"}, "none", "MEDAGENT_PROXY"),
        ({"HTTPS_PROXY": "http://proxy", "MEDAGENT_PROXY": "http://mine:1"}, "http://mine:1", "MEDAGENT_PROXY"),
    ],
)
def test_the_proxy_of_the_environment_is_known_by_its_variable(environ: dict[str, str], proxy: str, origin: str | None) -> None:
    bootstrap = resolve(Flags(), SERVER | environ)
    assert (bootstrap.proxy, bootstrap.origins.get("proxy")) == (proxy, origin)
    assert "hush" not in str(describe_start(bootstrap))


def test_a_faulty_proxy_of_the_environment_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY: not the address of an HTTP proxy") as caught:
        resolve(Flags(), SERVER | {"HTTPS_PROXY": "socks5://u:hush@x"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("none", "none"),
        ("http://x:1", "http://x:1"),
        ("http://u:p@x:1/", "http://***@x:1"),
        ("http://token@x", "http://***@x"),
        ("http://u:p@q@[::1]:1", "http://***@[::1]:1"),
        ("u:p@x:1", "http://***@x:1"),
    ],
)
def test_what_is_shown_of_a_proxy(url: str, shown: str) -> None:
    assert without_password(url) == shown


def file(folder: Path, name: str, text: str, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def started_with(certificate: Path, key: Path | None = None) -> Bootstrap:
    return resolve(Flags(client_cert_file=certificate, client_key_file=key), SERVER)


def test_a_private_key_that_others_can_read_is_warned_of(authority: Authority, tmp_path: Path) -> None:
    texts = [path.read_text() for path in authority.issue("agent")]
    certificate = file(tmp_path, "cert.pem", texts[0], 0o644)
    key = file(tmp_path, "key.pem", texts[1])
    both = file(tmp_path, "both.pem", "".join(texts))
    for wanted in (started_with(certificate, key), started_with(both)):
        assert wanted.warnings == ()
    key.chmod(0o640)
    both.chmod(0o604)
    assert "key.pem" in started_with(certificate, key).warnings[0]
    assert "both.pem" in started_with(both).warnings[0]


def test_files_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Flags(ca_file=tmp_path, client_cert_file=tmp_path / "cert.pem"), SERVER)
    assert str(caught.value).splitlines()[1:] == [
        f"  - --ca-file: {tmp_path}: Is a directory",
        f"  - --client-cert-file: {tmp_path / 'cert.pem'}: No such file or directory",
    ]


def test_files_must_hold_what_they_are_for(authority: Authority, tmp_path: Path) -> None:
    text = file(tmp_path, "text.pem", "hello")
    certificate, key = authority.issue("agent")
    _, other = authority.issue("other")
    environ = {**SERVER, "MEDAGENT_CA_FILE": str(text)}
    for flags, faults in (
        (Flags(client_cert_file=certificate, client_key_file=key), []),
        (Flags(client_cert_file=certificate), [f"--client-cert-file: {certificate}: no usable PEM file of a certificate with"]),
        (Flags(client_key_file=key), ["--client-key-file: a key without its certificate"]),
        (
            Flags(client_cert_file=certificate, client_key_file=other),
            [f"--client-cert-file: {certificate} and {other}: the key is not the certificate's"],
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve(flags, environ)
        lines = str(caught.value).splitlines()[1:]
        wanted = [f"MEDAGENT_CA_FILE: {text}: no usable PEM file of certificates", *faults]
        assert [line.startswith(f"  - {start}") for line, start in zip(lines, wanted, strict=True)] == [True] * len(wanted)
