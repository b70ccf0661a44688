"""What runs: services, the launches that orchestrators attest, what monitors observe, and canary runs."""
