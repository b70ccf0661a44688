"""Settings of the whole installation. Every one is an environment variable, described in ``docs/settings.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from server import environment as env
from server.secret import secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

# --- the installation itself -------------------------------------------------------------------------------------
DATA_DIR = Path(env.text("DATA", str(BASE_DIR / "data"))).resolve()
REALM = env.text("REALM", "localhost.imprimatur")
# Per cent of a spend limit shared with other agents that one key may hold reserved at a time.
KEY_SHARE = env.number("KEY_SHARE", 100, least=1)
# Public origins under which agents and people reach us. `@target-uri` is checked against these, never against Host.
ORIGINS = env.words("ORIGINS", "http://localhost:8000")
# A C2SP tlog-policy file: who cosigns the log's checkpoints, where they listen, and how many must have.
WITNESSES = env.text("WITNESSES")
# Signs with the keys of the log that have only a public half in the folder of keys (an HSM, a KMS).
SIGNER = env.text("SIGNER")
# Who publishes: a thread of the web process (here), or `manage.py publish` (apart), which alone holds the log's key.
PUBLISHER = env.text("PUBLISHER", "here")
if PUBLISHER not in {"here", "apart"}:
    raise ImproperlyConfigured("IMPRIMATUR_PUBLISHER must be here or apart")
# Who built the running sources from what: a signed SLSA provenance statement, and the builder's public key (PEM).
PROVENANCE = env.text("PROVENANCE")
PROVENANCE_KEY = env.text("PROVENANCE_KEY")
# Seconds between two runs of the canaries whose folder lies in the data folder; None: they are not run from here.
CANARY_EVERY = None if env.text("CANARY_EVERY") == "off" else env.number("CANARY_EVERY", 300, least=30)
if CANARY_EVERY is not None and CANARY_EVERY > 86_400:
    raise ImproperlyConfigured("IMPRIMATUR_CANARY_EVERY is at most 86400 seconds, or off")
# With it, a mirror may read every entry of the log over HTTP.
MIRROR_TOKEN = env.text("MIRROR_TOKEN")
# Other systems that keep every published entry: name@address, separated by commas; and what a collector asks for.
SINKS = env.words("SINKS")
SINK_TOKEN = env.text("SINK_TOKEN")
# After so many days without an entry about a request, what opens its commitments is erased; 0 keeps it.
RETENTION_DAYS = env.number("RETENTION_DAYS", 0)
if RETENTION_DAYS > 36_500:
    raise ImproperlyConfigured("IMPRIMATUR_RETENTION_DAYS is at most 36500; 0 keeps everything")
DEMO = env.flag("DEMO")
DEBUG = env.flag("DEBUG")
SECRET_KEY = secret_key(env.text("SECRET_KEY"), DATA_DIR)
# The site that signing keys are made for. Chosen once: keys made for another one sign no more.
RP_ID = env.text("RP_ID", urlsplit(ORIGINS[0]).hostname or "")
# Folder of PEM root certificates; a key whose model one of them attests, and that never leaves its device, is H3.
ATTESTATION_ROOTS = env.text("ATTESTATION_ROOTS")
ALLOWED_HOSTS = sorted({urlsplit(origin).hostname or "" for origin in ORIGINS})
CSRF_TRUSTED_ORIGINS = ORIGINS
SECURE = all(origin.startswith("https://") for origin in ORIGINS)

# --- where things live -------------------------------------------------------------------------------------------
LOG_DIR = DATA_DIR / "log"
KEYS_DIR = DATA_DIR / "keys"
INBOX_DIR = DATA_DIR / "inbox"
BUNDLES_DIR = DATA_DIR / "bundles"
REDIS_URL = env.text("REDIS_URL", f"unix://{quote(str(DATA_DIR / 'run' / 'redis.sock'))}")


def _database(url: str) -> dict[str, Any]:
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "imprimatur.sqlite3",
            # A file does not hang up: opening it anew for every request and batch costs more than the work itself.
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                # IMMEDIATE: a read that later writes would otherwise fail under load. FULL: acknowledged means on disk.
                "transaction_mode": "IMMEDIATE",
                # secure_delete: what was erased is written over in the file, not only forgotten.
                # Shorter than an agent's patience (10 s): whoever cannot write soon says "busy", and is asked again.
                "timeout": 5,
                "init_command": (
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA recursive_triggers=ON; "
                    "PRAGMA secure_delete=ON;"
                ),
            },
            "TEST": {"NAME": env.text("TEST_DATABASE", "") or None},
        }
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ImproperlyConfigured("IMPRIMATUR_DATABASE_URL must start with postgresql:// (leave it out for SQLite)")
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.get("host", parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        # Who migrates logs in as somebody who may become the owner of the tables, and becomes it: `?role=owner`.
        "OPTIONS": {"assume_role": unquote(query["role"])} if "role" in query else {},
    }


DATABASES = {"default": _database(env.text("DATABASE_URL"))}
if PUBLISHER == "apart" and not env.text("DATABASE_URL"):
    raise ImproperlyConfigured("IMPRIMATUR_PUBLISHER=apart needs PostgreSQL: on SQLite one process writes everything")
# Refuse to start as a database role that could do more to the log than add to it (`manage.py audit_roles`).
DATABASE_ROLES = env.flag("DATABASE_ROLES")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- the pieces --------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "server",
    "approvals",
    "governance",
    "audit",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "channels",
    "django_rq",
    "django_htmx",
    "ninja",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "server.middleware.SecurityHeaders",
    "server.middleware.NoSessionForAgents",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "server.middleware.OneTimePassword",
]
ROOT_URLCONF = "server.urls"
ASGI_APPLICATION = "server.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "server.context.desk",
            ],
        },
    },
]

# --- people ------------------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "server.accounts.ClosedAccounts"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
MFA_ADAPTER = "server.accounts.SecondFactors"
MFA_SUPPORTED_TYPES = ["webauthn", "totp", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_USER_VERIFICATION = "required"
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_FORMS = {
    "add_webauthn": "server.passkeys.AddForm",
    "login_webauthn": "server.passkeys.LoginForm",
    "authenticate_webauthn": "server.passkeys.SecondStepForm",
    "reauthenticate_webauthn": "server.passkeys.AgainForm",
}
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "desk"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"

# --- single sign-on ----------------------------------------------------------------------------------------------
OIDC_ISSUER = env.text("OIDC_ISSUER")
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_GROUPS_CLAIM = env.text("OIDC_GROUPS_CLAIM", "groups")
OIDC_ROLES = env.pairs("OIDC_ROLES")
if OIDC_ISSUER and not OIDC_CLIENT_ID:
    raise ImproperlyConfigured("IMPRIMATUR_OIDC_ISSUER needs IMPRIMATUR_OIDC_CLIENT_ID")
if OIDC_ISSUER and not (
    OIDC_ISSUER.startswith("https://") or urlsplit(OIDC_ISSUER).hostname in {"localhost", "127.0.0.1", "::1"}
):
    raise ImproperlyConfigured("IMPRIMATUR_OIDC_ISSUER must start with https://")
if unknown := {role for _, role in OIDC_ROLES} - {"admin", "reviewer", "auditor"}:
    raise ImproperlyConfigured(f"IMPRIMATUR_OIDC_ROLES names {', '.join(sorted(unknown))}, which is no role")
SOCIALACCOUNT_ADAPTER = "server.sso.SingleSignOn"
# A form may not lead to another origin here (form-action), so a link starts the way to the provider.
SOCIALACCOUNT_LOGIN_ON_GET = True

# --- sessions ----------------------------------------------------------------------------------------------------
# Sessions live in the database and never in Redis: who holds Redis must not become somebody.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_NAME = "imprimatur_session"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "imprimatur_csrf"
CSRF_COOKIE_SECURE = SECURE
CSRF_USE_SESSIONS = False
CSRF_FAILURE_VIEW = "approvals.views.errors.forged"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000_000

# Rate limits are kept in process, so that Redis being down opens nothing.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- queues ------------------------------------------------------------------------------------------------------
RQ_QUEUES = {
    "default": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 600, "SERIALIZER": "rq.serializers.JSONSerializer"},
}

# --- mail and the webhook ----------------------------------------------------------------------------------------
EMAIL_HOST = env.text("SMTP_HOST")
EMAIL_PORT = env.number("SMTP_PORT", 25)
EMAIL_HOST_USER = env.text("SMTP_USER")
EMAIL_HOST_PASSWORD = env.text("SMTP_PASSWORD")
EMAIL_USE_TLS = env.flag("SMTP_TLS")
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'dummy'}.EmailBackend"
DEFAULT_FROM_EMAIL = env.text("MAIL_FROM", "imprimatur@localhost")
WEBHOOK_URL = env.text("WEBHOOK_URL")
WEBHOOK_SECRET = env.text("WEBHOOK_SECRET")

# --- language, time, files ---------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Only for a proxy that serves the files itself (`manage.py collectstatic`); without it they come from the tree.
STATIC_ROOT = env.text("STATIC_ROOT") or None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
SILENCED_SYSTEM_CHECKS: list[str] = []
LOGGING_CONFIG = None
