"""Configuration: what a layer may say, how layers merge, and that none of them opens what another closed."""

from __future__ import annotations

import copy
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imprimatur
from imprimatur.formats import attestation, canonical, shapes
from imprimatur.rules import configuration
from imprimatur.rules.configuration import ConfigurationError, environment, flags, schema
from tests.rules import sandboxes

TEXTS = [("base.toml", sandboxes.BASE), ("project.toml", sandboxes.PROJECT)]


def codes(effective: dict[str, Any]) -> list[str]:
    return [problem.code for problem in configuration.problems(effective, sandboxes.REALM)]


def layer_codes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as wrong:
        configuration.parse_layer(text)
    return [problem.code for problem in wrong.value.problems]


def test_an_organisations_layer_and_a_projects_add_up_without_a_problem() -> None:
    read = configuration.read(TEXTS, sandboxes.REALM)
    assert read.problems == []
    assert read.effective["limits"]["memory_mb"] == 256
    assert read.effective["limits"]["processes"] == 32
    assert read.effective["files"] == {"read": ["/srv/data"], "write": ["/srv/work"]}
    assert read.effective["security"]["seccomp"] == "strict"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("realm = ", ["malformed-configuration"]),
        ("[limits]\nmemory_mb = 256", ["wrong-realm"]),
        ('realm = "r"\n[limits]\nmemory_mb = 1.5', ["malformed-configuration"]),
        ('realm = "r"\n[limits]\nmemory_mb = 1e3', ["malformed-configuration"]),
        ('realm = "r"\n[limits]\nmemory_mb = inf', ["malformed-configuration"]),
        ('realm = "r"\n[env.set]\nDAY = 2026-10-01', ["malformed-configuration"]),
        ('realm = "r"\n[env.set]\nHOUR = 12:00:00', ["malformed-configuration"]),
        ('realm = "r"\nrealm = "s"', ["malformed-configuration"]),
        ('realm = "r"\nlimits = 3', ["malformed-configuration"]),
        ("realm = 3\n[sandbox]\noff = true", ["malformed-configuration", "unknown-key"]),
        ('realm = "r"\n[limits]\nmemory = 3', ["unknown-key"]),
        ('realm = "r"\n[limits]\nmemory_mb = 0', ["unlimited-memory"]),
        ('realm = "r"\n[limits]\nmemory_mb = "max"', ["unlimited-memory"]),
        ('realm = "r"\n[limits]\nmemory_mb = -1', ["unlimited-memory"]),
        ('realm = "r"\n[limits]\nmemory_mb = 99999999999', ["unlimited-memory"]),
        ('realm = "r"\n[limits]\nprocesses = 0', ["malformed-configuration"]),
        ('realm = "r"\n[limits]\ncpu_seconds = true', ["malformed-configuration"]),
        ('realm = "r"\n[security]\nno_new_privileges = false', ["malformed-configuration"]),
        ('realm = "r"\n[security]\ncapabilities = ["CAP_NET_RAW"]', ["malformed-configuration"]),
        ('realm = "r"\n[security]\nseccomp = "unconfined"', ["malformed-configuration"]),
        ('realm = "r"\n[network]\nmode = "host"', ["malformed-configuration"]),
        ('realm = "r"\n[runtime]\nkind = "none"\nflag = 1', ["malformed-configuration", "unknown-key"]),
        ('realm = "r"\n#' + "x" * 25_000, ["malformed-configuration"]),
        ('realm = "r"\nx = ' + "[" * 3000 + "]" * 3000, ["malformed-configuration"]),
    ],
)
def test_every_fault_in_the_form_of_a_layer_is_told_with_its_code(text: str, expected: list[str]) -> None:
    assert layer_codes(text) == expected


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"agent": {"id": None}}, ["malformed-configuration"]),
        ({"limits": {"memory_mb": None}}, ["unlimited-memory"]),
        ({"limits": {"open_files": None, "processes": None}}, ["malformed-configuration"] * 2),
        ({"network": {"mode": None}}, ["malformed-configuration"]),
        ({"security": {"seccomp": None}}, ["malformed-configuration"]),
        ({"command": {"allowed": []}}, ["malformed-configuration"]),
        ({"command": {"allowed": ["python3"]}}, ["malformed-configuration"]),
        ({"command": {"allowed": ["/usr/bin/../bin/sh"]}}, ["malformed-configuration"]),
        ({"command": {"allowed": ["/usr/bin/"]}}, ["malformed-configuration"]),
        ({"runtime": {"flags": ["--debug"]}}, ["unsafe-flag", "unsafe-flag"]),
        ({"runtime": {"kind": "docker", "flags": ["--privileged"]}}, ["unsafe-flag"]),
        ({"runtime": {"kind": "docker", "flags": ["-e", "A=ghp_0123456789abcdefghij"]}}, ["secret-in-configuration"]),
        ({"runtime": {"flags": ["--hostname", "x"]}}, ["unsafe-flag"]),
        ({"files": {"read": ["/"]}}, ["unsafe-path"]),
        ({"files": {"read": ["/proc/1"]}}, ["unsafe-path"]),
        ({"files": {"read": ["/var"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/etc/cron.d"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/lib32/x"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/root"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/var/spool/cron/crontabs"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/home"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/tmp"]}}, ["unsafe-path"]),
        ({"files": {"write": ["/var/tmp/robo"]}}, []),
        ({"files": {"read": ["/var/lock"]}}, ["unsafe-path"]),
        ({"command": {"allowed": ["/proc/self/exe"]}}, ["unsafe-path"]),
        ({"command": {"allowed": ["/run/user/x"]}}, ["unsafe-path"]),
        ({"command": {"allowed": ["/tmp/x"]}}, ["unsafe-path"]),
        ({"command": {"allowed": ["/dev/shm/x"]}}, ["unsafe-path"]),
        ({"command": {"allowed": ["/tmp/x/run"]}, "files": {"read": ["/tmp/x"]}}, []),
        ({"env": {"set": {"GIT_SSH": "/srv/x"}}}, ["unsafe-environment"]),
        ({"env": {"set": {"OPENSSL_CONF": "/srv/x"}}}, ["unsafe-environment"]),
        ({"env": {"set": {"PAGER": "cat"}}}, []),
        ({"env": {"pass": ["PAGER"]}}, ["unsafe-environment"]),
        ({"env": {"pass": ["npm_config_script_shell"]}}, ["unsafe-environment"]),
        ({"files": {"write": ["relative"]}}, ["malformed-configuration"]),
        ({"files": {"write": ["/opt"]}, "command": {"allowed": ["/opt/agent/run"]}}, ["unsafe-path"]),
        ({"network": {"mode": "none"}}, ["malformed-configuration"]),
        ({"network": {"domains": ["https://x.test/"]}}, ["malformed-configuration"]),
        ({"env": {"set": {"API_KEY": "x"}}}, ["secret-in-configuration"]),
        ({"env": {"set": {"WHERE": "https://ada:pw@x.test/"}}}, ["secret-in-configuration"]),
        ({"env": {"set": {"LD_PRELOAD": "/srv/x.so"}}}, ["unsafe-environment"]),
        ({"env": {"pass": ["PYTHONPATH"]}}, ["unsafe-environment"]),
        ({"env": {"pass": ["IMPRIMATUR_LAUNCH"]}}, ["unsafe-environment"]),
        ({"env": {"pass": ["MODE"]}}, ["malformed-configuration"]),
        ({"imports": {"allow": ["*"]}}, ["wildcard-import"]),
        ({"imports": {"allow": ["google.*", "os.[a-z]"]}}, ["wildcard-import"] * 2),
        ({"imports": {"allow": ["os/path"]}}, ["malformed-configuration"]),
    ],
)
def test_every_fault_of_an_effective_configuration_is_told_with_its_code(
    tables: dict[str, Any], expected: list[str]
) -> None:
    assert codes(sandboxes.effective(**tables)) == expected


