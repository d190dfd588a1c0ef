"""The harness turned on itself: proofs against servers and experiments whose truth is known."""
