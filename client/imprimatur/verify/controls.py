"""Which NIST SP 800-53 rev 5 control is served by what here, how that is checked, and what it does not show.

One list for the bundle (OSCAL), the verifier, the pages and the form with which a bundle is asked for. Titles are
NIST's own words. Requirements of the OWASP AI Security Verification Standard are those of chapter C9 in AISVS 1.0.

A need is evidence that somebody asks for; its controls share what answers it. `checked by` is never prose alone: each
claim, rule, canary and path that is named here exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CATALOG = "NIST SP 800-53 rev 5"
AISVS = "OWASP AISVS 1.0"

_VERIFY = "python3 verify.pyz BUNDLE.zip --trust trust.json"
_FILES = "sha256sum -c MANIFEST.sha256"


@dataclass(frozen=True, slots=True)
class Need:
    """Evidence that is asked for, and what here answers it.

    ``artefacts`` are files of a bundle, or folders (with a slash at the end). ``claims`` are the verifier's, ``rules``
    the numbers in `rulebook`, ``canaries`` the attempts in `rules.canaries`. ``rests_on`` are the statements of the
    claims page whose verdicts say how it stands now. ``kinds`` are the entries to read. ``aisvs`` are requirements of
    AISVS 1.0, chapter C9.
    """

    id: str
    words: str
    answer: str
    artefacts: tuple[str, ...]
    claims: tuple[str, ...]
    commands: tuple[str, ...]
    limits: tuple[str, ...]
    rests_on: tuple[str, ...]
    rules: tuple[int, ...] = ()
    canaries: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    aisvs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """A control: NIST's id and title, what it asks in our words, the need it belongs to, and what is not shown of it.

    ``open`` says what is left to do outside of this software before an assessor can be satisfied, where something is.
    """

    id: str
    title: str
    asks: str
    need: str
    limit: str = ""
    open: str = ""

    @property
    def family(self) -> str:
        """The family, such as ``AC``."""
        return self.id[:2]

    @property
    def oscal(self) -> str:
        """The id in NIST's OSCAL catalogue, such as ``ac-6.10``."""
        return oscal_id(self.id)


def oscal_id(control: str) -> str:
    """``AC-6(10)`` as OSCAL writes it: ``ac-6.10``."""
    return re.sub(r"\((\d+)\)", r".\1", control).lower()