def test_secrets_may_be_passed_by_name_and_search_paths_may_be_set() -> None:
    assert codes(sandboxes.effective(env={"pass": ["API_KEY"], "set": {"PYTHONPATH": "/srv/work"}})) == []


def test_a_configuration_of_another_realm_is_refused_and_so_are_layers_of_two() -> None:
    assert [p.code for p in configuration.problems(sandboxes.effective(), "other.test")] == ["wrong-realm"]
    two = [TEXTS[0], ("p", sandboxes.PROJECT.replace(sandboxes.REALM, "other.test"))]
    assert {p.code for p in configuration.read(two, sandboxes.REALM).problems} == {"wrong-realm"}
    assert [p.code for p in configuration.read([], sandboxes.REALM).problems] == ["malformed-configuration"]


def test_all_problems_are_listed_at_once_and_say_where() -> None:
    text = 'realm = "r"\n[limits]\nmemory_mb = 0\nprocesses = -1\n[nonsense]\na = 1\n[env]\nset = { A = 1 }'
    with pytest.raises(ConfigurationError) as wrong:
        configuration.parse_layer(text)
    told = " ".join(problem.message for problem in wrong.value.problems)
    assert len(wrong.value.problems) == 4
    assert all(part in told for part in ("limits.memory_mb", "limits.processes", "nonsense", "env.set.A"))


