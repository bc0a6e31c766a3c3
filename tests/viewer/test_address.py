"""Where the page may listen, and what is said where it may not."""

import socket

import pytest

from viewer.address import address_of, free_port


def test_a_port_in_use_is_stepped_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) <= port + 100


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 100_000, "1 to 65535"),
        ("127.0.0.1", -1, "1 to 65535"),
        ("127.0.0.1", 0, "1 to 65535"),
        ("300.1.1.1", 8080, "--host 300.1.1.1"),
        ("192.0.2.77", 8080, "not an address of this machine"),
        ("", 8080, "--host"),
    ],
)
def test_nonsense_is_refused_at_once(host, port, words):
    with pytest.raises(ValueError, match=words):
        free_port(host, port)


def test_addresses_are_those_a_browser_takes():
    assert address_of("127.0.0.1", 80) == address_of("0.0.0.0", 80) == address_of("::", 80) == "http://localhost:80"
    assert address_of("fe80::1", 81) == "http://[fe80::1]:81" and address_of("box", 82) == "http://box:82"
