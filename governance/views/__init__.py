"""The pages of people, agents, authority, tools and policy: they parse, call one action, and render."""
