"""Starting an agent so that it can be proved how: configuration in signed layers, attested, and only then started."""
