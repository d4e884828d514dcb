"""A/B read-out (method section 7): who was given what, what came of it, and what can be concluded from that."""
