"""Hostile URLs in every place that names an image: one error each, and nobody is reached.

Every surface is tried as it is by default, and with public hosts and private ones allowed. Public
hosts, to which harmless forms lead, are stand-ins.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from tests.hardening.attack import Attack, Tally
from tests.hardening.network import PUBLIC, Network, open_network
from tests.hardening.surfaces import (
    STRIDE,
    Access,
    FrameworkRefusalError,
    RefusalError,
    Surface,
    check_text,
    in_time,
    open_surfaces,
)
from tests.hardening.url_forms import ALLOWED_HOSTS, UrlForm, forms

#: What developers allow; public URLs of all hosts are an option of servers alone.
ACCESSES = (
    Access(),
    Access(hosts=ALLOWED_HOSTS),
    Access(hosts=ALLOWED_HOSTS, urls=True),
)


def outcome(form: UrlForm, surface: Surface, access: Access, network: Network) -> str:
    """Send a URL to a surface, and return how it was refused.

    Raises:
        AssertionError: It was accepted, or reached somebody.
    """
    network.begin(form.location.encode(errors="replace"))
    try:
        answer = in_time(lambda: surface.send(form.url))
    except FrameworkRefusalError:
        refusal = "refused by the framework"
    except RefusalError as error:
        check_text(str(error))
        if "secret" in str(error):
            raise AssertionError(f"a password is shown: {error}") from error
        refusal = "refused"
    else:
        raise AssertionError(f"accepted: {answer!r}")
    if not network.contacts:
        return refusal
    if not (form.harmless_in_browsers if surface.browser_urls else form.harmless):
        raise AssertionError(f"connections to {network.contacts}")
    reached = {address for address, _ in network.contacts}
    if not reached <= _may_reach(surface, access):
        raise AssertionError(f"connections to {network.contacts}")
    return "refused by the public host that it names"


def _may_reach(surface: Surface, access: Access) -> set[str]:
    if surface.urls == "all":
        return set(PUBLIC.values())
    if surface.urls == "allowed":
        return {PUBLIC[host] for host in access.hosts if host in PUBLIC}
    return set()


def _forms(port: int) -> list[UrlForm]:
    """Return all forms with the port of the listener."""
    return [
        replace(
            form,
            url=form.url.replace("PORT", str(port)),
            location=form.location.replace("PORT", str(port)),
        )
        for form in forms()
    ]


def attack(count: int, seed: int) -> Tally:
    """Send the forms to surfaces in turn, each form to another surface in each round."""
    tally = Tally()
    with open_network() as network, ExitStack() as stack:
        targets = [
            (access, surface)
            for access in ACCESSES
            for surface in stack.enter_context(open_surfaces(access))
            if not access.urls or surface.name.startswith("server")
        ]
        all_forms = _forms(network.port)
        for number in range(count):
            turn, place = divmod(number, len(all_forms))
            form = all_forms[place]
            access, surface = targets[(STRIDE * turn + place + seed) % len(targets)]
            what = f"{surface.name}, {_describe(access)}: {form.url[:200]!r}"
            what += f" to {form.location[:100]!r}" if form.location else ""
            tally.add(partial(outcome, form, surface, access, network), what)
    if network.accepted:
        tally.findings.append(f"the listener on this machine had {network.accepted} connections")
    return tally


def _describe(access: Access) -> str:
    return "URLs allowed" if access.urls else "hosts allowed" if access.hosts else "by default"


ATTACK = Attack(
    "urls",
    "hostile URLs in messages, calls of tools, bodies of servers, command lines",
    attack,
    35_280,
    588,
)