NEEDS: dict[str, Need] = {
    need.id: need
    for need in (
        Need(
            "no-escalation",
            "An agent cannot raise its own privileges",
            "Whatever an agent asks for is decided outside of the agent, under a chain of signed delegations that only "
            "ever narrows. It has no call that widens anything. Canaries try to, in production, all the time.",
            ("grants/", "delegations/", "canaries/", "log/"),
            ("capabilities", "grants", "effects", "history"),
            (
                "cat grants/counts.json",
                'grep -c \'"kind":"delegation.issued"\' delegations/index.jsonl',
                _VERIFY,
            ),
            (
                "What an agent does without asking. Each decision says what forces the agent to ask, from E0 (its own "
                "wrapper) to E3 (the resource itself).",
                "Attacks that no canary tries.",
            ),
            ("grants", "decisions", "canaries"),
            (9, 15, 16, 17, 24, 25, 34),
            (
                "self-grant",
                "widened-delegation",
                "depth-exceeded",
                "expired",
                "out-of-scope",
                "path-traversal",
                "over-budget",
                "self-approval",
                "switch-off",
            ),
            ("delegation.issued", "delegation.revoked", "action.decided"),
            ("9.1.2", "9.2.5", "9.5.1", "9.5.3", "9.5.5", "9.5.6"),
        ),
        Need(
            "grant-history",
            "The complete history of who was given what, and its review",
            "Every delegation, tool, policy and vote in advance that there ever was is a row that traces to a person's "
            "signature, with how it ended. It is worked out over all entries, not over chosen ones.",
            ("grants/history.jsonl", "grants/tree.txt", "grants/counts.json", "views/grants.jsonl"),
            ("capabilities", "complete", "grants"),
            ("less grants/tree.txt", "cat grants/counts.json", _VERIFY),
            ("That somebody looked at the history: reviews of it are made outside of the log.",),
            ("grants", "record"),
            (9, 15, 16, 18, 36),
            ("self-grant", "widened-delegation"),
            ("delegation.issued", "delegation.revoked", "agent.enrolled", "agent.suspended"),
            ("9.5.5",),
        ),
        Need(
            "people-sign",
            "A person's own signature on each grant and each answer",
            "Delegations, votes and changes are signed with a key of the person's own (passkey or SSH key) over the "
            "exact statement, with a nonce, a short time, and the head of the log that the person was shown.",
            ("votes/", "delegations/", "trust/allowed_signers", "trust/keys.jsonl"),
            ("people", "votes", "statements", "cards"),
            (
                "ssh-keygen -Y verify -f trust/allowed_signers -I PERSON -n imprimatur-delegation-v1 "
                "-s delegations/ID.sig < delegations/ID.json",
                _VERIFY,
            ),
            (
                "Whose a key is in the world: that is what trust.json says.",
                "Who was behind an answer given by a click in a session (H0): the operator vouches for those.",
            ),
            ("decisions", "grants"),
            (12, 23, 28, 29, 30, 38),
            ("self-approval", "replayed", "forged-signature"),
            ("vote.cast", "person.key_enrolled", "person.key_vouched", "person.key_revoked"),
            ("9.2.1", "9.2.2", "9.2.8", "9.2.9"),
        ),
        Need(
            "two-people",
            "Two people for what is critical",
            "A critical request needs an approval and a confirmation by different people with different keys, and so "
            "does every change that widens authority once two people hold keys.",
            ("votes/index.jsonl", "views/entries.jsonl"),
            ("votes", "policy"),
            (_VERIFY,),
            ("That the two people do not collude.",),
            ("decisions",),
            (30, 31, 39),
            ("self-approval",),
            ("vote.cast", "change.proposed", "change.seconded"),
            ("9.2.1", "9.2.4", "9.2.10"),
        ),
        Need(
            "every-decision",
            "Every decision recorded: what, when, where, source, outcome, who",
            "Each decision is an entry of the log with the request as the agent signed it, the effects, the risk, the "
            "rule, the policy, the votes and the state. The answer to the agent is that entry.",
            ("log/", "views/entries.jsonl"),
            ("history", "openings", "complete"),
            ("head -n 3 views/entries.jsonl", _VERIFY),
            ("That a reported outcome is true: an agent reports its own.",),
            ("record", "decisions"),
            (3, 22, 27, 35),
            ("positive-control", "replayed"),
            ("action.requested", "action.decided", "action.redeemed", "action.reported"),
            ("9.4.1", "9.4.2"),
        ),
        Need(
            "no-silence",
            "No decision before its entry is durable; refusal when logging fails",
            "Entry and decision are committed together, and nothing is answered before. Silence never approves. When "
            "the log falls behind or is frozen, requests are refused.",
            ("log/checkpoints/", "views/entries.jsonl"),
            ("history", "earlier checkpoints"),
            ("ls log/checkpoints", _VERIFY),
            ("How full the disks are: a bundle says nothing of it. The server warns, and its metrics show it.",),
            ("record",),
            (7, 32, 33),
            ("positive-control", "redeem-twice"),
            ("action.decided", "action.withdrawn"),
            ("9.6.2",),
        ),
        Need(
            "tamper-evidence",
            "Changing, leaving out or adding an entry does not go unseen",
            "Every entry is a leaf of one Merkle tree whose root the log signs. The publisher reads every entry by the "
            "auditor's own rules before it signs, and stops for good when one is broken.",
            ("log/checkpoint", "log/tile/", "MANIFEST.sha256", "MANIFEST.dsse.json"),
            ("tree", "checkpoint", "earlier checkpoints", "files", "manifest", "zip"),
            (
                _FILES,
                "openssl pkeyutl -verify -pubin -inkey trust/log.pub.pem -rawin -in checkpoint.body "
                "-sigfile checkpoint.sig",
                _VERIFY,
            ),
            ("That this log is the only one: compare its root with what others hold.",),
            ("record",),
            (1, 2, 4, 5),
            ("forged-entry",),
            ("log.genesis", "log.decision_key_changed"),
            ("9.4.4",),
        ),
        Need(
            "who-may-change-the-record",
            "Append-only roles, read-only auditors, two people for what changes the record",
            "The database role of the application can add entries and nothing else. Auditors read. What erases or "
            "changes authority is an act of named people, and an entry itself.",
            ("views/entries.jsonl", "log/"),
            ("history", "tree"),
            ('grep -e \'"kind":"openings.erased"\' -e \'"kind":"hold.\' views/entries.jsonl', _VERIFY),
            (
                "That nobody used the database as its owner: triggers and roles stop accidents, and the owner can lift "
                "them. What the owner changes, the tree shows.",
            ),
            ("record",),
            (9, 21, 39, 42),
            ("switch-off", "forged-entry"),
            ("openings.erased", "hold.placed", "hold.lifted", "export.taken"),
        ),
        Need(
            "elsewhere",
            "A copy on another system that cannot be changed",
            "What is published is shipped to other systems, read back and compared with the tree. Witnesses cosign the "
            "checkpoint, and mirrors hold the tiles.",
            ("shipping/shipped.jsonl", "log/checkpoint"),
            ("witnesses", "sections"),
            ("cat shipping/shipped.jsonl", "sed '/^$/,$d' log/checkpoint", _VERIFY),
            (
                "That the other system exists and holds what the server says it read there: ask that system, or look "
                "at the cosignatures.",
            ),
            ("shipping",),
            (37,),
            (),
            ("log.shipped",),
        ),
        Need(
            "launches",
            "What was started, from which configuration",
            "Before an agent starts, an orchestrator signs the command, the flags, the versions and the SHA-256 of the "
            "merged configuration, with its layers as admins signed them. Unsafe or unsigned configuration is refused.",
            ("launches/", "grants/"),
            ("launches", "sections"),
            (
                "sha256sum launches/effective/*.json",
                "ssh-keygen -Y verify -f trust/allowed_signers -I PERSON -n imprimatur-config-v1 "
                "-s launches/layers/SIGNATURE.sig < launches/layers/LAYER.toml",
                _VERIFY,
            ),
            (
                "That an orchestrator started what it attested, and nothing beside it. A runtime that is only declared "
                "is what somebody says of another program.",
            ),
            ("launches",),
            (44, 45),
            ("malformed-launch",),
            ("launch.attested", "launch.refused", "launch.ended"),
            ("9.1.1", "9.3.1", "9.3.4"),
        ),
        Need(
            "changes",
            "Changes of configuration and policy",
            "A policy or a tool changes by a signed act of admins, under its own digest, and every earlier version "
            "stays in the log. Layers of configuration count only with an admin's signature.",
            ("grants/history.jsonl", "views/grants.jsonl", "launches/"),
            ("policy", "launches", "capabilities"),
            ('grep -e \'"kind":"policy.activated"\' -e \'"kind":"tool.\' views/grants.jsonl', _VERIFY),
            ("That a policy's rules give the risk they should: only its floors and stages are checked again.",),
            ("grants", "launches"),
            (19, 20, 39, 45),
            ("switch-off", "malformed-launch"),
            ("policy.activated", "tool.registered", "tool.retired", "change.seconded"),
            ("9.2.3", "9.2.5", "9.3.3"),
        ),
        Need(
            "monitor",
            "An independent monitor, joined with what was launched",
            "A monitor with a key of its own looks at the running processes and signs what it sees. Each observation "
            "is joined with its launch, and what has no counterpart is counted in both directions.",
            ("monitor/",),
            ("observations", "sections"),
            ("cat monitor/join.json", "head -n 3 monitor/index.jsonl", _VERIFY),
            (
                "What happened between two looks, or where the monitor cannot look.",
                "That the monitor is run by somebody else: whose key it has is what trust.json says.",
            ),
            ("observations",),
            (44, 46),
            (),
            ("observation.recorded",),
            ("9.3.8",),
        ),
        Need(
            "drift",
            "Drift is flagged, and answered",
            "What differs from the launch is in the entry of the observation, worked out again by the verifier. Where "
            "the policy says so, the agent is suspended at once, by an entry that names its reason.",
            ("monitor/join.json", "monitor/index.jsonl", "oscal/poam.json"),
            ("observations", "history"),
            ("grep -v '\"findings\":\\[\\]' monitor/index.jsonl", _VERIFY),
            ("That an alarm reached a person: alarms leave by mail and webhook, outside of the log.",),
            ("observations",),
            (46, 48),
            ("malformed-launch",),
            ("observation.recorded", "agent.suspended"),
            ("9.3.8", "9.1.3"),
        ),
        Need(
            "canaries",
            "Attacks on ourselves, all the time",
            "Ordinary agents make real requests in production that must be refused, each for its own reason, and one "
            "that must succeed. A run that is missing makes its time void.",
            ("canaries/", "oscal/assessment-results.json"),
            ("canaries", "sections"),
            ("cat canaries/coverage.json", "tail -n 1 canaries/index.jsonl", _VERIFY),
            ("That an attack fails which no canary tries, or at another time than theirs.",),
            ("canaries",),
            (44, 47, 48),
            (
                "self-grant",
                "replayed",
                "forged-signature",
                "another-agents-key",
                "redeem-twice",
                "redeem-changed",
                "malformed-launch",
                "switch-off",
                "positive-control",
            ),
            ("canary.reported", "pause.set"),
            ("9.1.3", "9.6.3"),
        ),
        Need(
            "time",
            "Trusted time",
            "Times never run backwards in the log, statements name the head that was known when they were signed, and "
            "cosignatures of witnesses bear times of theirs.",
            ("log/checkpoint", "views/entries.jsonl"),
            ("statements", "history", "witnesses"),
            (_VERIFY,),
            ("That the server's clock was right: its order holds, and its distance from true time is not in the log.",),
            ("record",),
            (7, 28, 32),
            ("expired",),
            ("log.genesis",),
        ),
        Need(
            "keys",
            "Keys and algorithms",
            "Ed25519 and SHA-256 throughout. Every key has one use; each later decision key is signed in by the one "
            "before; keys of people and agents begin, end and are revoked by entries.",
            ("trust/keys.jsonl", "trust/log.vkey", "trust/policy.tlog", "log/proofs/"),
            ("people", "manifest", "history"),
            ("cat trust/keys.jsonl", _VERIFY),
            (
                "Where private keys lie and who can read them.",
                "That the modules in use are validated (FIPS 140-3): ask the operator which they are.",
            ),
            ("record", "grants"),
            (2, 12, 14, 43),
            ("another-agents-key", "forged-signature"),
            ("log.decision_key_changed", "log.key_added", "agent.key_rotated", "person.key_revoked"),
            ("9.2.9", "9.4.1", "9.4.3"),
        ),
        Need(
            "build",
            "What the server is made of, and who built it",
            "When the server starts it measures its installed packages against their own lists, and enters the digests "
            "of lock file, settings and sources, with the provenance of its build where it has one.",
            ("build/starts.jsonl",),
            ("build", "sections"),
            ("tail -n 1 build/starts.jsonl", _VERIFY),
            (
                "That the server measured itself truly: it is its own word. Build it again from the sources, and "
                "compare the tree.",
            ),
            ("build",),
            (9,),
            (),
            ("server.started",),
        ),
        Need(
            "export",
            "Evidence that can be taken away, reduced and read by machines",
            "One zip with the log, everything derived from it, a report for people and OSCAL for machines. That it was "
            "taken, by whom, and which files it has, is an entry of the log itself.",
            ("README.txt", "REPORT.html", "CLAIMS.html", "claims.json", "oscal/", "MANIFEST.dsse.json"),
            ("files", "manifest", "copies", "sections"),
            (
                _FILES,
                "check-jsonschema --schemafile oscal_assessment-results_schema.json oscal/assessment-results.json",
                _VERIFY,
            ),
            ("What happened after the bundle's checkpoint.",),
            ("record",),
            (3, 37),
            (),
            ("bundle.issued", "export.taken"),
        ),
    )
}
"""Everything that is asked for, by name, from the inside out."""


