"""State changes of the log room: one file per change."""
