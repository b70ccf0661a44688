"""The client: one set of rules about asking, waiting, checking and redeeming, driven by a sync and an async shell."""