_LIST = (
    # An agent cannot raise its own privileges.
    Control("AC-3", "Access Enforcement", "Access follows approved authorizations.", "no-escalation"),
    Control("AC-6", "Least Privilege", "Nobody is given more than the task needs.", "no-escalation"),
    Control(
        "AC-6(1)",
        "Authorize Access to Security Functions",
        "Who may use security functions is authorized explicitly.",
        "no-escalation",
    ),
    Control(
        "AC-6(5)", "Privileged Accounts", "Privileged accounts are restricted to those who need them.", "no-escalation"
    ),
    Control(
        "AC-6(10)",
        "Prohibit Non-privileged Users from Executing Privileged Functions",
        "Whoever is not privileged cannot execute privileged functions.",
        "no-escalation",
    ),
    Control(
        "AC-24",
        "Access Control Decisions",
        "Each access request is decided before access is enforced.",
        "no-escalation",
    ),
    Control(
        "AC-25",
        "Reference Monitor",
        "What decides is always invoked, cannot be tampered with, and is small enough to analyse.",
        "no-escalation",
        limit="Always invoked holds as far as the enforcement level of each decision says.",
    ),
    # The complete history.
    Control("AC-2", "Account Management", "Accounts are approved, monitored and ended.", "grant-history"),
    Control("AC-2(4)", "Automated Audit Actions", "Creating, changing and ending accounts is logged.", "grant-history"),
    Control(
        "AC-3(8)",
        "Revocation of Access Authorizations",
        "Authorizations that were taken back no longer count.",
        "grant-history",
    ),
    Control(
        "AC-6(7)",
        "Review of User Privileges",
        "Privileges are reviewed, and removed.",
        "grant-history",
        open="Show when privileges were reviewed, and by whom.",
    ),
    Control(
        "AU-11",
        "Audit Record Retention",
        "Records are kept as long as they must be.",
        "grant-history",
        open="Show for how long records must be kept, and that they are.",
    ),
    Control("AU-11(1)", "Long-term Retrieval Capability", "Old records can still be read.", "grant-history"),
    # A person's own signature.
    Control(
        "AU-10",
        "Non-repudiation",
        "There is irrefutable evidence that an individual did what is recorded.",
        "people-sign",
        limit="It asks for evidence about an individual. A signature of the server alone does not give it: answers by "
        "a click (H0) and what was done at the operator's console stay out of it.",
    ),
    Control("AU-10(1)", "Association of Identities", "What was done is bound to who did it.", "people-sign"),
    Control(
        "AU-10(2)",
        "Validate Binding of Information Producer Identity",
        "That binding is validated.",
        "people-sign",
    ),
    Control(
        "AU-10(4)",
        "Validate Binding of Information Reviewer Identity",
        "Who reviewed what was reviewed is validated before release.",
        "people-sign",
    ),
    Control(
        "IA-2",
        "Identification and Authentication (Organizational Users)",
        "People are identified uniquely, and authenticated.",
        "people-sign",
        open="Show how people sign in.",
    ),
    Control(
        "IA-2(1)",
        "Multi-factor Authentication to Privileged Accounts",
        "Privileged people authenticate with several factors.",
        "people-sign",
        limit="The log shows the strength of answers (H2, H3). How somebody signed in is not in it.",
        open="Show that privileged people sign in with a second factor.",
    ),
    Control(
        "IA-2(8)",
        "Access to Accounts — Replay Resistant",
        "What was sent once cannot be used again.",
        "people-sign",
    ),
    Control("IA-5(2)", "Public Key-based Authentication", "Keys are bound to identities.", "people-sign"),
    # Two people.
    Control("AC-3(2)", "Dual Authorization", "What is privileged needs two people.", "two-people"),
    Control("AC-5", "Separation of Duties", "Duties are divided among people.", "two-people"),
    # Every decision recorded.
    Control("AU-2", "Event Logging", "It is decided which events are logged.", "every-decision"),
    Control("AU-3", "Content of Audit Records", "Records say what, when, where, from where and who.", "every-decision"),
    Control("AU-3(1)", "Additional Audit Information", "Records hold what else is needed.", "every-decision"),
    Control("AU-12", "Audit Record Generation", "Records are made wherever they must be.", "every-decision"),
    Control("AC-6(9)", "Log Use of Privileged Functions", "Use of privileged functions is logged.", "every-decision"),
    # Durable, or refused.
    Control(
        "AU-5",
        "Response to Audit Logging Process Failures",
        "When logging fails, people are told and something is done.",
        "no-silence",
    ),
    Control(
        "AU-5(1)",
        "Storage Capacity Warning",
        "A warning comes before storage is full.",
        "no-silence",
        open="Show the warnings of whatever watches the disks.",
    ),
    Control(
        "AU-5(2)",
        "Real-time Alerts",
        "Failures of logging alert people at once.",
        "no-silence",
        open="Show where alerts arrive, and that somebody reads them.",
    ),
    Control("AU-5(4)", "Shutdown on Failure", "What cannot be logged does not happen.", "no-silence"),
    Control(
        "AU-5(5)",
        "Alternate Audit Logging Capability",
        "Logging goes on by another way.",
        "no-silence",
        open="Show the other way by which logging goes on.",
    ),
    Control(
        "AU-4",
        "Audit Log Storage Capacity",
        "There is room for the log.",
        "no-silence",
        open="Show that the disks have room, from the operator's own monitoring.",
    ),
    # Tamper evidence.
    Control("AU-9", "Protection of Audit Information", "The record is protected from change.", "tamper-evidence"),
    Control("AU-9(3)", "Cryptographic Protection", "Its integrity rests on cryptography.", "tamper-evidence"),
    Control(
        "SI-7",
        "Software, Firmware, and Information Integrity",
        "Unauthorized changes of information are detected.",
        "tamper-evidence",
    ),
    Control("SI-7(1)", "Integrity Checks", "Integrity is checked, and when.", "tamper-evidence"),
    Control(
        "SI-7(2)",
        "Automated Notifications of Integrity Violations",
        "Violations notify people by themselves.",
        "tamper-evidence",
        open="Show where notices arrive, and that somebody reads them.",
    ),
    # Who may change the record.
    Control(
        "AU-9(4)",
        "Access by Subset of Privileged Users",
        "Only some of the privileged manage logging.",
        "who-may-change-the-record",
        open="Show who holds the database's owner, and who can read the folder of keys.",
    ),
    Control(
        "AU-9(5)",
        "Dual Authorization",
        "Changing the record needs two people.",
        "who-may-change-the-record",
        limit="Openings are erased by one admin alone, or by a rule; the entry says so.",
        open="Have two people agree before anything is erased.",
    ),
    Control("AU-9(6)", "Read-only Access", "Auditors read, and change nothing.", "who-may-change-the-record"),
    Control(
        "AU-12(3)",
        "Changes by Authorized Individuals",
        "Only the authorized change what is logged.",
        "who-may-change-the-record",
        limit="What is logged cannot be changed here at all; there is no setting for it.",
    ),
    # Elsewhere.
    Control(
        "AU-9(1)",
        "Hardware Write-once Media",
        "The record is written to media that take it once.",
        "elsewhere",
        open="Show that the media of a copy take what is written once.",
    ),
    Control(
        "AU-9(2)",
        "Store on Separate Physical Systems or Components",
        "The record is kept on a physically different system or component.",
        "elsewhere",
        limit="It asks for a physically different system. That the copies lie on one is nothing that a log can show.",
        open="Show which physical systems the copies lie on, from their own records.",
    ),
    Control(
        "AU-9(7)",
        "Store on Component with Different Operating System",
        "The record is kept under another operating system as well.",
        "elsewhere",
        limit="Which operating system runs elsewhere is not in the log.",
        open="Show under which operating systems the copies lie.",
    ),
    Control("AU-4(1)", "Transfer to Alternate Storage", "Records are moved to other storage.", "elsewhere"),
    Control(
        "CP-9",
        "System Backup",
        "There are backups.",
        "elsewhere",
        limit="Of the log; other data is not in it.",
        open="Show backups of the rest of the system, and that they can be restored.",
    ),
    Control(
        "CP-9(8)",
        "Cryptographic Protection",
        "Backups are protected by cryptography.",
        "elsewhere",
        open="Show how the other backups are protected.",
    ),
    # Launches.
    Control("CM-2", "Baseline Configuration", "There is a baseline, under control.", "launches"),
    Control(
        "CM-2(2)",
        "Automation Support for Accuracy and Currency",
        "The baseline is kept current by automation.",
        "launches",
    ),
    Control("CM-6", "Configuration Settings", "Settings are the most restrictive that fit.", "launches"),
    Control(
        "CM-6(1)",
        "Automated Management, Application, and Verification",
        "Settings are managed and verified by automation.",
        "launches",
    ),
    Control(
        "CM-8",
        "System Component Inventory",
        "It is known what there is.",
        "launches",
        open="Put what is launched into the inventory of the whole system.",
    ),
    Control(
        "IA-9",
        "Service Identification and Authentication",
        "Services are identified and authenticated.",
        "launches",
    ),
    # Changes.
    Control("CM-3", "Configuration Change Control", "Changes are proposed, approved and recorded.", "changes"),
    Control(
        "CM-3(1)",
        "Automated Documentation, Notification, and Prohibition of Changes",
        "Changes are documented and, until approved, prohibited by automation.",
        "changes",
    ),
    Control(
        "CM-3(8)", "Prevent or Restrict Configuration Changes", "Changes are prevented where they must be.", "changes"
    ),
    Control("CM-5", "Access Restrictions for Change", "Only some people change things.", "changes"),
    Control(
        "CM-5(1)",
        "Automated Access Enforcement and Audit Records",
        "That is enforced and recorded by automation.",
        "changes",
    ),
    # Monitor.
    Control("SI-4", "System Monitoring", "The system is monitored for attacks.", "monitor"),
    Control(
        "SI-4(2)",
        "Automated Tools and Mechanisms for Real-time Analysis",
        "Events are analysed nearly at once.",
        "monitor",
    ),
    Control(
        "SI-4(20)",
        "Privileged Users",
        "Those with privileges are monitored more.",
        "monitor",
        open="Show how people with privileges are monitored.",
    ),
    Control(
        "AU-6",
        "Audit Record Review, Analysis, and Reporting",
        "Records are reviewed for what is odd.",
        "monitor",
        open="Show that people read what was found, and what they did.",
    ),
    Control("AU-6(1)", "Automated Process Integration", "Review and analysis are joined by automation.", "monitor"),
    Control("AU-6(3)", "Correlate Audit Record Repositories", "Different records are correlated.", "monitor"),
    Control("AU-6(5)", "Integrated Analysis of Audit Records", "Records are analysed with other data.", "monitor"),
    Control(
        "CA-7(1)",
        "Independent Assessment",
        "Assessors are independent.",
        "monitor",
        limit="A monitor of its own is not yet an independent assessor: who runs it is decided outside.",
        open="Have the monitor run, and its key held, by somebody who does not run this installation.",
    ),
    # Drift.
    Control("CM-6(2)", "Respond to Unauthorized Changes", "Unauthorized changes of settings are answered.", "drift"),
    Control(
        "SI-4(5)",
        "System-generated Alerts",
        "Signs of compromise alert people.",
        "drift",
        open="Show where alerts arrive, and that somebody reads them.",
    ),
    Control(
        "SI-7(5)",
        "Automated Response to Integrity Violations",
        "Violations are answered by automation.",
        "drift",
        limit="Only where the policy in force says so; else people are alerted and decide.",
    ),
    Control("SI-7(7)", "Integration of Detection and Response", "Detection is part of response.", "drift"),
    # Canaries.
    Control("CA-7", "Continuous Monitoring", "Controls are assessed continuously.", "canaries"),
    Control("CA-7(5)", "Consistency Analysis", "Policies and controls are shown to be consistent.", "canaries"),
    Control("CA-7(6)", "Automation Support for Monitoring", "Monitoring is kept accurate by automation.", "canaries"),
    Control("SI-6", "Security and Privacy Function Verification", "Security functions are seen to work.", "canaries"),
    Control(
        "CA-8",
        "Penetration Testing",
        "The system is attacked on purpose.",
        "canaries",
        limit="A fixed list of attacks is no penetration test by people who think of new ones.",
        open="Have people test for attacks that no canary tries.",
    ),
    Control("CA-2", "Control Assessments", "Controls are assessed.", "canaries", open="Have an assessor assess."),
    # Time.
    Control("AU-8", "Time Stamps", "Records bear times from a clock.", "time"),
    Control(
        "AU-12(1)", "System-wide and Time-correlated Audit Trail", "Records make one trail in order of time.", "time"
    ),
    Control(
        "SC-45(1)",
        "Synchronization with Authoritative Time Source",
        "Clocks follow an authoritative source.",
        "time",
        limit="Which source the server's clock follows is not in the log.",
        open="Show which source the server's clock follows.",
    ),
    # Keys.
    Control(
        "SC-12",
        "Cryptographic Key Establishment and Management",
        "Keys are made and managed as they must be.",
        "keys",
        open="Show where private keys lie, and who can read them.",
    ),
    Control(
        "SC-13",
        "Cryptographic Protection",
        "Cryptography is of the kinds that are required.",
        "keys",
        open="Show that the modules in use are validated, where that is required.",
    ),
    Control("CM-3(6)", "Cryptography Management", "The cryptography in use is under control.", "keys"),
    # Build.
    Control("SR-4", "Provenance", "It is known where components come from.", "build"),
    Control("SR-4(3)", "Validate as Genuine and Not Altered", "Components are validated as genuine.", "build"),
    Control("SR-4(4)", "Supply Chain Integrity — Pedigree", "The pedigree of components is shown.", "build"),
    Control("SR-11", "Component Authenticity", "Counterfeit components are kept out.", "build"),
    Control(
        "CM-14",
        "Signed Components",
        "Only components signed with an approved certificate are installed.",
        "build",
        limit="It asks for a certificate that the organization recognizes and approves. A bare key is none.",
        open="Sign releases with a certificate (X.509) that the organization approves.",
    ),
    Control("SI-7(15)", "Code Authentication", "Code is authenticated before it is installed.", "build"),
    Control(
        "SA-10",
        "Developer Configuration Management",
        "Developers control changes of the system.",
        "build",
        open="Show how those who develop the software control its changes.",
    ),
    Control(
        "SA-10(1)",
        "Software and Firmware Integrity Verification",
        "Whoever installs the software can verify it.",
        "build",
    ),
    # Export.
    Control("AU-7", "Audit Record Reduction and Report Generation", "Records can be reduced to reports.", "export"),
    Control("AU-7(1)", "Automatic Processing", "Records can be processed by what they say.", "export"),
    Control("AU-10(3)", "Chain of Custody", "It is known who held the evidence.", "export"),
    Control("CA-5", "Plan of Action and Milestones", "There is a plan for what is wrong.", "export"),
    Control(
        "PL-2",
        "System Security and Privacy Plans",
        "There is a plan for the system.",
        "export",
        limit="The plan here is a fragment: it says what this software contributes, and not what the system around is.",
        open="Put the fragment into the plan of the whole system.",
    ),
)


def _order(control: Control) -> tuple[str, int, int]:
    number, enhancement = re.fullmatch(r"[A-Z]{2}-([0-9]+)(?:\(([0-9]+)\))?", control.id).groups("0")  # type: ignore[union-attr]
    return control.family, int(number), int(enhancement)


CONTROLS: dict[str, Control] = {control.id: control for control in sorted(_LIST, key=_order)}
"""Every control, by its id, in the order of the catalogue."""

FAMILIES = {
    "AC": "Access Control",
    "AU": "Audit and Accountability",
    "CA": "Assessment, Authorization, and Monitoring",
    "CM": "Configuration Management",
    "CP": "Contingency Planning",
    "IA": "Identification and Authentication",
    "PL": "Planning",
    "SA": "System and Services Acquisition",
    "SC": "System and Communications Protection",
    "SI": "System and Information Integrity",
    "SR": "Supply Chain Risk Management",
}
"""NIST's names of the families that occur."""


def serving(statement: str) -> tuple[str, ...]:
    """The ids of the controls that this statement of the claims page serves."""
    return tuple(id for id, control in CONTROLS.items() if statement in NEEDS[control.need].rests_on)
