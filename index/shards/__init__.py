"""An index in several parts: which document belongs to which, what says so on disk, and one answer from all."""
