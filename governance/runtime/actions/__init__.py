"""Changes to what runs: who attests, what they attested, and what the server does about it."""
