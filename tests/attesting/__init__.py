"""What services attest, through the agent door and under the verifier's rules."""
