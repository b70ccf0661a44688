"""README.txt of a bundle: how to verify it, in commands that work as they stand."""

from __future__ import annotations

import textwrap
from typing import Any

from audit.evidence import words
from audit.evidence.source import Source
from imprimatur.formats.timestamps import parse_time

TEXT = """\
EVIDENCE BUNDLE OF {realm}
{underline}

{about}
Run the commands below in the folder into which you unzipped this bundle. They use tools that we did not write, except
in step 6. CLAIMS.html says in plain words what all this shows, and REPORT.html what happened: begin there.

Trust nothing in trust/ by itself: it is a copy. Compare it with what you were given by another way, when you were
given the keys of this installation.


1. The files are complete and unchanged  (any sha256sum)

    sha256sum -c MANIFEST.sha256

   MANIFEST.dsse.json is the same list as an in-toto Statement in a DSSE envelope, signed with the decision key.


2. The log signed this checkpoint  (OpenSSL 3)

    sed '/^$/,$d' log/checkpoint > checkpoint.body
    grep '^— ' log/checkpoint | head -n 1 | cut -d ' ' -f 3 | base64 -d | tail -c +5 > checkpoint.sig
    openssl pkeyutl -verify -pubin -inkey trust/log.pub.pem -rawin -in checkpoint.body -sigfile checkpoint.sig

   The three lines of checkpoint.body are the log's name, its number of entries and the root of its Merkle tree
   (C2SP tlog-checkpoint). Go's golang.org/x/mod/sumdb/note reads log/checkpoint and trust/log.vkey as they are.


{tree}


4. A person signed a delegation  (OpenSSH 9)

{delegation}

   delegations/index.jsonl lists all of them with the time of their entry. trust/allowed_signers says whose keys were
   good from when to when; no key of an agent or of the server is in it.


5. What was launched is what was signed  (sha256sum, OpenSSH 9)

{launched}

   Each line of launches/, monitor/ and canaries/statements/*.jsonl is a DSSE envelope with an in-toto Statement: any
   DSSE library verifies it with the service's key, which trust/keys.jsonl has. oscal/ fits the schemas that NIST
   publishes (check-jsonschema --schemafile oscal_assessment-results_schema.json oscal/assessment-results.json).


6. Everything at once  (Python 3.11, nothing to install)

    python3 verify.pyz BUNDLE.zip --trust trust.json

   Give it the zip itself and the trust.json you hold. It applies every rule to every entry, and says what it cannot
   tell: without --trust that is whatever rests on a key. This copy came with the bundle; if that is not good enough,
   take it from our releases: it is the package `imprimatur` in one file.


7. Who took this bundle, and when

   The log says so itself: the entry bundle.issued. Where you got the bundle, take its proof (bundle-ID.tlog-proof) and
   its bytes (bundle-ID.entry.json) as well. The entry names the list of files that you just checked:

    grep -o '"payload":"[^"]*"' bundle-*.entry.json | cut -d '"' -f 4 | base64 -d | grep -o '"manifest":"sha256:[^"]*"'
    sha256sum MANIFEST.sha256

   The proof shows that entry in the log: the leaf is SHA-256 over a zero byte and the bytes of the entry, and the
   checkpoint in the proof verifies as in step 2. Any C2SP tlog-proof tool does both.


What is in here

    CLAIMS.html   what this shows, claim by claim, for reading in a browser; claims.json is the same for programs
    REPORT.html   what happened, for reading in a browser
    SELECTION.json  what this bundle was asked to show
    log/          {log}
    trust/        copies of the keys: keys.jsonl has every key there ever was
    delegations/  every delegation, as signed
    votes/        every vote, as signed
    openings/     {openings}
    views/        the log in readable lines; derived, not signed
{sections}

What this bundle does not prove

{missing}    - That the log is the only one: for that, compare its checkpoint with what others hold.
    - What an agent did without asking. Each decision states its enforcement level, from E0 (the agent's own wrapper)
      to E3 (the resource itself checks the receipt).
    - That reported outcomes are true: an agent reports its own.
    - What erased or withheld parameters said. Their commitments stay in the log.
"""


