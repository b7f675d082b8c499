"""Attacks in short: nothing is found, and the guard lets nothing off this machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.hardening.attack import Attack
from tests.hardening.attacks import ATTACKS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_finds_nothing(attack: Attack) -> None:
    tally = attack.run(attack.short, 1)
    assert tally.findings == []
    assert tally.tried >= attack.short


#: Tries what may and what may not be reached.
REACH = """
import socket
from tests.hardening.guard import ForeignConnection, install
install()
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname()).close()
socket.getaddrinfo("localhost", 80)
v4, v6 = socket.socket(), socket.socket(socket.AF_INET6)
for reach, address in [
    (v4.connect, ("192.0.2.1", 80)),
    (v4.connect_ex, ("192.0.2.1", 80)),
    (v6.connect, ("2001:db8::1", 80)),
    (socket.create_connection, ("example.com", 80)),
    (socket.create_connection, ("192.0.2.1", 80)),
    (socket.gethostbyname, "example.com"),
]:
    try:
        reach(address)
    except ForeignConnection:
        continue
    raise SystemExit(f"{address} was reached for")
"""


def test_the_guard_refuses_everything_but_this_machine() -> None:
    done = subprocess.run([sys.executable, "-c", REACH], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_attack_has_a_name_of_its_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
