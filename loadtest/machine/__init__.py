"""What a run ran on: facts read from the kernel, each with the place it was read from, and nothing that was guessed."""

from loadtest.machine.facts import Machine, read_machine
from loadtest.machine.words import hidden_in_words, in_words

__all__ = ["Machine", "hidden_in_words", "in_words", "read_machine"]
