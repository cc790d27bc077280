"""The commands: one module a subject, with what its commands take, do and say. Heavy imports wait for the call."""
