"""Commands to append entries with, and shorthands the tests of the log share."""

from __future__ import annotations

from dataclasses import dataclass

from audit import log
from audit.log import Appended, Writer

FOUNDER = log.SYSTEM  # only the founding may add people without an admin, which keeps these histories short


@dataclass(frozen=True)
class AddPerson:
    person: str = "pe_rui"
    name: str = "Rui"


def add_person(writer: Writer, command: AddPerson) -> Appended:
    return writer.append(
        "person.added",
        subject=command.person,
        actor=FOUNDER,
        body={"person": command.person, "name": command.name, "roles": ["reviewer"]},
    )


@dataclass(frozen=True)
class Poison:
    pass


def poison(writer: Writer, command: Poison) -> None:
    add_person(writer, AddPerson("pe_poison"))
    raise ValueError("poison")


def append(count: int, prefix: str = "pe_") -> list[Appended]:
    """Append this many entries, each in a transaction of its own."""
    return [log.commit(add_person, AddPerson(f"{prefix}{number}", f"Person {number}")) for number in range(count)]


def append_together(count: int, prefix: str = "many_") -> None:
    """Append this many entries in one transaction."""
    log.run_batch([(add_person, AddPerson(f"{prefix}{number}", f"Person {number}")) for number in range(count)])
