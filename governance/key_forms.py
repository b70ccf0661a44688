"""Forms about people's signing keys."""

from __future__ import annotations

from typing import Any

from django import forms

from governance.forms import SinceForm

_MONO = {"spellcheck": "false", "autocomplete": "off", "class": "mono"}


class SshKeyForm(forms.Form):
    """An SSH key that somebody wants to sign with."""

    label = forms.CharField(
        label="Name it after where it lives", max_length=80, help_text="Such as “laptop” or “blue YubiKey”."
    )
    line = forms.CharField(
        label="Public key",
        max_length=2000,
        widget=forms.Textarea({"rows": 3, **_MONO}),
        help_text="The whole line of a .pub file: ssh-ed25519, or sk-ssh-ed25519@openssh.com for a security key.",
    )


class SshSignatureForm(forms.Form):
    """What ``ssh-keygen -Y sign`` made of a statement."""

    ceremony = forms.CharField(widget=forms.HiddenInput, max_length=30)
    signature = forms.CharField(
        label="Signature",
        required=False,
        max_length=4096,
        widget=forms.Textarea({"rows": 8, **_MONO}),
        help_text="Paste all of the .sig file, from BEGIN to END.",
    )
    file = forms.FileField(label="Or choose the file", required=False)

    def clean(self) -> dict[str, Any]:
        """One signature, from the field or from the file."""
        found: dict[str, Any] = super().clean() or {}
        uploaded, text = found.get("file"), found.get("signature", "")
        if uploaded is not None:
            if uploaded.size > 4096:
                self.add_error("file", "A signature is smaller than that.")
                return found
            text = uploaded.read().decode("ascii", "replace")
        if not text.strip():
            self.add_error("signature", "Paste the signature, or choose its file.")
        found["armored"] = text
        return found


class RevocationForm(SinceForm):
    """Why, from when, and whether somebody else may have the key."""

    stolen = forms.BooleanField(
        label="It was stolen, or somebody else may have used it",
        required=False,
        help_text="The log says so. Give the time since when above.",
    )
