"""What the kernel is asked to hold an agent to: system calls it may not make, and limits it cannot raise."""
