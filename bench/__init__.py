"""How fast it is, as ratios measured side by side in one run. Nothing imports this, and no test waits for it."""
