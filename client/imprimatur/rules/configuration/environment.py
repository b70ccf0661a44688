"""What must not stand in an environment: secrets, which the log would keep, and names that load code."""

from __future__ import annotations

import re

_SECRET_WORD = re.compile(
    r"KEYS?|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION)KEYS?|[A-Z]*(TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIAL)S?"
    r"|PASSWD|PASS|PSK|CREDS?|AUTH|AUTHORIZATION|BEARER|COOKIES?|DSN|JWT|PAT"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Searched in texts of strangers, so no pattern looks at what follows again from each place: they stay linear.
_TOKENS = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
        r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS
        r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_-]{16,}",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
        r"\b(sk|rk|pk)[-_](?=[-_A-Za-z]{0,200}[0-9])[-_A-Za-z0-9]{16,}",  # several makers of models, Stripe
        r"\bAIza[0-9A-Za-z_-]{30,}",  # Google
        r"\bya29\.[0-9A-Za-z_-]{20,}",
        r"\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}|\bhf_[A-Za-z0-9]{20,}",
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",  # JWT
        r"[A-Za-z0-9+.-]://[^/\s:@]*:[^/\s@]+@",  # a password in an address
        r"(?i)\b(bearer|basic) [A-Za-z0-9+/_=.-]{16,}",
    )
)

_LOADERS = re.compile(
    r"LD_.*|DYLD_.*|GCONV_PATH|GLIBC_TUNABLES|BASH_ENV|ENV|BASH_FUNC_.*|SHELLOPTS|PROMPT_COMMAND|IFS|PYTHONSTARTUP"
    r"|PYTHONHOME|PYTHONINSPECT|PYTHONBREAKPOINT|PYTHONWARNINGS|NODE_OPTIONS|PERL5OPT|PERL5LIB|PERL5DB|RUBYOPT|RUBYLIB"
    r"|PYTHONPLATLIBDIR|PYTHONEXECUTABLE|PYTHONPYCACHEPREFIX|PYTHON_PRESITE|PERL5SHELL|NPM_CONFIG_.*"
    r"|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|MAVEN_OPTS|DOTNET_STARTUP_HOOKS|COR(ECLR)?_(PROFILER.*|ENABLE_.*)"
    r"|GIT_(SSH|SSH_COMMAND|ASKPASS|EXTERNAL_DIFF|CONFIG.*|EXEC_PATH|TEMPLATE_DIR|PROXY_COMMAND|SEQUENCE_EDITOR)"
    r"|SSH_ASKPASS|LESSOPEN|LESSCLOSE|OPENSSL_(CONF|MODULES|ENGINES)|LUA_INIT.*|R_(PROFILE|ENVIRON)(_USER)?|ZDOTDIR|PS4"
    r"|PHPRC|PHP_INI_SCAN_DIR|GTK[23]?_MODULES|GTK_PATH|GIO_(EXTRA_MODULES|MODULE_DIR)|QT_PLUGIN_PATH|ERL_[AZ]?FLAGS"
    r"|ELIXIR_ERL_OPTIONS|RUSTC(_WORKSPACE)?_WRAPPER|MAKEFLAGS|VIMINIT|EXINIT"
)
_SEARCH = re.compile(
    r"PATH|PYTHONPATH|NODE_PATH|CLASSPATH|PYTHONUSERBASE|PERLLIB|LUA_C?PATH|TCLLIBPATH|GEM_(HOME|PATH)|BUNDLE_GEMFILE"
    r"|JAVA_HOME|GOPATH|ERL_LIBS|EDITOR|VISUAL|PAGER|MANPAGER|BROWSER|GIT_EDITOR|GIT_PAGER"
)
LAUNCH = "IMPRIMATUR_LAUNCH"
"""Who belongs to which launch; only the launcher sets it."""


def names_a_secret(name: str) -> bool:
    """Whether a whole word of this name (``API_KEY``, ``apiKey``, but not ``MONKEY``) is one for secrets."""
    return any(_SECRET_WORD.fullmatch(word.upper()) for word in _WORD.findall(name))


def holds_a_secret(value: str) -> bool:
    """Whether this text has a part with the form of a well-known kind of token, private key or password."""
    return any(token.search(value) for token in _TOKENS)


def loads_code(name: str, *, passed: bool) -> bool:
    """Whether a variable of this name makes programs run code from elsewhere.

    A search path, or a program to call, may be set (its value is signed then), and not be passed on from wherever the
    launcher runs.
    """
    return _LOADERS.fullmatch(name.upper()) is not None or (passed and _SEARCH.fullmatch(name.upper()) is not None)
