"""What stands behind ``./coi-web``: makes a machine ready, runs the panel's processes, tests and explains itself.

Standard library only, and nothing of the panel is imported except the builder of the tiny image:
the launcher must work, and say what is wrong, on a machine where the panel itself cannot start.
"""
