"""Pure decisions, shared by the server, the agent and the verifier.

What a scope covers, whether a delegation is narrower than its parent, what a chain allows, what money is left, which
state follows, and who has to answer.

Nothing here reads a clock, a file or a database. In doubt, every function says no.
"""
