"""How fast, and against what: every number is a ratio to a plain program measured in the same run."""
