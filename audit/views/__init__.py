"""The pages of the log and of evidence: they parse, call one selector or one action, and render."""
