"""The commands: those that load a service, and those that read what was recorded."""
