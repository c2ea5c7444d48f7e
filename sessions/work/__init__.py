"""The steps of operations.  Each looks before it acts, so that a run after a crash goes on or begins again."""