@given(st.text(max_size=200))
def test_no_text_does_anything_but_give_a_layer_or_problems_that_an_entry_can_hold(text: str) -> None:
    try:
        layer = configuration.parse_layer(text)
    except ConfigurationError as error:
        assert error.problems
        for problem in error.problems:
            shapes.check({"code": problem.code, "message": problem.message}, attestation.REASON)
    else:
        assert "realm" in layer


JSON = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_document_makes_the_judge_stumble(data: st.DataObject) -> None:
    document = sandboxes.effective()
    table = data.draw(st.sampled_from(sorted(schema.FIELDS)))
    if data.draw(st.booleans()):
        document[table] = data.draw(JSON)
    else:
        document[table][data.draw(st.sampled_from(sorted(schema.FIELDS[table])))] = data.draw(JSON)
    for problem in configuration.problems(document, sandboxes.REALM):
        shapes.check({"code": problem.code, "message": problem.message}, attestation.REASON)


# --- merging ------------------------------------------------------------------------------------------------------

VALUES: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("agent", "id"): st.sampled_from([sandboxes.AGENT, "ag_" + "c" * 32]),
    ("runtime", "kind"): st.sampled_from(["bwrap", "docker"]),
    ("runtime", "flags"): st.lists(st.sampled_from(["--read-only", "--init"]), max_size=2),
    ("command", "allowed"): st.lists(st.sampled_from(["/usr/bin/a", "/usr/bin/b"]), max_size=2, unique=True),
    **{("limits", name): st.integers(1, 9) for name in schema.MOST},
    ("files", "read"): st.lists(st.sampled_from(["/srv", "/srv/a", "/srv/a/b", "/srv-evil"]), max_size=2, unique=True),
    ("files", "write"): st.lists(st.sampled_from(["/opt/a", "/opt/a/b", "/opt/ab"]), max_size=2, unique=True),
    ("network", "mode"): st.sampled_from(["none", "proxy"]),
    ("network", "domains"): st.lists(
        st.sampled_from(["x.test", "*.x.test", "a.x.test", "evil-x.test"]), max_size=2, unique=True
    ),
    ("env", "pass"): st.lists(st.sampled_from(["LANG", "TZ", "USER"]), max_size=2, unique=True),
    ("env", "set"): st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]), max_size=2),
    ("imports", "allow"): st.lists(st.sampled_from(["a", "a.b", "ab", "a.b.c"]), max_size=2, unique=True),
    ("security", "seccomp"): st.sampled_from(["strict", "default"]),
}


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    layer: dict[str, Any] = {"realm": sandboxes.REALM}
    for table, key in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=8, unique=True)):
        layer.setdefault(table, {})[key] = draw(VALUES[table, key])
    return layer


@given(st.lists(layers(), max_size=4), st.integers(0, 4))
def test_merging_is_associative_and_a_layer_twice_is_once(given_: list[dict[str, Any]], cut: int) -> None:
    before = copy.deepcopy(given_)
    whole = configuration.merge(given_)
    assert configuration.merge([configuration.merge(given_[:cut]), configuration.merge(given_[cut:])]) == whole
    assert configuration.merge([each for layer in given_ for each in (layer, layer)]) == whole
    assert configuration.merge([*given_, *given_[-1:]]) == whole
    whole.setdefault("limits", {})["memory_mb"] = 77
    assert given_ == before


@given(layers())
def test_a_layer_widens_nothing_of_itself(layer: dict[str, Any]) -> None:
    assert configuration.widenings([layer, layer]) == []


WIDER = [
    ("[limits]\nmemory_mb = 513", "limits.memory_mb"),
    ("[limits]\nwall_seconds = 601", "limits.wall_seconds"),
    ('[files]\nread = ["/srv", "/opt/ada"]', "files.read"),
    ('[files]\nread = ["/srv-evil"]', "files.read"),
    ('[files]\nwrite = ["/srv"]', "files.write"),
    ('[network]\ndomains = ["example.com"]', "network.domains"),
    ('[network]\ndomains = ["*.example.org"]', "network.domains"),
    ('[env]\npass = ["LANG", "USER"]', "env.pass"),
    ('[env.set]\nMODE = "live"', "env.set"),
    ('[imports]\nallow = ["googleevil"]', "imports.allow"),
    ('[command]\nallowed = ["/usr/bin/bash"]', "command.allowed"),
    ('[runtime]\nkind = "docker"', "runtime.kind"),
]


