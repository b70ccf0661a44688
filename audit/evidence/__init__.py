"""The evidence bundle: a zip that an auditor takes away and verifies without us.

    README.txt  MANIFEST.sha256  MANIFEST.dsse.json  verify.pyz
    trust/       policy.tlog log.vkey log.pub.pem decision.pub.pem keys.jsonl allowed_signers   (copies, to compare)
    log/         a complete tlog-tiles tree (checkpoint, tile/…, tile/entries/…), checkpoints/<size>,
                 proofs/<index>.tlog-proof
    delegations/ index.jsonl, <hex of the id>.json (the signed bytes) and .sig (a person's SSH signature)
    votes/       index.jsonl, <index>.json (the signed statement) and .sig
    openings/    openings.jsonl: every commitment in the log, with what opens it while it is held
    views/       entries.jsonl, grants.jsonl: derived, for reading
    <section>/   what other rooms register

Stored, sorted, without times (``imprimatur.formats.evidence_zip``): the same log and the same openings give the same
bytes. Trust anchors never come from the bundle.
"""