WHOLE = """\
The complete log of what the agents of this installation asked, who answered, and what was executed:
{size} entries, up to the checkpoint in log/checkpoint.
"""
SELECTED = """\
A selection from the log of what the agents of this installation asked, who answered, and what was executed.
{chosen}

{completeness}
"""
WHOLE_TREE = """\
3. The log holds exactly these entries  (any C2SP tlog-tiles or RFC 6962 tool)

   log/ is a tlog-tiles tree: tessera's fsck, golang.org/x/mod/sumdb/tlog or transparency-dev/merkle compute the root
   of log/tile/entries/ again and compare it with the checkpoint. log/proofs/ has one tlog-proof per entry that
   changed somebody's authority. Compare the checkpoint with one that a witness or a colleague holds."""
SELECTED_TREE = """\
3. Each entry that is here stands in the log  (sha256sum, and any C2SP tlog-tiles or RFC 6962 tool)

   log/selected.jsonl has one line per entry: its index, and its exact bytes in base64. The hash tiles of the whole log
   are in log/tile/. The hash of entry 0 must be the first 32 bytes of its tile:

    entry=$(head -n 1 log/selected.jsonl | cut -d '"' -f 4)
    (printf '\\000'; printf %s "$entry" | base64 -d) | sha256sum | cut -d ' ' -f 1
    tile=$(find log/tile/0/000* -type f | head -n 1)
    head -c 32 "$tile" | od -An -v -tx1 | tr -d ' \\n'; echo

   The two lines are the same. Tools that read tiles (golang.org/x/mod/sumdb/tlog, transparency-dev/merkle) compute the
   root of log/tile/ and prove every other index; log/proofs/ has one tlog-proof per entry that changed somebody's
   authority. Compare the checkpoint with one that a witness or a colleague holds."""


def text(
    source: Source, sections: dict[str, str], signed: dict[str, Any] | None, launched: dict[str, Any] | None
) -> str:
    """The README. ``signed`` is the newest line of the delegations' index that a person signed with an SSH key, and
    ``launched`` that of the launches' whose layers people signed."""
    chosen = "; ".join(words.chosen(source.filters))
    completeness = words.completeness(source.filters, source.size, source.shown)
    shown = source.filters.get("openings", True)
    about = WHOLE.format(size=source.size) + ("" if shown else "It was asked for without openings.\n")
    if not source.whole:
        about = SELECTED.format(chosen=_wrapped(f"Asked for: {chosen}."), completeness=_wrapped(completeness))
    return TEXT.format(
        realm=source.realm,
        underline="=" * (len(source.realm) + 19),
        about=about,
        tree=WHOLE_TREE if source.whole else SELECTED_TREE,
        log="the log: tiles, entries, checkpoints, proofs"
        if source.whole
        else "the hashes of the log, the chosen entries, checkpoints, proofs",
        openings="the parameters and reasons behind the commitments in the log, unless they were erased or withheld"
        if shown
        else "the commitments in the log; what opens them was left out",
        missing="" if source.whole else MISSING,
        delegation=_delegation(signed),
        launched=_launched(launched),
        sections="".join(f"    {name + '/':<13} {about}\n" for name, about in sections.items()),
    )


MISSING = """\
    - Anything about the entries that were left out. That they are about other requests is what the server says, and
      claims over all entries do not hold.
"""


def _wrapped(said: str) -> str:
    return textwrap.fill(said, 116, break_long_words=False, break_on_hyphens=False)


def _delegation(signed: dict[str, Any] | None) -> str:
    if signed is None:
        return "   No delegation in this log carries a person's SSH signature."
    file = signed["file"]
    when = f"{parse_time(signed['time']):%Y%m%d%H%M%SZ}"
    return (
        f"    ssh-keygen -Y verify -f trust/allowed_signers -I {signed['issuer']} -n imprimatur-delegation-v1 \\\n"
        f"        -O verify-time={when} -s {file.removesuffix('.json')}.sig \\\n"
        f"        < {file}"
    )


def _launched(launched: dict[str, Any] | None) -> str:
    if launched is None:
        return "   No launch is in this log."
    layer = next(layer for layer in launched["layers"] if "person" in layer)
    when = f"{parse_time(launched['time']):%Y%m%d%H%M%SZ}"
    return (
        f"    sha256sum {launched['effective']}\n"
        f"    ssh-keygen -Y verify -f trust/allowed_signers -I {layer['person']} -n imprimatur-config-v1 \\\n"
        f"        -O verify-time={when} \\\n"
        f"        -s {layer['signature']} \\\n"
        f"        < {layer['file']}\n\n"
        "   The digest of the first file is its own name, and the subject of what the orchestrator signed."
    )