@pytest.mark.parametrize(("more", "place"), WIDER)
def test_a_later_layer_that_widens_a_facet_is_refused(more: str, place: str) -> None:
    layer = f'realm = "{sandboxes.REALM}"\n{more}'
    for texts in (
        [TEXTS[0], ("w", layer), TEXTS[1]],
        [TEXTS[0], ("p", sandboxes.PROJECT.split("[limits]")[0]), ("w", layer)],
    ):
        found = [p for p in configuration.read(texts, sandboxes.REALM).problems if p.code == "widens"]
        assert found and place in found[0].message


def test_a_stricter_mode_cannot_be_loosened_again() -> None:
    strict = f'realm = "{sandboxes.REALM}"\n[network]\nmode = "none"\n[security]\nseccomp = "strict"'
    loose = f'realm = "{sandboxes.REALM}"\n[network]\nmode = "proxy"\n[security]\nseccomp = "default"'
    one, other = configuration.parse_layer(strict), configuration.parse_layer(loose)
    assert [p.code for p in configuration.widenings([one, other])] == ["widens", "widens"]
    assert configuration.widenings([other, one]) == []


def allows(layer: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Everything out of a small world that a configuration lets happen, told apart from how narrowing is decided."""
    for path in ("/srv", "/srv/a", "/srv/a/b", "/srv-evil", "/opt/a", "/opt/a/b", "/opt/ab"):
        for key in ("read", "write"):
            given_ = layer.get("files", {}).get(key)
            if given_ is None or any(path == each or path.startswith(each + "/") for each in given_):
                yield key, path
    for host in ("x.test", "a.x.test", "b.x.test", "evil-x.test"):
        given_ = layer.get("network", {}).get("domains")
        if given_ is None or any(host == each or (each[0] == "*" and host.endswith(each[1:])) for each in given_):
            yield "host", host
    for name in schema.MOST:
        yield from (("limit", name, size) for size in range(1, layer.get("limits", {}).get(name, 10) + 1))
    for module in ("a", "a.b", "ab", "a.b.c", "a.c"):
        given_ = layer.get("imports", {}).get("allow")
        if given_ is None or any((module + ".").startswith(each + ".") for each in given_):
            yield "import", module
    for table, key, world in (
        ("command", "allowed", ("/usr/bin/a", "/usr/bin/b")),
        ("env", "pass", ("LANG", "TZ", "USER")),
    ):
        yield from ((key, item) for item in world if item in layer.get(table, {}).get(key, world))
    if layer.get("network", {}).get("mode") != "none":
        yield ("proxy",)
    if layer.get("security", {}).get("seccomp") != "strict":
        yield ("more calls",)


@given(st.lists(layers(), min_size=1, max_size=4))
def test_invariant_layers_that_widen_nothing_allow_no_more_than_any_of_them(given_: list[dict[str, Any]]) -> None:
    if not configuration.widenings(given_):
        everything = set(allows(configuration.merge(given_)))
        for layer in given_:
            assert everything <= set(allows(layer))


@given(layers(), layers())
def test_a_layer_that_allows_more_than_the_one_before_it_is_a_problem(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    both = configuration.merge([one, other])
    if not set(allows(both)) <= set(allows(one)):
        assert "widens" in {problem.code for problem in configuration.widenings([one, other])}


# --- digests ------------------------------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))
    if not isinstance(value, (dict, list)):
        yield path


def test_the_digest_is_that_of_the_canonical_json_and_changes_with_every_leaf() -> None:
    document = sandboxes.effective()
    digest = configuration.digest(document)
    assert digest == "sha256:" + hashlib.sha256(canonical.dumps(document)).hexdigest()
    seen = {digest}
    for path in leaves(document):
        changed = copy.deepcopy(document)
        inner: Any = changed
        for key in path[:-1]:
            inner = inner[key]
        value = inner[path[-1]]
        inner[path[-1]] = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value + "x"
        seen.add(configuration.digest(changed))
    assert len(seen) == len(list(leaves(document))) + 1


@pytest.mark.parametrize("part", ["a", '"a"', "'a.b'", '"a\\"."', '""'])
@pytest.mark.parametrize("dot", [".", " . ", "\t.\t"])
@pytest.mark.parametrize("around", ["{}=1", "[{}]", "[[{}]]", "x = [ {{ {} = 1 }} ]"])
def test_no_key_is_so_long_that_the_parser_takes_seconds(part: str, dot: str, around: str) -> None:
    # 12,000 parts in one layer took it eight seconds, once for the server, the notary and every verifier.
    layer = f'realm = "{sandboxes.REALM}"\n' + around.format(dot.join([part] * 17)) + "\n"
    with pytest.raises(ConfigurationError, match="words with dots"):
        configuration.parse_layer(layer)


def test_dots_in_values_are_no_long_key() -> None:
    layer = (
        f'realm = "{sandboxes.REALM}"\n[files]\nread = ["/srv/a.b.c.d.e.f.g.h.i.j.k"]\n# and so on...................\n'
    )
    assert configuration.parse_layer(layer)["files"]["read"] == ["/srv/a.b.c.d.e.f.g.h.i.j.k"]


def test_the_digest_of_the_merging_program_is_the_same_from_a_folder_and_from_a_zip(tmp_path: Path) -> None:
    package = Path(imprimatur.__file__).parent
    rules = package / "rules"
    files = [*(rules / "configuration").glob("*.py"), rules / "bubblewrap.py", rules / "launches.py"]
    names = sorted(file.relative_to(rules).as_posix() for file in files)
    listing = "".join(f"{hashlib.sha256((rules / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    expected = "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
    assert configuration.merge_digest() == expected
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("imprimatur/__init__.py", "")
        for part in ("formats", "rules", "inert.py"):
            for path in (package / part).rglob("*.py") if part != "inert.py" else [package / part]:
                archive.writestr(f"imprimatur/{path.relative_to(package).as_posix()}", path.read_bytes())
    (tmp_path / "verify.pyz").write_bytes(stream.getvalue())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from imprimatur.rules import bubblewrap, canaries, configuration, drift, launches\n"
        "print(configuration.merge_digest())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "verify.pyz")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip() == expected, done.stderr


# --- flags --------------------------------------------------------------------------------------------------------

UNSAFE = [
    ["--unconfined"],
    ["--debug"], ["--debug=true"], ["--DEBUG"], ["-debug"], ["--debug-port", "9"], ["--inspect=0.0.0.0:9"],
    ["\u2014debug"], ["\u2013\u2013debug"], ["\u2212\u2212debug"], ["\uff0d\uff0ddebug"], ["--de\u200bbug"], ["\u200b--debug"],
    ["--\uff44\uff45\uff42\uff55\uff47"], [" --debug"], ["--no-sandbox"], ["--no_sandbox"], ["--noSandbox"], ["--nosandbox"],
    ["--disable-sandbox"], ["--sandbox=false"], ["--sandbox", "off"], ["--privileged"], ["--privileged=true"],
    ["--security-opt", "seccomp=unconfined"], ["--security-opt=seccomp=unconfined"], ["--security-opt", "apparmor=unconfined"],
    ["--security-opt=label=disable"], ["--security-opt", "no-new-privileges=false"], ["--security-opt", "no-new-privileges:false"],
    ["--seccomp=unconfined"], ["--cap-add", "ALL"], ["--cap-add=SYS_ADMIN"], ["--net=host"], ["--net", "host"],
    ["--network", "host"], ["--network=container:x"], ["--pid=host"], ["--ipc=host"], ["--uts=host"], ["--userns=host"],
    ["--userns", "HOST"], ["--share-net"], ["-v", "/:/host"], ["-v/:/host"], ["-v=/:/host"], ["--volume", "/etc:/e"],
    ["--volume=/:/h:ro"], ["-v", "/tmp/docker.sock:/s"], ["--mount", "type=bind,source=/,target=/h"],
    ["--mount=type=bind,src=/etc,dst=/e"], ["--device=/dev/mem"], ["--user", "root"], ["--user=0:0"],
    ["--dangerously-skip-permissions"], ["--dangerous"], ["--yolo"], ["--full-auto"], ["--auto-approve"], ["--allow-all"],
    ["--allow_root"], ["--allowAll"], ["--force-allow-x"], ["--bypass"], ["--bypass-permissions"], ["--bypassPermissions"],
    ["--skip-permissions"], ["--skip-approvals"], ["--skip-verification"], ["--skipVerify"], ["--no-verify"], ["--no-approval"],
    ["--disable-limits"], ["--disable"], ["--insecure"], ["--insecure-skip-tls-verify"], ["--unsafe-eval"], ["--trust-all"],
    ["--trust-all-certs"], ["--ignore-config"], ["--ignore-certificate-errors"], ["--env-file", "x"], ["--override-policy"],
    ["sh", "-c", "exec agent --debug"], ["bash", "-lc", "agent;agent '--yolo'"], ["--", "--debug"],
]  # fmt: skip
SAFE = [
    [], ["--verbose"], ["-v"], ["-v", "/srv/data:/data:ro"], ["--cap-drop", "ALL"], ["--cap-drop=ALL"], ["--network", "none"],
    ["--network=none"], ["--net=none"], ["--security-opt", "no-new-privileges"], ["--security-opt=seccomp=/etc/p.json"],
    ["--read-only"], ["--user", "1000:1000"], ["--memory=256m"], ["--pids-limit", "32"], ["--runtime=runsc"], ["--rm"],
    ["-m", "agent"], ["--output", "disable"], ["debug"], ["--config=/srv/a.toml"], ["-"], ["--"], ["--userns=auto"], ["--init"],
    ["sh", "-c", "exec agent --verbose"], ["--mount", "type=tmpfs,target=/x"], ["please use --debug"], ["--name", "no-approval"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", UNSAFE, ids=" ".join)
def test_unsafe_flags_are_seen_however_they_are_written(arguments: list[str]) -> None:
    found = configuration.unsafe_flags(arguments)
    assert len(found) == 1 and "leave it out" in found[0]


@pytest.mark.parametrize("arguments", SAFE, ids=" ".join)
def test_flags_that_open_nothing_pass(arguments: list[str]) -> None:
    assert configuration.unsafe_flags(arguments) == []


def test_every_rule_for_flags_refuses_something_of_the_table() -> None:
    used = {sentence.split(": ", 1)[1] for arguments in UNSAFE for sentence in configuration.unsafe_flags(arguments)}
    assert {f"{rule.reason}; leave it out." for rule in flags.RULES} == used


@given(st.sampled_from(UNSAFE), st.lists(st.sampled_from(["--verbose", "run", "-x"]), max_size=3), st.data())
def test_no_configuration_with_an_unsafe_flag_passes(unsafe: list[str], others: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(others)))
    arguments = [*others[:place], *unsafe, *others[place:]]
    assert "unsafe-flag" in codes(sandboxes.effective(runtime={"kind": "docker", "flags": arguments}))


@given(st.lists(st.text(max_size=30), max_size=5))
def test_no_argument_makes_the_judge_of_flags_stumble(arguments: list[str]) -> None:
    assert len(configuration.unsafe_flags(arguments)) <= 10 * (1 + sum(map(len, arguments)))


@pytest.mark.parametrize(
    "name", ["KEY", "API_KEY", "apiKey", "GITHUB_TOKEN", "githubToken", "DB_PASSWORD", "DBPASSWORD", "AWS_SECRET_ACCESS_KEY",
             "SECRETS", "MY_CREDENTIALS", "HTTP_AUTH", "SESSION_COOKIE", "apikey"]
)  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    assert environment.names_a_secret(name)


@pytest.mark.parametrize(
    "name", ["MONKEY", "KEYBOARD", "AUTHOR", "PATH", "PASSAGE", "TZ", "LANG", "COMPASS", "PATTERN"]
)
def test_names_that_only_hold_such_a_word_are_not(name: str) -> None:
    assert not environment.names_a_secret(name)


@pytest.mark.parametrize(
    "value",
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nx", "AKIAABCDEFGHIJKLMNOP", "x ghp_0123456789abcdefghijkl", "glpat-0123456789abcdefgh",
     "xoxb-1234567890-abc", "sk-ant-0123456789abcdefghij", "sk_live_0123456789abcdef", "eyJhbGciOiJI.eyJzdWIiOiIx.sig",
     "postgres://ada:pw@host/db", "Bearer 0123456789abcdefgh"],
)  # fmt: skip
def test_well_known_tokens_are_known_by_their_form(value: str) -> None:
    assert environment.holds_a_secret(value)
    assert codes(sandboxes.effective(env={"set": {"A": value}})) == ["secret-in-configuration"]


@pytest.mark.parametrize(
    "value", ["", "/srv/sk-learn-experiments-here", "https://x.test:8443/a", "en_GB.UTF-8", "basic"]
)
def test_ordinary_values_are_not_taken_for_secrets(value: str) -> None:
    assert not environment.holds_a_secret(value)
