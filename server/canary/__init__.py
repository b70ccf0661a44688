"""The canaries that this installation runs itself: set up for the demo, run by the clock in the worker."""
